"""Plan, queue, reorder, pause, resume, cancel, continue: in a real browser, with real runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenTab, Serve, Server
from tests.e2e.visitor import RUN_MS, button, choose_several, drawn, go, press
from tests.jobs.conftest import wait_for
from tunesmith.i18n.catalog import t

FIX = re.compile("Gradient checkpointing: ")


@pytest.fixture
def tight(tmp_path: Path, serve: Serve) -> Server:
    """A server whose runs may use 4 MB: every plan is too large."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "settings.yaml").write_text("memory_budget_gb: 0.004\n", encoding="utf-8")
    return serve(folder)


def cards(page: Page) -> list[str]:
    """The names of the waiting runs, in their order."""
    names = page.get_by_role("button", name=re.compile(r"^\d\. ")).all_inner_texts()
    return [name.split(". ", 1)[1] for name in names]


def test_the_planners_fix_changes_the_form(tight: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, tight, "training")
    expect(page.get_by_text(re.compile(t("training.verdict_swaps"))).first).to_be_visible()
    tab.shoot("12-plan-too-large")
    page.get_by_role("button", name=FIX).click()
    expect(page.get_by_role("listitem").filter(has_text="Gradient checkpointing")).to_be_visible()  # among the changed settings
    expect(page.get_by_role("button", name=FIX)).to_have_count(0)
    button(page, "training.measure").click()
    expect(page.get_by_text(re.compile("by measurement")).first).to_be_visible(timeout=RUN_MS)
    assert tab.console_errors == []


def start_sweep(page: Page) -> None:
    page.get_by_role("spinbutton", name="Steps").first.fill("400")
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("400 steps")).first).to_be_visible()
    drawn(page)
    page.get_by_text(t("training.sweep"), exact=True).click()
    choose_several(page, page.get_by_test_id("stMultiSelect").filter(has_text=t("training.sweep_fields")), "Seed")
    press(page, "training.start_sweep", n=3)


def test_three_runs_are_queued_reordered_paused_resumed_and_cancelled(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab(height=1400)  # the list of settings opens downward
    page = go(tab, server, "training")
    start_sweep(page)
    expect(page.get_by_text(t("queue.waiting"), exact=True).first).to_be_visible()
    expect(page.get_by_role("button", name=re.compile(r"^2\. "))).to_be_visible()
    expect(button(page, "run.pause")).to_be_visible()
    second, third = cards(page)
    tab.shoot("13-queue")

    page.locator(".st-key-" + key_of(page, "up", 1)).get_by_role("button").click()
    wait_for(lambda: cards(page) == [third, second])  # the page renews itself meanwhile

    button(page, "run.pause").click()
    expect(page.get_by_text(t("queue.paused"), exact=True).first).to_be_visible()
    expect(page.get_by_role("button", name=re.compile(r"^1\. "))).to_have_text(f"1. {second}")  # the third began
    button(page, "common.resume").click()
    expect(page.get_by_text(t("queue.paused"), exact=True)).to_be_hidden()
    expect(page.get_by_role("button", name=re.compile(r"^2\. "))).to_be_visible()
    button(page, "queue.cancel").last.click()
    expect(page.get_by_role("button", name=re.compile(r"^2\. "))).to_be_hidden()
    assert tab.console_errors == []


def key_of(page: Page, kind: str, number: int) -> str:
    """The class of the nth button of a kind in the queue: Streamlit puts the widget's key in it."""
    found = page.evaluate("(kind) => [...document.querySelectorAll('[class*=\"st-key-' + kind + '-\"]')].map(e => e.className)", kind)
    return re.search(rf"st-key-({kind}-[\w-]+)", found[number]).group(1)  # type: ignore[union-attr]


@pytest.fixture
def misleading(tmp_path: Path) -> Path:
    """Rows whose validation answers contradict what is trained: the run over-fits at once."""
    folder = tmp_path / "misleading"
    folder.mkdir()
    for split, answer in (("train", "The code is {}."), ("valid", "No box has such a thing, as everybody knows.")):
        rows = [{"prompt": f"What is the code of box {n}?", "completion": answer.format(n * 37)} for n in range(8)]
        (folder / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return folder


def test_alerts_grid_of_answers_and_more_steps(server: Server, misleading: Path, tmp_path: Path, open_tab: OpenTab) -> None:
    settings = (
        "model: demo\nname: OVERFIT\niters: 40\nlearning_rate: 3.0e-3\nsteps_per_eval: 5\nsteps_per_report: 2\nlr_schedule: constant\n"
    )
    (tmp_path / "run.yaml").write_text(settings + 'sample_prompts: ["What is the code of box 3?", "Who are you?"]\n', encoding="utf-8")
    command = [sys.executable, "-m", "tunesmith.cli", "train", str(tmp_path / "run.yaml"), "--data", str(misleading), "--queue"]
    subprocess.run(command, env=os.environ | {"TUNESMITH_DATA_DIR": str(server.data_dir)}, check=True, capture_output=True, timeout=60)
    tab = open_tab()
    page = go(tab, server, "training?view=run")
    expect(page.get_by_text(re.compile("the model learns by heart")).first).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text(t("run.done_title")).first).to_be_visible(timeout=RUN_MS)
    page.get_by_text(t("run.grid"), exact=True).click()
    expect(page.get_by_test_id("stExpanderDetails").get_by_test_id("stDataFrame")).to_be_visible()
    tab.shoot("14-run-alerts-grid")
    press(page, "run.more")
    page.get_by_role("spinbutton", name=t("run.more_steps")).fill("10")
    page.keyboard.press("Enter")
    page.get_by_test_id("stPopoverBody").get_by_role("button", name=t("run.more")).click()
    expect(page.get_by_text(re.compile(t("run.continued_from", name="OVERFIT"))).first).to_be_visible()
    expect(page.get_by_text(re.compile(t("run.step", step="50", iters="50"))).first).to_be_visible(timeout=RUN_MS)
    assert tab.console_errors == []


@pytest.mark.slow
def test_a_run_is_paused_and_resumed_on_its_own_page(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab(locale="ja-JP")
    page = go(tab, server, "training", "ja")
    page.get_by_role("spinbutton", name="ステップ数").first.fill("3000")
    page.keyboard.press("Enter")
    expect(page.get_by_text(re.compile("3,000")).first).to_be_visible()
    ja = lambda key: page.get_by_role("button", name=t(key, "ja"), exact=True)  # noqa: E731
    ja("training.start").click()
    expect(ja("run.pause")).to_be_enabled()
    page.wait_for_function("() => (document.querySelector('.tunesmith-live .plot')?.data?.[0].x.length ?? 0) >= 2")
    ja("run.pause").click()
    expect(ja("common.resume")).to_be_visible()
    tab.shoot("15-run-paused-ja")
    ja("common.resume").click()
    expect(ja("run.pause")).to_be_enabled()
    drawn = "() => document.querySelector('.tunesmith-live .plot').data[0].x.length"
    before = page.evaluate(drawn)
    page.wait_for_function(f"{drawn} > {before} + 1")  # the curve goes on, too
    ja("run.stop").click()
    page.get_by_role("dialog").get_by_role("button", name=t("run.stop_yes", "ja")).click()
    expect(page.get_by_text(re.compile(t("status.cancelled", "ja"))).first).to_be_visible()


def test_a_profile_fills_the_form(common_server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, common_server, "training")
    page.get_by_role("radio", name=t("training.profile_instruction")).check(force=True)
    expect(page.get_by_role("listitem").filter(has_text=re.compile("Epochs"))).to_be_visible()
    tab.shoot("16-training-form")
    assert tab.console_errors == []
