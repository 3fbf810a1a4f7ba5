"""Tokens as coloured text: nothing of a row can become markup."""

from __future__ import annotations

from tunesmith.inference.protocol import TokenView
from tunesmith.ui.xray import as_html


def test_text_is_escaped_and_line_breaks_are_seen() -> None:
    drawn = as_html([TokenView("<b>", 5, "context"), TokenView('"\n', 6, "learned"), TokenView("", 7, "cut")])
    assert drawn == (
        '<span class="context" title="5">&lt;b&gt;</span><span class="learned" title="6">&quot;↵\n</span><span class="cut" title="7">·</span>'
    )
