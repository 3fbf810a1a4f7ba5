"""Data sets: the shipped ones and those that people brought; their versions, rows, counts and problems."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tunesmith.access.people import TRAINER
from tunesmith.data.census import take_census
from tunesmith.data.formats import Row, as_messages, methods_of, row_kind
from tunesmith.data.library import find_splits
from tunesmith.data.row_files import open_rows
from tunesmith.data.row_kinds import canonical_row
from tunesmith.errors import UserError
from tunesmith.services.context import Services
from tunesmith.services.rights import needs, require_own
from tunesmith.store.datasets import DatasetStore, Version, read_facts
from tunesmith.store.experiments import ACTIVE
from tunesmith.system.paths import DEMO_DATA, typed_path

_VERSIONED = re.compile(r"(.+)@(\d+)")


@dataclass(frozen=True)
class DatasetInfo:
    """Where a data set lies, and which of its versions is meant (none of a shipped one or of plain files)."""

    id: str
    path: Path
    shipped: bool
    facts: dict[str, Any]
    version: Version | None = None

    @property
    def pinned_id(self) -> str:
        """The id that always means this version."""
        return f"{self.id}@{self.version.number}" if self.version else self.id

    @property
    def owner(self) -> str:
        """Who brought it; nobody for a shipped or an old one."""
        owner = self.facts.get("owner")
        return owner if isinstance(owner, str) and not self.shipped else ""


@dataclass(frozen=True)
class DatasetSummary:
    """A data set in figures; `columns` are those that came with it, `version` is 0 when there are none."""

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
    columns: tuple[str, ...] = ()
    version: int = 0
    hash: str = ""
    owner: str = ""


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
    """A data set's figures and problems; of very many problems the first are kept, `problem_counts` has all by code."""

    summary: DatasetSummary
    problems: list[SplitProblem]
    characters_median: int
    characters_longest: int
    duplicates: int
    problem_counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class RowView:
    """One row as a conversation; `messages` is empty when it is none, `raw` is its JSON."""

    line: int
    kind: str
    messages: list[dict[str, str]]
    raw: str


def open_store(s: Services) -> DatasetStore:
    """Return where people's own data sets are kept."""
    return DatasetStore(s.data_dir)


def all_datasets(s: Services) -> list[DatasetInfo]:
    """Return the shipped data sets, then the people's own in their current version."""
    shipped = [DatasetInfo(p.name, p, True, read_facts(p)) for p in sorted(DEMO_DATA.iterdir()) if (p / "dataset.json").exists()]
    store = open_store(s)
    return shipped + [_own(store, path, 0) for path in store.folders()]


def _own(store: DatasetStore, folder: Path, number: int) -> DatasetInfo:
    facts = read_facts(folder)
    wanted = number or facts.get("current", 0)
    version = next((v for v in store.versions(folder.name) if v.number == wanted), None)
    if number and version is None:
        raise UserError("dataset_version_unknown", dataset=folder.name, version=number)
    return DatasetInfo(folder.name, version.path if version else folder, False, facts, version)


def find_dataset(s: Services, dataset_id: str) -> DatasetInfo:
    """Return a data set by its id (`name`, or `name@2` for a version), or by the path of a file or folder (command line).

    Raises UserError `dataset_missing`, `dataset_unknown`, `dataset_version_unknown`, `path_for_admins`, `path_of_windows`.
    """
    if not dataset_id:
        raise UserError("dataset_missing")
    match = _VERSIONED.fullmatch(dataset_id)
    name, number = (match[1], int(match[2])) if match else (dataset_id, 0)
    store = open_store(s)
    for info in all_datasets(s):
        if info.id == name:
            return info if info.shipped or not number else _own(store, store.root / name, number)
    path = typed_path(dataset_id)
    if path.is_absolute():
        s.require_path(path)
    if path.is_absolute() and path.exists():
        return DatasetInfo(path.stem, path, False, {})
    raise UserError("dataset_unknown", dataset=dataset_id)


@functools.lru_cache(maxsize=64)
def _count_files(path: Path, stamp: tuple[tuple[str, int, int], ...]) -> dict[str, Any]:
    del stamp  # part of the cache's key only
    return take_census(path)


