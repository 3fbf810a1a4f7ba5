"""What a policy's curves say, the rollout log, and the panels of each method."""

from __future__ import annotations

import struct
from pathlib import Path

import orjson
import pytest

from tunesmith.i18n.catalog import LANGUAGES, t
from tunesmith.services.curves import PANELS, pack_curves
from tunesmith.services.learning import signs
from tunesmith.services.rollouts import _group
from tunesmith.store.rollouts import RolloutLog
from tunesmith.store.series import MetricSeries


def series_of(tmp_path: Path, **columns: list[float]) -> MetricSeries:
    path = tmp_path / "metrics.jsonl"
    steps = max(len(values) for values in columns.values())
    lines = [{"step": step + 1, "attempt": 1, **{n: v[step] for n, v in columns.items() if step < len(v)}} for step in range(steps)]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    series = MetricSeries(path)
    series.refresh()
    return series


def codes(series: MetricSeries) -> list[str]:
    return [sign.code for sign in signs(series)]


def test_a_rise_is_told_from_chance(tmp_path: Path) -> None:
    """Thirds 0.1 and 0.9 without noise: a rise. 0.5 ± 0.5 in both: within two standard errors. 0.9 to 0.1: a fall."""
    assert codes(series_of(tmp_path, reward=[0.1, 0.1, 0.12, 0.5, 0.5, 0.5, 0.9, 0.88, 0.9]))[0] == "rising"
    assert codes(series_of(tmp_path, reward=[0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]))[0] == "flat"
    assert codes(series_of(tmp_path, reward=[0.9, 0.9, 0.88, 0.5, 0.5, 0.5, 0.1, 0.1, 0.12]))[0] == "falling"
    assert codes(series_of(tmp_path, reward=[0.1, 0.9])) == ["too_early"]


def test_what_else_is_seen(tmp_path: Path) -> None:
    many = [0.5, 0.5, 0.6, 0.5, 0.5, 0.6]
    found = codes(
        series_of(
            tmp_path,
            reward=many,
            zero_spread_share=[0.9] * 6,
            truncated_share=[0.6] * 6,
            kl=[0.0, 3.0],
            grad_norm=[0.0] * 6,
            val_reward=[0.1, 0.4],
        )
    )
    assert found[1:] == ["held_out_better", "groups_alike", "answers_cut", "far_from_base", "not_moving"]
    fine = codes(series_of(tmp_path, reward=many, zero_spread_share=[0.1] * 6, kl=[0.0, 0.1], grad_norm=[1.0] * 6, val_reward=[0.4, 0.4]))
    assert fine[1:] == ["held_out_not_better", "groups_differ", "near_base"]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_sign_is_worded(tmp_path: Path, lang: str) -> None:
    for sign in signs(
        series_of(tmp_path, reward=[0.1] * 9, zero_spread_share=[0.9] * 9, truncated_share=[0.9] * 9, kl=[0, 3], grad_norm=[0] * 9)
    ):
        assert t(f"sign.{sign.code}", lang, **{name: f"{value:.2f}" for name, value in sign.facts.items()})


def test_rollouts_are_found_by_step_and_a_later_attempt_replaces_them(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.jsonl"
    log = RolloutLog(path)
    assert log.steps() == []

    def write(step: int, attempt: int, prompt: str) -> bytes:
        return orjson.dumps({"v": 1, "step": step, "attempt": attempt, "groups": [{"prompt": prompt}]}) + b"\n"

    path.write_bytes(write(1, 1, "a") + write(2, 1, "b") + b'{"v":1,"step":3,"att')
    assert log.steps() == [1, 2]
    assert log.read(2) == [{"prompt": "b"}]
    with path.open("ab") as stream:
        stream.write(b"\n" + write(2, 2, "again"))
    assert log.steps() == [1, 2, 3]
    assert log.read(2) == [{"prompt": "again"}]
    assert log.read(3) == []  # a torn line is none
    assert log.read(9) == []


def test_best_and_worst_of_a_group() -> None:
    answers = [
        {"text": text, "reward": reward, "scores": {}, "advantage": 0.0, "tokens": 1, "truncated": False, "kept": True}
        for text, reward in (("low", 0.0), ("high", 1.0), ("mid", 0.5))
    ]
    group = _group({"prompt": "p", "answer": "a", "completions": answers})
    assert [(c.text, c.best, c.worst) for c in group.completions] == [("high", True, False), ("mid", False, False), ("low", False, True)]
    assert group.mean_reward == 0.5
    assert _group({"prompt": "p", "completions": answers[:1] * 3}).alike


def test_curves_tell_their_panels(tmp_path: Path) -> None:
    reader = series_of(
        tmp_path, **{"reward": [0.1, 0.2], "reward/numeric": [0.1, 0.2], "reward/f1": [0.3], "peak_memory_bytes": [2e9, 2e9]}
    )
    packed = pack_curves(reader, "dr_grpo", active=True)
    size = struct.unpack_from("<I", packed)[0]
    header = orjson.loads(packed[4 : 4 + size])
    panels = {panel["name"]: panel for panel in header["panels"]}
    assert set(panels) == {panel.name for panel in PANELS["policy"]}
    assert panels["functions"]["series"] == ["reward/f1", "reward/numeric"]
    assert panels["memory"]["series"] == ["peak_memory_gb"]
    assert {"name": "reward/f1", "length": 1} in header["series"]
    assert len(packed) == 4 + size + 8 * sum(series["length"] for series in header["series"])
