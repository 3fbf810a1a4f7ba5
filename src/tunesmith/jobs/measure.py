"""A dry run: three real steps in a process of their own (`measure_worker`), for their peak memory and pace. Nothing of it is kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from tunesmith.errors import UserError
from tunesmith.store.files import copy_into
from tunesmith.store.locks import ProcessLock
from tunesmith.system.environment import worker_environment
from tunesmith.system.scratch import scratch_folder

LONGEST_SECONDS = 600


@dataclass(frozen=True)
class Measurement:
    """What three steps took; `shape` is their largest batch: (lines, width, supervised tokens)."""

    peak_bytes: int
    tokens_per_second: float
    seconds_per_step: float
    shape: tuple[int, int, int]


def measure(config_yaml: str, model: Path, data: Path, slot: Path, attachments: Mapping[str, Path]) -> Measurement:
    """Run the three steps while the accelerator is free; `attachments` are what the run needs in its folder, by name.

    Raises UserError `accelerator_busy`, `measure_failed`, or what the run raised; TimeoutError after ten minutes.
    """
    lock = ProcessLock(slot)
    if not lock.acquire():
        raise UserError("accelerator_busy")
    try:
        with scratch_folder() as folder:
            (Path(folder) / "config.yaml").write_text(config_yaml, encoding="utf-8")
            for name, source in attachments.items():
                copy_into(source, Path(folder) / name)
            return _run(Path(folder), model, data, lock)
    finally:
        lock.release()


def _run(folder: Path, model: Path, data: Path, lock: ProcessLock) -> Measurement:
    command = [sys.executable, "-m", "tunesmith.jobs.measure_worker", str(folder), str(model), str(data)]
    try:
        done = subprocess.run(
            command, env=worker_environment(os.environ), capture_output=True, timeout=LONGEST_SECONDS, check=False,
            pass_fds=(lock.descriptor(),),  # it computes on when the pages' server dies
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    try:
        answer = orjson.loads(done.stdout.splitlines()[-1])
    except (IndexError, orjson.JSONDecodeError) as error:
        reason = done.stderr.decode("utf-8", errors="replace").strip().splitlines()
        raise UserError("measure_failed", reason=reason[-1][:200] if reason else f"exit {done.returncode}") from error
    if "error" in answer:
        raise UserError(answer["error"]["code"], **answer["error"]["facts"])
    return Measurement(answer["peak_bytes"], answer["tokens_per_second"], answer["seconds_per_step"], tuple(answer["shape"]))
