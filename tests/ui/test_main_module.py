"""What AppTest leaves behind in a test process: nothing that a process started by a later test would run."""

from __future__ import annotations

import multiprocessing
import sys

from streamlit.testing.v1 import AppTest


def _draw(word: str) -> None:
    import streamlit as st

    st.write(word)


def test_a_page_is_drawn_in_the_main_modules_place() -> None:
    app = AppTest.from_function(_draw, args=("drawn",), default_timeout=60).run()
    assert app.markdown[0].value == "drawn"
    assert "_draw" in vars(sys.modules["__main__"]), "else nothing is to be put back"


def test_processes_started_after_it_run() -> None:
    """By order the test before has drawn a page; the main module that a new process reads is the real one again."""
    assert "_draw" not in vars(sys.modules["__main__"])
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(len, ("four",)) == 4
