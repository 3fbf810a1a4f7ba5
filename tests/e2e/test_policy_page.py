"""A newcomer's way through reinforcement learning: try the rewards, train, watch, look at what was written."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import OpenTab, Server
from tests.e2e.visitor import RUN_MS, button, choose, go, press
from tunesmith.i18n.catalog import t


def pill(page: Page, words: str) -> None:
    page.get_by_role("radio", name=words, exact=True).or_(page.get_by_role("button", name=words, exact=True)).first.click()


def fill_number(page: Page, label: str, value: str) -> None:
    box = page.get_by_role("spinbutton", name=label)
    box.fill(value)
    box.press("Enter")


def test_workbench_run_and_rollouts(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, server, "training")
    pill(page, t("training.profile_rewards_demo"))
    expect(page.get_by_text(t("reward_help.numeric")).first).to_be_visible()
    button(page, "workbench.try").click()
    expect(page.get_by_text(t("workbench.histogram")).first).to_be_visible(timeout=RUN_MS)
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    tab.shoot("policy-workbench")

    fill_number(page, re.compile(r"^Steps"), "8")  # type: ignore[arg-type]
    press(page, "training.start")
    expect(page.get_by_text(t("learning.title")).first).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text(re.compile("Yes: the reward|Not clearly|No: the reward|Too early")).first).to_be_visible()
    expect(page.get_by_text(t("run.done_title")).first).to_be_visible(timeout=RUN_MS)
    expect(page.get_by_text(t("panel.reward"), exact=True).first).to_be_visible()
    expect(page.get_by_text(t("panel.seconds"), exact=True).first).to_be_visible()
    expect(page.get_by_text(t("rollouts.title")).first).to_be_visible()
    expect(page.get_by_text(re.compile("Answer in the data: ")).first).to_be_visible()
    expect(page.get_by_text(t("learning.loss_note")).first).to_be_visible()
    tab.shoot("policy-run")
    assert tab.console_errors == []
    assert tab.foreign == []


def test_methods_bring_their_own_switches(common_server: Server, open_tab: OpenTab) -> None:
    """Choosing a method changes the form and the data set; a changed switch is told and can be put back."""
    tab = open_tab()
    page = go(tab, common_server, "training")
    choose(page, "Method", t("choice.gspo"))
    expect(button(page, "rewards.add")).to_be_visible()
    page.get_by_text(t("training.advanced")).click()
    fill_number(page, "Minibatches", "1")
    expect(page.get_by_text(re.compile("With one minibatch and one pass")).first).to_be_visible()
    expect(page.get_by_text(t("training.preset_changed", method=t("choice.gspo"))).first).to_be_visible()
    expect(button(page, "training.start")).to_be_disabled()
    button(page, "training.preset_reset").click()
    expect(page.get_by_text(t("training.preset_changed", method=t("choice.gspo")))).to_be_hidden()
    expect(button(page, "training.start")).to_be_enabled()
    choose(page, "Method", t("choice.dpo"))
    expect(button(page, "rewards.add")).to_be_hidden()
    expect(page.get_by_text(t("training.group_preference"), exact=True).first).to_be_visible()
    expect(button(page, "training.start")).to_be_enabled()
    tab.shoot("preference-form")
    assert tab.console_errors == []


@pytest.mark.slow
def test_the_form_of_rewards_in_japanese_and_dark(common_server: Server, open_tab: OpenTab) -> None:
    tab = open_tab(dark=True, locale="ja-JP", width=900)
    page = go(tab, common_server, "training", "ja")
    pill(page, t("training.profile_rewards", "ja"))
    expect(page.get_by_text(t("reward_help.format_soft", "ja")).first).to_be_visible()
    button_add = page.get_by_role("button", name=t("rewards.add", "ja"))
    button_add.click()
    expect(page.get_by_text(t("reward_help.format_soft", "ja"))).to_have_count(2)
    tab.shoot("policy-form-ja")
    assert tab.console_errors == []
