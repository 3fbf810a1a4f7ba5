"""The first page: what runs, what was done, and the demo."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tunesmith.access.people import TRAINER
from tunesmith.services.compare import count_history
from tunesmith.services.context import Services
from tunesmith.services.experiments import ExperimentRow, table
from tunesmith.services.models import DEMO_MODEL_ID
from tunesmith.services.rights import needs
from tunesmith.services.runs import RunSnapshot, snapshot
from tunesmith.services.training import start
from tunesmith.settings.files import from_mapping, read_yaml
from tunesmith.store.experiments import OCCUPYING
from tunesmith.system.paths import REPOSITORY
from tunesmith.training.config import TrainConfig

DEMO_DATASET_ID = "company_facts"
RECENT_ROWS = 5


@dataclass(frozen=True)
class Overview:
    """What Home shows."""

    active: RunSnapshot | None
    queued: int
    paused: int
    recent: list[ExperimentRow]
    demo_run: ExperimentRow | None
    has_adapter: bool
    has_compared: bool


def overview(s: Services) -> Overview:
    """Return what runs, waits and was done."""
    rows = table(s)
    active = next((row for row in rows if row.status in OCCUPYING), None)
    demo = next((row for row in rows if row.model == DEMO_MODEL_ID and row.data == DEMO_DATASET_ID), None)
    return Overview(
        active=snapshot(s, active.id) if active else None,
        queued=sum(row.status == "queued" for row in rows),
        paused=sum(row.status == "paused" for row in rows),
        recent=rows[:RECENT_ROWS],
        demo_run=demo,
        has_adapter=any(row.adapter for row in rows),
        has_compared=count_history(s) > 0,
    )


def demo_config() -> TrainConfig:
    """Return the settings of the demo run, as measured for the shipped model."""
    shipped = from_mapping(TrainConfig, read_yaml(REPOSITORY / "demo" / "finetune.yaml"))
    return dataclasses.replace(shipped, model=DEMO_MODEL_ID, data=DEMO_DATASET_ID)


@needs(TRAINER)
def start_demo(s: Services) -> str:
    """Start the demo: the shipped model learns twelve facts about a company. Returns the run's id."""
    return start(s, demo_config())
