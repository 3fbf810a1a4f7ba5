"""Files made to break a reader, each read in a child process: rows, problems or a refusal in words, within 10 s and 1 GB."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.hostile import FAMILIES, hostile_files

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 10.0
MOST_BYTES = 1_000_000_000
NAMES = list(hostile_files())
SAMPLE = NAMES[::5]
# reads each file that it is told of, and says how it went and what it needed
CHILD = """
import json, resource, sys, time
from pathlib import Path
from tests.fuzz.corpus import read_checked
from tunesmith.data.readers.source import Budget

def peak_bytes():
    status = Path("/proc/self/status")
    if status.exists():  # unlike ru_maxrss, it does not count the parent's memory
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for line in sys.stdin:
    began = time.perf_counter()
    outcome = read_checked(Path(line.rstrip("\\n")), Budget(bytes=1_000_000_000, seconds=7))
    print(json.dumps({"outcome": outcome, "seconds": time.perf_counter() - began, "peak_bytes": peak_bytes()}), flush=True)
"""


def read_in_child(names: Iterable[str], folder: Path) -> dict[str, dict[str, Any]]:
    """Make each file and have a child process read it; return what it says by name. A child that dies fails with the file's name."""
    folder.mkdir()
    results: dict[str, dict[str, Any]] = {}
    errors = folder / "errors.txt"
    command = [sys.executable, "-W", "error", "-c", CHILD]
    with (
        errors.open("w") as stderr,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, cwd=ROOT, text=True) as child,
    ):
        assert child.stdin
        assert child.stdout
        for name in names:
            path = folder / "hostile"
            path.write_bytes(hostile_files()[name]())
            print(path, file=child.stdin, flush=True)
            answer = child.stdout.readline()
            assert answer, f"{name}: {errors.read_text()[-2000:]}"
            results[name] = json.loads(answer)
            path.unlink()
    return results


def assert_held(results: dict[str, dict[str, Any]]) -> None:
    assert not {name: result for name, result in results.items() if result["seconds"] > MOST_SECONDS}
    assert not {name: result for name, result in results.items() if result["peak_bytes"] > MOST_BYTES}  # the first is the one that did it


def read_in_two_children(names: list[str], folder: Path) -> dict[str, dict[str, Any]]:
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(read_in_child, (names[::2], names[1::2]), (folder / "first", folder / "second"))
    return {name: result for half in halves for name, result in half.items()}


def test_there_are_enough_hostile_files() -> None:
    assert len(NAMES) >= 200
    assert {name.split("/")[0] for name in SAMPLE} == {family.__name__.strip("_") for family in FAMILIES}


def test_a_sample_of_hostile_files_is_read_or_refused(tmp_path: Path) -> None:
    results = read_in_two_children(SAMPLE, tmp_path)
    assert list(results) != []
    assert set(results) == set(SAMPLE)
    assert_held(results)


@pytest.mark.slow
def test_all_hostile_files_are_read_or_refused(tmp_path: Path) -> None:
    results = read_in_two_children(NAMES, tmp_path)
    assert set(results) == set(NAMES)
    assert_held(results)
    refused = {name: result["outcome"] for name, result in results.items() if not result["outcome"][0].isdigit()}
    assert {refused.pop(name) for name in NAMES if name.startswith("zip_names/path")} == {"archive_path_not_allowed"}
    assert results["parquet_files/lying_sizes"]["outcome"] == "data_needs_too_much_memory"
    assert results["workbooks/billion_laughs"]["outcome"] == "data_file_broken"
    assert results["tables/runaway_quote"]["outcome"] == "1000010/1"  # a million rows and the line of the quote
    assert {results[f"deep/{levels}{end}row"]["outcome"] for levels in (101, 1000, 100_000) for end in "]}"} == {"2/1"}
