"""The rollout browser: step, prompt, and the group of answers with every score. Knows the rollouts service."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tunesmith.services import rollouts, runs
from tunesmith.services.rollouts import RolloutCompletion, RolloutGroup
from tunesmith.ui.figures import show_count, show_number
from tunesmith.ui.live_figures import watch
from tunesmith.ui.messages import guarded
from tunesmith.ui.rewards_form import show_function
from tunesmith.ui.session import services, t

SHORT = 90
EVERY_SECONDS = 5.0


def draw_rollouts(run_id: str, active: bool) -> None:
    """Draw the choice of step and prompt, and the chosen group; while the run is `active` they are drawn anew when more was written."""
    with guarded():
        if active:
            watch(run_id, "rollouts", {"rollouts": runs.marks(services(), run_id)["rollouts"]}, every_seconds=EVERY_SECONDS)
        steps = rollouts.steps(services(), run_id)
        st.markdown(f"##### {t('rollouts.title')}", help=t("rollouts.help"))
        if not steps:
            st.caption(t("rollouts.none"))
            return
        if active and st.toggle(t("rollouts.follow"), value=True, key=f"rollout-follow-{run_id}", help=t("rollouts.follow_help")):
            groups = rollouts.groups(services(), run_id, steps[-1])
            st.caption(t("run.sample_step", step=show_count(steps[-1])))
            _draw_group(max(groups, key=lambda group: group.spread))
            return
        left, right = st.columns([1, 2])
        with left:
            step = _choose_step(run_id, steps)
        groups = rollouts.groups(services(), run_id, step)
        with right:
            number = st.selectbox(
                t("rollouts.prompt"), range(len(groups)), format_func=lambda i: _title(i, groups[i]), key=f"rollout-prompt-{run_id}-{step}"
            )
        if number is not None and number < len(groups):
            _draw_group(groups[number])


def _choose_step(run_id: str, steps: list[int]) -> int:
    if len(steps) == 1:
        return steps[0]
    return int(st.select_slider(t("rollouts.step"), steps, value=steps[-1], key=f"rollout-step-{run_id}"))


def _title(number: int, group: RolloutGroup) -> str:
    prompt = group.prompt.replace("\n", " ")
    short = prompt if len(prompt) <= SHORT else prompt[:SHORT] + "…"
    return t("rollouts.group", n=number + 1, prompt=short, reward=show_number(group.mean_reward, 3))


def _draw_group(group: RolloutGroup) -> None:
    st.text(group.prompt)
    if group.answer is not None:
        st.caption(t("rollouts.expected", answer=group.answer))
    if group.alike:
        st.info(t("rollouts.alike"), icon=":material/equal:")
    st.dataframe(_frame(group.completions), hide_index=True, width="stretch", placeholder=t("common.none"))


def _frame(completions: list[RolloutCompletion]) -> pd.DataFrame:
    names = list(completions[0].scores) if completions else []
    shown = {name: show_function(name) for name in names}
    return pd.DataFrame(
        {
            t("rollouts.mark"): [_mark(c) for c in completions],
            t("rollouts.text"): [c.text for c in completions],
            t("rollouts.reward"): [round(c.reward, 3) for c in completions],
            **{shown[name]: pd.Series([c.scores[name] for c in completions], dtype="float64").round(3) for name in names},
            t("rollouts.advantage"): [round(c.advantage, 3) for c in completions],
            t("rollouts.tokens"): [show_count(c.tokens) for c in completions],
        }
    )


def _mark(completion: RolloutCompletion) -> str:
    marks = [
        t("rollouts.best") if completion.best else t("rollouts.worst") if completion.worst else "",
        t("rollouts.cut") if completion.truncated else "",
        "" if completion.kept else t("rollouts.left_out"),
    ]
    return " · ".join(mark for mark in marks if mark)
