"""Two answers that grow side by side, and those of before. Knows deltas, not models."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import streamlit as st

from tunesmith.inference.protocol import Delta
from tunesmith.services.adapters import AdapterInfo
from tunesmith.ui.figures import show_count, show_number
from tunesmith.ui.session import t

REDRAW_SECONDS = 0.05
KEPT = 20


def draw_answers(prompt: str, deltas: Iterator[Delta], choice: AdapterInfo) -> None:
    """Draw both answers as they are written, then keep them in the session's history."""
    st.markdown(f"**{prompt}**")
    places = []
    headings = (f"{t('compare.base')} · {choice.model}", f"{t('compare.tuned')} · {choice.name}")
    for column, heading in zip(st.columns(2), headings, strict=True):
        with column, st.container(border=True, height="stretch"):
            st.caption(heading)
            places.append((st.empty(), st.empty()))
    texts, drawn = ["", ""], 0.0
    last: list[Delta | None] = [None, None]
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
    same = texts[0].strip() == texts[1].strip()
    st.caption(f":material/{'equal' if same else 'difference'}: {t('compare.same') if same else t('compare.different')}")


def draw_history(skip_first: bool) -> None:
    """Draw the questions asked before in this session, newest first."""
    history = st.session_state.get("compare_history", [])[1 if skip_first else 0 :]
    if not history:
        return
    st.markdown(f"##### {t('compare.history')}")
    for entry in history:
        with st.container(border=True):
            st.markdown(f"**{entry['prompt']}**")
            for column, heading, text, figures in zip(st.columns(2), entry["headings"], entry["texts"], entry["figures"], strict=True):
                column.caption(heading)
                column.markdown(text.strip() or "…")
                column.caption(figures)
