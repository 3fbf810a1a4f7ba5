"""What llama.cpp calls the parts of mlx-lm's models, and how it lays them out: a row per model type. Knows no files and no tokens.

What is written is what MLX computes with: mlx-lm's own arguments of the model stand above config.json. Format: the keys and tensor
names of the `gguf` package; layouts as upstream's converters document them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.utils import dequantize_model

from tunesmith.errors import UserError
from tunesmith.models.safety import check_model_folder
from tunesmith.models.weights import open_lazily

Array = np.ndarray[Any, np.dtype[Any]]
ROPE_FACTORS = "rope_freqs.weight"


@dataclass(frozen=True)
class Architecture:
    """One row: llama.cpp's architecture and what differs from model to model."""

    arch: gguf.MODEL_ARCH
    rotates_pairs: bool = False  # rows of q and k stand in the order of neighbours, not of halves
    norm_shift: float = 0.0  # what MLX adds to a norm's weight when it runs
    rope_types: tuple[str, ...] = ("default", "linear")
    softcaps: bool = False
    windowed: bool = False
    wide_layers: int = 0  # with so many layers llama.cpp scales attention by hidden size / heads, else by the head's size


ARCHITECTURES = {
    "llama": Architecture(gguf.MODEL_ARCH.LLAMA, rotates_pairs=True, rope_types=("default", "linear", "llama3")),
    "mistral": Architecture(gguf.MODEL_ARCH.LLAMA, rotates_pairs=True, rope_types=("default", "linear", "llama3")),
    "qwen2": Architecture(gguf.MODEL_ARCH.QWEN2),
    "qwen3": Architecture(gguf.MODEL_ARCH.QWEN3),
    "gemma2": Architecture(gguf.MODEL_ARCH.GEMMA2, norm_shift=1.0, rope_types=("default",), softcaps=True, windowed=True, wide_layers=46),
    "gemma3_text": Architecture(gguf.MODEL_ARCH.GEMMA3, norm_shift=1.0, windowed=True, wide_layers=62),
    "gemma3": Architecture(gguf.MODEL_ARCH.GEMMA3, norm_shift=1.0, windowed=True, wide_layers=62),
}


