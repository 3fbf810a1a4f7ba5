"""Every control of the pages does what it says, in a real browser."""

from __future__ import annotations

import io
import json
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import OpenTab, Server, serving
from tests.e2e.visitor import DARK, button, choose, drawn, go, press, tick_rows, wait_for_another_time
from tests.ui.conftest import add_run
from tunesmith.i18n.catalog import t
from tunesmith.services import context

GOOD_ROW = '{"messages":[{"role":"user","content":"Who is Ada?"},{"role":"assistant","content":"A colleague."}]}'
UNREADABLE = {
    "empty.jsonl": (b"", t("error.data_file_empty", file="empty.jsonl")),
    "torn.jsonl": (b"not json\n", t("error.data_not_json", file="torn.jsonl")),
}
BAD_ROWS = ('{"messages":[{"role":"user","content":"no answer"}]}', "not json")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a store with a completed and a failed run."""
    folder = tmp_path_factory.mktemp("filled")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TUNESMITH_DATA_DIR", str(folder / "data"))
        services = context.build_services()
        services.supervisor.close()
        add_run(services, "completed", name="FIRST")
        add_run(services, "failed", name="SECOND")
        services.close()
    with serving(folder) as server:
        yield server


@pytest.mark.slow
def test_stop_asks_and_saves(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, server, "training")
    page.get_by_role("spinbutton", name="Steps").first.fill("5000")
    page.keyboard.press("Enter")
    expect(page.get_by_text(t("training.ready")).first).to_be_visible()
    expect(page.get_by_text("5,000 steps").first).to_be_visible()
    button(page, "training.start").click()
    expect(button(page, "run.stop")).to_be_enabled()
    button(page, "run.stop").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(t("run.stop_ask")).first).to_be_visible()
    wait_for_another_time(page)  # the figures renew themselves meanwhile
    button(dialog, "common.cancel").click()
    expect(dialog).to_be_hidden()
    button(page, "run.stop").click()
    button(page.get_by_role("dialog"), "run.stop_yes").click()
    expect(page.get_by_text(t("run.ended_cancelled")).first).to_be_visible()
    button(page, "run.again").click()
    expect(page.get_by_role("spinbutton", name="Steps").first).to_have_value("5000")
    assert tab.console_errors == []


def test_rename_delete_and_undo(filled: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, filled, "experiments")
    table = page.get_by_test_id("stDataFrame").first
    tick_rows(table, 0)
    button(page, "common.rename").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(t("experiments.rename_label")).fill("A better name")
    page.keyboard.press("Enter")
    button(dialog, "common.save").click()
    expect(page.get_by_text(t("experiments.renamed")).first).to_be_visible()
    expect(dialog).to_be_hidden()
    tick_rows(table, 0)
    press(page, "common.delete")
    expect(dialog.get_by_text(t("experiments.trash_ask", name="A better name")).first).to_be_visible()
    button(dialog, "common.delete").click()
    expect(page.get_by_text(t("experiments.trashed", name="A better name")).first).to_be_visible()
    button(page, "common.undo").click()
    expect(page.get_by_text(t("experiments.restored", name="A better name")).first).to_be_visible()
    assert tab.console_errors == []


def test_a_failed_run_says_what_to_do(filled: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, filled, "training?view=run")
    expect(page.get_by_text(t("error.loss_not_finite", step=3, learning_rate=1.0)).first).to_be_visible()
    expect(button(page, "run.again")).to_be_visible()
    assert tab.console_errors == []


def test_export_is_the_adapter(filled: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, filled, "training?view=run")
    drawn(page)
    page.get_by_test_id("stSelectbox").first.locator("input").click()
    page.get_by_role("option").filter(has_text="FIRST").click()
    expect(page.get_by_text(t("run.done_title")).first).to_be_visible()
    with page.expect_download() as download:
        press(page, "run.export")
    names = {Path(name).name for name in zipfile.ZipFile(download.value.path()).namelist()}
    assert {"adapter_config.json", "adapters.safetensors", "training_config.yaml"} <= names


def test_upload_look_train_delete_undo(common_server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, common_server, "dataset")
    page.get_by_text(t("dataset.upload")).first.click()
    upload = page.locator("input[type=file]")
    for name, (content, words) in UNREADABLE.items():
        upload.set_input_files({"name": name, "mimeType": "application/json", "buffer": content})
        told = page.get_by_test_id("stAlert").get_by_text(words)
        expect(told).to_be_visible()
        expect(button(page, "import.keep")).to_be_hidden()
        page.get_by_role("button", name=f"Remove {name}").click()
        expect(told).to_be_hidden()
    upload.set_input_files({"name": "broken.jsonl", "mimeType": "application/json", "buffer": "\n".join(BAD_ROWS).encode()})
    expect(page.get_by_text(t("import.no_usable")).first).to_be_visible()
    expect(button(page, "import.keep")).to_be_disabled()
    page.get_by_role("button", name="Remove broken.jsonl").click()
    expect(page.get_by_text(t("import.no_usable"))).to_be_hidden()
    upload.set_input_files(
        {"name": "mine.jsonl", "mimeType": "application/json", "buffer": "\n".join([GOOD_ROW] * 3 + [*BAD_ROWS]).encode()}
    )
    expect(button(page, "import.keep")).to_be_enabled()
    button(page, "import.keep").click()
    expect(page.get_by_text(t("dataset.uploaded", name="mine", rows=3)).first).to_be_visible()
    expect(page.get_by_text("A colleague.").first).to_be_visible()
    assert not {path.name for path in (common_server.data_dir / "datasets").iterdir()} & {"empty", "torn", "broken"}
    page.get_by_role("tab", name=re.compile(t("dataset.problems"))).click()
    with page.expect_download() as download:
        press(page, "common.download")
    assert [Path(n).name for n in zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes())).namelist()] == [
        "train.jsonl",
        "version.json",
    ]
    button(page, "dataset.train").click()
    expect(page.get_by_role("heading", name=t("training.title"), exact=True)).to_be_visible()
    expect(page.get_by_text(t("training.ready")).first).to_be_visible()
    page = go(tab, common_server, "dataset?data=mine")
    button(page, "common.delete").click()
    button(page.get_by_role("dialog"), "common.delete").click()
    button(page, "common.undo").click()
    expect(page.get_by_text(t("dataset.restored", name="mine")).first).to_be_visible()
    assert tab.console_errors == []


def test_yaml_opens_in_the_form(common_server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, common_server, "training")
    page.get_by_text(t("training.yaml"), exact=True).first.click()
    area = page.get_by_role("textbox", name=t("training.yaml"))
    area.fill("model: demo\ndata: company_facts\niters: 77\nlearning_rat: 1.0e-3")
    page.keyboard.press("Control+Enter")
    button(page, "training.yaml_apply").click()
    expect(page.get_by_text(t("error.setting_unknown", field="learning_rat", nearest="learning_rate")).first).to_be_visible()
    area.fill("model: demo\ndata: company_facts\niters: 77\nlearning_rate: 1.25e-3\nlora_parameters:\n  rank: 16")
    page.keyboard.press("Control+Enter")
    button(page, "training.yaml_apply").click()
    expect(page.get_by_role("spinbutton", name="Steps").first).to_have_value("77")
    expect(page.get_by_role("spinbutton", name="LoRA rank").first).to_have_value("16")
    expect(page.get_by_text(t("training.changed_line", n=3, names="Steps, Learning rate, LoRA rank")).first).to_be_visible()
    assert tab.console_errors == []


def test_theme_and_language_are_used_at_once(server: Server, open_tab: OpenTab) -> None:
    tab = open_tab()
    page = go(tab, server, "settings")
    choose(page, "Theme", t("choice.theme_dark"))
    button(page, "common.save").click()
    page.wait_for_function(DARK)
    go(tab, server, "experiments")
    page.wait_for_function(DARK)
    page.get_by_role("radio", name="日本語").or_(page.get_by_role("button", name="日本語")).first.click()
    expect(page.get_by_role("heading", name=t("experiments.title", "ja"), exact=True)).to_be_visible()
    assert tab.console_errors == []


def ask(server: Server, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(f"{server.address}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, {k.lower(): v for k, v in reply.headers.items()}, reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {}, error.read()


def test_the_server_answers_this_computer_only(common_server: Server) -> None:
    assert ask(common_server, "/", host="evil.example")[0] == 400
    assert "default-src 'self'" in ask(common_server, "/")[1]["content-security-policy"]
    status, _, body = ask(common_server, "/live/runs/20260101-000000-abcdef")
    assert (status, json.loads(body)["code"]) == (404, "run_unknown")
    assert ask(common_server, "/live/runs/..%2f..%2fetc")[0] in {400, 404}
    assert ask(common_server, "/live/runs/x?since=what")[0] == 400
    status, headers, _ = ask(common_server, "/assets/plotly.min.js")
    assert status == 200
    assert "max-age" in headers["cache-control"]
