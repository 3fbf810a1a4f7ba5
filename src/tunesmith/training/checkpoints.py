"""Checkpoints of a run: whole folders with a manifest, the last few kept. Knows adapters, not what they learned."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from tunesmith.errors import UserError
from tunesmith.models.adapter_files import CONFIG, WEIGHTS, save_folder
from tunesmith.system.memory import disk_free_bytes

KEPT = 3
RESERVE_BYTES = 50_000_000


class AdapterSaver:
    """Writes the trainable weights of a run as adapter and as checkpoints."""

    def __init__(self, run_dir: Path, model: Any, config: dict[str, Any]) -> None:
        self._run_dir = run_dir
        self._model = model
        self._config = config
        self.require_space()

    def require_space(self) -> None:
        """Refuse to go on when two checkpoints would not fit. Raises UserError `disk_nearly_full`."""
        needed = 2 * sum(w.nbytes for _, w in tree_flatten(self._model.trainable_parameters())) + RESERVE_BYTES
        free = disk_free_bytes(self._run_dir)
        if free < needed:
            raise UserError("disk_nearly_full", folder=str(self._run_dir), free_bytes=free, needed_bytes=needed)

    def save_adapter(self) -> None:
        """Replace the run's adapter by the present weights. Raises UserError `disk_full`."""
        self._save(self._run_dir / "adapter")

    def save_checkpoint(self, step: int) -> None:
        """Write `checkpoints/step-N` and drop all but the last three. Raises UserError `disk_nearly_full`, `disk_full`."""
        self.require_space()
        folder = self._run_dir / "checkpoints"
        self._save(folder / f"step-{step}")
        steps = sorted((p for p in folder.glob("step-*")), key=lambda p: int(p.name.split("-")[1]))
        for old in steps[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def _save(self, target: Path) -> None:
        weights = dict(tree_flatten(self._model.trainable_parameters()))
        mx.eval(weights)
        save_folder(target, {WEIGHTS: weights}, {CONFIG: self._config})
