"""Answers side by side: growing, or as they were; tokens coloured by probability, the fork marked. Knows comparisons, not models."""

from __future__ import annotations

import html
import itertools
import math
import re
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.services.compare import Asking, first_difference, references
from tunesmith.services.variants import VariantInfo
from tunesmith.store.comparisons import Answer, Round, Token
from tunesmith.ui.figures import show_count, show_duration, show_number
from tunesmith.ui.session import t
from tunesmith.ui.variant_choice import variant_titles

REDRAW_SECONDS = 0.05
WIDEST = 3
VIEWS = ("probabilities", "divergence", "formatted", "sent")
CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]*`)", re.DOTALL)
LEVELS = (0.9, 0.5, 0.2, 0.05)  # least probabilities of the first colours; what is less likely has the last
NAMES = ("≥ 90 %", "50–90 %", "20–50 %", "5–20 %", "< 5 %")
STYLE = """<style>
.answer {line-height: 1.75; white-space: pre-wrap; overflow-wrap: anywhere}
.answer span {border-radius: 3px; box-decoration-break: clone; -webkit-box-decoration-break: clone}
.answer .p1 {background: rgba(240, 160, 40, .16)}
.answer .p2 {background: rgba(240, 140, 40, .32)}
.answer .p3 {background: rgba(235, 110, 45, .46)}
.answer .p4 {background: rgba(225, 75, 60, .58)}
.answer .fork {box-shadow: 0 0 0 2px #4c7df0; margin: 0 2px}
.answer .silent {opacity: .7; font-style: italic}
.answer .end {opacity: .7; font-size: .8em; margin-left: .4em; padding: 0 4px; border: 1px solid currentColor; white-space: nowrap}
.legend {font-size: .84rem}
.legend span {margin-right: .6em; padding: 1px 6px}
</style>"""


@dataclass(frozen=True)
class View:
    """How answers are shown, and what besides their text."""

    probabilities: bool = False
    divergence: bool = False
    formatted: bool = False
    sent: bool = False


def draw_view() -> View:
    """Draw the choice of what is shown, the legend of the colours, and once the style of all answers below."""
    st.html(STYLE)
    shown = st.pills(
        t("compare.show"), VIEWS, selection_mode="multi", key="compare_view", format_func=lambda name: t(f"compare.show_{name}"),
        help=t("compare.show_help"),
    )  # fmt: skip
    if "probabilities" in shown:
        marks = "".join(f'<span class="p{level}">{html.escape(name)}</span>' for level, name in enumerate(NAMES))
        st.html(f'<div class="answer legend">{marks}{html.escape(t("compare.legend"))}</div>')
    return View(*(name in shown for name in VIEWS))


def draw_question(question: str) -> None:
    """Draw a question as it was typed."""
    with st.chat_message("user", avatar=":material/person:"):
        st.text(question)


def draw_round(told: Round, panel: Sequence[VariantInfo], view: View) -> None:
    """Draw a question and its answers as they were."""
    draw_question(told.question)
    titles = list(variant_titles(panel).values())
    held_against = references(panel)
    for place, box in enumerate(_boxes(titles)):
        answer, reference = told.answers[place], held_against[place]
        fork = None if reference is None else first_difference(answer, told.answers[reference])
        with box:
            if view.formatted and answer.text and not (view.probabilities or (view.divergence and fork is not None)):
                st.markdown(as_markdown(answer.text))
            else:
                st.html(f'<div class="answer">{as_html(answer, view, fork)}</div>')
            st.caption(_figures(answer))
            if view.divergence and reference is not None:
                st.caption(_divergence(answer, told.answers[reference], fork, titles[reference]))
            if view.sent and answer.sent:
                st.caption(t("compare.sent", tokens=show_count(answer.sent_tokens)))
                st.code(answer.sent, language=None, wrap_lines=True)
    said = [answer.text for answer in told.answers if answer.tokens]
    if len(said) > 1:
        _draw_verdict(said)


def draw_asking(asking: Asking) -> None:
    """Draw the answers as they are written; of several questions the one that is answered now, and how far it is."""
    progress = st.empty()
    question = st.empty()
    places = [(box.empty(), box.empty()) for box in _boxes(list(variant_titles(asking.panel).values()))]
    shown, drawn, began = -1, 0.0, time.monotonic()
    with closing(asking.run()) as pieces:
        with st.spinner(t("compare.waiting_others" if asking.waits_behind else "compare.waiting")):
            first = next(pieces, None)
        for number, place in itertools.chain([first] if first else [], pieces):
            growing = asking.answers[number][place]
            ended = bool(growing.last and growing.last.finish)
            if number == shown and not ended and time.monotonic() - drawn <= REDRAW_SECONDS:
                continue
            if number != shown:
                shown = number
                with question.container():
                    draw_question(asking.questions[number])
            if len(asking.questions) > 1:
                progress.progress(asking.asked_share, text=_progress(asking, time.monotonic() - began))
            _redraw(places, [each.as_answer() for each in asking.answers[number]])
            drawn = time.monotonic()


def _progress(asking: Asking, seconds: float) -> str:
    total, share = len(asking.panel) * len(asking.questions), asking.asked_share
    words = t("compare.progress", done=show_count(share * total), all=show_count(total))
    return f"{words} · {t('common.time_left', time=show_duration(seconds / share - seconds))}" if share else words


def _boxes(headings: Sequence[str]) -> list[Any]:
    """Draw a box for each answer, side by side, at most three in a row."""
    boxes = []
    for begin in range(0, len(headings), WIDEST):
        for column, heading in zip(st.columns(min(WIDEST, len(headings))), headings[begin : begin + WIDEST], strict=False):
            box = column.container(border=True, height="stretch")
            box.caption(as_text(heading))
            boxes.append(box)
    return boxes


def _redraw(places: list[tuple[Any, Any]], answers: Sequence[Answer]) -> None:
    for (text, figures), answer in zip(places, answers, strict=True):
        text.html(f'<div class="answer">{html.escape(answer.text) or _silence(answer)}</div>')
        figures.caption(_figures(answer, growing=True) if answer.tokens else "")


def _figures(answer: Answer, growing: bool = False) -> str:
    if not answer.tokens:
        return t("compare.stopped")
    speed = len(answer.tokens) / answer.seconds if answer.seconds else 0.0
    first = show_number(answer.first_token_seconds, 2)
    words = t("compare.figures", tokens=show_count(len(answer.tokens)), speed=show_count(speed), first=first)
    ends = {"length": t("compare.cut"), "not_finite": t("compare.not_finite"), "": "" if growing else t("compare.stopped")}
    return f"{words} · {end}" if (end := ends.get(answer.finish)) else words


def _divergence(answer: Answer, reference: Answer, fork: int | None, title: str) -> str:
    if fork is None:
        return t("compare.diverges_not", title=as_text(title))
    own, other = (_show(told.tokens[fork], fork, told) for told in (answer, reference))
    return t("compare.diverges", title=as_text(title), place=fork + 1, own=as_text(own), other=as_text(other))


def _show(token: Token, place: int, answer: Answer) -> str:
    if answer.finish == "stop" and place == len(answer.tokens) - 1:
        return t("compare.end_token")
    return token.text.strip() or repr(token.text).strip("'")


def as_html(answer: Answer, view: View, fork: int | None) -> str:
    """Return an answer's tokens as spans: coloured by probability, its number on hover, the fork marked; all text is escaped."""
    if not (answer.text or view.probabilities):
        return _silence(answer)
    spans = []
    for place, token in enumerate(answer.tokens):
        ends = answer.finish == "stop" and place == len(answer.tokens) - 1
        kinds = [f"p{level_of(token.logprob)}"] if view.probabilities else []
        kinds += ["fork"] if view.divergence and place == fork else []
        text = html.escape(token.text)
        if ends:
            text += f'<span class="end">{html.escape(t("compare.end_token"))}</span>' if kinds else ""
        title = f' title="{html.escape(_hover(token))}"' if view.probabilities else ""
        spans.append(f'<span class="{" ".join(kinds)}"{title}>{text}</span>')
    return "".join(spans).strip()


def _silence(answer: Answer) -> str:
    return f'<span class="silent">{html.escape(t("compare.silent"))}</span>' if answer.finish else "…"


def as_markdown(text: str) -> str:
    """Return an answer as Markdown that keeps its lines, and in which nothing is a formula, a colour of Streamlit or a foreign picture."""
    parts = CODE.split(text)
    parts[::2] = [re.sub(r"(\$|!(?=\[)|:(?=[a-z-]+\[))", r"\\\1", part).replace("\n", "  \n") for part in parts[::2]]
    return "".join(parts)


def level_of(logprob: float | None) -> int:
    """Return the colour of a token: 0 for a very likely one, 4 for a very unlikely one or one without a number."""
    share = 0.0 if logprob is None else math.exp(logprob)
    return next((level for level, least in enumerate(LEVELS) if share >= least), len(LEVELS))


def _hover(token: Token) -> str:
    if token.logprob is None:
        return t("compare.token_unknown", id=token.id)
    return t("compare.token", share=f"{math.exp(token.logprob):.1%}", logprob=show_number(token.logprob, 3), id=token.id)


def _draw_verdict(texts: list[str]) -> None:
    kinds = len(set(texts))
    words = t("compare.same") if kinds == 1 else t("compare.different") if len(texts) == 2 else t("compare.kinds", n=kinds)
    st.caption(f":material/{'equal' if kinds == 1 else 'difference'}: {words}")
