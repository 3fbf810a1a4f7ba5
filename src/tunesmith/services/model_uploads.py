"""Models that people upload from their own computers: received onto the disk, then taken in by a job. Knows no page and no server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.models.hub_files import is_wanted
from tunesmith.services import jobs
from tunesmith.services.context import Services
from tunesmith.services.lineage import lineage_of
from tunesmith.services.models import made_models_folder
from tunesmith.services.rights import needs
from tunesmith.store.files import worded
from tunesmith.store.saved_folders import require_free
from tunesmith.store.uploads import new_upload
from tunesmith.system.form_files import FormFiles
from tunesmith.system.memory import require_space
from tunesmith.system.paths import resolve_under

KIND = "take_model"
ZIP = ".zip"


def most_bytes(s: Services) -> int:
    """Return how much may be uploaded as one model, 0 where nothing may."""
    return int(s.settings.model_upload_gb * 1e9)


def check_name(s: Services, name: str) -> Path:
    """Return where a model of this name will lie. Raises UserError `name_empty`, `name_not_allowed`, `target_exists`."""
    if not name.strip():
        raise UserError("name_empty")
    target = resolve_under(made_models_folder(s), name.strip())
    require_free(target)
    return target


@dataclass(frozen=True)
class ModelUpload:
    """A model that is coming: what its form holds goes into the folder."""

    name: str
    folder: Path
    form: FormFiles

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises UserError `form_broken`, `upload_too_large`, `upload_file_twice`, `disk_full`."""
        with worded(self.folder / "model"):
            self.form.feed(piece)


@needs(TRAINER, noted=False)
def open_upload(s: Services, name: str, content_type: str, size_bytes: int) -> AbstractContextManager[ModelUpload]:
    """Give what takes the bytes of a form with a model's files, or a zip file of them; what is not started is gone afterwards.

    Raises UserError `server_read_only`, `upload_too_large`, `disk_nearly_full`, `form_broken`, and as `check_name` does.
    """
    s.require_writable()
    check_name(s, name)
    if size_bytes > most_bytes(s) or not most_bytes(s):
        raise UserError("upload_too_large", largest_bytes=most_bytes(s))
    require_space(s.data_dir, size_bytes)
    return _receiving(s, name.strip(), content_type)


@contextmanager
def _receiving(s: Services, name: str, content_type: str) -> Iterator[ModelUpload]:
    with new_upload(s.data_dir) as folder:
        form = FormFiles(content_type, folder, lambda file: is_wanted(file) or file.lower().endswith(ZIP), most_bytes(s))
        try:
            yield ModelUpload(name, folder, form)
        finally:
            form.close()


@needs(TRAINER)
def start(s: Services, upload: ModelUpload) -> str:
    """Start to take in a model that has come as a whole; return the job's id.

    Raises UserError `form_broken`, `upload_of_no_model`, `disk_full`, and as `check_name` does.
    """
    upload.form.finish()
    target, names = check_name(s, upload.name), upload.form.names
    if not names or (len(names) > 1 and any(name.lower().endswith(ZIP) for name in names)):
        raise UserError("upload_of_no_model")
    made_models_folder(s).mkdir(parents=True, exist_ok=True)
    request = {
        "name": upload.name, "path": str(upload.folder), "target_path": str(target), "most_bytes": most_bytes(s),
        "lineage": lineage_of(s, upload.name, target, upload={"files": names}),
    }  # fmt: skip
    return jobs.start(s, KIND, request)
