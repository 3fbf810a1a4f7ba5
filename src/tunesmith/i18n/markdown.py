"""Words of people's own in Markdown: shown as they are, no marks are read in them. Knows no language."""

from __future__ import annotations

import re

# `$` and `:` begin formulas and directives on the pages and on GitHub; `_` is a mark at the edge of a word alone
_MARKS = re.compile(r"([\\`*\[\]<>|#~$&]|(?<![^\W_])_|_(?![^\W_])|:(?=[A-Za-z]))")


def as_text(words: str) -> str:
    """Return words that Markdown shows as they are."""
    return _MARKS.sub(r"\\\1", words)
