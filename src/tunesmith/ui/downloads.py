"""Folders as zip files for the browser. Knows files, not what they hold."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path


def zip_files(name: str, files: Sequence[tuple[Path, str]]) -> bytes:
    """Return a zip file with one folder `name` that holds each file under its given name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, shown in files:
            archive.write(path, f"{name}/{shown}")
    return buffer.getvalue()
