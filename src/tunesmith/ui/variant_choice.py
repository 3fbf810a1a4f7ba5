"""Choosing who answers: adapters, checkpoints of runs, models. Knows variants and their titles, not what is asked of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.i18n.titles import tell_apart
from tunesmith.services.variants import VariantInfo, from_record, list_variants
from tunesmith.ui.figures import show_count, show_number, show_time
from tunesmith.ui.session import services, t

LONGEST_ID = 12
SWITCH = "-checkpoints"


def variant_titles(variants: Sequence[VariantInfo]) -> dict[str, str]:
    """Return a title of its own for each, by key: what two have in common is told apart by time, then by the id."""
    unique = {variant.key: variant for variant in variants}
    titles = {key: _title(variant) for key, variant in unique.items()}
    return tell_apart(titles, lambda key: f" · {show_time(unique[key].created_at)}", lambda key: f" ({_short_id(unique[key])})")


def _short_id(variant: VariantInfo) -> str:
    return variant.plain_key.partition(":")[2][-LONGEST_ID:]


def _title(variant: VariantInfo) -> str:
    if variant.kind == "model":
        return t("variants.made_model" if variant.made else "variants.model", name=variant.name)
    title = t("variants.checkpoint", name=variant.name, step=show_count(variant.step)) if variant.kind == "checkpoint" else variant.name
    return title if variant.strength == 1 else t("variants.strength", name=title, strength=show_number(variant.strength))


def record_titles(records: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a title of its own for each variant of a job's request, by key."""
    return variant_titles([from_record(record) for record in records])


def choose_variants(label: str, key: str, default: Sequence[str], most: int, checkpoints: bool = False) -> list[VariantInfo]:
    """Draw a choice of several, at most `most`, and return them in the order chosen; `default` are keys, those gone are left out.

    With `checkpoints` there is a switch that offers those of all runs too; it is on from the start when a default is one.
    """
    switch = key + SWITCH
    offers = checkpoints and st.session_state.setdefault(switch, any(each.startswith("checkpoint:") for each in default))
    known = {variant.key: variant for variant in list_variants(services(), offers)}
    chosen = st.session_state.get(key, list(default)[:most])
    st.session_state[key] = [each for each in chosen if each in known]  # what was deleted, or is offered no more, is chosen no more
    if gone := [each.partition(":")[2] for each in chosen if each not in known and (offers or not each.startswith("checkpoint:"))]:
        st.warning(t("variants.gone", names=as_text(", ".join(gone))), icon=":material/delete:")
    titles = variant_titles(list(known.values()))
    chosen = st.multiselect(
        label, list(known), key=key, max_selections=most, format_func=lambda each: titles[each], placeholder=t("variants.placeholder"),
        help=t("variants.help", most=most),
    )  # fmt: skip
    if checkpoints:
        st.toggle(t("variants.checkpoints"), key=switch, help=t("variants.checkpoints_help"))
    return [known[each] for each in chosen]


def forget_choice(key: str) -> None:
    """Let `choose_variants` under that key begin with its default again."""
    st.session_state.pop(key, None)
    st.session_state.pop(key + SWITCH, None)


def choose_variant(label: str, key: str, default: str = "", checkpoints: bool = False) -> VariantInfo | None:
    """Draw a choice of one and return it, None when there is none; at first `default`, or the first of the list."""
    known = {variant.key: variant for variant in list_variants(services(), checkpoints)}
    if st.session_state.get(key) not in known:
        st.session_state[key] = default if default in known else next(iter(known), None)
    titles = variant_titles(list(known.values()))
    chosen = st.selectbox(
        label, list(known), key=key, format_func=lambda each: titles[each], placeholder=t("variants.placeholder"),
        help=t("variants.help_one"),
    )  # fmt: skip
    return known[chosen] if chosen else None
