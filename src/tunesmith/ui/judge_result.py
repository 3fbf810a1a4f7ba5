"""What a judgement says: the verdict in words and figures, what was left out and why, each prompt. Knows the judging service's results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.evaluation.intervals import MeanInterval, PairedComparison
from tunesmith.evaluation.judge_reading import SECOND, TIE
from tunesmith.evaluation.judging import Judgement
from tunesmith.evaluation.verdicts import JudgeResult
from tunesmith.i18n.markdown import as_text
from tunesmith.services import judging
from tunesmith.services.judging import Judged, JudgedRow
from tunesmith.ui.figures import show_count, show_number
from tunesmith.ui.session import t
from tunesmith.ui.variant_choice import record_titles

LONGEST_SHOWN = 100


def show_share(value: float | None) -> str:
    """Return a share in per cent, a dash when unknown."""
    return t("common.none") if value is None else f"{value:.0%}"


def draw_result(found: Judged) -> None:
    """Draw everything that a judgement has found so far."""
    judgement, names = judging.read_judgement(found), list(record_titles(found.variants.values()).values())
    if judgement.pairwise:
        _draw_verdict(judgement.pairwise, names[0], names[1])
        _draw_figures(judgement.pairwise, names[0])
        _draw_note(judgement.pairwise)
    else:
        _draw_rubric(judgement, found, names)
    _draw_warnings(judgement)
    _draw_cost(judgement)
    _draw_left_out(judgement)
    _draw_rows(found, names)


def _draw_verdict(result: JudgeResult, left: str, right: str) -> None:
    code, facts = judging.verdict_of(result, as_text(left), as_text(right))
    words = t(f"judge.verdict_{code}", **facts)
    if code in {"better", "worse"}:
        st.success(words, icon=":material/check_circle:")
    elif code == "no_rows":
        st.warning(words, icon=":material/help:")
    else:
        st.info(words, icon=":material/balance:")
    if result.first_share is not None:
        st.caption(t("judge.caveat", share=result.first_share))


def _draw_figures(result: JudgeResult, left: str) -> None:
    told = as_text(left)
    interval = "" if result.low is None else f"{show_share(result.low)} – {show_share(result.high)}"
    columns = st.columns([2, 1, 1, 1, 1])
    columns[0].metric(
        t("judge.win_rate", left=told), show_share(result.win_rate), interval or None, delta_color="off", delta_arrow="off",
        help=t("judge.win_rate_help"), border=True,
    )  # fmt: skip
    columns[1].metric(t("judge.rate_first"), show_share(result.rate_first), help=t("judge.rate_first_help", left=told), border=True)
    columns[2].metric(t("judge.rate_second"), show_share(result.rate_second), help=t("judge.rate_second_help", left=told), border=True)
    columns[3].metric(t("judge.consistency"), show_share(result.consistency), help=t("judge.consistency_help"), border=True)
    columns[4].metric(
        t("judge.prompts"), show_count(result.prompts), help=t("judge.prompts_help", left_out=show_count(result.left_out)), border=True
    )


def _draw_note(result: JudgeResult) -> None:
    if result.prompts and result.note:
        st.caption(t(f"evaluation.note_{result.note}"))


def _draw_rubric(judgement: Judgement, found: Judged, names: list[str]) -> None:
    keys = list(found.variants)
    table: dict[str, list[str]] = {t("judge.criterion"): [each.criterion or t("judge.mean_of_all") for each in judgement.rubric]}
    for key, name in zip(keys, names, strict=True):
        table[name] = [_mean(each.means[key]) for each in judgement.rubric]
    for key, name in zip(keys[1:], names[1:], strict=True):
        heading = t("judge.difference", left=names[0], right=name)
        table[heading] = [_difference(each.differences[key]) for each in judgement.rubric]
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")
    st.caption(t("judge.rubric_note"))


def _mean(interval: MeanInterval) -> str:
    if interval.low is None:
        return show_number(interval.mean, 3)
    return f"{interval.mean:.2f} ({interval.low:.2f} – {interval.high:.2f})"


def _difference(compared: PairedComparison) -> str:
    if compared.difference is None or compared.low is None:
        return show_number(compared.difference, 3)
    return f"{compared.difference:+.2f} ({compared.low:+.2f} – {compared.high:+.2f})"


def _draw_warnings(judgement: Judgement) -> None:
    for code, facts in judging.warnings_of(judgement).items():
        st.warning(t(f"judge.warn_{code}", **facts), icon=":material/warning:")


def _draw_cost(judgement: Judgement) -> None:
    told = [t("judge.not_told") if n is None else show_count(n) for n in (judgement.prompt_tokens, judgement.completion_tokens)]
    words = [t("judge.tokens", prompt=told[0], completion=told[1])]
    if judgement.cost is not None:
        cost = f"{judgement.cost:,.4g}"
        words.append(t("judge.paid_least", cost=cost) if judgement.untold or judgement.unanswered else t("judge.paid", cost=cost))
    if judgement.untold:
        words.append(t("judge.untold", count=show_count(judgement.untold)))
    st.caption(" · ".join(words))


def _draw_left_out(judgement: Judgement) -> None:
    if not judgement.left_out:
        st.caption(t("judge.left_out_none"))
        return
    heading = t("judge.left_out", count=show_count(judgement.left_out), asked=show_count(judgement.asked))
    with st.expander(heading, icon=":material/block:"):
        for problem, count in judgement.failures.items():
            st.markdown(f"**{t(f'judge_problem.{problem}')}** · {show_count(count)}")
            line = judgement.examples[problem]
            if line["text"].strip():
                st.code(line["text"], language=None, wrap_lines=True)
            elif "error" in line:
                st.caption(" · ".join(f"{name}: {fact}" for name, fact in line["error"]["facts"].items()))


def _draw_rows(found: Judged, names: list[str]) -> None:
    rows = judging.judged_rows(found)
    if not rows:
        return
    st.markdown(f"**{t('judge.rows')}**")
    table: dict[str, list[Any]] = {
        t("judge.row"): [each.case.row for each in rows], t("judge.question"): [_short(each.case.question) for each in rows]
    }  # fmt: skip
    table |= _pairwise_columns(rows, names) if found.rules.mode == "pairwise" else _rubric_columns(rows, found, names)
    chosen = st.dataframe(
        pd.DataFrame(table), hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row", key=f"judged-{found.id}",
        column_config={t("judge.question"): st.column_config.TextColumn(width="large")},
    )  # fmt: skip
    selected = chosen["selection"]["rows"]
    if selected and selected[0] < len(rows):
        _draw_row(rows[selected[0]], found, names)
    else:
        st.caption(t("judge.open_hint"))


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[:LONGEST_SHOWN]}…"


def _pairwise_columns(rows: list[JudgedRow], names: list[str]) -> dict[str, list[str]]:
    outcomes = {"left": names[0], "right": names[1]}
    outcomes |= {"tie": t("judge.tie"), "undecided": t("judge.undecided"), "unreadable": t("judge.unreadable")}
    return {
        t("judge.outcome"): [outcomes[judging.outcome_of(each)] for each in rows],
        t("judge.order_first", left=names[0]): [_said(each, False, names) for each in rows],
        t("judge.order_second", right=names[1]): [_said(each, True, names) for each in rows],
    }


def _said(row: JudgedRow, swapped: bool, names: list[str]) -> str:
    """Return whom one order names, a tie, or why it is left out."""
    line = next((line for line in row.lines if line["swapped"] == swapped), None)
    if line is None:
        return t("common.none")
    if line["problem"]:
        return t(f"judge_problem.{line['problem']}")
    return t("judge.tie") if line["verdict"] == TIE else names[(line["verdict"] == SECOND) != swapped]


def _rubric_columns(rows: list[JudgedRow], found: Judged, names: list[str]) -> dict[str, list[str]]:
    columns = {}
    for key, name in zip(found.variants, names, strict=True):
        lines = [next((line for line in each.lines if line["variant"] == key), None) for each in rows]
        columns[name] = [_scores(line) for line in lines]
    return columns


def _scores(line: Mapping[str, Any] | None) -> str:
    if line is None:
        return t("common.none")
    if line["problem"]:
        return t(f"judge_problem.{line['problem']}")
    return ", ".join(f"{name} {value:g}" for name, value in line["scores"].items())


def _draw_row(row: JudgedRow, found: Judged, names: list[str]) -> None:
    """Draw a prompt with its answers and what the judge said of them, as plain text: none of it is ours."""
    with st.container(border=True):
        st.text(row.case.question)
        st.caption(t("judge.reference"))
        st.text(row.case.reference or t("judge.no_reference"))
        for place, (key, name) in zip(st.columns(len(names)), zip(found.variants, names, strict=True), strict=True):
            with place.container(border=True):
                st.caption(t("judge.answer_of", name=as_text(name)))
                st.text(row.case.answers.get(key) or "…")
        for line in row.lines:
            if found.rules.mode == "pairwise":
                asked = t("judge.said_order", name=as_text(names[1] if line["swapped"] else names[0]))
                st.caption(f"{asked} · {as_text(_said(row, line['swapped'], names))}")
            else:
                st.caption(as_text(f"{names[list(found.variants).index(line['variant'])]} · {_scores(line)}"))
            st.text(line["text"].strip() or "…")
