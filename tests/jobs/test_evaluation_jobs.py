"""Evaluations by real workers: cancelled, killed and gone on with; refused, renamed, deleted."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.adapters import add_adapter
from tests.jobs.conftest import wait_for
from tunesmith.errors import UserError
from tunesmith.evaluation.config import EvaluationConfig
from tunesmith.inference.sampling import Sampling
from tunesmith.jobs.answer_files import read_answers
from tunesmith.services import evaluations, jobs, shelved
from tunesmith.services.context import Services
from tunesmith.services.evaluations import Evaluation

SHORT = Sampling(max_tokens=16)
FACTS = EvaluationConfig(data="company_facts")


@pytest.fixture
def wait(services: Services) -> Callable[[str], Evaluation]:
    def until_ended(evaluation_id: str) -> Evaluation:
        wait_for(lambda: evaluations.find(services, evaluation_id).job.ended, 120)
        return evaluations.find(services, evaluation_id)

    return until_ended


@pytest.fixture
def tuned(services: Services) -> str:
    return f"adapter:{add_adapter(services.data_dir, 'drawn', seed=3, size=3.0).id}"


def completed(evaluation: Evaluation) -> Evaluation:
    assert evaluation.job.status == "completed", (evaluation.job.status, evaluation.job.error)
    return evaluation


def test_cancelled_and_killed_it_goes_on_as_if_it_never_ended(services: Services, tuned: str, wait: Callable[[str], Evaluation]) -> None:
    config = EvaluationConfig(data="company_facts", split="train", limit=40)
    sampling = Sampling(temperature=1.0, seed=5, max_tokens=24)
    keys = [tuned, "model:demo"]
    whole = completed(wait(evaluations.start(services, keys, config, sampling, {"rouge_l": {}})))
    parted = evaluations.start(services, keys, config, sampling, {"rouge_l": {}})
    folder = evaluations.find(services, parted).job.folder
    wait_for(lambda: len(read_answers(folder)) >= 1)
    jobs.cancel(services, parted, jobs.EVALUATIONS)
    assert wait(parted).job.status == "cancelled"
    after_cancel = (folder / "predictions.jsonl").read_bytes()
    assert len(after_cancel.splitlines()) < 80
    shelved.resume(services, parted)
    wait_for(lambda: len(read_answers(folder)) > len(after_cancel.splitlines()))
    for process in psutil.Process().children(recursive=True):
        if str(folder) in process.cmdline():
            os.kill(process.pid, signal.SIGKILL)
    ended = wait(parted)
    assert ended.job.status in {"stopped", "completed"}
    if ended.job.status == "stopped":
        shelved.resume(services, parted)
        ended = wait(parted)
    completed(ended)
    assert (folder / "predictions.jsonl").read_bytes().startswith(after_cancel)
    assert len((folder / "predictions.jsonl").read_bytes().splitlines()) == 80
    assert read_answers(folder) == read_answers(whole.job.folder)
    assert json.loads((folder / "scores.json").read_bytes()) == json.loads((whole.job.folder / "scores.json").read_bytes())


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"keys": []}, "evaluation_without_variants"),
    ({"keys": ["model:demo", "demo"]}, "evaluation_variant_twice"),
    ({"keys": ["nobody"]}, "variant_unknown"),
    ({"metrics": {"rouge": {}}}, "metric_unknown"),
    ({"metrics": {"pattern": {}}}, "metric_option_empty"),
    ({"metrics": {"pattern": {"pattern": "("}}}, "pattern_wrong"),
    ({"metrics": {"nothing.py:at_all": {}}}, "reward_file_missing"),
    ({"config": EvaluationConfig(data="arithmetic", split="test")}, "dataset_without_split"),
    ({"config": EvaluationConfig(data="abilities", split="train")}, "dataset_without_split"),
    ({"config": EvaluationConfig()}, "dataset_missing"),
    ({"baseline": "model:other"}, "evaluation_baseline_missing"),
    ({"name": "long " * 41}, "name_too_long"),
]


@pytest.mark.parametrize(("changes", "code"), REFUSED, ids=[f"{code}-{number}" for number, (_, code) in enumerate(REFUSED)])
def test_what_cannot_be_asked_is_refused_at_once(services: Services, changes: dict[str, Any], code: str) -> None:
    settings = {"keys": ["model:demo"], "config": FACTS, "sampling": SHORT, "metrics": {}} | changes
    with pytest.raises(UserError) as caught:
        evaluations.start(services, **settings)
    assert caught.value.code == code
    assert evaluations.list_evaluations(services) == []


def test_rename_and_delete(services: Services, wait: Callable[[str], Evaluation]) -> None:
    started = evaluations.start(services, ["model:demo"], EvaluationConfig(data="company_facts", limit=1, likelihood=False), SHORT, {})
    with pytest.raises(UserError) as caught:
        shelved.delete(services, started)
    assert caught.value.code == "job_running"
    folder = wait(started).job.folder
    shelved.rename(services, started, "  A  better name ")
    assert [each.name for each in evaluations.list_evaluations(services)] == ["A better name"]
    shelved.delete(services, started)
    assert not folder.exists()
    with pytest.raises(UserError) as caught:
        evaluations.find(services, started)
    assert caught.value.code == "evaluation_unknown"
