"""The choice among a page's views: the address leads, follows, and a quick press is never lost."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

KEY = "overlay-view"


def draw() -> None:
    import streamlit as st

    from tunesmith.ui.view_choice import choose_view

    st.write(choose_view("overlay", ("curves", "settings", "sweep"), st.session_state.get("default", "")))


def opened(view: str = "", **state: str) -> AppTest:
    app = AppTest.from_function(draw, default_timeout=60)
    if view:
        app.query_params["view"] = view
    for name, value in state.items():
        app.session_state[name] = value
    return look(app)


def look(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception
    return app


def shown(app: AppTest) -> str:
    return str(app.markdown[0].value)


def press(app: AppTest, view: str) -> AppTest:
    app.session_state[KEY] = view
    return look(app)


def test_the_address_leads_and_an_unknown_view_is_the_first() -> None:
    assert (shown(opened("sweep")), shown(opened("nothing")), shown(opened())) == ("sweep", "curves", "curves")
    assert shown(opened(default="settings")) == "settings"


def test_the_address_follows_a_press_and_stays_clean_without_one() -> None:
    app = opened()
    assert "view" not in app.query_params
    press(app, "settings")
    assert (shown(app), app.query_params["view"]) == ("settings", "settings")
    assert shown(look(app)) == "settings"


def test_a_link_or_back_leads_again() -> None:
    app = press(opened(), "settings")
    del app.query_params["view"]
    assert shown(look(app)) == "curves"
    app.query_params["view"] = "sweep"
    assert shown(look(app)) == "sweep"


def test_a_press_is_kept_that_comes_before_its_address_is_known() -> None:
    """The browser sends the address that it has: of two quick presses, the second comes with the address from before the first."""
    app = press(opened(), "settings")
    del app.query_params["view"]
    press(app, "sweep")
    assert (shown(app), app.query_params["view"]) == ("sweep", "sweep")


def test_there_and_back_before_the_address_is_known() -> None:
    app = press(opened(), "settings")
    del app.query_params["view"]
    press(app, "curves")
    assert app.query_params["view"] == "curves"
    assert shown(look(app)) == "curves"
