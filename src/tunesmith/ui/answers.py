"""Answers that grow side by side, and those of before. Knows deltas, not models."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import streamlit as st

from tunesmith.inference.protocol import Delta
from tunesmith.ui.figures import show_count, show_number
from tunesmith.ui.session import t

REDRAW_SECONDS = 0.05
KEPT = 20
WIDEST = 3


def draw_answers(prompt: str, deltas: Iterator[Delta], headings: Sequence[str]) -> None:
    """Draw the answers as they are written, then keep them in the session's history."""
    st.markdown(f"**{prompt}**")
    places = [(place.empty(), place.empty()) for place in _boxes(headings)]
    texts, drawn = [""] * len(headings), 0.0
    last: list[Delta | None] = [None] * len(headings)
    with st.spinner(t("compare.waiting")):
        delta = next(deltas, None)
    while delta is not None:
        texts[delta.variant] += delta.text
        last[delta.variant] = delta
        if delta.finish or time.monotonic() - drawn > REDRAW_SECONDS:
            _redraw(places, texts, last)
            drawn = time.monotonic()
        delta = next(deltas, None)
    _redraw(places, texts, last)
    _draw_verdict(texts)
    history = st.session_state.setdefault("compare_history", [])
    history.insert(0, {"prompt": prompt, "headings": headings, "texts": texts, "figures": [_figures(delta) for delta in last]})
    del history[KEPT:]


def _boxes(headings: Sequence[str]) -> list[Any]:
    """Draw a box for each answer, side by side, at most three in a row."""
    boxes = []
    for begin in range(0, len(headings), WIDEST):
        for column, heading in zip(st.columns(min(WIDEST, len(headings))), headings[begin : begin + WIDEST], strict=False):
            box = column.container(border=True, height="stretch")
            box.caption(heading)
            boxes.append(box)
    return boxes


def _redraw(places: list[tuple[Any, Any]], texts: list[str], last: list[Delta | None]) -> None:
    for (answer, figures), text, delta in zip(places, texts, last, strict=True):
        answer.markdown(text.strip() or "…")
        if delta is not None:
            figures.caption(_figures(delta))


def _figures(delta: Delta | None) -> str:
    if delta is None:
        return ""
    speed = delta.tokens / delta.seconds if delta.seconds else 0.0
    words = t("compare.figures", tokens=show_count(delta.tokens), speed=show_count(speed), first=show_number(delta.first_token_seconds, 2))
    return f"{words} · {t('compare.cut')}" if delta.finish == "length" else words


def _draw_verdict(texts: list[str]) -> None:
    kinds = len({text.strip() for text in texts})
    words = t("compare.same") if kinds == 1 else t("compare.different") if len(texts) == 2 else t("compare.kinds", n=kinds)
    st.caption(f":material/{'equal' if kinds == 1 else 'difference'}: {words}")


def draw_history(skip_first: bool) -> None:
    """Draw the questions asked before in this session, newest first."""
    history = st.session_state.get("compare_history", [])[1 if skip_first else 0 :]
    if not history:
        return
    st.markdown(f"##### {t('compare.history')}")
    for entry in history:
        with st.container(border=True):
            st.markdown(f"**{entry['prompt']}**")
            for box, text, figures in zip(_boxes(entry["headings"]), entry["texts"], entry["figures"], strict=True):
                box.markdown(text.strip() or "…")
                box.caption(figures)
