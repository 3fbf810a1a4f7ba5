"""The Settings page: what is saved, what is said beside a wrong field, what each role may, every view in both languages."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from tests.ui.conftest import add_run, everything_visible
from tunesmith.access.people import TRAINER, VIEWER, Person
from tunesmith.i18n.catalog import t
from tunesmith.services import computer, storage, system, training_defaults
from tunesmith.services.context import Services
from tunesmith.services.home import demo_config
from tunesmith.system.activity import LoadSample
from tunesmith.system.gpu import Gpu
from tunesmith.ui import defaults_view, session, settings_form, storage_view
from tunesmith.ui.settings_form import GROUPS

OpenPage = Callable[..., AppTest]
VIEWS = ("general", "defaults", "storage", "computer")


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    return lambda name, role: monkeypatch.setattr(session, "person", lambda: Person(name, role))


@pytest.fixture
def say_yes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer each question at once and return the list of them: AppTest knows whole reruns only, so it cannot press in a dialog."""
    asked: list[str] = []

    def ask(action: str, question: str, act: Callable[[], object]) -> None:
        asked.append(question)
        act()

    for view in (settings_form, storage_view, defaults_view):
        monkeypatch.setattr(view, "ask_first", ask)
    return asked


def field(app: AppTest, name: str) -> Any:
    """Return the widget of a setting."""
    kinds = ("selectbox", "number_input", "text_input", "text_area", "time_input")
    return next(each for kind in kinds for each in getattr(app, kind) if (each.key or "").endswith(f".{name}"))


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def errors(app: AppTest) -> list[str]:
    return [error.value for error in app.error]


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_drawn(services: Services, open_page: OpenPage, view: str, lang: str) -> None:
    add_run(services, "completed")
    training_defaults.keep_defaults(services, dataclasses.replace(demo_config(), iters=77))
    app = open_page("settings", lang, view=view)
    assert not app.exception
    assert errors(app) == []
    assert t("settings.title", lang) in everything_visible(app)


def test_settings_are_saved_over_the_shipped_ones(open_page: OpenPage, services: Services, tmp_path: Path) -> None:
    app = open_page("settings")
    field(app, "language").set_value("ja")
    field(app, "model_folders").set_value(str(tmp_path))
    field(app, "queue_jump").set_value("own")
    field(app, "memory_budget_gb").set_value(12.0)
    field(app, "quiet_hours.from").set_value(time(22))
    field(app, "quiet_hours.to").set_value(time(7))
    press(app, t("common.save"))
    assert not app.exception
    now = services.settings
    assert (now.language, now.model_folders, now.queue_jump) == ("ja", (str(tmp_path),), "own")
    assert (now.memory_budget_gb, now.quiet_hours) == (12.0, "22:00-07:00")
    assert "language: ja" in (services.data_dir / "settings.yaml").read_text()


def test_a_save_does_not_take_back_what_another_admin_changed_meanwhile(open_page: OpenPage, services: Services) -> None:
    app = open_page("settings")
    system.save_settings(services, queue_jump="own")
    field(app, "port").set_value(9000)
    press(app, t("common.save"))
    assert (services.settings.queue_jump, services.settings.port) == ("own", 9000)
    assert field(app, "queue_jump").value == "own"


def test_quiet_hours_are_taken_away_again(open_page: OpenPage, services: Services) -> None:
    services.kept.settings = dataclasses.replace(services.settings, quiet_hours="00:00-23:59")
    app = open_page("settings")
    assert field(app, "quiet_hours.from").value == time(0)
    assert any(caption.value.startswith(t("settings.quiet_now", clock="!").split("!")[0]) for caption in app.caption)
    for end in ("from", "to"):
        field(app, f"quiet_hours.{end}").set_value(None)
    press(app, t("common.save"))
    assert services.settings.quiet_hours == ""


