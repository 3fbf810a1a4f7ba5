"""The settings of several runs side by side, what differs marked; and what they last answered. Knows the run settings service."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from tunesmith.i18n.catalog import has
from tunesmith.i18n.markdown import as_text
from tunesmith.services import run_settings, runs
from tunesmith.services.experiments import ExperimentRow
from tunesmith.services.run_settings import SettingLine
from tunesmith.ui.overlay_choice import draw_names, short_names
from tunesmith.ui.overlay_curves import DIFFERENT_LOOK
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import setting_label

MOST_ROWS, LONGEST_HEADING = 100, 24  # lines, characters
ANSWER_PIXELS, ROW_PIXELS = 240, 80


def draw_settings(chosen: Sequence[ExperimentRow]) -> None:
    """Draw settings × runs, at first those that differ, and the same as YAML to copy."""
    lines = run_settings.compare_settings(services(), [run.id for run in chosen])
    names = list(short_names(chosen).values())
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    words = left.text_input(t("overlay.search"), key="overlay_search", placeholder=t("overlay.search_placeholder"))
    only = right.toggle(t("overlay.only"), value=True, key="overlay_only", help=t("overlay.only_help"))
    shown = [line for line in lines if (line.differs or not only) and matches(line, words)]
    if not shown:
        st.info(t("overlay.no_settings") if words else t("overlay.alike"), icon=":material/check_circle:")
        return
    draw_names(chosen)
    st.caption(t("overlay.marked", name=as_text(names[0]), n=len(shown), total=len(lines)))
    headings = {"section": t("overlay.section"), "key": t("overlay.key"), **{run.id: name for run, name in zip(chosen, names, strict=True)}}
    columns = {
        column: st.column_config.Column(words, width="medium" if len(words) > LONGEST_HEADING else None)
        for column, words in headings.items()
    }  # fmt: skip
    st.dataframe(
        marked_table(shown, [run.id for run in chosen]), hide_index=True, width="stretch",
        height="content" if len(shown) <= MOST_ROWS else "auto",
        column_config={"setting": st.column_config.Column(t("overlay.setting"), pinned=True), **columns},
    )  # fmt: skip
    with st.expander(t("overlay.yaml"), icon=":material/code:"):
        st.code(run_settings.lines_as_yaml(shown, names), language="yaml")


def line_label(line: SettingLine) -> str:
    """Return what a setting or a fact of the machine is called; names of packages stand for themselves."""
    if line.section == "settings":
        return setting_label(line.name.rpartition(".")[2])
    return t(f"overlay.fact_{line.name}") if has(f"overlay.fact_{line.name}") else line.name


def matches(line: SettingLine, words: str) -> bool:
    """Return whether label, name or a value of a line has the words in it."""
    told = [line_label(line), line.name, *map(run_settings.show_value, line.values)]
    return words.strip().casefold() in "\n".join(told).casefold()


def marked_table(lines: Sequence[SettingLine], run_ids: Sequence[str]) -> pd.io.formats.style.Styler:
    """Return the table: `setting`, the runs' ids, `section` and `key`; what differs from the first run is marked."""
    cells = [
        [line_label(line), *map(run_settings.show_value, line.values), t(f"overlay.section_{line.section}"), line.name] for line in lines
    ]
    frame = pd.DataFrame(cells, columns=["setting", *run_ids, "section", "key"])
    looks = pd.DataFrame("", index=frame.index, columns=frame.columns)
    for row, line in enumerate(lines):
        for place, run_id in enumerate(run_ids):
            looks.loc[row, run_id] = DIFFERENT_LOOK if line.differs_at(place) else ""
    return frame.style.apply(lambda _: looks, axis=None)


def draw_answers(chosen: Sequence[ExperimentRow]) -> None:
    """Draw the last answers of the runs to the same prompts side by side."""
    names = short_names(chosen)
    answers: dict[str, dict[str, str]] = {}
    expected: dict[str, str] = {}
    for run in chosen:
        for event in runs.events(services(), run.id):
            if event["kind"] == "sample":
                expected.setdefault(event["prompt"], event.get("expected", ""))
                answers.setdefault(event["prompt"], {})[run.id] = event["text"]
    if not answers:
        st.info(t("overlay.no_answers"), icon=":material/forum:")
        return
    order = sorted(answers, key=lambda prompt: -len(answers[prompt]))  # what most were asked first
    cells = [[prompt, expected[prompt], *(answers[prompt].get(run.id, t("common.none")) for run in chosen)] for prompt in order]
    headings = {"prompt": t("run.grid_prompt"), "expected": t("run.grid_expected"), **names}
    draw_names(chosen)
    st.caption(t("overlay.answers_text"))
    st.dataframe(
        pd.DataFrame(cells, columns=list(headings)), hide_index=True, width="stretch", row_height=ROW_PIXELS,
        column_config={column: st.column_config.Column(words, width=ANSWER_PIXELS) for column, words in headings.items()},
    )  # fmt: skip
