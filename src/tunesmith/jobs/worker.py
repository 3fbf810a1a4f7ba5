"""One job's own process: `python -m tunesmith.jobs.worker RUN_DIR --nonce N`. Writes how it ended as its last act."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from tunesmith.errors import UserError
from tunesmith.store.files import read_json
from tunesmith.store.run_folder import RunFolder

logger = logging.getLogger("tunesmith.worker")
Wish = Literal["", "cancel", "pause"]


def run_job(folder: RunFolder, wish: Callable[[], Wish]) -> str:
    """Do the run's work; return `completed`, `cancelled` or `paused`. Raises UserError and whatever MLX raises."""
    from tunesmith.jobs.run_environment import record_environment
    from tunesmith.models.blas import prepare_worker
    from tunesmith.settings.files import from_mapping, load_yaml
    from tunesmith.training.config import TrainConfig

    blas = prepare_worker()  # before the first import of mlx
    from tunesmith.training.run import train

    record = read_json(folder.record)
    if _speaks():
        record_environment(folder, record, blas)
    config = from_mapping(TrainConfig, load_yaml(folder.config))
    return train(config, Path(record["model_path"]), Path(record["data_path"]), folder.path, wish, attempt=record["attempt"])


def _wish(folder: RunFolder, terminated: threading.Event) -> Wish:
    """Return what people want of the run; the system's SIGTERM (a shutdown) pauses it, so that it can go on."""
    if folder.has_request("cancel"):
        return "cancel"
    return "pause" if terminated.is_set() or folder.has_request("pause") else ""


def _speaks() -> bool:
    """Whether this process writes for the run: of several, the first does."""
    return os.environ.get("MLX_RANK", "0") == "0"


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Return the error as a record: a person's own as it is, ours with its type and words (the traceback is in the log)."""
    if isinstance(error, UserError):
        return error.as_record()
    if isinstance(error, MemoryError):
        return UserError("out_of_memory").as_record()
    return UserError("worker_failed", kind=type(error).__name__, reason=str(error)[:500]).as_record()


def main(arguments: list[str] | None = None, work: Callable[[RunFolder, Callable[[], Wish]], str] = run_job) -> int:
    """Do one run's work to its end and record the outcome; the first sign of life comes before the slow imports."""
    parser = argparse.ArgumentParser(prog="tunesmith.jobs.worker")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--nonce", required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(message)s")
    folder = RunFolder(options.run_dir)
    terminated = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    began = time.monotonic()
    outcome: dict[str, Any] = {"nonce": options.nonce, "error": None}
    try:
        folder.beat()
        outcome["status"] = work(folder, lambda: _wish(folder, terminated))
    except Exception as error:  # whatever went wrong is recorded, so that the page can say it
        logger.exception("the run failed")
        outcome |= {"status": "failed", "error": describe_failure(error)}
    outcome |= {"ended_at": time.time(), "duration_seconds": time.monotonic() - began}
    if _speaks():
        folder.write_outcome(outcome)
    logger.info("%s after %.1f s", outcome["status"], outcome["duration_seconds"])
    return 0 if outcome["status"] != "failed" else 1


if __name__ == "__main__":
    sys.exit(main())
