"""Several runs over each other: charts, axes, smoothing, figures, colours; every expected number is worked out by hand."""

from __future__ import annotations

import dataclasses
import struct
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tunesmith.errors import UserError
from tunesmith.services import overlays, run_settings, sweep_results, training
from tunesmith.services.context import Services
from tunesmith.services.curves import POINTS, smooth
from tunesmith.services.overlays import Chart
from tunesmith.services.run_colours import COLOURS, run_colours
from tunesmith.services.run_settings import SettingLine
from tunesmith.services.sweep_results import Varied
from tunesmith.store.series import MetricSeries
from tunesmith.system.paths import REPOSITORY
from tunesmith.training.config import LoraParameters, TrainConfig

CONFIG = TrainConfig(model="demo", data="company_facts", name="a run")


def record(folder: Path, *records: dict[str, Any]) -> MetricSeries:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_bytes(b"".join(orjson.dumps({"attempt": 1, **each}) + b"\n" for each in records))
    reader = MetricSeries(folder / "metrics.jsonl")
    reader.refresh()
    return reader


def add(services: Services, *records: dict[str, Any], **settings: Any) -> str:
    run_id = training.submit(services, dataclasses.replace(CONFIG, **settings))
    record(services.store.folder(run_id).path, *records)
    return run_id


def unpack(body: bytes | None) -> tuple[dict[str, Any], dict[str, tuple[list[float], list[float]]]]:
    assert body is not None
    size = struct.unpack_from("<I", body)[0]
    header, offset, series = orjson.loads(body[4 : 4 + size]), 4 + size, {}
    for each in header["series"]:
        values = np.frombuffer(body, "<f4", 2 * each["length"], offset)
        series[each["name"]] = (values[: each["length"]].tolist(), values[each["length"] :].tolist())
        offset += 8 * each["length"]
    return header, series


def test_smoothing_is_the_debiased_moving_average() -> None:
    """Weight 0.5 on 4, 2, 6: means 2, 2, 4 from zero, divided by 1/2, 3/4, 7/8."""
    values = np.array([4.0, 2.0, 6.0])
    assert smooth(values, 0.5).tolist() == pytest.approx([4.0, 2 / 0.75, 4 / 0.875])
    assert smooth(values, 0.0) is values
    assert smooth(np.full(50, 3.0), 0.98).tolist() == pytest.approx([3.0] * 50)
    assert smooth(np.array([]), 0.5).tolist() == []
    for weight in (1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="smoothing"):
            smooth(values, weight)


def test_axes_begin_at_zero_and_go_on_evenly_between_reports(tmp_path: Path) -> None:
    reader = record(
        tmp_path,
        {"step": 0, "val_loss": 3.0},
        {"step": 1, "val_loss": 2.5},
        {"step": 2, "train_loss": 2.0, "tokens_seen": 100, "elapsed_seconds": 4.0},
        {"step": 4, "train_loss": 1.0, "tokens_seen": 300, "elapsed_seconds": 5.0},
        {"step": 3, "val_loss": 1.5},
        {"step": 5, "val_loss": 1.4},
    )
    steps = reader.column("val_loss")[0]
    assert overlays.along("step", steps, reader) is steps
    assert overlays.along("tokens", steps, reader).tolist() == [0.0, 50.0, 200.0, 300.0]  # type: ignore[union-attr]
    assert overlays.along("time", steps, reader).tolist() == [0.0, 2.0, 4.5, 5.0]  # type: ignore[union-attr]
    assert overlays.along("epoch", steps, reader) is None


def test_charts_put_held_out_beside_training_in_the_panels_order() -> None:
    names = [
        "elapsed_seconds",
        "own_figure",
        "grad_norm",
        "val_loss",
        "time",
        "train_loss",
        "steps_planned",
        "reward/b",
        "reward/a",
        "reward",
    ]
    assert overlays.charts_of(names) == [
        Chart(("train_loss", "val_loss")), Chart(("reward",)), Chart(("reward/a",)), Chart(("reward/b",)), Chart(("grad_norm",)),
        Chart(("own_figure",)),
    ]  # fmt: skip
    assert overlays.charts_of([]) == []


def test_the_best_place_follows_the_metric() -> None:
    assert overlays.best_place([3.0, None, 1.0, 1.0], "lower") == 2
    assert overlays.best_place([3.0, None, 3.0, 1.0], "higher") == 0
    assert overlays.best_place([1.0, 2.0], "") is None
    assert overlays.best_place([1.0, None], "lower") is None
    assert overlays.best_place([1.0, 1.0], "lower") is None


