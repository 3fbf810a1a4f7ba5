"""Predicts a training run's peak MLX memory from config.json alone. Knows no mlx and reads no file.

What the backward pass needs is reasoned out; what MLX holds besides (it allocates ahead of its computing) is measured: 136 runs of
models with 2 to 60 million parameters, MLX 0.32 on a CPU. Dense decoders only: of a mixture of experts one expert is counted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FLOAT32 = 4
PAD_LABELS_TO = 32  # as batches pad them
CHUNKED_FROM_VOCABULARY, PIECE = 4096, 64  # as training.forward and training.cross_entropy have them
# The rest is measured, as are the update's copies.
PASSING_BLOCKS = 1.1  # what is in passing on the way back, in blocks' worth of kept activations
CHECKPOINT_BLOCKS = 2.25  # the block that is computed again, kept and passing
CHECKPOINT_INPUTS = 1.5  # kept per block, in inputs of a block
LOGITS_COPIES, LOGITS_HALF_COPIES = 4, 2  # float32 copies [labels, vocabulary]; of a half-precision model's logits besides
PIECE_COPIES = 3.1  # as many of a piece's logits
PIECES, PIECES_CHECKPOINTED = 3.0, 1.75  # allocated at once
PIECES_LEFT, PIECES_LEFT_CHECKPOINTED = 0.0, 1.2  # not yet freed when the way back is at its peak
LOADING_BYTES = 3  # per weight of the largest matrix while it is checked for being finite
MXFP4_PACKING_BYTES = 26  # per weight while mx.quantize works on a CPU
CACHE_STEP, CACHE_COPIES = 256, 2.0  # mlx-lm's key-value caches grow by steps of tokens, the old one copied into the new
WRITING_LOGITS_COPIES = 3  # float32 copies [rows, vocabulary] while answers are written
STATE_COPIES: Mapping[str, float] = {"adam": 2, "adamw": 2, "adafactor": 0, "lion": 1, "sgd": 1, "muon": 1}
UPDATE_COPIES: Mapping[str, float] = {"adam": 2.6, "adamw": 2.5, "adafactor": 2.6, "lion": 2.75, "sgd": 2.4, "muon": 3.9}
QUANTIZATIONS: Mapping[str, Mapping[str, Any]] = {
    "8-bit": {"group_size": 64, "bits": 8},
    "4-bit": {"group_size": 64, "bits": 4},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
}  # as models.tuning has them, which imports mlx


@dataclass(frozen=True)
class MemoryInputs:
    """What decides a run's memory. The names are the training settings'.

    `model` is config.json; the largest batch has `lines` of `width` tokens, `labels` of them supervised. `accumulate`: more than one
    batch per step. `compute_bytes` per weight and activation: 4 on a CPU, which computes in float32, 2 for bfloat16 on Metal; what full
    tuning trains is float32 there too, and so are the activations from the first tuned block to the head.
    `fused_attention`: no [heads, width, width] matrices are kept. `writing_rows` answers are written side by side, each with its prompt
    `writing_tokens` long (0: the method writes none). `keeps_base`: full tuning holds the first weights too, to be compared with.
    """

    model: Mapping[str, Any]
    lines: int
    width: int
    labels: int
    fine_tune_type: str = "lora"
    rank: int = 8
    modules: str = "all"
    num_layers: int = -1
    optimizer: str = "adam"
    quantize: str = "none"
    grad_checkpoint: bool = False
    accumulate: bool = False
    compute_bytes: int = 4
    fused_attention: bool = False
    writing_rows: int = 0
    writing_tokens: int = 0
    keeps_base: bool = False


@dataclass(frozen=True)
class MemoryEstimate:
    """What is held at the moment of the peak, in bytes. Parts that are not held then are 0.

    That moment is one of five: loading and quantising the base (only weights), the loss (no gradient yet), the way back, the
    optimiser's update (several copies of the gradient, no activations), or the writing of answers (key-value caches as activations).
    """

    weights_bytes: int
    adapter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    logits_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Their sum: what `mx.get_peak_memory()` reports over a run."""
        return sum(dataclasses.astuple(self))


