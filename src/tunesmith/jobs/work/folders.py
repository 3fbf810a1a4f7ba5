"""The folder of an export: there as a whole, with its manifest, or not at all. Knows no format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.inference.proof import Likeness
from tunesmith.models.folder_layout import MANIFEST
from tunesmith.store.files import as_user_error, put_in_place, read_json, write_json


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give a folder to write an export into; it is renamed to `target` at the end, and gone when anything went wrong.

    Raises UserError `target_exists`, `disk_full`.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}.new")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir()
        yield aside
        if target.exists():
            raise UserError("target_exists", name=target.name, folder=str(target.parent))
        put_in_place(aside, target)
    except OSError as error:
        raise as_user_error(error, target) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def proof_of(likeness: Likeness, **more: Any) -> dict[str, Any]:
    """Return the record of a proof by likeness: verified when nobody would tell the two apart."""
    return {"verified": likeness.same, "likeness": likeness.as_record(), **more}


def add_to_manifest(folder: Path, **facts: Any) -> None:
    """Write what was found out after a folder was complete."""
    write_json(folder / MANIFEST, read_json(folder / MANIFEST) | facts)
