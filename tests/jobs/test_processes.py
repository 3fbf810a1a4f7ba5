"""Two processes under mlx.launch are one: the same losses and weights for the same global batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.jobs.conftest import wait_for
from tunesmith.jobs.process import worker_command
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.store.experiments import TERMINAL, Experiment, ExperimentStore
from tunesmith.store.files import LineTail

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
