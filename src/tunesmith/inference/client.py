"""The page server's end of the host process: starts it when needed, asks, streams, cancels. Knows no mlx."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.inference.protocol import Asked, Delta, Sample, Sent, TokenReport, TokenView
from tunesmith.inference.sampling import Sampling
from tunesmith.system.environment import worker_environment

Answers = queue.SimpleQueue[dict[str, Any]]
LOOK_SECONDS = 0.1  # how long it takes at most until somebody who waits is heard


class HostClient:
    """Thread-safe. The host ends when our end of its pipe closes, so it never outlives the server."""

    def __init__(self, log_path: Path) -> None:
        self._log_path = log_path
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting: dict[int, tuple[subprocess.Popen[bytes], Answers]] = {}
        self._ids = itertools.count(1)

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer: the next request has to wait behind."""
        return bool(self._waiting)

    def stream(
        self, model: Path, asked: Sequence[Asked], sampling: Sampling, tell_sent: Callable[[list[Sent]], None] = lambda _: None,
        unwanted: Callable[[], bool] = lambda: False,
    ) -> Iterator[Delta]:  # fmt: skip
        """Yield the answers of a base and variants of it as they are written; closing the iterator cancels.

        `tell_sent` hears, before the first piece, what each variant was given; `unwanted` is asked all the while, also before it, and
        ends the answers. Raises UserError `host_died` and what loading and comparing raise (`model_…`, `adapter_…`, `template_broken`).
        """
        records = [dataclasses.asdict(each) | {"adapter": str(each.adapter) if each.adapter else None} for each in asked]
        request = {"op": "stream", "model": str(model), "asked": records, "sampling": dataclasses.asdict(sampling)}
        for answer in self._ask(request, unwanted):
            if "sent" in answer:
                tell_sent([Sent(**each) for each in answer["sent"]])
            else:
                yield Delta(**answer["delta"])

    def count_tokens(
        self, model: Path, data: Path, family: str, kinds: Sequence[str], rules: Mapping[str, Any], batching: Mapping[str, Any],
        length: Mapping[str, Any],
    ) -> TokenReport:  # fmt: skip
        """Return a data set's size in the model's tokens, counted as `data.counting.COUNTS[family]` does; `batching` are BatchRules.

        Raises UserError `data_…`, `model_…`.
        """
        request = {
            "op": "count_tokens", "model": str(model), "data": str(data), "family": family, "kinds": list(kinds), "rules": dict(rules),
            "batching": dict(batching), "length": dict(length),
        }  # fmt: skip
        (answer,) = self._ask(request)
        return TokenReport(**answer["report"])

    def sample(
        self, model: Path, adapter: Path | None, conversations: Sequence[Sequence[Mapping[str, Any]]], count: int,
        drawing: Mapping[str, Any], template: str | None = None, seed: int = 0,
    ) -> list[list[Sample]]:  # fmt: skip
        """Return `count` answers to each conversation; `drawing` are inference.batch_generation's Drawing. Raises UserError `model_…`."""
        request = {
            "op": "sample", "model": str(model), "adapter": str(adapter) if adapter else None, "count": count, "drawing": dict(drawing),
            "conversations": [[dict(m) for m in messages] for messages in conversations], "template": template, "seed": seed,
        }  # fmt: skip
        (answer,) = self._ask(request)
        return [[Sample(**each) for each in group] for group in answer["samples"]]

    def xray(
        self, model: Path, row: Mapping[str, Any], loss_on: str, longest: int, most: int = 4000, template: str | None = None
    ) -> tuple[list[TokenView], int, bool]:
        """Return a row's first `most` tokens with what becomes of each, how many there are in all, and whether it learns to end.

        Raises UserError `model_…`, `template_broken`.
        """
        request = {
            "op": "xray", "model": str(model), "row": dict(row), "loss_on": loss_on, "longest": longest, "most": most, "template": template,
        }  # fmt: skip
        (answer,) = self._ask(request)
        return [TokenView(*token) for token in answer["tokens"]], answer["total"], answer["ends"]

    def close(self) -> None:
        """End the host process."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _ask(self, request: dict[str, Any], unwanted: Callable[[], bool] = lambda: False) -> Iterator[dict[str, Any]]:
        number, answers, over = next(self._ids), Answers(), False
        process = self._send(number, request, answers)
        try:
            while not unwanted():
                try:
                    answer = answers.get(timeout=LOOK_SECONDS)
                except queue.Empty:
                    continue
                over = "done" in answer or "error" in answer
                if "error" in answer:
                    raise UserError(answer["error"]["code"], **answer["error"]["facts"])
                if over:
                    return
                yield answer
        finally:
            self._waiting.pop(number, None)
            if not over:
                self._write(process, {"op": "cancel", "id": number})

    def _send(self, number: int, request: dict[str, Any], answers: Answers) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = self._start()
            process = self._process
            self._waiting[number] = process, answers
        self._write(process, request | {"id": number})
        return process

    def _write(self, process: subprocess.Popen[bytes], record: dict[str, Any]) -> None:
        try:
            with self._lock:
                if process.stdin is not None and not process.stdin.closed:
                    process.stdin.write(orjson.dumps(record) + b"\n")
                    process.stdin.flush()
        except OSError:
            pass  # it died: the reader tells every waiting request

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tunesmith.inference.host"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=worker_environment(os.environ), start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._read, args=(process,), name="tunesmith-host-reader", daemon=True).start()
        return process

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stdin is not None
        for line in process.stdout:
            answer = orjson.loads(line)
            if waiting := self._waiting.get(answer["id"]):
                waiting[1].put(answer)
        process.stdout.close()
        process.wait()
        with contextlib.suppress(OSError):  # what was still to be written has no reader
            process.stdin.close()
        for asked, answers in list(self._waiting.values()):
            if asked is process:  # others wait for the process that has taken its place
                answers.put({"error": UserError("host_died", log=str(self._log_path)).as_record()})
