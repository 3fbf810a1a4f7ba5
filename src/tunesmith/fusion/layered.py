"""Weights that differ from layer to layer: curves over the depth, factors per group of modules, a table. Knows no deltas.

`layered` is {"curves": [[…], …], "groups": {"attention": […], "mlp": […], "other": […]}, "table": {"0": […], …}}, each list with one entry
per adapter; a curve holds any number of values, spread evenly from the first layer to the last (mergekit's gradients). What is left out
is 1. The table's row replaces weight × curve for its layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunesmith.errors import UserError
from tunesmith.models.module_names import layer_of, short_name

GROUPS = ("attention", "mlp", "other")


def group_of(module: str) -> str:
    """Return which group of modules a module belongs to."""
    name = short_name(module)
    if "attn" in name or "attention" in name:
        return "attention"
    return "mlp" if "mlp" in name or "feed_forward" in name else "other"


def check_layered(layered: Mapping[str, Any], count: int, layers: int) -> None:
    """Refuse per-layer weights that do not fit so many adapters and layers.

    Raises UserError `fusion_layered_unknown`, `fusion_layered_count`, `fusion_layered_number`.
    """
    groups, table = layered.get("groups") or {}, layered.get("table") or {}
    unknown = [*sorted(set(layered) - {"curves", "groups", "table"}), *(f"groups.{name}" for name in groups if name not in GROUPS)]
    unknown += [f"table.{name}" for name in table if not (str(name).isdecimal() and int(name) < layers)]
    if unknown:
        raise UserError("fusion_layered_unknown", part=unknown[0])
    curves = layered.get("curves") or []
    if curves and (len(curves) != count or not all(curves)):
        raise UserError("fusion_layered_count", part="curves", adapters=count)
    rows = {f"groups.{name}": row for name, row in groups.items()} | {f"table.{name}": row for name, row in table.items()}
    for part, row in rows.items():
        if len(row) != count:
            raise UserError("fusion_layered_count", part=part, adapters=count)
    for part, row in (rows | {f"curves.{place}": curve for place, curve in enumerate(curves, start=1)}).items():
        if not all(isinstance(value, int | float) and np.isfinite(value) for value in row):
            raise UserError("fusion_layered_number", part=part)


def weights_for(module: str, weights: Sequence[float], layered: Mapping[str, Any], layers: int) -> list[float]:
    """Return the weights of one module; modules outside the layers have the plain ones, times their group's."""
    layer = layer_of(module)
    found = list(weights)
    if layer is not None:
        if str(layer) in (table := layered.get("table") or {}):
            found = [float(value) for value in table[str(layer)]]
        elif curves := layered.get("curves"):
            found = [weight * value_at(curve, layer, layers) for weight, curve in zip(found, curves, strict=True)]
    factors = (layered.get("groups") or {}).get(group_of(module), [1.0] * len(found))
    return [value * factor for value, factor in zip(found, factors, strict=True)]


def value_at(curve: Sequence[float], layer: int, layers: int) -> float:
    """Return a curve's value at a layer, between its points on straight lines."""
    if len(curve) == 1 or layers < 2:
        return float(curve[0])
    return float(np.interp(layer / (layers - 1), np.linspace(0, 1, len(curve)), curve))
