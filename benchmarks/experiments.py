"""The list of 5,000 runs, with its index and without: reading every record, label file and settings file as lists did before.

The store is drawn (benchmarks.drawn_runs). Each opening is a process of its own, the arms take turns, medians are told; "open" counts
from the open store to the finished rows, "served" is what a tab waits for the whole page from a real server that has just begun to answer,
"page" the same script by Streamlit's AppTest, which reads the index meanwhile. Both arms must give the same rows.
The file system's cache is warm in all of them: on a disk that was never read, every arm waits for the disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import orjson

from benchmarks.drawn_runs import draw_store
from benchmarks.reporting import publish
from benchmarks.watching import Tab
from tests.e2e.conftest import Server
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.services import adapters, experiment_search, experiments, home
from tunesmith.services.experiment_search import RunQuery
from tunesmith.settings.files import flatten, parse_yaml
from tunesmith.store.experiment_index import IndexedRun
from tunesmith.store.experiment_record import read_record
from tunesmith.store.experiments import ExperimentStore
from tunesmith.store.labels import change_labels, read_labels
from tunesmith.store.run_folder import RunFolder
from tunesmith.system.paths import REPOSITORY

COUNT = int(os.environ.get("BENCH_RUNS", "5000"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
SEARCH = RunQuery("sums rank 8")
FILTERED = RunQuery(filters={"status": ["completed"], "tag": ["keep"]}, order="final_loss", ascending=True)
PAGE_ROWS, FEW = 100, 5

OPEN = """
import sys, time
from pathlib import Path
from benchmarks.experiments import ARMS, fingerprint
from tunesmith.store.experiments import ExperimentStore
store = ExperimentStore(Path(sys.argv[1]))
began = time.perf_counter()
rows = ARMS[sys.argv[2]](store)
print(time.perf_counter() - began, len(rows), fingerprint(rows))
"""
PAGE = """
import logging, os, sys, time
logging.disable(logging.CRITICAL)
os.environ["TUNESMITH_DATA_DIR"] = sys.argv[1]
from streamlit.testing.v1 import AppTest
from tunesmith.services import context
from tunesmith.ui import experiment_actions, experiment_card, experiment_filters, experiment_table, experiment_trash
from tunesmith.ui.frame import MAIN_SCRIPT
context.open_services().supervisor._closed = True
app = AppTest.from_file(str(MAIN_SCRIPT), default_timeout=300)
app.session_state["language"] = "en"
def timed(act):
    began = time.perf_counter()
    act()
    assert not app.exception
    print(time.perf_counter() - began)
timed(lambda: app.switch_page("../../../pages/experiments.py").run())
assert len(app.dataframe[0].value) == int(sys.argv[2])
timed(app.run)
timed(lambda: app.text_input(key="experiments-q").set_value("sums rank 8").run())
"""


def read_without(store: ExperimentStore) -> list[experiments.ExperimentRow]:
    """Return all rows from the runs' own files."""
    rows = []
    for path in store.experiments.iterdir():
        folder = RunFolder(path)
        settings = flatten(parse_yaml(folder.config.read_text(encoding="utf-8"), folder.config.name))
        stamp = (0, 0, 0)
        run = IndexedRun(path.name, stamp, stamp, folder.has_adapter(), read_record(folder), read_labels(path), settings)
        rows.append(experiments.row_of(_services(store), run))
    return sorted(rows, key=lambda row: (row.created_at, row.id), reverse=True)


def read_with(store: ExperimentStore) -> list[experiments.ExperimentRow]:
    """Return all rows as the page gets them."""
    return experiments.table(_services(store))


ARMS = {"without": read_without, "with": read_with}


def _services(store: ExperimentStore) -> Any:
    return SimpleNamespace(store=store, data_dir=store.root)


def fingerprint(rows: list[experiments.ExperimentRow]) -> str:
    """Return a checksum over everything in the rows."""
    return hashlib.sha256(orjson.dumps(rows, default=str)).hexdigest()


def _run(script: str, *arguments: object) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split()