@dataclass(frozen=True)
class _Shape:
    """A model's sizes: `queries` and `keys` are heads x head size; there are as many values as keys."""

    kind: str
    hidden: int
    layers: int
    inner: int
    heads: int
    head: int
    queries: int
    keys: int
    vocabulary: int
    tied: bool

    @property
    def normed_heads(self) -> bool:
        """Queries and keys are normed per head."""
        return self.kind.startswith(("qwen3", "gemma3"))

    def linears(self, modules: str) -> list[tuple[int, int]]:
        """Return (inputs, outputs) of a block's linear layers: `attention`, `mlp`, or all of them."""
        hidden, inner, queries, keys = self.hidden, self.inner, self.queries, self.keys
        fused = self.kind.startswith("phi3")
        first = [(hidden, queries + 2 * keys)] if fused else [(hidden, queries), (hidden, keys), (hidden, keys)]
        opening = [(hidden, 2 * inner)] if fused else [(hidden, inner), (hidden, inner)]
        attention, mlp = [*first, (queries, hidden)], [*opening, (inner, hidden)]
        return {"attention": attention, "mlp": mlp}.get(modules, attention + mlp)

    @property
    def block_matrices(self) -> int:
        """Weights in a block's linear layers."""
        return sum(inputs * outputs for inputs, outputs in self.linears("all"))


