"""What is fused and how: adapters of one base, their weights in all or layer by layer, the method. Knows the fusion service."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.errors import UserError
from tunesmith.fusion.config import FusionRules
from tunesmith.fusion.layered import GROUPS, value_at
from tunesmith.fusion.methods import METHODS
from tunesmith.i18n.markdown import as_text
from tunesmith.services import fusion
from tunesmith.services.adapters import AdapterInfo, why_not_together
from tunesmith.settings.files import from_mapping, read_numbers
from tunesmith.ui.forms import draw_field, draw_fields
from tunesmith.ui.messages import show_error
from tunesmith.ui.run_titles import run_titles
from tunesmith.ui.session import services, t

LAYERED = ("same", "groups", "curves", "table")
MOST_SHARED_WEIGHT = 2.0


def draw_choice(known: Sequence[AdapterInfo]) -> list[AdapterInfo]:
    """Draw the choice of adapters; those of another base than the first one's are not offered. Equal names come with their time."""
    found = [info for info in known if why_not_together([info]) is None]
    titles = run_titles(found)
    by_id = {info.id: info for info in found}
    chosen = [by_id[i] for i in st.session_state.get("fusion_adapters", []) if i in by_id]
    offered = [info.id for info in found if not chosen or why_not_together([chosen[0], info]) is None]
    shown = st.multiselect(
        t("fusion.adapters"), offered, key="fusion_adapters", format_func=lambda i: titles[i], help=t("fusion.adapters_help"),
        placeholder=t("fusion.adapters_placeholder"),
    )  # fmt: skip
    if chosen and len(offered) < len(found):
        st.caption(t("fusion.one_base", model=chosen[0].model, others=len(found) - len(offered)))
    names = Counter(by_id[i].name for i in shown)
    return [dataclasses.replace(by_id[i], name=titles[i] if names[by_id[i].name] > 1 else by_id[i].name) for i in shown]


def draw_rules(adapters: Sequence[AdapterInfo]) -> FusionRules:
    """Draw method, weights and what belongs to the method; return the rules, unchecked."""
    usable = [name for name, method in METHODS.items() if not method.most or len(adapters) <= method.most]
    left, right = st.columns([1, 2])
    with left:
        method = st.selectbox(
            t("fusion.method"), usable, key="fusion_method", format_func=lambda name: t(f"fusion_method.{name}"),
            help=t("fusion.method_help"),
        )  # fmt: skip
        st.caption(t(f"fusion_method_help.{method}"))
    with right:
        weights = _draw_weights(adapters, method)
    rules = dataclasses.replace(FusionRules(), method=method, weights=tuple(weights))
    values = _draw_switches(rules)
    layered = _draw_layered(adapters) if method != "model_stock" else {}
    return from_mapping(FusionRules, dataclasses.asdict(rules) | values | {"layered": layered})


def _draw_weights(adapters: Sequence[AdapterInfo], method: str) -> list[float]:
    if method == "model_stock":
        st.caption(t("fusion.no_weights"))
        return [1.0] * len(adapters)
    default = 1.0 if method == "task_arithmetic" else round(1 / len(adapters), 3)
    least = -MOST_SHARED_WEIGHT if method == "task_arithmetic" else 0.0
    return [
        st.slider(
            as_text(info.name), least, MOST_SHARED_WEIGHT, default, 0.05, key=f"weight-{method}-{len(adapters)}-{info.id}",
            help=t("fusion.weight_help"),
        )
        for info in adapters
    ]  # fmt: skip


def _draw_switches(rules: FusionRules) -> dict[str, Any]:
    shown = [f for f in dataclasses.fields(rules) if f.metadata["methods"] and rules.method in f.metadata["methods"]]
    values: dict[str, Any] = {}
    simple = [field for field in shown if not field.metadata["advanced"]]
    for place, field in zip(st.columns(max(1, len(simple))), simple, strict=False):
        with place:
            values[field.name] = draw_field(rules, field, f"fusion.{rules.method}", {})
    with st.expander(t("training.advanced"), icon=":material/tune:"):
        hidden = {name: value for name, value in draw_fields(rules, "fusion", advanced=True, options={}, columns=3).items() if name}
    return values | hidden


def _draw_layered(adapters: Sequence[AdapterInfo]) -> dict[str, Any]:
    """Draw weights that differ between layers or groups of modules."""
    with st.expander(t("fusion.layered"), icon=":material/layers:"):
        kind = st.segmented_control(
            t("fusion.layered_kind"), LAYERED, default="same", format_func=lambda name: t(f"fusion.layered_{name}"), key="fusion_layered",
            help=t("fusion.layered_help"),
        )  # fmt: skip
        if kind == "groups":
            return {"groups": {group: _draw_group(group, adapters) for group in GROUPS}}
        if kind == "curves":
            return {"curves": _draw_curves(adapters)}
        return {"table": _draw_table(adapters)} if kind == "table" else {}


def _draw_group(group: str, adapters: Sequence[AdapterInfo]) -> list[float]:
    places = st.columns(len(adapters))
    return [
        place.slider(f"{t(f'fusion.group_{group}')} · {as_text(info.name)}", 0.0, 2.0, 1.0, 0.05, key=f"group-{group}-{info.id}")
        for place, info in zip(places, adapters, strict=True)
    ]


def _draw_curves(adapters: Sequence[AdapterInfo]) -> list[list[float]]:
    layers = fusion.layers_of(services(), adapters)
    curves = []
    for place, info in zip(st.columns(len(adapters)), adapters, strict=True):
        text = place.text_input(as_text(info.name), value="1, 1", key=f"curve-{info.id}", help=t("fusion.curve_help"))
        try:
            curves.append(read_numbers(text))
        except UserError as error:
            show_error(error)
            curves.append([])  # the check of the rules keeps the start shut
    frame = pd.DataFrame(
        {info.name: [value_at(curve or [1.0], n, layers) for n in range(layers)] for info, curve in zip(adapters, curves, strict=True)}
    )
    st.line_chart(frame, height=160, x_label=t("fusion.layer"), y_label=t("fusion.factor"))
    return curves


def _draw_table(adapters: Sequence[AdapterInfo]) -> dict[str, list[float]]:
    layers = fusion.layers_of(services(), adapters)
    start = pd.DataFrame(
        {info.name: [1 / len(adapters)] * layers for info in adapters}, index=pd.RangeIndex(layers, name=t("fusion.layer"))
    )
    edited = st.data_editor(start, width="stretch", key=f"layers-{'-'.join(info.id for info in adapters)}", height=240)
    return {str(layer): [float(value) for value in row] for layer, row in enumerate(edited.to_numpy())}


def is_ready(adapters: Sequence[AdapterInfo], rules: FusionRules) -> bool:
    """Whether the fusion can start; what prevents it is drawn."""
    try:
        fusion.check(services(), [info.id for info in adapters], rules)
    except UserError as error:
        show_error(error)
        return False
    return True
