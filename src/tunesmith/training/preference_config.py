"""What a run on preference pairs needs to know beside the common settings. Knows no mlx."""

from __future__ import annotations

from dataclasses import dataclass

from tunesmith.settings.fields import setting

LOSSES = ("sigmoid", "robust", "ipo", "hinge")


@dataclass(frozen=True)
class PreferenceParameters:
    """DPO's and ORPO's settings, under trl's names."""

    beta: float = setting(
        0.1, minimum=0.0001, maximum=100.0, label="Beta", group="preference",
        help="DPO: how closely the model stays to the base, 0.1 to 0.5; larger stays closer. ORPO: the weight of the odds ratio.",
    )  # fmt: skip
    loss_type: str = setting(
        "sigmoid", choices=LOSSES, label="Loss", group="preference", advanced=True,
        help="For DPO. sigmoid: the paper's. robust: for labels that are partly wrong. ipo: does not overfit sure pairs. hinge: SLiC's.",
    )  # fmt: skip
    label_smoothing: float = setting(
        0.0, minimum=0.0, maximum=0.49, label="Label smoothing", group="preference", advanced=True,
        help="The share of pairs whose labels may be the wrong way round (sigmoid: conservative DPO; robust). 0: none.",
    )  # fmt: skip
