"""A run's figures in words, of each family, and the marks that say when a page is out of date."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tunesmith.i18n.catalog import LANGUAGES, PSEUDO, t
from tunesmith.reports.run_figures import worded_figures
from tunesmith.services import runs
from tunesmith.services.context import Services
from tunesmith.settings.files import to_yaml
from tunesmith.store.experiments import Experiment
from tunesmith.training.config import TrainConfig


def add_run(services: Services, method: str, metrics: list[dict[str, Any]], *path: str) -> Experiment:
    store = services.store
    config = TrainConfig(model="demo", data="company_facts", iters=40).with_method(method)
    facts = {"name": "x", "kind": "train", "method": method, "model": "demo", "data": "company_facts"}
    run = store.create(to_yaml(config), **facts, model_path="demo/model", data_path="demo/data/company_facts")
    for status in path:
        run = store.transition(run, status)
    lines = [orjson.dumps({"attempt": 1, "steps_planned": 40, **record}) + b"\n" for record in metrics]
    store.folder(run.id).metrics.write_bytes(b"".join(lines))
    return run


def figures_of(services: Services, run: Experiment, lang: str = "en") -> dict[str, Any]:
    figures: dict[str, Any] = orjson.loads(orjson.dumps(worded_figures(services, runs.snapshot(services, run.id), lang)))
    return figures


def test_the_figures_of_a_run_on_examples(services: Services) -> None:
    """Ten of forty steps in five seconds: a quarter, and fifteen seconds to go at this pace."""
    record = {"step": 10, "train_loss": 0.5, "val_loss": 0.75, "elapsed_seconds": 5.0, "tokens_per_second": 1234.0, "seconds_per_step": 0.5}
    metrics = [{"step": 1, "train_loss": 2.0, "val_loss": 0.7}, record | {"peak_memory_bytes": 2e9}]
    run = add_run(services, "sft", metrics, "starting", "running")
    figures = figures_of(services, run)
    assert figures["progress"] == 0.25
    assert figures["line"] == "demo · company_facts · Step 10 of 40"
    assert (figures["status_words"], figures["active"], figures["marks"]["stage"]) == ("Running", True, "working")
    labels = [t(f"run.{name}") for name in ("loss", "val_loss", "elapsed", "speed", "memory")]
    assert [label for label, _, _ in figures["tiles"]] == labels
    assert [value for _, value, _ in figures["tiles"]][:2] == ["0.500", "0.750"]
    assert [value for _, value, _ in figures["tiles"]][3:] == ["1,234", "2 GB"]
    assert [note for _, _, note in figures["tiles"]] == ["from 2.000", "best 0.700", "15 s left", "0.5 s per step", ""]
    assert figures["notes"] == []
    assert figures["signs"] is None


def test_the_figures_of_other_families(services: Services) -> None:
    pairs = [{"step": 2, "reward_accuracy": 0.75, "val_accuracy": 0.5, "reward_margin": 0.125}]
    tiles = figures_of(services, add_run(services, "dpo", pairs, "starting", "running"))["tiles"]
    assert [value for _, value, _ in tiles][:3] == ["75%", "50%", "0.125"]
    rewards = [{"step": n, "reward": n / 10, "reward_std": 0.25, "zero_spread_share": 0.2, "val_reward": n / 20} for n in range(1, 10)]
    figures = figures_of(services, add_run(services, "grpo", rewards, "starting", "running"))
    assert figures["tiles"][:3] == [
        [t("learning.reward"), "0.9", "± 0.25 in a group"], [t("learning.held_out"), "0.45", "from 0.05"], [t("learning.alike"), "20%", ""],
    ]  # fmt: skip
    mood, words = figures["signs"]["said"][0]
    assert (mood, words) == ("good", t("sign.rising", early="0.2", late="0.8", steps="9"))


def test_a_policy_that_ended_early_has_nothing_to_say(services: Services) -> None:
    few = [{"step": 1, "reward": 0.5}]
    assert figures_of(services, add_run(services, "grpo", few, "starting", "running"))["signs"]["said"][0][0] == "note"
    assert figures_of(services, add_run(services, "grpo", few, "starting", "running", "interrupted"))["signs"] is None


def test_notes_say_what_a_person_waits_for(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures_of(services, add_run(services, "sft", []))["notes"] == [["waiting", t("run.waiting_for", n=1)]]
    run = add_run(services, "sft", [], "starting", "running")
    assert figures_of(services, run)["notes"] == [["plain", t("run.loading")]]
    services.store.folder(run.id).beat()
    services.store.folder(run.id).metrics.write_bytes(b'{"attempt":1,"step":1,"train_loss":1.0}\nnot json\n')
    monkeypatch.setattr(runs, "NOT_RESPONDING_SECONDS", 0.0)
    assert figures_of(services, run)["notes"] == [["warning", t("run.not_responding")], ["plain", t("run.bad_lines", n=1)]]


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        ((), "queued"),
        (("starting",), "working"),
        (("starting", "running"), "working"),
        (("starting", "running", "stopping"), "stopping"),
        (("starting", "failed"), "ended"),
    ],
)
def test_marks_tell_a_page_that_is_out_of_date(services: Services, path: tuple[str, ...], stage: str) -> None:
    run = add_run(services, "sft", [], *path)
    folder = services.store.folder(run.id)
    before = figures_of(services, run)["marks"]
    assert before == {"stage": stage, "events": 0, "rollouts": 0, "log": 0}
    folder.events.write_bytes(b"12345\n")
    folder.log.write_bytes(b"123\n")
    assert figures_of(services, run)["marks"] == {**before, "events": 6, "log": 4}


@pytest.mark.parametrize("method", ["sft", "dpo", "grpo"])
def test_every_word_is_of_the_language(services: Services, method: str) -> None:
    rewards = [{"step": n, "reward": n / 10, "train_loss": 1.0, "reward_accuracy": 0.5, "seconds_per_step": 1.0} for n in range(1, 10)]
    run = add_run(services, method, rewards, "starting", "running")
    told = figures_of(services, run, PSEUDO)
    words = [told["status_words"], told["progress_words"], *(label for label, _, _ in told["tiles"]), *(note for *_, note in told["tiles"])]
    words += [told["signs"]["title"], *(line for _, line in told["signs"]["said"])] if told["signs"] else []
    assert [each for each in words if each and "⟪" not in each] == []
    assert len({figures_of(services, run, lang)["status_words"] for lang in LANGUAGES}) == len(LANGUAGES)
