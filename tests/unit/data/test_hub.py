"""Which files of a hub's data set are read, under which budget, and how refusals are named; real files over loopback."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from tests.loopback_hub import COMMIT, LoopbackHub, Repository, serve_hub
from tunesmith.data.formats import Row
from tunesmith.data.readers.hub import hub_rows
from tunesmith.data.readers.hub_files import choose_files, is_data
from tunesmith.data.readers.meter import Budget
from tunesmith.errors import UserError

Rows = list[tuple[str, Any]]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


def lines(*texts: str) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


def read(name: str, folder: Path, budget: Budget | None = None, told: list[tuple[int, int]] | None = None) -> Rows:
    progress = (lambda done, total: told.append((done, total))) if told is not None else None
    pairs = list(hub_rows(name, folder, budget or Budget(), progress))
    assert all(isinstance(item, Row) for _, item in pairs)
    return [(split, item.value) for split, item in pairs if isinstance(item, Row)]


def code_of(name: str, folder: Path, budget: Budget | None = None) -> tuple[str, dict[str, Any]]:
    with pytest.raises(UserError) as caught:
        read(name, folder, budget)
    return caught.value.code, caught.value.facts


def chosen(files: list[str], card: dict[str, Any] | None = None, config: str = "") -> dict[str, str]:
    return {file.name: file.split for file in choose_files("a/b", config, {name: 1 for name in files if is_data(name)}, card or {})}


def refusal(files: list[str], card: dict[str, Any], config: str = "") -> tuple[str, Any]:
    with pytest.raises(UserError) as caught:
        chosen(files, card, config)
    return caught.value.code, caught.value.facts.get("configs")


def test_parquet_and_lines_come_as_they_are(hub: LoopbackHub, tmp_path: Path) -> None:
    values = [{"prompt": f"{n} + {n} は?", "answer": str(n + n)} for n in range(300)]
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(values), out)
    hub.repositories["team/qa"] = Repository({"data/train-00000.parquet": out.getvalue(), "data/validation.jsonl": lines("held")})
    told: list[tuple[int, int]] = []
    assert read("team/qa", tmp_path, told=told) == [("train", value) for value in values] + [("valid", {"text": "held"})]
    total = len(out.getvalue()) + len(lines("held"))
    assert told == sorted(told)
    assert told[-1] == (total, total)


def test_progress_is_told_while_a_file_comes(hub: LoopbackHub, tmp_path: Path) -> None:
    content = lines("x" * 900_000) * 25  # huggingface_hub reads pieces of 10 MB: 22.5 MB are three
    hub.repositories["team/long"] = Repository({"train.jsonl": content})
    told: list[tuple[int, int]] = []
    assert len(read("team/long", tmp_path, told=told)) == 25
    assert len({done for done, _ in told if 0 < done < len(content)}) >= 2


def test_all_is_of_one_commit_and_in_the_folder(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repositories["team/a"] = Repository({"rows/train.jsonl": lines("a"), "run.py": b"raise SystemExit('never run')"})
    folder = tmp_path / "folder"
    folder.mkdir()
    assert read("team/a", folder) == [("train", {"text": "a"})]
    assert {path for method, path, _ in hub.asked if "resolve" in path} == {f"/datasets/team/a/resolve/{COMMIT}/rows/train.jsonl"}
    assert [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()] == ["download/rows/train.jsonl"]
    assert not (tmp_path / "home").exists()


def test_only_the_token_of_the_environment(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "kept-token"
    kept.write_text("hf_kept_on_the_machine")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(kept))
    hub.repositories["team/a"] = Repository({"train.jsonl": lines("a")})
    read("team/a", tmp_path / "1")
    assert {token for _, _, token in hub.asked} == {""}
    hub.asked.clear()
    monkeypatch.setenv("HF_TOKEN", "hf_given")
    read("team/a", tmp_path / "2")
    assert {token for _, _, token in hub.asked} == {"Bearer hf_given"}


def test_the_budget_is_of_all_files_together(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repositories["team/many"] = Repository({f"train-{n}.jsonl": lines(*"abcd") for n in range(4)})
    assert len(read("team/many", tmp_path, Budget(rows=16))) == 16
    assert code_of("team/many", tmp_path, Budget(rows=15)) == ("data_too_many_rows", {"file": "team/many", "most": 15})


@pytest.mark.parametrize("sizes", [True, False])
def test_too_many_bytes_are_refused_before_any_comes(hub: LoopbackHub, tmp_path: Path, sizes: bool) -> None:
    hub.repositories["team/big"] = Repository({"train.jsonl": lines("a" * 100), "test.jsonl": lines("b" * 100)}, sizes=sizes)
    most = 2 * len(lines("a" * 100))
    assert code_of("team/big", tmp_path, Budget(bytes=most - 1))[0] == "data_too_large"
    assert not [path for method, path, _ in hub.asked if method == "GET" and "resolve" in path]
    assert len(read("team/big", tmp_path, Budget(bytes=most))) == 2


GATED = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"}
NOT_ALLOWED = {"X-Error-Message": "Please enable access to gated repositories in your token's settings"}
WRONG_TOKEN = {"X-Error-Message": "Invalid credentials in Authorization header"}


@pytest.mark.parametrize(
    ("repository", "code"),
    [
        (Repository({}, about=(403, GATED)), "hub_dataset_gated"),
        (Repository({"train.jsonl": lines("a")}, file=(403, GATED)), "hub_dataset_gated"),  # the hub shows a gated set's description
        (Repository({"train.jsonl": lines("a")}, file=(401, GATED)), "hub_dataset_gated"),
        (Repository({"train.jsonl": lines("a")}, file=(403, NOT_ALLOWED)), "hub_unreachable"),
        (Repository({}, about=(401, WRONG_TOKEN)), "hub_token_refused"),
        (Repository({}, about=(401, {"X-Error-Code": "RepoNotFound"})), "hub_dataset_unknown"),
        (Repository({"run.py": b"1", "README.md": b"# a"}), "hub_no_data_files"),
    ],
)
def test_refusals_are_named(hub: LoopbackHub, tmp_path: Path, repository: Repository, code: str) -> None:
    hub.repositories["team/a"] = repository
    found, facts = code_of("team/a", tmp_path)
    assert found == code
    if repository.file == (403, NOT_ALLOWED):
        assert "403" in facts["reason"]


@pytest.mark.parametrize("name", ["", ":", "a/b/c", "../x", "a b", "https://huggingface.co/datasets/team/a"])
def test_what_is_no_name(tmp_path: Path, name: str) -> None:
    assert code_of(name, tmp_path) == ("hub_name_wrong", {"name": name})


def test_a_dead_hub(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    code, facts = code_of("team/a", tmp_path)
    assert (code, facts["endpoint"]) == ("hub_unreachable", "http://127.0.0.1:9")


def test_configurations_of_a_card() -> None:
    files = ["en/a.jsonl", "ja/b.jsonl"]
    card = {"configs": [{"config_name": "en", "data_files": "en/*"}, {"config_name": "ja", "data_dir": "ja"}]}
    assert refusal(files, card) == ("hub_choose_config", "en, ja")
    assert refusal(files, card, "fr") == ("hub_config_unknown", "en, ja")
    assert chosen(files, card, "ja") == {"ja/b.jsonl": ""}
    card["configs"][1]["default"] = True
    assert chosen(files, card) == {"ja/b.jsonl": ""}
    assert refusal(files, {"configs": card["configs"][:1]}, "e") == ("hub_config_unknown", "en")  # one alone is not taken for another


def test_splits_of_a_card() -> None:
    paths = {split: [f"data/{split}-*"] for split in ("train_sft", "test_sft", "validation", "unlabelled")}
    card = {"configs": [{"config_name": "default", "data_files": [{"split": split, "path": path} for split, path in paths.items()]}]}
    found = chosen([f"data/{split}-00000-of-00001.parquet" for split in paths], card)
    assert list(found.values()) == ["train", "test", "valid", "train"]


def test_a_star_stays_in_its_folder() -> None:
    files = ["top.jsonl", "extra/sub.jsonl", "extra/deep/sub.jsonl", "[x]/sub.jsonl"]
    for pattern, names in {
        "*.jsonl": {"top.jsonl"}, "extra/*": {"extra/sub.jsonl"}, "extra/**": {"extra/sub.jsonl", "extra/deep/sub.jsonl"},
        "**/sub.jsonl": {"extra/sub.jsonl", "extra/deep/sub.jsonl", "[x]/sub.jsonl"}, "./top.jsonl": {"top.jsonl"}, "**": set(files),
    }.items():  # fmt: skip
        assert set(chosen(files, {"configs": [{"data_files": pattern}]})) == names
    assert set(chosen(files, {"configs": [{"data_dir": "[x]"}]})) == {"[x]/sub.jsonl"}


def test_a_pattern_cannot_take_long() -> None:
    name = "/".join("a" * 100) + "/x.jsonl"
    began = time.process_time()
    assert refusal([name], {"configs": [{"data_files": "**/a/" * 100 + "b"}]})[0] == "hub_no_data_files"
    assert time.process_time() - began < 1


def test_a_damaged_card_is_no_crash() -> None:
    files = ["train.jsonl"]
    for ignored in ("x", ["x"], [3], []):
        assert chosen(files, {"configs": ignored}) == {"train.jsonl": "train"}
    for nothing in ([{"split": "train"}], {"train": "a"}, 3, [["a"]]):
        assert refusal(files, {"configs": [{"data_files": nothing}]})[0] == "hub_no_data_files"


def test_without_a_card_notes_beside_rows_are_none() -> None:
    notes = ["README.md", "CONTRIBUTING.md", "requirements.txt", "LICENSE-data.txt", "dataset_infos.json", ".cache/x.json", "docs/how.md"]
    assert chosen(["a.jsonl", *notes]) == {"a.jsonl": ""}
    assert chosen(["train.jsonl", "test.jsonl", "raw.jsonl", *notes]) == {"train.jsonl": "train", "test.jsonl": "test"}
    assert chosen(["poems.txt", "README.md"]) == {"poems.txt": ""}
    assert chosen(["train/a.jsonl", "test/a.jsonl"]) == {"train/a.jsonl": "train", "test/a.jsonl": "test"}
    assert refusal(["en/a.jsonl", "ja/a.jsonl"], {}) == ("hub_choose_config", "en, ja")
