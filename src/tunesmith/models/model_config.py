"""config.json as every engine reads it: where transformers 5 keeps the rotary embedding's settings, mlx-lm often does not look.

Knows no files and no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.models.safety import CODE_KEYS


def normalise_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return config.json without paths and code; what transformers 5 nests under `rope_parameters` stands outside too.

    A null stays: it is not a missing key, for which transformers has its default (Mistral's `sliding_window` is 4096 then, not none).
    """
    kept = {name: value for name, value in config.items() if name not in {"_name_or_path", *CODE_KEYS}}
    return dict(sorted((kept | rope_settings(kept)).items()))


def rope_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys that must be added to config.json for mlx-lm to turn positions as transformers 5 does, none where all are there.

    mlx-lm's llama, qwen2, gemma and others know `rope_theta`, `rope_scaling`, `rope_local_base_freq` and `partial_rotary_factor` only,
    and would take their defaults silently.
    """
    added: dict[str, Any] = {}
    if isinstance(config.get("text_config"), Mapping) and (inner := rope_settings(config["text_config"])):
        added["text_config"] = {**config["text_config"], **inner}
    rope = config.get("rope_parameters")
    if not isinstance(rope, Mapping):
        return added
    whole, sliding = rope.get("full_attention"), rope.get("sliding_attention")
    found = _flatten(whole if isinstance(whole, Mapping) else rope)
    if isinstance(sliding, Mapping) and "rope_theta" in sliding:
        found["rope_local_base_freq"] = sliding["rope_theta"]
    return added | {name: value for name, value in found.items() if config.get(name) is None}


def _flatten(rope: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: rope[name] for name in ("rope_theta", "partial_rotary_factor") if rope.get(name) is not None}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        scaling = {name: value for name, value in rope.items() if name not in found}
        found["rope_scaling"] = {**scaling, "rope_type": kind, "type": kind}  # mlx-lm's phi3 asks for `type`
    return found
