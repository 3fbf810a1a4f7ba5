"""What a page gives the browser to save: one way to draw it, and folders as zip files. Knows files, not what they hold."""

from __future__ import annotations

import functools
import io
import mimetypes
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any

import streamlit as st

from tunesmith.services.context import Services
from tunesmith.ui.session import services

KINDS = {".jsonl": "application/jsonl", ".log": "text/plain", ".md": "text/markdown", ".yaml": "application/yaml"}  # unknown to mimetypes


def draw_download(
    label: str, content: str | bytes | Callable[[Services], str | bytes], file_name: str, *, icon: str = "download", **button: Any
) -> None:
    """Draw a button that saves `content` under a name; what is costly is made when it is pressed, by a function of the services.

    The page is not drawn again for it: that would withdraw the files its other buttons hold, while somebody presses them.
    `button`: what else st.download_button takes.
    """
    suffix = PurePath(file_name).suffix
    kind = KINDS.get(suffix) or mimetypes.guess_type(file_name)[0] or "application/octet-stream"
    if callable(content):
        content = functools.partial(content, services())  # it runs outside the session, where nobody can say whose services those are
    st.download_button(label, content, file_name, kind, icon=f":material/{icon}:", on_click="ignore", **button)


def zip_files(name: str, files: Sequence[tuple[Path, str]]) -> bytes:
    """Return a zip file with one folder `name` that holds each file under its given name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, shown in files:
            archive.write(path, f"{name}/{shown}")
    return buffer.getvalue()
