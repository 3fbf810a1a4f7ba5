"""Data sets: the shipped ones and those that people brought; their rows, counts and problems."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import orjson

from tunesmith.data.formats import Problem, ReadResult, Row, as_messages, parse_rows, read_rows, row_kind
from tunesmith.data.library import find_splits
from tunesmith.data.statistics import count_duplicates, count_kinds
from tunesmith.data.validation import find_problems
from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.store.datasets import DatasetStore, read_facts
from tunesmith.store.experiments import ACTIVE
from tunesmith.system.paths import DEMO_DATA

MAXIMUM_UPLOAD_BYTES = 200_000_000
METHODS_BY_KIND = {
    "messages": "sft", "prompt_completion": "sft", "text": "sft", "preference": "dpo", "prompt_answer": "grpo",
}  # fmt: skip


@dataclass(frozen=True)
class DatasetInfo:
    """Where a data set lies."""

    id: str
    path: Path
    shipped: bool
    facts: dict[str, Any]


@dataclass(frozen=True)
class DatasetSummary:
    """A data set in figures."""

    id: str
    title: dict[str, str]
    description: dict[str, str]
    shipped: bool
    rows: dict[str, int]
    kinds: dict[str, int]
    methods: tuple[str, ...]
    size_bytes: int
    errors: int
    warnings: int


@dataclass(frozen=True)
class SplitProblem:
    """A problem and the file that it stands in."""

    split: str
    line: int
    field: str
    code: str
    facts: dict[str, Any]
    severity: str


@dataclass(frozen=True)
class DatasetReport:
    """A data set's figures and problems."""

    summary: DatasetSummary
    problems: list[SplitProblem]
    characters_median: int
    characters_longest: int
    duplicates: int


@dataclass(frozen=True)
class RowView:
    """One row as a conversation; `messages` is empty when it is none, `raw` is its JSON."""

    line: int
    kind: str
    messages: list[dict[str, str]]
    raw: str


@dataclass(frozen=True)
class _Split:
    read: ReadResult
    problems: list[Problem]


def all_datasets(s: Services) -> list[DatasetInfo]:
    """Return the shipped data sets, then the people's own."""
    shipped = [DatasetInfo(p.name, p, True, read_facts(p)) for p in sorted(DEMO_DATA.iterdir()) if (p / "dataset.json").exists()]
    return shipped + [DatasetInfo(p.name, p, False, read_facts(p)) for p in _store(s).folders()]


def _store(s: Services) -> DatasetStore:
    return DatasetStore(s.data_dir)


def find_dataset(s: Services, dataset_id: str) -> DatasetInfo:
    """Return a data set by its id, or by the path of a file or folder (command line). Raises UserError `dataset_unknown`."""
    if not dataset_id:
        raise UserError("dataset_missing")
    for info in all_datasets(s):
        if info.id == dataset_id:
            return info
    path = Path(dataset_id).expanduser()
    if path.is_absolute() and path.exists():
        return DatasetInfo(path.stem, path, False, {})
    raise UserError("dataset_unknown", dataset=dataset_id)


@functools.lru_cache(maxsize=64)
def _read_split(path: Path, modified_ns: int, size_bytes: int) -> _Split:
    del modified_ns, size_bytes  # part of the cache's key only
    read = read_rows(path)
    return _Split(read, [*read.problems, *find_problems(read.rows)])


def _splits(info: DatasetInfo) -> dict[str, _Split]:
    found = {}
    for name, path in find_splits(info.path).items():
        state = path.stat()
        found[name] = _read_split(path, state.st_mtime_ns, state.st_size)
    return found


def _summarise(info: DatasetInfo, splits: dict[str, _Split]) -> DatasetSummary:
    kinds: dict[str, int] = {}
    for split in splits.values():
        for kind, count in count_kinds(split.read.rows).items():
            kinds[kind] = kinds.get(kind, 0) + count
    severities = [p.severity for split in splits.values() for p in split.problems]
    offered = info.facts.get("methods") or sorted({METHODS_BY_KIND[k] for k in kinds if k in METHODS_BY_KIND})
    title, description = info.facts.get("title"), info.facts.get("description")
    return DatasetSummary(
        id=info.id, title=title if isinstance(title, dict) else {}, description=description if isinstance(description, dict) else {},
        shipped=info.shipped, rows={name: len(split.read.rows) for name, split in splits.items()}, kinds=kinds, methods=tuple(offered),
        size_bytes=sum(p.stat().st_size for p in find_splits(info.path).values()), errors=severities.count("error"),
        warnings=severities.count("warning"),
    )  # fmt: skip


