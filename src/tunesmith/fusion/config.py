"""What a person chooses for a fusion. Knows no adapters and no mlx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.settings.fields import setting

SUMS = ("linear", "task_arithmetic", "slerp", "nuslerp", "karcher", "model_stock")
TRIMMED = ("ties", "magnitude_prune")
DRAWN = ("dare_linear", "dare_ties", "della_linear", "della")
CRUMBS = ("breadcrumbs", "breadcrumbs_ties")
ELEMENT_WISE = (*TRIMMED, *DRAWN, *CRUMBS)


@dataclass(frozen=True)
class FusionRules:
    """How deltas are fused; the names are mergekit's where it has the setting."""

    method: str = setting(
        "linear", choices=("linear", "task_arithmetic", "slerp", "nuslerp", "karcher", "model_stock", "ties", "dare_linear", "dare_ties",
        "della_linear", "della", "breadcrumbs", "breadcrumbs_ties", "magnitude_prune"), label="Method",
        help="How the adapters' changes are put together. Sums are exact; the others look at every value of the change.",
    )  # fmt: skip
    weights: tuple[float, ...] = setting(tuple, kind="hidden", label="Weights", help="How much of each adapter, in the order chosen.")
    layered: Mapping[str, Any] = setting(dict, kind="hidden", label="Per-layer weights", help="Curves, groups or a table of weights.")
    density: float = setting(
        0.5, minimum=0.01, maximum=1.0, label="Density", methods=ELEMENT_WISE,
        help="The share of each adapter's values that is kept. 1 keeps all.",
    )  # fmt: skip
    epsilon: float = setting(
        0.1, minimum=0.0, maximum=0.5, label="Epsilon", methods=("della_linear", "della"),
        help="How much likelier the largest value of a row is kept than the density says, and how much less likely the smallest.",
    )  # fmt: skip
    gamma: float = setting(
        0.01, minimum=0.0, maximum=0.5, label="Gamma", methods=CRUMBS,
        help="The share of the largest values that is left out as outliers.",
    )  # fmt: skip
    rescale: str = setting(
        "inverse", choices=("inverse", "l1", "none"), label="Make up for what is dropped", methods=DRAWN,
        help="By 1 / the chance of being kept as the papers do; so that the sum of sizes stays, as mergekit does (l1); or not at all.",
    )  # fmt: skip
    normalize: str = setting(
        "auto", choices=("auto", "yes", "no"), label="Divide by the weights", methods=ELEMENT_WISE,
        help="Divide each value by the sum of the weights that took part. Automatic: yes for TIES and DELLA, no for the others.",
    )  # fmt: skip
    row_wise: bool = setting(
        False, label="Row by row", methods=("nuslerp",), help="Turn each output row by its own angle instead of the whole matrix by one.",
    )  # fmt: skip
    scale: float = setting(
        1.0, minimum=-10.0, maximum=10.0, label="Scale of the result", advanced=True,
        help="The fused change is multiplied by this (lambda in mergekit). 1 leaves it, below 0 turns it round.",
    )  # fmt: skip
    seed: int = setting(
        0, minimum=0, maximum=2**31 - 1, label="Seed", methods=DRAWN, advanced=True, help="Decides what is dropped by chance."
    )
    rank: int = setting(
        0, minimum=0, maximum=1024, label="Rank of the result", advanced=True,
        help="0 keeps everything: the ranks side by side. Smaller loses the least that it can; the report says how much is kept.",
    )  # fmt: skip
