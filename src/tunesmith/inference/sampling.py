"""How answers are drawn. Knows no mlx: pages make their form from it."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.settings.fields import setting


@dataclass(frozen=True)
class Sampling:
    """Settings of one answer, under mlx-lm's names."""

    temperature: float = setting(
        0.0, minimum=0.0, maximum=2.0, label="Temperature",
        help="0 always takes the likeliest token, so an answer can be repeated; higher varies more.",
    )  # fmt: skip
    top_p: float = setting(
        1.0, minimum=0.01, maximum=1.0, label="Top-p",
        help="Draw only from the likeliest tokens that together have this probability. Acts above temperature 0.",
    )  # fmt: skip
    min_p: float = setting(
        0.0, minimum=0.0, maximum=1.0, label="Min-p", advanced=True,
        help="Draw only from tokens that are at least this share as likely as the likeliest; 0 is off. Acts above temperature 0.",
    )  # fmt: skip
    top_k: int = setting(
        0, minimum=0, maximum=1000, unit="tokens", label="Top-k", advanced=True,
        help="Draw only from this many likeliest tokens; 0 is off. Acts above temperature 0.",
    )  # fmt: skip
    repetition_penalty: float = setting(
        1.0, minimum=0.5, maximum=2.0, label="Repetition penalty", advanced=True,
        help="Makes each of the last 20 tokens less likely by this factor on its logit; 1 is off.",
    )  # fmt: skip
    presence_penalty: float = setting(
        0.0, minimum=-2.0, maximum=2.0, label="Presence penalty", advanced=True,
        help="Taken off the logit of each token that is among the last 20; 0 is off.",
    )  # fmt: skip
    max_tokens: int = setting(
        256, minimum=1, maximum=8192, unit="tokens", label="Longest answer",
        help="An answer is cut after this many tokens.",
    )  # fmt: skip
    seed: int = setting(
        0, minimum=0, maximum=2**31 - 1, label="Seed",
        help="Start of the chance; the same seed gives the same answer.",
    )  # fmt: skip
