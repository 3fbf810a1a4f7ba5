"""A judge at a loopback address that answers by a script, and an ended evaluation whose answers it may judge. No model is asked."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson

from tunesmith.jobs.answer_files import PREDICTIONS, ROWS
from tunesmith.jobs.job import END, JobFolders
from tunesmith.services.jobs import EVALUATIONS
from tunesmith.store.files import write_json
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL

Said = tuple[int, str]  # a status and the judge's words, or the body of an error
LEFT, RIGHT = "model:left", "model:right"
Asked = tuple[int, bool]  # the row, and whether the right variant stood first
_ROW = re.compile(r"Question (\d+):")
_FIRST = re.compile(r"(left|right) says (\d+)")


class JudgeDouble:
    """Answers by `script`, called with (row, swapped) and how often that was asked before; keeps what was asked."""

    def __init__(self, script: Callable[[Asked, int], Said]) -> None:
        self.script = script
        self.address = ""
        self.keys: set[str] = set()
        self.paths: set[str] = set()
        self.bodies: list[dict[str, Any]] = []
        self.asked: Counter[Asked] = Counter()
        self.wait_seconds: Callable[[Asked, int], float] = lambda *_: 0.0
        self.tells_usage = True
        self._lock = threading.Lock()

    def answer(self, body: dict[str, Any]) -> Said:
        text = body["messages"][-1]["content"]
        row, first = _ROW.search(text), _FIRST.search(text)
        assert row, text
        assert first, text
        asked = int(row[1]), first[1] == "right"
        with self._lock:
            before = self.asked[asked]
            self.asked[asked] += 1
            self.bodies.append(body)
        time.sleep(self.wait_seconds(asked, before))
        return self.script(asked, before)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, double: JudgeDouble) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.double = double

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up waiting closes its connection: no fault of the double."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        double = self.server.double
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        double.keys.add(self.headers.get("Authorization", ""))
        double.paths.add(self.path)
        status, text = double.answer(body)
        content = text.encode()
        if status == 200:
            usage = {"usage": {"prompt_tokens": 300, "completion_tokens": 40}} if double.tells_usage else {}
            cut = text.endswith("…")
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "length" if cut else "stop"}
            content = json.dumps({"choices": [choice], **usage}).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serve_judge(script: Callable[[Asked, int], Said]) -> Iterator[JudgeDouble]:
    """Serve a double on a free port until the block is left."""
    double = JudgeDouble(script)
    server = _Server(double)
    double.address = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()


def verdict_for(left: bool, swapped: bool) -> str:
    """Return what a judge says that prefers the left variant, or the right one."""
    return f"Both are short. This one is right.\n[[{'A' if left != swapped else 'B'}]]"


def add_evaluation(data_dir: Path, rows: int, name: str = "an evaluation") -> str:
    """Put an ended evaluation of two variants into the store and return its id; its answers are written by hand."""
    folders = JobFolders(data_dir / EVALUATIONS)
    paths = {"model": "demo", "model_path": str(DEMO_MODEL), "adapter_path": "", "strength": 1.0, "step": 0, "run": ""}
    request = {
        "kind": "evaluate", "name": name, "variants": [{"key": LEFT, "name": "left", **paths}, {"key": RIGHT, "name": "right", **paths}],
        "metrics": [], "baseline": LEFT, "data": "company_facts", "data_path": str(DEMO_DATA / "company_facts"), "split": "test",
        "limit": rows, "system": "", "sampling": {}, "likelihood": False, "training": [], "longest_tokens": 64,
    }  # fmt: skip
    evaluation_id = folders.create(request)
    folder = folders.folder(evaluation_id)
    asked = [{"row": n, "prompt": [{"role": "user", "content": f"Question {n}: how many?"}], "reference": str(n)} for n in range(rows)]
    said = [
        {"row": n, "variant": key, "text": f"{side} says {n}", "tokens": 4, "finish": "stop", "reference": str(n)}
        for n in range(rows)
        for key, side in ((LEFT, "left"), (RIGHT, "right"))
    ]
    for file, lines in ((ROWS, asked), (PREDICTIONS, said)):
        (folder / file).write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    write_json(folder / END, {"status": "completed", "result": {"rows": rows, "answers": 2 * rows}})
    return evaluation_id
