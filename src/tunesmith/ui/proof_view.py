"""What an export or a fusion proved of itself, in words and figures. Knows the records of inference.proof."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from tunesmith.ui.session import t
from tunesmith.ui.tiles import draw_tiles

ALIKE_KL, CLOSE_KL = 1e-5, 1e-2


def draw_likeness(likeness: Mapping[str, Any], reference: str) -> None:
    """Draw how alike two models answer the fixed prompts."""
    kl = float(likeness["kl"])
    mood = "alike" if kl <= ALIKE_KL else "close" if kl <= CLOSE_KL else "apart"
    words = t(f"proof.{mood}", reference=reference, prompts=likeness["prompts"], positions=likeness["positions"])
    {"alike": st.success, "close": st.info, "apart": st.warning}[mood](
        words, icon=":material/verified:" if mood != "apart" else ":material/warning:"
    )
    tiles = [
        (t("proof.kl"), f"{kl:.1e}", t("proof.kl_note")),
        (t("proof.top1"), f"{float(likeness['top1']):.1%}", None),
    ]
    if "max_abs" in likeness:
        tiles.append((t("proof.max_abs"), f"{float(likeness['max_abs']):.1e}", None))
    draw_tiles(tuple(tiles))


def draw_proof(proof: Mapping[str, Any], reference: str) -> None:
    """Draw an export's proof: how alike it answers, what another engine said of it, what failed, what could not be checked."""
    if likeness := proof.get("likeness"):
        draw_likeness(likeness, reference)
    if "factors_max_abs" in proof:
        st.success(t("proof.factors", value=f"{float(proof['factors_max_abs']):.1e}"), icon=":material/verified:")
    if engine := proof.get("engine"):
        told = {"engine": engine, "tokens": f"{proof['tokens_equal']:.0%}", "greedy": f"{proof['greedy_equal']:.0%}"}
        st.markdown(f":green[:material/terminal:] {t('proof.engine', **told)}")
    if failed := [name for name, well in (proof.get("checks") or {}).items() if not well]:
        st.error(t("proof.failed", checks=", ".join(t(f"proof.check_{name}") for name in failed)), icon=":material/error:")
    for code in proof.get("unchecked", ()):
        st.caption(f":material/info: {t(f'proof.{code}', reason=proof.get('reason', ''))}")
