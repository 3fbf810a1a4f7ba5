"""The demo run as a newcomer starts it, from Start to completed: seconds, losses, held-out answers and kept abilities.

Answers come from the same helper process that the Compare page uses; the run goes through the queue, supervisor and worker.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.reporting import publish
from tunesmith.inference.client import HostClient
from tunesmith.inference.protocol import Asked
from tunesmith.inference.sampling import Sampling
from tunesmith.jobs.supervisor import Supervisor
from tunesmith.services import home, runs
from tunesmith.services.context import Kept, Services
from tunesmith.settings.files import to_mapping
from tunesmith.settings.schema import AppSettings
from tunesmith.store.experiments import ExperimentStore
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL


def read_questions(path: Path) -> list[tuple[list[dict[str, str]], str]]:
    """Return (conversation up to the answer, the right answer) of each row."""
    rows = [orjson.loads(line)["messages"] for line in path.read_bytes().splitlines()]
    return [(messages[:-1], messages[-1]["content"]) for messages in rows]


def count_right(host: HostClient, adapter: Path, questions: Sequence[tuple[list[dict[str, str]], str]]) -> list[tuple[bool, bool]]:
    """Ask base and tuned model each question greedily; return whether each was exactly right."""
    right = []
    for messages, answer in questions:
        texts = ["", ""]
        for delta in host.stream(DEMO_MODEL, [Asked(messages), Asked(messages, adapter)], Sampling(max_tokens=40)):
            texts[delta.variant] += delta.text
        right.append((texts[0].strip() == answer, texts[1].strip() == answer))
    return right


def run_demo(services: Services) -> tuple[str, float]:
    """Press Start, wait for the end; return the run's id and the seconds."""
    began = time.perf_counter()
    run_id = home.start_demo(services)
    while runs.snapshot(services, run_id).active:
        time.sleep(0.1)
    return run_id, time.perf_counter() - began


def measure(services: Services) -> dict[str, Any]:
    """Run the demo and ask every question before and after."""
    held_out = read_questions(DEMO_DATA / "company_facts" / "test.jsonl")
    abilities = read_questions(DEMO_DATA / "abilities" / "test.jsonl")
    run_id, seconds = run_demo(services)
    final = runs.snapshot(services, run_id)
    if final.status != "completed":
        raise SystemExit(f"the demo run ended as {final.status}: {final.error}")
    adapter = services.store.folder(run_id).adapter
    facts = count_right(services.host, adapter, held_out)
    known = [after for before, after in count_right(services.host, adapter, abilities) if before]
    return {
        "seconds": seconds,
        "steps": final.iters,
        "loss_first": final.train_loss_first,
        "loss_last": final.train_loss,
        "heldout_before": sum(before for before, _ in facts),
        "heldout_after": sum(after for _, after in facts),
        "heldout_total": len(facts),
        "abilities_before": len(known),
        "abilities_total": len(abilities),
        "kept_share": sum(known) / len(known),
        "settings": to_mapping(final.config),
    }


def main() -> None:
    """Measure in a data folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        store = ExperimentStore(Path(folder))
        supervisor = Supervisor(store)
        supervisor.start()
        services = Services(Kept(AppSettings()), Path(folder), store, supervisor, HostClient(Path(folder) / "inference.log"))
        try:
            publish("demo", measure(services))
        finally:
            services.close()


if __name__ == "__main__":
    main()
