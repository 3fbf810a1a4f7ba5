"""Generations against endpoints that behave well and badly, against mlx_lm's own server, and by the local model: real processes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
import requests

from tests.e2e.conftest import free_port
from tests.jobs.conftest import wait_for
from tunesmith import cli
from tunesmith.data.synthesis import SynthesisRules
from tunesmith.errors import UserError
from tunesmith.jobs.generation import Generation
from tunesmith.services import datasets, synthesis
from tunesmith.services.context import Services, build_services
from tunesmith.store.locks import ProcessLock
from tunesmith.system.endpoint import Endpoint, EndpointClient, check_endpoint

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [f"Fact {n}: the shop number {n} opens at {n} o'clock." for n in range(8)]


def say(text: str) -> tuple[int, bytes]:
    answer = {"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    return 200, json.dumps(answer).encode()


def qa(number: int) -> str:
    words = ("river", "stone", "lamp", "cloud", "harbour", "ink", "garden", "window", "forest", "tea", "sun", "bridge")
    return json.dumps({"question": f"Question {number} {words[number % 12] * 6} {words[(number * 7) % 12] * 5}?", "answer": f"{number}"})


class Double(BaseHTTPRequestHandler):
    """A chat endpoint that answers by a script: (number of the question, its messages) -> (status, body)."""

    script: ClassVar[Callable[[int, list[dict[str, str]]], tuple[int, bytes]]]
    asked: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Double.asked.append({"path": self.path, "key": self.headers.get("Authorization", ""), **body})
        status, content = type(self).script(len(Double.asked), body["messages"])
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def services(data_dir: object) -> Iterator[Services]:
    built = build_services()
    yield built
    built.close()


@pytest.fixture
def double() -> Iterator[Endpoint]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Double)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Double.asked.clear()
    yield Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "double")
    server.shutdown()
    server.server_close()


def ended(services: Services, generation_id: str) -> Generation:
    wait_for(lambda: synthesis.find_generation(services, generation_id).status != "running", 60)
    return synthesis.find_generation(services, generation_id)


def test_good_and_bad_answers_are_counted(services: Services, double: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six questions one is answered in words first, one never in the right form, one twice the same, one busy: 4 rows, 2 refusals."""

    def script(number: int, messages: list[dict[str, str]]) -> tuple[int, bytes]:
        if number == 2:
            return say("Let me think about it.")
        if number == 4:
            return 429, b"busy"
        if "Fact 2" in messages[1]["content"]:
            return say('{"question": "only a question"}')
        return say(qa(1) if "Fact 3" in messages[1]["content"] else f"```json\n{qa(int(messages[1]['content'][13]) + 1)}\n```")

    Double.script = staticmethod(script)
    monkeypatch.setenv("DOUBLE_KEY", "secret-of-the-double")
    endpoint = dataclasses.replace(double, key_variable="DOUBLE_KEY")
    started = synthesis.start(services, SynthesisRules(count=4, attempts=2), SOURCES[:6], endpoint=endpoint)
    done = ended(services, started)
    assert (done.status, done.accepted, done.rejected) == ("completed", 4, {"wrong_shape": 1, "near_duplicate": 1})
    assert {asked["key"] for asked in Double.asked} == {"Bearer secret-of-the-double"}
    assert {asked["path"] for asked in Double.asked} == {"/v1/chat/completions"}
    assert any("no JSON object" in m["content"] for asked in Double.asked for m in asked["messages"])  # the model was told
    everything = b"".join(p.read_bytes() for p in services.data_dir.rglob("*") if p.is_file())
    assert b"secret-of-the-double" not in everything
    name = synthesis.keep(services, started, "made")
    assert datasets.report(services, name).summary.kinds == {"prompt_answer": 4}
    provenance = [datasets.row_value(services, name, "train", n)["provenance"] for n in range(4)]  # type: ignore[index]
    assert [p["source"] for p in provenance] == [0, 1, 4, 5]
    assert [p["attempt"] for p in provenance][:2] == [1, 2]
    assert all(p["model"] == "double" and len(p["source_hash"]) == 12 for p in provenance)


