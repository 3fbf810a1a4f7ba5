"""The form of a new run. Knows the training service, not the engine."""

from __future__ import annotations

import dataclasses

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.catalog import field_words
from tunesmith.services import datasets, models, training
from tunesmith.services.datasets import DatasetSummary
from tunesmith.settings.files import from_mapping, to_yaml
from tunesmith.training.config import LoraParameters, TrainConfig
from tunesmith.ui.figures import show_bytes
from tunesmith.ui.forms import Options, draw_fields, merge_values
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.session import language, services, t


def start_form_with(config: TrainConfig) -> None:
    """Let the form show these settings from the next drawing on: widgets with new keys, since the browser keeps old ones' values."""
    st.session_state["train_generation"] = st.session_state.get("train_generation", 0) + 1
    st.session_state["train_initial"] = config


def present_config() -> TrainConfig:
    """Return what the form shows, or showed when this session last left it."""
    config: TrainConfig = st.session_state.get("train_draft") or training.default_config(services())
    return config


def _open_form() -> tuple[str, TrainConfig]:
    """Return the prefix of the form's widgets and their first values; a form that was left goes on as it was."""
    prefix = f"train{st.session_state.get('train_generation', 0)}"
    if f"{prefix}.iters" not in st.session_state and st.session_state.get("train_drawn") == prefix:
        st.session_state["train_initial"] = present_config()
    st.session_state["train_drawn"] = prefix
    return prefix, st.session_state.setdefault("train_initial", present_config())


def dataset_title(summary: DatasetSummary) -> str:
    """Return a data set's title in the session's language."""
    return summary.title.get(language()) or summary.title.get("en") or summary.id


def _options() -> Options:
    found = [m for m in models.list_models(services()) if m.problem is None]
    shown = {m.id: f"{m.id} ({m.parameters / 1e6:.1f} M, {show_bytes(m.size_bytes)})" for m in found}
    titles = {d.id: dataset_title(d) for d in datasets.list_datasets(services()) if "sft" in d.methods and d.rows.get("train")}
    return {
        "model": (list(shown), lambda model: shown.get(model, model)),
        "dataset": (list(titles), lambda data: titles.get(data, data)),
    }


def draw_form() -> TrainConfig | None:
    """Draw simple and advanced settings; return the config, None when a value is wrong (the error is shown)."""
    prefix, initial = _open_form()
    options = _options()
    _draw_profiles(initial)
    simple = draw_fields(initial, prefix, advanced=False, options=options)
    with st.expander(t("training.advanced"), icon=":material/tune:"):
        advanced = draw_fields(initial, prefix, advanced=True, options=options)
        if st.button(t("training.defaults"), icon=":material/restart_alt:"):
            start_form_with(dataclasses.replace(training.default_config(services()), model=simple["model"], data=simple["data"]))
            st.rerun()
    try:
        config = from_mapping(TrainConfig, merge_values(initial, simple, advanced))
    except UserError as error:
        show_error(error)
        return None
    st.session_state["train_draft"] = config
    _draw_yaml(config)
    return config


def _draw_profiles(initial: TrainConfig) -> None:
    """Draw the choice of a profile; choosing one fills the form."""
    shown = present_config()
    chosen = st.pills(
        t("training.profile"), training.profiles(), key=f"profile{st.session_state.get('train_generation', 0)}",
        format_func=lambda name: t(f"training.profile_{name}"), help=t("training.profile_help"),
    )  # fmt: skip
    if chosen:
        start_form_with(training.load_profile(chosen, shown.model or initial.model, shown.data or initial.data))
        toast(t("training.yaml_applied"))
        st.rerun()


def _draw_yaml(config: TrainConfig) -> None:
    with st.expander(t("training.yaml"), icon=":material/code:"):
        st.caption(t("training.yaml_help"))
        text = st.text_area(t("training.yaml"), value=to_yaml(config), height=320, label_visibility="collapsed")
        if st.button(t("training.yaml_apply")):
            try:
                start_form_with(training.parse_config(text))
            except UserError as error:
                show_error(error)
            else:
                toast(t("training.yaml_applied"))
                st.rerun()


def setting_label(name: str) -> str:
    """Return a training setting's label in the session's language."""
    for owner in (TrainConfig, LoraParameters):
        for field in dataclasses.fields(owner):
            if field.name == name and field.metadata:
                return field_words(owner.__name__, field, language())[0]
    return name
