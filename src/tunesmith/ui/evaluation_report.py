"""An ended evaluation: figures with intervals, differences to a baseline, the gate, warnings. Knows the results' service."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from tunesmith.evaluation.gate import GateRule, GateVerdict
from tunesmith.evaluation.intervals import PairedComparison
from tunesmith.evaluation.metrics import METRICS
from tunesmith.evaluation.perplexity import LIKELIHOOD, PERPLEXITY
from tunesmith.i18n.markdown import as_text
from tunesmith.services import evaluation_results as results
from tunesmith.services.evaluation_results import Best, Figure
from tunesmith.services.evaluations import Evaluation
from tunesmith.settings.files import from_mapping
from tunesmith.ui.evaluation_form import metric_title, names_of, show_score
from tunesmith.ui.evaluation_rows import draw_rows
from tunesmith.ui.figures import show_number
from tunesmith.ui.forms import draw_field
from tunesmith.ui.messages import describe, guarded
from tunesmith.ui.session import services, t
from tunesmith.ui.variant_choice import record_titles

LONGEST_LABEL = 40  # characters beside the chart
GATE_FIELDS = {field.name: field for field in dataclasses.fields(GateRule)}


def draw_report(evaluation: Evaluation) -> None:
    """Draw what was found; of an evaluation that did not end well, the answers so far."""
    if scores := results.read_scores(evaluation):
        _draw_contamination(evaluation, scores["contamination"])
        _draw_table(evaluation)
        metric = _choose_metric(evaluation)
        if metric:
            _draw_metric(evaluation, metric)
        draw_rows(evaluation, metric)
    elif results.read_predictions(evaluation):
        draw_rows(evaluation, "")


def _draw_contamination(evaluation: Evaluation, found: list[dict[str, Any]]) -> None:
    """Say which rows were trained on; silence only when everything was looked at and nothing found."""
    called = {key: as_text(name) for key, name in names_of(evaluation).items()}
    for record in found:
        names = ", ".join(called[key] for key in record["variants"])
        if record.get("problem"):
            st.caption(t("evaluation.training_unreadable", data=as_text(record["data"]), names=names))
        elif record["exact"] or record["near"]:
            counts = {name: record[name] for name in ("exact", "near", "prompts")}
            st.warning(t("evaluation.contaminated", **counts, data=as_text(record["data"]), names=names), icon=":material/warning:")
            _draw_matches(record["matches"], record["exact"] + record["near"])
    known = {key for record in found for key in record["variants"]}
    tuned = [key for key, variant in evaluation.variants.items() if variant["adapter_path"]]
    if unknown := [called[key] for key in tuned if key not in known]:
        st.caption(t("evaluation.training_unknown", names=", ".join(unknown)))


def _draw_matches(matches: list[dict[str, Any]], found: int) -> None:
    """Draw which rows were trained on, and where."""
    with st.popover(t("evaluation.which_rows"), icon=":material/table_rows:"):
        table = {
            t("evaluation.line"): [each["row"] for each in matches],
            t("evaluation.training_line"): [each["training_line"] for each in matches],
            t("evaluation.similarity"): [f"{each['similarity']:.0%}" for each in matches],
        }
        st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")
        if found > len(matches):
            st.caption(t("evaluation.first_matches", shown=len(matches), found=found))


def _draw_table(evaluation: Evaluation) -> None:
    """Draw a line for each variant: every metric's figure and interval, lengths."""
    names, scores = names_of(evaluation), results.read_scores(evaluation)
    told = {key: as_text(name) for key, name in names.items()}
    measured, losses = results.measured(evaluation), scores["likelihood"]
    table: dict[str, list[str]] = {t("evaluation.variant"): list(names.values())}
    notes: list[str] = []
    for metric in measured:
        found = results.figures(evaluation, metric)
        table[metric_title(metric)] = [show_interval(figure, metric) for figure in found]
        if any(figure.whole is not None for figure in found):
            table[t("evaluation.whole", metric=metric_title(metric))] = [show_score(figure.whole, metric) for figure in found]
        notes += _notes(told, metric, found)
    for metric in LIKELIHOOD if any(losses.values()) and LIKELIHOOD[0] not in measured else ():  # some variants have none
        table[metric_title(metric)] = [show_score(losses.get(key, {}).get(metric), metric) for key in evaluation.variants]
    answers = results.answer_figures(evaluation)
    table[t("evaluation.tokens")] = [show_number(answers[key].tokens, 3) for key in evaluation.variants]
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")
    foretold = max((len(record.get("rows", ())) for record in losses.values()), default=0)
    st.caption(t("evaluation.table_note", rows=len(scores["rows"]) or foretold))
    cut = {key: found.cut for key, found in answers.items() if found.cut and key in evaluation.variants}
    notes += [t("evaluation.cut", name=told[key], n=count) for key, count in cut.items()]
    if notes:
        st.caption("  \n".join(notes))


