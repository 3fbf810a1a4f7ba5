"""Errors as sentences: a person's own by their code, ours as a calm note with a number. No traceback reaches a page."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words
from tunesmith.i18n.markdown import as_text
from tunesmith.ui.session import language, t

logger = logging.getLogger("tunesmith.pages")
LOG_NAME = "tunesmith.log"


def sentence(error: UserError) -> str:
    """Return the sentence of a person's error, for a table."""
    return error_words(error.code, error.facts, language())


def describe(error: UserError) -> str:
    """Return the sentence of a person's error, for Markdown: what it names is shown as it is."""
    facts = {name: as_text(fact) if isinstance(fact, str) else fact for name, fact in error.facts.items()}
    return error_words(error.code, facts, language())


def show_error(error: UserError) -> None:
    """Draw a person's error."""
    st.error(describe(error), icon=":material/error:")


@contextmanager
def guarded() -> Iterator[None]:
    """Draw whatever goes wrong inside as words; Streamlit's own control flow passes."""
    try:
        yield
    except UserError as error:
        show_error(error)
    except Exception:  # the page must stand
        number = secrets.token_hex(3)
        logger.exception("page error %s", number)
        st.error(t("app.unexpected", number=number, log=LOG_NAME), icon=":material/report:")


def toast(words: str) -> None:
    """Show a short confirmation at the next drawing: one that is drawn just before a rerun never reaches the browser."""
    st.session_state.setdefault("toasts", []).append(words)


def show_toasts() -> None:
    """Draw the confirmations that wait."""
    for words in st.session_state.pop("toasts", []):
        st.toast(words, icon=":material/check:")
