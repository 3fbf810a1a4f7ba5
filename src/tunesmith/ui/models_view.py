"""The models that are there. Knows the models service."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tunesmith.services import models
from tunesmith.ui.figures import show_bytes, show_count
from tunesmith.ui.messages import describe
from tunesmith.ui.session import services, t


def draw_models() -> None:
    """Draw the models found in the folders, broken ones with the reason."""
    found = models.list_models(services())
    table = {
        t("settings.model_name"): [m.id for m in found],
        t("settings.model_type"): [m.model_type or t("common.none") for m in found],
        t("settings.model_parameters"): [show_count(m.parameters or None) for m in found],
        t("settings.model_size"): [show_bytes(m.size_bytes or None) for m in found],
        t("settings.model_state"): [describe(m.problem) if m.problem else t("settings.model_usable") for m in found],
    }
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch")
