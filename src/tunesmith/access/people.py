"""Who somebody is and what they may do. Knows no codes, no requests and no pages."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from tunesmith.errors import UserError
from tunesmith.system.environment import user_name

VIEWER, TRAINER, ADMIN = "viewer", "trainer", "admin"
ROLES = (VIEWER, TRAINER, ADMIN)  # each may what those before it may
LONGEST_NAME = 40


@dataclass(frozen=True)
class Person:
    """A name that somebody gave, and a role: viewers watch and compare, trainers run, admins set folders, endpoints and rewards."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Whether this person may do what a role may."""
        return ROLES.index(self.role) >= ROLES.index(role)


def owner_of_this_computer() -> Person:
    """Return who works at the computer itself, with the door shut: an admin under the account's name."""
    return Person(user_name(), ADMIN)


def clean_name(text: str) -> str:
    """Return a person's name as it is kept: one line, without control characters. Raises UserError `name_empty`, `name_too_long`."""
    visible = "".join(c for c in unicodedata.normalize("NFC", text) if unicodedata.category(c)[0] != "C" or c.isspace())
    name = " ".join(visible.split())
    if not name:
        raise UserError("name_empty")
    if len(name) > LONGEST_NAME:
        raise UserError("name_too_long", longest=LONGEST_NAME)
    return name
