"""Base and tuned model side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.inference.protocol import Delta
from tunesmith.inference.sampling import Sampling
from tunesmith.services.context import Services
from tunesmith.services.datasets import held_out_prompts
from tunesmith.store.experiments import Experiment

SUGGESTIONS = 12


@dataclass(frozen=True)
class AdapterChoice:
    """A tuned run that can be asked."""

    run_id: str
    name: str
    model: str
    model_path: Path
    adapter_path: Path


def variants(s: Services) -> list[AdapterChoice]:
    """Return the runs that left a whole adapter, newest first."""
    return [_choice(s, e) for e in s.store.all()[0] if s.store.folder(e.id).has_adapter()]


def _choice(s: Services, experiment: Experiment) -> AdapterChoice:
    adapter = s.store.folder(experiment.id).adapter
    return AdapterChoice(experiment.id, s.store.display_name(experiment), experiment.model, Path(experiment.model_path), adapter)


def suggested_prompts(s: Services, run_id: str) -> list[str]:
    """Return questions of the run's data set that it was not trained on."""
    return held_out_prompts(Path(s.store.get(run_id).data_path), SUGGESTIONS)


def ask(s: Services, run_id: str, prompt: str, system: str, sampling: Sampling) -> Iterator[Delta]:
    """Stream the answers of the base (variant 0) and the tuned model (variant 1) from one copy of the base.

    Raises UserError `prompt_empty`, `adapter_missing`, and what the loading raises.
    """
    if not prompt.strip():
        raise UserError("prompt_empty")
    experiment = s.store.get(run_id)
    if not s.store.folder(run_id).has_adapter():
        raise UserError("adapter_missing", run=s.store.display_name(experiment))
    choice = _choice(s, experiment)
    messages = [{"role": "system", "content": system}] if system.strip() else []
    messages.append({"role": "user", "content": prompt})
    return s.host.stream(choice.model_path, [None, choice.adapter_path], messages, sampling)