def list_datasets(s: Services) -> list[DatasetSummary]:
    """Return all data sets; one whose files cannot be read is listed with one error."""
    found = []
    for info in all_datasets(s):
        try:
            found.append(_summarise(info, _splits(info)))
        except (UserError, OSError):
            found.append(DatasetSummary(info.id, {}, {}, info.shipped, {}, {}, (), 0, errors=1, warnings=0))
    return found


def report(s: Services, dataset_id: str) -> DatasetReport:
    """Return a data set's figures and all its problems. Raises UserError `dataset_unknown`, `data_…`."""
    info = find_dataset(s, dataset_id)
    splits = _splits(info)
    lengths = [len(orjson.dumps(row.value).decode()) for split in splits.values() for row in split.read.rows]
    problems = [
        SplitProblem(name, p.line, p.field, p.code, dict(p.facts), p.severity) for name, split in splits.items() for p in split.problems
    ]
    return DatasetReport(
        summary=_summarise(info, splits), problems=problems, characters_median=int(median(lengths)) if lengths else 0,
        characters_longest=max(lengths, default=0), duplicates=sum(count_duplicates(split.read.rows) for split in splits.values()),
    )  # fmt: skip


def rows(s: Services, dataset_id: str, split: str, offset: int = 0, limit: int = 20, search: str = "") -> list[RowView]:
    """Return a page of rows, those that contain the search text only."""
    found = _splits(find_dataset(s, dataset_id)).get(split)
    chosen = found.read.rows if found else []
    if search:
        chosen = [row for row in chosen if search.lower() in orjson.dumps(row.value).decode().lower()]
    return [_view(row) for row in chosen[offset : offset + limit]]


def row_value(s: Services, dataset_id: str, split: str, number: int) -> dict[str, Any] | None:
    """Return a split's row by its place, counted from 0; None when there is none."""
    found = _splits(find_dataset(s, dataset_id)).get(split)
    return found.read.rows[number].value if found and number < len(found.read.rows) else None


def _view(row: Row) -> RowView:
    kind = row_kind(row.value)
    raw = orjson.dumps(row.value, option=orjson.OPT_INDENT_2).decode()
    try:
        messages = [{"role": str(m["role"]), "content": str(m["content"])} for m in as_messages(row.value)]
    except (UserError, KeyError, TypeError):
        messages = []
    return RowView(row.line, kind, messages, raw)


def held_out_prompts(path: Path, limit: int) -> list[str]:
    """Return the first questions of the test rows, else of the validation rows; none when the data set has neither."""
    splits = find_splits(path) if path.exists() else {}
    source = splits.get("test") or splits.get("valid")
    if source is None:
        return []
    prompts = []
    for row in read_rows(source).rows:
        asked = [m["content"] for m in _view(row).messages if m["role"] == "user"]
        if asked and asked[0] not in prompts:
            prompts.append(asked[0])
    return prompts[:limit]


def add_upload(s: Services, file_name: str, content: bytes) -> str:
    """Keep an uploaded file as a data set and return its id; nothing is kept when it cannot be used.

    Raises UserError `data_file_empty`, `data_file_too_large`, `data_not_utf8`, `data_no_usable_rows`, `server_read_only`.
    """
    s.require_writable()
    if len(content) > MAXIMUM_UPLOAD_BYTES:
        raise UserError("data_file_too_large", file=file_name, size_bytes=len(content), largest_bytes=MAXIMUM_UPLOAD_BYTES)
    read = parse_rows(content, file_name)
    problems = [p for p in [*read.problems, *find_problems(read.rows)] if p.severity == "error"]
    usable = {row.line for row in read.rows} - {p.line for p in problems}
    if not usable:
        first = min(problems, key=lambda p: p.line)
        raise UserError("data_no_usable_rows", file=file_name, rows=len(problems), first_line=first.line, first_code=first.code)
    return _store(s).add(file_name, {"train.jsonl": content}, {"title": {}, "file": file_name})


def delete(s: Services, dataset_id: str) -> None:
    """Move one of the people's own data sets to the trash. Raises UserError `dataset_shipped`, `dataset_in_use`, `dataset_unknown`."""
    s.require_writable()
    info = find_dataset(s, dataset_id)
    if info.shipped:
        raise UserError("dataset_shipped", dataset=dataset_id)
    for experiment in s.store.all()[0]:
        if experiment.status in ACTIVE and experiment.data_path == str(info.path):
            raise UserError("dataset_in_use", dataset=dataset_id, run=s.store.display_name(experiment))
    _store(s).trash(dataset_id)


def restore(s: Services, dataset_id: str) -> None:
    """Bring a deleted data set back. Raises UserError `dataset_unknown`, `dataset_exists`."""
    s.require_writable()
    _store(s).restore(dataset_id)