def test_figures_tell_last_best_and_where(services: Services) -> None:
    a = add(
        services, {"step": 1, "train_loss": 2.0, "peak_memory_bytes": 3e9}, {"step": 2, "train_loss": 1.0}, {"step": 3, "train_loss": 1.5}
    )
    b, empty = add(services, {"step": 7, "train_loss": 1.25, "learning_rate": 1e-3}), add(services)
    lines = {(line.metric, line.statistic): line for line in overlays.figures_of(services, [a, b, empty])}
    assert set(lines) == {
        ("train_loss", "last"), ("train_loss", "best"), ("peak_memory_gb", "last"), ("peak_memory_gb", "min"), ("peak_memory_gb", "max"),
        ("learning_rate", "last"), ("learning_rate", "min"), ("learning_rate", "max"),
    }  # fmt: skip
    last, best = lines["train_loss", "last"], lines["train_loss", "best"]
    assert (last.values, last.steps, last.best) == ((1.5, 1.25, None), (3, 7, None), 1)
    assert (best.values, best.steps, best.best) == ((1.0, 1.25, None), (2, 7, None), 0)
    assert lines["peak_memory_gb", "max"].values == (3.0, None, None)


def test_packed_curves_keep_the_faint_line_and_leave_out_who_is_gone(services: Services) -> None:
    a = add(services, {"step": 1, "train_loss": 4.0, "val_loss": 9.0, "epoch": 0.5}, {"step": 2, "train_loss": 2.0, "epoch": 1.0})
    b = add(services, {"step": 1, "grad_norm": 1.0})
    header, series = unpack(overlays.pack_overlay(services, [a, "gone", "../x", b], ["train_loss"], "epoch", -1, smoothing=0.5))
    assert [(panel["name"], panel["series"]) for panel in header["panels"]] == [
        ("train_loss", [f"{a} train_loss raw", f"{a} train_loss", f"{a} val_loss"])
    ]
    assert series[f"{a} train_loss raw"] == ([0.5, 1.0], [4.0, 2.0])
    assert series[f"{a} train_loss"][1] == pytest.approx([4.0, 2 / 0.75])
    assert series[f"{a} val_loss"] == ([0.5], [9.0])
    assert header["active"] is True
    assert header["rev"] == 3
    assert overlays.pack_overlay(services, [a, b], ["train_loss"], "step", 3) is None
    assert overlays.without_axis(services, [a, b], "epoch") == [b]
    with pytest.raises(ValueError, match="sideways"):
        overlays.pack_overlay(services, [a], ["train_loss"], "sideways", -1)


def test_twenty_long_curves_are_thinned_and_no_more_than_twenty_are_drawn(services: Services) -> None:
    ids = [add(services, *({"step": n, "train_loss": float(n == 777)} for n in range(3000)), name=f"run {i}") for i in range(2)]
    header, series = unpack(overlays.pack_overlay(services, ids, ["train_loss"], "step", -1))
    assert all(each["length"] <= POINTS for each in header["series"])
    assert all(max(values) == 1.0 for _, values in series.values())
    many = [add(services, name=f"{n}") for n in range(overlays.MOST_RUNS + 3)]
    assert list(overlays.statuses_of(services, many)) == many[: overlays.MOST_RUNS]


def test_colours_belong_to_runs_and_never_meet() -> None:
    ids = [f"20260101-00000{n}-{n:06x}" for n in range(len(COLOURS))]
    alone = {run_id: run_colours([run_id])[run_id] for run_id in ids}
    assert run_colours(ids) == run_colours(reversed(ids))
    for count in (1, 3, 20, len(COLOURS)):
        colours = run_colours(ids[:count])
        assert len(set(colours.values())) == count
        owners = [run_id for n, run_id in enumerate(ids[:count]) if alone[run_id] not in [alone[each] for each in ids[:n]]]
        assert all(colours[run_id] == alone[run_id] for run_id in owners)
    assert len(run_colours([str(n) for n in range(100)])) == 100


