"""`tunesmith runs diff`: what differs between runs, and their figures, as text and as JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from tunesmith.settings.files import to_yaml
from tunesmith.store.experiments import ExperimentStore
from tunesmith.training.config import TrainConfig

CONFIG = TrainConfig(model="demo", data="company_facts")


def add(store: ExperimentStore, name: str, losses: list[float], **settings: Any) -> str:
    facts = {"name": name, "kind": "train", "method": "sft", "model": "demo", "data": "company_facts", "model_path": "", "data_path": ""}
    run = store.create(to_yaml(dataclasses.replace(CONFIG, name=name, **settings)), **facts)
    lines = [orjson.dumps({"attempt": 1, "step": step, "val_loss": loss}) for step, loss in enumerate(losses)]
    store.folder(run.id).metrics.write_bytes(b"\n".join(lines) + b"\n")
    store.transition(store.transition(store.transition(run, "starting"), "running"), "completed")
    return run.id


def run_cli(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TUNESMITH_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "tunesmith.cli", "runs", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def pair(data_dir: Path) -> tuple[str, str]:
    store = ExperimentStore(data_dir)
    return add(store, "first", [3.0, 1.0, 2.0]), add(store, "second", [3.0, 1.5], learning_rate=5e-4)


def test_what_differs_and_the_figures_stand_side_by_side(data_dir: Path, pair: tuple[str, str]) -> None:
    done = run_cli(data_dir, "diff", *pair)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["first", "second"] in rows
    assert ["learning_rate", str(CONFIG.learning_rate), "0.0005"] in rows
    assert ["val_loss", "best", "1", "1.5"] in rows
    assert ["val_loss", "last", "2", "1.5"] in rows
    assert not [row for row in rows if row[0] in {"batch_size", "name"}]


def test_all_settings_as_json(data_dir: Path, pair: tuple[str, str]) -> None:
    done = run_cli(data_dir, "diff", *pair, "--all", "--json")
    record = json.loads(done.stdout)
    settings = {line["name"]: line for line in record["settings"] if line["section"] == "settings"}
    assert settings["batch_size"]["differs"] is False
    assert settings["learning_rate"] == {
        "section": "settings", "name": "learning_rate", "values": [CONFIG.learning_rate, 5e-4], "differs": True,
    }  # fmt: skip
    best = next(line for line in record["figures"] if line["statistic"] == "best")
    assert (best["metric"], best["values"], best["steps"], best["best"]) == ("val_loss", [1.0, 1.5], [1, 1], 0)


def test_an_unknown_run_is_named(data_dir: Path, pair: tuple[str, str]) -> None:
    done = run_cli(data_dir, "diff", pair[0], "nobody")
    assert done.returncode == 2
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_list_tells_what_a_run_came_to(data_dir: Path) -> None:
    store = ExperimentStore(data_dir)
    runs = {name: add(store, name, []) for name in ("loss", "reward", "nothing")}
    store.change(store.get(runs["loss"]), summary={"loss_last": 0.51239})
    store.change(store.get(runs["reward"]), summary={"loss_last": 0.001, "reward_last": 0.75}, error={"code": "run_stopped", "facts": {}})
    lines = run_cli(data_dir).stdout.splitlines()
    assert sorted(line.split("completed", 1)[1].split() for line in lines) == [
        ["loss", "0.5124", "loss"], ["loss", "–", "nothing"], ["reward", "0.75", "reward"],
    ]  # fmt: skip
    records = {record["name"]: record for record in json.loads(run_cli(data_dir, "--json").stdout)}
    assert (records["reward"]["reward"], records["reward"]["error"]) == (0.75, {"code": "run_stopped", "facts": {}})
    assert records["nothing"]["error"] is None


def test_a_long_name_leaves_the_table_readable(data_dir: Path) -> None:
    store = ExperimentStore(data_dir)
    runs = [add(store, name, [1.0]) for name in ("x" * 200, "short")]
    lines = run_cli(data_dir, "diff", *runs).stdout.splitlines()
    assert max(map(len, lines)) < 120
    assert "…" in lines[0]
    assert runs[0] in lines[1]
