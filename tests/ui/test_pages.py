"""Every page in every language, on empty, full and broken stores."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from tests.ui.conftest import PAGES, add_run, everything_visible, figures_of
from tunesmith.i18n.catalog import t
from tunesmith.services.context import Services

OpenPage = Callable[..., AppTest]


def assert_healthy(app: AppTest) -> None:
    assert not app.exception
    assert not [e.value for e in app.error if re.search(r"\*\*[0-9a-f]{6}\*\*", e.value)], [e.value for e in app.error]


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("page", PAGES)
def test_an_empty_store_shows_a_next_step(open_page: OpenPage, page: str, lang: str) -> None:
    app = open_page(page, lang)
    assert_healthy(app)
    assert app.title[0].value == t(f"{page}.title", lang)
    assert not app.error


@pytest.mark.parametrize("page", PAGES)
def test_a_full_store_is_drawn(open_page: OpenPage, services: Services, page: str) -> None:
    for status in ("completed", "failed", "interrupted", "cancelled", "queued"):
        add_run(services, status, name=f"{status} " + "long name " * 12)
    assert_healthy(open_page(page))


@pytest.mark.parametrize("page", PAGES)
def test_a_broken_store_hides_nothing_else(open_page: OpenPage, services: Services, page: str) -> None:
    good, torn = add_run(services, "completed", name="the good one"), add_run(services, "completed")
    services.store.folder(torn.id).record.write_bytes(b'{"id"')
    services.store.folder(good.id).labels.write_bytes(b"\xff")
    services.store.folder(good.id).metrics.write_bytes(b'{"step": 1, "train_loss": 1.0}\nnot json\n')
    app = open_page(page)
    assert_healthy(app)
    if page == "experiments":
        assert any(torn.id in w.value for w in app.warning)


@pytest.mark.parametrize("status", ["queued", "running", "completed", "failed", "interrupted", "cancelled"])
@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_run_opens_by_its_address(open_page: OpenPage, services: Services, status: str, lang: str) -> None:
    run = add_run(services, status)
    app = open_page("training", lang, run=run.id)
    assert_healthy(app)
    figures = figures_of(app)
    assert figures["tiles"][0][0] == t("run.loss", lang)
    assert figures["status_words"] == t(f"status.{status}", lang)
    labels = [b.label for b in app.button]
    assert (t("run.stop", lang) in labels) == (status in {"queued", "running"})
    assert (t("run.compare", lang) in labels) == (status == "completed")
    if status == "failed":
        assert t("error.loss_not_finite", lang, step=3, learning_rate=1.0) in [e.value for e in app.error]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_run_that_went_on_by_itself_says_from_where(open_page: OpenPage, services: Services, lang: str) -> None:
    run = add_run(services, "running", restarts=[5, 1200])
    words = t("run.restarted", lang, step="1,200", n=2)
    assert words in [c.value for c in open_page("training", lang, run=run.id).caption]
    plain = add_run(services, "running")
    assert words not in [c.value for c in open_page("training", lang, run=plain.id).caption]


def test_an_unknown_run_is_named(open_page: OpenPage, services: Services) -> None:
    add_run(services, "completed")
    app = open_page("training", run="20260101-000000-abcdef")
    assert [e.value for e in app.error] == [t("error.run_unknown", run="20260101-000000-abcdef")]


def test_what_an_error_names_is_no_markdown(open_page: OpenPage, services: Services) -> None:
    app = open_page("evaluate", evaluation="![a](http://c.invalid)")
    assert [e.value for e in app.error] == [t("error.evaluation_unknown", evaluation=r"!\[a\](http://c.invalid)")]


@pytest.mark.parametrize("page", PAGES)
def test_every_visible_word_is_translated(open_page: OpenPage, services: Services, page: str) -> None:
    """In the pseudo-locale every word stands in ⟪⟫; what does not is data, or was not translated."""
    run = add_run(services, "completed", name="RUN")
    app = open_page(page, "xx", **({"run": run.id} if page == "training" else {}))
    assert_healthy(app)
    data = re.compile(r"RUN|demo|company_facts|Tunesmith \d|Norvik|^```|sft|^$|Pip")
    bare = [w for w in everything_visible(app) if "⟪" not in w and not data.search(w)]
    assert not bare


def test_the_demo_button_starts_a_real_queued_run(open_page: OpenPage, services: Services) -> None:
    app = open_page("home")
    next(b for b in app.button if b.label == t("home.demo_button")).click().run()
    (run,) = services.store.all()[0]
    assert (run.status, run.model, run.data) == ("queued", "demo", "company_facts")


def test_stop_asks_first(open_page: OpenPage, services: Services) -> None:
    """AppTest knows whole reruns only, so the dialog's own button is pressed in the browser test."""
    run = add_run(services, "running")
    app = open_page("training", run=run.id)
    next(b for b in app.button if b.label == t("run.stop")).click().run()
    assert t("run.stop_yes") in [b.label for b in app.button]
    assert not services.store.folder(run.id).has_request("cancel")


def test_a_second_server_says_that_it_is_read_only(open_page: OpenPage, services: Services) -> None:
    services.supervisor._lock.release()
    app = open_page("home")
    assert t("app.read_only") in [w.value for w in app.warning]
    assert next(b for b in app.button if b.label == t("home.demo_button")).disabled
