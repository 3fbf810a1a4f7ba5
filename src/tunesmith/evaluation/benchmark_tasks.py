"""What a benchmark asks: its settings, and task files in lm-eval's YAML, read without running anything. Knows no model and no lm-eval.

A task file of lm-eval may name Python functions, classes, scripts and other files. Ours may not: only the keys below are taken, all values
are plain data, and the rows come from JSON lines inside the task's own folder. Format: lm-eval's task guide (docs/new_task_guide.md there).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tunesmith.data.row_files import RowFile
from tunesmith.errors import UserError
from tunesmith.settings.fields import setting
from tunesmith.settings.files import parse_yaml
from tunesmith.store.files import sha256_of

MOST_BYTES = 1_000_000
MOST_DATA_BYTES = 500_000_000
TEXTS = {"doc_to_text", "doc_to_target", "doc_to_choice", "description", "target_delimiter", "fewshot_delimiter", "gen_prefix"}
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
KEYS = {
    *TEXTS, *SPLITS, "task", "task_alias", "tag", "dataset_path", "dataset_kwargs", "fewshot_config", "num_fewshot", "metric_list",
    "output_type", "generation_kwargs", "repeats", "filter_list", "metadata",
}  # fmt: skip
FEWSHOT_KEYS = {*TEXTS, "sampler", "split", "fewshot_indices", "samples"}
METRIC_KEYS = {"metric", "aggregation", "higher_is_better", "ignore_case", "ignore_punctuation", "ignore_numbers", "regexes_to_ignore"}
GENERATION_KEYS = {"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k", "min_p"}
METRICS = {
    "acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match", "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte",
    "brier_score", "mcc", "f1", "bleu", "chrf", "chrf++", "ter",
}  # fmt: skip
FILTERS = {
    "regex", "regex_pos", "remove_whitespace", "multi_choice_regex", "take_first", "take_first_k", "majority_vote", "lowercase",
    "uppercase", "map",
}  # fmt: skip
OUTPUT_TYPES = ("multiple_choice", "generate_until", "loglikelihood", "loglikelihood_rolling")


@dataclass(frozen=True)
class BenchmarkRules:
    """How tasks are asked."""

    num_fewshot: int = setting(
        -1, minimum=-1, maximum=64, label="Examples before each question",
        help="Few-shot number: solved examples in the prompt. -1 takes each task's own number; a task that says 0 keeps 0.",
    )  # fmt: skip
    limit: int = setting(
        0, minimum=0, maximum=1_000_000, unit="rows", label="Rows per task",
        help="Only the first rows of each task, for a quick look; 0 takes all. Figures of a part are no benchmark results.",
    )  # fmt: skip
    chat_template: bool = setting(
        True, label="Ask in the prompt format",
        help="Puts questions into the model's chat format, or into the one that an adapter learned. Off for plain text models.",
    )  # fmt: skip
    seed: int = setting(
        1234, minimum=0, maximum=2**31 - 1, label="Seed", advanced=True,
        help="Draws the examples, and the answers of tasks that sample; the same seed gives the same figures.",
    )  # fmt: skip
    longest: int = setting(
        4096, minimum=32, maximum=131_072, unit="tokens", label="Longest input", advanced=True,
        help="Longer prompts are cut on the left, and the result says how many. The model's own limit counts too.",
    )  # fmt: skip


@dataclass(frozen=True)
class LocalTask:
    """A task file: what it is called, what is asked (`kind`, one of OUTPUT_TYPES), how many rows; or why it cannot be used."""

    path: Path
    name: str
    kind: str = ""
    rows: int = 0
    problem: UserError | None = None


@dataclass(frozen=True)
class TaskContent:
    """A checked task file: lm-eval's settings without the data, and the data files of each split."""

    config: dict[str, Any]
    files: dict[str, list[Path]]

    def read_rows(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rows by split. Raises UserError `task_data_broken`."""
        return {split: [row for file in files for row in _rows_of(file)] for split, files in self.files.items()}


def list_tasks(folders: Iterable[Path]) -> list[LocalTask]:
    """Return the task files of folders, broken ones with their problem, by name."""
    found = [look_at(path) for folder in folders for path in sorted(folder.glob("*.yaml"))]
    return sorted(found, key=lambda task: (task.problem is not None, task.name))


def look_at(path: Path) -> LocalTask:
    """Return what a page shows of a task file."""
    try:
        content = read_task(path)
        rows = sum(len(RowFile(file)) for file in content.files[str(tested_split(content.config))])
        return LocalTask(path, str(content.config["task"]), str(content.config.get("output_type", "generate_until")), rows)
    except UserError as error:
        return LocalTask(path, path.stem, problem=error)


def read_task(path: Path) -> TaskContent:
    """Return a task file's content. Raises UserError `file_missing`, `yaml_unreadable`, `task_…`."""
    if not path.is_file():
        raise UserError("file_missing", file=str(path))
    if path.stat().st_size > MOST_BYTES:
        raise UserError("task_too_large", file=path.name, limit_bytes=MOST_BYTES)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError("yaml_unreadable", file=path.name, line=0) from error
    _refuse_code(text, path)
    config = parse_yaml(text, path.name)
    _check_keys(config, KEYS, path)
    if not isinstance(config.get("task"), str) or not config["task"].strip():
        raise UserError("task_incomplete", file=path.name, key="task")
    _check_values(config, path)
    files = _data_files(config, path)
    tested = tested_split(config)
    for key in SPLITS:
        if config.get(key) is not None and not _is_one_of(config[key], files):
            raise UserError("task_incomplete", file=path.name, key=f"{key}: {config[key]}")
    if tested is None:
        raise UserError("task_incomplete", file=path.name, key="test_split")
    plain = {key: value for key, value in config.items() if key not in {"dataset_path", "dataset_kwargs"}}
    return TaskContent(plain, files)


def hash_task(path: Path) -> str:
    """Return the SHA-256 of a task file with its rows. Raises UserError `file_missing`, `yaml_unreadable`, `task_…`."""
    files = dict.fromkeys(file for files in read_task(path).files.values() for file in files)
    return hashlib.sha256("".join(map(sha256_of, (path, *files))).encode()).hexdigest()


def tested_split(config: Mapping[str, Any]) -> str | None:
    """Return the split that lm-eval asks: the test split, else the one for validation."""
    return config.get("test_split") or config.get("validation_split")


def _refuse_code(text: str, path: Path) -> None:
    """Raise for a tag (`!function` imports Python) or an alias (a file of a few lines may grow to gigabytes by them)."""
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            tag = "*" if isinstance(event, yaml.AliasEvent) else getattr(event, "tag", None)
            if tag is not None:
                line = event.start_mark.line + 1 if event.start_mark else 0
                raise UserError("task_runs_code", file=path.name, key=str(tag)[:60], line=line)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        raise UserError("yaml_unreadable", file=path.name, line=place.line + 1 if place else 0) from error


def _check_keys(values: Any, known: set[str], path: Path) -> None:
    if not isinstance(values, dict):
        raise UserError("task_key_refused", file=path.name, key=str(values)[:60], known=", ".join(sorted(known)))
    for key in values:
        if key not in known:
            raise UserError("task_key_refused", file=path.name, key=str(key)[:60], known=", ".join(sorted(known)))


def _check_values(config: Mapping[str, Any], path: Path) -> None:
    """Refuse whatever lm-eval would look up outside itself."""
    if not _is_one_of(config.get("output_type", "generate_until"), OUTPUT_TYPES):
        raise _refused(path, "output_type", config["output_type"], OUTPUT_TYPES)
    for metric in _maps(config.get("metric_list"), path):
        _check_keys(metric, METRIC_KEYS, path)
        if not _is_one_of(metric.get("metric"), METRICS):
            raise _refused(path, "metric", metric.get("metric"), METRICS)
    for each in _maps(config.get("filter_list"), path):
        _check_keys(each, {"name", "filter"}, path)
        for step in _maps(each.get("filter"), path):
            if not _is_one_of(step.get("function"), FILTERS):
                raise _refused(path, "function", step.get("function"), FILTERS)
    _check_keys(config.get("generation_kwargs") or {}, GENERATION_KEYS, path)
    fewshot = config.get("fewshot_config") or {}
    _check_keys(fewshot, FEWSHOT_KEYS, path)
    if not _is_one_of(fewshot.get("sampler", "default"), ("default", "first_n")):
        raise _refused(path, "sampler", fewshot["sampler"], {"default", "first_n"})


def _is_one_of(value: object, known: Iterable[str]) -> bool:
    """Return whether a value is a known name; YAML may have put a list or a mapping there."""
    return isinstance(value, str) and value in tuple(known)


def _maps(values: Any, path: Path) -> list[dict[str, Any]]:
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise UserError("task_key_refused", file=path.name, key=str(values)[:60], known="- name: value")
    return values


def _refused(path: Path, key: str, value: object, known: Iterable[str]) -> UserError:
    return UserError("task_value_refused", file=path.name, key=key, value=str(value)[:60], known=", ".join(sorted(known)))


def _data_files(config: Mapping[str, Any], path: Path) -> dict[str, list[Path]]:
    """Return each split's files, all of them inside the task's folder."""
    if config.get("dataset_path") != "json":
        raise _refused(path, "dataset_path", config.get("dataset_path"), ["json"])
    options = config.get("dataset_kwargs") or {}
    _check_keys(options, {"data_files"}, path)
    told = options.get("data_files")
    by_split = told if isinstance(told, dict) else {"train": told}  # as the datasets library calls files without a split
    found = {}
    for split, names in by_split.items():
        listed = [name for name in (names if isinstance(names, list) else [names]) if isinstance(name, str)]
        if not listed:
            raise UserError("task_incomplete", file=path.name, key="data_files")
        found[str(split)] = [_inside(path, name) for name in listed]
    return found


def _inside(task: Path, name: str) -> Path:
    folder = task.parent.resolve()
    try:
        file = (folder / name).resolve()  # a link is followed first
        is_there = file.is_file()
    except (OSError, ValueError) as error:  # no file's name: too long, or with a NUL in it
        raise UserError("task_file_outside", file=task.name, data=name[:100]) from error
    if not file.is_relative_to(folder) or file.suffix != ".jsonl":
        raise UserError("task_file_outside", file=task.name, data=name[:100])
    if not is_there:
        raise UserError("file_missing", file=name[:100])
    if file.stat().st_size > MOST_DATA_BYTES:
        raise UserError("task_too_large", file=file.name, limit_bytes=MOST_DATA_BYTES)
    return file


def _rows_of(file: Path) -> list[dict[str, Any]]:
    stored = RowFile(file)
    rows = [row.value for row in stored]
    if not rows or len(rows) != len(stored):
        raise UserError("task_data_broken", file=file.name, rows=len(rows), lines=len(stored))
    return rows
