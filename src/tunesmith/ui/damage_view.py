"""Names what in the data folder cannot be read; draws nothing while all can. Knows the damage service."""

from __future__ import annotations

import streamlit as st

from tunesmith.services.damage import find_damage
from tunesmith.ui.messages import describe
from tunesmith.ui.session import services, t


def draw_damage() -> None:
    """Draw a warning with each damaged thing and why."""
    found = find_damage(services())
    if not found:
        return
    st.warning(t("damage.title", n=len(found)), icon=":material/broken_image:")
    with st.expander(t("damage.text"), expanded=True):
        for each in found:
            st.markdown(f"- **{t(f'damage.kind_{each.kind}')}** `{each.id}`: {describe(each.error)}")
