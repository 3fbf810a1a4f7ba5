"""Trains the demo model's weights from scratch with MLX and writes a Hugging Face style folder."""

from __future__ import annotations

import json
import logging
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3
from tokenizers import Tokenizer

from demo.recipe.corpus import draw_pair
from demo.recipe.tokenizer import TURN_END

logger = logging.getLogger(__name__)
PROMPT_WEIGHT = 0.1  # questions are learned a little, answers fully


@dataclass(frozen=True)
class Recipe:
    """Sizes and steps; hidden and feed-forward sizes are multiples of 256, which K-quants need."""

    hidden: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 1
    feed_forward: int = 512
    vocabulary: int = 1024
    rows: int = 8
    row_tokens: int = 80
    steps: int = 4200
    learning_rate: float = 3e-3
    seed: int = 0


def describe_model(recipe: Recipe, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return config.json."""
    return {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": recipe.hidden,
        "num_hidden_layers": recipe.layers, "intermediate_size": recipe.feed_forward, "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.kv_heads, "head_dim": recipe.hidden // recipe.heads, "rms_norm_eps": 1e-6,
        "vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 1024, "rope_theta": 10000.0,
        "tie_word_embeddings": True, "attention_bias": False, "hidden_act": "silu", "torch_dtype": "float16",
        "eos_token_id": tokenizer.token_to_id(TURN_END), "pad_token_id": 0, "bos_token_id": None,
    }  # fmt: skip


def make_model(config: dict[str, Any], recipe: Recipe) -> nn.Module:
    """Return a model with random weights: 0.02 for embeddings, 1/sqrt(fan-in) elsewhere, less on the residual's branches."""
    mx.random.seed(recipe.seed)
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))

    def draw(name: str, weight: mx.array) -> mx.array:
        if weight.ndim < 2:
            return weight
        scale = 0.02 if "embed" in name else 1 / math.sqrt(weight.shape[1])
        if "o_proj" in name or "down_proj" in name:
            scale /= math.sqrt(2 * recipe.layers)
        return mx.random.normal(weight.shape) * scale

    model.load_weights([(name, draw(name, weight)) for name, weight in tree_flatten(model.parameters())])
    mx.eval(model.parameters())
    return model


def stream_tokens(tokenizer: Tokenizer, chance: random.Random) -> Iterator[tuple[int, float]]:
    """Yield (token, weight) of one chat after the other, one or two turns each."""
    while True:
        texts, weights = [], []
        for _ in range(chance.choice([1, 1, 1, 2])):
            question, answer = draw_pair(chance)
            texts += [f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n", f"{answer}<|im_end|>\n"]
            weights += [PROMPT_WEIGHT, 1.0]
        for encoded, weight in zip(tokenizer.encode_batch(texts), weights, strict=True):
            for token in encoded.ids:
                yield token, weight


def draw_batch(stream: Iterator[tuple[int, float]], recipe: Recipe) -> tuple[mx.array, mx.array]:
    """Return ids and weights, both [rows, row_tokens + 1]."""
    count = recipe.rows * (recipe.row_tokens + 1)
    drawn = [next(stream) for _ in range(count)]
    shape = (recipe.rows, -1)
    ids = np.array([token for token, _ in drawn], np.int32).reshape(shape)
    return mx.array(ids), mx.array(np.array([weight for _, weight in drawn], np.float32).reshape(shape))


def weighted_loss(model: nn.Module, ids: mx.array, weights: mx.array) -> mx.array:
    """Return the weighted mean cross-entropy of the next tokens."""
    entropy = nn.losses.cross_entropy(model(ids[:, :-1]), ids[:, 1:])
    weights = weights[:, 1:]
    return (entropy * weights).sum() / weights.sum()


def train_model(model: nn.Module, tokenizer: Tokenizer, recipe: Recipe) -> float:
    """Train all weights with AdamW, warm-up and linear decay; return the CPU seconds."""
    stream = stream_tokens(tokenizer, random.Random(recipe.seed + 1))
    optimizer = optim.AdamW(recipe.learning_rate, betas=[0.9, 0.98], weight_decay=0.05, bias_correction=True)
    step_gradient = nn.value_and_grad(model, weighted_loss)
    began, running = time.process_time(), 0.0
    for step in range(recipe.steps):
        done = step / recipe.steps
        optimizer.learning_rate = recipe.learning_rate * min(1.0, (step + 1) / 100, (1 - done) / 0.7)
        loss, gradient = step_gradient(model, *draw_batch(stream, recipe))
        gradient, _ = optim.clip_grad_norm(gradient, 1.0)
        optimizer.update(model, gradient)
        mx.eval(loss, model.parameters(), optimizer.state)
        running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
        if step % 250 == 0:
            logger.info("step %d of %d, loss %.3f, %.0f CPU s", step, recipe.steps, running, time.process_time() - began)
    return time.process_time() - began


def save_model(model: nn.Module, config: dict[str, Any], folder: Path) -> int:
    """Write config.json, generation_config.json and float16 weights; return the number of parameters."""
    weights = dict(tree_flatten(model.parameters()))
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    generation = {"eos_token_id": config["eos_token_id"], "pad_token_id": 0, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\n", encoding="utf-8")
    temporary = folder / "model.part.safetensors"
    mx.save_safetensors(str(temporary), {k: w.astype(mx.float16) for k, w in weights.items()}, metadata={"format": "pt"})
    temporary.replace(folder / "model.safetensors")
    return int(sum(w.size for w in weights.values()))
