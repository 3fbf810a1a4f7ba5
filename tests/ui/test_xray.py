"""Tokens as coloured text: nothing of a row can become markup."""

from __future__ import annotations

from tunesmith.inference.protocol import TokenView
from tunesmith.ui.xray import as_html


def test_text_is_escaped_and_line_breaks_are_seen() -> None:
    drawn = as_html([TokenView("<b>", 5, "context"), TokenView('"\n', 6, "learned"), TokenView("", 7, "cut")])
    first, second, third = ("&lt;b&gt;", "context", 5), ("&quot;↵\n", "learned", 6), ("·", "cut", 7)
    assert drawn == "".join(f'<span class="{state}" title="{number}">{text}</span>' for text, state, number in (first, second, third))
