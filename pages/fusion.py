"""Fusion: lists the adapters, and says that fusing is not there yet."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tunesmith.services import fusion
from tunesmith.ui.figures import show_bytes, show_time
from tunesmith.ui.frame import link_to
from tunesmith.ui.session import services, t

st.title(t("fusion.title"))
st.write(t("fusion.intro"))
rows = fusion.adapters(services())
if rows:
    table = {
        t("fusion.adapter"): [r.name for r in rows],
        t("fusion.model"): [r.model for r in rows],
        t("fusion.rank"): [r.rank for r in rows],
        t("fusion.modules"): [", ".join(key.split(".")[-1] for key in r.keys) for r in rows],
        t("fusion.size"): [show_bytes(r.size_bytes) for r in rows],
        t("fusion.created"): [show_time(r.created_at) for r in rows],
    }
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")
else:
    st.info(t("fusion.empty"), icon=":material/info:")
    link_to("home", t("compare.to_home"))
st.caption(t("fusion.honest"))