def test_a_killed_generation_goes_on_without_loss_or_repetition(services: Services, double: Endpoint) -> None:
    killed = threading.Event()

    def script(number: int, messages: list[dict[str, str]]) -> tuple[int, bytes]:
        if number > 5:
            killed.wait(60)  # it says nothing any more until then
        return say(qa(number))

    Double.script = staticmethod(script)
    started = synthesis.start(services, SynthesisRules(count=12, near_threshold=1.0), SOURCES, endpoint=double)
    wait_for(lambda: synthesis.find_generation(services, started).accepted >= 4)
    for child in psutil.Process().children():
        if "generation_worker" in " ".join(child.cmdline()):
            os.kill(child.pid, signal.SIGKILL)
    wait_for(lambda: synthesis.find_generation(services, started).status == "stopped")
    killed.set()
    before = (synthesis.find_generation(services, started).folder / "rows.jsonl").read_bytes()
    synthesis.resume(services, started)
    done = ended(services, started)
    assert (done.status, done.accepted, done.rejected) == ("completed", 12, {})
    assert (done.folder / "rows.jsonl").read_bytes().startswith(before)
    sources = [json.loads(line)["provenance"]["source"] for line in (done.folder / "rows.jsonl").read_text().splitlines()]
    assert sources == [n % 8 for n in range(12)]


def test_cancel_keeps_the_rows_and_a_hopeless_model_is_not_asked_for_ever(services: Services, double: Endpoint) -> None:
    def script(number: int, messages: list[dict[str, str]]) -> tuple[int, bytes]:
        time.sleep(0.05)
        return say(qa(number))

    Double.script = staticmethod(script)
    started = synthesis.start(services, SynthesisRules(count=500, near_threshold=1.0), SOURCES, endpoint=double)
    wait_for(lambda: synthesis.find_generation(services, started).accepted >= 2)
    with pytest.raises(UserError) as caught:
        synthesis.delete(services, started)
    assert caught.value.code == "job_running"
    synthesis.cancel(services, started)
    done = ended(services, started)
    assert done.status == "cancelled"
    assert 2 <= done.accepted < 500
    synthesis.delete(services, started)
    assert started not in [g.id for g in synthesis.list_generations(services)]
    Double.script = staticmethod(lambda *_: say("never JSON"))
    hopeless = ended(services, synthesis.start(services, SynthesisRules(count=2, attempts=1), SOURCES, endpoint=double))
    assert (hopeless.status, hopeless.accepted, hopeless.rejected) == ("exhausted", 0, {"no_json": 20})


