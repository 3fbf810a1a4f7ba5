"""Kills at random moments of a run with a fast worker, of its supervisor and of both; what is left is looked at while nothing moves."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.jobs.fast_worker import Told, curve
from tests.jobs.supervisor_process import Server, create_fast_run, is_alive, workers_of
from tunesmith.store.experiments import OCCUPYING, RESUMABLE, TERMINAL, Experiment, ExperimentStore
from tunesmith.store.files import LineTail
from tunesmith.store.run_folder import RunFolder
from tunesmith.store.saved_folders import verify_folder
from tunesmith.store.series import MetricSeries

ITERS = 60
PATIENCE_SECONDS = 60.0  # of a busy machine; how long it really took is in the toll
KINDS = {"worker": 35, "commit": 15, "terminate": 10, "supervisor": 20, "both": 20}


@dataclass
class Toll:
    """What a storm did and what it cost."""

    kills: Counter[str] = field(default_factory=Counter)
    lost: list[int] = field(default_factory=list)
    torn: int = 0
    in_commit: int = 0
    completed: int = 0
    went_on: int = 0
    seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills.total()} kills {dict(self.kills)}, reports lost: at most {max(self.lost, default=0)}, {sum(self.lost)} in all, "
            f"{self.torn} unfinished lines, {self.in_commit} kills inside a commit, {self.completed} runs completed, "
            f"{self.went_on} went on by themselves, marked after at most {max(self.seconds):.2f} s"
        )


def wait(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.002)


def leftovers(folder: RunFolder) -> list[Path]:
    """Return the folders that a killed writer left half written, half replaced or half deleted."""
    return [path for parent in (folder.path, folder.path / "checkpoints") for path in parent.glob(".*") if path.is_dir()]


class Storm:
    """One store, one server, one run after the other."""

    def __init__(self, root: Path, seed: int, restarts: int = 0) -> None:
        self.store = ExperimentStore(root)
        self.toll = Toll()
        self._root, self._restarts = root, restarts
        self._chance = random.Random(seed)
        self._server = self._start_server()
        self._run = create_fast_run(self.store, ITERS)
        self._torn: Counter[str] = Counter()

    def _start_server(self) -> Server:
        server = Server(self._root, restarts=self._restarts)
        server.wait_until_in_charge()
        return server

    def close(self) -> None:
        self._server.kill()
        for pid in workers_of(self._root):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    @property
    def _record(self) -> Experiment:
        return self.store.get(self._run.id)

    @property
    def _folder(self) -> RunFolder:
        return self.store.folder(self._run.id)

    def rage(self, kills: int) -> Toll:
        """Kill so many times, and let the last run come to its end."""
        kinds = self._chance.choices(list(KINDS), weights=list(KINDS.values()), k=kills)
        while kinds:
            if self._record.status == "completed":
                self._check_completed()
                self._run, self._torn = create_fast_run(self.store, ITERS), Counter()
            if self._strike(kinds[-1]):
                self.toll.kills[kinds.pop()] += 1
        while self._record.status != "completed":
            self._ask_to_go_on()
            wait(lambda: self._record.status in TERMINAL and not self._folder.has_request("resume"))
        self._check_completed()
        return self.toll

    def _strike(self, kind: str) -> bool:
        """Kill, look at what is left, wait until the run is marked or goes on; return whether there was anything to kill."""
        self._ask_to_go_on()
        if kind in {"supervisor", "both"} and self._chance.random() < 0.5:
            time.sleep(self._chance.uniform(0, 0.12))  # in the middle of the launch, too
        else:
            self._await_worker(kind)
        before = self._record
        lives = before.status in OCCUPYING and is_alive(before.pid)
        if not lives and kind != "supervisor":
            return False
        began = time.monotonic()
        if kind == "terminate":
            os.kill(before.pid, signal.SIGTERM)
        elif kind in {"worker", "commit"}:
            self._end_unnoticed(before.pid)
        else:
            self._end_supervisor(before.pid if kind == "both" else 0)
        wait(lambda: self._is_settled(before, kind))
        self.toll.seconds.append(time.monotonic() - began)
        self._check_settled(before, kind)
        return True

    def _end_unnoticed(self, worker: int) -> None:
        """Kill a worker; its supervisor, which ends torn lines, hears of it once what is left was looked at."""
        self._server.signal(signal.SIGSTOP)
        end_worker(worker)
        self._look()
        self._server.signal(signal.SIGCONT)

    def _end_supervisor(self, worker: int) -> None:
        """Kill the supervisor, and a worker just before or just after it; start the next supervisor."""
        worker_first = worker and self._chance.random() < 0.5
        if worker_first:
            self._end_unnoticed(worker)
            time.sleep(self._chance.uniform(0, 0.03))
        self._server.kill()
        if worker and not worker_first:
            time.sleep(self._chance.uniform(0, 0.03))
            end_worker(worker)
            self._look()
        self._server = self._start_server()

    def _ask_to_go_on(self) -> None:
        if self._record.status in RESUMABLE:
            self._folder.request("resume")

    def _await_worker(self, kind: str) -> None:
        """Wait for a random moment of the run's work, or for the writing of a checkpoint."""
        wait(lambda: self._record.status == "completed" or (self._record.status in OCCUPYING and self._record.pid > 0))
        if self._chance.random() < 0.8:
            wait(lambda: self._record.status == "completed" or self._folder.heartbeat_age_seconds() is not None)
        time.sleep(self._chance.uniform(0, 0.08))
        if kind == "commit":
            freeze_in_commit(self._record.pid, self._folder)

    def _is_settled(self, before: Experiment, kind: str) -> bool:
        now = self._record
        if now.status in TERMINAL:
            return not self._folder.has_request("resume")
        works = now.status == "running" and is_alive(now.pid)
        return works and (kind != "terminate" or now.attempt > before.attempt)

    def _check_settled(self, before: Experiment, kind: str) -> None:
        now = self._record
        assert now.status != "failed", self._folder.read_log_tail(30)
        if now.attempt == before.attempt + 1 and before.status == "running" and kind != "supervisor":
            self.toll.went_on += 1
        if kind == "supervisor" and before.status == "running":
            assert now.attempt == before.attempt, "a run that lived was started again"
        if now.status in TERMINAL:
            self._look()
            assert leftovers(self._folder) == []

    def _check_completed(self) -> None:
        self._look()
        series = MetricSeries(self._folder.metrics)
        series.refresh()
        steps, losses = series.column("train_loss")
        assert steps.tolist() == list(range(1, ITERS + 1))
        assert losses.tolist() == curve(ITERS), "a run that was killed differs from one that was not"
        verify_folder(self._folder.adapter)
        assert leftovers(self._folder) == []
        self.toll.completed += 1

    def _look(self) -> None:
        """Check every file of a run that nobody writes: no record and no folder is damaged, no line is missing."""
        folder, record = self._folder, self._record
        folder.read_outcome(record.nonce)
        for saved in [*folder.path.glob("checkpoints/step-*"), *folder.path.glob("adapter")]:
            verify_folder(saved)
        self.toll.in_commit += record.status in OCCUPYING and bool(leftovers(folder))
        numbers: dict[int, list[int]] = {}
        for log in (folder.metrics, folder.events, folder.rollouts):
            if not log.exists():
                continue
            if record.status in OCCUPYING and (data := log.read_bytes()) and not data.endswith(b"\n"):
                self._torn[log.name] += 1
                self.toll.torn += 1
            tail = LineTail(log)
            for line in tail.read_new():
                if "seq" in line:
                    numbers.setdefault(line["attempt"], []).append(line["seq"])
            assert tail.bad_lines <= self._torn[log.name], f"{log.name}: {tail.bad_lines} lines cannot be read"
        self._count_lost(numbers)

    def _count_lost(self, numbers: dict[int, list[int]]) -> None:
        """Each attempt's lines of both logs are numbered without a gap, up to the last one that was told of."""
        for attempt, found in numbers.items():
            assert sorted(found) == list(range(1, len(found) + 1)), f"attempt {attempt} has a gap"
        attempt, told = Told(self._folder.path).read()
        self.toll.lost.append(max(0, told - len(numbers.get(attempt, []))))
        assert self.toll.lost[-1] <= 1


def freeze_in_commit(pid: int, folder: RunFolder) -> None:
    """Stop a worker while it writes a checkpoint, for sure; one that ends before is left alone."""
    while True:
        wait(lambda: bool(leftovers(folder)) or not is_alive(pid))
        try:
            os.kill(pid, signal.SIGSTOP)
            wait(lambda: psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE})
            if leftovers(folder):
                return
            os.kill(pid, signal.SIGCONT)
        except (ProcessLookupError, psutil.NoSuchProcess):
            return


def end_worker(pid: int) -> None:
    """Kill -9 a worker's group and wait until it is dead."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    wait(lambda: not is_alive(pid))
