"""The job that runs benchmark tasks on variants. Its folder holds the figures (`results.json`) and every row (`samples.jsonl`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.evaluation.benchmark import TaskDict, open_tasks, run_tasks
from tunesmith.evaluation.benchmark_model import BenchmarkModel
from tunesmith.evaluation.benchmark_results import RESULTS, SAMPLES, differences
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules, hash_task
from tunesmith.jobs.job_kinds import Request
from tunesmith.jobs.work.answering import Record, group_by_base, keep_fingerprint, open_group
from tunesmith.models.loading import LoadedModel
from tunesmith.settings.files import from_mapping
from tunesmith.store.files import LineTail, make_folder, write_atomic, write_json
from tunesmith.store.saved_folders import drop_whole
from tunesmith.system.progress import Report

FALLBACK_TOKENS = 2048  # where config.json tells no longest input
PARTS = "parts"


def benchmark(request: Request, report: Report) -> dict[str, Any]:
    """Ask every variant every task; one base is in memory at a time. When it goes on, the tasks that are done are not asked again.

    Raises UserError `task_…`, `model_…`, `adapter_…`, `model_without_chat_template`, `template_broken`, `evaluation_variant_changed`,
    `disk_full`.
    """
    folder, variants = Path(request["folder"]), request["variants"]
    report("preparing_tasks", 0.0)
    files = [Path(path) for path in request["task_files"]]
    tasks = open_tasks(files, request["task_names"], from_mapping(BenchmarkRules, request["rules"]))
    _require_same(request, files)
    parts = {
        (variant["key"], place): folder / PARTS / f"{number}-{place}.jsonl"
        for number, variant in enumerate(variants)
        for place in range(len(tasks))
    }
    make_folder(folder / PARTS)
    for group in group_by_base(variants):
        if not all(parts[variant["key"], place].exists() for variant in group for place in range(len(tasks))):
            _ask_group(request, group, tasks, parts, report)
    return _put_together(folder, variants, parts)


def _require_same(request: Request, files: Sequence[Path]) -> None:
    """Write down what is asked of whom at the first start; later, refuse to go on with anything else."""
    tasks = {str(path): hash_task(path) for path in files}
    before = keep_fingerprint(request, {"tasks": tasks})
    if changed := [path for path in files if tasks[str(path)] != before["tasks"].get(str(path))]:
        raise UserError("task_changed", file=changed[0].name)


def _ask_group(
    request: Request, group: Sequence[Record], tasks: Sequence[TaskDict], parts: Mapping[tuple[str, int], Path], report: Report
) -> None:  # fmt: skip
    """Ask the variants of one base what they have not been asked; a part is a file with its figures in the first line, then its rows."""
    rules = from_mapping(BenchmarkRules, request["rules"])
    base, predictors = open_group(group)
    for predictor in predictors:
        predictor.activate()
        for place, task in enumerate(tasks):
            path = parts[predictor.name, place]
            if path.exists():
                continue
            tell = partial(_tell, report, sum(part.exists() for part in parts.values()), len(parts))
            model = BenchmarkModel(base.model, base.tokenizer, predictor.template, longest_input(base, rules), rules.seed, tell)
            figures, rows = run_tasks(model, task, rules)
            lines = [{"figures": [{"variant": predictor.name, **figure} for figure in figures], "truncated": model.truncated}]
            lines += [{"variant": predictor.name, **row} for row in rows]
            write_atomic(path, b"".join(orjson.dumps(line) + b"\n" for line in lines))


def _tell(report: Report, done: int, parts: int, share: float) -> None:
    report("benchmarking", (done + share) / parts)


def _put_together(folder: Path, variants: Sequence[Record], parts: Mapping[tuple[str, int], Path]) -> dict[str, Any]:
    """Write the parts down as one: all rows, then the figures, which stand for the whole."""
    figures: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    truncated = {variant["key"]: 0 for variant in variants}
    for (key, _), path in parts.items():
        head, *rows = LineTail(path).read_new()
        figures += head["figures"]
        samples += rows
        truncated[key] += head["truncated"]
    write_atomic(folder / SAMPLES, b"".join(orjson.dumps(sample) + b"\n" for sample in samples))
    compared = differences(samples, _bases(variants))
    write_json(folder / RESULTS, {"v": 1, "figures": figures, "differences": compared, "truncated": truncated})
    drop_whole(folder / PARTS)
    return {"figures": len(figures), "rows": len(samples), "truncated": sum(truncated.values())}


def longest_input(base: LoadedModel, rules: BenchmarkRules) -> int:
    """Return the most tokens that the model is given at once: its own limit or the settings'."""
    text: Any = base.config.get("text_config") or {}
    own = base.config.get("max_position_embeddings") or text.get("max_position_embeddings") or FALLBACK_TOKENS
    return min(int(own), rules.longest)


def _bases(variants: Sequence[Record]) -> dict[str, str]:
    """Return the key of its base for every adapter whose base is asked too."""
    plain = {variant["model_path"]: variant["key"] for variant in variants if not variant["adapter_path"]}
    return {v["key"]: plain[v["model_path"]] for v in variants if v["adapter_path"] and v["model_path"] in plain}
