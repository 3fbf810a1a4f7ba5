"""The background thread that runs the jobs: one accelerator slot, one worker process each. Knows no mlx and no pages.

It may die at any moment: the worker holds the run's lock, so the next supervisor finds out who lives, and adopts it.
"""

from __future__ import annotations

import logging
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.jobs.process import find_worker, launch_worker, signal_worker, worker_command
from tunesmith.jobs.queue import occupying, waiting_line
from tunesmith.jobs.summary import summarise
from tunesmith.settings.files import from_mapping, load_yaml
from tunesmith.store.experiments import RESUMABLE, Experiment, ExperimentStore
from tunesmith.store.files import worded
from tunesmith.store.locks import ProcessLock, is_held
from tunesmith.store.run_folder import RunFolder
from tunesmith.system.scratch import sweep_scratch
from tunesmith.training.config import TrainConfig

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.3
TERMINATE_AFTER_SECONDS = 30.0
KILL_AFTER_SECONDS = 40.0
TROUBLED_SECONDS = 5.0  # after a tick that failed: what failed will mostly fail again
LAST_LOOK_SECONDS = 10.0  # a tick that takes longer, on a disk that hangs, keeps the lock until this process ends
RING_PORT, RING_PORTS = 32323, 8000  # mlx.launch's own first port, and how far a run may go from it


