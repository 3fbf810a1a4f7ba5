"""Servers of models: started, found again after a restart of the pages, stopped. Knows no HTTP and no model.

`<data folder>/serving/<id>/` holds the request, the worker's process and address (`server.json`), and how it ended. A key is in no
file: it goes to the worker through its environment.
"""

from __future__ import annotations

import shlex
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.jobs.job import CANCEL, LOCK, LOG, JobFolders, cancel, error_of, read_part, read_request, read_status
from tunesmith.jobs.process import signal_worker
from tunesmith.store.locks import is_held

WORKER = "tunesmith.jobs.serving_worker"
SHELF = "serving"
SERVER = "server.json"
KEY_VARIABLE = "TUNESMITH_SERVING_KEY"
KILL_AFTER_SECONDS, GIVE_UP_AFTER_SECONDS = 5.0, 10.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ModelServer:
    """A server of a model: `status` is starting, ready, failed (with its error) or stopped; `address` (…/v1) while it is ready.

    `keyed` says whether it wants a bearer key; `name` is what clients call the model.
    """

    id: str
    status: str
    address: str
    name: str
    model_path: Path
    adapter_path: Path | None
    host: str
    port: int
    keyed: bool
    error: UserError | None
    created_at: float
    folder: Path
    owner: str = ""

    @property
    def log(self) -> Path:
        """What its process printed."""
        return self.folder / LOG


class ServingStore:
    """The servers of a data folder. Any process may ask, start and stop; what lives is told by the servers' own locks."""

    def __init__(self, data_dir: Path) -> None:
        self._folders = JobFolders(data_dir / SHELF)

    def start(
        self, model: Path, adapter: Path | None, name: str, host: str = "127.0.0.1", port: int = 0, key: str = "",
        owner: str = "", names: Sequence[str] = (),
    ) -> ModelServer:  # fmt: skip
        """Start a server and return its record at once: what is wrong with model, adapter or port is told there.

        Port 0 takes a free one; a host other than loopback wants a key and `names` by which it may be called. Raises UserError `disk_full`.
        """
        request = {
            "kind": "serve", "model_path": str(model), "adapter_path": str(adapter) if adapter else None, "name": name, "host": host,
            "port": port, "keyed": bool(key), "owner": owner, "names": list(names),
        }  # fmt: skip
        return self.get(self._folders.start(request, WORKER, {KEY_VARIABLE: key}))

    def get(self, serving_id: str) -> ModelServer:
        """Return what is known of a server. Raises UserError `job_unknown`."""
        return _read(self._folders.folder(serving_id))

    def all(self) -> list[ModelServer]:
        """Return all servers, newest first."""
        return self._folders.readable(_read)

    def stop(self, serving_id: str) -> None:
        """End a server: SIGTERM, and SIGKILL after five seconds. Raises UserError `job_unknown`, `job_running` when it will not die."""
        folder = self._folders.folder(serving_id)
        if not is_held(folder / LOCK):
            return
        cancel(folder)
        began, asked = time.monotonic(), False
        while is_held(folder / LOCK):
            waited = time.monotonic() - began
            if waited > GIVE_UP_AFTER_SECONDS:
                raise UserError("job_running", job=serving_id)
            if waited > KILL_AFTER_SECONDS:
                _signal(folder, signal.SIGKILL)
            elif not asked:
                asked = _signal(folder, signal.SIGTERM)
            time.sleep(POLL_SECONDS)

    def delete(self, serving_id: str) -> None:
        """Forget an ended server. Raises UserError `job_unknown`, `job_running`."""
        self._folders.delete(serving_id)


def _signal(folder: Path, number: signal.Signals) -> bool:
    server = _read_server(folder)
    return bool(server) and signal_worker(server["pid"], server["nonce"], number)


def _read_server(folder: Path) -> dict[str, Any]:
    """Return the worker's pid, a word of its command, and its address; nothing before it wrote them."""
    return read_part(folder, SERVER)


def _read(folder: Path) -> ModelServer:
    found, end = read_status(folder)
    request, server, error, lives = read_request(folder), _read_server(folder), error_of(end), found == "running"
    address = str(server.get("address", "")) if lives else ""
    if lives:
        status = "ready" if address else "starting"
    elif error or end or (folder / CANCEL).exists():
        status = "failed" if error else "stopped"
    else:
        status, error = "failed", UserError("serving_died")
    adapter = request["adapter_path"]
    return ModelServer(
        id=folder.name, status=status, address=address, name=request["name"], model_path=Path(request["model_path"]),
        adapter_path=Path(adapter) if adapter else None, host=request["host"], port=request["port"], keyed=request["keyed"], error=error,
        created_at=float(request["created_at"]), folder=folder, owner=str(request.get("owner", "")),
    )  # fmt: skip


def curl_line(address: str, model: str, key_variable: str = "", question: str = "Hello") -> str:
    """Return a shell command that asks a server; the key stays in the variable of that name, of the shell it is run in."""
    body = orjson.dumps({"model": model, "temperature": 0, "messages": [{"role": "user", "content": question}]}).decode()
    key = f' -H "Authorization: Bearer ${key_variable}"' if key_variable else ""
    return f"curl {shlex.quote(address + '/chat/completions')} -H 'Content-Type: application/json'{key} -d {shlex.quote(body)}"