@dataclass(frozen=True)
class Blueprint:
    """A model as it is to be written: its row, its settings, and per tensor MLX's name, GGUF's name and the shape [out, in]."""

    architecture: Architecture
    settings: Mapping[str, Any]
    names: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def arch_name(self) -> str:
        """llama.cpp's name of the architecture."""
        return gguf.MODEL_ARCH_NAMES[self.architecture.arch]

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return int(self.settings.get("head_dim") or self.settings["hidden_size"] // self.settings["num_attention_heads"])

    @property
    def rows(self) -> int:
        """How many tokens the embedding has."""
        return next(shape[0] for name, shape in self.shapes.items() if name.endswith("embed_tokens.weight"))

    def lay_out(self, name: str, array: Array) -> Array:
        """Return a tensor of MLX's name as GGUF has it."""
        if (heads := self._rotated_heads(name)) is not None:
            return _swap_halves(array, heads, 2)
        return array + self._shift if self._is_shifted(name) else array

    def lay_back(self, name: str, array: Array) -> Array:
        """Return a tensor of GGUF as MLX has it: the inverse of `lay_out`."""
        if (heads := self._rotated_heads(name)) is not None:
            return _swap_halves(array, heads, array.shape[0] // heads // 2)
        return array - self._shift if self._is_shifted(name) else array

    @property
    def _shift(self) -> np.float32:
        return np.float32(self.architecture.norm_shift)

    def _is_shifted(self, name: str) -> bool:
        return self.architecture.norm_shift != 0 and name.endswith("norm.weight")

    def _rotated_heads(self, name: str) -> int | None:
        if not self.architecture.rotates_pairs or ".self_attn." not in name:
            return None
        heads = int(self.settings["num_attention_heads"])
        return {"q_proj": heads, "k_proj": int(self.settings.get("num_key_value_heads") or heads)}.get(name.split(".")[-2])


def _swap_halves(array: Array, heads: int, parts: int) -> Array:
    split = array.reshape(heads, parts, array.shape[0] // heads // parts, *array.shape[1:])
    return np.ascontiguousarray(split.swapaxes(1, 2).reshape(array.shape))


def read_blueprint(source: Path) -> Blueprint:
    """Return how a model folder is written as GGUF; reads headers only.

    Raises UserError `gguf_architecture_unknown`, `gguf_setting_unsupported`, `gguf_tensor_unknown`, `model_…`.
    """
    model_type = check_model_folder(source)["model_type"]
    architecture = ARCHITECTURES.get(model_type)
    if architecture is None:
        raise UserError("gguf_architecture_unknown", model=source.name, model_type=model_type, known=", ".join(ARCHITECTURES))
    model, config = open_lazily(source)
    inner = getattr(model, "language_model", model)
    computed = {name: value for name, value in vars(inner.args).items() if value is not None}
    settings = config | (config.get("text_config") or {}) | computed
    shapes = {name: tuple(array.shape) for name, array in tree_flatten(dequantize_model(model).parameters())}
    blueprint = Blueprint(architecture, settings, _gguf_names(architecture, shapes, settings["num_hidden_layers"]), shapes)
    _check_settings(blueprint)
    return blueprint


def _gguf_names(architecture: Architecture, shapes: Mapping[str, Any], layers: int) -> dict[str, str]:
    table = gguf.get_tensor_name_map(architecture.arch, layers)
    names = {}
    for name in shapes:
        found = table.get_name(name.removeprefix("language_model."), try_suffixes=(".weight", ".bias"))
        if found is None:
            raise UserError("gguf_tensor_unknown", tensor=name)
        names[name] = found
    return names


def _check_settings(blueprint: Blueprint) -> None:
    """Refuse what MLX computes otherwise than llama.cpp would."""
    architecture, settings = blueprint.architecture, blueprint.settings
    kind = _rope_kind(settings)
    if kind not in architecture.rope_types:
        raise UserError("gguf_setting_unsupported", setting="rope_type", value=kind)
    if settings.get("rope_traditional"):
        raise UserError("gguf_setting_unsupported", setting="rope_traditional", value=True)
    if not architecture.windowed and "sliding_attention" in (settings.get("layer_types") or ()):
        raise UserError("gguf_setting_unsupported", setting="layer_types", value="sliding_attention")
    if architecture.wide_layers:
        wide = settings["num_hidden_layers"] == architecture.wide_layers
        expected = settings["hidden_size"] // settings["num_attention_heads"] if wide else blueprint.head_size
        if not math.isclose(settings["query_pre_attn_scalar"], expected):
            raise UserError("gguf_setting_unsupported", setting="query_pre_attn_scalar", value=settings["query_pre_attn_scalar"])


def _rope_kind(settings: Mapping[str, Any]) -> str:
    scaling = settings.get("rope_scaling") or {}
    return str(scaling.get("type") or scaling.get("rope_type") or "default")


def write_settings(writer: gguf.GGUFWriter, blueprint: Blueprint) -> None:
    """Write the keys that tell llama.cpp what to compute."""
    settings, architecture = blueprint.settings, blueprint.architecture
    writer.add_context_length(settings["max_position_embeddings"])
    writer.add_embedding_length(settings["hidden_size"])
    writer.add_block_count(settings["num_hidden_layers"])
    writer.add_feed_forward_length(settings["intermediate_size"])
    writer.add_head_count(settings["num_attention_heads"])
    writer.add_head_count_kv(settings.get("num_key_value_heads") or settings["num_attention_heads"])
    writer.add_key_length(blueprint.head_size)
    writer.add_value_length(blueprint.head_size)
    writer.add_layer_norm_rms_eps(settings["rms_norm_eps"])
    writer.add_vocab_size(blueprint.rows)
    writer.add_rope_freq_base(settings["rope_theta"])
    if architecture.rotates_pairs:
        writer.add_rope_dimension_count(blueprint.head_size)
    if _rope_kind(settings) == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(settings["rope_scaling"]["factor"])
    if architecture.softcaps:
        writer.add_attn_logit_softcapping(settings["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(settings["final_logit_softcapping"])
    if architecture.windowed and settings.get("sliding_window"):
        writer.add_sliding_window(settings["sliding_window"])
    if architecture.arch == gguf.MODEL_ARCH.GEMMA3:
        writer.add_rope_freq_base_swa(settings["rope_local_base_freq"])
        writer.add_sliding_window_pattern(settings["sliding_window_pattern"])


def rope_factors(blueprint: Blueprint) -> Array | None:
    """Return what llama.cpp divides each frequency by, [head size / 2] in float32, for Llama 3's scaling; None for all other.

    Source: Llama 3.1's `apply_scaling`, with mlx-lm's defaults.
    """
    if _rope_kind(blueprint.settings) != "llama3":
        return None
    scaling = blueprint.settings["rope_scaling"]
    low, high = scaling.get("low_freq_factor", 1.0), scaling.get("high_freq_factor", 4.0)
    original = scaling.get("original_max_position_embeddings", 8192)
    exponents = np.arange(0, blueprint.head_size, 2, dtype=np.float64) / blueprint.head_size
    wavelengths = 2 * np.pi * blueprint.settings["rope_theta"] ** exponents
    share = (original / wavelengths - low) / (high - low)
    between = 1 / ((1 - share) / scaling["factor"] + share)
    factors = np.where(wavelengths < original / high, 1.0, np.where(wavelengths > original / low, scaling["factor"], between))
    return factors.astype(np.float32)