def _census(info: DatasetInfo) -> dict[str, Any]:
    if info.version:
        census: dict[str, Any] = info.version.record["census"]
        return census
    files = sorted(find_splits(info.path).values()) or [info.path]
    return _count_files(info.path, tuple((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files))


def summarise(info: DatasetInfo) -> DatasetSummary:
    """Return a data set in figures. Raises UserError `data_…`."""
    census = _census(info)
    warnings = sum(p["severity"] == "warning" for p in census["problems"])
    title, description = info.facts.get("title"), info.facts.get("description")
    return DatasetSummary(
        id=info.id, title=title if isinstance(title, dict) else {}, description=description if isinstance(description, dict) else {},
        shipped=info.shipped, rows=census["rows"], kinds=census["kinds"],
        methods=methods_of(list(census["kinds"])),
        size_bytes=sum(p.stat().st_size for p in find_splits(info.path).values()), errors=census["left_out"], warnings=warnings,
        columns=tuple(census["columns"]), version=info.version.number if info.version else 0,
        hash=info.version.hash if info.version else "", owner=info.owner,
    )  # fmt: skip


def list_datasets(s: Services) -> list[DatasetSummary]:
    """Return all data sets; one whose files cannot be read is listed with one error."""
    found = []
    for info in all_datasets(s):
        try:
            found.append(summarise(info))
        except (UserError, OSError, KeyError):
            found.append(DatasetSummary(info.id, {}, {}, info.shipped, {}, {}, (), 0, errors=1, warnings=0, owner=info.owner))
    return found


def report(s: Services, dataset_id: str) -> DatasetReport:
    """Return a data set's figures and problems. Raises UserError `dataset_unknown`, `data_…`."""
    info = find_dataset(s, dataset_id)
    census = _census(info)
    return DatasetReport(
        summary=summarise(info), problems=[SplitProblem(**problem) for problem in census["problems"]],
        characters_median=census["characters_median"], characters_longest=census["characters_longest"], duplicates=census["duplicates"],
        problem_counts=census["problem_counts"],
    )  # fmt: skip


def rows(s: Services, dataset_id: str, split: str, offset: int = 0, limit: int = 20, search: str = "") -> list[RowView]:
    """Return a page of rows, or the first that contain the search text."""
    path = find_splits(find_dataset(s, dataset_id).path).get(split)
    if path is None:
        return []
    found = open_rows(path).search(search, limit) if search else open_rows(path).page(offset, limit)
    return [view_row(row.line, _under_our_names(row)) for row in found]


def row_value(s: Services, dataset_id: str, split: str, number: int) -> dict[str, Any] | None:
    """Return a split's row by its place, counted from 0; None when there is none."""
    path = find_splits(find_dataset(s, dataset_id).path).get(split)
    found = open_rows(path).page(number, 1) if path else []
    return _under_our_names(found[0]) if found else None


def row_values(s: Services, dataset_id: str, split: str, limit: int) -> list[dict[str, Any]]:
    """Return the first rows of a split under our column names; none when there is no such split. Raises UserError `dataset_unknown`."""
    path = find_splits(find_dataset(s, dataset_id).path).get(split)
    return [_under_our_names(row) for row in open_rows(path).page(0, limit)] if path else []


def _under_our_names(row: Row) -> dict[str, Any]:
    """Return a row's values; those of files that were laid here may have other columns."""
    return canonical_row(row)[1] or row.value


def view_row(line: int, value: dict[str, Any]) -> RowView:
    """Return a row as a page shows it."""
    kind = row_kind(value)
    raw = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
    try:
        messages = [{"role": str(m["role"]), "content": str(m["content"])} for m in as_messages(value)]
    except (UserError, KeyError, TypeError):
        messages = []
    return RowView(line, kind, messages, raw)


def held_out_prompts(path: Path, limit: int) -> list[str]:
    """Return the first questions of the test rows, else of the validation rows; none when the data set has neither."""
    splits = find_splits(path) if path.exists() else {}
    source = splits.get("test") or splits.get("valid")
    if source is None:
        return []
    prompts: dict[str, None] = {}
    for row in open_rows(source):
        prompts.update(dict.fromkeys([m["content"] for m in view_row(*row).messages if m["role"] == "user"][:1]))
        if len(prompts) >= limit:
            break
    return list(prompts)


@needs(TRAINER)
def delete(s: Services, dataset_id: str) -> None:
    """Move one of the people's own data sets to the trash.

    Raises UserError `dataset_shipped`, `dataset_in_use`, `dataset_unknown`, `owned_by_another`.
    """
    s.require_writable()
    info = find_dataset(s, dataset_id)
    if info.shipped:
        raise UserError("dataset_shipped", dataset=dataset_id)
    require_own(s, info.owner)
    for experiment in s.store.all()[0]:
        if experiment.status in ACTIVE | {"paused"} and info.id in {experiment.data, experiment.data.partition("@")[0]}:
            raise UserError("dataset_in_use", dataset=dataset_id, run=s.store.display_name(experiment))
    open_store(s).trash(dataset_id)


@needs(TRAINER)
def restore(s: Services, dataset_id: str) -> None:
    """Bring a deleted data set back. Raises UserError `dataset_unknown`, `dataset_exists`, `owned_by_another`."""
    s.require_writable()
    require_own(s, open_store(s).owner(dataset_id))
    open_store(s).restore(dataset_id)
