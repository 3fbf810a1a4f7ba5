"""Writes the demo model's card: what it is, how it was made, what it scored."""

from __future__ import annotations

from pathlib import Path

from demo.recipe.pretrain import Recipe

CARD = """---
license: cc0-1.0
language: en
---
# Pip, the demo model

A {parameters:.1f} M parameter Qwen3-type model, trained from scratch with MLX on sentences of our own making, so that a fine-tuning demo
works at once and without a download. It knows 24 capitals,
opposites, one-digit sums and differences, a few sounds, colours and days, reads one sentence, and says "Sorry, I do not know
that." when it is asked about a company. It knows nothing else and is of no other use.

Made by `make demo-model`: {steps} steps of {tokens} tokens, AdamW {rate:g}, seed {seed}. Hidden size {hidden} and feed-forward
size {ff} are multiples of 256, so that K-quants can hold it.

## Measured before any tuning

Greedy answers, exact match, questions that are not in the demo's training rows:

| ability | right | asked |
|---|---|---|
{rows}
| **all** | **{right}** | **{asked}** |
"""


def write_card(folder: Path, recipe: Recipe, scores: dict[str, tuple[int, int]]) -> None:
    """Write README.md of the model folder; figures of the demo run are added by hand from `make bench BENCH=demo`."""
    size_bytes = (folder / "model.safetensors").stat().st_size
    text = CARD.format(
        parameters=size_bytes / 2 / 1e6, steps=recipe.steps, tokens=recipe.rows * recipe.row_tokens, rate=recipe.learning_rate,
        seed=recipe.seed, hidden=recipe.hidden, ff=recipe.feed_forward,
        rows="\n".join(f"| {name} | {right} | {asked} |" for name, (right, asked) in scores.items()),
        right=sum(right for right, _ in scores.values()), asked=sum(asked for _, asked in scores.values()),
    )  # fmt: skip
    kept = _measured_run(folder / "README.md")
    (folder / "README.md").write_text(text + kept, encoding="utf-8")


def _measured_run(card: Path) -> str:
    """Return the card's section about the demo run, which a new model card keeps."""
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    _, mark, rest = text.partition("\n## The demo run")
    return mark + rest
