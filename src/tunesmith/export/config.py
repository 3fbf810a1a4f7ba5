"""What a person chooses for an export. Knows no models and no mlx."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.settings.fields import setting

MODES = ("affine", "mxfp4", "mxfp8", "nvfp4")
RECIPES = ("none", "mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6")
ARRIVAL_FORMS = {"as_is": 0, "16bit": 16, "8bit": 8, "4bit": 4}  # form -> bits of a weight, 0 for its own
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


@dataclass(frozen=True)
class ArrivalRules:
    """What becomes of a model that was downloaded."""

    form: str = setting(
        "as_is", choices=tuple(ARRIVAL_FORMS), label="Keep it",
        help="As it is: the downloaded files, ready for training. 16 bit: rewritten in MLX's own layout; a 32-bit model takes half the "
        "room. 8 bit, 4 bit: smaller and faster, a little less exact; adapters are trained on top of it all the same.",
    )  # fmt: skip
    group_size: str = setting(
        "64", choices=("32", "64", "128"), label="Group size", advanced=True,
        help="Of 8 and 4 bit: how many weights share a scale. Smaller is more exact and larger on disk.",
    )  # fmt: skip


@dataclass(frozen=True)
class GgufRules:
    """How a GGUF file holds the weights."""

    outtype: str = setting(
        "Q8_0", choices=("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M"), label="Kind",
        help="F16: as good as the model, 2 bytes a weight. Q8_0: next to lossless, half of it. Q4_K_M: the usual small one. "
        "Kinds with K need llama.cpp on this computer.",
    )  # fmt: skip


@dataclass(frozen=True)
class OllamaRules:
    """What an Ollama model says and how it draws its words; the names are the Modelfile's."""

    system: str = setting("", kind="text", label="System prompt", help="What the model is told before each conversation. Empty: nothing.")
    temperature: float = setting(0.7, minimum=0.0, maximum=2.0, label="Temperature", help="0 always takes the likeliest word.")
    top_p: float = setting(0.95, minimum=0.01, maximum=1.0, label="Top p", help="Only the likeliest words that make up this share.")
    num_ctx: int = setting(
        4096, minimum=256, maximum=1_048_576, unit="tokens", label="Context", help="How much of a conversation the model sees at once.",
    )  # fmt: skip
    template: str = setting(
        "", kind="text", label="Template", advanced=True,
        help="The prompt format in Ollama's Go template. Empty: made from the model's own, where its format is known.",
    )  # fmt: skip
