"""Real workers: run, stop, kill, adopt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.jobs.conftest import wait_for
from tunesmith.jobs import supervisor as supervision
from tunesmith.jobs.process import signal_worker
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.store.experiments import TERMINAL, Experiment, ExperimentStore
from tunesmith.store.files import LineTail
from tunesmith.store.locks import is_held
from tunesmith.system.environment import worker_environment

Submit = Callable[..., Experiment]


def status(store: ExperimentStore, run: Experiment) -> str:
    return store.get(run.id).status


def steps(store: ExperimentStore, run: Experiment) -> list[int]:
    return [r["step"] for r in LineTail(store.folder(run.id).metrics).read_new() if "train_loss" in r]


def test_a_run_completes_with_metrics_and_adapter(store: ExperimentStore, supervisor: Supervisor, submit: Submit) -> None:
    run = submit(iters=4)
    wait_for(lambda: status(store, run) in TERMINAL)
    done = store.get(run.id)
    assert done.status == "completed", store.folder(run.id).read_log_tail(40)
    assert [h["status"] for h in done.history] == ["queued", "starting", "running", "completed"]
    assert steps(store, run) == [1, 2, 3, 4]
    assert store.folder(run.id).has_adapter()
    assert done.summary["steps"] == 4
    assert len(done.summary["sparkline"]) == 4
    assert not is_held(store.locks / "accelerator.lock")
    assert supervisor.in_charge


def test_one_accelerator_runs_one_job_at_a_time(store: ExperimentStore, supervisor: Supervisor, submit: Submit) -> None:
    first, second = submit(iters=6), submit(iters=2)
    wait_for(lambda: status(store, first) in {"running", "completed"})
    seen = status(store, second)  # before the first one is looked at: it may end in between
    while status(store, first) not in TERMINAL:
        assert seen == "queued"
        time.sleep(0.02)
        seen = status(store, second)
    wait_for(lambda: status(store, second) in TERMINAL)
    assert status(store, second) == "completed"
    assert store.get(second.id).started_at >= store.get(first.id).started_at


def test_stop_saves_and_cancels(store: ExperimentStore, supervisor: Supervisor, submit: Submit) -> None:
    run = submit(iters=100_000)
    wait_for(lambda: len(steps(store, run)) > 2)
    store.folder(run.id).request("cancel")
    wait_for(lambda: status(store, run) == "cancelled")
    assert store.folder(run.id).has_adapter()


def test_a_queued_run_is_cancelled_without_a_worker(store: ExperimentStore, submit: Submit) -> None:
    run = submit()
    store.folder(run.id).request("cancel")
    Supervisor(store).tick()
    assert status(store, run) == "cancelled"
    assert not store.folder(run.id).log.exists()


def test_a_killed_worker_is_interrupted(store: ExperimentStore, supervisor: Supervisor, submit: Submit) -> None:
    run = submit(iters=100_000)
    wait_for(lambda: len(steps(store, run)) > 3)
    before = steps(store, run)
    os.killpg(store.get(run.id).pid, signal.SIGKILL)
    wait_for(lambda: status(store, run) == "interrupted")
    assert steps(store, run)[: len(before)] == before
    assert (store.get(run.id).error or {})["code"] == "worker_died"


def test_a_person_s_error_reaches_the_record(store: ExperimentStore, supervisor: Supervisor, submit: Submit, tmp_path: Path) -> None:
    run = submit(model=tmp_path / "no-model-here")
    wait_for(lambda: status(store, run) in TERMINAL)
    assert status(store, run) == "failed"
    assert (store.get(run.id).error or {})["code"].startswith("model_")


SERVER = """
import sys, time, pathlib
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.store.experiments import ExperimentStore
supervisor = Supervisor(ExperimentStore(pathlib.Path(sys.argv[1])))
supervisor.start()
print("in charge" if supervisor.in_charge else "read-only", flush=True)
time.sleep(600)
"""


def start_server(store: ExperimentStore) -> tuple[subprocess.Popen[str], str]:
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(store.root)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def end_server(server: subprocess.Popen[str]) -> None:
    server.kill()
    server.wait()
    assert server.stdout is not None
    server.stdout.close()


def test_a_run_outlives_its_server_and_is_adopted(store: ExperimentStore, submit: Submit) -> None:
    server, word = start_server(store)
    assert word == "in charge"
    run = submit(iters=100_000)
    wait_for(lambda: len(steps(store, run)) > 2 and status(store, run) == "running")
    pid = store.get(run.id).pid
    end_server(server)
    seen = len(steps(store, run))
    wait_for(lambda: len(steps(store, run)) > seen + 2)

    adopter = Supervisor(store)
    adopter.start()
    assert adopter.in_charge
    try:
        assert status(store, run) == "running"
        assert store.get(run.id).pid == pid
        store.folder(run.id).request("cancel")
        adopter.wake()
        wait_for(lambda: status(store, run) == "cancelled")
    finally:
        adopter.close()


def test_a_worker_whose_pid_was_never_written_down_can_still_be_stopped(store: ExperimentStore, submit: Submit) -> None:
    """Its server was killed between the launch and the record."""
    run = submit(iters=100_000)
    first, heir = Supervisor(store), Supervisor(store)
    first.tick()
    pid = store.get(run.id).pid
    store.change(store.get(run.id), pid=0)
    wait_for(lambda: heir.tick() or store.get(run.id).pid == pid)  # type: ignore[func-returns-value]
    assert signal_worker(pid, store.get(run.id).nonce, signal.SIGKILL)
    wait_for(lambda: first.tick() or status(store, run) == "interrupted")  # type: ignore[func-returns-value]


def test_a_run_that_ended_while_nobody_watched_is_finished(store: ExperimentStore, submit: Submit) -> None:
    server, _ = start_server(store)
    run = submit(iters=4)
    wait_for(lambda: status(store, run) == "running")  # it has yet to import the engine
    end_server(server)
    wait_for(lambda: not is_held(store.run_lock(run.id)))
    assert status(store, run) == "running"
    supervisor = Supervisor(store)
    supervisor.start()
    try:
        wait_for(lambda: status(store, run) == "completed")
    finally:
        supervisor.close()


def test_a_second_server_is_read_only_until_the_first_is_gone(store: ExperimentStore) -> None:
    server, word = start_server(store)
    assert word == "in charge"
    second = Supervisor(store)
    second.start()
    try:
        assert not second.in_charge
        end_server(server)
        wait_for(lambda: second.in_charge)
    finally:
        second.close()


def test_a_stranger_with_the_same_pid_is_not_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as stranger:
        assert not signal_worker(stranger.pid, "another-nonce", signal.SIGKILL)
        assert psutil.pid_exists(stranger.pid)
        stranger.kill()


def test_a_hung_worker_is_killed_by_the_ladder(store: ExperimentStore, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped (SIGSTOP) worker answers nothing: when the waiting time is over, SIGKILL ends it."""
    monkeypatch.setattr(supervision, "TERMINATE_AFTER_SECONDS", 0.2)
    monkeypatch.setattr(supervision, "KILL_AFTER_SECONDS", 0.4)
    supervisor = Supervisor(store)
    run = submit(iters=100_000)
    supervisor.tick()
    wait_for(lambda: len(steps(store, run)) > 1)
    os.killpg(store.get(run.id).pid, signal.SIGSTOP)
    store.folder(run.id).request("cancel")
    wait_for(lambda: supervisor.tick() or status(store, run) == "cancelled")  # type: ignore[func-returns-value]


def test_workers_see_no_secrets() -> None:
    seen = worker_environment({"PATH": "/bin", "HF_TOKEN": "hf_x", "OPENAI_API_KEY": "sk", "OPENBLAS_NUM_THREADS": "1"})
    assert seen["PATH"] == "/bin"
    assert seen["OPENBLAS_NUM_THREADS"] == "1"
    assert seen["HF_HUB_OFFLINE"] == "1"
    assert not {"HF_TOKEN", "OPENAI_API_KEY"} & set(seen)
