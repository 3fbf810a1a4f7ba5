"""What a data set holds, counted row by row while it is read or written: rows, kinds, columns, lengths, repetitions, problems."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tunesmith.data.formats import KINDS, Problem, Row, methods_of, row_kind
from tunesmith.data.library import SPLITS
from tunesmith.data.plain_lines import Verdict
from tunesmith.data.row_files import read_splits
from tunesmith.data.validation import check_row

MOST_PROBLEMS = 500
MOST_COLUMNS = 1000


@dataclass
class Census:
    """Counts that grow; of problems the first 500 are kept, of all of them the number by code."""

    rows: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    columns: dict[str, None] = field(default_factory=dict)
    problems: list[dict[str, Any]] = field(default_factory=list)
    problem_counts: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    _lengths: array[int] = field(default_factory=lambda: array("I"))
    _hashes: array[int] = field(default_factory=lambda: array("q"))

    def note_row(self, split: str, kind: str, line: bytes) -> None:
        """Count a usable row by its JSON text."""
        self.rows[split] += 1
        self.kinds[kind] += 1
        self._lengths.append(len(line) if line.isascii() else len(line.decode("utf-8", "replace")))
        self._hashes.append(hash(line))

    def note_range(self, split: str, verdict: Verdict) -> None:
        """Count a range of plain rows."""
        self.rows[split] += verdict.lines
        self.kinds.update(verdict.kinds)
        self._lengths.frombytes(verdict.lengths)
        self._hashes.frombytes(verdict.hashes)
        for kind in verdict.kinds:
            self.columns.update(dict.fromkeys(KINDS[kind].columns))

    def note_columns(self, value: Mapping[str, Any]) -> None:
        """Remember the names of a source row's columns in the order in which they come."""
        if len(self.columns) < MOST_COLUMNS:
            self.columns.update(dict.fromkeys(value))

    def note_problem(self, split: str, problem: Problem) -> None:
        """Count a problem, and keep it while there are not too many."""
        self.problem_counts[problem.code] += 1
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(
                {"split": split, "line": problem.line, "field": problem.field, "code": problem.code, "facts": dict(problem.facts),
                 "severity": problem.severity}
            )  # fmt: skip

    def as_record(self) -> dict[str, Any]:
        """Return plain values; lengths in characters of JSON, `duplicates` counts rows that repeat an earlier one exactly."""
        ordered = np.sort(np.array(self._hashes, dtype=np.int64))
        repeated = int(np.count_nonzero(ordered[1:] == ordered[:-1]))
        return {
            "rows": {name: self.rows[name] for name in SPLITS if name in self.rows}, "kinds": dict(self.kinds.most_common()),
            "methods": list(methods_of(list(self.kinds))), "columns": list(self.columns), "problems": self.problems,
            "problem_counts": dict(self.problem_counts.most_common()),
            "left_out": self.left_out, "duplicates": repeated, "characters_median": int(np.median(self._lengths)) if self._lengths else 0,
            "characters_longest": max(self._lengths, default=0),
        }  # fmt: skip


def take_census(path: Path) -> dict[str, Any]:
    """Return the record of a data set whose files were not imported by us. Raises UserError `data_…`."""
    census = Census()
    for split, result in read_splits(path).items():
        for problem in result.problems:
            census.note_problem(split, problem)
            census.left_out += problem.severity == "error"
        for row in result.rows:
            note_checked(census, split, row)
    return census.as_record()


def note_checked(census: Census, split: str, row: Row) -> None:
    """Count a canonical row and what is wrong with it."""
    census.note_columns(row.value)
    for problem in check_row(row):
        census.note_problem(split, problem)
    census.note_row(split, row_kind(row.value), orjson.dumps(row.value))
