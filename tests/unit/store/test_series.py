"""Metrics as columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

from tunesmith.store.series import MetricSeries, thin


def write(path: Path, *records: dict[str, object]) -> None:
    with path.open("ab") as stream:
        for record in records:
            stream.write(orjson.dumps(record) + b"\n")


def test_columns_follow_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    series = MetricSeries(path)
    assert series.refresh() == 0
    write(path, {"attempt": 1, "step": 0, "val_loss": 3.0}, {"attempt": 1, "step": 1, "train_loss": 2.5})
    assert series.refresh() == 2
    write(path, {"attempt": 1, "step": 2, "train_loss": 2.0})
    assert series.refresh() == 3
    steps, values = series.column("train_loss")
    assert steps.tolist() == [1, 2]
    assert values.tolist() == [2.5, 2.0]
    assert series.latest["train_loss"] == 2.0
    assert series.first["train_loss"] == 2.5
    assert series.lowest("val_loss") == 3.0
    assert series.column("unknown")[0].size == 0


def test_a_newer_attempt_replaces_the_points_from_its_first_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, *({"attempt": 1, "step": n, "train_loss": float(n)} for n in range(1, 6)))
    write(path, *({"attempt": 2, "step": n, "train_loss": n + 0.5} for n in range(4, 7)))
    series = MetricSeries(path)
    series.refresh()
    steps, values = series.column("train_loss")
    assert steps.tolist() == [1, 2, 3, 4, 5, 6]
    assert values.tolist() == [1, 2, 3, 4.5, 5.5, 6.5]


def test_divergence_is_no_point_of_the_curve(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, {"attempt": 1, "step": 1, "train_loss": None, "nonfinite": {"train_loss": "nan"}}, {"train_loss": 1.0})
    write(path, {"attempt": "x", "step": 2, "train_loss": 1.0})
    series = MetricSeries(path)
    assert series.refresh() == 1
    assert series.column("train_loss")[0].size == 0
    assert series.bad_lines == 2  # the record without a step, and the one of no attempt


def test_thinning_keeps_ends_and_spikes() -> None:
    steps = np.arange(100_000, dtype=np.float64)
    values = np.ones(100_000)
    values[[777, 50_123]] = [9.0, -9.0]
    x, y = thin(steps, values, 1500)
    assert len(x) <= 1500
    assert (x[0], x[-1]) == (0, 99_999)
    assert dict(zip(x, y, strict=True))[777] == 9.0
    assert dict(zip(x, y, strict=True))[50_123] == -9.0
    assert (np.diff(x) > 0).all()
