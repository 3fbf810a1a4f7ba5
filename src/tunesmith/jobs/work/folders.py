"""What stands in the manifest of an export's folder. Knows no format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.inference.proof import Likeness
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.store.files import read_json, write_json


def proof_of(likeness: Likeness, **more: Any) -> dict[str, Any]:
    """Return the record of a proof by likeness: verified when nobody would tell the two apart."""
    return {"verified": likeness.same, "likeness": likeness.as_record(), **more}


def add_to_manifest(folder: Path, **facts: Any) -> None:
    """Write what was found out after a folder was complete."""
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | facts)
