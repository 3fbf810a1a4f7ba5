"""Applies the theme in the browser, and writes its cookies. Knows where Streamlit keeps a tab's theme, not what the themes look like."""

from __future__ import annotations

from typing import Any

import streamlit as st

# Streamlit keeps the choice per address and reads it while the page loads, so a change needs one reload. A choice that was applied is
# remembered: without a new one in the settings nothing is touched again.
_SCRIPT = """
const APPLIED = "tunesmith-theme";
const NAMES = { light: "Light", dark: "Dark" };

export default function ({ data }) {
  for (const [name, value] of Object.entries(data.cookies)) {
    document.cookie = `${name}=${value}; path=/; max-age=${value ? 31536000 : 0}; samesite=lax`;
  }
  if ((localStorage.getItem(APPLIED) ?? "auto") === data.theme) return;
  localStorage.setItem(APPLIED, data.theme);
  for (const path of data.paths) {
    const key = `stActiveTheme-${path}-v2`;
    if (data.theme in NAMES) localStorage.setItem(key, JSON.stringify(NAMES[data.theme]));
    else localStorage.removeItem(key);
  }
  location.reload();
}
"""


@st.cache_resource(show_spinner=False)
def _component() -> Any:
    return st.components.v2.component("tunesmith_theme", html="<span></span>", js=_SCRIPT)


def apply_theme(theme: str, pages: list[str], cookies: dict[str, str]) -> None:
    """Let the tab use `auto`, `light` or `dark` at the addresses of these pages; write cookies, an empty one away."""
    _component()(key="theme", data={"theme": theme, "paths": ["/", *(f"/{page}" for page in pages)], "cookies": cookies})
