"""The sweep under the training form: which settings vary, and their values. Knows the sweeps service."""

from __future__ import annotations

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.services import sweeps
from tunesmith.training.config import TrainConfig
from tunesmith.ui.frame import go_to
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import setting_label

DEFAULT_VALUES = {"learning_rate": "1e-4, 3e-4, 1e-3", "lora_parameters.rank": "8, 16, 32", "seed": "0, 1, 2"}


def draw_sweep(config: TrainConfig, ready: bool) -> None:
    """Draw the choice of settings and values, how many runs that makes, and the start."""
    with st.expander(t("training.sweep"), icon=":material/grid_view:"):
        st.caption(t("training.sweep_text"))
        chosen = st.multiselect(
            t("training.sweep_fields"), sweeps.sweepable_settings(config), key="sweep_fields", max_selections=3,
            format_func=_label, help=t("training.sweep_fields_help"), placeholder=t("common.choose"),
        )  # fmt: skip
        texts = {name: _draw_values(name) for name in chosen}
        if not texts or not all(text.strip() for text in texts.values()):
            return
        try:
            grid = {name: sweeps.parse_values(text) for name, text in texts.items()}
            count = len(sweeps.expand(config, grid))
        except UserError as error:
            show_error(error)
            return
        if st.button(t("training.start_sweep", n=count), icon=":material/playlist_add:", disabled=not ready):
            sweeps.start_sweep(services(), config, grid)
            toast(t("training.sweep_started", n=count))
            go_to("training", view="queue")


def _label(name: str) -> str:
    return setting_label(name.rpartition(".")[2])


def _draw_values(name: str) -> str:
    label = t("training.sweep_values", field=_label(name))
    return st.text_input(label, value=DEFAULT_VALUES.get(name, ""), key=f"sweep.{name}", help=t("training.sweep_values_help"))
