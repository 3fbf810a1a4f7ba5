"""Many eyes on one run: websocket sessions on its page and pollers of its curves, each once a second, against a server on one core.

Sessions speak Streamlit's own protocol, as browsers do: they run the page and its parts that renew themselves, and keep what was cached.
The run is real. Afterwards: what 20 viewers take from it, as CPU time of a step beside them against alone.
`make bench BENCH=viewers`; PAGES, POLLERS and SECONDS may be set.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import requests
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from benchmarks.reporting import publish
from tests.e2e.conftest import Server
from tunesmith.services import context, runs, training
from tunesmith.store.files import LineTail
from tunesmith.training.config import TrainConfig

PAGES, POLLERS, SECONDS = (int(os.environ.get(name, default)) for name, default in (("PAGES", 50), ("POLLERS", 100), ("SECONDS", 20)))
WARM_SECONDS, PERIOD_SECONDS, AT_ONCE = 3.0, 1.0, 10
STEPS_MEASURED = 150


@dataclass
class Session:
    """One browser tab on a run's page."""

    port: int
    query: str
    parts: dict[str, float] = field(default_factory=dict)
    known: dict[str, None] = field(default_factory=dict)
    drawn: int = 0
    broken: int = 0
    page_hash: str = ""
    socket: Any = None

    async def open(self) -> None:
        """Connect and draw the whole page."""
        address = f"127.0.0.1:{self.port}"
        self.socket = await websockets.connect(
            f"ws://{address}/_stcore/stream", subprotocols=["streamlit"], origin=f"http://{address}", max_size=None, ping_interval=None,
            open_timeout=60, close_timeout=1,
        )  # type: ignore[call-overload]  # fmt: skip
        await self._ask("")
        await self._wait()

    async def renew(self) -> None:
        """Draw the parts that renew themselves."""
        for part in list(self.parts):
            await self._ask(part)
            await self._wait()

    async def _ask(self, part: str) -> None:
        message = BackMsg()
        wanted = message.rerun_script
        wanted.query_string, wanted.page_script_hash, wanted.page_name = self.query, self.page_hash, "training"
        if part:
            wanted.fragment_id, wanted.is_auto_rerun = part, True
        wanted.cached_message_hashes.extend(self.known)
        await self.socket.send(message.SerializeToString())

    async def _wait(self) -> None:
        while True:
            message = ForwardMsg.FromString(await asyncio.wait_for(self.socket.recv(), 120))
            kind = message.WhichOneof("type")
            if kind == "delta":
                self._note(message)
            elif kind == "ref_hash":
                self.drawn += 1
            elif kind == "new_session":
                self.page_hash = message.new_session.page_script_hash
            elif kind == "auto_rerun":
                self.parts[message.auto_rerun.fragment_id] = message.auto_rerun.interval
            elif kind == "script_finished" and message.script_finished in {0, 3}:
                return

    def _note(self, message: Any) -> None:
        self.drawn += 1
        if message.metadata.cacheable:
            self.known[message.hash] = None
            while len(self.known) > 8:
                self.known.pop(next(iter(self.known)))
        if message.delta.WhichOneof("type") == "new_element":
            self.broken += message.delta.new_element.WhichOneof("type") == "exception"


@dataclass
class Poller:
    """One curve that asks for what is new."""

    port: int
    run: str
    revision: int = -1
    answers: int = 0

    async def renew(self) -> None:
        """Ask once over a connection of its own, as raw as a browser's kept one."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        path = f"/live/runs/{self.run}?since={self.revision}"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
        status = int(answer.split(b" ", 2)[1])
        if status not in {200, 204}:
            raise RuntimeError(f"a curve was answered with {status}")
        self.answers += 1


async def close_all(viewers: Sequence[Session | Poller]) -> None:
    """Close the tabs, all at once."""
    await asyncio.gather(*(viewer.socket.close() for viewer in viewers if isinstance(viewer, Session)))


async def watch(viewers: Sequence[Session | Poller], seconds: float) -> dict[type, list[float]]:
    """Let each renew itself once a second; return how long each renewal took, by the kind of viewer."""
    took: dict[type, list[float]] = {Session: [], Poller: []}
    begin = time.perf_counter()

    async def follow(number: int, viewer: Session | Poller) -> None:
        due = begin + number / len(viewers) * PERIOD_SECONDS
        while due < begin + WARM_SECONDS + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            asked = time.perf_counter()
            await viewer.renew()
            if asked > begin + WARM_SECONDS:
                took[type(viewer)].append(time.perf_counter() - asked)
            due = max(due + PERIOD_SECONDS, time.perf_counter())

    await asyncio.gather(*(follow(number, viewer) for number, viewer in enumerate(viewers)))
    return took


async def watch_server(server: Server, run: str, pages: int, pollers: int) -> dict[str, Any]:
    """Return the times of so many viewers, and the server's share of its core."""
    sessions = [Session(server.port, f"run={run}") for _ in range(pages)]
    for place in range(0, pages, AT_ONCE):
        await asyncio.gather(*(session.open() for session in sessions[place : place + AT_ONCE]))
    curves = [Poller(server.port, run) for _ in range(pollers)]
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before, began = process.cpu_times(), time.perf_counter()
    took = await watch([*sessions, *curves], SECONDS)
    after, seconds = process.cpu_times(), time.perf_counter() - began
    drawn, broken = sum(s.drawn for s in sessions), sum(s.broken for s in sessions)
    await close_all(sessions)
    if broken or (pages and not drawn) or any(not curve.answers for curve in curves):
        raise RuntimeError("the viewers did not see the run")
    return {
        **{f"{name}_{key}": value for name, kind in (("page", Session), ("curve", Poller)) for key, value in _times(took[kind]).items()},
        "server_cores": (after.user + after.system - before.user - before.system) / seconds,
        "server_rss_mb": process.memory_info().rss / 2**20,
    }


