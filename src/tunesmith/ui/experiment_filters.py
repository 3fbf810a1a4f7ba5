"""How the list of runs is looked at: search, filters and order, which stand in the address; columns, which are kept for each person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from tunesmith.services import experiment_views
from tunesmith.services.experiment_search import FILTERS, UNORDERED, RunQuery, choices, columns_of
from tunesmith.services.experiments import ExperimentRow
from tunesmith.ui.experiment_table import column_label, column_labels
from tunesmith.ui.session import services, t

MANY, FLAGS = FILTERS, ("starred", "up", "groups")
SINGLE = ("q", "days", "order")
DAYS = (0, 1, 7, 30, 365)
KEPT = "experiments_address"


@dataclass(frozen=True)
class ListView:
    """What is looked for and how it is shown; with `groups`, each group is one line."""

    query: RunQuery
    groups: bool
    columns: list[str]
    page_rows: int


def draw_view(rows: Sequence[ExperimentRow]) -> ListView:
    """Draw search, filters, order and columns; the address follows them."""
    columns = columns_of(rows)
    labels = column_labels(columns)
    _begin(columns)
    search, order, more, shown = st.columns([3.6, 2, 1.6, 1.6], vertical_alignment="bottom")
    search.text_input(
        t("experiments.search"), key=_key("q"), help=t("experiments.search_help"), placeholder=t("experiments.search_placeholder"),
        icon=":material/search:",
    )  # fmt: skip
    orders = [column for column in columns if column not in UNORDERED]
    order.selectbox(t("experiments.order"), orders, key=_key("order"), format_func=labels.__getitem__, help=t("experiments.order_help"))
    with more.popover(_filters_label(), icon=":material/filter_alt:", width="stretch"):
        _draw_filters(rows)
    with shown.popover(t("experiments.columns"), icon=":material/view_column:", width="stretch"):
        chosen, page_rows = _draw_columns(columns, labels)
    _write_address()
    state = st.session_state
    filters = {name: tuple(state[_key(name)]) for name in MANY}
    query = RunQuery(state[_key("q")], filters, state[_key("starred")], state[_key("days")], state[_key("order")], state[_key("up")])
    return ListView(query, state[_key("groups")], chosen, page_rows)


def show_group(group: str) -> None:
    """Look at the runs of one group from the next drawing on."""
    st.session_state[KEPT] = {"group": [group]}
    st.query_params.from_dict({**_foreign(), "group": group})
    for name in (*MANY, *FLAGS, *SINGLE):
        st.session_state.pop(_key(name), None)


def clear() -> None:
    """Look at all runs from the next drawing on."""
    st.session_state[KEPT] = {}
    st.query_params.from_dict(_foreign())
    for name in (*MANY, *FLAGS, *SINGLE):
        st.session_state.pop(_key(name), None)


def _key(name: str) -> str:
    return f"experiments-{name}"


def _foreign() -> dict[str, str]:
    return {name: value for name, value in st.query_params.items() if name not in {*MANY, *FLAGS, *SINGLE}}


def _begin(columns: Sequence[str]) -> None:
    """Take over the address when the page is opened; without one, what was looked at last in this session."""
    state = st.session_state
    if _key("q") in state:
        return
    asked = {name: st.query_params.get_all(name) for name in (*MANY, *FLAGS, *SINGLE) if name in st.query_params} or state.get(KEPT, {})
    one = {name: (asked.get(name) or [""])[0] for name in (*FLAGS, *SINGLE)}
    state[_key("q")] = one["q"][:200]
    state[_key("order")] = one["order"] if one["order"] in columns and one["order"] not in UNORDERED else RunQuery.order
    state[_key("days")] = int(one["days"]) if one["days"] in map(str, DAYS) else 0
    for name in FLAGS:
        state[_key(name)] = one[name] == "1"
    for name in MANY:
        state[_key(name)] = asked.get(name, [])


def _draw_filters(rows: Sequence[ExperimentRow]) -> None:
    for place, name in enumerate(MANY):
        if place % 2 == 0:
            pair = st.columns(2)
        found = choices(rows, name)
        known = sorted(found, key=lambda value: (value == "", value))
        st.session_state[_key(name)] = [value for value in st.session_state[_key(name)] if value in found]
        label = column_label("tags" if name == "tag" else name)
        words = {value: t(f"status.{value}") if name == "status" else value or t("experiments.without") for value in known}
        pair[place % 2].multiselect(label, known, key=_key(name), format_func=words.__getitem__, placeholder=t("experiments.any"))
    spans = {days: t(f"experiments.days_{days}") for days in DAYS}
    pair[1].selectbox(t("experiments.days"), DAYS, key=_key("days"), format_func=spans.__getitem__)
    with st.container(horizontal=True):
        st.toggle(t("experiments.only_favourites"), key=_key("starred"))
        st.toggle(t("experiments.by_group"), key=_key("groups"), help=t("experiments.by_group_help"))
        st.toggle(t("experiments.ascending"), key=_key("up"), help=t("experiments.ascending_help"))
    st.button(t("experiments.clear"), on_click=clear, icon=":material/filter_alt_off:")


def _filters_label() -> str:
    active = sum(bool(st.session_state[_key(name)]) for name in (*MANY, "starred", "days"))
    return t("experiments.filters_active", n=active) if active else t("experiments.filters")


def _draw_columns(columns: Sequence[str], labels: Mapping[str, str]) -> tuple[list[str], int]:
    kept, sizes = experiment_views.read(services()), experiment_views.PAGE_ROWS
    known = [column for column in kept.columns if column in columns]
    chosen = st.multiselect(
        t("experiments.columns"), columns, default=known, key=_key("columns"), format_func=labels.__getitem__,
        help=t("experiments.columns_help"), placeholder=t("common.choose"),
    )  # fmt: skip
    page_rows = st.selectbox(t("experiments.page_rows"), sizes, index=sizes.index(kept.page_rows), key=_key("rows"))
    if chosen and (chosen != known or page_rows != kept.page_rows):
        experiment_views.keep(services(), experiment_views.ExperimentView(tuple(chosen), page_rows))
    return chosen or known, page_rows


def _write_address() -> None:
    state = st.session_state
    wanted: dict[str, list[str]] = {name: list(state[_key(name)]) for name in MANY if state[_key(name)]}
    wanted |= {name: ["1"] for name in FLAGS if state[_key(name)]}
    defaults = {"q": "", "days": 0, "order": RunQuery.order}
    wanted |= {name: [str(state[_key(name)])] for name in SINGLE if state[_key(name)] != defaults[name]}
    state[KEPT] = wanted
    now = {name: st.query_params.get_all(name) for name in (*MANY, *FLAGS, *SINGLE) if name in st.query_params}
    if now != wanted:
        st.query_params.from_dict({**_foreign(), **wanted})
