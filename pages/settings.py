"""Settings: the app's own, models, this computer; each a view of its own."""

from __future__ import annotations

import streamlit as st

from tunesmith.ui.computer_view import draw_computer
from tunesmith.ui.defaults_view import draw_defaults
from tunesmith.ui.keys_view import draw_keys
from tunesmith.ui.messages import guarded
from tunesmith.ui.models_view import draw_models
from tunesmith.ui.people_view import draw_people
from tunesmith.ui.session import t
from tunesmith.ui.settings_form import draw_settings_form
from tunesmith.ui.storage_view import draw_storage
from tunesmith.ui.view_choice import choose_view

VIEWS = {
    "general": draw_settings_form,
    "models": draw_models,
    "keys": draw_keys,
    "defaults": draw_defaults,
    "storage": draw_storage,
    "people": draw_people,
    "computer": draw_computer,
}

st.title(t("settings.title"))
view = choose_view("settings", VIEWS)
with guarded():
    VIEWS[view]()
