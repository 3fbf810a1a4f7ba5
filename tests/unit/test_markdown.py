"""What people write is shown as it is."""

from __future__ import annotations

import re

from tunesmith.i18n.markdown import as_text


def test_no_mark_is_read_and_nothing_is_lost() -> None:
    name = r"*a* _b_ `c` [d](http://e) ![f](g) <b> | # ~~h~~ $x$ :red[i] \j"
    told = as_text(name)
    assert told.startswith(r"\*a\* \_b\_ \`c\` \[d\](http://e)")
    assert re.search(r"(?<!\\)([*_`<>|#~$\[\]]|:red)", told.replace(r"\\", "")) is None
    assert re.sub(r"\\(.)", r"\1", told) == name
    assert as_text("_a_ b_c __d e__f") == r"\_a\_ b_c \_\_d e\_\_f"
    assert as_text("sums, rate 1e-4 (second), 12:30") == "sums, rate 1e-4 (second), 12:30"
