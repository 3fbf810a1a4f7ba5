"""Who is asked and how: variants, strengths, the base, system prompt, sampling. Knows the compare service."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.markdown import as_text
from tunesmith.inference.sampling import Sampling
from tunesmith.services import compare
from tunesmith.services.variants import LEAST_STRENGTH, MOST_STRENGTH, VariantInfo, by_base
from tunesmith.settings.files import from_mapping, read_numbers
from tunesmith.store.comparisons import Comparison
from tunesmith.ui.figures import show_count
from tunesmith.ui.messages import show_error
from tunesmith.ui.sampling_form import PLAIN, draw_sampling
from tunesmith.ui.session import services, t
from tunesmith.ui.variant_choice import choose_variants, forget_choice, variant_titles

BOX, CHOSEN, WITH_BASE, HOW = "compare_variants", "compare_chosen", "compare_with_base", "compare_how"


def choose_again(panel: Sequence[VariantInfo]) -> None:
    """Choose who was asked before, each adapter in its strengths; a base comes with its adapters."""
    tuned = {each.model_path for each in panel if each.adapter_path}
    chosen: dict[str, list[float]] = {}
    for each in panel:
        if each.adapter_path or each.model_path not in tuned:
            chosen.setdefault(each.plain_key, []).append(each.strength)
    st.session_state[CHOSEN] = list(chosen)
    forget_choice(BOX)
    st.session_state[WITH_BASE] = not tuned or any(each.adapter_path is None and each.model_path in tuned for each in panel)
    for key, strengths in chosen.items():
        st.session_state[f"compare_strength-{key}"] = ", ".join(f"{strength:g}" for strength in strengths)


def ask_again_as(comparison: Comparison) -> None:
    """Put the system prompt and the sampling of a comparison's last question into the form."""
    if comparison.rounds:
        last = comparison.rounds[-1]
        st.session_state[HOW] = comparison.id, last.system, last.sampling


def draw_panel(default: Sequence[str]) -> list[VariantInfo]:
    """Draw who is asked and return them, bases included; empty while nobody is chosen. `default` counts unless some were asked before.

    Raises UserError `too_many_variants`, `strength_…`, `not_a_number`.
    """
    default = st.session_state.get(CHOSEN) or default
    chosen = choose_variants(t("compare.pick"), BOX, default, compare.MOST_VARIANTS, checkpoints=True)
    if not chosen:
        st.caption(t("compare.choose_one"))
        return []
    with st.container(horizontal=True, vertical_alignment="center"):
        st.session_state.setdefault(WITH_BASE, True)
        with_base = st.toggle(t("compare.with_base"), key=WITH_BASE, help=t("compare.with_base_help"))
        with st.popover(t("compare.strengths"), icon=":material/equalizer:"):
            strengths = _draw_strengths(chosen)
    panel = compare.make_panel(services(), list(zip(chosen, strengths, strict=True)), with_base)
    bases = len(by_base(panel))
    if bases > 1:
        st.caption(f":material/memory: {t('compare.bases', n=show_count(bases))}")
    return panel


def _draw_strengths(chosen: Sequence[VariantInfo]) -> list[list[float]]:
    """Draw one line for each that can have another strength; return the strengths of each."""
    titles = variant_titles(chosen)
    found = []
    for variant in chosen:
        if variant.adapter_kind != "lora":
            found.append([1.0])
            continue
        text = st.text_input(
            t("compare.strengths_of", name=as_text(titles[variant.key])), key=f"compare_strength-{variant.key}", placeholder="1",
            help=t("compare.strengths_help", least=f"{LEAST_STRENGTH:g}", most=f"{MOST_STRENGTH:g}"),
        )  # fmt: skip
        found.append(read_numbers(text) or [1.0])
    if not any(variant.adapter_kind == "lora" for variant in chosen):
        st.caption(t("compare.strengths_none"))
    return found


def draw_how() -> tuple[str, Sampling]:
    """Draw system prompt and sampling, at first those of the comparison that was opened; return both. Raises UserError `setting_…`."""
    comparison_id, system, drawn = st.session_state.get(HOW, ("", "", {}))
    try:
        sampling = from_mapping(Sampling, drawn)
    except UserError as error:  # of another version
        show_error(error)
        sampling = Sampling()
    return draw_options(f"compare{comparison_id}", system, sampling)


def draw_options(prefix: str, system: str = "", sampling: Sampling = PLAIN) -> tuple[str, Sampling]:
    """Draw system prompt and sampling, kept under `<prefix>_…` in the session; return both. Raises UserError `setting_…`."""
    with st.expander(t("compare.sampling"), icon=":material/tune:"):
        system = st.text_area(t("compare.system"), system, key=f"{prefix}_system", height=80)
        return system, draw_sampling(f"{prefix}_sampling", sampling)