def test_what_is_wrong_is_said_and_nothing_is_saved(open_page: OpenPage, services: Services) -> None:
    app = open_page("settings")
    field(app, "model_folders").set_value("/no/such/folder")
    field(app, "ollama_url").set_value("nonsense")
    field(app, "port").set_value(9000)
    press(app, t("common.save"))
    assert errors(app) == [
        t("error.folder_missing", folder="/no/such/folder"),
        t("error.endpoint_address_wrong", address="nonsense"),
    ]
    assert t("settings.not_saved") in [warning.value for warning in app.warning]
    assert services.settings.port == 8501
    field(app, "model_folders").set_value("")
    field(app, "ollama_url").set_value("http://127.0.0.1:11434")
    press(app, t("common.save"))
    assert (errors(app), services.settings.port) == ([], 9000)


def test_a_group_is_put_back_after_a_question(open_page: OpenPage, services: Services, say_yes: list[str]) -> None:
    services.kept.settings = dataclasses.replace(services.settings, queue_jump="admins")
    app = open_page("settings")
    reset = [button for button in app.button if button.label == t("settings.reset")]
    assert len(reset) == len(GROUPS)
    reset[GROUPS.index("queue")].click().run()
    assert say_yes == [t("settings.reset_ask", group=t("settings.group_queue"))]
    app.run()
    assert services.settings.queue_jump == "everyone"
    assert field(app, "queue_jump").value == "everyone"


def test_a_viewer_chooses_language_and_theme_without_changing_them_for_others(
    open_page: OpenPage, services: Services, become: Callable[[str, str], None]
) -> None:
    become("Vi", VIEWER)
    app = open_page("settings")
    next(s for s in app.selectbox if s.label == t("settings.own_theme")).set_value("dark").run()
    next(s for s in app.selectbox if s.label == t("settings.own_language")).set_value("ja").run()
    assert app.title[0].value == t("settings.title", "ja")
    assert app.session_state["own_theme"] == "dark"
    assert (services.settings.language, services.settings.theme) == ("auto", "auto")


def test_the_form_of_the_next_visitor_begins_with_the_defaults(open_page: OpenPage, become: Callable[[str, str], None]) -> None:
    app = open_page("training")
    next(n for n in app.number_input if n.key.endswith(".iters")).set_value(77).run()
    next(n for n in app.number_input if n.key.endswith(".rank")).set_value(5).run()
    press(app, t("training.keep_defaults"))
    assert not app.exception
    become("Tom", TRAINER)
    other = open_page("training")
    assert next(n for n in other.number_input if n.key.endswith(".iters")).value == 77
    assert next(n for n in other.number_input if n.key.endswith(".rank")).value == 5
    assert next(b for b in other.button if b.label == t("training.keep_defaults")).disabled


def test_defaults_are_put_back_on_the_page(open_page: OpenPage, services: Services, say_yes: list[str]) -> None:
    training_defaults.keep_defaults(services, dataclasses.replace(demo_config(), iters=77))
    app = open_page("settings", view="defaults")
    next(b for b in app.button if b.key == "default-iters").click().run()
    assert "iters" not in services.settings.training_defaults
    press(app, t("defaults.reset_all"))
    assert say_yes == [t("defaults.reset_ask")]
    app.run()
    assert services.settings.training_defaults == {}
    assert t("defaults.empty") in [info.value for info in app.info]


def test_old_checkpoints_are_deleted_after_a_question(open_page: OpenPage, services: Services, say_yes: list[str]) -> None:
    run = add_run(services, "completed")
    folder = services.store.folder(run.id)
    for step in (10, 20):
        folder.checkpoint(step).mkdir(parents=True)
        (folder.checkpoint(step) / "MANIFEST.json").write_bytes(b"{}")
        (folder.checkpoint(step) / "adapters.safetensors").write_bytes(b"x" * 4_999_998)
    app = open_page("settings", view="storage")
    assert next(m for m in app.metric if m.label == t("storage.old_checkpoints")).value == "5 MB"
    press(app, t("storage.clean_all", n="1", size="5 MB"))
    assert say_yes == [t("storage.clean_ask", n="1", size="5 MB")]
    app.run()
    assert folder.checkpoint_steps() == [20]
    assert next(m for m in app.metric if m.label == t("storage.old_checkpoints")).value == "0 B"
    assert [each.value for each in app.toast] == [t("storage.freed", size="5 MB")]


