"""The names of what the app makes: when it was made, and a part that no other has. Knows no kind of thing."""

from __future__ import annotations

import secrets
import time


def new_id() -> str:
    """Return a name for a folder or file, of this computer's time and six hexadecimal digits: `20261122-031500-a1b2c3`."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
