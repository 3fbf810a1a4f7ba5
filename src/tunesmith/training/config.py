"""What a training run needs to know, under mlx-lm's own key names. Knows no mlx: pages and the command line read it too."""

from __future__ import annotations

from dataclasses import dataclass, field

from tunesmith.settings.fields import setting

MODULES = ("attention", "mlp", "all")


@dataclass(frozen=True)
class LoraParameters:
    """LoRA's shape (Hu et al., arXiv 2106.09685), as mlx-lm's `lora_parameters`."""

    rank: int = setting(
        8, minimum=1, maximum=512, label="LoRA rank", group="adapter",
        help="Size of the adapter. Higher holds more and takes more memory; 8 to 32 suits most tasks.",
    )  # fmt: skip
    scale: float = setting(
        20.0, minimum=0.01, maximum=1000, label="LoRA scale", group="adapter", advanced=True,
        help="Factor on the adapter's output (mlx-lm's scale; in PEFT's terms alpha / rank).",
    )  # fmt: skip
    dropout: float = setting(
        0.0, minimum=0.0, maximum=0.9, label="LoRA dropout", group="adapter", advanced=True,
        help="Share of the adapter's input that is dropped at random while training. 0 switches it off.",
    )  # fmt: skip
    keys: str = setting(
        "all", choices=MODULES, label="Tuned modules", group="adapter", advanced=True,
        help="Which linear layers get an adapter: attention only, MLP only, or all of them.",
    )  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """One supervised fine-tuning run."""

    model: str = setting("", kind="model", label="Base model", group="model", help="The model that is tuned. It is never changed itself.")
    data: str = setting("", kind="dataset", label="Data set", group="data", help="The rows that the model learns from.")
    method: str = setting("sft", choices=("sft",), label="Method", group="model", help="sft: supervised fine-tuning on example answers.")
    name: str = setting(
        "", label="Name", group="model", kind="hidden", help="The run's name in lists. Empty: made from model and data set."
    )
    iters: int = setting(
        200, minimum=1, maximum=1_000_000, unit="steps", label="Steps", group="length",
        help="How many batches the model learns from. More steps learn longer, and may learn by heart.",
    )  # fmt: skip
    batch_size: int = setting(
        4, minimum=1, maximum=1024, unit="rows", label="Batch size", group="length",
        help="Rows per step. Larger is steadier and takes more memory.",
    )  # fmt: skip
    learning_rate: float = setting(
        1e-4, minimum=1e-8, maximum=1.0, label="Learning rate", group="optimiser",
        help="How far one step moves the adapter. 1e-5 to 5e-4 suits most models; too high ruins it.",
    )  # fmt: skip
    max_seq_length: int = setting(
        1024, minimum=8, maximum=131072, unit="tokens", label="Maximum length", group="data",
        help="Longer rows are cut after this many tokens; the page shows how many are.",
    )  # fmt: skip
    validation_share: float = setting(
        0.1, minimum=0.0, maximum=0.5, label="Validation share", group="data", advanced=True,
        help="Share of the rows kept aside to measure the loss, when the data set has no valid.jsonl of its own. 0: none.",
    )  # fmt: skip
    mask_prompt: bool = setting(
        True, label="Learn answers only", group="data",
        help="The loss counts the assistant's turns only (every one of them), not the questions.",
    )  # fmt: skip
    packing: bool = setting(
        True, label="Pack rows", group="data", advanced=True,
        help="Put several short rows in one line, each unseen by the others: the same loss in about half the time. "
        "Switched off by itself for models that cannot do it exactly.",
    )  # fmt: skip
    num_layers: int = setting(
        -1, minimum=-1, maximum=1000, unit="layers", label="Tuned layers", group="adapter", advanced=True,
        help="How many blocks get an adapter, counted from the last. -1: all.",
    )  # fmt: skip
    lora_parameters: LoraParameters = field(default_factory=LoraParameters)
    optimizer: str = setting(
        "adam", choices=("adam", "adamw", "sgd"), label="Optimiser", group="optimiser", advanced=True,
        help="adam suits most runs; adamw adds weight decay; sgd has no memory of earlier steps.",
    )  # fmt: skip
    weight_decay: float = setting(
        0.01, minimum=0.0, maximum=1.0, label="Weight decay", group="optimiser", advanced=True,
        help="Pull of the adapter towards zero; used by adamw only.",
    )  # fmt: skip
    lr_schedule: str = setting(
        "cosine", choices=("constant", "linear", "cosine"), label="Learning rate schedule", group="optimiser", advanced=True,
        help="How the learning rate goes on after the warm-up: constant, or falling to zero by a line or a cosine.",
    )  # fmt: skip
    warmup: int = setting(
        0, minimum=0, maximum=100_000, unit="steps", label="Warm-up", group="optimiser", advanced=True,
        help="Steps in which the learning rate rises from zero.",
    )  # fmt: skip
    grad_clip: float = setting(
        1.0, minimum=0.0, maximum=1000, label="Gradient clipping", group="optimiser", advanced=True,
        help="A gradient with a larger norm is scaled down to it. 0 switches it off.",
    )  # fmt: skip
    steps_per_report: int = setting(
        10, minimum=1, maximum=100_000, unit="steps", label="Report every", group="reporting", advanced=True,
        help="Distance of the points of the loss curve.",
    )  # fmt: skip
    steps_per_eval: int = setting(
        50, minimum=1, maximum=1_000_000, unit="steps", label="Validate every", group="reporting", advanced=True,
        help="How often the loss on the validation rows is measured; also before the first and after the last step.",
    )  # fmt: skip
    val_batches: int = setting(
        25, minimum=-1, maximum=100_000, unit="batches", label="Validation batches", group="reporting", advanced=True,
        help="How many batches a validation reads. -1: the whole set.",
    )  # fmt: skip
    save_every: int = setting(
        100, minimum=1, maximum=1_000_000, unit="steps", label="Save every", group="reporting", advanced=True,
        help="Distance of the checkpoints. The last state is always saved.",
    )  # fmt: skip
    seed: int = setting(
        0, minimum=0, maximum=2**31 - 1, label="Seed", group="reporting", advanced=True,
        help="Start of all chance: order of the rows, first adapter weights, dropout. Same seed, same run.",
    )  # fmt: skip