def test_a_selection_does_not_outlast_its_list(open_page: OpenPage, services: Services) -> None:
    """A browser keeps selected rows under the table's id: in another list they would be other runs."""

    def table() -> str:
        storage.begin_count(services, 10)
        frames = open_page("settings", view="storage").dataframe
        return next(str(frame.proto.id) for frame in frames if "name" in frame.value)

    add_run(services, "completed", name="first")
    before = table()
    assert table() == before
    add_run(services, "completed", name="second")
    assert table() != before


def test_who_may_not_clean_cannot_press(open_page: OpenPage, services: Services, become: Callable[[str, str], None]) -> None:
    run = add_run(services, "completed", owner="Ann")
    services.store.trash(add_run(services, "completed").id)
    storage.begin_count(services, 10)
    become("Tom", TRAINER)
    app = open_page("settings", view="storage")
    pressable = {button.key: not button.disabled for button in app.button if (button.key or "").startswith("storage-")}
    assert pressable == {"storage-trash": False, "storage-uploads": False, "storage-cache": False}
    assert run.id in {use.id for use in storage.last_report(services).runs}  # type: ignore[union-attr]


def test_left_uploads_are_deleted_after_a_question(open_page: OpenPage, services: Services, say_yes: list[str]) -> None:
    left = services.data_dir / "uploads" / "of-a-closed-tab"
    left.mkdir(parents=True)
    (left / "model.zip").write_bytes(b"x" * 5_000_000)
    for path in (left / "model.zip", left):
        os.utime(path, (1.0, 1.0))
    app = open_page("settings", view="storage")
    press(app, t("storage.empty_uploads", size="5 MB"))
    assert say_yes == [t("storage.empty_uploads_ask", n="1", size="5 MB")]
    assert not left.exists()


def test_the_trash_is_emptied_after_a_question(open_page: OpenPage, services: Services, say_yes: list[str]) -> None:
    services.store.trash(add_run(services, "completed").id)
    app = open_page("settings", view="storage")
    next(b for b in app.button if b.key == "storage-trash").click().run()
    assert [question.startswith("Delete ") for question in say_yes] == [True]
    assert services.store.trashed_count() == 0


def test_the_computer_tells_what_it_knows(open_page: OpenPage, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    run = add_run(services, "running", name="at work")
    line = {"attempt": 1, "step": 11, "active_memory_bytes": 3e8, "cache_memory_bytes": 4e7, "peak_memory_bytes": 5e8}
    with services.store.folder(run.id).metrics.open("ab") as stream:
        stream.write(orjson.dumps(line) + b"\n")
    monkeypatch.setattr(computer, "read_gpus", lambda: [Gpu("NVIDIA H200", 42.0, 10**9, 150 * 10**9, 61.0, 300.0)])
    computer._gpus.cache_clear()
    sample = LoadSample(0.0, (50.0, 100.0), 8 * 10**9, 32 * 10**9, 10**9, 2 * 10**9)
    history = computer.activity.LoadHistory()
    history._samples.append(sample)
    monkeypatch.setattr(computer.activity, "load_history", lambda: history)
    monkeypatch.setattr(history, "start", lambda: None)
    app = open_page("settings", view="computer")
    assert not app.exception
    figures = {metric.label: metric.value for metric in app.metric}
    assert figures[t("computer.memory")] == "8 GB of 32 GB"
    assert figures[t("computer.cpu")] == "75 %"
    assert [figures[t(f"computer.engine_{name}")] for name in ("active", "cache", "peak")] == ["300 MB", "40 MB", "500 MB"]
    words = " ".join(everything_visible(app))
    for told in ("NVIDIA H200 · 1 GB of 150 GB · 61 °C · 300 W", t("computer.engine", name="at work"), "50 · 100"):
        assert told in words
    assert t("computer.no_gpu_cpu") not in words