def test_rows_of_the_test_split_are_kept_apart(services: Services, double: Endpoint) -> None:
    (asked,) = datasets.rows(services, "company_facts", "test", 0, 1)
    leak = json.dumps({"question": asked.messages[0]["content"], "answer": "leaked"})
    Double.script = staticmethod(lambda number, _: say(leak if number == 1 else qa(number)))
    done = ended(services, synthesis.start(services, SynthesisRules(count=2), SOURCES, endpoint=double, tests="company_facts"))
    assert (done.accepted, done.rejected) == (2, {"leaks_into_test": 1})


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((301, b""), "endpoint_redirects"), ((401, b"no key"), "endpoint_refused"), ((500, b"broken"), "endpoint_refused"),
        ((200, b"<html>"), "endpoint_bad_answer"), ((200, b'{"choices": []}'), "endpoint_bad_answer"),
        ((200, b'"' + b"x" * 2_100_000 + b'"'), "endpoint_answer_too_large"),
    ],
)  # fmt: skip
def test_what_an_endpoint_does_wrong_is_named(double: Endpoint, answer: tuple[int, bytes], code: str) -> None:
    Double.script = staticmethod(lambda *_: answer)
    with pytest.raises(UserError) as caught:
        EndpointClient(double, ["127.0.0.1"], wait_seconds=0.01).ask([{"role": "user", "content": "q"}], 0.0, 5)
    assert caught.value.code == code
    assert len(Double.asked) == (4 if answer[0] == 500 else 1)


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("file:///etc/passwd", "endpoint_address_wrong"), ("127.0.0.1:80/v1", "endpoint_address_wrong"), 
        ("http://", "endpoint_address_wrong"),
        ("http://user:word@127.0.0.1/v1", "endpoint_address_wrong"), ("http://127.0.0.1:99999/v1", "endpoint_address_wrong"),
        ("https://api.example.com/v1", "endpoint_host_not_allowed"), ("http://127.0.0.1.evil.example/v1", "endpoint_host_not_allowed"),
        ("http://2130706433/v1", "endpoint_address_wrong"),
    ],
)  # fmt: skip
def test_only_allowed_hosts_are_asked(address: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        check_endpoint(Endpoint(address, "m"), ["127.0.0.1", "localhost"])
    assert caught.value.code == code
    with pytest.raises(UserError) as caught:
        check_endpoint(Endpoint("http://127.0.0.1/v1", "m", "NO_SUCH_KEY"), ["127.0.0.1"])
    assert caught.value.code == "endpoint_key_missing"


def test_a_document_of_another_encoding_is_asked_about_as_it_reads(data_dir: Path, tmp_path: Path, double: Endpoint) -> None:
    Double.script = staticmethod(lambda number, _: say(qa(number)))
    text = "営業時間は朝九時から夕方五時までです。駅前の店は日曜日も開いています。"
    document, latin = tmp_path / "店.txt", tmp_path / "latin.txt"
    document.write_bytes(text.encode("cp932"))
    latin.write_bytes("Le café est fermé.".encode("latin-1"))
    at = ["--count", "1", "--endpoint", double.address, "--model", "double", "--json"]
    cli.app(["data", "generate", str(document), *at], standalone_mode=False)
    assert text in Double.asked[0]["messages"][-1]["content"]
    asked = len(Double.asked)
    with pytest.raises(UserError) as caught:
        cli.app(["data", "generate", str(latin), *at], standalone_mode=False)
    assert (caught.value.code, caught.value.facts) == ("data_encoding_unknown", {"file": "latin.txt", "line": 1})
    assert len(Double.asked) == asked


def test_a_dead_endpoint_fails_and_can_go_on(services: Services, double: Endpoint) -> None:
    with pytest.raises(UserError) as caught:
        EndpointClient(Endpoint("http://127.0.0.1:9/v1", "m"), ["127.0.0.1"], wait_seconds=0.01).ask([], 0.0, 5)
    assert caught.value.code == "endpoint_unreachable"
    Double.script = staticmethod(lambda *_: (403, b"closed"))
    started = synthesis.start(services, SynthesisRules(count=1), SOURCES, endpoint=double)
    failed = ended(services, started)
    assert failed.status == "failed"
    assert failed.error
    assert failed.error.code == "endpoint_refused"
    Double.script = staticmethod(lambda number, _: say(qa(number)))
    synthesis.resume(services, started)
    assert ended(services, started).status == "completed"


def test_the_local_model_is_asked_and_its_failures_are_counted(services: Services) -> None:
    """The demo model writes no JSON: every question is refused with its reason, none is made up."""
    rules = SynthesisRules(count=1, attempts=1, max_tokens=16)
    done = ended(services, synthesis.start(services, rules, SOURCES[:1], model_id="demo"))
    assert done.status in {"exhausted", "completed"}, done.error
    assert done.accepted + sum(done.rejected.values()) == (
        20 if done.status == "exhausted" else done.accepted + sum(done.rejected.values())
    )
    assert done.completion_tokens > 0


def test_a_local_model_waits_for_the_accelerator(services: Services) -> None:
    slot = ProcessLock(services.store.locks / "accelerator.lock")
    assert slot.acquire()
    done = ended(services, synthesis.start(services, SynthesisRules(count=1), SOURCES[:1], model_id="demo"))
    slot.release()
    assert done.status == "failed"
    assert done.error
    assert done.error.code == "accelerator_busy"


def test_the_server_of_mlx_lm_is_such_an_endpoint(services: Services) -> None:
    port = free_port()
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(ROOT / "demo/model"), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | {"MLX_DISABLE_COMPILE": "1", "HF_HUB_OFFLINE": "1"}
    )
    try:
        wait_for(lambda: _answers(f"http://127.0.0.1:{port}/health"), 60)
        endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "default_model")
        rules = SynthesisRules(count=1, attempts=1, max_tokens=16)
        done = ended(services, synthesis.start(services, rules, SOURCES[:1], endpoint=endpoint))
        assert done.status in {"exhausted", "completed"}, done.error
        assert done.prompt_tokens > 0
        assert done.completion_tokens > 0
    finally:
        server.kill()
        server.wait()


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=1).status_code == 200
    except requests.RequestException:
        return False
