"""Curves of runs that other tools made, read from their logs: mlx-lm's output, Hugging Face's and LLaMA-Factory's files, CSV.

Returns records `{step, metric: value}` under our names for metrics. Knows no store; a log is a stranger's text and is only read.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tunesmith.data.readers.archives import printable
from tunesmith.errors import UserError

MOST_BYTES = 200_000_000
LONGEST_LINE = 100_000  # characters of a table's line
MOST_RECORDS, MOST_METRICS, LONGEST_NAME, LARGEST_STEP = 2_000_000, 300, 100, 10**9
Record = dict[str, Any]
_NAMES: Mapping[str, str] = {
    "loss": "train_loss", "train/loss": "train_loss", "training_loss": "train_loss", "eval_loss": "val_loss", "eval/loss": "val_loss",
    "valid_loss": "val_loss", "validation_loss": "val_loss", "lr": "learning_rate", "train/learning_rate": "learning_rate",
    "train/grad_norm": "grad_norm", "train/epoch": "epoch", "rewards/margins": "reward_margin", "rewards/chosen": "reward_chosen",
    "rewards/rejected": "reward_rejected", "rewards/accuracies": "reward_accuracy", "eval_rewards/margins": "val_margin",
    "eval_rewards/accuracies": "val_accuracy", "eval_reward": "val_reward", "num_tokens": "tokens_seen",
    "num_input_tokens_seen": "tokens_seen",
    "completions/mean_length": "completion_tokens", "train_runtime": "elapsed_seconds", "total_steps": "steps_planned",
}  # fmt: skip
_MLX_NAMES: Mapping[str, str] = {
    "train loss": "train_loss", "val loss": "val_loss", "learning rate": "learning_rate", "tokens/sec": "tokens_per_second",
    "trained tokens": "tokens_seen", "peak mem": "peak_memory_bytes", "it/sec": "steps_per_second",
}  # fmt: skip
_STEP_NAMES = ("step", "global_step", "current_steps", "iteration", "iter", "train/global_step", "_step")
_LEFT_OUT = {*_STEP_NAMES, "percentage", "total_flos", "v", "seq", "attempt", "time", "self", "nonfinite", "resumed"}  # the last are ours
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NUMBER = r"(-?(?:\d[\d,]*\.?\d*(?:e[+-]?\d+)?|nan|inf))"
_MLX_LINE = re.compile(r"\s*Iter (\d{1,10}): (.+)", re.IGNORECASE)
_MLX_PART = re.compile(r"([A-Za-z/ ]+?) " + _NUMBER + r"(?:s| GB)?\.?", re.IGNORECASE)
_MLX_TRAIN_ROW = re.compile(r"\s*(\d{1,10})\s+" + _NUMBER + r"\s+[▼▲]\s+" + _NUMBER + r"\s+" + _NUMBER + r"k\s*")
_MLX_VAL_ROW = re.compile(r"\s*(\d{1,10})\s+val\s+" + _NUMBER + r"\s+[\d.]+s\s*")
_THOUSANDS = re.compile(r"-?\d{1,3}(,\d{3})+(\.\d+)?")
_CLOCK = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d)")


@dataclass(frozen=True)
class ForeignRun:
    """What a log tells: the tool, records by step (ascending), the method that its metrics speak of, the length that was planned."""

    tool: str
    records: list[Record]
    method: str = "sft"
    steps_planned: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last_step(self) -> int:
        """The last step that was measured."""
        return int(self.records[-1]["step"])


def read_training_log(path: Path) -> ForeignRun:
    """Return the run in a log, told by its content.

    Raises UserError `file_missing`, `log_too_large`, `log_not_text`, `log_not_understood`, `log_without_steps`.
    """
    if not path.is_file():
        raise UserError("file_missing", file=str(path))
    if path.stat().st_size > MOST_BYTES:
        raise UserError("log_too_large", file=path.name, most_bytes=MOST_BYTES)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("log_not_text", file=path.name) from error
    for read in (_trainer_state, _trainer_log, _mlx_lm, _table):
        if found := read(text):
            return _ordered(found, path.name)
    raise UserError("log_not_understood", file=printable(path.name))


def _ordered(run: ForeignRun, file: str) -> ForeignRun:
    """Return the run with one record a step; what was measured again counts, as after a resume."""
    steps: dict[int, Record] = {}
    for record in run.records:
        steps.setdefault(record["step"], {"step": record["step"]}).update(record)
    records = [steps[step] for step in sorted(steps) if len(steps[step]) > 1]
    if not records:
        raise UserError("log_without_steps", file=printable(file))
    names = {name for record in records for name in record}
    method = "dpo" if "reward_margin" in names else "grpo" if "reward" in names else "sft"
    return ForeignRun(run.tool, records, method, run.steps_planned or records[-1]["step"], run.settings)


def _trainer_state(text: str) -> ForeignRun | None:
    """Read Hugging Face's trainer_state.json; the last entry of log_history has means over the whole run: only its time is kept."""
    if '"log_history"' not in text:
        return None
    state = _parse_json(text)
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        return None
    entries = [
        {name: v for name, v in e.items() if name != "train_loss" or "train_runtime" not in e} for e in history if isinstance(e, dict)
    ]
    records = list(_take(_plain(entry) for entry in entries))
    settings = {"batch_size": state.get("train_batch_size"), "iters": state.get("max_steps"), "epochs": state.get("num_train_epochs")}
    return ForeignRun("transformers", records, steps_planned=_whole(state.get("max_steps")), settings=settings)


