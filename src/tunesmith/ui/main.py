"""Draws the frame of every page: navigation, language, banner. The pages themselves are in pages/.

It does not lie beside them: Streamlit takes a script with a pages/ folder beside it for its older kind of app, and then draws the
first page that is opened after a start without this frame.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from tunesmith.ui.frame import PAGES, draw_sidebar, draw_way_back, make_page
from tunesmith.ui.messages import guarded, show_toasts
from tunesmith.ui.session import person, services, t

st.set_page_config(page_title="Tunesmith", page_icon=str(Path(__file__).parent / "assets" / "icon.png"), layout="wide")

with guarded():
    sections = {t(f"nav.{section}"): [make_page(name) for name, _ in pages] for section, pages in PAGES.items()}
    page = st.navigation(sections)
    if person() is None:
        draw_way_back()
        st.stop()
    draw_sidebar()
    show_toasts()
    if not services().supervisor.in_charge:
        st.warning(t("app.read_only"), icon=":material/visibility:")
    elif services().read_only:
        st.caption(f":material/visibility: {t('app.viewing')}")
    with guarded():
        page.run()
