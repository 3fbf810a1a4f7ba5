"""Adapters made elsewhere, PEFT's or mlx-lm's, checked against a base and written as adapters of ours. Knows no jobs and no network.

PEFT adds scaling · lora_B lora_A to a weight [out, in], scaling = alpha / r, or alpha / √r (rsLoRA, arXiv 2312.03732), each module with a
rank and alpha of its own if it has a pattern; mlx-lm adds scale · (lora_a lora_b)ᵀ with one rank and one scale for all. So ranks are
filled up with zeros and what differs from the commonest scaling goes into lora_b. Nothing is approximated.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import regex
from mlx.utils import tree_flatten

from tunesmith.errors import UserError
from tunesmith.models.adapter_files import CONFIG, WEIGHTS, adapter_config, save_folder
from tunesmith.models.adapter_modules import AdapterModules, check_modules, read_modules, read_settings, read_tensors, save_modules
from tunesmith.models.loading import hash_model
from tunesmith.models.weights import Array, BaseWeights, open_lazily

PEFT_WEIGHTS = "adapter_model.safetensors"
OFF: tuple[Any, ...] = (None, False, "", "none", [], {})
# what says where and how an adapter was trained, not what it computes, and what is read below; all other options must be off
NEUTRAL = {
    "peft_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "task_type", "peft_version", "r", "lora_alpha",
    "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
    "use_rslora", "use_dora", "init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "megatron_core",
    "megatron_config", "qalora_group_size", "ensure_weight_tying", "runtime_config",
}  # fmt: skip
UNCHANGED_BASE_INITS = (True, False, None, "gaussian", "eva", "orthogonal")  # the others take what they begin with out of the base
MOST_PATTERNS, LONGEST_PATTERN, PATTERN_SECONDS = 5000, 1000, 0.2
_KEY = re.compile(r"base_model\.model\.(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)(?:\.weight)?")
_LEAVES = {"lora_A.weight": "lora_a", "lora_B.weight": "lora_b", "lora_magnitude_vector": "m"}
_EMBEDDING = re.compile(r"base_model\.model\.(.+)\.lora_embedding_[AB]")
Patterns = list[tuple[Any, float]]


def from_peft(source: Path, target: Path, base: Path) -> None:
    """Write a PEFT LoRA or DoRA folder (adapter_model.safetensors, adapter_config.json) as an adapter of a base.

    Raises UserError `adapter_file_broken`, `adapter_peft_unsupported`, `adapter_base_changed`, `adapter_ranks_differ`,
    `adapter_unknown_keys`, `adapter_not_finite`, `adapter_rank_zero`, `adapter_of_experts`, `adapter_of_embedding`,
    `adapter_does_not_fit`, `model_…`, `disk_full`.
    """
    name = source.name
    rules = read_rules(read_settings(source, name), name)
    modules = _by_module(read_tensors(source / PEFT_WEIGHTS, name), name)
    weights = BaseWeights(base)
    check_modules(name, rules.kind, modules, weights)
    scalings = {module: rules.scaling(module, int(arrays["lora_a"].shape[1])) for module, arrays in modules.items()}
    scale = Counter(scalings.values()).most_common(1)[0][0] or 1.0
    for module, scaling in scalings.items():
        _multiply(name, module, modules[module], scaling / scale)
    save_modules(target, AdapterModules(rules.kind, scale, modules), weights)


def _multiply(adapter: str, module: str, arrays: dict[str, Array], factor: float) -> None:
    if factor == 1.0:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        arrays["lora_b"] = arrays["lora_b"] * np.float32(factor)
    if not np.isfinite(arrays["lora_b"]).all():
        raise UserError("adapter_not_finite", adapter=adapter, module=module)


@dataclass(frozen=True)
class PeftRules:
    """What adapter_config.json says of the arithmetic: rank, alpha, and both again for modules whose names match a pattern."""

    adapter: str
    kind: str
    rank: int
    alpha: float
    by_square_root: bool
    ranks: Patterns
    alphas: Patterns

    def scaling(self, module: str, rank: int) -> float:
        """Return what a module's product is multiplied by. Raises UserError `adapter_ranks_differ`, `adapter_peft_unsupported`."""
        expected = self._matching(self.ranks, module, self.rank)
        if rank != expected:
            raise UserError("adapter_ranks_differ", adapter=self.adapter, module=module, rank=rank, expected=int(expected))
        alpha = self._matching(self.alphas, module, self.alpha)
        return alpha / (math.sqrt(rank) if self.by_square_root else rank)

    def _matching(self, patterns: Patterns, module: str, otherwise: float) -> float:
        for pattern, value in patterns:
            try:
                if pattern.match(module, timeout=PATTERN_SECONDS):
                    return value
            except TimeoutError as error:
                raise _unsupported(self.adapter, "rank_pattern, alpha_pattern", pattern.pattern) from error
        return otherwise


