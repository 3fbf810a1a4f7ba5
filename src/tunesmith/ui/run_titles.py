"""What runs and adapters are called in a list to choose from: name and time, and the end of the id where two would be called alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from tunesmith.ui.figures import show_time
from tunesmith.ui.session import t


class Titled(Protocol):
    """What has an id, a name and a time."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def created_at(self) -> float:
        """When it was made, in unix seconds."""


def run_titles(rows: Sequence[Titled]) -> dict[str, str]:
    """Return a title of its own for each, by id: a list to choose from tells its lines apart by their words alone."""
    titles = {row.id: t("training.run_label", name=row.name, time=show_time(row.created_at)) for row in rows}
    times = Counter(titles.values())
    return {run_id: f"{title} ({run_id[-6:]})" if times[title] > 1 else title for run_id, title in titles.items()}
