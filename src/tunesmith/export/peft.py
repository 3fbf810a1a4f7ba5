"""An adapter of ours as a PEFT folder, and the proof that it is the same adapter. Knows no jobs.

PEFT keeps lora_A [r, in] = lora_aᵀ, lora_B [out, r] = lora_bᵀ and lora_alpha = scale · r under the names of transformers' modules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from tunesmith.errors import UserError
from tunesmith.export.peft_import import PEFT_WEIGHTS, from_peft
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.inference.proof import Likeness, compare_logits, encode_prompts, prompt_logits
from tunesmith.models.adapter_files import CONFIG, save_folder
from tunesmith.models.adapter_modules import AdapterModules, read_modules, read_settings
from tunesmith.models.loading import load_model
from tunesmith.models.module_names import layer_of
from tunesmith.models.safety import read_safetensors_header, weight_files
from tunesmith.models.weights import Array, BaseWeights
from tunesmith.system.scratch import scratch_folder

PREFIX = "base_model.model."


def to_peft(adapter: Path, target: Path, base_name: str, base: Path) -> None:
    """Write an adapter folder of a base as a PEFT folder; `base_name` is the name or path by which PEFT's users know the base.

    Raises UserError `adapter_not_for_peft` (whole weights), `adapter_names_differ`, `adapter_of_experts`, `adapter_of_embedding`, and
    what `read_modules` raises, `disk_full`.
    """
    name, weights = adapter.parent.name, BaseWeights(base)
    kind = read_settings(adapter, name).get("fine_tune_type", "lora")
    if kind == "full":
        raise UserError("adapter_not_for_peft", adapter=name, kind=kind)
    found = read_modules(adapter, name, weights)
    _check_names(name, found.modules, base)
    tensors: dict[str, mx.array] = {}
    for module, arrays in found.modules.items():
        tensors[f"{PREFIX}{module}.lora_A.weight"] = mx.array(np.ascontiguousarray(arrays["lora_a"].T))
        tensors[f"{PREFIX}{module}.lora_B.weight"] = mx.array(np.ascontiguousarray(arrays["lora_b"].T))
        if found.kind == "dora":
            tensors[f"{PREFIX}{module}.lora_magnitude_vector"] = mx.array(arrays["m"])
    save_folder(target, {PEFT_WEIGHTS: tensors}, {CONFIG: _peft_config(found, base_name, weights)})


def _check_names(adapter: str, modules: Mapping[str, Any], base: Path) -> None:
    """Refuse modules that mlx-lm calls otherwise than the checkpoint does, since PEFT goes by the checkpoint's names."""
    names = {name for file in weight_files(base) for name in read_safetensors_header(file)}
    for module in modules:
        if f"{module}.weight" not in names or module.startswith("language_model."):  # which transformers renames as it loads
            raise UserError("adapter_names_differ", adapter=adapter, module=module)


def _peft_config(found: AdapterModules, base_name: str, base: BaseWeights) -> dict[str, Any]:
    ranks = {module: int(arrays["lora_a"].shape[1]) for module, arrays in found.modules.items()}
    rank = Counter(ranks.values()).most_common(1)[0][0]
    others = {module: each for module, each in ranks.items() if each != rank}
    return {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base_name, "inference_mode": True,
        "r": rank, "lora_alpha": _plain(found.scale * rank), "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
        "init_lora_weights": True, "use_rslora": False, "use_dora": found.kind == "dora", "modules_to_save": None,
        "rank_pattern": others, "alpha_pattern": {module: _plain(found.scale * each) for module, each in others.items()},
        **_targets(set(found.modules), base),
    }  # fmt: skip


def _plain(value: float) -> int | float:
    return int(value) if value.is_integer() else value


def _targets(modules: set[str], base: BaseWeights) -> dict[str, Any]:
    """Return the shortest options by which PEFT finds exactly these modules: last names and layers, or else each name whole."""
    last_names = sorted({module.rpartition(".")[2] for module in modules})
    named = {module for module in base.names if module.rpartition(".")[2] in last_names}
    layers = sorted({layer for module in modules if (layer := layer_of(module)) is not None})
    if modules == named:
        return {"target_modules": last_names}
    if modules == {module for module in named if layer_of(module) in layers}:
        return {"target_modules": last_names, "layers_to_transform": layers}
    return {"target_modules": sorted(modules)}


@dataclass(frozen=True)
class PeftProof:
    """How far an exported adapter, read back, is from the original: its arrays at most, and the answers of a model that wears it."""

    modules: int
    largest_difference: float
    likeness: Likeness


def prove_peft(adapter: Path, exported: Path, base: Path) -> PeftProof:
    """Read a PEFT folder back by PEFT's own rules and compare it with the adapter that it was made from; PEFT is not needed.

    Raises UserError as `from_peft` does, `model_…`.
    """
    with scratch_folder() as folder:
        again = Path(folder) / exported.name
        from_peft(exported, again, base)
        weights = BaseWeights(base)
        first, second = (read_modules(each, exported.name, weights) for each in (adapter, again))
        if first.modules.keys() != second.modules.keys():
            raise UserError("adapter_file_broken", adapter=exported.name, file=PEFT_WEIGHTS, reason="modules")
        difference = max(_difference(first, second, module) for module in first.modules)
        bank = AdapterBank(load_model(base))
        prompts = encode_prompts(bank.base.tokenizer)
        logits = []
        for each in (adapter, again):
            bank.activate(bank.load(each))
            logits.append(prompt_logits(bank.base.model, prompts))
    return PeftProof(len(first.modules), difference, compare_logits(*logits))


def _difference(first: AdapterModules, second: AdapterModules, module: str) -> float:
    """Return the largest difference of what two adapters hold for a module; ranks filled with zeros are equal."""
    one, other = _scaled(first, module), _scaled(second, module)
    return max(_apart(one[leaf], other[leaf]) for leaf in one)


def _scaled(adapter: AdapterModules, module: str) -> dict[str, Array]:
    arrays = dict(adapter.modules[module])
    arrays["lora_b"] = arrays["lora_b"] * np.float32(adapter.scale)
    return arrays


def _apart(one: Array, other: Array) -> float:
    shape = tuple(max(sides) for sides in zip(one.shape, other.shape, strict=True))
    filled = [np.pad(array, [(0, whole - side) for whole, side in zip(shape, array.shape, strict=True)]) for array in (one, other)]
    return float(np.abs(filled[0] - filled[1]).max())
