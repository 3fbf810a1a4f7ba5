"""Data sets of a hub by name, against a loopback double that serves real files by the hub's own routes."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunesmith.errors import UserError
from tunesmith.services import dataset_versions as versions
from tunesmith.services import datasets
from tunesmith.services.context import Services, build_services


def parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


QA = [{"question": f"{n} + {n}?", "answer": str(n + n)} for n in range(5)]
CARD = {"configs": [
    {"config_name": "easy", "data_files": [{"split": "train", "path": "easy/train-*"}]},
    {"config_name": "hard", "data_files": [{"split": "train", "path": "hard/train-*"}, {"split": "validation", "path": "hard/held.jsonl"}]},
]}  # fmt: skip
REPOSITORIES: dict[str, dict[str, bytes]] = {
    "team/qa": {
        "README.md": b"# QA", "data/train-00000-of-00002.parquet": parquet(QA[:2]), "data/train-00001-of-00002.parquet": parquet(QA[2:]),
        "data/validation.jsonl": b'{"question": "9 + 9?", "answer": "18"}\n', "run.py": b"raise SystemExit('never run')",
    },
    "team/two": {
        "easy/train-0.jsonl": b'{"text": "easy"}\n', "hard/train-0.jsonl": b'{"text": "hard"}\n', "hard/held.jsonl": b'{"text": "held"}\n',
    },
    "team/code": {"train.py": b"print(1)", "dataset_infos.json": b"{}"},
}  # fmt: skip
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, str]]] = []

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlparse(self.path).path)
        Hub.asked.append((path, self.headers.get("authorization", "")))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "datasets"]:
            self._tell_about("/".join(parts[2:4]))
        elif parts[0] == "datasets" and parts[3] == "resolve":
            self._send(
                200, REPOSITORIES["/".join(parts[1:3])]["/".join(parts[5:])], {"X-Repo-Commit": COMMIT, "ETag": '"' + "a" * 40 + '"'}
            )
        else:
            self._send(404, b"", {})

    def _tell_about(self, name: str) -> None:
        if name == "team/gated":
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted"})
        elif name not in REPOSITORIES:
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            files = [{"rfilename": file, "size": len(content)} for file, content in REPOSITORIES[name].items()]
            card = CARD if name == "team/two" else None
            about = {
                "id": name,
                "sha": COMMIT,
                "siblings": files,
                "cardData": card,
                "tags": [],
                "private": False,
                "gated": False,
                "downloads": 0,
            }
            self._send(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def services(data_dir: object) -> Iterator[Services]:
    built = build_services()
    yield built
    built.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    Hub.asked.clear()
    yield address
    server.shutdown()
    server.server_close()


def test_a_data_set_comes_with_its_splits(services: Services, hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_for_the_hub_only")
    name = versions.import_hub(services, "team/qa")
    summary = datasets.report(services, name).summary
    assert (name, summary.rows, summary.kinds) == ("qa", {"train": 5, "valid": 1}, {"prompt_answer": 6})
    assert [datasets.row_value(services, name, "train", n) for n in range(5)] == [
        {"prompt": q["question"], "answer": q["answer"]} for q in QA
    ]
    assert not [path for path, _ in Hub.asked if path.endswith((".py", ".md"))]
    assert {token for _, token in Hub.asked} == {"Bearer hf_for_the_hub_only"}
    assert all("team/qa" in path for path, _ in Hub.asked)  # nothing else is told to the hub
    stored = b"".join(p.read_bytes() for p in services.data_dir.rglob("*") if p.is_file())
    assert b"hf_for_the_hub_only" not in stored
    assert versions.versions(services, name)[0].record["settings"]["name"] == "team/qa"
    assert versions.versions(services, name)[0].record["settings"]["file"] == "team/qa"


def test_one_of_several_configurations(services: Services, hub: str) -> None:
    with pytest.raises(UserError) as caught:
        versions.import_hub(services, "team/two")
    assert (caught.value.code, caught.value.facts["configs"]) == ("hub_choose_config", "easy, hard")
    name = versions.import_hub(services, "team/two:hard")
    assert name == "two-hard"
    assert datasets.report(services, name).summary.rows == {"train": 1, "valid": 1}


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("team/gated", "hub_dataset_gated"), ("team/nothing", "hub_dataset_unknown"), ("team/code", "hub_no_data_files"),
        ("../../etc/passwd", "hub_name_wrong"), ("a b/c", "hub_name_wrong"),
    ],
)  # fmt: skip
def test_refusals_are_named_and_leave_nothing(services: Services, hub: str, name: str, code: str) -> None:
    before = datasets.all_datasets(services)
    with pytest.raises(UserError) as caught:
        versions.import_hub(services, name)
    assert caught.value.code == code
    assert datasets.all_datasets(services) == before


def test_a_hub_that_does_not_answer(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError) as caught:
        versions.import_hub(services, "team/qa")
    assert caught.value.code == "hub_unreachable"
