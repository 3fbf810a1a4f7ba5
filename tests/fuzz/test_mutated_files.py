"""Files damaged at random: each is read or refused in words, never a traceback, and in time."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.corpus import mutate, read_checked, seeds

MOST_SECONDS = 10.0


def read_mutated(numbers: range, folder: Path) -> Counter[str]:
    """Read the mutated files of these numbers; a number always makes the same file."""
    names = sorted(seeds())
    outcomes: Counter[str] = Counter()
    path = folder / "mutated"
    for number in numbers:
        rng = random.Random(number)
        name, other = names[number % len(names)], rng.choice(names)
        path.write_bytes(mutate(seeds()[name], seeds()[other], rng))
        began = time.perf_counter()
        try:
            outcome = read_checked(path)
        except Exception as error:
            raise AssertionError(f"file {number}, {name} with {other}: {error!r}") from error
        assert time.perf_counter() - began < MOST_SECONDS, f"file {number}, {name} with {other}"
        outcomes["rows" if outcome[0].isdigit() else outcome] += 1
    return outcomes


@pytest.mark.parametrize("name", sorted(seeds()))
def test_the_seeds_are_read_without_a_problem(name: str, tmp_path: Path) -> None:
    path = tmp_path / "seed"
    path.write_bytes(seeds()[name])
    rows, problems = read_checked(path).split("/")
    assert int(rows) >= 2
    assert problems == "0"


def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    outcomes = read_mutated(range(1000), tmp_path)
    assert outcomes.total() == 1000
    assert outcomes["rows"] > 300  # damage to text costs some rows, seldom the file
    assert {"data_file_broken", "data_format_unknown", "data_encoding_unknown"} <= set(outcomes)


@pytest.mark.slow
def test_ten_thousand_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    assert read_mutated(range(1000, 11_000), tmp_path).total() == 10_000
