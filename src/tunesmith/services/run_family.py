"""A run's family: the runs that it went on from, the runs that went on from it, the adapters, exports and evaluations made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunesmith.services.context import Services
from tunesmith.services.experiments import ExperimentRow
from tunesmith.services.lineage import runs_of
from tunesmith.services.run_facts import uses_of
from tunesmith.store.adapters import AdapterStore

BEGIN = "resume_adapter_file"


@dataclass(frozen=True)
class Relative:
    """Something a run comes from or that was made of it.

    `kind` is `continued` (state and curve go on) or `begun` (only the adapter is taken over) of a run, `fused` of an adapter, `export`,
    or the kind of an evaluation's job. `depth` counts from the oldest run of the family, itself 0; `present` is False where it is gone.
    """

    kind: str
    id: str
    name: str
    depth: int
    present: bool = True


@dataclass(frozen=True)
class Family:
    """What a run comes from, oldest first, and what was made of it."""

    before: list[Relative]
    after: list[Relative]


def family_of(s: Services, row: ExperimentRow, rows: Sequence[ExperimentRow]) -> Family:
    """Return the family of one of the rows of a list; of what was made, what comes directly from the run."""
    known = {each.id: each for each in rows}
    before = _ancestors(row, known)
    depth = len(before) + 1
    uses = uses_of(s, row.id)
    after = [Relative(_step(each), each.id, each.name, depth) for each in reversed(rows) if parent_of(each) == row.id]
    after += [Relative("fused", a.id, a.name, depth) for a in AdapterStore(s.data_dir).all() if row.id in runs_of(a.lineage)]
    after += [Relative("export", name, name, depth) for name in uses.exports]
    after += [Relative(kind, evaluation, name, depth) for kind, evaluation, name in uses.evaluations]
    return Family(before, after)


def parent_of(row: ExperimentRow) -> str:
    """Return the run that a run went on from or took its adapter from, empty for none."""
    return row.continued_from or str(row.settings.get(BEGIN) or "")


def _step(row: ExperimentRow) -> str:
    return "continued" if row.continued_from else "begun"


def _ancestors(row: ExperimentRow, known: dict[str, ExperimentRow]) -> list[Relative]:
    """Return the runs that a run goes back to; a circle, which only a changed record can make, ends where it closes."""
    chain: list[tuple[str, str]] = []
    here: ExperimentRow | None = row
    seen = {row.id}
    while here and (parent := parent_of(here)) and parent not in seen:
        seen.add(parent)
        chain.append((_step(here), parent))
        here = known.get(parent)
    found = []
    for depth, (kind, run_id) in enumerate(reversed(chain)):
        found.append(Relative(kind, run_id, known[run_id].name if run_id in known else run_id, depth, run_id in known))
    return found
