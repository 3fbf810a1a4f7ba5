"""The command line as people use it: real processes for the runs, the same services for the rest."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.jobs.conftest import wait_for
from tunesmith import cli
from tunesmith.errors import UserError
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.store.experiments import Experiment, ExperimentStore

GOOD = "model: demo\ndata: company_facts\n"
BROKEN = [
    (GOOD + "iterz: 5", "iters"),
    (GOOD + "iters: many", "iters"),
    (GOOD + "batch_size: 0", "batch_size"),
    (GOOD + "lora_parameters: {dropout: 2}", "dropout"),
    (GOOD + "lora_parameters: {ranks: 8}", "rank"),
    (GOOD + "optimizer: adamm", "optimizer"),
    (GOOD + "learning_rate: .nan", "learning_rate"),
    ("model: [demo", "line"),
    ("model: nothing-here\ndata: company_facts", "nothing-here"),
    ("model: demo\ndata: nothing-here", "nothing-here"),
    (GOOD + "num_layers: 99", "99"),
    (GOOD + "max_seq_length: 8", "8"),
    (GOOD + "fine_tune_type: full\nquantize: 4-bit", "Quantised"),
    (GOOD + "lora_parameters: {keys: custom}", "custom"),
    (GOOD + "hostfile: nowhere.json", "nowhere.json"),
]


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tunesmith.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.mark.parametrize(("text", "named"), BROKEN, ids=[named for _, named in BROKEN])
def test_validate_names_the_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, named: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        with pytest.raises(SystemExit) as ended:
            cli.app(["validate", str(path)], standalone_mode=False)
    except UserError as error:
        words = cli.error_words(error.code, error.facts, "en")
    else:
        assert ended.value.code == 2
        words = capsys.readouterr().out
    assert named in words
    assert "without words" not in words


def test_validate_tells_what_a_good_one_would_do(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(GOOD + "iters: 20", encoding="utf-8")
    done = run_cli("validate", str(tmp_path / "run.yaml"), "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["problems"] == []
    assert record["steps"] == 20
    assert 5e6 < record["peak_memory_bytes"] < 5e9


def test_quick_from_an_empty_data_folder_trains_the_demo(data_dir: Path) -> None:
    assert not data_dir.exists()
    done = run_cli("quick", "--iters", "12", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["status"] == "completed"
    assert record["loss_last"] < record["loss_first"]
    assert (Path(record["adapter"]) / "adapters.safetensors").exists()


@pytest.mark.slow
def test_train_by_yaml_pause_and_resume(
    tmp_path: Path, store: ExperimentStore, supervisor: Supervisor, submit: Callable[..., Experiment]
) -> None:
    """With an app in charge: queue from the terminal, pause, resume, follow to the end, read the log."""
    (tmp_path / "run.yaml").write_text(GOOD + "iters: 300\nsteps_per_report: 1\nval_batches: 0", encoding="utf-8")
    queued = run_cli("train", str(tmp_path / "run.yaml"), "--queue", "--json")
    assert queued.returncode == 0, queued.stderr
    run = json.loads(queued.stdout)["id"]
    wait_for(lambda: store.get(run).status == "running" and store.folder(run).metrics.exists())
    assert run_cli("pause", run).returncode == 0
    wait_for(lambda: store.get(run).status == "paused")
    assert store.folder(run).newest_checkpoint_step() is not None
    again = run_cli("resume", run)
    assert again.returncode == 0, again.stderr
    assert store.get(run).status == "completed"
    assert [h["status"] for h in store.get(run).history].count("queued") == 2
    assert "300/300" in run_cli("logs", run).stdout


def test_lists(store: ExperimentStore) -> None:
    for lists, older, shown in ((("models", "list"), "list-models", "demo"), (("data", "list"), "list-data", "company_facts")):
        told = run_cli(*lists).stdout
        assert shown in told
        assert run_cli(older).stdout == told
    assert run_cli("runs").stdout.strip() == "No runs yet."


def test_a_missing_file_is_named() -> None:
    done = run_cli("train", "no-such.yaml")
    assert done.returncode == 2
    assert "no-such.yaml" in done.stderr
