"""Which columns a person wants to see of the experiments, and how many lines at a time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tunesmith.services.context import Services
from tunesmith.services.experiment_search import DEFAULT_COLUMNS
from tunesmith.store.views import keep_view, read_view

PAGE = "experiments"
PAGE_ROWS = (50, 100, 250, 500)


@dataclass(frozen=True)
class ExperimentView:
    """The columns in their order, and the lines of a page of the list."""

    columns: tuple[str, ...] = DEFAULT_COLUMNS
    page_rows: int = 100


def read(s: Services) -> ExperimentView:
    """Return what the person chose last."""
    kept = read_view(s.data_dir, s.person.name, PAGE)
    columns = tuple(column for column in kept.get("columns") or () if isinstance(column, str))
    rows = kept.get("page_rows")
    return ExperimentView(columns or DEFAULT_COLUMNS, rows if rows in PAGE_ROWS else ExperimentView.page_rows)


def keep(s: Services, view: ExperimentView) -> None:
    """Remember what the person chose. Raises UserError `disk_full`, `no_permission`."""
    keep_view(s.data_dir, s.person.name, PAGE, dataclasses.asdict(view))