class Supervisor:
    """Owns every record's status. Only one lives per store: the others wait for its lock and are read-only."""

    def __init__(
        self, store: ExperimentStore, may_start: Callable[[], bool] = lambda: True, restarts: Callable[[], int] = lambda: 0,
        command: Callable[[RunFolder, str], list[str]] | None = None,
    ) -> None:  # fmt: skip
        """`restarts` says how often a run whose worker died goes on by itself, `command` what a launch (folder, nonce) executes."""
        self._store = store
        self._may_start = may_start
        self._restarts = restarts
        self._command = command or run_command
        self._lock = ProcessLock(store.locks / "supervisor.lock")
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._asked_at: dict[str, float] = {}  # by nonce, on the clock that nobody sets
        self._wake = threading.Event()
        self._closed = False
        self._looked = False
        self._thread: threading.Thread | None = None

    @property
    def in_charge(self) -> bool:
        """Whether this supervisor, and no other server's, runs the jobs of the store."""
        return self._lock.held

    def start(self) -> None:
        """Take charge if nobody has, and begin to supervise in the background."""
        self._lock.acquire()
        self._thread = threading.Thread(target=self._run, name="tunesmith-supervisor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop supervising; running workers train on and are adopted by the next supervisor."""
        self._closed = True
        self.wake()
        if self._thread is not None:
            self._thread.join(timeout=LAST_LOOK_SECONDS)
        if self._thread is None or not self._thread.is_alive():
            self._lock.release()

    def wake(self) -> None:
        """Look at the store now rather than at the next tick."""
        self._wake.set()

    def _run(self) -> None:
        told = ""
        while not self._closed:
            pause_seconds, trouble = TICK_SECONDS, ""
            try:
                if self._lock.acquire():
                    self.tick()
            except Exception as error:  # one bad tick (disk full, a broken run) must never end the supervision
                pause_seconds, trouble = TROUBLED_SECONDS, repr(error)
                if trouble != told:  # what lasts for days is told once
                    logger.exception("a supervisor's tick failed")
            told = trouble
            self._wake.wait(pause_seconds)
            self._wake.clear()

    def tick(self) -> None:
        """Look once: end what ended, press what must stop, launch what is next. Raises the first trouble with a run, after the others."""
        if not self._looked:
            self._store.all()  # whoever was in charge before may have changed ended runs, which are not looked at again
            self._looked = True
        self._children = {run_id: child for run_id, child in self._children.items() if child.poll() is None}  # those of damaged runs, too
        experiments = self._store.unsettled()
        queued, resumable = ([e for e in experiments if e.status in statuses] for statuses in ({"queued"}, RESUMABLE))
        troubles = [
            *_each(self._store.with_request("cancel", queued), self._cancel),
            *_each(self._store.with_request("resume", resumable), self._resume),
            *_each(occupying(experiments), self._watch),
        ]
        experiments = self._store.unsettled()
        line = waiting_line(experiments, self._store.queue_place)
        if line and not occupying(experiments) and self._may_start() and not self._store.folder(line[0].id).has_request("cancel"):
            self._launch(line[0])
        if troubles:
            raise troubles[0]

    def _cancel(self, experiment: Experiment) -> None:
        self._store.transition(experiment, "cancelled", ended_at=time.time())

    def _resume(self, experiment: Experiment) -> None:
        """Queue an ended run again; its `resume` goes last, so that whoever looks in between sees it waiting."""
        self._store.transition(experiment, "queued", error=None, restarts=[])
        self._store.folder(experiment.id).forget_requests("resume")

    def _watch(self, experiment: Experiment) -> None:
        folder = self._store.folder(experiment.id)
        if not is_held(self._lock_path(experiment)):
            if child := self._children.pop(experiment.id, None):
                with suppress(subprocess.TimeoutExpired):
                    child.wait(timeout=1)  # reap it: it gave its locks back while it died
            self._finish(experiment, folder)
            return
        if not experiment.pid and (pid := find_worker(experiment.nonce)):
            experiment = self._store.change(experiment, pid=pid)
        if folder.has_request("cancel") or folder.has_request("pause"):
            now = time.monotonic()
            self._press(experiment, now - self._asked_at.setdefault(experiment.nonce, now))
        elif experiment.status == "starting" and folder.heartbeat_age_seconds() is not None:
            self._store.transition(experiment, "running")

    def _press(self, experiment: Experiment, waited_seconds: float) -> None:
        """The stop ladder: the worker stops by itself at its next step; then SIGTERM; then SIGKILL."""
        if experiment.status != "stopping":
            experiment = self._store.transition(experiment, "stopping")
        if waited_seconds > KILL_AFTER_SECONDS:
            signal_worker(experiment.pid, experiment.nonce, signal.SIGKILL)
        elif waited_seconds > TERMINATE_AFTER_SECONDS:
            signal_worker(experiment.pid, experiment.nonce, signal.SIGTERM)

    def _finish(self, experiment: Experiment, folder: RunFolder) -> None:
        """Note how a run without a worker ended. A stop that came after a pause counts; a resume of before was meant for an earlier end."""
        folder.settle()
        folder.forget_requests("resume")
        self._asked_at.pop(experiment.nonce, None)
        outcome = folder.read_outcome(experiment.nonce)
        if outcome is None:
            sweep_scratch()
            if self._goes_on(experiment, folder):
                return
            outcome = {"status": "interrupted", "error": UserError("worker_died").as_record()}
        status, error = outcome["status"], outcome.get("error")
        if status in {"interrupted", "paused"} and folder.has_request("cancel"):
            status, error = "cancelled", None
        self._store.transition(experiment, status, ended_at=time.time(), error=error, summary=summarise(folder))

    def _goes_on(self, experiment: Experiment, folder: RunFolder) -> bool:
        """Queue a run whose worker died again; one that has no newer checkpoint than the last time would only die again."""
        step = folder.newest_checkpoint_step()
        if step is None or step <= max(experiment.restarts, default=0) or len(experiment.restarts) >= self._restarts():
            return False
        if folder.has_request("cancel") or folder.has_request("pause"):
            return False
        self._store.transition(experiment, "queued", restarts=[*experiment.restarts, step])
        logger.warning("%s: its worker died; it goes on from step %d by itself", experiment.id, step)
        return True

    def _launch(self, experiment: Experiment) -> None:
        slot = ProcessLock(self._store.locks / "accelerator.lock")
        own = ProcessLock(self._lock_path(experiment))
        if not slot.acquire():
            return  # a worker whose run was moved away is still busy
        try:
            if not own.acquire():
                return
            nonce = secrets.token_hex(8)
            experiment = self._store.transition(
                experiment, "starting", nonce=nonce, pid=0, attempt=experiment.attempt + 1, started_at=time.time()
            )
            folder = self._store.folder(experiment.id)
            folder.forget_heartbeat()
            folder.forget_requests("resume", "pause")
            try:
                with worded(folder.log):  # no room for its log, no process to be had
                    child = launch_worker(folder.path, self._command(folder, nonce), [slot.descriptor(), own.descriptor()])
            except UserError as error:
                self._store.transition(experiment, "failed", ended_at=time.time(), error=error.as_record())
                return
            self._children[experiment.id] = child
            self._store.change(experiment, pid=child.pid)
        finally:
            slot.release()
            own.release()

    def _lock_path(self, experiment: Experiment) -> Path:
        return self._store.run_lock(experiment.id)


def _each(experiments: Iterable[Experiment], act: Callable[[Experiment], None]) -> list[Exception]:
    """Do something with each run; return what went wrong: a run that cannot be looked after stands in no other's way."""
    troubles: list[Exception] = []
    for experiment in experiments:
        try:
            act(experiment)
        except Exception as error:  # noqa: BLE001  whoever called is told
            troubles.append(error)
    return troubles


def run_command(folder: RunFolder, nonce: str) -> list[str]:
    """Return the worker's command as the run's settings want it; settings that cannot be read are the worker's to report."""
    try:
        config = from_mapping(TrainConfig, load_yaml(folder.config))
    except UserError:
        return worker_command(folder.path, nonce)
    return worker_command(folder.path, nonce, config.num_processes, config.hostfile, RING_PORT + secrets.randbelow(RING_PORTS))
