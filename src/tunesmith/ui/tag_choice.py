"""The tags of a run or an adapter, to look at and to change. Knows neither of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import streamlit as st

from tunesmith.ui.messages import guarded
from tunesmith.ui.session import services, t

Change = Callable[[list[str], list[str]], None]  # tags to add, tags to take away


def draw_tags(label: str, thing_id: str, tags: Sequence[str], known: Iterable[str], change: Change) -> None:
    """Draw the tags that are kept, whoever gave them; `change` is told what this person adds and takes away, `known` are offered."""
    key = f"tags-{thing_id}"
    st.session_state[key] = list(tags)
    st.multiselect(
        label, sorted({*known, *tags}), accept_new_options=True, key=key, help=t("adapters.tags_help"),
        placeholder=t("adapters.tags_placeholder"), disabled=services().read_only, on_change=_change, args=(key, tags, change),
    )  # fmt: skip


def _change(key: str, shown: Sequence[str], change: Change) -> None:
    chosen = st.session_state[key]
    with guarded():
        change([tag for tag in chosen if tag not in shown], [tag for tag in shown if tag not in chosen])
