"""Supervisors in processes of their own, forked in a few milliseconds, whose workers are fast ones."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import orjson
import psutil

from tests.jobs import fast_worker
from tunesmith.inference.client import HostClient
from tunesmith.jobs import supervisor as supervision
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.services.context import Kept, Services
from tunesmith.settings.schema import AppSettings
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.store.run_folder import RunFolder

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytest", "tests.jobs.supervisor_process"])
TICK_SECONDS = 0.02


def create_fast_run(store: ExperimentStore, iters: int) -> Experiment:
    """Queue a run for the fast worker."""
    settings = orjson.dumps({"iters": iters}).decode()
    return store.create(settings, name="fast", kind="train", method="sft", model="", data="", model_path="", data_path="")


def fast_command(folder: RunFolder, nonce: str) -> list[str]:
    """Return the command that these supervisors start in place of the real worker's."""
    return [sys.executable, fast_worker.__file__, str(folder.path), "--nonce", nonce]


def serve(root: Path, starts_at: float, restarts: int, line: Connection) -> None:
    """Open a store at a moment (unix seconds), as a server does; answer each question with (in charge, may write, store id)."""
    supervision.TICK_SECONDS = TICK_SECONDS
    time.sleep(max(0.0, starts_at - time.time()))
    store = ExperimentStore(root)
    supervisor = Supervisor(store, restarts=lambda: restarts, command=fast_command)
    services = Services(Kept(AppSettings()), root, store, supervisor, HostClient(root / "host.log"))
    supervisor.start()
    with suppress(EOFError, ConnectionError):  # whoever asked is gone
        while True:
            charge, writes = supervisor.in_charge, not services.read_only
            if charge != supervisor.in_charge:
                continue  # it took charge just now
            line.send((charge, writes, store.store_id))
            line.recv()
    services.close()


class Server:
    """A process with a supervisor of a store."""

    def __init__(self, root: Path, starts_at: float = 0.0, restarts: int = 0) -> None:
        self._line, theirs = FORKS.Pipe()
        self._process = FORKS.Process(target=serve, args=(root, starts_at, restarts, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._asked = True

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def ask(self) -> tuple[bool, bool, str]:
        """Return whether it is in charge, whether its pages may write, and the store's id as it knows it."""
        if not self._asked:
            self._line.send("?")
        self._asked = False
        answer: tuple[bool, bool, str] = self._line.recv()
        return answer

    def wait_until_in_charge(self) -> None:
        """Wait until it runs the jobs; a dead predecessor's lock is free at once."""
        deadline = time.monotonic() + 60
        while not self.ask()[0]:
            assert time.monotonic() < deadline, "nobody took charge"
            time.sleep(0.005)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill -9; its workers live on."""
        self._process.kill()
        self._process.join()
        self._line.close()


@contextmanager
def serving(root: Path, count: int = 1, restarts: int = 0) -> Iterator[list[Server]]:
    """Yield servers that open a store at the same moment; those who still live are killed at the end, and all their workers."""
    starts_at = time.time() + 0.05 * count if count > 1 else 0.0
    servers = [Server(root, starts_at, restarts) for _ in range(count)]
    try:
        yield servers
    finally:
        for server in servers:
            if server._process.exitcode is None:
                server.kill()
        for pid in workers_of(root):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)


def workers_of(root: Path) -> list[int]:
    """Return the pids of the living workers of a store's runs."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if "--nonce" in command and any(part.startswith(str(root)) for part in command) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
