"""What fusions are judged by: the mean loss of held-out rows, and how alike two models' answers are."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import orjson
import pytest

from tunesmith.data.templates import Encoded
from tunesmith.errors import UserError
from tunesmith.inference import likelihood
from tunesmith.inference.likelihood import mean_loss, read_rows
from tunesmith.inference.proof import compare_logits
from tunesmith.models.loading import LoadedModel


def row(ids: list[int], learned: int) -> Encoded:
    """Return a row whose last tokens are learned."""
    return Encoded(ids, [False] * (len(ids) - learned) + [True] * learned)


ROWS = [row([5, 9, 300, 41, 77, 12, 8], 3), row([7, 7, 21], 2), row([900, 14, 3, 60, 5], 1), row([4, 10], 1)]


@pytest.mark.parametrize("batch_tokens", [4096, 12, 1])
def test_rows_of_one_batch_as_if_alone(base: LoadedModel, monkeypatch: pytest.MonkeyPatch, batch_tokens: int) -> None:
    """Σ −log p of the seven learned tokens over 7, each row's p from its own logits; the first token of a row is foretold by nothing."""
    monkeypatch.setattr(likelihood, "BATCH_TOKENS", batch_tokens)
    total, tokens = 0.0, 0
    for each in ROWS:
        logits = np.array(base.model(mx.array(each.ids)[None])[0], np.float64)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        for place in range(1, len(each.ids)):
            if each.supervised[place]:
                total, tokens = total - log_p[place - 1, each.ids[place]], tokens + 1
    told: list[float] = []
    found = mean_loss(base.model, ROWS, told.append)
    assert found.tokens == tokens == 7
    assert found.loss == pytest.approx(total / tokens, rel=1e-5)
    assert told[-1] == 1
    alone = [mean_loss(base.model, [each]) for each in ROWS]
    assert found.row_losses == pytest.approx([each.loss for each in alone], rel=1e-5)  # each in its own place
    assert found.row_tokens == [3, 2, 1, 1]


def test_rows_are_read_cut_and_counted(base: LoadedModel, tmp_path: Path) -> None:
    lines = [{"text": "The sea is blue today."}, {"prompt": "7 + 5 = ", "completion": "12"}, {"wrong": 1}]
    (tmp_path / "valid.jsonl").write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    text, pair = read_rows(tmp_path, "valid", base.tokenizer, 10, 64)
    assert all(text.supervised)
    assert 0 < sum(pair.supervised) < len(pair.ids)
    (short,) = read_rows(tmp_path, "valid", base.tokenizer, 1, 3)
    assert short.ids == text.ids[:3]


@pytest.mark.parametrize(("split", "longest", "code"), [("test", 64, "dataset_without_split"), ("valid", 1, "data_nothing_to_learn")])
def test_rows_that_there_are_not(base: LoadedModel, tmp_path: Path, split: str, longest: int, code: str) -> None:
    (tmp_path / "valid.jsonl").write_bytes(orjson.dumps({"text": "The sea."}))
    with pytest.raises(UserError) as caught:
        read_rows(tmp_path, split, base.tokenizer, 10, longest)
    assert caught.value.code == code


def test_likeness_by_hand() -> None:
    """p = (¾, ¼) and q = (½, ½): KL = ¾ ln 1.5 + ¼ ln 0.5; a second position is the same in both. A third column is padding."""
    p, q = np.log([[0.75, 0.25], [0.1, 0.9]]), np.log([[0.5, 0.5, 1e-9], [0.1, 0.9, 1e-9]])
    found = compare_logits([p], [q])
    assert found.kl == pytest.approx((0.75 * np.log(1.5) + 0.25 * np.log(0.5)) / 2)
    assert found.max_abs == pytest.approx(np.log(2))
    assert (found.positions, found.prompts, found.top1) == (2, 1, 1.0)
    assert compare_logits([p], [p[:, ::-1]]).top1 == 0
    assert compare_logits([p], [p + 3.0]).kl == pytest.approx(0, abs=1e-15)


def test_broken_logits_are_no_likeness() -> None:
    p = np.log([[0.75, 0.25]])
    assert np.isnan(compare_logits([p], [p * np.nan]).kl)
