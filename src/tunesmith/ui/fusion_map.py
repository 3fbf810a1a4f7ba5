"""The map of conflicts between adapters: layers × modules as a heat map, and what it says in words. Knows the map job's result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.jobs.job import Job
from tunesmith.models.module_names import layer_of, short_name
from tunesmith.ui.session import t

MEASURES = ("cosine", "sign_disagreement", "norm_share")
SCALES = {"cosine": ("RdBu", -1.0, 1.0), "sign_disagreement": ("Oranges", 0.0, 1.0), "norm_share": ("Blues", 0.0, 1.0)}
MOODS = {"redundant": "blue", "opposed": "red", "signs_clash": "orange", "dominant": "orange", "disjoint": "green"}


def draw_map(job: Job) -> None:
    """Draw what the adapters of a finished map job say of each other."""
    names = [str(each["name"]) for each in job.request["adapters"]]
    modules: list[dict[str, Any]] = job.result["modules"]
    _draw_remarks(job.result["remarks"], names)
    left, right = st.columns(2)
    measure = left.segmented_control(
        t("fusion.measure"), MEASURES, default="cosine", format_func=lambda name: t(f"fusion.measure_{name}"), key=f"measure-{job.id}",
        help=t("fusion.measure_help"),
    ) or "cosine"  # fmt: skip
    if measure == "norm_share":
        options: list[tuple[int, ...]] = [(n,) for n in range(len(names))]
    else:
        options = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    shown = right.selectbox(
        t("fusion.pair"), options, format_func=lambda pair: " ↔ ".join(names[n] for n in pair), key=f"pair-{measure}-{job.id}"
    )
    st.plotly_chart(heat_map(modules, measure, shown), width="stretch", key=f"map-{job.id}-{measure}")


def _draw_remarks(remarks: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    if not remarks:
        st.success(t("fusion.remark_none"), icon=":material/check_circle:")
    for remark in remarks:
        told = {
            "names": as_text(" ↔ ".join(names[n] for n in remark["adapters"])),
            "percent": f"{remark['value']:.0%}",
            "value": f"{remark['value']:.2f}",
        }
        st.markdown(f":{MOODS[remark['code']]}[:material/circle:] {t('fusion.remark_' + remark['code'], **told)}")


def heat_map(modules: Sequence[dict[str, Any]], measure: str, shown: tuple[int, ...]) -> go.Figure:
    """Return layers (across) × modules (down); grey where an adapter leaves a module alone."""
    layers = sorted({layer for each in modules if (layer := layer_of(each["module"])) is not None})
    kinds = list(dict.fromkeys(short_name(each["module"]) for each in modules))
    values: list[list[float | None]] = [[None] * max(1, len(layers)) for _ in kinds]
    for each in modules:
        layer = layer_of(each["module"])
        column = layers.index(layer) if layer is not None else 0
        found = each[measure][shown[0]]
        values[kinds.index(short_name(each["module"]))][column] = found if len(shown) == 1 else found[shown[1]]
    scale, low, high = SCALES[measure]
    figure = go.Figure(
        go.Heatmap(
            z=values, x=[str(layer) for layer in layers] or [""], y=kinds, colorscale=scale, zmin=low, zmax=high, xgap=1, ygap=1,
            hovertemplate=f"{t('fusion.layer')} %{{x}} · %{{y}}: %{{z:.2f}}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=110 + 26 * len(kinds), margin={"l": 0, "r": 0, "t": 10, "b": 0}, xaxis_title=t("fusion.layer"))
    figure.update_xaxes(type="category")
    figure.update_yaxes(autorange="reversed")
    return figure
