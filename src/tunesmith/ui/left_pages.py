"""A page that was left is not drawn any more: what one of its parts still asked for would empty the page that is there now.

A part asks to be drawn anew by itself while its page is being left. Streamlit 1.67 draws the new page, then goes back to the old one
for that part, no longer finds it, and shows an old page with nothing on it.
"""

from __future__ import annotations

from functools import wraps

from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData


def forget_left_pages() -> None:
    """Have what the parts of a left page ask for dropped, in every session of this process."""
    draw = ScriptRunner._run_script  # the one place that knows which page is drawn now, and what is asked for next

    @wraps(draw)
    def draw_unless_left(runner: ScriptRunner, asked: RerunData) -> None:
        if asked.fragment_id_queue and asked.page_script_hash != runner._pages_manager.current_page_script_hash:
            return
        draw(runner, asked)

    ScriptRunner._run_script = draw_unless_left  # type: ignore[method-assign, assignment]
