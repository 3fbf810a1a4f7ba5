"""How people like to see a page, in one small file: their choices by person and page. Knows no page and no column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.files import read_json, write_json
from tunesmith.store.locks import exclusively

VIEWS = "views.json"


def read_view(data_dir: Path, person: str, page: str) -> dict[str, Any]:
    """Return a person's choices for a page, nothing where there are none that can be read."""
    view = _read(data_dir).get(person, {})
    found = view.get(page) if isinstance(view, dict) else None
    return found if isinstance(found, dict) else {}


def keep_view(data_dir: Path, person: str, page: str, view: dict[str, Any]) -> None:
    """Remember a person's choices for a page. Raises UserError `disk_full`, `no_permission`."""
    with exclusively(data_dir / "locks" / "views.lock"):
        views = _read(data_dir)
        own = views.get(person)
        write_json(data_dir / VIEWS, views | {person: (own if isinstance(own, dict) else {}) | {page: view}})


def _read(data_dir: Path) -> dict[str, Any]:
    try:
        views = read_json(data_dir / VIEWS)
    except (OSError, UserError):
        return {}
    return views if isinstance(views, dict) else {}
