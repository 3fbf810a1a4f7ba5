"""How well a model foretells rows: the mean loss of the tokens that are learned, of each row and of all. Knows no training, no metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from tunesmith.data.formats import KINDS, Row, as_messages, row_kind
from tunesmith.data.library import name_of
from tunesmith.data.row_files import read_splits
from tunesmith.data.templates import Encoded, encode_row
from tunesmith.data.validation import usable_rows
from tunesmith.errors import UserError
from tunesmith.system.progress import Progress, silent

ROW_KINDS = tuple(name for name, kind in KINDS.items() if "sft" in kind.methods)
BATCH_TOKENS = 4096
MOST_ROWS, LONGEST_TOKENS = 200, 1024  # of held-out rows


@dataclass(frozen=True)
class MeanLoss:
    """The mean cross-entropy (nats per token) of all learned tokens; `row_losses` [N] of each row's own `row_tokens` [N]."""

    loss: float
    row_losses: list[float]
    row_tokens: list[int]

    @property
    def tokens(self) -> int:
        """How many tokens are learned."""
        return sum(self.row_tokens)


def read_rows(
    path: Path, split: str, tokenizer: Any, most: int = MOST_ROWS, longest: int = LONGEST_TOKENS, template: str | None = None
) -> list[Encoded]:
    """Return at most `most` rows of a data set's split as tokens, cut at `longest`. Raises UserError `data_…`, `dataset_without_split`."""
    splits = read_splits(path, (split,))
    if split not in splits:
        raise UserError("dataset_without_split", dataset=name_of(path), split=split)
    rows, _ = usable_rows(splits[split].rows, ROW_KINDS)
    kept = encode_rows(rows[:most], tokenizer, longest, template)
    if not kept:
        raise UserError("data_nothing_to_learn", dataset=name_of(path), rows=len(rows), longest=longest)
    return [encoded for _, encoded in kept]


def encode_rows(
    rows: Sequence[Row], tokenizer: Any, longest: int, template: str | None = None, system: str = ""
) -> list[tuple[Row, Encoded]]:
    """Return checked rows with their tokens, cut at `longest`; those without an answer to foretell are left out.

    `system` is put before a conversation that has none. Raises UserError `model_without_chat_template`, `template_broken`.
    """
    found = [
        (row, encode_row(_with_system(row.value, system), tokenizer, "all_answers", template).cut(longest))
        for row in rows
        if row_kind(row.value) in ROW_KINDS
    ]
    return [(row, encoded) for row, encoded in found if any(encoded.supervised[1:])]


def _with_system(value: Mapping[str, Any], system: str) -> Mapping[str, Any]:
    turns = as_messages(value) if system else []
    if not turns or turns[0].get("role") == "system":
        return value
    return {**value, "messages": [{"role": "system", "content": system}, *turns]}


def mean_loss(model: Any, rows: Sequence[Encoded], report: Progress = silent) -> MeanLoss:
    """Return the mean loss over the rows' learned tokens; rows of like length go together, padding counts nowhere."""
    sums, tokens = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    done = 0
    for places in _batches([len(row.ids) for row in rows]):
        batch = [rows[place] for place in places]
        longest = len(batch[-1].ids)
        ids = np.zeros((len(batch), longest), np.int32)
        counts = np.zeros((len(batch), longest), np.float32)
        for place, row in enumerate(batch):
            ids[place, : len(row.ids)] = row.ids
            counts[place, : len(row.ids)] = row.supervised
        inputs, mask = mx.array(ids), mx.array(counts[:, 1:])
        losses = nn.losses.cross_entropy(model(inputs[:, :-1]).astype(mx.float32), inputs[:, 1:]) * mask
        sums[places] = np.array(losses.sum(axis=1))
        tokens[places] = counts[:, 1:].sum(axis=1)
        done += len(batch)
        report(done / len(rows))
    return MeanLoss(float(sums.sum() / tokens.sum()), (sums / tokens).tolist(), tokens.tolist())


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Return the places of the rows, the shortest first, in batches of at most `BATCH_TOKENS` with their padding, or of one row."""
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batches and (len(batches[-1]) + 1) * lengths[place] <= BATCH_TOKENS:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches
