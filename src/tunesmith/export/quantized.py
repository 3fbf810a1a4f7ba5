"""A model folder in fewer bits by mlx-lm's own quantisation, and what that cost. Knows no adapters.

Weights are read, packed and written one after the other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.generate import generate_step
from mlx_lm.utils import dequantize_model, quantize_model

from tunesmith.data.templates import Encoded
from tunesmith.errors import UserError
from tunesmith.export.config import FIXED_SHAPES, QuantizeRules
from tunesmith.inference.likelihood import mean_loss, read_rows
from tunesmith.inference.proof import compare_logits, encode_prompts, prompt_logits
from tunesmith.models.loading import LoadedModel, load_model
from tunesmith.models.saving import save_model_folder
from tunesmith.models.weights import open_lazily
from tunesmith.system.progress import Report

AFFINE_BITS, AFFINE_GROUPS = (2, 3, 4, 5, 6, 8), (32, 64, 128)
SPEED_TOKENS = 64


def check_quantize_rules(rules: QuantizeRules) -> None:
    """Refuse bits, groups and recipes that mlx has not. Raises UserError `setting_choice`, `recipe_needs_affine`."""
    if rules.mode == "affine" and rules.bits not in AFFINE_BITS:
        raise UserError("setting_choice", field="bits", value=rules.bits, choices=", ".join(map(str, AFFINE_BITS)))
    if rules.mode == "affine" and rules.group_size not in AFFINE_GROUPS:
        raise UserError("setting_choice", field="group_size", value=rules.group_size, choices=", ".join(map(str, AFFINE_GROUPS)))
    if rules.mode != "affine" and rules.recipe != "none":
        raise UserError("recipe_needs_affine", mode=rules.mode, recipe=rules.recipe)


def quantize_folder(source: Path, target: Path, rules: QuantizeRules, card: str, manifest: Mapping[str, Any], report: Report) -> None:
    """Write a quantised copy of a model folder; a quantised one is made dense first.

    Raises UserError `setting_choice`, `recipe_needs_affine`, `recipe_needs_known_layers`, `model_cannot_be_quantized`, `target_exists`,
    `disk_full`, `model_…`.
    """
    check_quantize_rules(rules)
    model, config = open_lazily(source)
    model = dequantize_model(model)
    config = {name: value for name, value in config.items() if name not in {"quantization", "quantization_config"}}
    before = len(tree_flatten(model.parameters()))
    model, config = _quantize(model, config, rules)
    flat = dict(tree_flatten(model.parameters()))
    if len(flat) == before:
        raise UserError("model_cannot_be_quantized", kind=rules.mode, group_size=config["quantization"]["group_size"])
    count = len(flat)
    model = None  # its arrays must be ours alone, to be given back one by one

    def tensors() -> Iterator[tuple[str, mx.array]]:
        for name in list(flat):
            yield name, flat.pop(name)

    save_model_folder(target, source, config, tensors(), card, manifest, lambda share: report("quantizing", share), count)


def _quantize(model: Any, config: dict[str, Any], rules: QuantizeRules) -> tuple[Any, dict[str, Any]]:
    group_size, bits = FIXED_SHAPES.get(rules.mode, (rules.group_size, rules.bits))
    if rules.recipe == "none":
        return tuple(quantize_model(model, config, group_size, bits, rules.mode))
    try:
        predicate = mixed_quant_predicate_builder(rules.recipe, model, group_size)
    except ValueError as error:  # it looks for layers by Llama's names
        raise UserError("recipe_needs_known_layers", recipe=rules.recipe, model_type=config["model_type"]) from error
    return tuple(quantize_model(model, config, group_size, bits, rules.mode, quant_predicate=predicate))


@dataclass(frozen=True)
class QuantizationReport:
    """What fewer bits cost on fixed prompts, in sizes and speed, and on held-out rows where there are some (perplexities)."""

    kl: float
    top1: float
    size_bytes: int
    size_bytes_before: int
    tokens_per_second: float
    tokens_per_second_before: float
    perplexity: float | None
    perplexity_before: float | None


def measure_quantization(source: Path, target: Path, data: Path | None, report: Report) -> QuantizationReport:
    """Return the cost; one of the two models at a time is in memory."""
    before = _measure(source, data)
    report("measuring", 0.5)
    after = _measure(target, data)
    report("measuring", 1.0)
    likeness = compare_logits(before["logits"], after["logits"])
    return QuantizationReport(
        kl=likeness.kl, top1=likeness.top1, size_bytes=after["bytes"], size_bytes_before=before["bytes"], tokens_per_second=after["speed"],
        tokens_per_second_before=before["speed"], perplexity=after["perplexity"], perplexity_before=before["perplexity"],
    )  # fmt: skip


def read_held_out(data: Path, tokenizer: Any, template: str | None = None) -> list[Encoded]:
    """Return the rows that perplexities are measured on; `template` is in place of the model's own prompt format.

    Raises UserError `data_…`, `dataset_without_split`, `model_without_chat_template`.
    """
    return read_rows(data, "valid", tokenizer, template=template)


def _measure(path: Path, data: Path | None) -> dict[str, Any]:
    base = load_model(path)
    base.model.eval()
    prompts = encode_prompts(base.tokenizer)
    found: dict[str, Any] = {"logits": prompt_logits(base.model, prompts), "perplexity": None}
    if data:
        found["perplexity"] = math.exp(mean_loss(base.model, read_held_out(data, base.tokenizer)).loss)
    found["bytes"] = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    found["speed"] = _tokens_per_second(base, prompts[0])
    return found


def _tokens_per_second(base: LoadedModel, prompt: list[int]) -> float:
    """Return how fast tokens follow one another, reading the prompt not counted; no end-of-text token ends it early."""
    steps = generate_step(mx.array(prompt), base.model, max_tokens=SPEED_TOKENS)
    next(steps)
    began = time.perf_counter()
    tokens = sum(1 for _ in steps)
    return tokens / (time.perf_counter() - began)
