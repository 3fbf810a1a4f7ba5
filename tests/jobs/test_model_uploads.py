"""Models brought by the API of a real server that is open to the network: who may, what comes whole, what is left of the rest."""

from __future__ import annotations

import http.client
import io
import socket
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import psutil
import pytest

from tests.e2e.conftest import Server
from tests.jobs.conftest import done, wait_for
from tests.shared_server import shared_server
from tunesmith.access.codes import AccessFile
from tunesmith.access.people import ADMIN, ROLES, TRAINER, VIEWER, Person
from tunesmith.errors import UserError
from tunesmith.jobs.job import Job, read_job
from tunesmith.services import exports, model_library, model_uploads, models, rights
from tunesmith.services.context import Services
from tunesmith.settings.schema import AppSettings
from tunesmith.system import memory
from tunesmith.system.paths import DEMO_MODEL

Send = Callable[..., tuple[int, Any]]
Shared = tuple[Server, dict[str, str]]
BOUNDARY = "-----------------------------b0undary"
KIND = f"multipart/form-data; boundary={BOUNDARY}"
FILES = {path.name: path.read_bytes() for path in DEMO_MODEL.iterdir()}


def form(files: dict[str, bytes]) -> bytes:
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
        for name, content in files.items()
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"mine/{name}", content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with shared_server(tmp_path_factory.mktemp("uploads")) as (server, file):
        yield server, {role: AccessFile(file.path.parent).add_token(Person(f"a {role}", role)) for role in ROLES} | {"": ""}


