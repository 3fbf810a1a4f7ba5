"""Words of people's own in Markdown: shown as they are, no marks are read in them. Knows no language."""

from __future__ import annotations

import re

_MARKS = re.compile(r"([\\`*_\[\]<>|#~$&]|:(?=[A-Za-z]))")  # `$` and `:` begin formulas and directives on the pages and on GitHub


def as_text(words: str) -> str:
    """Return words that Markdown shows as they are."""
    return _MARKS.sub(r"\\\1", words)
