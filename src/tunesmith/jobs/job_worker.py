"""One job's own process: `python -m tunesmith.jobs.job_worker FOLDER`. Writes how it ended as its last act."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.jobs.job import CANCEL, END, PROGRESS, REQUEST
from tunesmith.store.files import read_json, write_json
from tunesmith.store.locks import ProcessLock
from tunesmith.system.progress import Report

logger = logging.getLogger("tunesmith.job")
REPORT_SECONDS = 0.3
WAIT_SECONDS = 0.1


class Cancelled(BaseException):
    """Somebody asked the job to end. No Exception: what words the errors of a library must not take it for one of them."""


class Reporter:
    """Tells how far a job is, and ends it when somebody asked for that: call it often, `report(phase, share)`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._phase, self._began, self._told, self._first_share = "", time.monotonic(), 0.0, 0.0

    def __call__(self, phase: str, share: float = 0.0) -> None:
        """Note how far the phase is (0..1). Raises Cancelled."""
        if (self._folder / CANCEL).exists():
            raise Cancelled
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._began, self._told, self._first_share = phase, now, 0.0, share
        if now - self._told >= REPORT_SECONDS and (share or not self._told):  # a job may wait at nothing for hours
            self._told = now
            told = {"phase": phase, "share": share, "first_share": self._first_share, "seconds": now - self._began}
            write_json(self._folder / PROGRESS, told)


def run_to_end(folder: Path, work: Callable[[], dict[str, Any]]) -> int:
    """Do the work; the last thing written is how it ended: its record, or what went wrong."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for talker in ("httpx", "httpx2"):
        logging.getLogger(talker).setLevel(logging.WARNING)  # the addresses that it tells may be signed
    try:
        end = work()
    except Cancelled:
        end = {"status": "cancelled"}
    except UserError as error:
        end = {"status": "failed", "error": error.as_record()}
    except MemoryError:
        end = {"status": "failed", "error": UserError("out_of_memory").as_record()}
    except Exception as error:  # the page must learn of it
        logger.exception("the job failed")
        told = UserError("job_failed", kind=type(error).__name__, reason=str(error)[:300])
        end = {"status": "failed", "error": told.as_record()}
    write_json(folder / END, end)
    return 0 if end["status"] != "failed" else 1


def wait_for_accelerator(path: Path, report: Report) -> ProcessLock:
    """Return the accelerator's lock once it is ours; runs wait while a job holds it, and the other way round."""
    lock = ProcessLock(path)
    while not lock.acquire():
        report("waiting", 0.0)
        time.sleep(WAIT_SECONDS)
    return lock


def main() -> int:
    """Do the job of the folder."""
    folder = Path(sys.argv[1])

    def work() -> dict[str, Any]:
        from tunesmith.jobs.job_kinds import KINDS
        from tunesmith.models.blas import prepare_engine, prepare_worker

        request, report = read_json(folder / REQUEST), Reporter(folder)
        kind = KINDS[request["kind"]]
        slot = wait_for_accelerator(Path(request["slot"]), report) if kind.computes else None
        try:
            (prepare_engine if kind.uses_torch else prepare_worker)()  # before the first import of mlx
            return {"status": "completed", "result": kind.run(request, report)}
        finally:
            if slot:
                slot.release()

    return run_to_end(folder, work)


if __name__ == "__main__":
    sys.exit(main())