def read_rules(settings: Mapping[str, Any], adapter: str) -> PeftRules:
    """Return what a PEFT adapter_config.json says. Raises UserError `adapter_peft_unsupported`, `adapter_base_changed`."""
    if settings.get("peft_type") != "LORA":
        raise _unsupported(adapter, "peft_type", settings.get("peft_type"))
    init = settings.get("init_lora_weights", True)
    if not isinstance(init, str | bool | None) or init not in UNCHANGED_BASE_INITS:
        raise UserError("adapter_base_changed", adapter=adapter, init=str(init)[:50])
    for option, value in settings.items():
        if option not in NEUTRAL and value not in OFF:
            raise _unsupported(adapter, option, value)
    for option in ("use_dora", "use_rslora"):
        if not isinstance(settings.get(option, False), bool):
            raise _unsupported(adapter, option, settings[option])
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if not _is_number(rank) or not isinstance(rank, int) or rank < 1:
        raise _unsupported(adapter, "r", rank)
    if not _is_number(alpha):
        raise _unsupported(adapter, "lora_alpha", alpha)
    return PeftRules(
        adapter=adapter, kind="dora" if settings.get("use_dora") else "lora", rank=rank, alpha=float(alpha or 0),
        by_square_root=bool(settings.get("use_rslora")), ranks=_compile(adapter, "rank_pattern", settings),
        alphas=_compile(adapter, "alpha_pattern", settings),
    )  # fmt: skip


def _compile(adapter: str, option: str, settings: Mapping[str, Any]) -> Patterns:
    """Return (pattern, value) as PEFT matches them: against the end of a module's name, the first that fits."""
    table = settings.get(option) or {}
    if not isinstance(table, dict) or len(table) > MOST_PATTERNS or any(len(key) > LONGEST_PATTERN for key in table):
        raise _unsupported(adapter, option, table)
    if not all(_is_number(value) for value in table.values()):
        raise _unsupported(adapter, option, table)
    try:
        return [(regex.compile(rf"(.*\.)?({key})$"), float(value)) for key, value in table.items()]
    except regex.error as error:
        raise _unsupported(adapter, option, table) from error


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _unsupported(adapter: str, option: str, value: Any) -> UserError:
    return UserError("adapter_peft_unsupported", adapter=adapter, option=option, value=str(value)[:200])


def _by_module(tensors: Mapping[str, Array], adapter: str) -> dict[str, dict[str, Array]]:
    """Return lora_a [in, r], lora_b [r, out] and m [out] by module, out of PEFT's lora_A [r, in] and lora_B [out, r]."""
    modules: dict[str, dict[str, Array]] = {}
    for key, array in tensors.items():
        if embedding := _EMBEDDING.fullmatch(key):
            raise UserError("adapter_of_embedding", adapter=adapter, module=embedding[1])
        found = _KEY.fullmatch(key)
        if not found or _LEAVES[found[2]] in modules.get(found[1], {}):
            raise UserError("adapter_unknown_keys", adapter=adapter, key=key)
        if array.ndim > 2:
            raise UserError("adapter_of_experts", adapter=adapter, module=found[1])
        modules.setdefault(found[1], {})[_LEAVES[found[2]]] = np.ascontiguousarray(array.T)
    return modules


def from_mlx(source: Path, target: Path, base: Path) -> None:
    """Write an adapter folder that mlx-lm made elsewhere (LoRA, DoRA or whole weights) as an adapter of a base.

    Raises UserError `adapter_file_broken`, `adapter_wrong_base`, `adapter_kind_unsupported`, `adapter_unknown_keys`,
    `adapter_not_finite`, `adapter_rank_zero`, `adapter_of_experts`, `adapter_of_embedding`, `adapter_does_not_fit`, `model_…`,
    `disk_full`.
    """
    name = source.name
    settings = read_settings(source, name)
    if settings.get("fine_tune_type") == "full":
        _from_full(source, target, base, settings)
    else:
        weights = BaseWeights(base)
        save_modules(target, read_modules(source, name, weights), weights)


def _from_full(source: Path, target: Path, base: Path, settings: Mapping[str, Any]) -> None:
    name = source.name
    model, _ = open_lazily(base)
    own = dict(tree_flatten(model.parameters()))
    tensors = read_tensors(source / WEIGHTS, name)
    for key, array in tensors.items():
        if key not in own:
            raise UserError("adapter_unknown_keys", adapter=name, key=key)
        if own[key].shape != array.shape or not mx.issubdtype(own[key].dtype, mx.floating):
            found, wanted = (" × ".join(map(str, shape)) for shape in (array.shape, own[key].shape))
            raise UserError("adapter_does_not_fit", adapter=name, module=key, found=found, wanted=wanted)
        if not np.isfinite(array).all():
            raise UserError("adapter_not_finite", adapter=name, module=key)
    layers = settings.get("num_layers")
    num_layers = layers if isinstance(layers, int) and 0 <= layers <= len(model.layers) else len(model.layers)
    config = adapter_config("full", num_layers, {}, base, hash_model(base))
    save_folder(target, {WEIGHTS: {key: mx.array(array) for key, array in tensors.items()}}, {CONFIG: config})
