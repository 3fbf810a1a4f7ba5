"""Checkpoints of a run: whole folders with the weights, the optimiser's state and the place, manifest last.

The last three are kept, and `best` beside them. A run goes on from the newest that is whole, bit for bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

from tunesmith.errors import UserError
from tunesmith.models.adapter_files import CONFIG, WEIGHTS, load_adapter_weights, save_folder
from tunesmith.models.tuning import put_weights
from tunesmith.store.files import read_json
from tunesmith.store.run_folder import RunFolder
from tunesmith.store.saved_folders import verify_folder
from tunesmith.system.memory import require_space
from tunesmith.training.progress import Progress, progress_of

KEPT = 3
OPTIMIZER, STATE = "optimizer.safetensors", "state.json"


class Checkpoints:
    """Writes and reads the trainable state of one run: `checkpoints/step-N`, `best` and `adapter`."""

    def __init__(self, run_dir: Path, model: Any, optimizer: Any, config: dict[str, Any]) -> None:
        self.run_dir = run_dir
        self._folder = run_dir / "checkpoints"
        self._model = model
        self._optimizer = optimizer
        self._config = config

    def require_space(self) -> None:
        """Refuse to go on when two checkpoints would not fit. Raises UserError `disk_nearly_full`."""
        arrays = [*self._weights().values(), *self._optimizer_state().values()]
        require_space(self.run_dir, 2 * sum(array.nbytes for array in arrays))

    def save(self, progress: Progress) -> None:
        """Write `checkpoints/step-N` and drop all but the last three. Raises UserError `disk_nearly_full`, `disk_full`."""
        self.require_space()
        arrays = {WEIGHTS: self._weights(), OPTIMIZER: self._optimizer_state()}
        mx.eval(arrays)
        save_folder(self._folder / f"step-{progress.step}", arrays, {CONFIG: self._config, STATE: progress.as_record()})
        RunFolder(self.run_dir).keep_checkpoints(KEPT)

    def save_best(self) -> None:
        """Replace `best` by the present weights. Raises UserError `disk_full`."""
        self._save_weights(self.run_dir / "best")

    def save_adapter(self) -> None:
        """Replace the run's adapter by the present weights. Raises UserError `disk_full`."""
        self._save_weights(self.run_dir / "adapter")

    def _save_weights(self, target: Path) -> None:
        weights = self._weights()
        mx.eval(weights)
        save_folder(target, {WEIGHTS: weights}, {CONFIG: self._config})

    def load_best(self) -> None:
        """Put the weights of `best` into the model."""
        verify_folder(self.run_dir / "best")
        put_weights(self._model, load_adapter_weights(self.run_dir / "best"))

    def is_finite(self) -> bool:
        """Whether every trainable weight is a number."""
        return all(mx.all(mx.isfinite(weight)).item() for weight in self._weights().values())

    def load_newest(self) -> Progress:
        """Put the newest whole checkpoint into model and optimiser and return its place; a fresh one when there is none.

        A damaged checkpoint is passed over for the one before it. Raises UserError `saved_folder_damaged` when none is whole,
        `checkpoint_of_another_config` when it does not fit the model.
        """
        damage: UserError | None = None
        for step in reversed(steps_of(self.run_dir)):
            folder = self._folder / f"step-{step}"
            try:
                verify_folder(folder)
            except UserError as error:
                damage = error
                continue
            self._load(folder)
            return progress_of(read_json(folder / STATE))
        if damage:
            raise damage
        return Progress()

    def _load(self, folder: Path) -> None:
        weights = load_adapter_weights(folder)
        shapes = {name: weight.shape for name, weight in weights.items()}
        if shapes != {name: weight.shape for name, weight in self._weights().items()}:
            raise UserError("checkpoint_of_another_config", folder=folder.name)
        put_weights(self._model, weights)
        state: Any = mx.load(str(folder / OPTIMIZER))
        self._optimizer.state = tree_unflatten(list(state.items()))
        mx.eval(self._model.parameters(), self._optimizer.state)

    def _weights(self) -> dict[str, mx.array]:
        return dict(tree_flatten(self._model.trainable_parameters()))

    def _optimizer_state(self) -> dict[str, mx.array]:
        return dict(tree_flatten(self._optimizer.state))


def steps_of(run_dir: Path) -> list[int]:
    """Return the steps of a run's checkpoints, ascending."""
    return sorted(int(path.name.split("-")[1]) for path in (run_dir / "checkpoints").glob("step-*"))
