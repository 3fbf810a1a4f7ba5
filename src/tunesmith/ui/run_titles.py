"""What runs and adapters are called: in a list to choose from name and time, and the end of the id where two would be called alike."""

from __future__ import annotations

import html
from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

import streamlit as st

from tunesmith.i18n.titles import tell_apart
from tunesmith.services.run_colours import run_colour
from tunesmith.ui.figures import show_time
from tunesmith.ui.session import t

DOT = "⬤"
MOST_OFFERED = 300  # a list of thousands takes the browser seconds


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


Run = TypeVar("Run", bound=Titled)


def newest_of(rows: Sequence[Run], chosen: Collection[str]) -> list[Run]:
    """Return what a list offers of many rows, newest first: the first `MOST_OFFERED`, and those that are chosen already."""
    return [row for place, row in enumerate(rows) if place < MOST_OFFERED or row.id in chosen]


def run_titles(rows: Sequence[Titled]) -> dict[str, str]:
    """Return a title of its own for each, by id."""
    titles = {row.id: t("training.run_label", name=row.name, time=show_time(row.created_at)) for row in rows}
    return tell_apart(titles, lambda run_id: f" ({run_id[-6:]})")


def draw_run_name(run_id: str, name: str) -> None:
    """Draw a run's name as a heading, behind a dot in the run's own colour."""
    look = "font-size: 1.15rem; font-weight: 600; overflow-wrap: anywhere"
    st.html(f'<div role="heading" aria-level="5" style="{look}">{dotted(name, run_colour(run_id))}</div>')


def dotted(name: str, colour: str) -> str:
    """Return a name as HTML behind a dot of a colour; names are people's own, no marks are read in them."""
    return f'<span aria-hidden="true" style="color:{colour}">{DOT}</span> {html.escape(name)}'
