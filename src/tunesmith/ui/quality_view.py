"""Checks of a data set: what they found, examples, and the cleaning that makes a new version. Knows the service of versions."""

from __future__ import annotations

import streamlit as st

from tunesmith.access.people import TRAINER
from tunesmith.data.quality import NORMALISATIONS
from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.services import dataset_versions as versions
from tunesmith.services.dataset_versions import QualityFinding
from tunesmith.services.datasets import DatasetSummary
from tunesmith.ui.figures import show_count
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.session import lock_of, services, t
from tunesmith.ui.work_bar import work_bar

ICONS = {"problem": ":material/warning:", "hint": ":material/info:"}


def draw_quality(summary: DatasetSummary) -> None:
    """Draw the checks' findings with a filter each, the normalisations, and the button that cleans."""
    st.caption(t("quality_page.text"))
    threshold = st.slider(
        t("quality_page.threshold"), 0.5, 1.0, 0.85, 0.05, help=t("quality_page.threshold_help"), key=f"near-{summary.id}"
    )
    rules = {"near_threshold": threshold}
    key = f"findings-{summary.id}-{summary.version}-{threshold}"
    if key not in st.session_state and not st.button(
        t("quality_page.check"), type="primary", icon=":material/fact_check:", disabled=not services().person.may(TRAINER)
    ):
        return
    try:
        if key not in st.session_state:
            with work_bar(t("quality_page.checking")) as report:
                st.session_state[key] = versions.check_quality(services(), summary.id, rules, report)
        _draw_findings(summary, st.session_state[key], rules)
    except UserError as error:
        show_error(error)


def _draw_findings(summary: DatasetSummary, findings: list[QualityFinding], rules: dict[str, float]) -> None:
    found = [finding for finding in findings if finding.count]
    if clean := [finding for finding in findings if not finding.count]:
        st.caption(t("quality_page.clean", checks=", ".join(t(f"quality.{f.code}") for f in clean)))
    if not found:
        st.success(t("quality_page.nothing"), icon=":material/check_circle:")
    drop = [finding.code for finding in found if _draw_finding(summary, finding)]
    normalise = st.multiselect(
        t("quality_page.normalise"), NORMALISATIONS, format_func=lambda name: t(f"quality.{name}"), help=t("quality_page.normalise_help"),
        key=f"normalise-{summary.id}", placeholder=t("common.choose"),
    )  # fmt: skip
    for name in normalise:
        st.caption(f"{t(f'quality.{name}')}: {t(f'quality.{name}_help')}")
    if summary.shipped or lock_of(summary.owner).get("help"):
        st.caption(t("quality_page.shipped") if summary.shipped else t("quality_page.of_another", owner=as_text(summary.owner)))
        if st.button(t("quality_page.copy"), icon=":material/content_copy:", disabled=services().read_only):
            st.query_params["data"] = versions.copy_shipped(services(), summary.id)
            st.rerun()
        return
    if st.button(t("quality_page.apply"), type="primary", icon=":material/cleaning_services:", disabled=not (drop or normalise)):
        with work_bar(t("quality_page.cleaning")) as report:
            number = versions.clean(services(), summary.id, drop, normalise, rules, report)
        _tell(summary.id, number)
        st.rerun()


def _draw_finding(summary: DatasetSummary, finding: QualityFinding) -> bool:
    """Draw one finding; return whether its rows are to go."""
    with st.container(border=True):
        left, right = st.columns([4, 1.4], vertical_alignment="center")
        left.markdown(f"{ICONS[finding.severity]} **{t(f'quality.{finding.code}')}** · {show_count(finding.count)} ({finding.share:.1%})")
        left.caption(t(f"quality.{finding.code}_help"))
        chosen = bool(finding.drops) and right.toggle(
            t("quality_page.drop", count=show_count(finding.drops)), key=f"drop-{summary.id}-{summary.version}-{finding.code}"
        )
        if finding.examples:
            with st.expander(t("quality_page.examples")):
                for example in finding.examples:
                    split = t(f"dataset.split_{example['split']}")
                    st.caption(f"{split} · {t('dataset.row', line=example['row'] + 1)}")
                    st.code(example["text"], language=None, wrap_lines=True)
    return bool(chosen)


def _tell(dataset_id: str, number: int) -> None:
    made = next(v for v in versions.versions(services(), dataset_id) if v.number == number)
    census = made.record["census"]
    changed = sum(made.record["settings"].get("changed", {}).values())
    toast(
        t("quality_page.done", version=number, rows=show_count(sum(census["rows"].values())), left_out=show_count(census["left_out"]),
          changed=show_count(changed))
    )  # fmt: skip
