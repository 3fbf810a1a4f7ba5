"""A data set on the page: figures, conversations, problems. Knows the datasets service."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.i18n.catalog import problem_words
from tunesmith.i18n.markdown import as_text
from tunesmith.services import datasets
from tunesmith.services.datasets import DatasetReport, DatasetSummary, RowView
from tunesmith.ui.figures import show_bytes, show_count
from tunesmith.ui.session import language, services, t

ROWS_PER_PAGE = 5
WHOLE = ("preference", "scored", "kto", "reasoning")  # a conversation does not tell all of them
AVATARS = {"user": ":material/person:", "assistant": ":material/smart_toy:", "system": ":material/settings:", "tool": ":material/build:"}


def choose_owner(found: Mapping[str, DatasetSummary], asked: str | None) -> dict[str, DatasetSummary]:
    """Draw a filter where several people brought data; return the sets that are left, that which the address asks for among them."""
    owners = sorted({summary.owner for summary in found.values() if summary.owner})
    if len(owners) < 2:
        return dict(found)
    chosen = st.pills(t("dataset.filter_owner"), owners, help=t("dataset.filter_owner_help"), key="dataset-owner")
    return {name: summary for name, summary in found.items() if not chosen or summary.owner == chosen or name == asked}


def whose(summary: DatasetSummary) -> str:
    """Return in a word whose a set is: shipped, this person's (or nobody's), or somebody's."""
    if summary.owner and summary.owner != services().person.name:
        return summary.owner
    return t("dataset.shipped" if summary.shipped else "dataset.own")


def draw_summary(report: DatasetReport) -> None:
    """Draw what the set is and its figures."""
    summary = report.summary
    if text := summary.description.get(language()) or summary.description.get("en"):
        st.write(text)
    kinds = ", ".join(t(f"kind.{kind}") for kind in summary.kinds)
    methods = ", ".join(t(f"method.{method}") for method in summary.methods) or t("dataset.no_method")
    brought = f" · {t('dataset.by_owner', name=as_text(summary.owner))}" if summary.owner else ""
    st.caption(f"{kinds} · {t('dataset.methods')}: {methods} · {show_bytes(summary.size_bytes)}{brought}")
    tiles = [(t(f"dataset.split_{split}"), show_count(count)) for split, count in summary.rows.items()]
    tiles += [
        (t("dataset.errors"), show_count(summary.errors)),
        (t("dataset.warnings"), show_count(summary.warnings)),
        (t("dataset.duplicates"), show_count(report.duplicates)),
        (t("dataset.median"), t("dataset.characters", n=show_count(report.characters_median))),
    ]
    with st.container(horizontal=True, gap="medium"):
        for label, value in tiles:
            st.metric(label, value, width="content")


def draw_rows(dataset_id: str, summary: DatasetSummary) -> None:
    """Draw a page of rows as conversations."""
    splits = [split for split, count in summary.rows.items() if count]
    if not splits:
        st.caption(t("dataset.no_rows"))
        return
    left, middle, right = st.columns([3, 3, 1.2], vertical_alignment="bottom")
    split = left.segmented_control(
        t("dataset.rows"), splits, default=splits[0], format_func=lambda name: t(f"dataset.split_{name}"), key=f"split-{dataset_id}"
    )
    split = split or splits[0]
    search = middle.text_input(t("dataset.search"), key=f"search-{dataset_id}")
    pages = max(1, -(-summary.rows[split] // ROWS_PER_PAGE))
    key = f"page-{dataset_id}-{split}"
    page = right.number_input(t("dataset.page"), min_value=1, max_value=pages, value=1, key=key, disabled=bool(search))
    offset = 0 if search else (int(page) - 1) * ROWS_PER_PAGE
    shown = datasets.rows(services(), dataset_id, split, offset, ROWS_PER_PAGE, search)
    if not shown:
        st.caption(t("dataset.no_rows"))
    elif not search:
        st.caption(t("dataset.showing", first=offset + 1, last=offset + len(shown), total=show_count(summary.rows[split])))
    for row in shown:
        _draw_row(row)


def _draw_row(row: RowView) -> None:
    with st.container(border=True):
        st.caption(f"{t('dataset.row', line=row.line)} · {t(f'kind.{row.kind}')}")
        _draw_turns(row)


def draw_conversation(value: dict[str, Any]) -> None:
    """Draw one row by its values."""
    with st.container(border=True):
        row = datasets.view_row(0, value)
        st.caption(t(f"kind.{row.kind}"))
        _draw_turns(row)


def _draw_turns(row: RowView) -> None:
    for message in row.messages:
        with st.chat_message(message["role"], avatar=AVATARS.get(message["role"], ":material/help:")):
            st.text(message["content"])
    if not row.messages or row.kind in WHOLE:
        st.code(row.raw, language="json", wrap_lines=True)


def draw_problems(report: DatasetReport) -> None:
    """Draw the problems by line, worded."""
    if not report.problems:
        st.success(t("dataset.no_problems"), icon=":material/check_circle:")
        return
    if (total := sum(report.problem_counts.values())) > len(report.problems):
        st.caption(t("dataset.problems_shown", shown=show_count(len(report.problems)), total=show_count(total)))
    st.dataframe(problem_table([dataclasses.asdict(p) for p in report.problems]), hide_index=True, width="stretch")


def problem_table(problems: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return problems as a table in the session's language."""
    return pd.DataFrame(
        {
            t("dataset.problem_split"): [t(f"dataset.split_{p['split']}") for p in problems],
            t("dataset.problem_line"): [p["line"] for p in problems],
            t("dataset.problem_severity"): [t(f"severity.{p['severity']}") for p in problems],
            t("dataset.problem_field"): [p["field"] for p in problems],
            t("dataset.problem_what"): [problem_words(p["code"], p["facts"], language()) for p in problems],
        }
    )
