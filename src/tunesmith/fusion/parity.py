"""What a fusion did, measured: its result against the exact change in a dense copy of the base, and losses on held-out rows.

The model is loaded once in its computing precision and worn with one change after the other; weights are put back between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx_lm.tuner.lora import LoRALinear
from mlx_lm.utils import dequantize_model

from tunesmith.data.templates import Encoded
from tunesmith.fusion.combining import Fusion, naive_average
from tunesmith.fusion.deltas import Delta, LowRank, to_dense
from tunesmith.inference.likelihood import mean_loss, read_rows
from tunesmith.inference.proof import Likeness, compare_logits, encode_prompts, prompt_logits
from tunesmith.models.loading import LoadedModel, load_model, load_tokenizer
from tunesmith.system.progress import Report, silent

DeltaOf = Callable[[str], Delta | None]


class DenseReference:
    """A base made dense, whose weights can be changed for a while."""

    def __init__(self, path: Path) -> None:
        self.base: LoadedModel = load_model(path)
        self.base.model = dequantize_model(self.base.model)
        if mx.default_device() == mx.cpu:
            self.base.model.set_dtype(mx.float32)  # some formats become bfloat16, which would round the change
        self.base.model.eval()
        self._modules = {name: module for name, module in self.base.model.named_modules() if isinstance(module, nn.Linear)}

    @contextmanager
    def wearing(self, modules: Sequence[str], delta_of: DeltaOf) -> Iterator[Any]:
        """Yield the model with W + Δ in place of each weight W, in the weight's own precision."""
        own = {module: self._modules[module].weight for module in modules}
        try:
            for module in modules:
                if (delta := delta_of(module)) is not None:
                    added = own[module].astype(mx.float32) + mx.array(to_dense(delta))
                    self._modules[module].weight = added.astype(own[module].dtype)
                    mx.eval(self._modules[module].weight)
            yield self.base.model
        finally:
            for module, weight in own.items():
                self._modules[module].weight = weight

    @contextmanager
    def adapted(self, factors: Mapping[str, LowRank]) -> Iterator[Any]:
        """Yield the model with adapters beside its weights, as an adapter is used."""
        own = {module: self._modules[module] for module in factors}
        try:
            for module, delta in factors.items():
                if not delta.rank:
                    continue  # nothing is added
                layer = LoRALinear.from_base(own[module], r=delta.rank, dropout=0.0, scale=delta.scale)
                layer.lora_a, layer.lora_b = mx.array(delta.a), mx.array(delta.b)
                _put(self.base.model, module, layer)
            yield self.base.model
        finally:
            for module, layer in own.items():
                _put(self.base.model, module, layer)


def _put(model: Any, name: str, layer: nn.Module) -> None:
    parent: Any = model
    *path, last = name.split(".")
    for part in path:
        parent = parent[int(part)] if isinstance(parent, list) else parent[part]
    parent[last] = layer


@dataclass(frozen=True)
class HeldOut:
    """Held-out rows that losses are measured on."""

    data: Path
    split: str = "valid"


def prove_adapter(fusion: Fusion, reference: DenseReference, factors: Mapping[str, LowRank]) -> Likeness:
    """Return how the fused adapter answers beside the exact fused change in dense weights."""
    prompts = encode_prompts(reference.base.tokenizer)
    with reference.wearing(fusion.modules, fusion.fused) as model:
        expected = prompt_logits(model, prompts)
    with reference.adapted(factors) as model:
        return compare_logits(expected, prompt_logits(model, prompts))


def prove_model(fusion: Fusion, reference: DenseReference, fused: Path) -> Likeness:
    """Return how a fused model's folder, as it lies on disk, answers beside the exact fused change in dense weights."""
    prompts = encode_prompts(reference.base.tokenizer)
    with reference.wearing(fusion.modules, fusion.fused) as model:
        expected = prompt_logits(model, prompts)
    return compare_logits(expected, prompt_logits(load_model(fused).model, prompts))


def held_out_losses(
    fusion: Fusion, reference: DenseReference, result: DeltaOf, rows: Sequence[Encoded], report: Report = silent
) -> dict[str, float]:
    """Return the losses of `base`, `adapter_0` …, `naive` (where there is one) and `result` on held-out rows."""
    naive = naive_average(fusion.adapters, fusion.rules.weights)
    changes: dict[str, DeltaOf] = {"base": lambda _: None}
    changes |= {f"adapter_{n}": partial(a.delta, base=fusion.base) for n, a in enumerate(fusion.adapters)}
    if naive:
        changes["naive"] = naive.get
    changes["result"] = result
    losses = {}
    for number, (name, delta_of) in enumerate(changes.items()):
        losses[name] = loss_with(fusion, reference, delta_of, rows)
        report("losses", (number + 1) / len(changes))
    return losses


def read_held_out(fusion: Fusion, held_out: HeldOut) -> list[Encoded]:
    """Return the rows that losses are measured on, in the prompt format that the adapters learned when they learned the same one.

    Raises UserError `data_…`, `dataset_without_split`, `model_without_chat_template`.
    """
    tokenizer = load_tokenizer(fusion.base.path)
    return read_rows(held_out.data, held_out.split, tokenizer, template=fusion.template())


def loss_with(fusion: Fusion, reference: DenseReference, delta_of: DeltaOf, rows: Sequence[Encoded]) -> float:
    """Return the mean loss on rows with a change in the weights."""
    with reference.wearing(fusion.modules, delta_of) as model:
        return mean_loss(model, rows).loss
