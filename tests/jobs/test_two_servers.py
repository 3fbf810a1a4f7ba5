"""Servers that open one store at the same moment: one is in charge, a run has one worker and is started once; the next takes over."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import orjson
import pytest

from tests.e2e.conftest import Server as PageServer
from tests.jobs.fast_storm import wait
from tests.jobs.supervisor_process import Server, create_fast_run, serving, workers_of
from tunesmith.store.experiments import Experiment, ExperimentStore
from tunesmith.store.files import LineTail
from tunesmith.store.locks import is_held

logger = logging.getLogger(__name__)
ENDLESS = 1_000_000


@pytest.fixture
def roots(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Data folders that are not kept."""
    yield lambda number: tmp_path / f"store-{number}"
    for folder in tmp_path.glob("store-*"):
        shutil.rmtree(folder, ignore_errors=True)


def in_charge(servers: list[Server]) -> list[Server]:
    """Return who says that it is in charge; who is not must be read-only, and all must be of one store."""
    answers = [server.ask() for server in servers]
    assert [charge for charge, _, _ in answers] == [writes for _, writes, _ in answers]
    assert len({store for _, _, store in answers}) == 1
    return [server for server, (charge, _, _) in zip(servers, answers, strict=True) if charge]


def assert_one_worker(store: ExperimentStore, run: Experiment) -> int:
    """Check that the run is worked on by one process, launched once; return its pid."""
    (worker,) = workers_of(store.root)
    now = store.get(run.id)
    assert (now.pid, now.attempt) == (worker, 1)
    assert [entry["status"] for entry in now.history].count("starting") == 1
    assert is_held(store.locks / "accelerator.lock")
    lines = list(LineTail(store.folder(run.id).metrics).read_new())
    assert [line["seq"] for line in lines if line["attempt"] != 1] == []
    return worker


def start_together(root: Path, count: int) -> float:
    """Start servers at once on a store, new or with a run that waits; kill the one in charge; return the seconds until the next was."""
    waits_already = count == 3
    run = create_fast_run(ExperimentStore(root), ENDLESS) if waits_already else None
    with serving(root, count) as servers:
        (first,) = in_charge(servers)
        store = ExperimentStore(root)
        run = run or create_fast_run(store, ENDLESS)
        wait(lambda: store.get(run.id).status == "running")
        worker = assert_one_worker(store, run)
        others = [server for server in servers if server is not first]
        assert in_charge(others) == []

        first.kill()
        began = time.monotonic()
        wait(lambda: len(in_charge(others)) == 1)
        seconds = time.monotonic() - began
        (second,) = in_charge(others)
        assert assert_one_worker(store, run) == worker
        os.kill(worker, signal.SIGKILL)  # the new one looks after it
        wait(lambda: store.get(run.id).status == "interrupted")
        assert in_charge(others) == [second]
        assert workers_of(root) == []
    return seconds


def start_many_times(roots: Callable[[int], Path], rounds: range) -> None:
    seconds = [start_together(roots(number), 3 if number % 3 == 0 else 2) for number in rounds]
    logger.info("%d starts at once, the next server took over after at most %.2f s", len(seconds), max(seconds))


def test_servers_that_start_at_once(roots: Callable[[int], Path]) -> None:
    start_many_times(roots, range(10))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_servers_that_start_at_once_a_hundred_times(roots: Callable[[int], Path], part: int) -> None:
    start_many_times(roots, range(25 * part, 25 * (part + 1)))


def test_whoever_opens_a_new_store_at_the_same_moment_agrees_on_its_id(roots: Callable[[int], Path]) -> None:
    for number in range(10):
        together = Barrier(6)

        def open_store(_: int, root: Path = roots(number), together: Barrier = together) -> str:  # noqa: B008
            together.wait()
            return ExperimentStore(root).store_id

        with ThreadPoolExecutor(6) as pool:
            assert len(set(pool.map(open_store, range(6)))) == 1


def runs_the_jobs(server: PageServer) -> bool:
    with urllib.request.urlopen(f"{server.address}/health", timeout=5) as reply:
        return bool(orjson.loads(reply.read())["in_charge"])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(5))
def test_page_servers_that_start_at_once(store: ExperimentStore, submit: Callable[..., Experiment], tmp_path: Path, number: int) -> None:
    """Two whole page servers and a real run: the one that trains is killed, the run trains on and the other looks after it."""
    run = submit(iters=100_000)
    servers = [PageServer(store.root, tmp_path / f"server-{name}.log") for name in "ab"]
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(PageServer.start, servers))
        first, second = sorted(servers, key=runs_the_jobs, reverse=True)
        assert runs_the_jobs(first)
        assert not runs_the_jobs(second)
        wait(lambda: steps_written(store, run) > 2)
        worker = assert_one_worker(store, run)
        first.kill()
        began, before = time.monotonic(), steps_written(store, run)
        wait(lambda: runs_the_jobs(second))
        logger.info("the other page server took over after %.2f s", time.monotonic() - began)
        wait(lambda: steps_written(store, run) > before + 2)
        assert assert_one_worker(store, run) == worker
        store.folder(run.id).request("cancel")
        wait(lambda: store.get(run.id).status == "cancelled")
    finally:
        for server in servers:
            server.stop()
        for pid in workers_of(store.root):
            os.killpg(pid, signal.SIGKILL)


def steps_written(store: ExperimentStore, run: Experiment) -> int:
    return max((line["step"] for line in LineTail(store.folder(run.id).metrics).read_new()), default=0)
