"""The reward workbench: try the form's reward functions on rows before a run. Knows the rewards service."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from tunesmith.errors import UserError
from tunesmith.services import rewards
from tunesmith.services.rewards import FunctionFigures, Trial, TriedAnswer
from tunesmith.training.config import TrainConfig
from tunesmith.ui.figures import show_number
from tunesmith.ui.messages import sentence, show_error
from tunesmith.ui.rewards_form import show_function
from tunesmith.ui.session import services, t

SHOWN_ANSWERS = 60
MANY_ALIKE = 0.5


def draw_workbench(config: TrainConfig) -> None:
    """Draw what to try, and what came of it."""
    st.caption(t("workbench.text"))
    left, middle, _ = st.columns(3)
    rows = left.number_input(t("workbench.rows"), 1, rewards.MOST_ROWS, 5, key="workbench-rows", help=t("workbench.rows_help"))
    answers = middle.number_input(
        t("workbench.answers"), 0, rewards.MOST_ANSWERS, min(8, config.policy.num_generations), key="workbench-answers",
        help=t("workbench.answers_help"),
    )  # fmt: skip
    text = st.text_area(t("workbench.given"), height=90, help=t("workbench.given_help"), key="workbench-given", placeholder="…\n---\n…")
    given = [part.strip() for part in text.split("\n---\n") if part.strip()]
    if st.button(t("workbench.try"), icon=":material/science:", key="workbench-try", disabled=services().read_only):
        st.session_state.pop("workbench-trial", None)
        try:
            with st.spinner(t("workbench.trying")):
                st.session_state["workbench-trial"] = (config, rewards.try_on_rows(services(), config, int(rows), int(answers), given))
        except UserError as error:
            show_error(error)
    of, trial = st.session_state.get("workbench-trial", (None, None))
    if trial is not None and of == config:
        _draw_trial(trial)
    elif trial is not None:
        st.caption(t("workbench.stale"))


def _draw_trial(trial: Trial) -> None:
    _draw_verdicts(trial)
    st.markdown(f"**{t('workbench.functions')}**")
    st.dataframe(_functions_frame(trial.functions), hide_index=True, width="stretch", placeholder=t("common.none"))
    tried = [answer for answer in trial.answers if answer.origin != "reference"] or trial.answers
    st.markdown(f"**{t('workbench.histogram')}**")
    st.plotly_chart(_histogram(tried), width="stretch", config={"displayModeBar": False}, key="workbench-histogram")
    st.markdown(f"**{t('workbench.list')}**")
    st.dataframe(_answers_frame(trial.answers[:SHOWN_ANSWERS]), hide_index=True, width="stretch", placeholder=t("common.none"))


def _draw_verdicts(trial: Trial) -> None:
    """Say what is wrong with the rewards, or that nothing is."""
    failed = [figures.failed for figures in trial.functions if figures.failed]
    for error in failed:
        show_error(error)
    idle = [figures.name for figures in trial.functions if figures.coverage == 0 and not figures.failed]
    if idle:
        st.warning(t("workbench.idle", names=", ".join(show_function(name) for name in idle)), icon=":material/do_not_disturb_on:")
    constant = [figures.name for figures in trial.functions if figures.is_constant]
    if constant:
        st.warning(t("workbench.constant", names=", ".join(show_function(name) for name in constant)), icon=":material/horizontal_rule:")
    fooled = [junk for junk in trial.junk if junk.is_fooled]
    for junk in fooled:
        told = {"kind": t(f"junk.{junk.kind}"), "reward": show_number(junk.reward, 3), "best": show_number(junk.best, 3)}
        st.warning(t("workbench.fooled", **told), icon=":material/theater_comedy:")
    alike = trial.alike is not None and trial.alike > MANY_ALIKE and not idle
    if alike:
        st.warning(t("workbench.alike", percent=f"{trial.alike or 0:.0%}"), icon=":material/equal:")
    if not (failed or idle or constant or fooled or alike):
        st.success(t("workbench.fine"), icon=":material/check_circle:")


def _functions_frame(functions: Sequence[FunctionFigures]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            t("rewards.function"): [show_function(f.name) for f in functions],
            t("rewards.weight"): [f.weight for f in functions],
            t("workbench.mean"): pd.Series([f.mean for f in functions], dtype="float64").round(3),
            t("workbench.deviation"): pd.Series([f.deviation for f in functions], dtype="float64").round(3),
            t("workbench.lowest"): pd.Series([f.lowest for f in functions], dtype="float64").round(3),
            t("workbench.highest"): pd.Series([f.highest for f in functions], dtype="float64").round(3),
            t("workbench.coverage"): [f"{f.coverage:.0%}" for f in functions],
            t("workbench.state"): [sentence(f.failed) if f.failed else t("workbench.works") for f in functions],
        }
    )


def _answers_frame(answers: Sequence[TriedAnswer]) -> pd.DataFrame:
    names = list(answers[0].scores) if answers else []
    return pd.DataFrame(
        {
            t("workbench.row"): [answer.row + 1 for answer in answers],
            t("workbench.prompt"): [answer.prompt for answer in answers],
            t("workbench.answer"): [answer.text for answer in answers],
            t("workbench.origin"): [t(f"workbench.origin_{answer.origin}") for answer in answers],
            t("workbench.reward"): [round(answer.reward, 3) for answer in answers],
            **{show_function(name): pd.Series([answer.scores[name] for answer in answers], dtype="float64").round(3) for name in names},
        }
    )


def _histogram(answers: Sequence[TriedAnswer]) -> go.Figure:
    figure = go.Figure(go.Histogram(x=[answer.reward for answer in answers], nbinsx=20))
    figure.update_layout(
        height=200, margin={"l": 40, "r": 10, "t": 10, "b": 40}, xaxis_title=t("workbench.reward"), yaxis_title=t("workbench.count"),
        bargap=0.05,
    )  # fmt: skip
    return figure
