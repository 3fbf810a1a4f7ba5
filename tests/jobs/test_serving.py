"""Models served in OpenAI's form, asked by OpenAI's own client: real servers of the shipped model, compared with mlx_lm's own answers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import orjson
import psutil
import pytest
import requests

from tests.jobs.conftest import wait_for
from tests.jobs.mlx_lm_answers import QUESTION, TOKENS, Known, ask_mlx_lm, continue_in_mlx_lm, copy_endless_model, write_adapter
from tunesmith.access.people import TRAINER, Person
from tunesmith.data.chat_templates import TEMPLATES
from tunesmith.errors import UserError
from tunesmith.export.openai_format import read_question
from tunesmith.export.served_model import ServedModel
from tunesmith.jobs.serving import ModelServer, ServingStore, curl_line
from tunesmith.models.loading import hash_model
from tunesmith.services import exports, serving
from tunesmith.services.context import Services
from tunesmith.system.paths import DEMO_MODEL

KEY = "key-of-the-test-7f3a"
LONG = {"prompt": "The capital", "temperature": 0, "max_tokens": 1000}


def start_from_other_pages(data: Path, *arguments: tuple[object, ...]) -> None:
    """Start servers from a process that ends, as a page server does before its restart; it never loads the engine."""
    lines = [
        "import sys; from pathlib import Path, PosixPath; from tunesmith.jobs.serving import ServingStore",
        f"store = ServingStore(Path({str(data)!r}))", *(f"store.start(*{each!r})" for each in arguments),
        "assert {server.status for server in store.all()} == {'starting'}",
        "assert not {'mlx', 'mlx_lm', 'transformers', 'uvicorn'} & set(sys.modules)",
    ]  # fmt: skip
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=120)


def wait_until_ready(store: ServingStore, server: ModelServer) -> ModelServer:
    wait_for(lambda: store.get(server.id).status != "starting", 60)
    found = store.get(server.id)
    assert found.status == "ready", (found.error, found.log.read_text())
    return found


def port_of(server: ModelServer) -> int:
    return int(server.address.removesuffix("/v1").rpartition(":")[2])


def client_of(server: ModelServer, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=server.address, api_key=key, max_retries=0, timeout=120)


@dataclass(frozen=True)
class Scene:
    """Servers that another process started: the shipped model's, and an endless one's with an adapter, which wants a key."""

    store: ServingStore
    base: ModelServer
    tuned: ModelServer


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("serving")
    store, endless = ServingStore(folder), copy_endless_model(folder / "endless")
    adapter = write_adapter(folder / "run" / "adapter", hash_model(endless), template=TEMPLATES["alpaca"])
    started = ((DEMO_MODEL, None, "demo/base"), (endless, adapter, "demo/tuned", "127.0.0.1", 0, KEY))
    start_from_other_pages(folder, *started)
    base, tuned = sorted((wait_until_ready(store, server) for server in store.all()), key=lambda server: server.name)
    yield Scene(store, base, tuned)
    for server in store.all():
        store.stop(server.id)


@pytest.fixture(scope="module")
def known() -> Known:
    found = ask_mlx_lm()
    assert len(found.pieces) > 10
    return found


@pytest.fixture
def client(scene: Scene) -> Iterator[openai.OpenAI]:
    with client_of(scene.base) as opened:
        yield opened


@pytest.fixture
def tuned(scene: Scene) -> Iterator[openai.OpenAI]:
    with client_of(scene.tuned, KEY) as opened:
        yield opened


def chat(client: openai.OpenAI, model: str = "demo/base", **options: Any) -> Any:
    return client.chat.completions.create(model=model, messages=QUESTION, **({"temperature": 0, "max_tokens": TOKENS} | options))  # type: ignore[call-overload]


def join(stream: Any) -> tuple[str, str, int]:
    """The text of a stream, how it ended, and the number of its pieces."""
    choices = [event.choices[0] for event in stream if event.choices]
    pieces = [choice.delta.content or "" for choice in choices]
    return "".join(pieces), choices[-1].finish_reason, sum(map(bool, pieces))


def test_the_one_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["demo/base"]
    assert client.models.retrieve("demo/base").object == "model"


def test_an_answer_is_that_of_mlx_lm(client: openai.OpenAI, known: Known) -> None:
    answer = chat(client)
    assert answer.choices[0].message.content == known.text
    assert answer.choices[0].message.role == "assistant"
    assert (answer.choices[0].finish_reason, answer.model, answer.object) == (known.finish, "demo/base", "chat.completion")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (known.prompt_tokens, known.tokens)
    assert usage.total_tokens == known.prompt_tokens + known.tokens
    cut = chat(client, max_tokens=5)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 5)
    assert known.text.startswith(cut.choices[0].message.content)


def test_a_stream_is_the_same_answer(client: openai.OpenAI, known: Known) -> None:
    text, finish, pieces = join(chat(client, stream=True))
    assert (text, finish) == (known.text, known.finish)
    assert pieces > 10
    events = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert events[0].choices[0].delta.role == "assistant"
    assert not events[-1].choices
    assert (events[-1].usage.prompt_tokens, events[-1].usage.completion_tokens) == (known.prompt_tokens, known.tokens)


def test_stop_strings_that_span_tokens_cut_exactly(client: openai.OpenAI, known: Known) -> None:
    """At every fourth boundary of two tokens: the last character before it and all of the token behind it."""
    begins = [len("".join(known.pieces[:place])) for place in range(2, len(known.pieces) - 1, 4)]
    stops = {known.text[begin - 1 : begin + len(known.pieces[2])] for begin in begins if begin}
    spanning = [stop for stop in stops if not any(stop in piece for piece in known.pieces)]
    assert len(spanning) >= 3
    for stop in spanning:
        expected = known.text[: known.text.index(stop)]
        whole = chat(client, stop=stop)
        assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (expected, "stop")
        assert whole.usage.completion_tokens < known.tokens
        assert join(chat(client, stop=["never said", stop], stream=True))[:2] == (expected, "stop")


def test_a_text_goes_on_with_its_spaces(client: openai.OpenAI) -> None:
    """Prompt and continuation together are what the tokenizer itself makes of both's tokens."""
    prompt = "The capital of France is"
    ids, expected = continue_in_mlx_lm(prompt, 12)
    answer = client.completions.create(model="demo/base", prompt=prompt, temperature=0, max_tokens=12)
    assert prompt + answer.choices[0].text == expected
    assert answer.usage
    assert answer.usage.prompt_tokens == len(ids)
    events = list(client.completions.create(model="demo/base", prompt=prompt, temperature=0, max_tokens=12, stream=True))
    assert "".join(event.choices[0].text for event in events) == answer.choices[0].text


