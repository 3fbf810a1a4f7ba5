"""Many eyes on one run: tabs on its page and curves alone, as often as the server lets them ask, against a server on one core.

The run is real, and so are the tabs' questions (benchmarks/watching.py): the page by websocket, figures and curves each second, and what an
event or the end of the run has each tab draw anew. Before that: what 20 tabs take from the run, as CPU time of a step while they look on
and while they do not, in turns so short that what other tenants of the machine do falls on both.
`make bench BENCH=viewers`; PAGES, POLLERS, SECONDS and TURNS may be set.
"""

from __future__ import annotations

import asyncio
import math
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil

from benchmarks.reporting import publish
from benchmarks.watching import Connection, Curve, Tab, Times
from tests.e2e.conftest import Server
from tunesmith.evaluation.intervals import mean_interval
from tunesmith.services import context, runs, training
from tunesmith.store.files import LineTail
from tunesmith.training.config import TrainConfig

PAGES, POLLERS, SECONDS, TURNS = (
    int(os.environ.get(name, default)) for name, default in (("PAGES", 50), ("POLLERS", 100), ("SECONDS", 20), ("TURNS", 120))
)
WARM_SECONDS, AT_ONCE, BESIDE = 3.0, 10, 20
FIRST, LAST = -15, 19  # niceness
STEPS_BETWEEN_EVENTS, FROM_STEP, TO_STEP = 40, 4, 36  # what is measured lies between two events
TOKENS = 32  # of each row: every step has the same to do


async def open_tabs(port: int, run: str, count: int) -> list[Tab]:
    """Open so many tabs, a few at once."""
    tabs = [Tab(port, run, f"tab{number}") for number in range(count)]
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(tab.open() for tab in tabs[first : first + AT_ONCE]))
    return tabs


def show(watching: Sequence[Tab | Curve], shown: bool) -> None:
    """Let people look at their tabs, or away from them."""
    for each in watching:
        each.shown.set() if shown else each.shown.clear()


async def close_tabs(tabs: Sequence[Tab], following: Sequence[asyncio.Future[None]]) -> None:
    """Close the tabs, all at once. Raises what went wrong while they looked on."""
    for each in following:
        each.cancel()
    ended = await asyncio.gather(*following, return_exceptions=True)
    await asyncio.gather(*(tab.close() for tab in tabs))
    if wrong := [each for each in ended if isinstance(each, Exception)]:
        raise wrong[0]
    if any(tab.broken for tab in tabs):
        raise RuntimeError("a page was broken")


async def watch_server(server: Server, run: str, pages: int, pollers: int) -> dict[str, Any]:
    """Return the times of so many viewers and the server's share of its core; the run is stopped before them."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    tabs = await open_tabs(server.port, run, pages)
    alone: Times = defaultdict(list)
    curves = [Curve(Connection(server.port), run, f"curve{number}", alone) for number in range(pollers)]
    show([*tabs, *curves], shown=True)
    following = [asyncio.ensure_future(each.follow()) for each in (*tabs, *curves)]
    await asyncio.sleep(WARM_SECONDS)
    before, began = process.cpu_times(), time.perf_counter()
    await asyncio.sleep(SECONDS)
    after, ended = process.cpu_times(), time.perf_counter()
    stop(run)
    while any(not tab.took["page"] for tab in tabs):
        await asyncio.sleep(0.1)
        if time.perf_counter() > ended + 120 or any(each.done() for each in following):
            break
    redrawn = time.perf_counter()
    await close_tabs(tabs, following)
    for curve in curves:
        curve.connection.close()
    if not all(tab.took["page"] for tab in tabs):
        raise RuntimeError("a page did not hear of the run's end")
    took = {kind: [entry for tab in tabs for entry in tab.took[kind]] for kind in ("open", "figures", "curve", "part", "page")}
    took["curve"] += alone["curve"]
    inside = {kind: [seconds for asked, seconds in took[kind] if began <= asked < ended] for kind in ("figures", "curve", "part")}
    questions = inside | {kind: [seconds for _, seconds in took[kind]] for kind in ("open", "page")}
    return {
        **{f"{kind}_{name}": value for kind, seconds in questions.items() for name, value in _times(seconds).items()},
        "questions_per_second": sum(map(len, inside.values())) / (ended - began),
        "page_all_seconds": redrawn - ended,
        "server_cores": (after.user + after.system - before.user - before.system) / (ended - began),
        "server_rss_mb": process.memory_info().rss / 2**20,
        "read_mb_per_second": sum(each.bytes_read for each in (*tabs, *curves)) / 2**20 / (redrawn - began + WARM_SECONDS),
    }


def _times(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {"count": 0}
    ordered = sorted(seconds)
    return {"count": len(ordered), "p50_ms": statistics.median(ordered) * 1000, "p95_ms": ordered[int(0.95 * len(ordered))] * 1000}


def start_run(folder: Path) -> str:
    """Queue a real run that lasts longer than the measurement."""
    os.environ["TUNESMITH_DATA_DIR"] = str(folder)
    rows = folder.parent / "rows.jsonl"
    rows.write_bytes(b"\n".join(orjson.dumps({"text": f"{number}. {'The shop opens at nine. ' * TOKENS}"}) for number in range(64)))
    services = context.build_services()
    try:
        config = TrainConfig(
            model="demo", data=str(rows), iters=1_000_000, batch_size=1, max_seq_length=TOKENS, steps_per_report=1,
            steps_per_eval=STEPS_BETWEEN_EVENTS, save_every=STEPS_BETWEEN_EVENTS,
        )  # fmt: skip
        return training.submit(services, config)
    finally:
        services.close()


def worker_of(run: str) -> psutil.Process:
    """Return the run's process once it trains."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in psutil.process_iter(["cmdline"]):
            if "tunesmith.jobs.worker" in (told := process.info["cmdline"] or []) and any(run in part for part in told):
                return process
        time.sleep(0.2)
    raise RuntimeError("the run did not start")


