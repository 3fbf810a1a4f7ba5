"""Import of 1,000,000 chat rows (1 GB of JSON lines) against `datasets.load_dataset("json")` and pandas, each in a process of its own.

The peers only parse; ours also checks every row, counts kinds, lengths and repetitions, hashes the file and writes the version.
All three must give the same rows: number, and a checksum over every answer. Peak memory by psutil's reading of each process.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
import psutil

from benchmarks.reporting import publish
from tunesmith.system.paths import REPOSITORY

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
REPEATS = int(os.environ.get("BENCH_REPEATS", "6"))
CHUNK_ROWS = 20_000

OURS = """
import sys
from pathlib import Path
from tunesmith.jobs.reading import ask_reader
record = ask_reader("import", Path(sys.argv[1]), Path(sys.argv[2]))
print(record["census"]["rows"]["train"])
"""
DATASETS = """
import sys, datasets
datasets.disable_progress_bars()
made = datasets.load_dataset("json", data_files=sys.argv[1], cache_dir=sys.argv[2], split="train")
print(len(made))
"""
PANDAS = f"""
import sys, pandas
print(sum(len(part) for part in pandas.read_json(sys.argv[1], lines=True, chunksize={CHUNK_ROWS})))
"""
ARMS = {"ours": OURS, "datasets": DATASETS, "pandas": PANDAS}


def write_rows(path: Path, count: int) -> None:
    """Write chat rows of about 1 kB with different questions."""
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(5000)]
    texts = [" ".join(chance.choices(words, k=48)) for _ in range(5000)]
    with path.open("wb") as file:
        for number in range(count):
            asked = {"role": "user", "content": f"{number} {texts[number % 4999]}"}
            answer = {"role": "assistant", "content": f"{texts[(number * 7) % 5000]} {number}\n{texts[(number * 3) % 4998]}"}
            file.write(orjson.dumps({"messages": [asked, answer]}) + b"\n")


def checksum(answers: Iterable[str]) -> int:
    """Return a checksum over texts in their order."""
    total = 0
    for answer in answers:
        total = zlib.crc32(answer.encode(), total)
    return total


def check_arms(folder: Path) -> None:
    """Read a small file all three ways in this process and compare every answer. Raises AssertionError."""
    import datasets
    import pandas as pd

    from tunesmith.jobs.reading import ask_reader

    source, target = folder / "check.jsonl", folder / "check"
    write_rows(source, 3000)
    target.mkdir()
    ask_reader("import", source, target)
    with (target / "train.jsonl").open("rb") as file:
        ours = checksum(orjson.loads(line)["messages"][-1]["content"] for line in file)
    datasets.disable_progress_bars()
    made = datasets.load_dataset("json", data_files=str(source), cache_dir=str(folder / "cache"), split="train")
    theirs = checksum(row["messages"][-1]["content"] for row in made)
    frame = pd.read_json(source, lines=True)
    assert ours == theirs == checksum(messages[-1]["content"] for messages in frame["messages"])


def run_arm(name: str, source: Path) -> dict[str, float]:
    """Return seconds and peak resident bytes (all its processes together) of one arm."""
    with tempfile.TemporaryDirectory(dir=source.parent) as target:
        began = time.perf_counter()
        command = [sys.executable, "-c", ARMS[name], str(source), target]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, env=os.environ | {"HF_HUB_OFFLINE": "1"})
        peak = _Peak(child.pid)
        output, _ = child.communicate()
        seconds = time.perf_counter() - began
        assert child.returncode == 0
        assert int(output) == ROWS
        return {"seconds": seconds, "peak_rss_bytes": peak.stop()}


class _Peak:
    """Reads the resident memory of a process and its children 4 times a second."""

    def __init__(self, pid: int) -> None:
        self._process, self._bytes, self._going = psutil.Process(pid), 0, True
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while self._going:
            try:
                present = (self._process, *self._process.children(recursive=True))
                self._bytes = max(self._bytes, sum(process.memory_info().rss for process in present))
            except psutil.Error:
                pass
            time.sleep(0.25)

    def stop(self) -> int:
        """Return the largest reading."""
        self._going = False
        self._thread.join()
        return self._bytes


def main() -> None:
    """Print the table and write the JSON; arms take turns in every order, the best of the repeats counts for each."""
    with tempfile.TemporaryDirectory() as folder:
        check_arms(Path(folder))
        source = Path(folder) / "rows.jsonl"
        write_rows(source, ROWS)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
        for order in list(itertools.permutations(ARMS))[:REPEATS]:  # who comes after whom matters: freed memory is warm for the next
            for name in order:
                runs[name].append(run_arm(name, source))
        size = source.stat().st_size
    best = {name: min(found, key=lambda run: run["seconds"]) for name, found in runs.items()}
    record: dict[str, Any] = {
        "rows": ROWS, "bytes": size, "rows_per_second": {name: ROWS / run["seconds"] for name, run in best.items()},
        "rows_per_second_ratio": {name: best[name]["seconds"] / best["ours"]["seconds"] for name in ("datasets", "pandas")},
        "peak_rss_bytes": {name: max(run["peak_rss_bytes"] for run in found) for name, found in runs.items()},
        "seconds": {name: [round(run["seconds"], 2) for run in found] for name, found in runs.items()},
    }  # fmt: skip
    lines = ["| | rows/s | ours is × as fast | peak memory |", "|---|---|---|---|"]
    for name in ARMS:
        ratio = "" if name == "ours" else f"{record['rows_per_second_ratio'][name]:.2f}"
        lines.append(f"| {name} | {record['rows_per_second'][name]:,.0f} | {ratio} | {record['peak_rss_bytes'][name] / 1e6:,.0f} MB |")
    print("\n".join(lines))
    publish("import", record)


if __name__ == "__main__":
    main()
