"""Models of our own, made here or downloaded: a folder each, written as a whole elsewhere, with a trash. Knows no contents."""

from __future__ import annotations

from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.store.files import make_folder
from tunesmith.store.trash import bring_back, purge_older, throw_away
from tunesmith.system.paths import resolve_under


class ModelFolders:
    """`<data dir>/models/<name>/`."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / "models"
        self._trash = self.root / ".trash"

    def holds(self, path: Path) -> bool:
        """Whether a model folder is one of ours."""
        return path.parent == self.root

    def trash(self, name: str) -> None:
        """Move a model to the trash. Raises UserError `model_unknown`, `name_not_allowed`."""
        path = resolve_under(self.root, name)
        if not path.is_dir():
            raise UserError("model_unknown", model=name)
        make_folder(self._trash)
        throw_away(path, self._trash)

    def trashed(self, name: str) -> Path:
        """Return the folder of a model in the trash. Raises UserError `model_unknown`, `name_not_allowed`."""
        path = resolve_under(self._trash, name)
        if not path.is_dir():
            raise UserError("model_unknown", model=name)
        return path

    def restore(self, name: str) -> None:
        """Bring a model back. Raises UserError `model_unknown`, `target_exists`, `name_not_allowed`."""
        bring_back(self.trashed(name), self.root / name)

    def purge_trash(self) -> None:
        """Delete what has been in the trash for more than 7 days."""
        if self._trash.is_dir():
            purge_older(self._trash)
