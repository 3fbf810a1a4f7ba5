"""The rows of an evaluation: which variant answered what, filters, two answers laid side by side, downloads. Knows the results' service."""

from __future__ import annotations

import html
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from tunesmith.data.text_diff import Piece, diff_texts
from tunesmith.i18n.markdown import as_text
from tunesmith.services import evaluation_rows
from tunesmith.services.evaluation_rows import OUTCOMES, AskedRow
from tunesmith.services.evaluations import Evaluation
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.evaluation_form import metric_title, names_of, show_score
from tunesmith.ui.session import t

SHOWN_TEXT = 300  # characters of a cell
COLOURS = {"left": "rgba(33, 160, 90, 0.28)", "right": "rgba(220, 80, 60, 0.28)"}  # readable on light and on dark


def draw_rows(evaluation: Evaluation, metric: str) -> None:
    """Draw the filters, the rows that pass, the selected one in full, and the downloads."""
    st.markdown(f"##### {t('evaluation.rows')}")
    rows = evaluation_rows.asked_rows(evaluation)
    if not rows:
        st.caption(t("evaluation.no_rows"))
        return
    left, right = _choose_two(evaluation)
    shown = _filter(evaluation, rows, left, right, metric)
    st.caption(t("evaluation.rows_shown", shown=len(shown), rows=len(rows)))
    if shown:
        selected = _draw_table(evaluation, shown, left, right, metric)
        if selected is None:
            st.caption(t("evaluation.select_row"))
        else:
            _draw_row(evaluation, selected, left, right)
    _draw_downloads(evaluation)


def _choose_two(evaluation: Evaluation) -> tuple[str, str]:
    names = names_of(evaluation)
    first = next((key for key in names if key != evaluation.baseline), evaluation.baseline)
    if len(names) < 2:
        return first, first
    columns = st.columns(2)
    left = columns[0].selectbox(
        t("evaluation.left"), list(names), index=list(names).index(first), format_func=lambda key: names[key],
        key=f"left-{evaluation.id}",
    )  # fmt: skip
    right = columns[1].selectbox(
        t("evaluation.right"), list(names), index=list(names).index(evaluation.baseline), format_func=lambda key: names[key],
        key=f"right-{evaluation.id}",
    )  # fmt: skip
    return str(left), str(right)


def _filter(evaluation: Evaluation, rows: Sequence[AskedRow], left: str, right: str, metric: str) -> list[AskedRow]:
    columns = st.columns([2, 2, 1], vertical_alignment="bottom")
    outcome = "all"
    if metric and left != right:
        outcome = columns[0].segmented_control(
            t("evaluation.outcome"), OUTCOMES, default="all", format_func=lambda name: t(f"evaluation.outcome_{name}"),
            key=f"outcome-{evaluation.id}", help=t("evaluation.outcome_help"),
        ) or "all"  # fmt: skip
    search = columns[1].text_input(t("evaluation.search"), key=f"search-{evaluation.id}", help=t("evaluation.search_help"))
    failures = columns[2].toggle(t("evaluation.failures"), key=f"failures-{evaluation.id}", help=t("evaluation.failures_help"))
    return evaluation_rows.choose_rows(rows, left, right, metric, str(outcome), search, failures)


def _draw_table(evaluation: Evaluation, rows: Sequence[AskedRow], left: str, right: str, metric: str) -> AskedRow | None:
    names = names_of(evaluation)
    titles = {key: names[key] for key in dict.fromkeys((left, right))}
    table: dict[str, list[object]] = {t("evaluation.line"): [row.line for row in rows]}
    for key, title in titles.items() if metric else ():
        table[t("evaluation.figure_of", name=title)] = [show_score(row.figures.get(metric, {}).get(key), metric) for row in rows]
    texts: dict[str, list[object]] = {
        t("evaluation.prompt"): [row.prompt[:SHOWN_TEXT] for row in rows],
        t("evaluation.reference"): [row.reference[:SHOWN_TEXT] for row in rows],
    }
    texts |= {title: [_text(row, key)[:SHOWN_TEXT] for row in rows] for key, title in titles.items()}
    table |= texts
    columns = {name: st.column_config.TextColumn(width="medium") for name in texts}
    chosen = st.dataframe(
        pd.DataFrame(table), hide_index=True, width="stretch", column_config=columns, height=min(420, 40 + 36 * len(rows)),
        on_select="rerun", selection_mode="single-row",
        key=f"rows-{evaluation.id}-{hash((left, right, metric, tuple(row.line for row in rows)))}",
    )  # fmt: skip
    places = chosen["selection"]["rows"]
    return rows[places[0]] if places and places[0] < len(rows) else None


def _text(row: AskedRow, key: str) -> str:
    return str(row.answers[key]["text"]) if key in row.answers else t("common.none")


def _draw_row(evaluation: Evaluation, row: AskedRow, left: str, right: str) -> None:
    """Draw one row in full: what was asked, the reference, and where the two answers differ."""
    with st.container(border=True):
        st.markdown(f"**{t('evaluation.prompt')}** · {t('evaluation.line')} {row.line}")
        st.text(row.prompt)
        names = names_of(evaluation)
        ours, theirs = diff_texts(_text(row, left), _text(row, right))
        parts = [(t("evaluation.reference"), [Piece(row.reference or t("common.none"), True)], "left")]
        parts.append((names[left], ours, "left"))
        if left != right:
            parts.append((names[right], theirs, "right"))
        for column, (name, pieces, side) in zip(st.columns(len(parts)), parts, strict=True):
            with column:
                st.caption(as_text(name))
                st.html(_coloured(pieces, COLOURS[side]))
        st.caption(t("evaluation.diff_note"))
        for metric, by_variant in row.figures.items():
            st.caption(_figures_of(evaluation, metric, by_variant))


def _coloured(pieces: Sequence[Piece], colour: str) -> str:
    parts = [
        html.escape(piece.text)
        if piece.shared
        else f'<span style="background: {colour}; border-radius: 3px">{html.escape(piece.text)}</span>'
        for piece in pieces
    ]
    return f'<div style="white-space: pre-wrap; overflow-wrap: anywhere">{"".join(parts)}</div>'


def _figures_of(evaluation: Evaluation, metric: str, by_variant: dict[str, float | None]) -> str:
    names = names_of(evaluation)
    shown = [f"{as_text(names[key])} {show_score(value, metric)}" for key, value in by_variant.items()]
    return f"{metric_title(metric)}: {' · '.join(shown)}"


def _draw_downloads(evaluation: Evaluation) -> None:
    with st.container(horizontal=True):
        draw_download(t("evaluation.jsonl"), lambda _: evaluation_rows.as_jsonl(evaluation), f"{evaluation.id}.jsonl")
        draw_download(t("evaluation.csv"), lambda _: evaluation_rows.as_csv(evaluation), f"{evaluation.id}.csv")
