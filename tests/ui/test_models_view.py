"""The models of Settings: the table and its actions, the search of the hub, a model that is looked at, downloads in every state."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from tests.hub_models import demo_repository, hub
from tests.loopback_hub import COMMIT, LoopbackHub
from tests.ui.conftest import everything_visible
from tests.ui.test_pages import assert_healthy
from tunesmith.access.people import VIEWER, Person
from tunesmith.i18n.catalog import error_words, t
from tunesmith.jobs.job import END, PROGRESS, JobFolders
from tunesmith.services import model_hub, models
from tunesmith.services.context import Services
from tunesmith.store.files import write_json
from tunesmith.store.locks import ProcessLock
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.ui import session

__all__ = ["hub"]
OpenPage = Callable[..., AppTest]
SIZE = 4_000_000_000


def search(app: AppTest, text: str) -> AppTest:
    app.text_input(key="hub_text").set_value(text)
    return button(app, "hub.search_now").click().run()


def button(app: AppTest, key: str, lang: str = "en") -> AppTest:
    return next(b for b in app.button if b.label == t(key, lang))


def put_download(services: Services, end: dict[str, object] | None = None, **told: object) -> Path:
    """Write the folder of a download as its worker would, without one."""
    folders = JobFolders(services.data_dir / "jobs")
    hub = {"name": "team/tiny", "commit": COMMIT}
    request = {"kind": model_hub.KIND, "name": "team/tiny", "hub": hub, "size_bytes": SIZE, "target_path": "/nowhere/team--tiny"}
    folder = folders.folder(folders.create(request))
    if told:
        write_json(folder / PROGRESS, told)
    if end:
        write_json(folder / END, end)
    return folder


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_table_tells_where_each_model_is_from(open_page: OpenPage, services: Services, lang: str) -> None:
    folder = models.made_models_folder(services) / "team--tiny"
    shutil.copytree(DEMO_MODEL, folder)
    write_json(folder / "tunesmith.json", {"owner": "Ada", "hub": {"name": "team/tiny", "commit": COMMIT, "licence": "apache-2.0"}})
    (folder.parent / "broken").mkdir()
    (folder.parent / "broken" / "config.json").write_text("{")
    app = open_page("settings", lang, view="models")
    assert_healthy(app)
    table = app.dataframe[0].value.set_index(t("settings.model_name", lang))
    assert list(table.index) == ["demo", "broken", "team--tiny"]
    assert list(table[t("models.from", lang)]) == [t(f"models.from_{place}", lang) for place in ("demo", "made", "hub")]
    assert list(table[t("models.licence", lang)]) == ["cc0-1.0", t("common.none", lang), "apache-2.0"]
    assert table[t("models.precision", lang)]["demo"] == "F16"
    assert "config.json" in table[t("settings.model_state", lang)]["broken"]


def test_a_search_lists_what_was_found(open_page: OpenPage, hub: LoopbackHub) -> None:
    hub.models["other/tiny-chat"] = demo_repository(tags=["safetensors"], gated="auto", downloads=70)
    app = search(open_page("settings", view="models"), "tiny")
    assert_healthy(app)
    table = app.dataframe[1].value
    assert list(table[t("settings.model_name")]) == ["team/tiny", "other/tiny-chat"]
    assert list(table[t("hub.form")]) == [t("hub.form_mlx"), t("hub.form_safetensors")]
    assert list(table[t("hub.access")]) == [t("hub.open"), t("hub.gated")]
    first = app.dataframe[1].proto.id
    app = search(app, "chat")
    assert app.dataframe[1].proto.id != first, "a browser would look at another model in the place of the one that was selected"
    app = search(app, "nothing of this name")
    assert [note.value for note in app.info] == [t("hub.nothing")]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_model_is_looked_at_and_its_download_begins(open_page: OpenPage, services: Services, hub: LoopbackHub, lang: str) -> None:
    app = open_page("settings", lang, view="models")
    app.text_input(key="hub_text").set_value(" team/tiny ")
    app = button(app, "hub.search_now", lang).click().run()
    assert_healthy(app)
    words = " ".join(everything_visible(app))
    assert "cc0-1.0" in words
    assert f"{hub.address}/team/tiny" in words
    if lang != "en":
        return  # AppTest clicks in no other language beside a choice whose words are translated
    hub.models.clear()  # the job will not find it, and ends at once
    button(app, "hub.download").click().run()
    (job,) = model_hub.list_downloads(services)
    assert (job.request["hub"]["commit"], job.request["rules"]["form"]) == (COMMIT, "as_is")


def test_a_gated_model_shows_the_way_to_a_token(open_page: OpenPage, hub: LoopbackHub) -> None:
    hub.models["team/tiny"] = demo_repository(gated="auto")
    app = search(open_page("settings", view="models"), "team/tiny")
    facts = {"name": "team/tiny", "endpoint": hub.address}
    assert [e.value for e in app.error] == [error_words("hub_model_needs_token", facts, "en")]
    app = app.run()  # it stays, with its button
    assert button(app, "hub.to_keys")
    assert not [b for b in app.button if b.label == t("hub.download")]


def test_without_a_network_it_says_so(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    app = search(open_page("settings", view="models"), "team/tiny")
    assert "http://127.0.0.1:9" in app.error[0].value
    assert_healthy(app)


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("status", ["stopped", "failed", "cancelled"])
def test_what_ended_early_can_go_on(open_page: OpenPage, services: Services, hub: LoopbackHub, status: str, lang: str) -> None:
    error = {"code": "hub_unreachable", "facts": {"name": "team/tiny", "endpoint": hub.address, "reason": "gone"}}
    end = {"failed": {"status": "failed", "error": error}, "cancelled": {"status": "cancelled"}}.get(status)
    folder = put_download(services, end, phase="downloading", share=0.4, seconds=3.0)
    app = open_page("settings", lang, view="models")
    assert_healthy(app)
    assert t("job.died", lang) not in everything_visible(app)
    hub.models.clear()
    button(app, "common.resume", lang).click().run()
    assert "resolve" not in str(hub.asked)
    assert not (folder / "cancel").exists()
    assert (folder / "log.txt").exists()  # a worker was started


def test_a_running_download_tells_size_pace_and_time(open_page: OpenPage, services: Services) -> None:
    folder = put_download(services, phase="downloading", share=0.75, first_share=0.5, seconds=100.0)
    lock = ProcessLock(folder / "lock")
    assert lock.acquire()
    try:
        app = open_page("settings", view="models")
        words = app.get("progress")[0].proto.text
    finally:
        lock.release()
    assert words == "Downloading · 3 GB of 4 GB · 10 MB a second · about 1:40 min left"  # a quarter took 100 s, a quarter is left


def test_a_finished_download_offers_the_next_steps(open_page: OpenPage, services: Services) -> None:
    put_download(services, {"status": "completed", "result": {"model": "demo", "path": str(DEMO_MODEL), "licence": "mit"}})
    app = open_page("settings", view="models")
    assert [note.value for note in app.success] == [t("hub.done", name="demo")]
    button(app, "export.train").click().run()
    assert_healthy(app)


def upload_data(app: AppTest) -> dict[str, Any]:
    """Return what the element that sends the files is told."""
    (found,) = [each.proto for each in app.get("bidi_component") if each.proto.component_name.endswith("tunesmith_upload")]
    data: dict[str, Any] = orjson.loads(found.json)
    return data


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_model_from_ones_own_computer_needs_a_name_first(open_page: OpenPage, services: Services, lang: str) -> None:
    app = open_page("settings", lang, view="models")
    assert_healthy(app)
    assert t("model_upload.name_first", lang) in [each.value for each in app.caption]
    told = upload_data(app)
    assert (told["locked"], told["most_bytes"], told["lang"]) == (True, 50_000_000_000, lang)
    app = app.text_input(key="upload-name").set_value(" my model ").run()
    told = upload_data(app)
    assert (told["locked"], told["address"]) == (False, "/api/models?name=my+model")
    assert any("?name=my+model" in each.value for each in app.code)
    shutil.copytree(DEMO_MODEL, models.made_models_folder(services) / "taken")
    app = app.text_input(key="upload-name").set_value("taken").run()
    assert upload_data(app)["locked"]
    assert any("taken" in each.value for each in app.error)


def test_uploads_that_an_admin_switched_off_say_so(open_page: OpenPage, services: Services) -> None:
    services.kept.settings = dataclasses.replace(services.settings, model_upload_gb=0.0)
    app = open_page("settings", view="models")
    assert_healthy(app)
    assert t("model_upload.off") in [each.value for each in app.info]
    assert not [each for each in app.text_input if each.key == "upload-name"]


def test_a_viewer_uploads_no_model(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "person", lambda: Person("Vi", VIEWER))
    app = open_page("settings", view="models")
    assert_healthy(app)
    assert app.text_input(key="upload-name").disabled
    assert upload_data(app)["locked"]
