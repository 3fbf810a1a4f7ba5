"""What a training run needs to know, under mlx-lm's own key names. Knows no mlx: pages and the command line read it too."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.data.chat_templates import NAMES, OWN, template_text
from tunesmith.data.formats import POLICY, PREFERENCE, SFT
from tunesmith.settings.fields import nested, setting
from tunesmith.training.policy_config import PRESETS, PolicyParameters, with_switches
from tunesmith.training.preference_config import PreferenceParameters

MODULES = ("all", "attention", "mlp", "custom")
TUNING = ("lora", "dora", "full")
QUANTIZATIONS = ("none", "8-bit", "4-bit", "mxfp4")
LOSS_ON = ("all_answers", "last_answer", "everything")
OVERLONG = ("cut", "drop", "split")
# What suits a method where it differs from the settings' own defaults: rollouts are dear, so reports and validations come more often.
METHOD_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    **{method: {"learning_rate": 5e-5} for method in PREFERENCE},
    **{method: {
        "iters": 100, "lr_schedule": "constant", "steps_per_report": 1, "steps_per_eval": 20, "save_every": 20, "val_batches": 10,
    } for method in POLICY},
}  # fmt: skip
OPTIMIZERS = ("adam", "adamw", "adafactor", "lion", "sgd", "muon")


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
    rslora: bool = setting(
        False, label="rsLoRA scale", group="adapter", advanced=True,
        help="Divides alpha by the square root of the rank instead of the rank, so that high ranks learn as fast as low ones.",
    )  # fmt: skip
    keys: str = setting(
        "all", choices=MODULES, label="Tuned modules", group="adapter", advanced=True,
        help="Which linear layers get an adapter: attention only, MLP only, all of them, or those named below.",
    )  # fmt: skip
    custom_keys: tuple[str, ...] = setting(
        tuple, label="Custom modules", group="adapter", advanced=True,
        help="One name per line, as within a block: self_attn.q_proj, mlp.down_proj. Used when the tuned modules are custom.",
    )  # fmt: skip

    @property
    def alpha(self) -> float:
        """PEFT's alpha for this scale: scale x rank."""
        return self.scale * self.rank

    @property
    def effective_scale(self) -> float:
        """What the adapter's output is multiplied by: alpha / rank, or alpha / sqrt(rank) (Kalajdzievski, arXiv 2312.03732)."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


@dataclass(frozen=True)
class TrainConfig:
    """One run of any method.

    A step sees batch size x accumulated batches rows and moves the optimiser once; of a policy, batch size prompts are answered in
    groups, and every minibatch of answers moves it.
    """

    model: str = setting("", kind="model", label="Base model", group="model", help="The model that is tuned. It is never changed itself.")
    data: str = setting("", kind="dataset", label="Data set", group="data", help="The rows that the model learns from.")
    method: str = setting(
        "sft", choices=(*SFT, *PREFERENCE, *POLICY), label="Method", group="model",
        help="sft: learn from example answers. dpo, orpo: learn which of two answers is better. "
        "grpo, gspo, dr_grpo, dapo: write answers, have reward functions judge them, and learn from the difference.",
    )  # fmt: skip
    name: str = setting(
        "", label="Name", group="model", kind="hidden", help="The run's name in lists. Empty: made from model and data set."
    )
    resume_adapter_file: str = setting(
        "", kind="adapter", label="Begin from", group="model", advanced=True,
        help="A finished run whose adapter is learned further, such as one that was taught the form of the answers. Empty: a new adapter.",
    )  # fmt: skip
    fine_tune_type: str = setting(
        "lora", choices=TUNING, label="Tuning", group="model", advanced=True,
        help="lora: a small adapter. dora: with learned magnitudes, closer to full tuning and slower. "
        "full: all weights of the tuned layers, with the most memory.",
    )  # fmt: skip
    quantize: str = setting(
        "none", choices=QUANTIZATIONS, label="Quantise the base", group="model", advanced=True,
        help="QLoRA: the frozen base is held in fewer bits while it is tuned. Saves memory; the answers change slightly.",
    )  # fmt: skip
    iters: int = setting(
        200, minimum=1, maximum=1_000_000, unit="steps", label="Steps", group="length",
        help="How many steps the model learns. More steps learn longer, and may learn by heart.",
    )  # fmt: skip
    epochs: float = setting(
        0.0, minimum=0.0, maximum=1000, unit="epochs", label="Epochs", group="length", advanced=True,
        help="How often every row is seen. 0: the number of steps counts.",
    )  # fmt: skip
    batch_size: int = setting(
        4, minimum=1, maximum=1024, unit="rows", label="Batch size", group="length",
        help="Rows that are learned from at once; of a policy, prompts per step. Larger is steadier and takes longer.",
    )  # fmt: skip
    grad_accumulation_steps: int = setting(
        1, minimum=1, maximum=1024, unit="batches", label="Accumulated batches", group="length", advanced=True, methods=(*SFT, *PREFERENCE),
        help="Batches per step. Two batches of 4 give exactly the step of one batch of 8, in the memory of 4.",
    )  # fmt: skip
    learning_rate: float = setting(
        1e-4, minimum=1e-8, maximum=1.0, label="Learning rate", group="optimiser",
        help="How far one step moves the adapter. 1e-5 to 5e-4 suits most models; too high ruins it.",
    )  # fmt: skip
    max_seq_length: int = setting(
        1024, minimum=8, maximum=131072, unit="tokens", label="Maximum length", group="data",
        help="What is done with longer rows is chosen under the advanced settings; the page shows how many there are.",
    )  # fmt: skip
    overlong: str = setting(
        "cut", choices=OVERLONG, label="Rows over the maximum length", group="data", advanced=True, methods=SFT,
        help="cut: the end is lost. drop: the row is left out. split: it becomes several rows.",
    )  # fmt: skip
    validation_share: float = setting(
        0.1, minimum=0.0, maximum=0.5, label="Validation share", group="data", advanced=True,
        help="Share of the rows kept aside to measure the loss, when the data set has no valid.jsonl of its own. 0: none.",
    )  # fmt: skip
    loss_on: str = setting(
        "all_answers", choices=LOSS_ON, label="Learn from", group="data", methods=SFT,
        help="Which tokens the loss counts: every answer of the assistant, only the last one, or everything, questions too.",
    )  # fmt: skip
    chat_template: str = setting(
        OWN, choices=NAMES, label="Prompt format", group="data", advanced=True,
        help="How conversations are written for the model. model: its own chat template, best for models that have learned one. "
        "Another format suits base models; the format is saved with the adapter.",
    )  # fmt: skip
    custom_template: str = setting(
        "", kind="text", label="Own prompt format (Jinja)", group="data", advanced=True,
        help="Used when the prompt format is custom. Knows messages, add_generation_prompt, bos_token and eos_token; "
        "write eos_token behind each answer.",
    )  # fmt: skip
    packing: bool = setting(
        True, label="Pack rows", group="data", advanced=True,
        help="Put several short rows in one line, each unseen by the others: the same loss in about half the time. "
        "Switched off by itself for models that cannot do it exactly.",
    )  # fmt: skip
    num_layers: int = setting(
        -1, minimum=-1, maximum=1000, unit="layers", label="Tuned layers", group="adapter", advanced=True,
        help="How many blocks are tuned, counted from the last. -1: all.",
    )  # fmt: skip
    lora_parameters: LoraParameters = nested(LoraParameters)  # noqa: RUF009 (a field of its own)
    policy: PolicyParameters = nested(PolicyParameters, methods=POLICY)  # noqa: RUF009
    preference: PreferenceParameters = nested(PreferenceParameters, methods=PREFERENCE)  # noqa: RUF009
    optimizer: str = setting(
        "adam", choices=OPTIMIZERS, label="Optimiser", group="optimiser", advanced=True,
        help="adam suits most runs; adamw adds weight decay; adafactor and sgd take little memory; lion and muon want lower rates.",
    )  # fmt: skip
    weight_decay: float = setting(
        0.01, minimum=0.0, maximum=1.0, label="Weight decay", group="optimiser", advanced=True,
        help="Pull of the weights towards zero; used by all optimisers but adam.",
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
        help="How often the loss (of a policy: the reward) on the validation rows is measured and the sample prompts are answered; "
        "also at begin and end.",
    )  # fmt: skip
    val_batches: int = setting(
        25, minimum=-1, maximum=100_000, unit="batches", label="Validation batches", group="reporting", advanced=True,
        help="How many batches a validation reads, always the same. -1: the whole set.",
    )  # fmt: skip
    patience: int = setting(
        0, minimum=0, maximum=1000, unit="validations", label="Early stopping", group="reporting", advanced=True,
        help="The run ends after this many validations without a better one. 0: never early.",
    )  # fmt: skip
    keep_best: bool = setting(
        False, label="Use the best state", group="reporting", advanced=True,
        help="The adapter is the state with the best validation (lowest loss, highest reward) instead of the last one. Both are kept.",
    )  # fmt: skip
    save_every: int = setting(
        100, minimum=1, maximum=1_000_000, unit="steps", label="Save every", group="reporting", advanced=True,
        help="Distance of the checkpoints; the last three and the best are kept. A run that was stopped goes on from the newest.",
    )  # fmt: skip
    sample_prompts: tuple[str, ...] = setting(
        tuple, label="Sample prompts", group="reporting", advanced=True,
        help="Questions that the model answers at each validation, one per line. Empty: three of the rows that are kept aside.",
    )  # fmt: skip
    pass_tokens: int = setting(
        0, minimum=0, maximum=1_048_576, unit="tokens", label="Tokens per pass", group="memory", advanced=True,
        help="A batch goes through the model in passes of at most this many tokens, whose sums are exactly the batch's: "
        "memory does not grow with the batch. 0: what suits the processor.",
    )  # fmt: skip
    grad_checkpoint: bool = setting(
        False, label="Gradient checkpointing", group="memory", advanced=True,
        help="Computes each block again on the way back instead of remembering it: about a third of the memory, a third more time.",
    )  # fmt: skip
    cache_limit_gb: float = setting(
        0.0, minimum=0.0, maximum=1024, unit="GB", label="Cache limit", group="memory", advanced=True,
        help="How much freed memory the engine may keep for later. 0: the engine's own choice.",
    )  # fmt: skip
    wired_limit_gb: float = setting(
        0.0, minimum=0.0, maximum=1024, unit="GB", label="Wired memory limit", group="memory", advanced=True,
        help="How much memory macOS must not swap out while the run goes. 0: what the system recommends. Without effect elsewhere.",
    )  # fmt: skip
    num_processes: int = setting(
        1, minimum=1, maximum=64, unit="processes", label="Processes", group="machines", advanced=True, methods=SFT,
        help="Over how many processes a batch is spread, started by mlx.launch. 1 on a single Mac.",
    )  # fmt: skip
    hostfile: str = setting(
        "", label="Host file", group="machines", advanced=True, methods=SFT,
        help="mlx.launch's JSON list of the Macs that share the work (ring). Empty: all processes on this computer.",
    )  # fmt: skip
    seed: int = setting(
        0, minimum=0, maximum=2**31 - 1, label="Seed", group="reporting", advanced=True,
        help="Start of all chance: order of the rows, first adapter weights, dropout. Same seed, same run.",
    )  # fmt: skip

    @classmethod
    def completed(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a person's values with what the method sets and the person does not: its defaults, its preset's switches."""
        method, policy = str(values.get("method")), values.get("policy", {})
        filled = {**METHOD_DEFAULTS.get(method, {}), **values}
        return {**filled, "policy": {**PRESETS[method], **policy}} if method in PRESETS and isinstance(policy, Mapping) else filled

    def with_method(self, method: str) -> TrainConfig:
        """Return these settings for another method: its switches, its defaults where the present ones were not changed; all else stays."""
        plain, changes = TrainConfig(), dict[str, Any]()
        ours, theirs = METHOD_DEFAULTS.get(self.method, {}), METHOD_DEFAULTS.get(method, {})
        for name in {**ours, **theirs}:
            if getattr(self, name) == ours.get(name, getattr(plain, name)):
                changes[name] = theirs.get(name, getattr(plain, name))
        if method in PRESETS:
            changes["policy"] = with_switches(method, self.policy)
        return dataclasses.replace(self, method=method, **changes)

    @property
    def template(self) -> str | None:
        """The prompt format as a Jinja text, None for the model's own. Raises UserError `template_…`."""
        return template_text(self.chat_template, self.custom_template)
