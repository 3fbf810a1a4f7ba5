"""Every control of the pages does what it says, in a real browser."""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Server, Watched
from tests.ui.conftest import add_run
from tunesmith.i18n.catalog import t
from tunesmith.services import context

OpenTab = Callable[..., Watched]
SOON = 30_000  # milliseconds
GOOD_ROW = '{"messages":[{"role":"user","content":"Who is Ada?"},{"role":"assistant","content":"A colleague."}]}'
BAD_ROWS = ('{"messages":[{"role":"user","content":"no answer"}]}', "not json")


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on a store with a completed and a failed run."""
    folder = tmp_path / "data"
    monkeypatch.setenv("TUNESMITH_DATA_DIR", str(folder))
    services = context.build_services()
    services.supervisor.close()
    add_run(services, "completed", name="FIRST")
    add_run(services, "failed", name="SECOND")
    services.close()
    server = Server(folder, tmp_path / "server.log")
    server.start()
    yield server
    server.stop()


def go(tab: Watched, server: Server, page: str, lang: str = "en") -> Page:
    tab.page.goto(f"{server.address}/{'' if page == 'home' else page}")
    expect(tab.page.get_by_role("heading", name=t(f"{page.split('?')[0]}.title", lang), exact=True)).to_be_visible(timeout=SOON)
    return tab.page


def button(page: Page | Locator, key: str, **values: object) -> Locator:
    return page.get_by_role("button", name=t(key, **values), exact=True)


def choose(page: Page, label: str, option: str) -> None:
    box = page.get_by_test_id("stSelectbox").filter(has=page.get_by_text(label, exact=True))
    box.locator("input").click()
    box.locator("input").fill(option)  # a long list draws only what is in sight
    page.get_by_role("option", name=option, exact=True).click()


def select_first_row(page: Page) -> None:
    box = page.get_by_test_id("stDataFrame").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 16, box["y"] + 50)


@pytest.mark.slow
def test_stop_asks_and_saves(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, server, "training")
    page.get_by_role("spinbutton", name="Steps").first.fill("5000")
    page.keyboard.press("Enter")
    expect(page.get_by_text(t("training.ready"))).to_be_visible(timeout=SOON)
    expect(page.get_by_text("5,000 steps")).to_be_visible(timeout=SOON)
    button(page, "training.start").click()
    expect(button(page, "run.stop")).to_be_enabled(timeout=SOON)
    button(page, "run.stop").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(t("run.stop_ask"))).to_be_visible(timeout=SOON)
    page.wait_for_timeout(2500)  # the figures renew themselves meanwhile
    button(dialog, "common.cancel").click()
    expect(dialog).to_be_hidden(timeout=SOON)
    button(page, "run.stop").click()
    button(page.get_by_role("dialog"), "run.stop_yes").click()
    expect(page.get_by_text(t("run.ended_cancelled"))).to_be_visible(timeout=SOON)
    button(page, "run.again").click()
    expect(page.get_by_role("spinbutton", name="Steps").first).to_have_value("5000", timeout=SOON)
    assert tab.console_errors == []


def test_rename_delete_and_undo(filled: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, filled, "experiments")
    page.wait_for_timeout(1500)
    select_first_row(page)
    button(page, "common.rename").click()
    page.get_by_role("dialog").get_by_label(t("experiments.rename_label")).fill("A better name")
    page.keyboard.press("Enter")
    button(page.get_by_role("dialog"), "common.save").click()
    expect(page.get_by_text(t("experiments.renamed"))).to_be_visible(timeout=SOON)
    page.wait_for_timeout(1000)
    if not button(page, "common.delete").is_visible():
        select_first_row(page)
    button(page, "common.delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(t("experiments.trash_ask", name="A better name"))).to_be_visible(timeout=SOON)
    button(dialog, "common.delete").click()
    expect(page.get_by_text(t("experiments.trashed", name="A better name"))).to_be_visible(timeout=SOON)
    button(page, "common.undo").click()
    expect(page.get_by_text(t("experiments.restored", name="A better name"))).to_be_visible(timeout=SOON)
    assert tab.console_errors == []


def test_a_failed_run_says_what_to_do(filled: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, filled, "training?view=run")
    expect(page.get_by_text(t("error.loss_not_finite", step=3, learning_rate=1.0))).to_be_visible(timeout=SOON)
    expect(button(page, "run.again")).to_be_visible()
    assert tab.console_errors == []


def test_export_is_the_adapter(filled: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, filled, "training?view=run")
    box = page.get_by_test_id("stSelectbox").first
    box.locator("input").click()
    page.get_by_role("option").filter(has_text="FIRST").click()
    expect(page.get_by_text(t("run.done_title"))).to_be_visible(timeout=SOON)
    with page.expect_download() as download:
        button(page, "run.export").click()
    names = {Path(name).name for name in zipfile.ZipFile(download.value.path()).namelist()}
    assert {"adapter_config.json", "adapters.safetensors", "training_config.yaml"} <= names


def test_upload_look_train_delete_undo(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, server, "dataset")
    page.get_by_text(t("dataset.upload")).first.click()
    upload = page.locator("input[type=file]")
    upload.set_input_files({"name": "broken.jsonl", "mimeType": "application/json", "buffer": "\n".join(BAD_ROWS).encode()})
    expect(page.get_by_text(t("import.no_usable"))).to_be_visible(timeout=SOON)
    expect(button(page, "import.keep")).to_be_disabled()
    page.get_by_role("button", name="Remove broken.jsonl").click()
    upload.set_input_files(
        {"name": "mine.jsonl", "mimeType": "application/json", "buffer": "\n".join([GOOD_ROW] * 3 + [*BAD_ROWS]).encode()}
    )
    expect(button(page, "import.keep")).to_be_enabled(timeout=SOON)
    button(page, "import.keep").click()
    expect(page.get_by_text(t("dataset.uploaded", name="mine", rows=3))).to_be_visible(timeout=SOON)
    expect(page.get_by_text("A colleague.").first).to_be_visible(timeout=SOON)
    page.get_by_role("tab", name=re.compile(t("dataset.problems"))).click()
    with page.expect_download() as download:
        button(page, "common.download").click()
    assert [Path(n).name for n in zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).namelist()] == [
        "train.jsonl",
        "version.json",
    ]
    button(page, "dataset.train").click()
    expect(page.get_by_role("heading", name=t("training.title"), exact=True)).to_be_visible(timeout=SOON)
    expect(page.get_by_text(t("training.ready"))).to_be_visible(timeout=SOON)
    page = go(tab, server, "dataset?data=mine")
    button(page, "common.delete").click()
    button(page.get_by_role("dialog"), "common.delete").click()
    button(page, "common.undo").click()
    expect(page.get_by_text(t("dataset.restored", name="mine"))).to_be_visible(timeout=SOON)
    assert tab.console_errors == []


def test_yaml_opens_in_the_form(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, server, "training")
    page.get_by_text(t("training.yaml"), exact=True).first.click()
    area = page.get_by_role("textbox", name=t("training.yaml"))
    area.fill("model: demo\ndata: company_facts\niters: 77\nlearning_rat: 1.0e-3")
    page.keyboard.press("Control+Enter")
    button(page, "training.yaml_apply").click()
    expect(page.get_by_text(t("error.setting_unknown", field="learning_rat", nearest="learning_rate"))).to_be_visible(timeout=SOON)
    area.fill("model: demo\ndata: company_facts\niters: 77\nlearning_rate: 1.25e-3\nlora_parameters:\n  rank: 16")
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(1000)
    button(page, "training.yaml_apply").click()
    expect(page.get_by_role("spinbutton", name="Steps").first).to_have_value("77", timeout=SOON)
    expect(page.get_by_role("spinbutton", name="LoRA rank").first).to_have_value("16")
    expect(page.get_by_text(t("training.changed_line", n=3, names="Steps, Learning rate, LoRA rank"))).to_be_visible(timeout=SOON)
    assert tab.console_errors == []


def test_theme_and_language_are_used_at_once(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, server, "settings")
    choose(page, "Theme", t("choice.theme_dark"))
    button(page, "common.save").click()
    dark = "() => getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor === 'rgb(18, 21, 29)'"
    page.wait_for_function(dark, timeout=SOON)
    go(tab, server, "experiments")
    page.wait_for_function(dark, timeout=SOON)
    page.get_by_role("radio", name="日本語").or_(page.get_by_role("button", name="日本語")).first.click()
    expect(page.get_by_role("heading", name=t("experiments.title", "ja"), exact=True)).to_be_visible(timeout=SOON)
    assert tab.console_errors == []


def ask(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"{server.address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {}, error.read()


def test_the_server_answers_this_computer_only(server: Server) -> None:
    assert ask(server, "/", host="evil.example")[0] == 400
    assert "default-src 'self'" in ask(server, "/")[1]["content-security-policy"]
    status, _, body = ask(server, "/live/runs/20260101-000000-abcdef")
    assert (status, json.loads(body)["code"]) == (404, "run_unknown")
    assert ask(server, "/live/runs/..%2f..%2fetc")[0] in {400, 404}
    assert ask(server, "/live/runs/x?since=what")[0] == 400
    status, headers, _ = ask(server, "/assets/plotly.min.js")
    assert status == 200
    assert "max-age" in headers["cache-control"]