@pytest.fixture
def send(shared: Shared) -> Send:
    server, tokens = shared

    def post(name: str, body: bytes, role: str = TRAINER, kind: str = KIND, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        given = {"authorization": f"Bearer {tokens[role]}", "content-type": kind} | headers
        try:
            connection.request("POST", f"/api/models?name={quote(name)}", body, {key: value for key, value in given.items() if value})
            answer = connection.getresponse()
            return answer.status, orjson.loads(answer.read())
        finally:
            connection.close()

    return post


def finished(server: Server, job_id: str) -> Job:
    folder = server.data_dir / "jobs" / job_id
    wait_for(lambda: read_job(folder).ended, 60)
    return read_job(folder)


def left(server: Server) -> list[Path]:
    return [path for path in (server.data_dir / "uploads").rglob("*") if path.is_file()]


@pytest.mark.parametrize("packed", [False, True])
def test_a_model_comes_whole_and_is_ready(shared: Shared, send: Send, packed: bool) -> None:
    server, name = shared[0], "zipped-0.1" if packed else "私のモデル"
    evil = FILES | {"evil.py": b"1/0", "pytorch_model.bin": b"\x80"}
    status, told = send(name, form({"anything.zip": zipped(evil)} if packed else evil))
    assert (status, list(told)) == (202, ["job"])
    assert done(finished(server, told["job"])) == {"model": name, "path": str(server.data_dir / "models" / name)}
    assert {path.name for path in (server.data_dir / "models" / name).iterdir()} == {*FILES, "tunesmith.json"}
    assert left(server) == []
    status, told = send(name, form(FILES))
    assert (status, told["error"]["code"]) == (409, "target_exists")


def test_only_trainers_and_admins_bring_models(shared: Shared, send: Send) -> None:
    body = form({"config.json": b"{}"})
    assert send("not-theirs", body, VIEWER)[1]["error"]["code"] == "role_needed"
    assert send("not-theirs", body, "")[0] in {401, 403}
    address = f"http://127.0.0.1:{shared[0].port}"
    for origin in ("", "http://evil.example", address.replace("http://127", "http://128")):
        assert send("not-theirs", body, "", cookie="tunesmith=x", origin=origin)[0] in {401, 403}
    status, told = send("theirs", body, ADMIN)
    assert status == 202
    assert finished(shared[0], told["job"]).error.code == "model_weights_missing"  # type: ignore[union-attr]
    assert not list((shared[0].data_dir / "models").glob("not-theirs"))
    assert left(shared[0]) == []


@pytest.mark.parametrize(
    ("name", "body", "kind", "status", "code"),
    [
        ("", form(FILES), KIND, 400, "name_empty"), ("../up", form(FILES), KIND, 400, "name_not_allowed"),
        ("a", form(FILES), "application/zip", 400, "form_broken"), ("a", b"no form", KIND, 400, "form_broken"),
        ("a", form(FILES)[:-9], KIND, 400, "form_broken"), ("a", form({}), KIND, 400, "upload_of_no_model"),
        ("a", form({"photo.png": b"x"}), KIND, 400, "upload_of_no_model"),
        ("a", form({"a.zip": b"x", "config.json": b"{}"}), KIND, 400, "upload_of_no_model"),
        ("a", form({"config.json": b"{}", "sub/config.json": b"{}"}), KIND, 400, "upload_file_twice"),
    ],
)  # fmt: skip
def test_what_is_no_model_is_said_and_not_kept(
    shared: Shared, send: Send, name: str, body: bytes, kind: str, status: int, code: str
) -> None:
    got, told = send(name, body, kind=kind, **{"accept-language": "ja"})
    assert (got, told["error"]["code"]) == (status, code)
    assert any("\u3040" <= c <= "\u30ff" for c in told["error"]["message"])
    assert left(shared[0]) == []


def test_an_upload_that_breaks_off_leaves_nothing(shared: Shared) -> None:
    server, tokens = shared
    head = f"POST /api/models?name=broken HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {tokens[TRAINER]}\r\n"
    head += f"Content-Type: {KIND}\r\nContent-Length: 90000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head.encode() + form(FILES)[: 4 << 20])
        wait_for(lambda: any(path.stat().st_size > 1 << 20 for path in left(server)), 10)
    wait_for(lambda: left(server) == [], 10)


def test_a_large_upload_is_not_held_in_memory(shared: Shared, send: Send) -> None:
    assert shared[0].process
    memory_of = psutil.Process(shared[0].process.pid).memory_info
    before, large = memory_of().rss, 300_000_000
    body = form(FILES | {"model.safetensors": bytes(large)})
    status, told = send("large", body)
    grown = memory_of().rss - before
    assert status == 202
    assert grown < large / 3, f"{grown / 1e6:.0f} MB"
    assert finished(shared[0], told["job"]).error.code == "model_weights_broken"  # type: ignore[union-attr]
    assert left(shared[0]) == []


def test_the_setting_says_how_much_may_come(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def code_of(gigabytes: float, size: int) -> str:
        services.kept.settings = AppSettings(model_upload_gb=gigabytes)
        with pytest.raises(UserError) as error, model_uploads.open_upload(services, "a", KIND, size) as upload:
            upload.feed(form(FILES))
        return error.value.code

    assert code_of(0.0, 0) == "upload_too_large"
    assert code_of(0.001, 1_000_001) == "upload_too_large"
    assert code_of(0.001, 0) == "upload_too_large"  # it had not said how large it is
    monkeypatch.setattr(memory, "disk_free_bytes", lambda _: 100 + memory.RESERVE_BYTES)
    assert code_of(1.0, 101) == "disk_nearly_full"
    assert not [*(services.data_dir / "uploads").glob("*")]


def test_it_is_its_bringers_and_no_export(services: Services, finish: Callable[[str], Job]) -> None:
    ada = services.of(Person("Ada", TRAINER))
    with model_uploads.open_upload(ada, " mine ", KIND, 0) as upload:
        upload.feed(form(FILES))
        job_id = model_uploads.start(ada, upload)
    done(finish(job_id))
    model = models.find_model(services, "mine")
    origin = model_library.origin_of(services, model)
    assert (origin.place, origin.owner, origin.licence, origin.is_ours) == ("upload", "Ada", "cc0-1.0", True)
    assert exports.list_made(services) == []
    (line,) = rights.audit(services)
    assert (line["action"], line["facts"]) == ("model_uploads.start", {"upload": "mine"})
    with pytest.raises(UserError, match="owned_by_another"):
        model_library.trash(services.of(Person("Tom", TRAINER)), model)
    model_library.trash(ada, model)