def _notes(called: dict[str, str], metric: str, found: list[Figure]) -> list[str]:
    """Return what must be known of a metric's figures: rows left out, answers that failed and why, intervals that say little."""
    notes, title = [], metric_title(metric)
    for figure in found:
        name = called[figure.variant]
        if figure.not_applicable:
            notes.append(t("evaluation.not_applicable", name=name, metric=title, n=figure.not_applicable))
        if figure.failed:
            reason = describe(figure.problem) if figure.problem else t("evaluation.no_answer")
            notes.append(t("evaluation.failed", name=name, metric=title, n=figure.failed, reason=reason))
    for note in dict.fromkeys(figure.interval.note for figure in found if figure.interval.note):
        names = ", ".join(called[figure.variant] for figure in found if figure.interval.note == note)
        notes.append(f"{title}, {names}: {t(f'evaluation.note_{note}')}")
    return notes


def show_interval(figure: Figure, metric: str) -> str:
    """Return a figure with its interval."""
    interval = figure.interval
    if interval.low is None or interval.high is None:
        return show_score(interval.mean, metric)
    return f"{show_score(interval.mean, metric)} [{show_score(interval.low, metric)}, {show_score(interval.high, metric)}]"


def _choose_metric(evaluation: Evaluation) -> str:
    names = results.measured(evaluation)
    if len(names) < 2:
        return names[0] if names else ""
    key = f"evaluation-metric-{evaluation.id}"
    chosen = st.segmented_control(t("evaluation.metric"), names, default=names[0], format_func=metric_title, key=key)
    return str(chosen or names[0])


def _draw_metric(evaluation: Evaluation, metric: str) -> None:
    left, right = st.columns(2)
    with left:
        _draw_intervals(evaluation, metric)
    if len(evaluation.variants) < 2:
        return
    with right:
        _draw_differences(evaluation, metric)
    with st.container(border=True), guarded():
        _draw_gate(evaluation, metric)


def _draw_intervals(evaluation: Evaluation, metric: str) -> None:
    st.markdown(f"**{metric_title(metric)}**", help=t("evaluation.interval_help"))
    found = [figure for figure in results.figures(evaluation, metric) if figure.interval.mean is not None][::-1]
    means = np.array([figure.interval.mean for figure in found], np.float64)
    low = means - np.array([_or(figure.interval.low, figure.interval.mean) for figure in found])
    high = np.array([_or(figure.interval.high, figure.interval.mean) for figure in found]) - means
    called = names_of(evaluation)
    names = [f"{called[figure.variant][:LONGEST_LABEL]}{chr(0x200B) * place}" for place, figure in enumerate(found)]
    bars = {"type": "data", "symmetric": False, "array": high, "arrayminus": low}
    chart = go.Figure(go.Scatter(x=means, y=names, mode="markers", error_x=bars, marker={"size": 10}))
    chart.update_layout(height=80 + 40 * len(found), margin={"l": 0, "r": 10, "t": 10, "b": 0})
    if metric in METRICS:
        chart.update_xaxes(range=[-0.03, 1.03])
    st.plotly_chart(chart, width="stretch", key=f"intervals-{evaluation.id}-{metric}")


def _or(value: float | None, other: float | None) -> float:
    return (other or 0.0) if value is None else value


