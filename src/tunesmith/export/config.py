"""What a person chooses for an export. Knows no models and no mlx."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.settings.fields import setting

MODES = ("affine", "mxfp4", "mxfp8", "nvfp4")
RECIPES = ("none", "mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")
FIXED_SHAPES = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}  # mode -> (group size, bits)


@dataclass(frozen=True)
class QuantizeRules:
    """How a model's linear layers are held in fewer bits; the names are mlx-lm's."""

    mode: str = setting(
        "affine", choices=MODES, label="Mode",
        help="affine: whole numbers with a scale and an offset per group. mxfp4, mxfp8, nvfp4: small floats with a shared scale.",
    )  # fmt: skip
    bits: int = setting(
        4, minimum=2, maximum=8, unit="bits", label="Bits per weight",
        help="Of affine: 8 is next to lossless, 4 is usual, 3 and 2 cost quality. 7 is not there. The other modes have their own.",
    )  # fmt: skip
    group_size: int = setting(
        64, minimum=32, maximum=128, label="Group size",
        help="Of affine: how many weights share a scale: 32, 64 or 128. Smaller is more exact and larger on disk.",
    )  # fmt: skip
    recipe: str = setting(
        "none", choices=RECIPES, label="Mixed recipe", advanced=True,
        help="Of affine: more bits for the layers that need them most; the numbers are the lower and the higher bits.",
    )  # fmt: skip
