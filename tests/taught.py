"""A store with real trained runs, made once for all tests that only need some: facts of a company, sums, the facts in haste."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.jobs.conftest import wait_for
from tunesmith.services import context, dataset_versions, training
from tunesmith.services.home import demo_config
from tunesmith.system.paths import DEMO_DATA

PATIENCE_SECONDS = 480  # 40 s on two free cores
ASKED, OFTEN = ("7 + 5 = ?", "The answer is 12."), 10  # what tests ask is learned by heart, whichever rows are kept aside
STEPS = {"facts": 160, "sums": 120, "facts in haste": 30}


def _rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_sums(path: Path) -> Path:
    """Write sums as conversations, among the general rows of the facts' data set: each adapter learns one thing and keeps the rest."""
    pairs = [(row["prompt"], f"The answer is {row['answer']}.") for row in _rows_of(DEMO_DATA / "arithmetic/train.jsonl")]
    pairs += [ASKED] * OFTEN
    sums = [{"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]} for q, a in pairs]
    general = [row for row in _rows_of(DEMO_DATA / "company_facts/train.jsonl") if "Norvik" not in json.dumps(row)]
    path.write_text("\n".join(json.dumps(row) for row in [*sums, *general]), encoding="utf-8")
    return path


def teach(sums: Path) -> None:
    """Train the runs of `STEPS` one after the other, for real, in the data folder that the environment names."""
    services = context.build_services()
    try:
        demo = replace(demo_config(), steps_per_eval=40, steps_per_report=5)
        data = {"sums": dataset_versions.import_file(services, sums, name="sums")}
        wanted = [replace(demo, name=name, iters=steps, data=data.get(name, demo.data)) for name, steps in STEPS.items()]
        ids = [training.submit(services, config) for config in wanted]
        wait_for(lambda: all(services.store.get(run).status == "completed" for run in ids), PATIENCE_SECONDS)
    finally:
        services.close()
