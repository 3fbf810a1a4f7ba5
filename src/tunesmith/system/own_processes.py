"""The app's own processes and their memory: this server, the workers that it started, those that an earlier one left running."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

SERVER = "server"
_KINDS = {  # the module that a process runs, as its command says
    "tunesmith.jobs.worker": "run", "tunesmith.jobs.job_worker": "job", "tunesmith.jobs.serving_worker": "serving",
    "tunesmith.inference.host": "chat", "tunesmith.jobs.measure_worker": "job", "tunesmith.jobs.generation_worker": "job",
}  # fmt: skip


@dataclass(frozen=True)
class ProcessUse:
    """The processes of a kind (server, run, job, serving, chat, helper): how many, and their resident bytes together."""

    kind: str
    count: int
    memory_bytes: int


def own_processes(data_dir: Path) -> list[ProcessUse]:
    """Return this server, its descendants, and the workers of the data folder whoever started them; empty kinds are left out."""
    own = psutil.Process()
    ours = {own.pid, *(child.pid for child in own.children(recursive=True))}
    found: dict[str, list[int]] = {SERVER: []}
    for process in psutil.process_iter(["pid", "cmdline", "memory_info"]):
        command: Sequence[str] = process.info["cmdline"] or ()
        kind = next((_KINDS[word] for word in command if word in _KINDS), "")
        adopted = kind and any(word.startswith(str(data_dir)) for word in command)
        if process.pid in ours or adopted:
            memory = process.info["memory_info"]
            found.setdefault(SERVER if process.pid == own.pid else kind or "helper", []).append(memory.rss if memory else 0)
    return [ProcessUse(kind, len(sizes), sum(sizes)) for kind, sizes in found.items()]
