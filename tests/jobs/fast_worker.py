"""A run's worker without an engine: our own process, files, locks and end, whose steps are arithmetic. Started by a real supervisor.

Its curve is a chain in which each value depends on all before it, and a checkpoint holds the chain's place: so a run that went on
from anywhere but its exact state has another curve.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from tunesmith.jobs.worker import Wish, main
from tunesmith.store.files import read_json
from tunesmith.store.run_folder import RunFolder
from tunesmith.store.saved_folders import replaced_whole, verify_folder, write_flushed
from tunesmith.training.events import Recorder

SAVE_EVERY, STEP_SECONDS, WEIGHTS_BYTES = 4, 0.002, 400_000
ENDS: dict[Wish, str] = {"cancel": "cancelled", "pause": "paused"}


def next_state(state: int, step: int) -> int:
    return int.from_bytes(hashlib.blake2b(b"%d %d" % (state, step), digest_size=6).digest(), "little")


def curve(steps: int) -> list[float]:
    """Return what an undisturbed run measures."""
    state, values = 0, []
    for step in range(1, steps + 1):
        state = next_state(state, step)
        values.append(float(state))
    return values


class Told:
    """The attempt and number of the last line that was written, in memory that a kill of the writer leaves as it is."""

    def __init__(self, run_dir: Path) -> None:
        descriptor = os.open(run_dir / "told", os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(descriptor, 8)
        self._number = memoryview(mmap.mmap(descriptor, 8)).cast("Q")
        os.close(descriptor)

    def write(self, attempt: int, seq: int) -> None:
        self._number[0] = attempt << 32 | seq

    def read(self) -> tuple[int, int]:
        return self._number[0] >> 32, self._number[0] & 0xFFFFFFFF


class TellingRecorder(Recorder):
    """The recorder of every run; each line is told of after it was written."""

    def __init__(self, run_dir: Path, attempt: int) -> None:
        super().__init__(run_dir, attempt)
        self._told = Told(run_dir)

    def metrics(self, step: int, **values: float) -> None:
        super().metrics(step, **values)
        self._told.write(self._attempt, self._seq)

    def resumed(self, step: int) -> None:
        super().resumed(step)
        self._told.write(self._attempt, self._seq)

    def event(self, kind: str, **facts: Any) -> None:
        super().event(kind, **facts)
        self._told.write(self._attempt, self._seq)


def save(folder: Path, step: int, state: int) -> None:
    with replaced_whole(folder) as aside:
        (aside / "adapters.safetensors").write_bytes(state.to_bytes(8, "little") * (WEIGHTS_BYTES // 8))
        (aside / "optimizer.safetensors").write_bytes(bytes(2 * WEIGHTS_BYTES))
        write_flushed(aside / "state.json", orjson.dumps({"step": step, "state": state}))


def load(folder: RunFolder) -> tuple[int, int]:
    newest = folder.newest_checkpoint_step()
    if newest is None:
        return 0, 0
    verify_folder(folder.checkpoint(newest))
    kept = read_json(folder.checkpoint(newest) / "state.json")
    return kept["step"], kept["state"]


def work(folder: RunFolder, wish: Callable[[], Wish]) -> str:
    attempt, iters = read_json(folder.record)["attempt"], orjson.loads(folder.config.read_bytes())["iters"]
    step, state = load(folder)
    recorder = TellingRecorder(folder.path, attempt)
    if step:
        recorder.resumed(step)
    recorder.event("resumed" if step else "run_started", step=step)
    status = "completed"
    while step < iters:
        if asked := wish():
            status = ENDS[asked]
            break
        time.sleep(STEP_SECONDS)
        step += 1
        state = next_state(state, step)
        recorder.metrics(step, train_loss=float(state), elapsed_seconds=step * STEP_SECONDS)
        recorder.rollouts(step, [{"prompt": "p" * 100_000, "step": step}])
        recorder.beat()
        if step % SAVE_EVERY == 0:
            save(folder.checkpoint(step), step, state)
            recorder.event("checkpoint", step=step)
            folder.keep_checkpoints(3)
    save(folder.checkpoint(step), step, state)
    save(folder.adapter, step, state)
    recorder.close()
    return status


if __name__ == "__main__":
    sys.exit(main(work=work))
