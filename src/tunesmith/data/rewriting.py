"""A version of a data set to the next one: rows left out and texts cleaned, or divided anew. The old version's files are only read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tunesmith.data.formats import Problem
from tunesmith.data.importing import Work
from tunesmith.data.library import find_splits
from tunesmith.data.quality import QualityRules, check_quality, clean_value
from tunesmith.data.row_files import RowFile
from tunesmith.data.split import SplitRules, assign_splits, prompt_key
from tunesmith.data.validation import check_row
from tunesmith.data.version_files import VersionWriter, hash_splits
from tunesmith.errors import UserError


def _splits(work: Work) -> dict[str, RowFile]:
    return {name: RowFile(path) for name, path in find_splits(work.path).items()}


def check(work: Work, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the findings of every quality check, `{"findings": […]}`. Settings are `QualityRules`'."""
    findings = check_quality(_splits(work), QualityRules(**settings), work.progress)
    return {"findings": [finding.as_record() for finding in findings]}


def clean(work: Work, target: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Write the rows that no chosen check would drop, their texts normalised; return the version's record.

    A row that normalising spoils, such as one with an answer of invisible characters alone, is left out and its problem noted.

    Settings: `drop` (codes of checks), `normalise` (names of normalisations), `rules`. Raises UserError `clean_nothing_left`.
    """
    splits = _splits(work)
    dropped: dict[str, set[int]] = {name: set() for name in splits}
    counts: Counter[str] = Counter()
    rules = QualityRules(**settings.get("rules", {}))
    for finding in check_quality(splits, rules, work.progress) if settings["drop"] else []:
        if finding.code in settings["drop"]:
            for name, numbers in finding.rows.items():
                dropped[name].update(numbers)
                counts[finding.code] += len(numbers)
    changed: Counter[str] = Counter()
    with VersionWriter(target) as writer:
        for name, rows in splits.items():
            for number, row in enumerate(rows):
                if number in dropped[name]:
                    continue
                value, names = clean_value(row.value, tuple(settings["normalise"]))
                problems = check_row(row._replace(value=value))
                for problem in problems:
                    writer.census.note_problem(name, problem)
                if names and _has_error(problems) and not _has_error(check_row(row)):
                    writer.census.left_out += 1
                    continue
                changed.update(names)
                writer.census.note_columns(value)
                writer.add(name, value)
    writer.census.left_out += sum(map(len, dropped.values()))
    if not writer.census.rows["train"]:
        raise UserError("clean_nothing_left", rows=writer.census.left_out)
    done = {"drop": list(settings["drop"]), "normalise": list(settings["normalise"]), "rules": settings.get("rules", {}),
            "dropped": dict(counts), "changed": dict(changed)}  # fmt: skip
    return _record("clean", done, work, writer)


def _has_error(problems: list[Problem]) -> bool:
    return any(problem.severity == "error" for problem in problems)


def resplit(work: Work, target: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Divide all rows anew by `SplitRules`; return the version's record. Raises UserError `split_too_large`, `split_column_missing`."""
    rules = SplitRules(**settings)
    splits = _splits(work)
    keys: list[bytes] = []
    strata: list[str] = []
    for name, rows in splits.items():
        for number, row in enumerate(rows):
            keys.append(prompt_key(row.value) if rules.by_prompt else f"{name}/{number}".encode())
            strata.append(str(row.value.get(rules.stratify, "")))
            if rules.stratify and rules.stratify not in row.value:
                raise UserError("split_column_missing", column=rules.stratify, line=row.line)
    assigned = iter(assign_splits(keys, strata, rules))
    with VersionWriter(target) as writer:
        for rows in splits.values():
            for row in rows:
                writer.census.note_columns(row.value)
                writer.add(next(assigned), row.value)
    return _record("split", dict(settings), work, writer)


def _record(step: str, settings: dict[str, Any], work: Work, writer: VersionWriter) -> dict[str, Any]:
    return {
        "step": step, "settings": settings, "sha256_in": hash_splits(work.path), "sha256_out": writer.hashes(),
        "census": writer.census.as_record(),
    }  # fmt: skip