@dataclass
class Steps:
    """The steps of a run, and what they cost."""

    worker: psutil.Process
    metrics: LineTail
    newest: int = 0

    def cpu_seconds(self) -> float:
        """Return the CPU seconds of a step, over those between the next event and the one after."""
        event = self.newest - self.newest % STEPS_BETWEEN_EVENTS + STEPS_BETWEEN_EVENTS
        first, before = self._wait(event + FROM_STEP)
        last, after = self._wait(event + TO_STEP)
        return (after - before) / (last - first)

    def _wait(self, step: int) -> tuple[int, float]:
        """Wait for a step; return which it has become, and the CPU seconds so far."""
        while self.newest < step:
            time.sleep(0.005)
            self.newest = max((record["step"] for record in self.metrics.read_new()), default=self.newest)
        times = self.worker.cpu_times()
        return self.newest, times.user + times.system


async def measure_beside(server: Server, run: str, steps: Steps) -> dict[str, Any]:
    """Return the CPU time of a step alone and beside `BESIDE` tabs: medians, the ratio by turns (geometric mean) and its 95 % interval."""
    tabs = await open_tabs(server.port, run, BESIDE)
    following = [asyncio.ensure_future(tab.follow()) for tab in tabs]
    alone, beside = list[float](), list[float]()
    for turn in range(TURNS):
        for shown in (False, True) if turn % 2 else (True, False):
            show(tabs, shown)
            (beside if shown else alone).append(await asyncio.to_thread(steps.cpu_seconds))
    await close_tabs(tabs, following)
    ratio = mean_interval(np.log(beside) - np.log(alone))  # of ratios themselves the mean is above 1 for noise alone
    low, high = (math.exp(each) for each in (ratio.low, ratio.high) if each is not None)
    return {
        "step_cpu_ratio_beside_20": math.exp(ratio.mean), "step_cpu_ratio_low": low, "step_cpu_ratio_high": high,
        "step_cpu_ms_alone": statistics.median(alone) * 1000, "step_cpu_ms_beside_20": statistics.median(beside) * 1000,
    }  # fmt: skip


def place(process: psutil.Process, cores: Collection[int], niceness: int) -> None:
    """Put a process on cores, and there before or behind whatever else runs on this computer; on Linux alone, and where it lets us."""
    with suppress(PermissionError, AttributeError, ProcessLookupError):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, cores)
            os.setpriority(os.PRIO_PROCESS, thread.id, niceness)


def stop(run: str) -> None:
    """Ask the run to stop, as another process."""
    services = context.build_services()
    runs.stop(services, run)
    services.close()


def main() -> None:
    """Measure and publish."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # several wait for each other on a busy core by spinning: no work, but CPU time
    with tempfile.TemporaryDirectory() as folder:
        run = start_run(Path(folder) / "data")
        server = Server(Path(folder) / "data", Path(folder) / "server.log")
        server.start()
        assert server.process is not None
        worker = worker_of(run)
        try:
            metrics = Path(folder) / "data" / "experiments" / run / "metrics.jsonl"
            while not metrics.exists():
                time.sleep(0.1)
            place(worker, [1], FIRST)
            place(psutil.Process(server.process.pid), [0], FIRST)
            place(psutil.Process(), [0], FIRST)  # the viewers are other computers: nothing of theirs runs where the run does
            beside = asyncio.run(measure_beside(server, run, Steps(worker, LineTail(metrics)))) if TURNS else {}
            place(psutil.Process(), [1], FIRST)
            place(worker, [1], LAST)  # it goes on, so that there is something new; the viewers themselves need the other core
            watched = asyncio.run(watch_server(server, run, PAGES, POLLERS))
        finally:
            if worker.is_running():
                worker.terminate()
            server.stop()
            worker.wait(60)
            place(psutil.Process(), range(psutil.cpu_count()), 0)
    publish("viewers", {"pages": PAGES, "pollers": POLLERS, **watched, **beside})


if __name__ == "__main__":
    main()
