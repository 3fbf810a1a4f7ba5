"""Makes a loaded base model trainable: quantised base, LoRA, DoRA, full tuning, gradient checkpointing. Knows no data and no loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers

from tunesmith.errors import UserError

ATTENTION_NAMES = ("attn", "attention")
QUANTIZATIONS: Mapping[str, Mapping[str, Any]] = {
    "8-bit": {"group_size": 64, "bits": 8},
    "4-bit": {"group_size": 64, "bits": 4},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
}


def quantize_base(model: nn.Module, kind: str) -> None:
    """Hold the base's linear layers in fewer bits (QLoRA, Dettmers et al., arXiv 2305.14314); `none` and quantised ones stay.

    Raises UserError `model_cannot_be_quantized`.
    """
    if kind == "none":
        return
    rules = QUANTIZATIONS[kind]

    def fits(_: str, module: nn.Module) -> bool:
        return isinstance(module, nn.Linear) and module.weight.shape[-1] % rules["group_size"] == 0

    if not any(fits("", module) for module in model.modules()):
        raise UserError("model_cannot_be_quantized", kind=kind, group_size=rules["group_size"])
    nn.quantize(model, **rules, class_predicate=fits)
    mx.eval(model.parameters())


def find_lora_keys(model: nn.Module, modules: str, custom: Sequence[str] = ()) -> list[str]:
    """Return the names, within a block, of the linear layers that get an adapter: `all`, `attention`, `mlp` or `custom`.

    Raises UserError `model_without_modules`, `modules_unknown` naming those there are.
    """
    names: set[str] = set()
    for layer in model.layers:
        for name, module in layer.named_modules():
            if hasattr(module, "to_lora") or isinstance(module, nn.Linear | nn.QuantizedLinear):
                names.add(name)
    attention = {name for name in names if any(part in name for part in ATTENTION_NAMES)}
    if unknown := [name for name in custom if name not in names and modules == "custom"]:
        raise UserError("modules_unknown", modules=", ".join(unknown), known=", ".join(sorted(names)))
    chosen = {"all": names, "attention": attention, "mlp": names - attention, "custom": set(custom)}[modules]
    if not chosen:
        raise UserError("model_without_modules", modules=modules)
    return sorted(chosen)


def make_trainable(model: nn.Module, fine_tune_type: str, num_layers: int, lora_parameters: dict[str, Any]) -> None:
    """Freeze the base and make its last `num_layers` blocks (-1 or 0: all) trainable: by LoRA, by DoRA, or themselves (`full`).

    Whatever is trained is float32, of a half-precision base too.
    `lora_parameters` are mlx-lm's: rank, scale, dropout, and keys within a block. Raises UserError `too_many_layers`,
    `tuning_unsupported`.
    """
    if num_layers > len(model.layers):
        raise UserError("too_many_layers", asked=num_layers, layers=len(model.layers))
    model.freeze()
    if fine_tune_type == "full":
        for layer in model.layers[-max(num_layers, 0) :]:
            if any(isinstance(module, nn.QuantizedLinear) for module in layer.modules()):
                raise UserError("full_tuning_of_quantized")
            layer.set_dtype(mx.float32)  # an update is smaller than half precision tells apart, and Adam's eps is 0 in float16
            layer.unfreeze()
        return
    try:
        linear_to_lora_layers(model, num_layers, lora_parameters, use_dora=fine_tune_type == "dora")
    except ValueError as error:
        raise UserError("tuning_unsupported", kind=fine_tune_type, reason=str(error)[:200]) from error


def put_weights(model: nn.Module, weights: Mapping[str, mx.array]) -> None:
    """Put weights in the place of the model's own, in the precision of these."""
    own = dict(tree_flatten(model.parameters()))
    model.load_weights([(name, array.astype(own[name].dtype)) for name, array in weights.items()], strict=False)


def checkpoint_layers(model: nn.Module, dropout: float = 0.0) -> None:
    """Compute each block again on the way back instead of keeping what it computed. Only this model's blocks change, no class does.

    With a share of `dropout`, what a block draws is drawn alike both times; that waits for the device once a block.
    """
    for layer in model.layers:
        kind = type(layer)
        layer.__class__ = type(kind.__name__, (kind,), {"__call__": (_drawn_alike if dropout else _checkpointed)(kind)})


def _checkpointed(kind: type[nn.Module]) -> Any:
    def call(layer: nn.Module, *arguments: Any, **options: Any) -> Any:
        def run(parameters: Any, *arguments: Any, **options: Any) -> Any:
            layer.update(parameters)
            return kind.__call__(layer, *arguments, **options)

        return mx.checkpoint(run)(layer.trainable_parameters(), *arguments, **options)

    return call


def _drawn_alike(kind: type[nn.Module]) -> Any:
    def call(layer: nn.Module, *arguments: Any, **options: Any) -> Any:
        chance = _random_state()

        def run(parameters: Any, *arguments: Any, **options: Any) -> Any:
            present = _random_state()
            mx.random.seed(chance)  # dropout must leave out the same when the block is computed again
            layer.update(parameters)
            result = kind.__call__(layer, *arguments, **options)
            if present != chance:
                mx.random.seed(present)  # computed again: what is drawn later must not repeat what was drawn before
            return result

        return mx.checkpoint(run)(layer.trainable_parameters(), *arguments, **options)

    return call


def _random_state() -> int:
    """Return the seed that puts mlx's random numbers where they are now."""
    state: Any = mx.random.state
    high, low = state[0].tolist()
    return int(high) << 32 | int(low)
