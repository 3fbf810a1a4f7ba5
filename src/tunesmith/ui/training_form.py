"""The form of a new run. Knows the training service, not the engine."""

from __future__ import annotations

import dataclasses

import streamlit as st

from tunesmith.access.people import ADMIN
from tunesmith.data.formats import POLICY
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import field_words
from tunesmith.services import datasets, models, training, training_defaults
from tunesmith.services.adapters import list_adapters
from tunesmith.services.datasets import DatasetSummary
from tunesmith.settings.files import from_mapping, to_yaml
from tunesmith.training.config import LoraParameters, TrainConfig
from tunesmith.training.policy_config import PolicyParameters, changed_switches, with_switches
from tunesmith.training.preference_config import PreferenceParameters
from tunesmith.training.registry import family_of
from tunesmith.ui.figures import show_bytes
from tunesmith.ui.forms import Options, draw_fields, merge_values, show_choice
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.rewards_form import draw_rewards
from tunesmith.ui.run_titles import run_titles
from tunesmith.ui.session import language, services, t


def start_form_with(config: TrainConfig) -> None:
    """Let the form show these settings from the next drawing on: widgets with new keys, since the browser keeps old ones' values."""
    st.session_state["train_generation"] = st.session_state.get("train_generation", 0) + 1
    st.session_state["train_initial"] = config


def start_form_on(model_id: str) -> None:
    """Let the form show the usual settings with this model from the next drawing on."""
    start_form_with(dataclasses.replace(training.default_config(services()), model=model_id))


def start_form_for(summary: DatasetSummary) -> None:
    """Let the form show this data set from the next drawing on, and a method that can use it."""
    config = present_config()
    fitting = config if config.method in summary.methods else config.with_method(summary.methods[0])
    start_form_with(dataclasses.replace(fitting, data=summary.id))


def present_config() -> TrainConfig:
    """Return what the form shows, or showed when this session last left it."""
    config: TrainConfig = st.session_state.get("train_draft") or training.default_config(services())
    return config


def _open_form() -> tuple[str, TrainConfig]:
    """Return the prefix of the form's widgets and their first values; a form that was left goes on as it was."""
    prefix = f"train{st.session_state.get('train_generation', 0)}"
    if f"{prefix}.iters" not in st.session_state and st.session_state.get("train_drawn") == prefix:
        st.session_state["train_initial"] = present_config()
        st.session_state.pop(f"{prefix}.rewards", None)  # no widget's: it would stay as it was before the changes
    st.session_state["train_drawn"] = prefix
    return prefix, st.session_state.setdefault("train_initial", present_config())


def dataset_title(summary: DatasetSummary) -> str:
    """Return a data set's title in the session's language."""
    return summary.title.get(language()) or summary.title.get("en") or summary.id


def _options(method: str) -> Options:
    found = [m for m in models.list_models(services()) if m.problem is None]
    shown = {m.id: f"{m.id} ({m.parameters / 1e6:.1f} M, {show_bytes(m.size_bytes)})" for m in found}
    titles = {d.id: dataset_title(d) for d in datasets.list_datasets(services()) if method in d.methods and d.rows.get("train")}
    adapters = run_titles([info for info in list_adapters(services()) if info.problem is None])
    return {
        "model": (list(shown), lambda model: shown.get(model, model)),
        "dataset": (list(titles), lambda data: titles.get(data, data)),
        "adapter": (["", *adapters], lambda run: adapters.get(run, run) if run else t("training.new_adapter")),
    }


def draw_form() -> TrainConfig | None:
    """Draw simple and advanced settings; return the config, None when a value is wrong (the error is shown)."""
    prefix, initial = _open_form()
    options = _options(initial.method)
    _draw_profiles(initial)
    simple = draw_fields(initial, prefix, advanced=False, options=options)
    if simple["method"] != initial.method:
        start_form_with(_for_method(dataclasses.replace(present_config(), model=simple["model"], data=simple["data"]), simple["method"]))
        st.rerun()
    rewards = draw_rewards(initial, prefix) if initial.method in POLICY else {}
    with st.expander(t("training.advanced"), icon=":material/tune:"):
        advanced = draw_fields(initial, prefix, advanced=True, options=options)
        defaults = st.container(horizontal=True)
        if defaults.button(t("training.defaults"), icon=":material/restart_alt:"):
            plain = training.default_config(services()).with_method(initial.method)
            start_form_with(dataclasses.replace(plain, model=simple["model"], data=simple["data"]))
            st.rerun()
    try:
        config = from_mapping(TrainConfig, merge_values(initial, simple, advanced, rewards))
    except UserError as error:
        show_error(error)
        return None
    st.session_state["train_draft"] = config
    with defaults:
        _draw_keep(config)
    _draw_preset(config)
    _draw_yaml(config)
    return config


def _draw_keep(config: TrainConfig) -> None:
    """Offer an admin to let every new form begin with these settings."""
    allowed = services().person.may(ADMIN) and services().supervisor.in_charge
    told = t("training.keep_defaults_help") if allowed else t("settings.admins_only")
    if st.button(t("training.keep_defaults"), icon=":material/bookmark:", help=told, disabled=not allowed):
        training_defaults.keep_defaults(services(), config)
        toast(t("training.kept_defaults"))
        st.rerun()


def _for_method(config: TrainConfig, method: str) -> TrainConfig:
    """Return the settings for another method, with a data set that it can use; of the shipped ones, the one made for it."""
    changed = config.with_method(method)
    made_for = training.DEMO_DATA_OF[family_of(method)]
    if config.data in training.DEMO_DATA_OF.values():
        return dataclasses.replace(changed, data=made_for)
    fitting = {d.id for d in datasets.list_datasets(services()) if method in d.methods}
    return changed if config.data in fitting else dataclasses.replace(changed, data=made_for)


def _draw_preset(config: TrainConfig) -> None:
    """Say which switches differ from the method's own, and offer to put them back."""
    changed = changed_switches(config.method, config.policy) if config.method in POLICY else {}
    if not changed:
        return
    names = ", ".join(f"{setting_label(name)} ({value})" for name, value in changed.items())
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(t("training.preset_changed", method=show_choice(config.method)), color="orange", icon=":material/tune:")
        st.caption(t("training.preset_own", names=names))
        if st.button(t("training.preset_reset"), icon=":material/restart_alt:"):
            start_form_with(dataclasses.replace(config, policy=with_switches(config.method, config.policy)))
            st.rerun()


def _draw_profiles(initial: TrainConfig) -> None:
    """Draw the choice of a profile; choosing one fills the form."""
    shown = present_config()
    chosen = st.pills(
        t("training.profile"), training.profiles(), key=f"profile{st.session_state.get('train_generation', 0)}",
        format_func=lambda name: t(f"training.profile_{name}"), help=t("training.profile_help"), wrap=True,
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
    for owner in (TrainConfig, LoraParameters, PolicyParameters, PreferenceParameters):
        for field in dataclasses.fields(owner):
            if field.name == name and "label" in field.metadata:
                return field_words(owner.__name__, field, language())[0]
    return name
