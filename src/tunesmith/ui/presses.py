"""A double click is one press, and so is another press of a button whose first one is still being answered. Knows no particular button.

Streamlit begins anew for each press, also for one that comes while what the first asked for is half done: a run would be started twice.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

_SCRIPT = """
const BUTTONS = "[data-testid=stButton] button, [data-testid=stFormSubmitButton] button";
const DOUBLE_MS = 500, ANSWER_MS = 10000; // whoever waited longer means it
const STATE = "data-test-script-state";
const pressed = new WeakMap();
let answered = 0;

function look() {
  if (document.querySelector("[data-testid=stApp]")?.getAttribute(STATE) !== "running") answered = performance.now();
}

function press(event) {
  const button = event.target.closest(BUTTONS);
  if (!button) return;
  const now = performance.now(), words = button.textContent, last = pressed.get(button);
  const since = last?.words === words ? now - last.now : Infinity; // the browser may make another button of it
  if (since < DOUBLE_MS || (since < ANSWER_MS && answered < last.now)) event.stopImmediatePropagation();
  else pressed.set(button, { now, words });
}

export default function () {
  if (window.tunesmithPresses) return;
  window.tunesmithPresses = true;
  document.addEventListener("click", press, true);
  new MutationObserver(look).observe(document.body, { subtree: true, attributes: true, attributeFilter: [STATE] });
}
"""


@st.cache_resource(show_spinner=False)
def _component() -> Any:
    return st.components.v2.component("tunesmith_presses", html="<span></span>", js=_SCRIPT)


def count_once() -> None:
    """Let the tab take repeated presses for one, from now on."""
    _component()(key="presses", data={})