def _luminance(colour: str) -> float:
    shares = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_colour_can_be_read_on_both_backgrounds() -> None:
    """WCAG 1.4.11: graphics need a contrast of 3 with what is behind them."""
    theme = tomllib.loads((REPOSITORY / ".streamlit" / "config.toml").read_text(encoding="utf-8"))["theme"]
    backgrounds = [_luminance(theme[name]["backgroundColor"]) for name in ("light", "dark")]
    for colour in COLOURS:
        for behind in backgrounds:
            dark, bright = sorted((_luminance(colour), behind))
            assert (bright + 0.05) / (dark + 0.05) >= 3, colour
    assert len(set(COLOURS)) == len(COLOURS)


def test_settings_differ_where_they_do(services: Services) -> None:
    a = add(services, name="another name")
    b = add(services, learning_rate=5e-4, lora_parameters=LoraParameters(rank=4))
    c = add(services, method="dpo", data="preference")
    lines = {line.name: line for line in run_settings.compare_settings(services, [a, b, c]) if line.section == "settings"}
    differing = {line.name for line in lines.values() if line.differs}
    assert {"learning_rate", "lora_parameters.rank", "method", "data"} <= differing
    assert not {"batch_size", "seed", "lora_parameters.scale", "name"} & differing
    assert lines["learning_rate"].values[1] == 5e-4
    assert lines["lora_parameters.rank"].differs_at(1)
    assert not lines["lora_parameters.rank"].differs_at(2)
    assert lines["preference.beta"].values[:2] == (None, None)
    with pytest.raises(UserError, match="run_unknown"):
        run_settings.compare_settings(services, [a, "nobody"])


def test_what_was_not_recorded_of_a_machine_is_no_difference() -> None:
    assert SettingLine("settings", "x", (1, None)).differs
    assert not SettingLine("environment", "x", (1, None)).differs
    assert SettingLine("environment", "x", (1, None, 2)).differs


def test_differences_as_yaml() -> None:
    lines = [SettingLine("settings", "iters", (1, 2)), SettingLine("data", "rows", (5, 5))]
    told = run_settings.lines_as_yaml(lines, ["a", "b"])
    assert told == "settings:\n  iters:\n    a: 1\n    b: 2\ndata:\n  rows:\n    a: 5\n    b: 5\n"


def test_a_sweep_is_ordered_by_what_is_better(services: Services) -> None:
    a = add(services, {"step": 1, "val_loss": 2.0, "reward": 0.1}, learning_rate=1e-5)
    b = add(services, {"step": 1, "val_loss": 1.0, "reward": 0.3}, {"step": 2, "val_loss": 3.0}, learning_rate=1e-4)
    none = add(services, {"step": 1, "grad_norm": 2.0}, learning_rate=1e-3)
    assert sweep_results.metrics_to_compare(services, [a, b, none]) == ["val_loss", "reward"]
    result = sweep_results.sweep_result(services, [none, a, b], "val_loss")
    assert (result.run_ids, result.values, result.best) == ((b, a, none), (1.0, 2.0, None), b)
    assert [(each.name, each.values) for each in result.varied] == [("learning_rate", (1e-4, 1e-5, 1e-3))]
    assert result.varied[0].wants_log
    assert sweep_results.sweep_result(services, [none, a, b], "reward").run_ids == (b, a, none)


def test_what_made_the_difference_is_asked_of_runs_that_have_the_metric(services: Services) -> None:
    a, b = (add(services, {"step": 1, "val_loss": loss}, learning_rate=1e-4, seed=seed) for seed, loss in ((1, 2.0), (2, 2.0)))
    other = add(services, {"step": 1, "reward": 1.0}, learning_rate=1e-3, batch_size=9)
    result = sweep_results.sweep_result(services, [a, b, other], "val_loss")
    assert [(each.name, each.values[:2]) for each in result.varied] == [("seed", (1, 2))]
    assert result.best is None, "none is better than the other"
    assert sweep_results.sweep_result(services, [a, other], "val_loss").varied == ()


WIDE_AND_NARROW = [
    ((1, 2, 4), True, False),
    ((1e-4, 1e-2), True, True),
    ((0.0, 1.0), True, False),
    ((True, False), False, False),
    (("a", 1), False, False),
]


@pytest.mark.parametrize(("values", "numeric", "wants_log"), WIDE_AND_NARROW)
def test_a_wide_range_wants_a_logarithmic_axis(values: tuple[Any, ...], numeric: bool, wants_log: bool) -> None:
    assert (Varied("x", values).numeric, Varied("x", values).wants_log) == (numeric, wants_log)
