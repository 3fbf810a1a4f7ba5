"""Real runs laid over each other in a real browser: curves, smoothing, zoom, settings, and a new run from the best one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenTab, Serve
from tests.e2e.visitor import RUN_MS, button, go, press
from tunesmith.i18n.catalog import t
from tunesmith.services.curves import smooth
from tunesmith.services.run_colours import run_colours
from tunesmith.store.experiments import ExperimentStore
from tunesmith.store.series import MetricSeries

TRACES = """() => document.querySelector('.tunesmith-live .plot').data.map(
    (trace) => ({ id: trace.uid, name: trace.name, colour: trace.line.color, y: Array.from(trace.y) }))"""
RANGE = "() => document.querySelector('.tunesmith-live .plot').layout.xaxis.range"
DRAWN = "(count) => document.querySelector('.tunesmith-live .plot')?.data?.length === count"


def traces(page: Page) -> dict[str, dict[str, Any]]:
    return {trace["id"]: trace for trace in page.evaluate(TRACES)}


def zoom_in(page: Page) -> list[float]:
    """Drag over the left half of the first plot; return the steps then in sight."""
    box = page.locator(".tunesmith-live .plot .nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 20, steps=8)
    before = page.evaluate(RANGE)
    page.mouse.up()
    page.wait_for_function(f"(before) => String(({RANGE})()) !== String(before)", arg=before)
    return [float(end) for end in page.evaluate(RANGE)]


def views(page: Page, name: str) -> None:
    page.get_by_test_id("stButtonGroup").get_by_text(t(f"overlay.view_{name}"), exact=True).click()


def test_real_runs_are_laid_over_each_other_and_run_again(tmp_path: Path, open_tab: OpenTab, serve: Serve, taught: Path) -> None:
    folder = shutil.copytree(taught, tmp_path / "data")
    ids = {run.name: run.id for run in ExperimentStore(folder).all()[0]}
    metrics = MetricSeries(folder / "experiments" / ids["facts"] / "metrics.jsonl")
    metrics.refresh()
    server = serve(folder)
    tab = open_tab(width=1400)
    page = go(tab, server, "overlay")
    page.wait_for_function(DRAWN, arg=6)  # a line and held-out points of each run
    drawn, colours = traces(page), run_colours(ids.values())
    assert {trace["colour"] for trace in drawn.values()} == set(colours.values())
    losses = metrics.column("train_loss")[1]
    assert drawn[f"{ids['facts']} train_loss"]["y"] == pytest.approx(losses.tolist(), rel=1e-6)
    sight = zoom_in(page)
    page.locator(".tunesmith-live .smoothing").fill("0.6")
    page.wait_for_function(DRAWN, arg=9)
    assert traces(page)[f"{ids['facts']} train_loss"]["y"] == pytest.approx(smooth(losses, 0.6).tolist(), rel=1e-6)
    assert page.evaluate(RANGE) == pytest.approx(sight)
    tab.shoot("60-overlay")
    views(page, "settings")
    page.get_by_text(t("overlay.yaml")).click()
    expect(page.get_by_test_id("stCode")).to_contain_text("iters:")
    expect(page.get_by_test_id("stCode")).to_contain_text("facts in haste: 30")
    expect(page.get_by_test_id("stCode")).not_to_contain_text("batch_size")
    views(page, "sweep")
    expect(page.get_by_text(t("overlay.parallel")).first).to_be_visible()
    tab.shoot("61-what-made-the-difference")
    press(page, "overlay.again", name="sums")
    steps = page.get_by_role("spinbutton", name="Steps").first
    expect(steps).to_have_value("120")
    steps.fill("3")
    page.keyboard.press("Enter")
    expect(page.get_by_text(t("training.ready")).first).to_be_visible()
    expect(button(page, "training.start")).to_be_enabled()
    press(page, "training.start")
    expect(page.get_by_text(t("run.done_title")).first).to_be_visible(timeout=RUN_MS)
    newest = ExperimentStore(folder).all()[0][0]
    assert (newest.data, newest.summary["steps"]) == ("sums@1", 3)
    assert tab.console_errors == []