def _read_shape(model: Mapping[str, Any]) -> _Shape:
    text = model.get("text_config")
    model = text if isinstance(text, Mapping) else model

    def whole(key: str, default: int) -> int:
        value = model.get(key)
        return value if isinstance(value, int) and value > 0 else default

    kind = str(model.get("model_type") or "")
    hidden, heads = whole("hidden_size", 1024), whole("num_attention_heads", 16)
    head = whole("head_dim", max(1, hidden // heads))
    tied = model.get("tie_word_embeddings")
    return _Shape(
        kind, hidden, whole("num_hidden_layers", 16), whole("intermediate_size", 4 * hidden), heads, head, heads * head,
        whole("num_key_value_heads", heads) * head, whole("vocab_size", 32000),
        tied=kind.startswith("gemma") or (not kind.startswith("phi3") if tied is None else bool(tied)),
    )  # fmt: skip


def _small_weights(model: Mapping[str, Any], shape: _Shape) -> int:
    """Return how many weights of a block are norms and biases."""
    norms = (4 if shape.kind.startswith(("gemma2", "gemma3")) else 2) * shape.hidden + 2 * shape.head * shape.normed_heads
    attention = shape.queries + 2 * shape.keys
    if shape.kind != "qwen2":
        attention = (attention + shape.hidden) * bool(model.get("attention_bias"))
    return norms + attention + (2 * shape.inner + shape.hidden) * bool(model.get("mlp_bias"))


def count_model_parameters(model: Mapping[str, Any]) -> int:
    """Return the number of parameters of a dense decoder from its config.json, as if it were not quantised; a tied head counts once."""
    shape = _read_shape(model)
    blocks = shape.layers * (shape.block_matrices + _small_weights(model, shape))
    return blocks + shape.vocabulary * shape.hidden * (1 if shape.tied else 2) + shape.hidden


def estimate_memory(inputs: MemoryInputs) -> MemoryEstimate:
    """Return what the run holds at its peak. Missing keys of config.json get usual values; nothing is raised."""
    shape = _read_shape(inputs.model)
    weights, loading = _weights_bytes(inputs, shape)
    adapter, trained = _trained_bytes(inputs, shape)
    logits, logits_left = _logits_bytes(inputs, shape)
    writing = _writing_logits_bytes(inputs, shape)
    if inputs.fine_tune_type == "full":
        weights += trained * (FLOAT32 - inputs.compute_bytes) // FLOAT32 + trained * inputs.keeps_base
        inputs = dataclasses.replace(inputs, compute_bytes=FLOAT32)
    state = int(STATE_COPIES.get(inputs.optimizer, 2) * trained)
    gradient = trained * (2 if inputs.accumulate else 1)
    activations, passing = _activations_bytes(inputs, shape)
    moments = [
        MemoryEstimate(loading, 0, 0, 0, 0, 0),
        MemoryEstimate(weights, adapter, gradient - trained, state, activations, logits),
        MemoryEstimate(weights, adapter, gradient, state, activations + passing, logits_left),
        MemoryEstimate(weights, adapter, int(UPDATE_COPIES.get(inputs.optimizer, 2.6) * trained), state, 0, 0),
        MemoryEstimate(weights, adapter, 0, state, _caches_bytes(inputs, shape), writing),
    ]
    return max(moments, key=lambda moment: moment.peak_bytes)


def _caches_bytes(inputs: MemoryInputs, shape: _Shape) -> int:
    """Return the bytes of the key-value caches of the answers that are written side by side."""
    tokens = -(-inputs.writing_tokens // CACHE_STEP) * CACHE_STEP
    return int(CACHE_COPIES * inputs.writing_rows * tokens * shape.layers * 2 * shape.keys * inputs.compute_bytes)


def _writing_logits_bytes(inputs: MemoryInputs, shape: _Shape) -> int:
    """Return the bytes of the logits while answers are written, and of the head's copy in the float32 of fully tuned blocks' states."""
    raised = inputs.fine_tune_type == "full" and inputs.compute_bytes < FLOAT32 and inputs.writing_rows > 0
    return shape.vocabulary * FLOAT32 * (WRITING_LOGITS_COPIES * inputs.writing_rows + shape.hidden * raised)


def _already_quantized(inputs: MemoryInputs) -> Mapping[str, Any] | None:
    rules = inputs.model.get("quantization")
    return rules if isinstance(rules, Mapping) else None


def _weights_bytes(inputs: MemoryInputs, shape: _Shape) -> tuple[int, int]:
    """Return the bytes of the base's weights while it is trained, and at the most while it is loaded and quantised."""
    every = count_model_parameters(inputs.model)
    if rules := _already_quantized(inputs):
        matrices = shape.layers * shape.block_matrices + shape.vocabulary * shape.hidden * (1 if shape.tied else 2)
        packed = int(matrices * _bytes_per_weight(rules, inputs) + (every - matrices) * inputs.compute_bytes)
        return packed, packed
    dense = every * inputs.compute_bytes
    checking = LOADING_BYTES * shape.vocabulary * shape.hidden
    if inputs.quantize not in QUANTIZATIONS:
        return dense, dense + checking
    rules = QUANTIZATIONS[inputs.quantize]
    matrices = shape.layers * shape.block_matrices + (0 if shape.tied else shape.vocabulary * shape.hidden)
    packed = int(matrices * _bytes_per_weight(rules, inputs))
    on_cpu = inputs.compute_bytes >= FLOAT32  # without a kernel for mxfp4
    working = matrices * MXFP4_PACKING_BYTES if on_cpu and rules.get("mode") == "mxfp4" else packed
    return packed + (every - matrices) * inputs.compute_bytes, dense + max(working, checking)


def _bytes_per_weight(rules: Mapping[str, Any], inputs: MemoryInputs) -> float:
    """Return the bytes of a quantised weight with its share of the group's scale and bias (mxfp4: one byte per group)."""
    group, bits = rules.get("group_size") or 64, rules.get("bits") or 4
    extra = 2 * inputs.compute_bytes if str(rules.get("mode") or "affine") == "affine" else 1
    return float(bits / 8 + extra / group)


def _tuned_blocks(inputs: MemoryInputs, shape: _Shape) -> int:
    return min(inputs.num_layers, shape.layers) if inputs.num_layers > 0 else shape.layers


def _trained_bytes(inputs: MemoryInputs, shape: _Shape) -> tuple[int, int]:
    """Return the bytes of the adapter (0 for full tuning) and of one gradient. Both are float32 in any model."""
    blocks = _tuned_blocks(inputs, shape)
    if inputs.fine_tune_type == "full":
        return 0, blocks * (shape.block_matrices + _small_weights(inputs.model, shape)) * FLOAT32
    per_linear = [inputs.rank * (n + m) + (m if inputs.fine_tune_type == "dora" else 0) for n, m in shape.linears(inputs.modules)]
    adapter = blocks * sum(per_linear) * FLOAT32
    return adapter, adapter


def _is_chunked(inputs: MemoryInputs, shape: _Shape) -> bool:
    """The cross-entropy goes in pieces over a large vocabulary when the head is a plain matrix."""
    dense_head = _already_quantized(inputs) is None and (shape.tied or inputs.quantize == "none")
    return dense_head and shape.vocabulary >= CHUNKED_FROM_VOCABULARY


def _logits_bytes(inputs: MemoryInputs, shape: _Shape) -> tuple[int, int]:
    """Return the bytes of the logits and their likes at the loss, and of those that are left when the way back is at its peak."""
    labels = -(-inputs.labels // PAD_LABELS_TO) * PAD_LABELS_TO
    if not _is_chunked(inputs, shape):
        half = LOGITS_HALF_COPIES * inputs.compute_bytes if inputs.compute_bytes < FLOAT32 else 0
        logits = int(labels * shape.vocabulary * (LOGITS_COPIES * FLOAT32 + half))
        return logits, logits
    pieces = (PIECES_CHECKPOINTED, PIECES_LEFT_CHECKPOINTED) if inputs.grad_checkpoint else (PIECES, PIECES_LEFT)
    per_label = shape.vocabulary * PIECE_COPIES * FLOAT32
    at_loss, left = (int(min(labels, count * PIECE) * per_label) for count in pieces)
    return at_loss, left


def _activations_bytes(inputs: MemoryInputs, shape: _Shape) -> tuple[int, int]:
    """Return the bytes of what is kept for the way back, and of what comes on top in passing while it goes."""
    tokens, blocks = inputs.lines * inputs.width, _tuned_blocks(inputs, shape)
    block = tokens * _kept_per_token(inputs, shape)
    weights = _kept_weights(inputs, shape)
    if inputs.grad_checkpoint:
        kept = int(CHECKPOINT_INPUTS * blocks * tokens * shape.hidden * inputs.compute_bytes)
        return kept, int(CHECKPOINT_BLOCKS * block) + weights
    return blocks * (block + weights), int(PASSING_BLOCKS * block)


def _kept_per_token(inputs: MemoryInputs, shape: _Shape) -> int:
    """Return the bytes per token that a tuned block keeps: inputs of norms, of activation functions, and of linears that are tuned."""
    hidden, queries, keys, inner = shape.hidden, shape.queries, shape.keys, shape.inner
    full = inputs.fine_tune_type == "full"
    attention, mlp = (full or inputs.modules != "mlp"), (full or inputs.modules != "attention")
    values = 2 * hidden  # the block's two sums
    values += queries + 2 * keys + (queries + keys) * shape.normed_heads  # scaled queries, keys, values; before their norms
    values += (hidden + queries) * attention  # inputs of the projections
    values += 4 * inner + (hidden + inner) * mlp  # gate, its sigmoid, their product, up; inputs of the projections
    if not inputs.fused_attention:
        values += shape.heads * inputs.width  # softmax of the scores
    if full:
        return values * inputs.compute_bytes
    linears = shape.linears(inputs.modules)
    if inputs.fine_tune_type == "dora":
        values += sum(outputs for _, outputs in linears)  # before they are scaled
    adapter = len(linears) * inputs.rank  # x @ lora_a
    if inputs.compute_bytes < FLOAT32:
        adapter += sum(wide for wide, _ in linears)  # x, once more in the adapter's float32
    return values * inputs.compute_bytes + adapter * FLOAT32


def _kept_weights(inputs: MemoryInputs, shape: _Shape) -> int:
    """Return the bytes of weights that a block keeps for the way back: DoRA unpacks a quantised base."""
    quantized = _already_quantized(inputs) is not None or inputs.quantize in QUANTIZATIONS
    if inputs.fine_tune_type != "dora" or not quantized:
        return 0
    return sum(n * m for n, m in shape.linears(inputs.modules)) * inputs.compute_bytes
