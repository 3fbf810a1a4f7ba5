"""What a model gets of a data set's rows: every token, and whether it is learned. The model's own tokenizer decides."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.errors import UserError
from tunesmith.inference.protocol import TokenView
from tunesmith.services.context import Services
from tunesmith.services.datasets import row_value
from tunesmith.services.models import find_model
from tunesmith.training.config import TrainConfig

DRAWN_TOKENS = 3000


@dataclass(frozen=True)
class RowXray:
    """A row's tokens (the first 3,000), how many there are, and how many of all drawn ones have which state.

    `ends` says that the row's end is not cut away, `learns_to_end` that the end-of-text token is learned at all.
    """

    tokens: list[TokenView]
    total: int
    counts: dict[str, int]
    ends: bool
    learns_to_end: bool

    @property
    def text(self) -> str:
        """The exact text that the model gets."""
        return "".join(token.text for token in self.tokens)

    @property
    def learns_nothing(self) -> bool:
        """Whether the loss counts none of the tokens."""
        return not self.counts["learned"]


def xray_row(s: Services, config: TrainConfig, split: str, number: int) -> RowXray:
    """Return what a run with these settings makes of a row's tokens; rows count from 0.

    Raises UserError `row_missing`, `row_not_trainable`, `model_…`, `template_…`.
    """
    value = row_value(s, config.data, split, number)
    if value is None:
        raise UserError("row_missing", row=number + 1)
    path = find_model(s, config.model).path
    tokens, total, endable = s.host.xray(path, value, config.loss_on, config.max_seq_length, DRAWN_TOKENS, config.template)
    counts = {state: sum(token.state == state for token in tokens) for state in ("learned", "context", "cut")}
    return RowXray(tokens, total, counts, ends=total <= config.max_seq_length, learns_to_end=endable)
