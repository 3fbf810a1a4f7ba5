"""Runs tasks of lm-eval (EleutherAI's evaluation harness) on a model that is loaded: figures, and what was asked and answered.

Knows no variants and no jobs. Tasks that come with lm-eval are its own code, and their data sets are downloaded; task files of ours run no
code: `benchmark_tasks` refuses what would, and their templates are filled in jinja's sandbox, which lm-eval itself does not do.
"""

from __future__ import annotations

import difflib
import logging
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import lm_eval.utils
import numpy as np
from datasets import Dataset
from httpx import HTTPError
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from tunesmith.errors import UserError
from tunesmith.evaluation.benchmark_model import BenchmarkModel
from tunesmith.evaluation.benchmark_tasks import BenchmarkRules, read_task

logger = logging.getLogger("tunesmith.benchmark")
RESAMPLES = 1000  # for the standard errors that have no formula
OF_THE_TASK = (TemplateError, KeyError, ValueError, TypeError, IndexError, AttributeError, AssertionError, SyntaxError, RuntimeError)
TaskDict = dict[str, Any]  # as lm-eval's TaskManager loads it: tasks and groups by name


def open_tasks(files: Sequence[Path], names: Sequence[str], rules: BenchmarkRules) -> list[TaskDict]:
    """Return task files and lm-eval's own tasks, groups or tags with their data, ready to be asked.

    Raises UserError `task_unknown` with near names, `task_data_unreachable`, `task_failed`, and what `read_task` raises.
    """
    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.filters["regex_replace"] = lm_eval.utils.regex_replace
    lm_eval.utils.env = environment
    found = [_open_file(path) for path in files]
    if names:
        manager = TaskManager()
        found += [_open_installed(manager, name) for name in names]
    for tasks in found:
        for task in tasks["tasks"].values():
            _set_examples(task, rules)
    return found


def _open_file(path: Path) -> TaskDict:
    content = read_task(path)
    data = {split: Dataset.from_list(rows) for split, rows in content.read_rows().items()}
    config = content.config | {"custom_dataset": lambda **_: data}
    try:
        task = ConfigurableTask(config=config)
    except OF_THE_TASK as error:
        raise _failed(path.stem, error) from error
    return {"tasks": {str(config["task"]): task}, "groups": {}}


def _open_installed(manager: TaskManager, name: str) -> TaskDict:
    if name not in manager.all_tasks:
        near = difflib.get_close_matches(name, manager.all_tasks, n=3)
        raise UserError("task_unknown", name=name, near=", ".join(near) or "-")
    try:
        loaded: TaskDict = manager.load([name])
    except (OSError, HTTPError, datasets.exceptions.DatasetsError) as error:  # refused, absent, offline
        raise UserError("task_data_unreachable", name=name, reason=str(error)[:200]) from error
    except ModuleNotFoundError as error:
        raise UserError("task_package_missing", name=name, package=str(error.name)) from error
    except OF_THE_TASK as error:
        raise _failed(name, error) from error
    return loaded


def _set_examples(task: Any, rules: BenchmarkRules) -> None:
    """Choose the number of examples as lm-eval's command does: a task that says 0 keeps 0."""
    own = task.get_config("num_fewshot")
    if rules.num_fewshot >= 0 and own != 0:
        task.set_config(key="num_fewshot", value=rules.num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)


def run_tasks(model: BenchmarkModel, tasks: TaskDict, rules: BenchmarkRules) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the figures and the samples of tasks that are open; the same seed and weights give the same ones.

    A figure: `task`, `metric`, `filter`, `value`, `stderr` (None without), `rows`, `num_fewshot`, `higher_is_better` (None unknown). A
    sample: `task`, `filter`, `row`, `prompt`, `expected`, `answer`, `scores` (log-likelihoods of choices), `values` by metric.
    Raises UserError `task_failed`, `task_runs_code`, and what the model raises.
    """
    unsafe = next((name for name, task in tasks["tasks"].items() if getattr(task, "UNSAFE_CODE", False)), None)
    if unsafe:
        raise UserError("task_runs_code", file=unsafe, key="unsafe_code", line=0)
    os.environ["DISABLE_MULTIPROC"] = "1"  # lm-eval would fork this process for some standard errors, and mlx does not survive a fork
    for task in tasks["tasks"].values():
        task.set_fewshot_seed(seed=rules.seed)  # each variant sees the same examples: lm-eval goes on drawing from where it was
    random.seed(rules.seed)
    np.random.seed(rules.seed)  # lm-eval's own filters and samplers draw from it
    try:
        results = evaluate(
            model, tasks, limit=rules.limit or None, bootstrap_iters=RESAMPLES, apply_chat_template=rules.chat_template,
            fewshot_as_multiturn=rules.chat_template,
        )  # fmt: skip
    except OF_THE_TASK as error:
        raise _failed(next(iter(tasks["tasks"])), error) from error
    samples = [_as_sample(name, sample) for name, found in results["samples"].items() for sample in found]
    return _figures(results), samples


def _failed(name: str, error: Exception) -> UserError:
    logger.warning("task %s failed", name, exc_info=error)
    return UserError("task_failed", name=name, kind=type(error).__name__, reason=str(error)[:200])


def _figures(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, values in results["results"].items():
        for key, value in values.items():
            metric, _, chosen = key.partition(",")
            if not chosen or metric.endswith("_stderr") or not isinstance(value, int | float | np.floating):
                continue
            stderr = values.get(f"{metric}_stderr,{chosen}")
            found.append({
                "task": name, "metric": metric, "filter": chosen, "value": _number(value), "stderr": _number(stderr),
                "rows": int(values.get("sample_len") or results["n-samples"].get(name, {}).get("effective", 0)),
                "num_fewshot": results["n-shot"].get(name), "higher_is_better": results["higher_is_better"].get(name, {}).get(metric),
            })  # fmt: skip
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float | np.number) and np.isfinite(value):
        return float(value)
    return None


def _as_sample(task: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    arguments, answers, expected = sample["arguments"], sample["filtered_resps"], sample["target"]
    scores: list[float] = []
    if len(arguments[0]) > 1 and isinstance(arguments[0][1], str):  # continuations to score
        choices = [str(pair[1]).strip() for pair in arguments]
        scores = [float(answer[0]) for answer in answers]
        chosen = choices[int(np.argmax(scores))]
        expected = choices[expected] if isinstance(expected, int) and 0 <= expected < len(choices) else expected
    else:
        chosen = str(answers[0])
    return {
        "task": task, "filter": sample["filter"], "row": sample["doc_id"], "prompt": arguments[0][0], "expected": str(expected),
        "answer": chosen, "scores": scores, "values": {metric: _number(sample[metric]) for metric in sample["metrics"]},
    }  # fmt: skip
