"""The reward functions of a run: choose, weigh, set. Knows the rewards service and one list in the session, not how they score."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.services import attachments, rewards
from tunesmith.settings.files import from_mapping
from tunesmith.training.config import TrainConfig
from tunesmith.training.rewards.domains import persona, presets
from tunesmith.training.rewards.spec import RewardSpec
from tunesmith.ui.forms import draw_field
from tunesmith.ui.messages import describe, show_error, toast
from tunesmith.ui.session import services, t

NEW_FUNCTION = "format_soft"


def draw_rewards(initial: TrainConfig, prefix: str) -> dict[str, Any]:
    """Draw the list; return the policy's rewards as plain values for the form to merge, and the system prompt of a chosen preset."""
    key = f"{prefix}.rewards"
    specs: list[RewardSpec] = st.session_state.setdefault(key, list(initial.policy.rewards))
    st.markdown(f"**{t('training.group_rewards')}**", help=t("rewards.help"))
    custom, problems = rewards.custom_functions(services())
    names = [*rewards.built_in(), *custom]
    place = f"{key}.{st.session_state.setdefault(f'{key}-turn', 0)}"
    drawn = [_draw_reward(spec, names, f"{place}.{number}", only=len(specs) < 2) for number, spec in enumerate(specs)]
    edited = [spec for spec, dropped in drawn if not dropped]
    if len(edited) < len(drawn):
        _replace(key, edited)
    for problem in problems:
        st.warning(describe(problem), icon=":material/warning:")
    with st.container(horizontal=True):
        if st.button(t("rewards.add"), icon=":material/add:", key=f"{key}.add"):
            _replace(key, [*edited, RewardSpec(NEW_FUNCTION)])
        _draw_presets(edited, key)
    st.caption(t("rewards.own_files", folder=str(attachments.rewards_folder(services()))))
    return {"policy": {"rewards": tuple(dataclasses.asdict(spec) for spec in edited)}}


def _replace(key: str, specs: list[RewardSpec]) -> None:
    """Put another list in the form's place: widgets with new keys, since the browser keeps old ones' values."""
    st.session_state[key] = specs
    st.session_state[f"{key}-turn"] += 1
    st.rerun()


def show_function(name: str) -> str:
    """Return what a reward function is called: its words, or the file's own name for it."""
    plain, _, number = name.rpartition("_")
    if plain in rewards.built_in() and number.isdigit():
        return f"{t(f'reward.{plain}')} {number}"
    return t(f"reward.{name}") if name in rewards.built_in() else name


def _draw_reward(spec: RewardSpec, names: list[str], place: str, only: bool) -> tuple[RewardSpec, bool]:
    """Return the reward as it is set, and whether it was dropped."""
    known = names if spec.function in names else [spec.function, *names]
    with st.container(border=True):
        left, middle, right = st.columns([6, 3, 1], vertical_alignment="bottom")
        function = left.selectbox(
            t("rewards.function"), known, index=known.index(spec.function), format_func=show_function, key=f"{place}.function",
            help=t("rewards.function_help"),
        )  # fmt: skip
        weight = middle.number_input(
            t("rewards.weight"), value=float(spec.weight) if function == spec.function else 1.0, step=0.1, format="%g",
            key=f"{place}.{function}.weight", help=t("rewards.weight_help"),
        )  # fmt: skip
        dropped = right.button("", icon=":material/close:", key=f"{place}.drop", help=t("rewards.drop"), disabled=only)
        options = dict(spec.options) if function == spec.function else {}
        return RewardSpec(function, weight, _draw_options(function, options, f"{place}.{function}")), dropped


def _draw_options(function: str, options: dict[str, Any], place: str) -> dict[str, Any]:
    """Draw a built-in function's own settings, two in a line; options that do not fit any more begin anew."""
    if ":" in function or function not in rewards.built_in():
        return options
    settings = rewards.settings_of(function)
    try:
        present = from_mapping(settings, options)
    except UserError as error:
        show_error(error)
        present, options = settings(), {}
    st.caption(t(f"reward_help.{function}"))
    drawn: dict[str, Any] = {}
    fields = dataclasses.fields(settings)
    columns = st.columns(2) if len(fields) > 1 else [st.container()]
    for number, field in enumerate(fields):
        with columns[number % len(columns)]:
            drawn[field.name] = draw_field(present, field, place, {})
    plain = settings()  # what is as it always is needs no line in the YAML
    chosen = {name: value for name, value in drawn.items() if value != getattr(plain, name)}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}


def _draw_presets(edited: list[RewardSpec], key: str) -> None:
    """Offer a field and a reader: their system prompt and a checklist."""
    with st.popover(t("rewards.presets"), icon=":material/school:"):
        st.caption(t("rewards.presets_help"))
        domain, expertise = (_draw_preset_choice(kind, f"{key}.{kind}") for kind in ("domain", "expertise"))
        if st.button(t("rewards.use_preset"), type="primary", disabled=not (domain or expertise), key=f"{key}.use"):
            chosen = persona(domain, expertise)
            st.session_state[f"{key.removesuffix('.rewards')}.policy.system_prompt"] = chosen.system
            toast(t("rewards.preset_used"))
            _replace(key, [*(spec for spec in edited if spec.function != "rubric"), chosen.rubric])


def _draw_preset_choice(kind: str, key: str) -> str:
    def show(name: str) -> str:
        if not name:
            return t("common.none")
        return t(f"domain.{name}") if kind == "domain" else t(f"expertise.{name}")

    return st.selectbox(t(f"rewards.{kind}"), ["", *presets(kind)], format_func=show, key=key) or ""
