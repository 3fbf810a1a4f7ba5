"""The keys of the settings page: what each role sees, and that a typed key stays nowhere in the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import TextInput

from tests.planted_keys import browser_messages
from tests.ui.conftest import everything_visible
from tunesmith.access.people import ADMIN, TRAINER, VIEWER, Person
from tunesmith.i18n.catalog import t
from tunesmith.jobs.job import EVALUATIONS, JobFolders
from tunesmith.services import keys
from tunesmith.services.context import Services
from tunesmith.system.key_hosts import chosen_hosts
from tunesmith.system.secrets import FILE, HUB, find_key, key_file
from tunesmith.ui import session

KEY = "planted-key-of-a-page-9c1e"
OpenPage = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def _no_other_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (HUB, "HF_TOKEN_PATH", "A_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))


def everything_kept(app: AppTest) -> str:
    """Return what the session holds, as it came from the browser and as the script sees it, and what the browser was sent."""
    state = app._session_state._state
    held = (getattr(state, each.name) for each in dataclasses.fields(state))
    return "".join(map(str, (*held, state._new_widget_state.states, state.filtered_state, app.query_params, *browser_messages(app))))


def field(app: AppTest) -> TextInput:
    (found,) = [each for each in app.text_input if str(each.key).startswith("keys-value")]
    return found


def choose(app: AppTest, name: str) -> AppTest:
    """Type a name that is not in the list; AppTest knows only what is."""
    box = app.selectbox(key="keys-name")
    box.options.append(name)
    return box.set_value(name).run()


def press(app: AppTest, label: str) -> AppTest:
    (found,) = [button for button in app.button if button.label == label]
    return found.click().run()


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_key_is_typed_kept_and_forgotten_by_the_page(open_page: OpenPage, services: Services, lang: str) -> None:
    app = open_page("settings", lang, view="keys")
    assert not app.exception
    assert app.selectbox(key="keys-name").value == HUB
    field(app).set_value(KEY)
    app = press(app, t("common.save", lang))
    assert not app.exception
    assert not app.error
    assert find_key(HUB) == KEY
    assert keys.find_key(services, HUB).places == (FILE,)
    assert field(app).value == ""
    assert KEY not in everything_kept(app)
    assert "9c1e" in app.dataframe[0].value.to_string()


def test_a_refused_key_is_forgotten_too(open_page: OpenPage) -> None:
    app = open_page("settings", view="keys")
    field(app).set_value(f"{KEY} and more")
    app = press(app, t("common.save"))
    assert [error.value for error in app.error] == [t("error.key_unusable", name=HUB)]
    assert KEY not in everything_kept(app)
    assert not key_file().exists()


def test_a_key_of_another_name_is_set(open_page: OpenPage) -> None:
    app = choose(open_page("settings", view="keys"), "A_KEY")
    app.selectbox(key="keys-name").options.append("A_KEY")
    field(app).set_value(KEY)
    app = press(app, t("common.save"))
    assert find_key("A_KEY") == KEY
    assert "A_KEY" in app.selectbox(key="keys-name").options


def test_a_key_typed_while_another_was_chosen_is_kept_for_neither(open_page: OpenPage) -> None:
    app = open_page("settings", view="keys")
    box = app.selectbox(key="keys-name")
    box.options.append("A_KEY")
    box.set_value("A_KEY")
    field(app).set_value(KEY)
    app = press(app, t("common.save"))  # the page still shows the form of the first
    assert [error.value for error in app.error] == [t("error.key_chosen_meanwhile", name=HUB)]
    assert not key_file().exists()
    assert KEY not in everything_kept(app)


def test_a_key_in_the_field_of_the_name_is_refused(open_page: OpenPage) -> None:
    app = choose(open_page("settings", view="keys"), KEY)
    assert [error.value for error in app.error] == [t("error.key_name_wrong")]
    assert not app.text_input


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_hosts_are_chosen_without_typing_the_key_again(open_page: OpenPage, services: Services, lang: str) -> None:
    keys.set_key(services, HUB, KEY)
    app = open_page("settings", lang, view="keys")
    (hosts,) = app.text_area
    assert hosts.value == ""
    hosts.set_value("router.example \n\n.Example.com")
    app = press(app, t("common.save", lang))
    assert not app.error
    assert chosen_hosts(HUB) == ("router.example", ".example.com")
    assert find_key(HUB) == KEY
    assert f"{t('keys.hub', lang)}, router.example, .example.com" in app.dataframe[0].value.to_string()
    assert app.text_area[0].value == "router.example\n.example.com"
    app.text_area[0].set_value("https://router.example/v1")
    app = press(app, t("common.save", lang))
    assert [error.value for error in app.error] == [t("error.key_host_wrong", lang, entry="https://router.example/v1")]
    assert chosen_hosts(HUB) == ("router.example", ".example.com")


def test_a_key_without_hosts_is_offered_those_that_asked(open_page: OpenPage, services: Services) -> None:
    keys.set_key(services, "A_KEY", KEY)
    endpoint = {"address": "https://judge.example/v1", "model": "m", "key_variable": "A_KEY"}
    JobFolders(services.data_dir / EVALUATIONS).create({"kind": "judge", "judge": {"endpoint": endpoint}})
    app = choose(open_page("settings", view="keys"), "A_KEY")
    assert app.text_area[0].value == "judge.example"
    assert chosen_hosts("A_KEY") == ()


def test_removing_asks_first(open_page: OpenPage, services: Services) -> None:
    app = open_page("settings", view="keys")
    assert next(button for button in app.button if button.label == t("keys.remove")).disabled
    keys.set_key(services, HUB, KEY)
    app = press(open_page("settings", view="keys"), t("keys.remove"))
    assert t("keys.remove_ask", name=HUB) in [words.value for words in app.markdown]
    assert find_key(HUB) == KEY


def test_a_key_of_the_environment_comes_first_and_stays(open_page: OpenPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HUB, "hf_of_the_environment")
    app = open_page("settings", view="keys")
    assert t("keys.environment_first", name=HUB) in [caption.value for caption in app.caption]
    assert next(button for button in app.button if button.label == t("keys.remove")).disabled


@pytest.mark.parametrize("role", [VIEWER, TRAINER])
def test_others_see_only_whether_it_is_set(open_page: OpenPage, services: Services, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    keys.set_key(services.of(Person("Ada", ADMIN)), HUB, KEY)
    monkeypatch.setattr(session, "person", lambda: Person("Vi", role))
    app = open_page("settings", view="keys")
    assert not app.exception
    assert app.dataframe[0].value.iloc[0].tolist() == [HUB, t("keys.set"), t("keys.hub"), t("common.none")]
    assert not app.text_input
    assert t("settings.admins_only") in [caption.value for caption in app.caption]
    assert "9c1e" not in everything_kept(app)


def test_an_open_file_of_keys_is_named(open_page: OpenPage, services: Services) -> None:
    keys.set_key(services, HUB, KEY)
    key_file().chmod(0o644)
    app = open_page("settings", view="keys")
    assert [error.value for error in app.error] == [t("error.secrets_readable_by_others", file=str(key_file()))]


def test_every_word_is_translated(open_page: OpenPage) -> None:
    app = open_page("settings", "xx", view="keys")
    assert not [words for words in everything_visible(app) if "⟪" not in words and words and not words.startswith("Tunesmith ")]
