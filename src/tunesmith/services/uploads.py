"""What people upload is kept aside until it is taken in, and forgotten then. Knows no contents."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tunesmith.access.people import TRAINER
from tunesmith.services.context import Services
from tunesmith.services.rights import needs
from tunesmith.store import uploads
from tunesmith.store.files import worded
from tunesmith.system.paths import bare_name


@needs(TRAINER)
def hold(s: Services, files: Sequence[tuple[str, IO[bytes]]]) -> Path:
    """Keep uploaded files aside; return the file, or the folder of several. Raises UserError `server_read_only`, `disk_full`."""
    s.require_writable()
    with uploads.new_upload(s.data_dir) as folder:
        names = [bare_name(name, "data") for name, _ in files]
        for name, (_, content) in zip(names, files, strict=True):
            with worded(folder / name), (folder / name).open("wb") as target:
                shutil.copyfileobj(content, target)
    return folder / names[0] if len(files) == 1 else folder


@needs(TRAINER)
def drop(s: Services, path: Path) -> None:
    """Forget an upload that was kept aside."""
    uploads.drop_upload(s.data_dir, path)
