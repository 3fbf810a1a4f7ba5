"""Two processes under mlx.launch are one: the same losses and weights for the same global batch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.conftest import wait_for
from tunesmith.jobs.process import worker_command
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.store.experiments import TERMINAL, Experiment, ExperimentStore
from tunesmith.store.files import LineTail
from tunesmith.training.processes import Processes, join_processes

TOLERANCE = 1e-4  # relative; the sums run in another order, and counts go through float32


def figures(store: ExperimentStore, run: Experiment, name: str) -> list[float]:
    return [r[name] for r in LineTail(store.folder(run.id).metrics).read_new() if name in r]


def test_two_processes_equal_one(store: ExperimentStore, supervisor: Supervisor, submit: Callable[..., Experiment]) -> None:
    """8 rows in batches of 3: each process has 2 and 1 of them, in the last step one has none: the token mean must not notice."""
    alone, together = submit(iters=6, batch_size=3), submit(iters=6, batch_size=3, num_processes=2)
    for run in (alone, together):
        wait_for(lambda run=run: store.get(run.id).status in TERMINAL, 120)  # type: ignore[misc]
        assert store.get(run.id).status == "completed", store.folder(run.id).read_log_tail(40)
    for name in ("train_loss", "val_loss", "grad_norm"):
        assert figures(store, together, name) == pytest.approx(figures(store, alone, name), rel=TOLERANCE)
    assert figures(store, together, "tokens_seen") == figures(store, alone, "tokens_seen")
    events = store.folder(together.id).read_events()
    assert [e["processes"] for e in events if e["kind"] == "run_started"] == [2]


@pytest.mark.slow
def test_a_stop_reaches_both_processes(store: ExperimentStore, supervisor: Supervisor, submit: Callable[..., Experiment]) -> None:
    run = submit(iters=100_000, num_processes=2)
    wait_for(lambda: len(figures(store, run, "train_loss")) > 2, 120)
    store.folder(run.id).request("cancel")
    wait_for(lambda: store.get(run.id).status == "cancelled")
    assert store.folder(run.id).has_adapter()


def test_the_command_of_several_machines(store: ExperimentStore) -> None:
    command = worker_command(store.root, "n", 1, "hosts.json", 5000)
    assert command[command.index("--hostfile") + 1] == "hosts.json"
    assert "--backend ring --starting-port 5000" in " ".join(command)


JOIN = "from tunesmith.training.processes import join_processes; place = join_processes(1); print(place.rank, place.count)"


def test_a_host_file_counts_where_the_settings_say_one_process(tmp_path: Path) -> None:
    """What mlx.launch gives each process of two Macs, here on one: each on its own would write the run's files."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        ring = [[f"127.0.0.1:{each.getsockname()[1]}"] for each in (one, other)]
    (tmp_path / "ring.json").write_text(json.dumps(ring))
    given = {**os.environ, "MLX_HOSTFILE": str(tmp_path / "ring.json")}
    started = [
        subprocess.Popen([sys.executable, "-c", JOIN], env=given | {"MLX_RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    assert [process.communicate(timeout=60)[0].split() for process in started] == [["0", "2"], ["1", "2"]]


@pytest.mark.parametrize("expected", [1, 2])
def test_a_host_file_of_one_mac_is_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: int) -> None:
    (tmp_path / "ring.json").write_text("\n")  # so mlx.launch leaves it
    monkeypatch.setenv("MLX_RANK", "0")
    monkeypatch.setenv("MLX_HOSTFILE", str(tmp_path / "ring.json"))
    assert join_processes(expected) == Processes(0, 1)
