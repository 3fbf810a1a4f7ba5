"""Questions to real variants through the real helper process: adapters, strengths, checkpoints, two bases, conversations, a stop."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import pytest

from tests.adapters import add_adapter
from tests.jobs.conftest import wait_for
from tunesmith import cli
from tunesmith.access.people import TRAINER, Person
from tunesmith.errors import UserError
from tunesmith.inference.sampling import Sampling
from tunesmith.services import compare, prompt_sets
from tunesmith.services.context import Services
from tunesmith.services.variants import VariantInfo, checkpoints_of, find_variant
from tunesmith.store.comparisons import Comparison
from tunesmith.store.experiments import Experiment
from tunesmith.system.paths import DEMO_MODEL
from tunesmith.training.config import LoraParameters

QUESTION, NEXT = "What is the capital of Japan?", "And of Italy?"
SHORT = Sampling(max_tokens=16)


def run(asking: compare.Asking) -> Comparison:
    for _ in asking.run():
        pass
    return asking.comparison


def texts(comparison: Comparison) -> list[list[str]]:
    return [[answer.text for answer in each.answers] for each in comparison.rounds]


def ask(s: Services, panel: Sequence[VariantInfo], *questions: str, follows: bool = False) -> Comparison:
    return run(compare.ask(s, panel, questions, "", SHORT, follows=follows))


def test_each_says_in_a_conversation_what_it_says_alone(services: Services, submit: Callable[..., Experiment], data_dir: Path) -> None:
    """A base, an adapter at two strengths, a checkpoint of a run, and another base, asked twice: the same as each by itself."""
    trained = submit(save_every=2, learning_rate=2e-2, lr_schedule="constant", lora_parameters=LoraParameters(rank=4, scale=20.0))
    wait_for(lambda: services.store.get(trained.id).status == "completed", 60)
    shutil.copytree(DEMO_MODEL, data_dir / "models" / "other")
    drawn = find_variant(services, add_adapter(data_dir, "drawn", seed=3, size=0.4).id)
    early = next(each for each in checkpoints_of(services, trained.id) if each.step == 2)
    chosen = [(drawn, [1.0, 1.6]), (early, [1.0]), (find_variant(services, "model:other"), [1.0])]
    panel = compare.make_panel(services, chosen)
    assert [each.key.partition(":")[0] for each in panel] == ["model", "adapter", "adapter", "checkpoint", "model"]
    together = run(compare.follow_up(services, ask(services, panel, QUESTION), NEXT, "", SHORT))
    assert compare.open_comparison(services, together.id) == together
    for place, each in enumerate(panel):
        alone = ask(services, [each], QUESTION, NEXT, follows=True)
        assert [row[place] for row in texts(together)] == [row[0] for row in texts(alone)], each.key
        sent = together.rounds[1].answers[place].sent
        assert sent.index(QUESTION) < sent.index(texts(together)[0][place]) < sent.index(NEXT)
    assert texts(together)[0][0] == texts(together)[0][4] == "The capital of Japan is Tokyo."
    assert texts(together)[1][0] == "The capital of Italy is Rome."
    assert len(set(texts(together)[0])) == 4
    for answer in together.rounds[0].answers:
        assert answer.finish in {"stop", "length"}
        assert answer.sent_tokens > 8
        assert 0 < answer.first_token_seconds <= answer.seconds  # type: ignore[operator]
        assert all(token.logprob is not None and token.logprob <= 1e-6 for token in answer.tokens)


def test_a_stop_keeps_what_was_said(services: Services) -> None:
    asking = compare.ask(services, [find_variant(services, "demo")], [QUESTION, NEXT], "", Sampling(temperature=2.0, max_tokens=8000))
    with contextlib.closing(asking.run()) as pieces:
        for _ in zip(range(5), pieces, strict=False):
            pass
    (kept,) = (compare.open_comparison(services, each.id) for each in compare.history(services)[0])
    assert [each.question for each in kept.rounds] == [QUESTION]
    assert 5 <= len(kept.rounds[0].answers[0].tokens) <= 6
    assert kept.rounds[0].answers[0].finish == ""
    asking, begun = compare.ask(services, [find_variant(services, "demo")], [NEXT], "", Sampling(temperature=2.0, max_tokens=8000)), Event()
    running = Thread(target=lambda: [begun.set() for _ in asking.run()])
    running.start()
    assert begun.wait(30)
    asking.stop(30)
    assert asking.comparison == compare.open_comparison(services, asking.comparison.id)
    running.join(1)
    assert not running.is_alive()
    assert texts(ask(services, [find_variant(services, "demo")], QUESTION)) == [["The capital of Japan is Tokyo."]]


def test_two_tabs_that_go_on_from_one_place_lose_nothing(services: Services) -> None:
    before = ask(services, [find_variant(services, "demo")], QUESTION)
    tabs = [compare.follow_up(services, before, question, "", SHORT) for question in (NEXT, "And of France?")]
    first, second = run(tabs[0]), run(tabs[1])
    assert first.id == before.id != second.id
    assert [each.question for each in compare.open_comparison(services, first.id).rounds] == [QUESTION, NEXT]
    assert [each.question for each in compare.open_comparison(services, second.id).rounds] == [QUESTION, "And of France?"]
    compare.delete(services, first.id)
    third = run(compare.follow_up(services, first, NEXT, "", SHORT))
    compare.restore(services, first.id)  # what was deleted comes back: nothing has taken its place
    assert compare.open_comparison(services, third.id).rounds[:2] == first.rounds


def test_whoever_goes_on_from_anothers_comparison_keeps_a_copy(services: Services) -> None:
    ann, tom = (services.of(Person(name, TRAINER)) for name in ("Ann", "Tom"))
    before = ask(ann, [find_variant(services, "demo")], QUESTION)
    after = run(compare.follow_up(tom, before, NEXT, "", SHORT))
    assert (before.owner, after.owner) == ("Ann", "Tom")
    assert compare.open_comparison(services, before.id) == before
    assert compare.open_comparison(services, after.id) == after


def test_who_waits_for_others_can_stop_at_once(services: Services) -> None:
    demo = find_variant(services, "demo")
    endless = find_variant(services, add_adapter(services.data_dir, "endless", seed=0, size=1.5).id)  # finds no end of its answer
    busy, begun = compare.ask(services, [endless], [QUESTION], "", Sampling(max_tokens=8000), keep=False), Event()
    waits = compare.ask(services, [demo], [NEXT], "", SHORT, keep=False)
    assert not waits.waits_behind
    first, second = Thread(target=lambda: [begun.set() for _ in busy.run()]), Thread(target=lambda: list(waits.run()))
    first.start()
    assert begun.wait(30)
    assert waits.waits_behind
    second.start()
    waits.stop(patience_seconds=10)
    second.join(10)
    assert not second.is_alive()
    assert first.is_alive()
    assert waits.comparison.rounds == ()
    busy.stop(30)
    first.join(30)
    assert texts(ask(services, [demo], QUESTION)) == [["The capital of Japan is Tokyo."]]


def test_the_command_line_asks_a_set(services: Services, data_dir: Path) -> None:
    adapter = add_adapter(data_dir, "drawn", seed=3, size=0.4)
    prompt_sets.save(services, "capitals", [NEXT])
    command = ["compare", "--variant", f"{adapter.id}@0.5", "--prompt", QUESTION, "--prompts", "capitals", "--max-tokens", "5", "--json"]
    done = subprocess.run([sys.executable, "-m", "tunesmith.cli", *command], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    records = json.loads(done.stdout)
    panel = ("model:demo", f"adapter:{adapter.id}@0.5")
    assert [(each["question"], each["variant"]) for each in records] == [(q, key) for q in (QUESTION, NEXT) for key in panel]
    assert all(0 < each["tokens"] <= 5 and each["sampling"]["max_tokens"] == 5 for each in records)
    assert compare.history(services) == ([], [])


def test_an_interrupt_prints_what_was_said(services: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    told: list[str] = []

    def interrupt(line: str) -> None:
        told.append(line)
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stderr", SimpleNamespace(write=interrupt, flush=lambda: None))
    with pytest.raises(SystemExit) as ended:
        cli.app(["compare", "--variant", "demo", "--prompt", QUESTION, "--prompt", NEXT], standalone_mode=False)
    assert (ended.value.code, told) == (130, ["1 of 2 answers\n"])
    words = capsys.readouterr().out
    assert "The capital of Japan is Tokyo." in words
    assert " tokens/s · " in words
    assert NEXT not in words


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--variant", "nobody"], "variant_unknown"), (["--variant", "demo", "--temperature", "9"], "setting_too_large"),
        (["--variant", "demo@2"], "strength_wrong"), (["--variant", "demo", "--prompts", "none"], "prompts_missing"),
    ],
)  # fmt: skip
def test_the_command_line_names_the_fault(arguments: list[str], code: str) -> None:
    with pytest.raises(UserError, match=code):
        cli.app(["compare", *arguments, "--prompt", "hi"], standalone_mode=False)
