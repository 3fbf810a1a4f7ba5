"""A file of any format to a data set's own rows, streaming; everything left out is counted and named. Knows no pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.census import Census
from tunesmith.data.formats import Problem, Row
from tunesmith.data.line_ranges import find_ranges, range_items
from tunesmith.data.readers.hub import hub_rows
from tunesmith.data.readers.source import Budget, Source, inspect_source, iterate_rows
from tunesmith.data.row_kinds import ColumnMapping, canonical_row, suggest_mapping
from tunesmith.data.validation import check_row
from tunesmith.data.version_files import VersionWriter, hash_file
from tunesmith.errors import UserError

SAMPLES = 5
Progress = Callable[[int, int], None]
Items = Iterable[tuple[str, Row | Problem]]


@dataclass(frozen=True)
class Work:
    """What is read and how: a path, how its columns are mapped, what may be used, and who is told of the progress (bytes)."""

    path: Path
    mapping: ColumnMapping | None
    budget: Budget
    progress: Progress | None = None


def inspect(work: Work, most_rows: int = 0) -> dict[str, Any]:
    """Read a source (its first rows only with `most_rows`) and tell what an import would give. Raises UserError `data_…`, `archive_…`.

    Returns format, encoding, the census, whether it was read to its end, samples as (source, canonical), and a mapping that would fit.
    """
    source = inspect_source(work.path)
    census = Census()
    samples: list[dict[str, Any]] = []
    first: list[dict[str, Any]] = []
    whole = True
    for split, item, kind, value in _canonical(iterate_rows(work.path, work.budget, work.progress), work.mapping, census):
        if len(first) < SAMPLES:
            first.append(item.value)
        if value is not None:
            census.note_row(split, kind, b"")
            if len(samples) < SAMPLES:
                samples.append({"source": item.value, "canonical": value})
        if most_rows and sum(census.rows.values()) + census.left_out >= most_rows:
            whole = False
            break
    suggested = suggest_mapping(list(census.columns), first)
    return {
        **_origin(source), **census.as_record(), "whole": whole, "suggested": suggested.as_record() if suggested else None,
        "samples": samples or [{"source": row, "canonical": None} for row in first],
    }  # fmt: skip


def import_source(work: Work, target: Path) -> dict[str, Any]:
    """Write a source's usable rows as a version into an empty folder; return the version's record.

    Raises UserError `data_no_usable_rows`, `data_…`, `archive_…`.
    """
    source = inspect_source(work.path)
    ranges = [] if work.mapping else find_ranges(work.path, source, work.budget.field_bytes)

    def read(writer: VersionWriter) -> Items:
        if ranges:
            return range_items(work.path, next(iter(source.files)), ranges, writer, work.budget, work.progress)
        return iterate_rows(work.path, work.budget, work.progress)

    return import_items(read, work, target, _origin(source))


def import_hub(work: Work, target: Path, name: str) -> dict[str, Any]:
    """Write the usable rows of a hub's data set, `owner/name` or `owner/name:config`. Raises UserError `hub_…`, `data_…`."""
    origin = {"format": "hub", "encoding": "", "name": name}
    return import_items(lambda _writer: hub_rows(name, work.path, work.budget, work.progress), work, target, origin)


def import_items(read: Callable[[VersionWriter], Items], work: Work, target: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """Write usable rows as a version into an empty folder; return the version's record. Raises UserError `data_no_usable_rows`."""
    with VersionWriter(target) as writer:
        for split, _, kind, value in _canonical(read(writer), work.mapping, writer.census):
            if value is not None:
                writer.add(split, value, kind)
    census = writer.census.as_record()
    file = origin.get("name") or work.path.name  # what a person calls it
    if not census["rows"]:
        raise _nothing_usable(file, census)
    settings = {"file": file, **origin, "mapping": work.mapping.as_record() if work.mapping else None}
    return {
        "step": "import",
        "settings": settings,
        "sha256_in": _hash_source(work.path, writer),
        "sha256_out": writer.hashes(),
        "census": census,
    }


def _hash_source(path: Path, writer: VersionWriter) -> str:
    """Return the source's SHA-256; that of a file that was copied whole is known."""
    if path.is_file() and (known := writer.hash_if_copied(path.stat().st_size)):
        return known
    return hash_file(path) if path.exists() else ""


def _origin(source: Source) -> dict[str, Any]:
    return {"format": source.format, "encoding": source.encoding}


def _nothing_usable(file: str, census: dict[str, Any]) -> UserError:
    first = census["problems"][0] if census["problems"] else {"line": 1, "code": "unknown_kind"}
    rows = sum(census["problem_counts"].values())
    return UserError("data_no_usable_rows", file=file, rows=rows, first_line=first["line"], first_code=first["code"])


def _canonical(items: Items, mapping: ColumnMapping | None, census: Census) -> Iterator[tuple[str, Row, str, dict[str, Any] | None]]:
    """Yield (split, source row, kind, canonical row or None when it is left out); note columns and problems."""
    columns: tuple[str, ...] = ()
    for split, item in items:
        if isinstance(item, Problem):
            census.note_problem(split, item)
            census.left_out += item.severity == "error"
            continue
        if columns != (columns := tuple(item.value)):
            census.note_columns(item.value)
        kind, value, problems = canonical_row(item, mapping)
        if value is not None:
            problems += check_row(item if value is item.value else Row(item.line, value), kind)
        for problem in problems:
            census.note_problem(split, problem)
        if problems and any(p.severity == "error" for p in problems):
            value = None
        census.left_out += value is None
        yield split, item, kind, value