def _times(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {"renewals": len(ordered), "p50_ms": statistics.median(ordered) * 1000, "p95_ms": ordered[int(0.95 * len(ordered))] * 1000}


def start_run(folder: Path) -> str:
    """Queue a real run that lasts longer than the measurement."""
    os.environ["TUNESMITH_DATA_DIR"] = str(folder)
    services = context.build_services()
    try:
        config = TrainConfig(
            model="demo", data="company_facts", iters=1_000_000, batch_size=1, max_seq_length=64, steps_per_report=1,
            steps_per_eval=1_000_000, save_every=1_000_000,
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


def cpu_of_a_step(worker: psutil.Process, metrics: Path) -> float:
    """Return the CPU seconds of a step, over `STEPS_MEASURED` of them."""

    def step() -> int:
        return max((record["step"] for record in LineTail(metrics).read_new()), default=0)

    first, before = step(), worker.cpu_times()
    while (last := step()) < first + STEPS_MEASURED:
        time.sleep(0.05)
    after = worker.cpu_times()
    return (after.user + after.system - before.user - before.system) / (last - first)


async def cpu_beside_viewers(server: Server, run: str, worker: psutil.Process, metrics: Path) -> float:
    """Return the CPU seconds of a step while ten pages and ten curves look on."""
    sessions = [Session(server.port, f"run={run}") for _ in range(10)]
    await asyncio.gather(*(session.open() for session in sessions))
    viewers: list[Session | Poller] = [*sessions, *(Poller(server.port, run) for _ in range(10))]
    watching = asyncio.ensure_future(watch(viewers, 3600))
    await asyncio.sleep(WARM_SECONDS)
    seconds = await asyncio.to_thread(cpu_of_a_step, worker, metrics)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await close_all(sessions)
    return seconds


async def measure_beside(server: Server, run: str, worker: psutil.Process, metrics: Path) -> tuple[float, float]:
    """Return the CPU seconds of a step alone and beside 20 viewers, each the median of three turns."""
    alone, beside = [], []
    for _ in range(3):
        alone.append(await asyncio.to_thread(cpu_of_a_step, worker, metrics))
        beside.append(await cpu_beside_viewers(server, run, worker, metrics))
    return statistics.median(alone), statistics.median(beside)


def main() -> None:
    """Measure and publish."""
    with tempfile.TemporaryDirectory() as folder:
        run = start_run(Path(folder) / "data")
        server = Server(Path(folder) / "data", Path(folder) / "server.log")
        server.start()
        assert server.process is not None
        try:
            worker = worker_of(run)
            metrics = Path(folder) / "data" / "experiments" / run / "metrics.jsonl"
            while not metrics.exists():
                time.sleep(0.1)
            alone, beside = asyncio.run(measure_beside(server, run, worker, metrics))
            if sys.platform == "linux":
                psutil.Process(server.process.pid).cpu_affinity([0])
            worker.nice(19)  # it goes on, so that there is something new; the viewers themselves need the other core
            watched = asyncio.run(watch_server(server, run, PAGES, POLLERS))
        finally:
            requests.get(f"{server.address}/health", timeout=5)
            services = context.build_services()
            runs.stop(services, run)
            services.close()
            server.stop()
            worker.wait(60)
    publish("viewers", {"pages": PAGES, "pollers": POLLERS, **watched, "step_cpu_ratio_beside_20": beside / alone})


if __name__ == "__main__":
    main()
