"""What the name of a module tells: its layer, and its name within it. Knows no model."""

from __future__ import annotations

import re

_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def layer_of(module: str) -> int | None:
    """Return the number of the layer that a module is in, None for one outside the layers (embedding, head)."""
    found = _LAYER.search(module)
    return int(found[1]) if found else None


def short_name(module: str) -> str:
    """Return a module's name within its layer, such as `self_attn.q_proj`."""
    found = _LAYER.search(module)
    return module[found.end() :] if found else module
