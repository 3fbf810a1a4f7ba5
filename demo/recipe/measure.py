"""Asks the demo model its ability checks: greedy, exact match."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import mlx.core as mx
from mlx_lm import batch_generate, load


def measure_abilities(model_folder: Path, checks: Path) -> dict[str, tuple[int, int]]:
    """Return (right, asked) per ability."""
    model, tokenizer = load(str(model_folder))
    model.set_dtype(mx.float32)
    rows = [json.loads(line) for line in checks.read_text(encoding="utf-8").splitlines()]
    prompts = [tokenizer.apply_chat_template(row["messages"][:1], add_generation_prompt=True, return_dict=False) for row in rows]
    texts = batch_generate(model, tokenizer, prompts, max_tokens=40).texts
    scores: dict[str, list[bool]] = defaultdict(list)
    for row, text in zip(rows, texts, strict=True):
        scores[row["ability"]].append(text.strip() == row["messages"][1]["content"])
    return {ability: (sum(right), len(right)) for ability, right in scores.items()}
