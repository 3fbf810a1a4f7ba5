"""Which curves a method's runs show, in which panels, and their points as bytes. Knows metrics' names, no language."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import orjson

from tunesmith.store.series import Floats, MetricSeries, thin
from tunesmith.training.registry import family_of

POINTS = 1500
GIGABYTES = {
    "peak_memory_bytes": "peak_memory_gb", "active_memory_bytes": "active_memory_gb", "cache_memory_bytes": "cache_memory_gb",
}  # fmt: skip
Line = tuple[dict[str, object], Floats, Floats]  # its facts for whoever draws it, x [points], y [points]


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


def panel_of(metric: str) -> Panel | None:
    """Return the first panel of any method that shows a metric, None for one that none shows."""
    panels = [panel for panels in PANELS.values() for panel in panels]
    return next((p for p in panels if any(metric in matching([metric], entry) for entry in p.metrics)), None)


def smooth(values: Floats, weight: float) -> Floats:
    """Return the exponential moving average [points] of a curve, its start freed of bias (arXiv 1412.6980); weight 0 leaves it as it is.

    Raises ValueError for a weight outside 0 to 1 (excluded).
    """
    if not 0 <= weight < 1:
        raise ValueError(f"smoothing {weight}")
    if not weight:
        return values
    means = list(accumulate(values.tolist(), lambda mean, value: weight * mean + (1 - weight) * value, initial=0.0))[1:]
    return np.asarray(means, dtype=np.float64) / np.asarray(1 - weight ** np.arange(1, len(values) + 1), dtype=np.float64)


def pack_curves(reader: MetricSeries, method: str, active: bool, smoothing: float = 0.0) -> bytes:
    """Return a run's curves as float32 columns behind a JSON header; those that a panel lets smooth are smoothed before they are thinned.

    Layout: uint32 length of the header, the header (padded to 4 bytes), then x [n] and y [n] of each series. The header tells the
    revision, whether the run goes on, the series, and each panel's series.
    """
    series: list[Line] = []
    panels: list[dict[str, object]] = []
    for panel in panels_of(method):
        names = [name for metric in panel.metrics for name in matching(reader.names, metric)]
        smoothed = {name for metric in panel.smoothed for name in matching(reader.names, metric)}
        for name in names:
            steps, values = shown_column(reader, name)
            series.append(({"name": GIGABYTES.get(name, name)}, steps, smooth(values, smoothing) if name in smoothed else values))
        panels.append({"name": panel.name, "series": [GIGABYTES.get(name, name) for name in names], "from_zero": panel.from_zero})
    return pack_lines({"rev": reader.rev, "active": active, "panels": panels}, series)


def pack_lines(header: dict[str, object], lines: Sequence[Line]) -> bytes:
    """Return thinned lines as float32 columns behind a JSON header, to which each line's own facts and length are added as `series`."""
    described, columns = [], []
    for facts, x, y in lines:
        x, y = thin(x, y, POINTS)
        described.append({**facts, "length": len(x)})
        columns.append(np.concatenate([x, y]).astype("<f4").tobytes())
    packed = orjson.dumps({**header, "series": described})
    packed += b" " * (-len(packed) % 4)
    return struct.pack("<I", len(packed)) + packed + b"".join(columns)


def shown_column(reader: MetricSeries, name: str) -> tuple[Floats, Floats]:
    """Return the steps and values of a metric, both [points], in the unit in which it is shown."""
    steps, values = reader.column(name)
    return steps, values / 1e9 if name in GIGABYTES else values


def matching(names: Sequence[str], metric: str) -> list[str]:
    """Return the metrics that an entry of a panel takes: itself, recorded or not, or all recorded ones of a prefix."""
    return sorted(name for name in names if name.startswith(metric)) if metric.endswith("/") else [metric]
