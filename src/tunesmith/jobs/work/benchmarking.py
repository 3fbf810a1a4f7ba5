"""The job that runs benchmark tasks on variants. Its folder holds the figures (`results.json`) and every row (`samples.jsonl`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tunesmith.evaluation.benchmark import open_tasks, run_tasks
from tunesmith.evaluation.benchmark_model import BenchmarkModel
from tunesmith.evaluation.benchmark_results import RESULTS, SAMPLES, differences
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules
from tunesmith.jobs.job_kinds import Request
from tunesmith.jobs.work.answering import Record, group_by_base, open_group
from tunesmith.models.loading import LoadedModel
from tunesmith.settings.files import from_mapping
from tunesmith.store.files import write_atomic, write_json
from tunesmith.system.progress import Report

FALLBACK_TOKENS = 2048  # where config.json tells no longest input


def benchmark(request: Request, report: Report) -> dict[str, Any]:
    """Ask every variant every task; one base is in memory at a time.

    Raises UserError `task_…`, `model_…`, `adapter_…`, `model_without_chat_template`, `template_broken`, `disk_full`.
    """
    folder, rules = Path(request["folder"]), from_mapping(BenchmarkRules, request["rules"])
    report("preparing_tasks", 0.0)
    tasks = open_tasks([Path(path) for path in request["task_files"]], request["task_names"], rules)
    figures: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    truncated: dict[str, int] = {}
    done, parts = 0, len(request["variants"]) * len(tasks)
    for group in group_by_base(request["variants"]):
        base, predictors = open_group(group)
        for predictor in predictors:
            predictor.activate()
            model = BenchmarkModel(base.model, base.tokenizer, predictor.template, longest_input(base, rules), rules.seed)
            for each in tasks:
                model.report = partial(_tell, report, done, parts)
                found, rows = run_tasks(model, each, rules)
                figures += [{"variant": predictor.name, **figure} for figure in found]
                samples += [{"variant": predictor.name, **row} for row in rows]
                done += 1
            truncated[predictor.name] = model.truncated
        del base, predictors
    lines = b"".join(orjson.dumps(sample) + b"\n" for sample in samples)
    write_atomic(folder / SAMPLES, lines)
    compared = differences(samples, _bases(request["variants"]))
    write_json(folder / RESULTS, {"v": 1, "figures": figures, "differences": compared, "truncated": truncated})
    return {"figures": len(figures), "rows": len(samples), "truncated": sum(truncated.values())}


def _tell(report: Report, done: int, parts: int, share: float) -> None:
    report("benchmarking", (done + share) / parts)


def longest_input(base: LoadedModel, rules: BenchmarkRules) -> int:
    """Return the most tokens that the model is given at once: its own limit or the settings'."""
    text: Any = base.config.get("text_config") or {}
    own = base.config.get("max_position_embeddings") or text.get("max_position_embeddings") or FALLBACK_TOKENS
    return min(int(own), rules.longest)


def _bases(variants: Sequence[Record]) -> dict[str, str]:
    """Return the key of its base for every adapter whose base is asked too."""
    plain = {variant["model_path"]: variant["key"] for variant in variants if not variant["adapter_path"]}
    return {v["key"]: plain[v["model_path"]] for v in variants if v["adapter_path"] and v["model_path"] in plain}
