"""Which curves a method's runs show, in which panels, and their points as bytes. Knows metrics' names, no language."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from tunesmith.store.series import MetricSeries, thin
from tunesmith.training.registry import family_of

POINTS = 1500
GIGABYTES = {"peak_memory_bytes": "peak_memory_gb"}


@dataclass(frozen=True)
class Panel:
    """One plot: its name, the metrics in it (`prefix/` takes all whose name begins so), and which of them can be smoothed."""

    name: str
    metrics: Sequence[str]
    smoothed: Sequence[str] = ()
    from_zero: bool = True


MACHINE = (Panel("speed", ("tokens_per_second",)), Panel("memory", ("peak_memory_bytes",)))
PANELS: dict[str, tuple[Panel, ...]] = {
    "sft": (
        Panel("loss", ("train_loss", "val_loss"), ("train_loss",), from_zero=False), Panel("learning_rate", ("learning_rate",)), *MACHINE,
    ),
    "preference": (
        Panel("loss", ("train_loss", "val_loss"), ("train_loss",), from_zero=False),
        Panel("margin", ("reward_margin", "val_margin", "reward_chosen", "reward_rejected"), ("reward_margin",)),
        Panel("accuracy", ("reward_accuracy", "val_accuracy"), ("reward_accuracy",)), Panel("memory", ("peak_memory_bytes",)),
    ),
    "policy": (
        Panel("reward", ("reward", "val_reward", "reward_std"), ("reward", "reward_std")),
        Panel("functions", ("reward/",), ("reward/",)),
        Panel("shares", ("zero_spread_share", "truncated_share")),
        Panel("distance", ("kl", "entropy"), ("entropy",)),
        Panel("clipping", ("clip_low", "clip_high", "ratio_deviation")),
        Panel("length", ("completion_tokens",)),
        Panel("seconds", ("seconds_rollout", "seconds_reward", "seconds_score", "seconds_update")),
        Panel("gradient", ("grad_norm",)), Panel("learning_rate", ("learning_rate",)), Panel("memory", ("peak_memory_bytes",)),
    ),
}  # fmt: skip


def panels_of(method: str) -> tuple[Panel, ...]:
    """Return the panels of a method's runs."""
    return PANELS[family_of(method)]


def pack_curves(reader: MetricSeries, method: str, active: bool) -> bytes:
    """Return a run's curves as float32 columns behind a JSON header.

    Layout: uint32 length of the header, the header (padded to 4 bytes), then x [n] and y [n] of each series. The header tells the
    revision, whether the run goes on, the series, and each panel's series.
    """
    described: list[dict[str, object]] = []
    panels: list[dict[str, object]] = []
    columns: list[bytes] = []
    for panel in panels_of(method):
        names = [name for metric in panel.metrics for name in _matching(reader, metric)]
        for name in names:
            steps, values = thin(*reader.column(name), POINTS)
            values = values / 1e9 if name in GIGABYTES else values
            described.append({"name": GIGABYTES.get(name, name), "length": len(steps)})
            columns.append(np.concatenate([steps, values]).astype("<f4").tobytes())
        smoothed = [GIGABYTES.get(name, name) for metric in panel.smoothed for name in _matching(reader, metric)]
        shown = [GIGABYTES.get(name, name) for name in names]
        panels.append({"name": panel.name, "series": shown, "smoothed": smoothed, "from_zero": panel.from_zero})
    header = orjson.dumps({"rev": reader.rev, "active": active, "series": described, "panels": panels})
    header += b" " * (-len(header) % 4)
    return struct.pack("<I", len(header)) + header + b"".join(columns)


def _matching(reader: MetricSeries, metric: str) -> list[str]:
    return sorted(name for name in reader.names if name.startswith(metric)) if metric.endswith("/") else [metric]
