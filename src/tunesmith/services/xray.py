"""What a model gets of a data set's rows: every token, and whether it is learned. The model's own tokenizer decides."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.errors import UserError
from tunesmith.inference.protocol import TokenView
from tunesmith.services.context import Services
from tunesmith.services.datasets import row_value
from tunesmith.services.models import find_model

DRAWN_TOKENS = 3000


@dataclass(frozen=True)
class RowXray:
    """A row's tokens (the first 3,000), how many there are, and how many of all drawn ones have which state."""

    tokens: list[TokenView]
    total: int
    counts: dict[str, int]
    ends: bool

    @property
    def learns_nothing(self) -> bool:
        """Whether the loss counts none of the tokens."""
        return not self.counts["learned"]


def xray_row(s: Services, dataset_id: str, split: str, number: int, model_id: str, max_seq_length: int, loss_on: str) -> RowXray:
    """Return what becomes of a row's tokens; rows count from 0.

    Raises UserError `row_missing`, `row_not_trainable`, `model_…`.
    """
    value = row_value(s, dataset_id, split, number)
    if value is None:
        raise UserError("row_missing", row=number + 1)
    tokens, total = s.host.xray(find_model(s, model_id).path, value, loss_on, max_seq_length, DRAWN_TOKENS)
    counts = {state: sum(token.state == state for token in tokens) for state in ("learned", "context", "cut")}
    return RowXray(tokens, total, counts, ends=total <= max_seq_length)