def _draw_differences(evaluation: Evaluation, metric: str) -> None:
    names = names_of(evaluation)
    baseline = st.selectbox(
        t("evaluation.compared_with"), list(names), index=list(names).index(evaluation.baseline), format_func=lambda key: names[key],
        key=f"compared-{evaluation.id}", help=t("evaluation.difference_help"),
    )  # fmt: skip
    found = results.differences(evaluation, metric, str(baseline))
    told = {key: as_text(name) for key, name in names.items()}
    if others := [told[key] for key in names if key not in found and key != baseline]:
        st.caption(t("error.evaluation_tokens_differ", left=", ".join(others), right=told[str(baseline)]))
    if not found:
        return
    table = {
        t("evaluation.variant"): [names[key] for key in found],
        t("evaluation.difference"): [_show_difference(each, metric) for each in found.values()],
        t("evaluation.won"): [each.wins for each in found.values()],
        t("evaluation.tied"): [each.ties for each in found.values()],
        t("evaluation.lost"): [each.losses for each in found.values()],
        t("evaluation.sign_p"): [show_number(each.sign_p, 2) for each in found.values()],
    }
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")
    for key, each in found.items():
        if each.note:
            st.caption(f"{told[key]}: {t(f'evaluation.note_{each.note}')}")


def _show_difference(each: PairedComparison, metric: str) -> str:
    if each.difference is None:
        return t("common.none")
    shape = "+.4g" if metric == PERPLEXITY else "+.3f"
    middle = f"{each.difference:{shape}}"
    return middle if each.low is None or each.high is None else f"{middle} [{each.low:{shape}}, {each.high:{shape}}]"


def _draw_gate(evaluation: Evaluation, metric: str) -> None:
    st.markdown(f"**{t('evaluation.gate')}**", help=t("evaluation.gate_help"))
    names = names_of(evaluation)
    others = [key for key in names if key != evaluation.baseline]
    left, middle, right, last = st.columns(4)
    candidate = left.selectbox(
        t("evaluation.candidate"), others, format_func=lambda key: names[key], key=f"candidate-{evaluation.id}",
        help=t("evaluation.candidate_help"),
    )  # fmt: skip
    against = middle.selectbox(
        t("evaluation.against"), ["", *(key for key in names if key != candidate)], key=f"against-{evaluation.id}-{candidate}",
        format_func=lambda key: names[key] if key else t("evaluation.best_so_far"), help=t("evaluation.against_help"),
    )  # fmt: skip
    with right:
        margin = draw_field(GateRule(), GATE_FIELDS["margin"], f"gate-{evaluation.id}-{metric}", {})
    with last:
        confidence = draw_field(GateRule(), GATE_FIELDS["confidence"], f"gate-{evaluation.id}", {})
    checked = from_mapping(GateRule, {"margin": margin, "confidence": confidence})
    verdict, best = results.ask(services(), evaluation, str(candidate), dataclasses.replace(checked, metric=metric), against or "")
    draw_verdict(verdict, best, names[str(candidate)])


def draw_verdict(verdict: GateVerdict, best: Best, candidate: str) -> None:
    """Draw the verdict as a sentence, with the figures behind it."""
    compared = verdict.comparison
    name = as_text(record_titles([best.record])[best.record["key"]])
    other = t("evaluation.of_earlier", name=name, evaluation=as_text(best.evaluation_name)) if best.earlier else name
    words = t(f"evaluation.verdict_{verdict.verdict}", candidate=as_text(candidate), best=other)
    if verdict.reason:
        words = f"{words} {t(f'evaluation.reason_{verdict.reason}', needed=verdict.differing_needed)}"
    draw = {"better": st.success, "worse": st.error}.get(verdict.verdict, st.info)
    icon = {"better": ":material/trending_up:", "worse": ":material/trending_down:"}.get(verdict.verdict, ":material/help:")
    draw(words, icon=icon)
    difference = _show_difference(compared, verdict.rule.metric)
    st.caption(
        t(
            "evaluation.verdict_figures", difference=difference, confidence=f"{verdict.rule.confidence:.0%}",
            won=compared.wins, lost=compared.losses, tied=compared.ties,
        )
    )  # fmt: skip
