"""Who came in: a signed note in a cookie, good for twelve hours or until that person leaves. Knows no codes and no requests."""

from __future__ import annotations

import secrets

from itsdangerous import BadData, URLSafeTimedSerializer

from tunesmith.access.people import ROLES, Person

SESSION_SECONDS = 12 * 3600


class Sessions:
    """Issues and reads notes; those of another key, changed ones and old ones are nobody's."""

    def __init__(self, key: str) -> None:
        self._serializer = URLSafeTimedSerializer(key, salt="tunesmith-session")

    def issue(self, person: Person) -> str:
        """Return the note that says who came in."""
        return str(self._serializer.dumps([person.name, person.role, secrets.token_urlsafe(9)]))  # no two are the same: each can be left

    def read(self, note: str) -> Person | None:
        """Return whom a note is of, None for a forged, changed or old one."""
        try:
            name, role, _ = self._serializer.loads(note, max_age=SESSION_SECONDS)
        except (BadData, ValueError, TypeError):
            return None
        return Person(name, role) if isinstance(name, str) and role in ROLES else None
