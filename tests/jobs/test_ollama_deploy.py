"""Models into Ollama and out again: against the double's real state, by our client and by the official one; on a real server by choice."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import ollama
import orjson
import pytest
from gguf import GGUFWriter

from tests.ollama_double import QUANTIZE_REFUSED, OllamaDouble, serve_ollama
from tunesmith.errors import UserError
from tunesmith.export.ollama import OllamaModel
from tunesmith.export.ollama_client import OllamaClient
from tunesmith.export.ollama_deploy import check_deployed, deploy_gguf, is_ours, list_deployed, remove_deployed
from tunesmith.export.ollama_template import read_chat_format, to_go_template
from tunesmith.services.context import Services
from tunesmith.services.ollama import models
from tunesmith.system.paths import DEMO_MODEL

REAL = os.environ.get("TUNESMITH_OLLAMA_URL", "")
TEMPLATE = to_go_template(read_chat_format(DEMO_MODEL), adds_bos=False)
MODEL = OllamaModel(TEMPLATE.text, TEMPLATE.stops, "You are a pirate.", {"temperature": 0.5, "num_ctx": 1024})


def echo(gguf: Path, prompt: str, stops: list[str], most_tokens: int) -> tuple[str, int]:
    """Answer with what the server knows: the file's first bytes and the prompt's length. No model."""
    return f"{gguf.read_bytes()[:4].decode()} {len(prompt)} {stops[0]} {most_tokens}", 4


@pytest.fixture
def double(tmp_path: Path) -> Iterator[OllamaDouble]:
    with serve_ollama(tmp_path / "server", echo) as served:
        yield served


@pytest.fixture
def client(double: OllamaDouble) -> OllamaClient:
    return OllamaClient(double.address)


@pytest.fixture
def official(double: OllamaDouble) -> Iterator[ollama.Client]:
    with ollama.Client(double.address) as client:
        yield client


@pytest.fixture
def write_gguf(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "tiny.gguf", fill: float = 1.0, megabytes: int = 0) -> Path:
        writer = GGUFWriter(tmp_path / name, "llama")
        writer.add_block_count(1)
        writer.add_tensor("token_embd.weight", np.full((8 + (megabytes << 18) // 4, 4), fill, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    return write


def code_of(error: pytest.ExceptionInfo[UserError]) -> str:
    return error.value.code


def test_a_model_is_deployed_checked_and_removed(
    double: OllamaDouble, client: OllamaClient, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    reports: list[tuple[str, float]] = []
    gguf = write_gguf(megabytes=3)
    made = deploy_gguf(client, tmp_path / "data", "pirate", gguf, MODEL, lambda phase, share: reports.append((phase, share)))
    digest = f"sha256:{hashlib.sha256(gguf.read_bytes()).hexdigest()}"
    assert (made.name, made.blob, made.size_bytes) == ("pirate:latest", digest, gguf.stat().st_size)
    assert double.blob(digest).read_bytes() == gguf.read_bytes()
    assert client.version() == "0.33.0"
    assert [entry.name for entry in client.list_models()] == ["pirate:latest"]
    assert list_deployed(tmp_path / "data") == [made]
    uploading = [share for phase, share in reports if phase == "uploading"]
    assert uploading == sorted(uploading)
    assert 0 < uploading[1] < 1 == uploading[-1]
    assert [phase for phase, _ in dict.fromkeys((p, 0) for p, _ in reports)] == ["hashing", "uploading", "creating"]
    kept = double.models["pirate:latest"]
    assert kept.parameters == {"temperature": 0.5, "num_ctx": 1024, "stop": ["<|im_end|>", *TEMPLATE.stops[1:]]}
    check = check_deployed(client, "pirate", MODEL, "Hello?", max_tokens=9)
    prompt = "<|im_start|>system\nYou are a pirate.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n"
    assert double.prompts == [prompt]
    assert check.template_kept
    assert check.stops_kept
    assert check.answer.text == f"GGUF {len(prompt)} <|im_end|> 9"
    assert (check.answer.finish, check.answer.tokens, check.answer.seconds) == ("stop", 4, 0.001)
    remove_deployed(client, tmp_path / "data", "pirate")
    assert not double.models
    assert list_deployed(tmp_path / "data") == []


def test_the_check_sees_what_the_server_lost(
    double: OllamaDouble, client: OllamaClient, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    deploy_gguf(client, tmp_path / "data", "pirate", write_gguf(), MODEL)
    double.models["pirate:latest"].template = "{{ .Prompt }}"
    double.models["pirate:latest"].parameters = {"stop": ["<|im_start|>"]}
    with pytest.raises(KeyError):  # the double executes the template that it has: Prompt is not filled in beside Messages
        double.chat({"model": "pirate", "messages": [{"role": "user", "content": "Hi"}]})
    double.models["pirate:latest"].template = "{{ range $i, $_ := .Messages }}{{ .Content }}{{ end }}"
    check = check_deployed(client, "pirate", MODEL)
    assert not check.template_kept
    assert not check.stops_kept


def test_a_file_that_the_server_has_is_not_sent_again(double: OllamaDouble, client: OllamaClient, write_gguf: Callable[..., Path]) -> None:
    gguf = write_gguf()
    client.upload(gguf)
    client.upload(gguf)
    blobs = [method for method, path in double.asked if path.startswith("/api/blobs/")]
    assert blobs == ["HEAD", "POST", "HEAD"]


def test_models_of_others_are_left_alone(
    double: OllamaDouble, client: OllamaClient, official: ollama.Client, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    gguf, data = write_gguf(), tmp_path / "data"
    official.create(model="theirs", files={"m.gguf": official.create_blob(gguf)})
    before = dict(double.models)
    for act in (lambda: deploy_gguf(client, data, "Theirs", gguf, MODEL), lambda: remove_deployed(client, data, "theirs:latest")):
        with pytest.raises(UserError) as refused:
            act()
        assert code_of(refused) == "ollama_model_not_ours"
    deploy_gguf(client, data, "ours", gguf, MODEL)
    official.create(model="ours", files={"m.gguf": official.create_blob(gguf)}, template="{{ .Prompt }}!")
    for act in (lambda: deploy_gguf(client, data, "ours", gguf, MODEL), lambda: remove_deployed(client, data, "ours")):
        with pytest.raises(UserError) as refused:
            act()
        assert code_of(refused) == "ollama_model_changed"
    assert double.models["theirs:latest"] == before["theirs:latest"]
    assert double.models["ours:latest"].template == "{{ .Prompt }}!"


def test_ours_is_replaced_and_what_is_gone_is_struck(
    double: OllamaDouble, client: OllamaClient, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    first = deploy_gguf(client, data, "ours", write_gguf(), MODEL)
    second = deploy_gguf(client, data, "ours", write_gguf("other.gguf", fill=2.0), MODEL)
    assert first.digest != second.digest
    assert list_deployed(data) == [second]
    third = deploy_gguf(client, data, "OURS", write_gguf(), MODEL)
    assert (third.name, third.digest) == ("ours:latest", first.digest)
    remove_deployed(client, data, "Ours")
    assert not double.models
    assert list_deployed(data) == []
    deploy_gguf(client, data, "ours", write_gguf(), MODEL)
    double.models.clear()
    remove_deployed(client, data, "ours")
    assert list_deployed(data) == []
    with pytest.raises(UserError) as refused:
        client.delete("ours")
    assert code_of(refused) == "ollama_model_unknown"


@pytest.mark.parametrize("replaces", [False, True])
def test_a_model_is_ours_though_the_server_could_not_be_asked_afterwards(
    double: OllamaDouble, client: OllamaClient, write_gguf: Callable[..., Path], tmp_path: Path, replaces: bool
) -> None:
    data = tmp_path / "data"
    if replaces:
        deploy_gguf(client, data, "ours", write_gguf("before.gguf", fill=3.0), MODEL)
    double.lists_cut = [False, True]
    with pytest.raises(UserError):
        deploy_gguf(client, data, "Ours", write_gguf(), MODEL)
    assert len(double.models) == 1
    assert [entry.digest for entry in list_deployed(data)] == [""]
    assert is_ours(list_deployed(data)[0], client.address, client.list_models()[0])
    second = deploy_gguf(client, data, "ours", write_gguf("other.gguf", fill=2.0), MODEL)
    assert list_deployed(data) == [second]
    double.lists_cut = [False, True]
    with pytest.raises(UserError):
        deploy_gguf(client, data, "ours", write_gguf(), MODEL)
    remove_deployed(client, data, "ours")
    assert not double.models
    assert list_deployed(data) == []


def test_the_list_tells_ours_before_and_after_the_server_told_its_digest(
    double: OllamaDouble, client: OllamaClient, write_gguf: Callable[..., Path], services: Services
) -> None:
    services.kept.settings = replace(services.settings, ollama_url=double.address)
    double.lists_cut = [False, True]
    with pytest.raises(UserError):
        deploy_gguf(client, services.data_dir, "pirate", write_gguf(), MODEL)
    double.models["theirs:latest"] = replace(any_model(), name="theirs:latest")
    assert {row.name: row.ours for row in models(services)} == {"pirate:latest": True, "theirs:latest": False}
    deploy_gguf(client, services.data_dir, "pirate", write_gguf(), MODEL)
    assert {row.name: row.ours for row in models(services)} == {"pirate:latest": True, "theirs:latest": False}
    double.models["pirate:latest"].template = "{{ .Prompt }}!"
    assert not any(row.ours for row in models(services))


def test_a_refused_creation_makes_nothing_ours(
    double: OllamaDouble, client: OllamaClient, official: ollama.Client, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    gguf, data = write_gguf(), tmp_path / "data"
    double.faults = {"pirate:latest": [{"error": "write: no space left on device"}]}
    with pytest.raises(UserError):
        deploy_gguf(client, data, "pirate", gguf, MODEL)
    assert list_deployed(data) == []
    double.faults = {}
    ours = deploy_gguf(client, data, "ours", gguf, MODEL)
    double.faults = {"ours:latest": [{"error": "write: no space left on device"}]}
    with pytest.raises(UserError):
        deploy_gguf(client, data, "ours", gguf, MODEL)
    assert list_deployed(data) == [ours], "what stood there stands there still, as we know it"
    double.faults = {}
    official.create(model="pirate", files={"m.gguf": official.create_blob(gguf)})
    for act in (lambda: deploy_gguf(client, data, "pirate", gguf, MODEL), lambda: remove_deployed(client, data, "pirate")):
        with pytest.raises(UserError) as refused:
            act()
        assert code_of(refused) == "ollama_model_not_ours"


def test_what_the_server_refuses_is_told(
    double: OllamaDouble, client: OllamaClient, write_gguf: Callable[..., Path], tmp_path: Path
) -> None:
    gguf = write_gguf()
    digest = client.upload(gguf)
    with pytest.raises(UserError) as failed:
        client.create("bad", "m.gguf", digest, OllamaModel("{{ .Messages"))
    assert "template error" in str(failed.value.facts["reason"])
    with pytest.raises(UserError) as failed:
        client.create("bad", "m.gguf", f"sha256:{'0' * 64}", MODEL)
    assert code_of(failed) == "ollama_create_failed"
    assert "No such file" in str(failed.value.facts["reason"])
    with pytest.raises(UserError) as failed:
        client.create("bad", "m.gguf", "sha256:1", MODEL)
    assert failed.value.facts["reason"] == "invalid digest format"
    double.faults = {"full:latest": [{"error": "write: no space left on device"}], "cut:latest": [{"status": "writing manifest"}]}
    with pytest.raises(UserError) as failed:
        client.create("full", "m.gguf", digest, MODEL)
    assert failed.value.facts["reason"] == "write: no space left on device"
    with pytest.raises(UserError) as failed:
        client.create("cut", "m.gguf", digest, MODEL)
    assert (code_of(failed), failed.value.facts["last"]) == ("ollama_create_unfinished", "writing manifest")
    (tmp_path / "fake.gguf").write_bytes(b"PK\3\4")
    with pytest.raises(UserError) as failed:
        client.upload(tmp_path / "fake.gguf")
    assert code_of(failed) == "not_a_gguf"
    with pytest.raises(UserError) as failed:
        deploy_gguf(client, tmp_path, "../up", gguf, MODEL)
    assert code_of(failed) == "ollama_name_wrong"
    assert not double.models
    assert not (tmp_path / "ollama.json").exists()


def test_a_server_that_is_not_there_or_breaks_off_is_told(write_gguf: Callable[..., Path]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UserError) as failed:
        OllamaClient(f"http://127.0.0.1:{port}").version()
    assert code_of(failed) == "ollama_not_running"
    with pytest.raises(UserError) as failed:
        OllamaClient("http://198.51.100.7:11434")
    assert code_of(failed) == "endpoint_host_not_allowed"

    class Broken(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302 if self.path == "/api/version" else 200)
            self.send_header("Location", "http://198.51.100.7/")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def do_POST(self) -> None:
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Broken)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    broken = OllamaClient(f"http://127.0.0.1:{server.server_port}")
    codes = []
    for act in (broken.version, broken.list_models, lambda: broken.upload(write_gguf())):
        with pytest.raises(UserError) as failed:
            act()
        codes.append(code_of(failed))
    server.shutdown()
    server.server_close()
    assert codes == ["endpoint_redirects", "ollama_bad_answer", "ollama_broke_off"]


def test_the_official_client_finds_the_contract(official: ollama.Client, write_gguf: Callable[..., Path]) -> None:
    gguf = write_gguf()
    digest = official.create_blob(gguf)
    parameters = {"stop": ["</s>"], "top_p": 0.5}
    making = official.create("o", files={"m.gguf": digest}, template=TEMPLATE.text, system="Be kind.", parameters=parameters, stream=True)
    steps = [step.status for step in making]
    assert steps[0] == "parsing GGUF"
    assert steps[-2:] == ["writing manifest", "success"]
    assert official.create(model="o2", files={"m.gguf": digest}).status == "success"
    listed = official.list().models
    assert [entry.model for entry in listed] == ["o:latest", "o2:latest"]
    assert listed[0].size == gguf.stat().st_size
    shown = official.show("o")
    assert shown.template == TEMPLATE.text
    assert shown.details is not None
    assert (shown.details.format, shown.details.family) == ("gguf", "llama")
    assert shown.modelinfo == {"general.architecture": "llama"}
    assert '"</s>"' in str(shown.parameters)
    assert official.chat("o", [{"role": "user", "content": "Hi"}], options={"num_predict": 7}).message.content.startswith("GGUF ")
    streamed = list(official.chat("o", [{"role": "user", "content": "Hi"}], stream=True))
    assert [part.done for part in streamed] == [False, True]
    official.delete("o")
    for act in (lambda: official.show("o"), lambda: official.delete("o"), lambda: official.chat("o", [])):
        with pytest.raises(ollama.ResponseError) as missing:
            act()
        assert missing.value.status_code == 404
        assert "not found" in missing.value.error
    for options, words in (({"quantize": "q4_K_M"}, QUANTIZE_REFUSED), ({"adapters": {"a": digest}}, "no longer supported")):
        with pytest.raises(ollama.ResponseError, match=words) as refused:
            official.create(model="o", files={"m.gguf": digest}, **options)
        assert refused.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="neither"):
        official.create(model="o")
    with pytest.raises(ollama.ResponseError, match="No such file"):
        list(official.create(model="o", files={"m.gguf": f"sha256:{'0' * 64}"}, stream=True))


def test_blobs_have_ollamas_statuses(double: OllamaDouble, write_gguf: Callable[..., Path]) -> None:
    import requests

    content = write_gguf().read_bytes()
    blob = f"{double.address}/api/blobs/sha256:{hashlib.sha256(content).hexdigest()}"
    wrong = f"{double.address}/api/blobs/sha256:{'0' * 64}"
    assert requests.head(blob, timeout=5).status_code == 404
    mismatch = requests.post(wrong, data=content, timeout=5)
    assert mismatch.status_code == 400
    assert "digest mismatch, expected" in orjson.loads(mismatch.content)["error"]
    assert requests.post(blob, data=iter([content[:9], content[9:]]), timeout=5).status_code == 201
    assert requests.post(blob, data=content, timeout=5).status_code == 200
    assert requests.head(blob, timeout=5).status_code == 200
    assert requests.post(f"{double.address}/api/blobs/sha256:xyz", data=b"", timeout=5).status_code == 400


@pytest.mark.skipif(not REAL, reason="TUNESMITH_OLLAMA_URL names no Ollama server to try this on")
def test_on_a_real_server(tmp_path: Path) -> None:
    """Deploy `TUNESMITH_OLLAMA_GGUF` for real, ask it, and take it away again; models that were there stay."""
    gguf = Path(os.environ["TUNESMITH_OLLAMA_GGUF"])
    real = OllamaClient(REAL)
    before = real.list_models()
    made = deploy_gguf(real, tmp_path, "tunesmith-test", gguf, MODEL)
    try:
        check = check_deployed(real, made.name, MODEL, max_tokens=16)
        assert check.template_kept
        assert check.stops_kept
        assert check.answer.tokens > 0
    finally:
        remove_deployed(real, tmp_path, made.name)
    assert real.list_models() == before


def test_facts_of_errors_hold_no_bodies(client: OllamaClient, double: OllamaDouble) -> None:
    double.engine = None
    double.models["m:latest"] = any_model()
    with pytest.raises(UserError) as failed:
        client.chat("m", "a secret question")
    assert code_of(failed) == "ollama_refused"
    assert "secret" not in str(failed.value)


def any_model() -> Any:
    from tests.ollama_double import Model

    return Model("m:latest", f"sha256:{'0' * 64}", 1, "llama", template="{{ range $i, $_ := .Messages }}{{ .Content }}{{ end }}")
