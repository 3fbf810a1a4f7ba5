"""Synthetic data: start, follow, cancel, resume; the rows become a data set like any file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.data.row_files import open_rows
from tunesmith.data.synthesis import SynthesisRules, ask_for, split_source
from tunesmith.errors import UserError
from tunesmith.jobs import generation
from tunesmith.jobs.generation import Generation
from tunesmith.jobs.job import JobFolders, launch
from tunesmith.jobs.job import cancel as cancel_job
from tunesmith.services import dataset_versions
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset
from tunesmith.services.endpoints import open_endpoint
from tunesmith.services.models import find_model
from tunesmith.services.rights import needs, require_own
from tunesmith.settings.fields import check_values
from tunesmith.system.endpoint import Endpoint

CHARACTERS_PER_TOKEN = 3.5
GENERATIONS = generation.SHELF
MOST_SOURCES = 100_000


@dataclass(frozen=True)
class Estimate:
    """What a generation asks for when each row succeeds at once; `cost` in the prices' currency, None without prices."""

    questions: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


def sources_of(text: str, as_document: bool) -> list[str]:
    """Return what rows are made from: a document's pieces, or each line as a seed."""
    return split_source(text) if as_document else [line.strip() for line in text.splitlines() if line.strip()]


def estimate(rules: SynthesisRules, sources: Sequence[str], prices: tuple[float, float] | None = None) -> Estimate:
    """Return the least that a generation takes; `prices` are per million tokens (asked, answered)."""
    asked = sum(len(m["content"]) for m in ask_for(rules.kind, "", rules.language)) + sum(map(len, sources)) / max(1, len(sources))
    prompt = round(rules.count * asked / CHARACTERS_PER_TOKEN)
    completion = rules.count * rules.max_tokens // 2
    cost = (prompt * prices[0] + completion * prices[1]) / 1e6 if prices else None
    return Estimate(rules.count, prompt, completion, cost)


@needs(TRAINER)
def start(
    s: Services, rules: SynthesisRules, sources: Sequence[str], *, endpoint: Endpoint | None = None, model_id: str = "", tests: str = ""
) -> str:
    """Start a generation by an endpoint or a local model and return its id; `tests` is a data set whose held-out rows must not be asked.

    Raises UserError `setting_…`, `synthesis_no_source`, `endpoint_…`, `model_…`, `dataset_unknown`.
    """
    check_values(rules)
    if not sources or len(sources) > MOST_SOURCES:
        raise UserError("synthesis_no_source", most=MOST_SOURCES)
    request: dict[str, object] = {"rules": dataclasses.asdict(rules), "sources": list(sources), "owner": s.person.name}
    if endpoint:
        request |= {
            "endpoint": dataclasses.asdict(endpoint),
            "allowed_hosts": list(s.settings.endpoint_hosts),
            "model_name": endpoint.model,
        }
    else:
        model = find_model(s, model_id)
        request |= {"model_path": str(model.path), "model_name": model.id, "slot": str(s.store.locks / "accelerator.lock")}
    if tests:
        request["tests"] = str(find_dataset(s, tests).path)
    return _folders(s).start(request, generation.WORKER, open_endpoint(s, endpoint))


def _folders(s: Services) -> JobFolders:
    return JobFolders(s.data_dir / GENERATIONS)


def list_generations(s: Services) -> list[Generation]:
    """Return the generations, newest first."""
    return _folders(s).readable(generation.read_generation)


def find_generation(s: Services, generation_id: str) -> Generation:
    """Return one generation. Raises UserError `job_unknown`."""
    return generation.read_generation(_folders(s).folder(generation_id))


@needs(TRAINER)
def cancel(s: Services, generation_id: str) -> None:
    """Ask a generation to end; its rows stay. Raises UserError `job_unknown`."""
    cancel_job(_folders(s).folder(generation_id))


@needs(TRAINER)
def resume(s: Services, generation_id: str) -> None:
    """Let a generation go on where it stood. Raises UserError `job_unknown`, `job_running`, `endpoint_…`."""
    found = find_generation(s, generation_id)
    endpoint = Endpoint(**found.request["endpoint"]) if found.request.get("endpoint") else None
    launch(found.folder, generation.WORKER, open_endpoint(s, endpoint))


@needs(TRAINER)
def delete(s: Services, generation_id: str) -> None:
    """Delete a generation and its rows. Raises UserError `job_unknown`, `job_running`, `owned_by_another`."""
    require_own(s, find_generation(s, generation_id).owner)
    _folders(s).delete(generation_id)


def first_rows(found: Generation, count: int) -> list[dict[str, Any]]:
    """Return the first accepted rows without their provenance."""
    rows = open_rows(found.folder / generation.ROWS).page(0, count)
    return [{name: part for name, part in row.value.items() if name != "provenance"} for row in rows]


@needs(TRAINER)
def keep(s: Services, generation_id: str, name: str) -> str:
    """Make a data set of a generation's rows and return its id. Raises UserError `data_…`, `synthesis_no_rows`."""
    path: Path = find_generation(s, generation_id).folder / generation.ROWS
    if not path.exists() or not path.stat().st_size:
        raise UserError("synthesis_no_rows", generation=generation_id)
    return dataset_versions.import_file(s, path, name=name)
