"""`tunesmith data …` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.jobs.test_cli import run_cli

CSV = "質問内容,回答内容,分類\r\n営業時間は?,9時からです。,店\r\nどこですか?,駅前です。,店\r\n支払いは?,カードも使えます。,金\r\n".encode(
    "cp932"
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "窓口.csv"
    path.write_bytes(CSV)
    return path


def test_inspect_map_import_split_list(data_dir: Path, file: Path) -> None:
    told = run_cli("data", "inspect", str(file), "--json")
    found = json.loads(told.stdout)
    assert told.returncode == 2  # no row can be used under these names
    assert (found["format"], found["encoding"], found["columns"]) == ("csv", "cp932", ["質問内容", "回答内容", "分類"])
    assert found["suggested"] == {"kind": "prompt_completion", "columns": {"prompt": "質問内容", "completion": "回答内容"}}
    mapping = ["--kind", "prompt_completion", "--column", "prompt=質問内容", "--column", "completion=回答内容"]
    told = run_cli("data", "inspect", str(file), *mapping)
    assert told.returncode == 0, told.stderr
    assert "rows     train 3" in told.stdout
    assert "methods  sft" in told.stdout
    kept = json.loads(run_cli("data", "import", str(file), "--name", "desk", *mapping, "--json").stdout)
    assert (kept["id"], kept["version"], kept["rows"], kept["left_out"]) == ("desk", 1, {"train": 3}, 0)
    told = run_cli("data", "split", "desk", "--valid", "1", "--json")
    assert json.loads(told.stdout)["rows"] == {"train": 2, "valid": 1}, told.stderr
    listed = {d["id"]: d for d in json.loads(run_cli("data", "list", "--json").stdout)}
    assert listed["desk"]["version"] == 2
    assert listed["desk"]["methods"][0] == "sft"


def test_problems_are_told_by_line_and_field(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"prompt": "a", "completion": "b"}\n{"prompt": "a", "completion": 3.5}\n{"prompt": "a", "completion": ""}\n{"prompt": \n'
    )
    told = run_cli("data", "inspect", str(path))
    assert told.returncode == 0
    assert "Row in line 3 completion:" in told.stdout
    assert "Row in line 4" in told.stdout
    missing = run_cli("data", "inspect", str(tmp_path / "nothing.csv"))
    assert missing.returncode == 2
    assert "nothing.csv" in missing.stdout + missing.stderr
    wrong = run_cli("data", "import", str(path), "--column", "prompt=a")
    assert wrong.returncode == 2
    assert "--kind" in wrong.stderr


def test_check_clean_and_generate(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "One?", "completion": "1"}\n{"prompt": "one?", "completion": "1"}\n{"prompt": "Two?", "completion": "2"}\n')
    assert run_cli("data", "import", str(path)).returncode == 0
    told = run_cli("data", "check", "rows")
    assert "exact_duplicates" in told.stdout
    cleaned = json.loads(run_cli("data", "clean", "rows", "--drop", "exact_duplicates", "--json").stdout)
    assert (cleaned["version"], cleaned["rows"]) == (2, {"train": 2})
    refused = run_cli("data", "generate", str(path), "--endpoint", "https://api.example.com/v1")
    assert refused.returncode == 2
    assert "api.example.com" in refused.stderr
