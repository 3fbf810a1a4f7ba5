"""A base and its adapters side by side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.inference.protocol import Delta
from tunesmith.inference.sampling import Sampling
from tunesmith.services.adapters import AdapterInfo, find_adapter, list_adapters, why_not_one_base
from tunesmith.services.context import Services
from tunesmith.services.datasets import held_out_prompts
from tunesmith.services.lineage import runs_of

SUGGESTIONS = 12
MOST_ADAPTERS = 8


def variants(s: Services) -> list[AdapterInfo]:
    """Return the adapters that can be asked, newest first."""
    return [info for info in list_adapters(s) if info.problem is None]


def suggested_prompts(s: Services, adapter_ids: Sequence[str]) -> list[str]:
    """Return questions of the adapters' data that they were not trained on, of each data set in turn; of a fused one, its parents'."""
    paths = dict.fromkeys(path for adapter_id in adapter_ids for path in _data_paths(s, find_adapter(s, adapter_id)))
    by_data = [held_out_prompts(path, SUGGESTIONS) for path in paths]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_data))
    return list(dict.fromkeys(prompt for prompt in turns if prompt))[:SUGGESTIONS]


def _data_paths(s: Services, info: AdapterInfo) -> list[Path]:
    found = [info.data_path] if info.data_path else []
    for run in () if info.run_id else runs_of(info.lineage):
        try:
            found.append(s.store.get(run).data_path)
        except UserError:
            continue  # that run is gone
    return [path for path in map(Path, dict.fromkeys(found)) if path.exists()]


def ask(s: Services, adapter_ids: Sequence[str], prompt: str, system: str, sampling: Sampling) -> Iterator[Delta]:
    """Stream the answers of the base (variant 0) and of adapters (variants 1 …) from one copy of the base, in one batch.

    Raises UserError `prompt_empty`, `adapter_missing`, `adapters_of_two_bases`, and what the loading raises.
    """
    if not prompt.strip():
        raise UserError("prompt_empty")
    chosen = [find_adapter(s, adapter_id) for adapter_id in adapter_ids]
    if problem := why_not_one_base(chosen):
        raise problem
    messages = [{"role": "system", "content": system}] if system.strip() else []
    messages.append({"role": "user", "content": prompt})
    return s.host.stream(chosen[0].model_path, [None, *(info.path for info in chosen)], messages, sampling)
