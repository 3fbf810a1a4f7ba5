"""How alike two models answer: the same fixed prompts through both, their next-token distributions compared. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import mlx.core as mx
import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
SAME_KL, SAME_TOP1 = 1e-3, 0.97
PROMPTS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "7 + 5 = ?",
    "日本の首都はどこですか。",
    "def add(a, b):\n    return",
    "Once upon a time, there was a",
)


@dataclass(frozen=True)
class Likeness:
    """Over all positions of the prompts: the largest difference of a logit, the mean Kullback-Leibler divergence (nats) of the found
    distribution from the reference, the share of positions with the same likeliest token.
    """

    prompts: int
    positions: int
    max_abs: float
    kl: float
    top1: float

    @property
    def same(self) -> bool:
        """Whether nobody would tell the two apart: rounding to 16 bits passes, a wrong tensor does not."""
        return self.kl <= SAME_KL and self.top1 >= SAME_TOP1

    def as_record(self) -> dict[str, float]:
        """Return it for a manifest."""
        return asdict(self)


def encode_prompts(tokenizer: Any, prompts: Sequence[str] = PROMPTS) -> list[list[int]]:
    """Return the prompts' ids, as plain text: what is compared is the model, not a prompt format."""
    return [list(tokenizer.encode(prompt)) for prompt in prompts]


def prompt_logits(model: Any, prompts: Sequence[Sequence[int]]) -> list[Array]:
    """Return each prompt's logits [T, V] in float32."""
    return [np.array(model(mx.array(list(ids))[None])[0].astype(mx.float32)) for ids in prompts]


def compare_logits(reference: Sequence[Array], found: Sequence[Array]) -> Likeness:
    """Return how far logits [T, V] are from those of the reference; more columns than the other has are left out (padding)."""
    width = min(reference[0].shape[1], found[0].shape[1])
    expected = np.concatenate([logits[:, :width] for logits in reference]).astype(np.float64)
    got = np.concatenate([logits[:, :width] for logits in found]).astype(np.float64)
    log_p, log_q = _log_softmax(expected), _log_softmax(got)
    kl = float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())
    top1 = float((expected.argmax(axis=1) == got.argmax(axis=1)).mean())
    return Likeness(len(reference), len(expected), float(np.abs(expected - got).max()), float(np.maximum(kl, 0)), top1)


def _log_softmax(logits: Array) -> Array:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
