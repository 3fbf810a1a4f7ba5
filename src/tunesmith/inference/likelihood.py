"""How well a model foretells rows: the mean loss of the tokens that are learned. Knows no training and no metrics' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from tunesmith.data.formats import KINDS
from tunesmith.data.row_files import read_splits
from tunesmith.data.templates import Encoded, encode_row
from tunesmith.data.validation import usable_rows
from tunesmith.errors import UserError
from tunesmith.system.progress import Progress, silent

ROW_KINDS = tuple(name for name, kind in KINDS.items() if "sft" in kind.methods)
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class MeanLoss:
    """The mean cross-entropy (nats per token) of `tokens` learned tokens."""

    loss: float
    tokens: int


def read_rows(path: Path, split: str, tokenizer: Any, most: int, longest: int, template: str | None = None) -> list[Encoded]:
    """Return at most `most` rows of a data set's split as tokens, cut at `longest`. Raises UserError `data_…`, `dataset_without_split`."""
    splits = read_splits(path, (split,))
    if split not in splits:
        raise UserError("dataset_without_split", dataset=path.name, split=split)
    rows, _ = usable_rows(splits[split].rows, ROW_KINDS)
    encoded = [encode_row(row.value, tokenizer, "all_answers", template).cut(longest) for row in rows[:most]]
    kept = [row for row in encoded if any(row.supervised[1:])]
    if not kept:
        raise UserError("data_nothing_to_learn", dataset=path.name, rows=len(rows), longest=longest)
    return kept


def mean_loss(model: Any, rows: Sequence[Encoded], report: Progress = silent) -> MeanLoss:
    """Return the mean loss over the rows' learned tokens; rows of like length go together, padding counts nowhere."""
    total = 0.0
    tokens = done = 0
    for batch in _batches(sorted(rows, key=lambda row: len(row.ids))):
        longest = max(len(row.ids) for row in batch)
        ids = np.zeros((len(batch), longest), np.int32)
        counts = np.zeros((len(batch), longest), np.float32)
        for place, row in enumerate(batch):
            ids[place, : len(row.ids)] = row.ids
            counts[place, : len(row.ids)] = row.supervised
        inputs, mask = mx.array(ids), mx.array(counts[:, 1:])
        losses = nn.losses.cross_entropy(model(inputs[:, :-1]).astype(mx.float32), inputs[:, 1:]) * mask
        total += float(losses.sum())
        tokens += int(counts[:, 1:].sum())
        done += len(batch)
        report(done / len(rows))
    return MeanLoss(total / tokens, tokens)


def _batches(rows: Sequence[Encoded]) -> list[list[Encoded]]:
    batches: list[list[Encoded]] = []
    for row in rows:
        if batches and (len(batches[-1]) + 1) * len(row.ids) <= BATCH_TOKENS:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
