"""What people do to data sets: bring files, clean, divide, go back. A child process reads and writes; every step is a new version.

Versions are written as a whole beside the others, so the command line may do all this while the app is in charge of the store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.data.quality import DROPPING, NORMALISATIONS
from tunesmith.errors import UserError
from tunesmith.jobs.reading import ask_reader
from tunesmith.services.context import Services
from tunesmith.services.datasets import DatasetInfo, find_dataset, open_store
from tunesmith.services.rights import needs, require_own
from tunesmith.store.datasets import Version
from tunesmith.system.paths import DEMO_DATA
from tunesmith.system.secrets import hub_environment

Progress = Callable[[float], object]
LOOKED_AT_ROWS = 20_000


@dataclass(frozen=True)
class Inspection:
    """What a file would give: usable rows by split and kind, the columns, first rows before and after, what is wrong.

    `whole` is False when only the first rows were looked at.
    """

    format: str
    encoding: str
    rows: dict[str, int]
    kinds: dict[str, int]
    methods: list[str]
    columns: list[str]
    samples: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    problem_counts: dict[str, int]
    left_out: int
    whole: bool
    suggested: dict[str, Any] | None


@dataclass(frozen=True)
class QualityFinding:
    """What one check found in a data set: how many rows, the first of them, and whether cleaning may drop them."""

    code: str
    severity: str
    count: int
    share: float
    drops: int
    examples: list[dict[str, Any]]
    facts: dict[str, Any]


def inspect_file(
    path: Path, mapping: Mapping[str, Any] | None = None, progress: Progress | None = None, most_rows: int = LOOKED_AT_ROWS
) -> Inspection:
    """Tell what an import of a file or folder would give; `mapping` is a ColumnMapping's record, `most_rows` 0 reads to the end.

    Raises UserError `data_…`, `archive_…`, `mapping_…`.
    """
    found = ask_reader("inspect", path, mapping=mapping, settings={"most_rows": most_rows}, progress=progress)
    return Inspection(**{name: found[name] for name in Inspection.__dataclass_fields__})


@needs(TRAINER)
def import_file(s: Services, path: Path, name: str = "", mapping: Mapping[str, Any] | None = None, progress: Progress | None = None) -> str:
    """Keep a file's or folder's usable rows as a data set and return its id; nothing is kept when no row can be used.

    Raises UserError `data_…`, `archive_…`, `mapping_…`, `disk_full`.
    """
    store = open_store(s)
    with store.staging() as folder:
        record = ask_reader("import", path, folder, mapping, progress=progress)
        return store.create(name or path.name, folder, record, {"title": {}, "file": path.name, "owner": s.person.name}, _taken_ids(s))


@needs(TRAINER)
def import_hub(s: Services, name: str, progress: Progress | None = None) -> str:
    """Keep the rows of a hub's data set, `owner/name` or `owner/name:config`, and return the id. Raises UserError `hub_…`, `data_…`."""
    store = open_store(s)
    with store.staging() as folder:
        environment = hub_environment() | {
            "HF_HOME": str(folder), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        rows = folder / "rows"
        rows.mkdir()
        record = ask_reader("import_hub", folder, rows, settings={"name": name}, progress=progress, environment=environment)
        facts = {"title": {}, "file": name, "owner": s.person.name}
        return store.create(name.rpartition("/")[2].replace(":", "-"), rows, record, facts, _taken_ids(s))


def _taken_ids(s: Services) -> set[str]:
    """Return the ids that a new data set cannot have: the shipped ones, and those that runs name: `name@1` means one content for ever."""
    of_runs = {run.experiment.data.partition("@")[0] for run in s.store.listing().runs}
    return of_runs | {path.name for path in DEMO_DATA.iterdir()}


@needs(TRAINER)
def check_quality(
    s: Services, dataset_id: str, rules: Mapping[str, Any] | None = None, progress: Progress | None = None
) -> list[QualityFinding]:
    """Return what the quality checks find. Raises UserError `dataset_unknown`."""
    found = ask_reader("check", find_dataset(s, dataset_id).path, settings=rules or {}, progress=progress)
    return [
        QualityFinding(
            f["code"], f["severity"], f["count"], f["share"], sum(map(len, f["rows"].values())), f["examples"], f["facts"]
        )
        for f in found["findings"]
    ]  # fmt: skip


@needs(TRAINER)
def clean(
    s: Services, dataset_id: str, drop: Sequence[str], normalise: Sequence[str], rules: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> int:  # fmt: skip
    """Leave out what the chosen checks found and clean texts; return the new version's number.

    Raises UserError `clean_…`, `owned_by_another`.
    """
    for names, known in ((drop, DROPPING), (normalise, tuple(NORMALISATIONS))):
        for name in names:
            if name not in known:
                raise UserError("clean_unknown", name=name[:100], known=", ".join(known))
    settings = {"drop": list(drop), "normalise": list(normalise), "rules": dict(rules or {})}
    return _rewrite(s, "clean", dataset_id, settings, progress)


@needs(TRAINER)
def split(s: Services, dataset_id: str, rules: Mapping[str, Any], progress: Progress | None = None) -> int:
    """Divide a data set anew by SplitRules and return the new version's number. Raises UserError `split_…`, `owned_by_another`."""
    for name in ("valid", "test"):
        if not 0 <= (size := rules.get(name, 0)) < math.inf:
            raise UserError("split_size_wrong", name=name, size=str(size))
    return _rewrite(s, "split", dataset_id, dict(rules), progress)


def _rewrite(s: Services, operation: str, dataset_id: str, settings: dict[str, Any], progress: Progress | None) -> int:
    info, store = _own_dataset(s, dataset_id), open_store(s)
    with store.staging() as folder:
        rows = folder / "rows"
        rows.mkdir()
        record = ask_reader(operation, info.path, rows, settings=settings, progress=progress)
        return store.add_version(info.id, rows, record)


@needs(TRAINER)
def copy_shipped(s: Services, dataset_id: str) -> str:
    """Make an own copy of a shipped or another's data set, so that it can be changed; return its id."""
    info = find_dataset(s, dataset_id)
    return import_file(s, info.path, name=info.id)


def versions(s: Services, dataset_id: str) -> list[Version]:
    """Return the versions of a data set by number; none of a shipped one."""
    info = find_dataset(s, dataset_id)
    return [] if info.shipped or not info.version else open_store(s).versions(info.id)


@needs(TRAINER)
def go_to_version(s: Services, dataset_id: str, number: int) -> None:
    """Make a version the current one again; no version is lost. Raises UserError `dataset_version_unknown`, `owned_by_another`."""
    open_store(s).set_current(_own_dataset(s, dataset_id).id, number)


def _own_dataset(s: Services, dataset_id: str) -> DatasetInfo:
    info = find_dataset(s, dataset_id)
    if info.shipped or not info.version:
        raise UserError("dataset_shipped", dataset=dataset_id)
    require_own(s, info.owner)
    return info