def _trainer_log(text: str) -> ForeignRun | None:
    """Read LLaMA-Factory's trainer_log.jsonl, or any JSON lines with a step in each."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or not lines[0].lstrip().startswith("{"):
        return None
    entries = []
    for line in lines:
        if isinstance(entry := _parse_json(line), dict):  # the last line of a run that was killed is none
            entries.append(entry)
    if not any(name in entry for entry in entries for name in _STEP_NAMES):
        return None
    tool = "llama-factory" if any("current_steps" in entry for entry in entries) else "json lines"
    planned = max((_whole(entry.get("total_steps")) for entry in entries), default=0)
    return ForeignRun(tool, list(_take(_plain(entry) for entry in entries)), steps_planned=planned)


def _mlx_lm(text: str) -> ForeignRun | None:
    """Read what mlx-lm prints: lines `Iter 10: Train loss …` of versions before 0.32, rows of a table since.

    A validation is printed with the number of the step that it comes before, so it belongs to the step before that.
    """
    records: list[Record] = []
    planned = 0
    for line in text.splitlines():
        plain = _ANSI.sub("", line)
        if match := _MLX_LINE.match(plain):
            records += _mlx_parts(int(match[1]), match[2])
        elif match := _MLX_VAL_ROW.fullmatch(plain):
            records.append({"step": max(0, int(match[1]) - 1), "val_loss": _number(match[2])})
        elif match := _MLX_TRAIN_ROW.fullmatch(plain):
            loss, speed, tokens = (_number(part) for part in match.groups()[1:])
            records.append({"step": int(match[1]), "train_loss": loss, "tokens_per_second": speed, "tokens_seen": tokens * 1000})
        elif match := re.search(r"(?:iters: |\d/)(\d{1,10})\s*$", plain):
            planned = int(match[1])
    return ForeignRun("mlx-lm", list(_take(records)), steps_planned=planned) if records else None


def _mlx_parts(step: int, text: str) -> list[Record]:
    record: Record = {}
    for part in text.split(", "):
        match = _MLX_PART.fullmatch(part.strip())
        if match and (name := _MLX_NAMES.get(match[1].strip().lower())):
            record[name] = _number(match[2]) * (1e9 if name == "peak_memory_bytes" else 1)
    if not record:
        return []
    return [{"step": max(0, step - 1) if "val_loss" in record else step, **record}]


def _table(text: str) -> ForeignRun | None:
    """Read a table with a column of steps; a column in long form (`metric`, `value`) is spread out."""
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    lines = text.splitlines()
    if max(map(len, lines), default=0) > LONGEST_LINE:
        return None
    rows = csv.DictReader(lines, delimiter=delimiter)
    try:
        names = [name.strip() for name in rows.fieldnames or () if name]
        if not any(name.lower() in _STEP_NAMES for name in names):
            return None
        entries = [{(name or "").strip(): value for name, value in row.items()} for row in rows]
    except csv.Error:
        return None
    if delimiter == ";":  # written where the comma is the decimal point
        entries = [{name: value.replace(",", ".") if isinstance(value, str) else value for name, value in e.items()} for e in entries]
    if {"metric", "value"} <= set(names):
        entries = [{**entry, "value": None, str(entry["metric"]): entry["value"]} for entry in entries]
    return ForeignRun("csv", list(_take(_plain(entry) for entry in entries)))


def _take(records: Iterable[Record]) -> Iterator[Record]:
    """Yield the records within what a run may have."""
    names: set[str] = set()
    for count, record in enumerate(records):
        if count == MOST_RECORDS:
            raise UserError("log_too_many_steps", most=MOST_RECORDS)
        names |= set(record)
        if len(names) > MOST_METRICS:
            raise UserError("log_too_many_metrics", most=MOST_METRICS)
        if "step" in record:
            yield record


def _plain(entry: Mapping[str, Any]) -> Record:
    """Return the numbers of an entry under our names; without its step when it has none."""
    lowered = {str(name).lower(): value for name, value in entry.items() if name is not None}
    step = next((found for name in _STEP_NAMES if (found := _whole(lowered.get(name), -1)) >= 0), -1)
    record: Record = {"step": step} if 0 <= step <= LARGEST_STEP else {}
    if (clock := _CLOCK.fullmatch(str(lowered.get("elapsed_time", "")))) is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        record["elapsed_seconds"] = float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    for name, value in lowered.items():
        if name in _LEFT_OUT or len(name) > LONGEST_NAME or not name or not name.isprintable() or isinstance(value, bool):
            continue
        try:
            record[_NAMES.get(name, name)] = _number(value)
        except (TypeError, ValueError, OverflowError):
            continue
    return record


def _number(value: Any) -> float:
    if isinstance(value, str) and _THOUSANDS.fullmatch(value.strip()):
        value = value.replace(",", "")
    return float(value)


def _parse_json(text: str) -> Any:
    """Return a JSON value, None when it is none; Python's trainers write NaN, which is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _whole(value: Any, otherwise: int = 0) -> int:
    try:
        number = _number(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise
    return int(number) if math.isfinite(number) and number == int(number) and abs(number) <= LARGEST_STEP else otherwise
