"""Figures of runs whose settings differ: parallel coordinates, one setting against a metric. Records to figures, no services."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from tunesmith.services.run_settings import show_value
from tunesmith.services.sweep_results import SweepResult, Varied

WORSE_TO_BETTER = ["#f05a00", "#a58bb0", "#1e5ae1"]  # all can be read on light and on dark
LONGEST_LABEL = 18  # characters that have room over an axis
MARGINS = {"l": 100, "r": 70, "t": 60, "b": 30}


def parallel_figure(result: SweepResult, varied: Sequence[Varied], labels: Mapping[str, str], metric: str) -> go.Figure:
    """Return a line for each run that has the metric: through its values of the settings, to the metric, which colours it."""
    places = [place for place, value in enumerate(result.values) if value is not None]
    values = [result.values[place] for place in places]
    dimensions = [_dimension(_shorten(labels[each.name]), each, places) for each in varied]
    figure = go.Figure(
        go.Parcoords(
            line={"color": values, "colorscale": WORSE_TO_BETTER, "reversescale": result.lower_is_better},
            dimensions=[*dimensions, {"label": metric, "values": values}],
            labelfont={"size": 13},
            tickfont={"size": 12},
        )
    )
    figure.update_layout(height=360, margin=MARGINS)
    return figure


def _shorten(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"


def _dimension(label: str, varied: Varied, places: list[int]) -> dict[str, Any]:
    own = [varied.values[place] for place in places]
    if not varied.numeric:
        kinds = list(dict.fromkeys(map(show_value, own)))
        return {"label": label, "values": [kinds.index(show_value(v)) for v in own], "tickvals": list(range(len(kinds))), "ticktext": kinds}
    scaled = [math.log10(value) if varied.wants_log else float(value) for value in own]
    ticks = dict(zip(scaled, own, strict=True))
    return {"label": label, "values": scaled, "tickvals": list(ticks), "ticktext": [show_value(value) for value in ticks.values()]}


def scatter_figure(
    result: SweepResult, varied: Varied, label: str, metric: str, names: Mapping[str, str], colours: Mapping[str, str]
) -> go.Figure:
    """Return one point for each run that has the metric, in the run's colour, the best one a star; a wide range is drawn logarithmic."""
    figure = go.Figure()
    for run_id, value, x in zip(result.run_ids, result.values, varied.values, strict=True):
        if value is not None:
            best = run_id == result.best
            marker = {"color": colours[run_id], "size": 18 if best else 11, "symbol": "star" if best else "circle"}
            shown = x if varied.numeric else show_value(x)
            hover = f"{label}: {show_value(x)}<br>{metric}: %{{y:.4g}}<extra>%{{fullData.name}}</extra>"
            name = html.escape(names[run_id])  # Plotly would read tags in it
            figure.add_trace(go.Scatter(x=[shown], y=[value], mode="markers", name=name, marker=marker, hovertemplate=hover))
    figure.update_layout(height=360, margin=MARGINS, showlegend=False, xaxis_title=label, yaxis_title=metric)
    figure.update_xaxes(type="log" if varied.wants_log else "linear" if varied.numeric else "category")
    if varied.wants_log:
        ticks = sorted({value for value in varied.values if value is not None})
        figure.update_xaxes(tickvals=ticks, ticktext=[show_value(value) for value in ticks])
    return figure
