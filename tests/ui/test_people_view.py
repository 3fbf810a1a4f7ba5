"""People in the settings: who is here, codes, tokens, the log; admins alone see and press."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tunesmith.access.codes import AccessFile
from tunesmith.access.gate import Door
from tunesmith.access.people import ADMIN, TRAINER, VIEWER, Person
from tunesmith.access.provider import Provider, ProviderFile
from tunesmith.i18n.catalog import LANGUAGES, t
from tunesmith.services import rights
from tunesmith.services.context import Services
from tunesmith.ui import session

OpenPage = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AccessFile]:
    monkeypatch.setenv("TUNESMITH_SECRETS_DIR", str(tmp_path / "secrets"))
    yield AccessFile()
    session.door.cache_clear()


@pytest.fixture
def shared(secrets: AccessFile, monkeypatch: pytest.MonkeyPatch) -> Door:
    door = Door(secrets, frozenset({"127.0.0.1"}))
    monkeypatch.setattr("tunesmith.ui.people_view.door", lambda: door)
    monkeypatch.setattr(session, "person", lambda: Person("Ada", ADMIN))
    door.visits.see(Person("山田 太郎", VIEWER))
    door.visits.see(Person("CI", TRAINER), program=True)
    return door


def press(app: AppTest, key: str, then: str = "") -> AppTest:
    """Press a button; with `then`, also the one of that label in the dialog that it opens: here a rerun draws no dialog by itself."""
    app = app.button(key=key).click().run()
    if not then:
        return app
    (confirm,) = [button for button in app.button if button.label == then]
    app.button(key=key).click()
    return confirm.click().run()


@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_admin_sees_who_is_here_and_no_code(
    services: Services, open_page: OpenPage, shared: Door, secrets: AccessFile, lang: str
) -> None:
    rights.note_visit(services, None, "door.refused", {"by": "code", "name": "Eve", "address": "192.168.1.9"})
    ProviderFile().keep(Provider("https://id.example", "us", "s3cret", "http://studio.local:8501"))
    app = open_page("settings", lang, view="people")
    assert not app.exception
    assert not app.error
    here, log = (frame.value for frame in app.dataframe)
    assert list(here.iloc[:, 0]) == ["CI", "山田 太郎"]
    assert list(here.iloc[:, 2]) == [t("people.program", lang), t("people.tabs", lang, n=0)]
    assert list(log.iloc[0, 1:4]) == [t("people.nobody", lang), "", "door.refused"]
    assert t("people.provider", lang, provider="id.example") in [caption.value for caption in app.caption]
    told = str(app.main)
    assert not [code for code in (*secrets.open().codes.values(), "s3cret") if code in told]


@pytest.mark.parametrize("role", [VIEWER, TRAINER])
def test_others_see_nothing_of_it(open_page: OpenPage, shared: Door, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    monkeypatch.setattr(session, "person", lambda: Person("Vi", role))
    app = open_page("settings", view="people")
    assert t("people.admins_only") in [caption.value for caption in app.caption]
    assert not app.dataframe
    assert not [button for button in app.button if button.key and button.key.startswith(("reveal", "renew"))]


def test_a_code_is_shown_by_a_press_that_is_noted(services: Services, open_page: OpenPage, shared: Door, secrets: AccessFile) -> None:
    app = press(open_page("settings", view="people"), "reveal-trainer")
    assert secrets.open().codes[TRAINER] in [code.value for code in app.code]
    assert (rights.audit(services)[0]["action"], rights.audit(services)[0]["facts"]) == ("people.reveal_code", {"role": TRAINER})


def test_a_code_is_renewed_once_its_successor_was_seen(services: Services, open_page: OpenPage, shared: Door, secrets: AccessFile) -> None:
    before = secrets.open()
    app = press(open_page("settings", view="people"), "renew-viewer")
    (shown,) = [code.value for code in app.code]
    assert shown not in before.codes.values()
    assert secrets.open() == before
    press(app, "renew-viewer", then=t("people.renew_now"))
    after = secrets.open()
    assert after.codes[VIEWER] not in {before.codes[VIEWER], shown}  # here each drawing makes another
    assert after.codes[ADMIN] == before.codes[ADMIN]
    assert after.key != before.key
    assert after.codes[VIEWER] not in str(rights.audit(services))


def test_a_token_is_told_once_and_can_be_dropped(services: Services, open_page: OpenPage, shared: Door, secrets: AccessFile) -> None:
    app = open_page("settings", view="people")
    (name,) = [field for field in app.text_input if field.label == t("people.token_name")]
    name.set_value("CI")
    (make,) = [button for button in app.button if button.label == t("people.token_add")]
    app = make.click().run()
    (token,) = [code.value for code in app.code]
    assert secrets.open().program(token) == Person("CI", VIEWER)
    (noted,) = [button for button in app.button if button.label == t("people.token_noted")]
    app = noted.click().run()
    assert not app.code
    press(app, "drop-viewer-CI", then=t("common.delete"))
    assert secrets.open().program(token) is None
    assert [line["action"] for line in rights.audit(services, 2)] == ["people.drop_tokens", "people.add_token"]
    assert token not in str(rights.audit(services))


def test_the_log_is_searched(services: Services, open_page: OpenPage, shared: Door) -> None:
    for name in ("Ann", "Tom"):
        rights.note_visit(services, Person(name, TRAINER), "door.enter", {"by": "code"})
    app = open_page("settings", view="people")
    app.text_input(key="people-search").set_value("TOM").run()
    assert list(app.dataframe[1].value.iloc[:, 1]) == ["Tom"]


def test_the_shut_door_says_so(open_page: OpenPage) -> None:
    app = open_page("settings", view="people")
    assert not app.exception
    assert t("people.shut") in [info.value for info in app.info]
