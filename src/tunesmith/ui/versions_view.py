"""A data set's split and its history: divide anew, see each version's step, go back. Knows the service of versions."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st

from tunesmith.data.split import SplitRules
from tunesmith.errors import UserError
from tunesmith.services import dataset_versions as versions
from tunesmith.services.datasets import DatasetSummary
from tunesmith.store.datasets import Version
from tunesmith.ui.figures import show_count, show_time
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.session import lock_of, services, t
from tunesmith.ui.work_bar import work_bar


def draw_split(summary: DatasetSummary) -> None:
    """Draw the present split, and the form that divides all rows anew."""
    total = sum(summary.rows.values())
    st.write(", ".join(f"{t(f'dataset.split_{name}')} {show_count(count)}" for name, count in summary.rows.items()))
    st.caption(t("split.text"))
    plain = SplitRules()
    places = st.columns(4)
    key = f"split-{summary.id}"
    valid = places[0].number_input(
        t("split.valid"), 0.0, float(total), plain.valid, step=0.05, help=t("split.size_help"), key=f"{key}-valid"
    )
    test = places[1].number_input(t("split.test"), 0.0, float(total), plain.test, step=0.05, help=t("split.size_help"), key=f"{key}-test")
    seed = places[2].number_input(t("split.seed"), 0, 2**31, plain.seed, help=t("split.seed_help"), key=f"{key}-seed")
    stratify = places[3].selectbox(
        t("split.stratify"), ["", *summary.columns], format_func=lambda name: name or t("common.none"), help=t("split.stratify_help"),
        key=f"{key}-stratify",
    )  # fmt: skip
    by_prompt = st.toggle(t("split.by_prompt"), value=plain.by_prompt, help=t("split.by_prompt_help"), key=f"{key}-by-prompt")
    if summary.shipped:
        st.caption(t("quality_page.shipped"))
    if st.button(t("split.apply"), type="primary", icon=":material/call_split:", **lock_of(summary.owner, summary.shipped)):
        rules = SplitRules(valid, test, int(seed), stratify, by_prompt)
        try:
            with work_bar(t("split.working")) as report:
                number = versions.split(services(), summary.id, dataclasses.asdict(rules), report)
        except UserError as error:
            show_error(error)
            return
        toast(t("split.done", version=number))
        st.rerun()


def draw_history(summary: DatasetSummary) -> None:
    """Draw the versions, newest first, each with how it was made; an earlier one can be taken up again."""
    found = versions.versions(services(), summary.id)
    if not found:
        st.caption(t("history.none"))
        return
    st.caption(t("history.text"))
    for version in reversed(found):
        _draw_version(summary, version)


def _draw_version(summary: DatasetSummary, version: Version) -> None:
    current = version.number == summary.version
    record = version.record
    with st.container(border=True):
        left, right = st.columns([4, 1.4], vertical_alignment="center")
        badge = f" :green-badge[{t('history.current')}]" if current else ""
        left.markdown(f"**{t('history.version', number=version.number)}** · {t('history.step_' + record['step'])}{badge}")
        rows = ", ".join(f"{t('dataset.split_' + name)} {show_count(count)}" for name, count in record["census"]["rows"].items())
        left.caption(f"{show_time(record['made_at'])} · {rows} · {describe_step(record)} · `{version.hash}`")
        if not current and right.button(
            t("history.back"), key=f"back-{summary.id}-{version.number}", icon=":material/undo:", **lock_of(summary.owner)
        ):
            versions.go_to_version(services(), summary.id, version.number)
            toast(t("history.went_back", number=version.number))
            st.rerun()


def describe_step(record: dict[str, Any]) -> str:
    """Return what a step did in a few words."""
    settings = record["settings"]
    if record["step"] == "clean":
        dropped = [f"{t(f'quality.{code}')} {show_count(count)}" for code, count in settings["dropped"].items()]
        changed = [f"{t(f'quality.{name}')} {show_count(count)}" for name, count in settings["changed"].items()]
        return t("history.cleaned", dropped=", ".join(dropped) or t("common.none"), changed=", ".join(changed) or t("common.none"))
    if record["step"] == "split":
        return t("history.divided", valid=f"{settings['valid']:g}", test=f"{settings['test']:g}", seed=settings["seed"])
    return t("history.imported", file=settings["file"], left_out=show_count(record["census"]["left_out"]))
