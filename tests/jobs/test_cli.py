"""The command line as people use it: real processes for the runs, the same services for the rest."""

from __future__ import annotations

import dataclasses
import json
import socket
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


@pytest.mark.parametrize("command", [["validate"], ["train"], ["rewards", "try"], ["judge", "--evaluation", "e", "--prompt-file"],
                                     ["judge", "--evaluation", "e", "--settings"], ["evaluate", "--settings"]])  # fmt: skip
def test_a_file_that_is_no_text_is_named(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "run.yaml").write_bytes(GOOD.encode() + "name: 実験".encode("cp932"))
    with pytest.raises(UserError) as caught:
        cli.app([*command, str(tmp_path / "run.yaml")], standalone_mode=False)
    assert (caught.value.code, caught.value.facts["file"]) == ("yaml_unreadable", "run.yaml")


FACTS = ["--data", "company_facts"]
TYPED = [
    (["evaluate", *FACTS, "--settings"], "sampling: {temperature: 0.5, seed: 4}", ["--temperature", "0"], {"temperature": 0.0, "seed": 4}),
    (["predict", *FACTS, "--out", "x.csv", "--settings"], "sampling: {max_tokens: 9}", ["--seed", "0"], {"max_tokens": 9, "seed": 0}),
    (["predict", *FACTS, "--out", "x.csv", "--settings"], "sampling: {max_tokens: 9}", ["--max-tokens", "7"], {"max_tokens": 7, "seed": 0}),
    (["judge", *FACTS, "--settings"], "rows: 4\nlanguage: ja", ["--limit", "5"], {"rows": 5, "language": "ja"}),
    (["judge", *FACTS, "--settings"], "rows: 4\nlanguage: ja", ["--language", "en"], {"rows": 4, "language": "en"}),
    (["judge", *FACTS, "--settings"], "parallel: 2", [], {"rows": 100, "language": "en", "parallel": 2}),
    (
        ["fuse", "a", "b", "--name", "x", "--rules"], "method: ties\nweights: [1, 2]\ndensity: 0.3", ["--weights", "3,4"],
        {"method": "ties", "weights": (3, 4), "density": 0.3},
    ),
    (
        ["fuse", "a", "b", "--name", "x", "--rules"], "method: ties\nweights: [1, 2]", ["--method", "slerp"],
        {"method": "slerp", "weights": (1, 2)},
    ),
    (["fuse", "a", "b", "--name", "x", "--rules"], "{}", [], {"method": "linear", "weights": (0.5, 0.5)}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "text", "typed", "expected"), TYPED, ids=lambda part: " ".join(part)[:40] if isinstance(part, list) else ""
)
def test_a_typed_option_goes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], text: str, typed: list[str], expected: dict[str, object]
) -> None:
    asked: dict[str, object] = {}

    def start(*arguments: object, **_: object) -> str:
        for each in arguments:
            asked.update(vars(each) if dataclasses.is_dataclass(each) else {})
        raise UserError("asked")

    for service, name in (
        (cli.cli_evaluate.evaluations, "start"), (cli.cli_judge.judging, "start"), (cli.cli_models.fusion, "start_fusion"),
    ):  # fmt: skip
        monkeypatch.setattr(service, name, start)
    (tmp_path / "chosen.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="asked"):
        cli.app([*command, str(tmp_path / "chosen.yaml"), *typed], standalone_mode=False)
    assert {name: asked[name] for name in expected} == expected


def test_a_failed_resume_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], submit: Callable[..., Experiment],
                                  store: ExperimentStore) -> None:  # fmt: skip
    run = submit().id
    for status in ("starting", "running", "failed"):
        store.transition(store.get(run), status, **({"error": UserError("disk_full").as_record()} if status == "failed" else {}))
    monkeypatch.setattr(cli.runs, "resume", lambda *_: None)  # the second try ends as the first did
    with pytest.raises(UserError, match="disk_full"):
        cli.app(["resume", run, "--json"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "disk_full"


def test_a_port_that_is_none_or_is_not_ours_is_told_as_such() -> None:
    done = run_cli("serve", "--port", "99999")
    assert done.returncode == 2
    assert "65535" in done.stderr
    assert "Traceback" not in done.stderr
    with pytest.raises(UserError, match="serving_address_wrong"):
        cli.cli_serve._require_free_port("192.0.2.1", 8501)  # an address of another computer
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="port_in_use"):
            cli.cli_serve._require_free_port("127.0.0.1", taken.getsockname()[1])


def test_a_missing_file_is_named() -> None:
    done = run_cli("train", "no-such.yaml")
    assert done.returncode == 2
    assert "no-such.yaml" in done.stderr
