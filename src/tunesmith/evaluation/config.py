"""What an evaluation asks: of which rows, and what beside the answers is measured. Knows no models and no metrics."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.data.library import SPLITS
from tunesmith.settings.fields import setting

HELD_OUT = ("test", "valid")  # the first that a data set has is asked by default


@dataclass(frozen=True)
class EvaluationConfig:
    """Settings of one evaluation; an empty `split` means the held-out rows."""

    data: str = setting("", kind="dataset", label="Data", help="Its rows are the questions; their answers are what is compared with.")
    split: str = setting(
        "", choices=("", *SPLITS), kind="split", label="Rows",
        help="Test rows were never looked at while training; validation rows chose the best state; training rows say little.",
    )  # fmt: skip
    limit: int = setting(
        200, minimum=0, maximum=1_000_000, unit="rows", label="At most",
        help="The first rows are asked. 0: all. Fewer are quicker, more make the intervals narrower.",
    )  # fmt: skip
    system: str = setting("", kind="text", label="System prompt", help="Put before every question that has none of its own.")
    likelihood: bool = setting(
        True, label="Loss and perplexity",
        help="Also measure how well each variant foretells the rows' own answers. Lower is better; comparable only within one tokenizer.",
    )  # fmt: skip
    longest_tokens: int = setting(
        2048, minimum=8, maximum=131_072, unit="tokens", label="Longest row", advanced=True,
        help="Rows are cut here when loss and perplexity are measured. Longer ones need more memory.",
    )  # fmt: skip