def test_a_seed_repeats_an_answer(client: openai.OpenAI) -> None:
    said = [chat(client, temperature=1.5, seed=seed).choices[0].message.content for seed in (4, 4, 5)]
    assert said[0] == said[1] != said[2]
    unseeded = {chat(client, temperature=1.5).choices[0].message.content for _ in range(3)}
    assert len(unseeded) > 1


@pytest.mark.parametrize(
    ("options", "code", "param"),
    [
        ({"n": 2}, "request_option_unsupported", "n"),
        ({"response_format": {"type": "json_object"}}, "request_option_unsupported", "response_format"),
        ({"extra_body": {"adapters": "/somewhere"}}, "request_option_unsupported", "adapters"),
        ({"temperature": 3}, "request_option_wrong", "temperature"),
        ({"max_tokens": 0}, "request_option_wrong", "max_tokens"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests_are_refused(client: openai.OpenAI, options: dict[str, Any], code: str, param: str, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, stream=stream, **options)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_prompt_longer_than_the_context_is_refused_and_an_answer_ends_with_it(tuned: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        tuned.completions.create(model="demo/tuned", prompt="a b c d e f g h i j " * 100)  # 1,201 tokens
    assert caught.value.code == "request_too_long"
    answer = tuned.completions.create(model="demo/tuned", prompt="a b c d e f g h i j " * 80, temperature=0, max_tokens=10**6)
    assert answer.usage
    assert (answer.usage.total_tokens, answer.choices[0].finish_reason) == (1024, "length")


@pytest.mark.parametrize("name", ["other", str(DEMO_MODEL), "default_model", ""])
def test_other_models_are_not_loaded(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client, model=name)
    assert caught.value.code == "served_model_unknown"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("POST", "/chat/completions", {"Content-Type": "text/plain"}, b"{}", 415, "request_type_wrong"),
        ("POST", "/chat/completions", {}, b"{", 400, "request_not_json"),
        ("POST", "/chat/completions", {}, b" " * 4_000_001, 413, "request_body_too_large"),
        ("POST", "/embeddings", {}, b"{}", 404, "request_path_unknown"),
        ("GET", "/chat/completions", {}, b"", 405, "request_path_unknown"),
        ("GET", "/models", {"Host": "rebound.example"}, b"", 403, "server_host_refused"),
        ("GET", "/models/other", {}, b"", 404, "served_model_unknown"),
    ],
)
def test_what_no_client_sends(scene: Scene, method: str, path: str, headers: dict[str, str], body: bytes, status: int, code: str) -> None:
    sent = {"Content-Type": "application/json", "Origin": "http://other.example", **headers}
    answer = requests.request(method, scene.base.address + path, headers=sent, data=body, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("key", ["wrong", KEY[:-1], KEY + "x", "ключ"])
def test_a_wrong_key_is_refused(scene: Scene, key: str) -> None:
    answer = requests.get(scene.tuned.address + "/models", headers={"Authorization": f"Bearer {key}".encode()}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")
    assert requests.get(scene.tuned.address + "/models", timeout=60).status_code == 401


def test_an_adapter_answers_as_in_mlx_lm_with_its_own_prompt_format(scene: Scene, tuned: openai.OpenAI, known: Known) -> None:
    assert scene.tuned.adapter_path
    expected = ask_mlx_lm(scene.tuned.model_path, scene.tuned.adapter_path, TEMPLATES["alpaca"])
    answer = chat(tuned, "demo/tuned")
    assert answer.choices[0].message.content == expected.text != known.text
    assert join(chat(tuned, "demo/tuned", stream=True))[0] == expected.text
    assert answer.usage.prompt_tokens == expected.prompt_tokens != known.prompt_tokens
    assert expected.text != ask_mlx_lm(scene.tuned.model_path, None, TEMPLATES["alpaca"]).text


def test_a_dora_adapter_answers_as_in_mlx_lm(tmp_path: Path, known: Known) -> None:
    adapter = write_adapter(tmp_path / "run" / "adapter", hash_model(DEMO_MODEL), "dora")
    body = {"model": "", "messages": QUESTION, "temperature": 0, "max_tokens": TOKENS}
    pieces = list(ServedModel(DEMO_MODEL, adapter).answer(read_question(orjson.dumps(body), "chat"), lambda: False))
    expected = ask_mlx_lm(adapter=adapter)
    assert "".join(piece.text for piece in pieces) == expected.text != known.text
    assert pieces[-1].usage["completion_tokens"] == expected.tokens


def test_clients_at_once_each_get_their_answer(client: openai.OpenAI, known: Known) -> None:
    sizes = (3, TOKENS, 8)
    alone = [chat(client, max_tokens=size).choices[0].message.content for size in sizes]
    with ThreadPoolExecutor(4) as threads:
        whole = [threads.submit(chat, client, max_tokens=size) for size in sizes]
        streamed = threads.submit(lambda: join(chat(client, stream=True)))
        assert [future.result().choices[0].message.content for future in whole] == alone
    assert streamed.result()[0] == known.text == alone[1]


def test_a_client_that_goes_away_frees_the_model(scene: Scene, tuned: openai.OpenAI) -> None:
    """One leaves a stream at its beginning, one does not wait for a whole answer, one leaves the line: no answer is finished."""
    stream = tuned.completions.create(model="demo/tuned", stream=True, **LONG)  # type: ignore[call-overload]
    next(iter(stream))
    with pytest.raises(openai.APITimeoutError):  # in the line
        tuned.with_options(timeout=0.2).completions.create(model="demo/tuned", **LONG)  # type: ignore[call-overload]
    stream.close()
    with pytest.raises(openai.APITimeoutError):
        tuned.with_options(timeout=0.2).completions.create(model="demo/tuned", **LONG)  # type: ignore[call-overload]
    assert chat(tuned, "demo/tuned", max_tokens=2).usage.completion_tokens == 2
    told = [int(line.split()[-2]) for line in scene.tuned.log.read_text().splitlines() if "abandoned after" in line]
    assert len(told) == 3
    assert max(told) < LONG["max_tokens"]
    assert 0 in told  # what left the line was never begun


def test_the_shown_command_asks_the_server(scene: Scene) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    command = curl_line(scene.tuned.address, "demo/tuned", "TUNED_KEY", "It's 5 o'clock?")
    shell = subprocess.run(
        ["bash", "-c", command + " -s"], env=os.environ | {"TUNED_KEY": KEY}, capture_output=True, check=True, timeout=120
    )
    assert orjson.loads(shell.stdout)["choices"][0]["message"]["content"]
    assert KEY not in command


def test_what_cannot_be_served_is_told_in_the_record(scene: Scene, tmp_path: Path) -> None:
    broken = shutil.copytree(DEMO_MODEL, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\0" * 100)
    stranger = write_adapter(tmp_path / "run" / "adapter", "another base's hash")
    store = ServingStore(tmp_path / "data")
    started = {
        "serving_port_in_use": store.start(DEMO_MODEL, None, "m", port=port_of(scene.base)),
        "serving_key_required": store.start(DEMO_MODEL, None, "m", host="0.0.0.0"),
        "serving_address_wrong": store.start(DEMO_MODEL, None, "m", host="192.0.2.1"),
        "model_weights_broken": store.start(broken, None, "m"),
        "adapter_wrong_base": store.start(DEMO_MODEL, stranger, "m"),
    }
    for code, server in started.items():
        wait_for(lambda server=server: store.get(server.id).status != "starting", 60)  # type: ignore[misc]
        found = store.get(server.id)
        assert (found.status, found.error and found.error.code, found.address) == ("failed", code, "")
    assert len(store.all()) == 5
    store.delete(started["adapter_wrong_base"].id)
    assert len(store.all()) == 4


def test_a_server_ends_when_asked_even_while_it_answers(scene: Scene, tmp_path: Path) -> None:
    store = ServingStore(tmp_path)
    server = wait_until_ready(store, store.start(scene.tuned.model_path, None, "m", key=KEY))
    with pytest.raises(UserError) as caught:
        store.delete(server.id)
    assert caught.value.code == "job_running"
    with client_of(server, KEY) as client:
        stream = client.completions.create(model="m", stream=True, **LONG)  # type: ignore[call-overload]
        next(iter(stream))
        began = time.monotonic()
        store.stop(server.id)
        assert time.monotonic() - began < 4  # so it was not killed
        stream.close()
    found = store.get(server.id)
    assert (found.status, found.error, found.address) == ("stopped", None, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port_of(server)), timeout=5)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    store.stop(server.id)  # ended already


def test_a_server_that_starts_can_be_stopped_and_one_that_is_killed_is_told_apart(tmp_path: Path) -> None:
    store = ServingStore(tmp_path)
    stopped, killed = (store.start(DEMO_MODEL, None, name) for name in ("stopped", "killed"))
    store.stop(stopped.id)
    assert (store.get(stopped.id).status, store.get(stopped.id).error) == ("stopped", None)
    wait_for(lambda: (killed.folder / "server.json").exists())
    psutil.Process(orjson.loads((killed.folder / "server.json").read_bytes())["pid"]).send_signal(signal.SIGKILL)
    wait_for(lambda: store.get(killed.id).status != "starting")
    found = store.get(killed.id)
    assert (found.status, found.error and found.error.code) == ("failed", "serving_died")


def test_a_stop_in_the_middle_of_an_import_is_no_failure(tmp_path: Path) -> None:
    """Libraries catch what is raised while they are imported: a stop that was an exception ended there as another error, or not at all."""
    code = (
        "import pathlib, sys, time\n"
        "from tunesmith.jobs.serving_worker import end_when_asked\n"
        "end_when_asked(pathlib.Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "for _ in range(600):\n"
        "    try:\n"
        "        time.sleep(0.1)\n"
        "    except BaseException:\n"
        "        pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as importing:
        assert importing.stdout
        assert importing.stdout.readline() == b"ready\n"
        importing.terminate()
        assert importing.wait(60) == 0
    assert orjson.loads((tmp_path / "end.json").read_bytes()) == {"status": "stopped"}


def test_only_an_admin_opens_a_model_to_the_network_and_it_asks_for_a_key(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("TUNESMITH_LAN_NAMES", "studio.example")
    source = exports.find_source(services, "model:demo")
    tom = services.of(Person("Tom", TRAINER))
    with pytest.raises(UserError, match="role_needed"):
        serving.start(tom, source, "demo", on_lan=True)
    with pytest.raises(UserError, match="serving_key_short"):
        serving.start(services, source, "demo", on_lan=True, key="short")
    assert serving.list_servers(services) == []
    started = serving.start(services, source, "demo", on_lan=True)
    try:
        server = wait_until_ready(ServingStore(services.data_dir), started.server)
        port, key = port_of(server), {"Authorization": f"Bearer {started.key}"}
        assert len(started.key) >= 32

        def ask(host: str, **headers: str) -> requests.Response:
            return requests.get(f"http://127.0.0.1:{port}/v1/models", headers={"Host": host, **headers}, timeout=60)

        assert {ask(host, **key).status_code for host in (f"127.0.0.1:{port}", f"studio.example:{port}", "localhost")} == {200}
        for host in ("evil.example", f"127.0.0.1.evil.example:{port}", f"127.0.0.1:{port}x", ""):
            assert ask(host, **key).json()["error"]["code"] == "server_host_refused"
        assert {ask("localhost", **wrong).status_code for wrong in ({}, {"Authorization": "Bearer x"})} == {401}
        crossing = ask("localhost", Origin="http://evil.example", **key)
        assert not [name for name in crossing.headers if name.lower().startswith("access-control")]
        files = [path for path in services.data_dir.rglob("*") if path.is_file()]
        assert not [path for path in files if started.key.encode() in path.read_bytes()]
    finally:
        serving.stop(tom, started.server.id)
    with pytest.raises(UserError, match="owned_by_another"):
        serving.forget(tom, started.server.id)
    serving.forget(services, started.server.id)


def test_the_command_serves_too(scene: Scene) -> None:
    command = [sys.executable, "-m", "tunesmith.export.serve", "--model", str(scene.tuned.model_path)]
    refused = subprocess.run([*command, "--key-variable", "NOT_SET_KEY"], capture_output=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert orjson.loads(refused.stderr.splitlines()[-1])["code"] == "endpoint_key_missing"
    environment = os.environ | {"SERVED_KEY": KEY}
    options = ["--name", "tuned", "--host", "0.0.0.0", "--key-variable", "SERVED_KEY"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as server:
        assert server.stdout
        address = server.stdout.readline().decode().strip()
        assert not address.startswith("http://0.0.0.0")  # which is nobody's
        headers = {"Authorization": f"Bearer {KEY}", "Host": urlsplit(address).netloc}
        here = f"http://127.0.0.1:{address.rpartition(':')[2]}/models"
        assert requests.get(here, headers=headers, timeout=60).json()["data"][0]["id"] == "tuned"
        renamed = requests.get(here, headers=headers | {"Host": "studio.evil.example"}, timeout=60)
        assert (renamed.status_code, renamed.json()["error"]["code"]) == (403, "server_host_refused")
        server.terminate()
        server.wait(60)
