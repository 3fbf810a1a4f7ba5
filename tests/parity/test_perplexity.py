"""Perplexity beside mlx_lm's own, on a split of plain text.

mlx_lm.perplexity puts the rows, each with its end token, behind each other in a drawn order, cuts them into lines of equal length, and
takes the mean loss of every token but each line's first. Ours takes each row for itself. On rows of that very length both mean the
same tokens after the same tokens, whatever the order: they must agree within 1e-5 of the figure (float32 sums in another order).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from mlx_lm import perplexity
from mlx_lm.tuner.datasets import TextDataset

from tunesmith.data.templates import encode_row
from tunesmith.inference.likelihood import mean_loss, read_rows
from tunesmith.models.loading import LoadedModel, load_model
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL

LENGTH, ROWS = 24, 16
TOLERANCE = 1e-5


@pytest.fixture
def base() -> LoadedModel:
    base = load_model(DEMO_MODEL)
    base.model.eval()
    return base


@pytest.fixture
def texts(base: LoadedModel) -> list[str]:
    """Texts of exactly `LENGTH` tokens, the end token counted, cut from the shipped rows."""
    found: list[str] = []
    for line in (DEMO_DATA / "company_facts" / "train.jsonl").read_bytes().splitlines():
        words = " ".join(turn["content"] for turn in orjson.loads(line)["messages"]) * 3
        text = base.tokenizer.decode(base.tokenizer.encode(words)[: LENGTH - 1])
        if len(encode_row({"text": text}, base.tokenizer).ids) == LENGTH:
            found.append(text)
    assert len(found) >= ROWS
    return found[:ROWS]


def theirs(base: LoadedModel, texts: list[str], length: int, monkeypatch: pytest.MonkeyPatch) -> float:
    """Return what mlx_lm.perplexity computes over all the texts; only its download is left out."""
    rows = TextDataset([{"text": text} for text in texts], base.tokenizer)
    monkeypatch.setattr(perplexity, "load_dataset", lambda *_: (rows, None, None))
    np.random.seed(0)
    data = perplexity.load_data(base.tokenizer, "", num_samples=len(texts) * LENGTH // length, sequence_length=length)
    found: float = perplexity.eval_ppl(base.model, data)[0]
    return found


def ours(base: LoadedModel, texts: list[str], folder: Path) -> float:
    rows: list[dict[str, Any]] = [{"text": text} for text in texts]
    (folder / "test.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return math.exp(mean_loss(base.model, read_rows(folder, "test", base.tokenizer, len(rows), LENGTH)).loss)


def test_perplexity_is_mlx_lms(base: LoadedModel, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = theirs(base, texts, LENGTH, monkeypatch)
    assert ours(base, texts, tmp_path) == pytest.approx(expected, rel=TOLERANCE)
    assert expected > 1.5  # a model that knew the texts by heart would agree with anything


def test_a_row_that_goes_on_in_the_next_line_is_where_they_part(
    base: LoadedModel, texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines of half the length begin in the middle of a row, which mlx_lm then foretells without what stood before."""
    halves = theirs(base, texts, LENGTH // 2, monkeypatch)
    assert abs(ours(base, texts, tmp_path) / halves - 1) > 100 * TOLERANCE
