"""What a run left behind on the page: alerts, answers while it learned, then its record. Knows the runs service."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.errors import UserError
from tunesmith.reports.event_words import event_words
from tunesmith.services import runs
from tunesmith.ui.figures import show_count
from tunesmith.ui.live_figures import watch
from tunesmith.ui.messages import describe, guarded
from tunesmith.ui.run_record import draw_record
from tunesmith.ui.session import language, services, t

NOTES = {"rows_left_out", "rows_without_labels", "rows_cut", "rows_drop", "rows_split", "prompts_too_long"}
FLAGS = {"early_stop", "best_kept", "kept_last_good"}
SAMPLE = {"prompt", "text", "expected"}
CARDS = 3


def draw_details(run_id: str, active: bool) -> None:
    """Draw everything below the curves; while the run is `active` it is drawn anew when something new has happened."""
    with guarded():
        grown = runs.marks(services(), run_id)
        events = [event for event in runs.events(services(), run_id) if isinstance(event.get("kind"), str)]
        _draw_notes(events)
        _draw_samples([e for e in events if e["kind"] == "sample" and isinstance(e.get("step"), int) and e.keys() >= SAMPLE])
        shown = draw_record(run_id)
        if active:
            watch(run_id, "details", {mark: grown[mark] for mark in ("events", *({"log"} & {shown}))})


def _draw_notes(events: list[dict[str, Any]]) -> None:
    """Draw what a person should know at once: what went wrong, what was left out, which state was kept."""
    told = [(event, words) for event in events if (words := event_words(event, language()))]
    alerts = [words for event, words in told if event["kind"] == "alert"]
    if alerts:
        st.markdown(f"##### {t('run.alerts')}")
    for words in alerts:
        st.warning(words, icon=":material/warning:")
    _draw_skipped([event for event, _ in told if event["kind"] == "reward_skipped"])
    for kind, words in ((event["kind"], words) for event, words in told):
        if kind in NOTES:
            st.info(words, icon=":material/info:")
        elif kind in FLAGS:
            st.info(words, icon=":material/flag:")
        elif kind == "packing_off":
            st.caption(words)


def _draw_skipped(events: list[dict[str, Any]]) -> None:
    """Say of each reward function that failed how often, when first, and why."""
    for name in dict.fromkeys(event["function"] for event in events):
        own = [event for event in events if event["function"] == name]
        reason = describe(UserError(own[0]["code"], **own[0]["facts"]))
        st.warning(t("run.reward_skipped", function=name, count=len(own), step=own[0]["step"], reason=reason), icon=":material/warning:")


def _draw_samples(samples: list[dict[str, Any]]) -> None:
    st.markdown(f"##### {t('run.samples')}", help=t("run.samples_text"))
    if not samples:
        st.caption(t("run.no_samples"))
        return
    steps = sorted({s["step"] for s in samples})
    shown = steps if len(steps) <= CARDS else [steps[0], *steps[-2:]]
    prompts = {s["prompt"]: s["expected"] for s in samples}
    answers = {(s["prompt"], s["step"]): s["text"] for s in samples}
    first = list(prompts.items())[:CARDS]
    for place, (prompt, expected) in zip(st.columns(len(first)), first, strict=True):
        with place, st.container(border=True, height="stretch"):
            st.text(prompt, help=t("run.sample_help", answer=expected) if expected else None)
            for step in shown:
                st.caption(t("run.sample_step", step=show_count(step)))
                st.text(answers.get((prompt, step), t("common.none")))
    if len(steps) > CARDS or len(prompts) > CARDS:
        _draw_grid(prompts, steps, answers)


def _draw_grid(prompts: dict[str, str], steps: list[int], answers: dict[tuple[str, int], str]) -> None:
    """Draw every answer: a line for each prompt, a column for each step."""
    with st.expander(t("run.grid"), icon=":material/grid_on:"):
        frame = pd.DataFrame(
            {
                t("run.grid_prompt"): list(prompts),
                t("run.grid_expected"): list(prompts.values()),
                **{t("run.sample_step", step=show_count(step)): [answers.get((prompt, step), "") for prompt in prompts] for step in steps},
            }
        )
        st.dataframe(frame, hide_index=True, width="stretch", row_height=70)
