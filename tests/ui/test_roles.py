"""The pages for each role: all can be looked at, and what a role may not do cannot be pressed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.arena_votes import open_arena
from tests.ui.conftest import PAGES, add_run
from tunesmith.access.people import ADMIN, ROLES, TRAINER, VIEWER, Person
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import t
from tunesmith.jobs.job import Job
from tunesmith.services import dataset_versions, jobs
from tunesmith.services.context import Services
from tunesmith.store.audit import AuditLog
from tunesmith.ui import session


@pytest.fixture
def as_role(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def become(role: str) -> None:
        monkeypatch.setattr(session, "person", lambda: Person("Vi", role))

    return become


def pressable(app: AppTest, key: str) -> bool:
    (found,) = [button for button in app.button if button.label == t(key)]
    return not found.disabled


@pytest.mark.parametrize("page", PAGES)
def test_a_viewer_sees_every_page(services: Services, open_page: Callable[..., AppTest], as_role: Callable[[str], None], page: str) -> None:
    add_run(services, "completed")
    as_role(VIEWER)
    app = open_page(page)
    assert not app.exception
    told = t("error.role_needed", role=TRAINER)
    assert [error.value for error in app.error] == ([told] if page == "training" else [])


def test_a_viewer_is_told_on_each_page_what_is_possible(open_page: Callable[..., AppTest], as_role: Callable[[str], None]) -> None:
    for role in ROLES:
        as_role(role)
        told = f":material/visibility: {t('app.viewing')}" in [caption.value for caption in open_page("home").caption]
        assert told == (role == VIEWER)


@pytest.mark.parametrize("role", ROLES)
def test_viewers_are_told_that_their_questions_are_not_kept(
    open_page: Callable[..., AppTest], as_role: Callable[[str], None], role: str
) -> None:
    as_role(role)
    told = t("compare.history_not_kept") in [caption.value for caption in open_page("compare").caption]
    assert told == (role == VIEWER)


def test_viewers_vote_in_the_arena(services: Services, open_page: Callable[..., AppTest], as_role: Callable[[str], None]) -> None:
    open_arena(services, "one", "two", at_once=2)
    as_role(VIEWER)
    assert pressable(open_page("arena"), "arena.ask")
    services.supervisor._lock.release()  # another server is in charge: it takes the votes
    assert not pressable(open_page("arena"), "arena.ask")


@pytest.mark.parametrize("role", ROLES)
def test_nobody_is_offered_to_bring_an_adapter_in_vain(
    open_page: Callable[..., AppTest], as_role: Callable[[str], None], role: str
) -> None:
    as_role(role)
    app = open_page("adapters")
    assert app.file_uploader[0].disabled == (role == VIEWER)
    (path,) = [box for box in app.text_input if box.label == t("adapters.path")]
    assert path.disabled == (role != ADMIN)


@pytest.mark.parametrize("role", ROLES)
def test_only_trainers_serve_models(
    services: Services, open_page: Callable[..., AppTest], as_role: Callable[[str], None], role: str
) -> None:
    add_run(services, "completed")
    as_role(role)
    assert pressable(open_page("export", view="serve"), "serve.start") == (role != VIEWER)


@pytest.mark.parametrize("role", ROLES)
def test_only_trainers_end_jobs(services: Services, as_role: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    running = Job("a", "export_gguf", {"name": "a"}, "running", "", 0.5, 1.0, {}, None, 0.0, services.data_dir)
    monkeypatch.setattr(jobs, "list_jobs", lambda *_, **__: [running])
    monkeypatch.setattr(jobs, "find_job", lambda *_, **__: running)
    as_role(role)
    assert pressable(AppTest.from_function(_draw_jobs, default_timeout=60).run(), "common.cancel") == (role != VIEWER)


def _draw_jobs() -> None:
    from tunesmith.ui.job_view import draw_jobs

    draw_jobs(("export_gguf",), print)


@pytest.mark.parametrize("role", ROLES)
def test_only_trainers_start_runs(open_page: Callable[..., AppTest], as_role: Callable[[str], None], role: str) -> None:
    as_role(role)
    assert pressable(open_page("home"), "home.demo_button") == (role != VIEWER)
    assert pressable(open_page("training"), "training.start") == (role != VIEWER)


@pytest.mark.parametrize("role", ROLES)
def test_only_trainers_check_data(open_page: Callable[..., AppTest], as_role: Callable[[str], None], role: str) -> None:
    as_role(role)
    app = open_page("dataset", data="company_facts")
    app.session_state["about"] = t("dataset.quality")
    assert pressable(app.run(), "quality_page.check") == (role != VIEWER)


@pytest.mark.parametrize("role", ROLES)
def test_only_admins_save_settings(open_page: Callable[..., AppTest], as_role: Callable[[str], None], role: str) -> None:
    as_role(role)
    app = open_page("settings")
    assert pressable(app, "common.save") == (role == ADMIN)
    assert (t("settings.admins_only") in [caption.value for caption in app.caption]) == (role != ADMIN)


def test_a_press_that_is_not_allowed_is_refused_in_words(
    services: Services, open_page: Callable[..., AppTest], as_role: Callable[[str], None]
) -> None:
    """The button was drawn while its presser was a trainer; meanwhile the code was taken back."""
    as_role(TRAINER)
    app = open_page("home")
    (button,) = [button for button in app.button if button.label == t("home.demo_button")]
    as_role(VIEWER)
    button.click().run()
    assert not app.exception
    assert services.store.all()[0] == []


def test_whoever_s_note_is_old_is_asked_to_enter_again(open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "person", lambda: None)
    app = open_page("home", tag="a b")
    assert not app.exception
    assert [error.value for error in app.error] == [t("error.session_over")]
    assert [element.proto.body for element in app.get("html")] == [
        f'<a href="/?lang=en&amp;tag=a+b" target="_self" style="color:inherit">{t("login.enter_again")}</a>'
    ]


def test_a_full_disk_keeps_nobody_out(services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: object) -> None:
        raise UserError("disk_full", folder=str(services.data_dir))

    monkeypatch.setattr(AuditLog, "note", fail)
    session.door().note(Person("Root", ADMIN), "door.enter", {"by": "code"})
    assert "door.enter" in caplog.text


@pytest.mark.parametrize(("name", "role", "may"), [("Tom", TRAINER, False), ("Ann", TRAINER, True), ("Root", ADMIN, True)])
def test_what_another_owns_is_used_but_not_changed(
    services: Services, open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch, name: str, role: str, may: bool
) -> None:
    rows = services.data_dir / "rows.jsonl"
    rows.write_text('{"prompt": "a?", "completion": "b"}\n')
    mine = dataset_versions.import_file(services.of(Person("Ann", TRAINER)), rows, "mine")
    monkeypatch.setattr(session, "person", lambda: Person(name, role))
    told = t("error.owned_by_another", owner="Ann")
    app = open_page("dataset", data=mine)
    (delete,) = [button for button in app.button if button.label == t("common.delete")]
    assert (delete.disabled, delete.help or "") == ((False, "") if may else (True, told))
    assert pressable(app, "dataset.train")


def test_data_sets_are_filtered_by_who_brought_them(services: Services, open_page: Callable[..., AppTest]) -> None:
    rows = services.data_dir / "rows.jsonl"
    rows.write_text('{"prompt": "a?", "completion": "b"}\n')
    for name in ("Ann", "Zoe"):
        dataset_versions.import_file(services.of(Person(name, TRAINER)), rows, f"of {name}")
    app = open_page("dataset", data="of-ann")
    assert t("dataset.by_owner", name="Ann") in " ".join(caption.value for caption in app.caption)
    app = app.pills(key="dataset-owner").set_value("Zoe").run()
    assert not app.exception
    (pick,) = [box for box in app.selectbox if box.label == t("dataset.pick")]
    assert [option.partition(" ")[0] for option in pick.options] == ["of-ann", "of-zoe"]  # the one that the address asks for stays