def measure_opening(root: Path) -> dict[str, Any]:
    """Return the seconds to open the list in a fresh process: without the index, with none yet (which writes it), and with it."""
    seconds: dict[str, list[float]] = {"without": [], "cold": [], "warm": []}
    told = set()
    for _ in range(REPEATS):
        for name in seconds:
            if name == "cold":
                shutil.rmtree(root / "cache", ignore_errors=True)
            took, rows, sum_of_rows = _run(OPEN, root, "without" if name == "without" else "with")
            seconds[name].append(float(took))
            told.add((rows, sum_of_rows))
    assert told == {(str(COUNT), next(iter(told))[1])}, "the arms give different rows"
    figures: dict[str, Any] = {f"open_{name}_seconds": median(values) for name, values in seconds.items()}
    return figures | {"open_ratio": figures["open_without_seconds"] / figures["open_warm_seconds"], "same_rows": len(told) == 1}


def measure_page(root: Path, small: Path) -> dict[str, float]:
    """Return the seconds of the whole page in a fresh process: first (and first of five runs), drawn again, after a search."""
    runs, few = [], []
    for _ in range(REPEATS):
        few.append(_run(PAGE, small, FEW))
        runs.append(_run(PAGE, root, min(COUNT, PAGE_ROWS)))
    names = ("page_first_seconds", "page_again_seconds", "page_search_seconds")
    figures = {name: median(float(run[place]) for run in runs) for place, name in enumerate(names)}
    return {"page_first_of_five_seconds": median(float(run[0]) for run in few)} | figures


async def _serve(root: Path) -> tuple[float, float]:
    """Return the seconds of the page in the first tab of a fresh server, and in the next one."""
    server = Server(root, root.with_suffix(".log"))
    server.start()
    try:
        tabs = [Tab(server.port, "", f"tab{number}", "experiments") for number in range(2)]
        for tab in tabs:
            await tab.open()
            await tab.close()
    finally:
        server.stop()
    assert not any(tab.broken for tab in tabs)
    first, again = (tab.took["open"][0][1] for tab in tabs)
    return first, again


def measure_served(root: Path) -> dict[str, float]:
    """Return the seconds of the page from a real server."""
    first, again = zip(*(asyncio.run(_serve(root)) for _ in range(REPEATS)), strict=True)
    return {"served_first_seconds": median(first), "served_again_seconds": median(again)}


def _milliseconds(act: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return median(times) * 1000


def measure_redraws(root: Path) -> dict[str, float]:
    """Return the milliseconds of what pages and the supervisor do again and again in one process; reading without the index beside it."""
    store = ExperimentStore(root)
    s = _services(store)
    rows = read_with(store)
    supervisor = Supervisor(store, may_start=lambda: False)
    supervisor.tick()

    def change_one() -> None:
        change_labels(store.experiments / rows[0].id, notes=str(time.time()))
        read_with(store)

    figures = {
        "list_again_ms": _milliseconds(lambda: read_with(store)), "list_without_ms": _milliseconds(lambda: read_without(store)),
        "list_after_a_change_ms": _milliseconds(change_one), "search_ms": _milliseconds(lambda: experiment_search.find(rows, SEARCH)),
        "filter_ms": _milliseconds(lambda: experiment_search.find(rows, FILTERED)),
        "order_by_setting_ms": _milliseconds(lambda: experiment_search.in_order(rows, "settings.learning_rate", True)),
        "filter_choices_ms": _milliseconds(lambda: [experiment_search.choices(rows, name) for name in experiment_search.FILTERS]),
        "columns_ms": _milliseconds(lambda: experiment_search.columns_of(rows)),
        "home_ms": _milliseconds(lambda: home.overview(s)), "adapters_ms": _milliseconds(lambda: adapters.list_adapters(s)),
        "supervisor_tick_ms": _milliseconds(supervisor.tick), "one_run_ms": _milliseconds(lambda: store.get(rows[0].id)),
    }  # fmt: skip
    supervisor.close()
    return figures | {"list_ratio": figures["list_without_ms"] / figures["list_again_ms"]}


def main() -> None:
    """Draw the store, measure, print and keep the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root, small = Path(folder) / "data", Path(folder) / "small"
        draw_store(small, FEW)
        began = time.perf_counter()
        draw_store(root, COUNT)
        print(f"  {COUNT} runs drawn in {time.perf_counter() - began:.1f} s", flush=True)
        figures: dict[str, Any] = {"runs": COUNT, "repeats": REPEATS} | measure_opening(root)
        figures |= {"index_megabytes": (root / "cache" / "experiments.jsonl").stat().st_size / 1e6}
        figures |= measure_served(root) | measure_page(root, small) | measure_redraws(root)
    publish("experiments", figures)


if __name__ == "__main__":
    main()
