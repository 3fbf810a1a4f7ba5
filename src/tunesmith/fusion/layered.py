"""Weights that differ from layer to layer: curves over the depth, factors per group of modules, a table. Knows no deltas.

`layered` is {"curves": [[…], …], "groups": {"attention": […], "mlp": […], "other": […]}, "table": {"0": […], …}}, each list with one entry
per adapter; a curve holds any number of values, spread evenly from the first layer to the last (mergekit's gradients). What is left out
is 1. The table's row replaces weight × curve for its layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tunesmith.errors import UserError

GROUPS = ("attention", "mlp", "other")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def layer_of(module: str) -> int | None:
    """Return the number of the layer that a module is in, None for one outside the layers (embedding, head)."""
    found = _LAYER.search(module)
    return int(found[1]) if found else None


def short_name(module: str) -> str:
    """Return a module's name within its layer, such as `self_attn.q_proj`."""
    found = _LAYER.search(module)
    return module[found.end() :] if found else module


def group_of(module: str) -> str:
    """Return which group of modules a module belongs to."""
    name = short_name(module)
    if "attn" in name or "attention" in name:
        return "attention"
    return "mlp" if "mlp" in name or "feed_forward" in name else "other"


def check_layered(layered: Mapping[str, Any], count: int, layers: int) -> None:
    """Refuse per-layer weights that do not fit so many adapters and layers. Raises UserError `fusion_layered_broken`."""
    unknown = set(layered) - {"curves", "groups", "table"}
    if unknown:
        raise UserError("fusion_layered_broken", part=", ".join(sorted(unknown)), reason="name")
    curves = layered.get("curves") or []
    if curves and (len(curves) != count or any(not curve for curve in curves)):
        raise UserError("fusion_layered_broken", part="curves", reason="count")
    for part in ("groups", "table"):
        for name, row in (layered.get(part) or {}).items():
            known = name in GROUPS if part == "groups" else str(name).isdigit() and int(name) < layers
            if not known:
                raise UserError("fusion_layered_broken", part=f"{part}.{name}", reason="name")
            if len(row) != count:
                raise UserError("fusion_layered_broken", part=f"{part}.{name}", reason="count")
    values = [*curves, *(layered.get("groups") or {}).values(), *(layered.get("table") or {}).values()]
    for row in values:
        if not all(isinstance(v, int | float) and np.isfinite(v) for v in row):
            raise UserError("fusion_layered_broken", part="values", reason="number")


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
