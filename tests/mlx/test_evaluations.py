"""Evaluations in this process: scores are those of the answers; bases, strengths, what was trained on, what is refused, the terminal."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.adapters import add_adapter
from tunesmith import cli
from tunesmith.cli_evaluate import parse_gate
from tunesmith.data.row_files import read_splits
from tunesmith.errors import UserError
from tunesmith.evaluation.config import EvaluationConfig
from tunesmith.evaluation.gate import GateRule
from tunesmith.evaluation.metrics import build_metric
from tunesmith.evaluation.set_scores import score_set
from tunesmith.i18n.catalog import t
from tunesmith.inference.sampling import Sampling
from tunesmith.jobs import job as job_files
from tunesmith.jobs.answer_files import read_answers
from tunesmith.jobs.job_worker import Reporter, run_to_end
from tunesmith.jobs.work.evaluation import evaluate
from tunesmith.services import context, evaluations, shelved
from tunesmith.services import evaluation_results as results
from tunesmith.services.context import Services
from tunesmith.services.evaluations import Evaluation
from tunesmith.store.files import read_json
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL

SHORT = Sampling(max_tokens=16)
FACTS = EvaluationConfig(data="company_facts")


@pytest.fixture
def services(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """Services whose jobs run here and now; tests/jobs has them in processes of their own."""

    def work(folder: Path) -> dict[str, object]:
        return {"status": "completed", "result": evaluate(read_json(folder / job_files.REQUEST), Reporter(folder))}

    monkeypatch.setattr(job_files, "_start_worker", lambda folder, *_: run_to_end(folder, partial(work, folder)))
    opened = context.build_services()
    yield opened
    opened.close()


@pytest.fixture
def wait(services: Services) -> Callable[[str], Evaluation]:
    return partial(evaluations.find, services)


@pytest.fixture
def tuned(services: Services) -> str:
    return f"adapter:{add_adapter(services.data_dir, 'drawn', seed=3, size=3.0).id}"


def completed(evaluation: Evaluation) -> Evaluation:
    assert evaluation.job.status == "completed", (evaluation.job.status, evaluation.job.error)
    return evaluation


def copy_of_facts(folder: Path) -> str:
    return str(shutil.copytree(DEMO_DATA / "company_facts", folder / "facts"))


def test_scores_are_those_of_its_answers(services: Services, tuned: str, wait: Callable[[str], Evaluation]) -> None:
    (services.data_dir / "rewards").mkdir()
    (services.data_dir / "rewards" / "mine.py").write_text(
        "def words(prompts, completions, answer, **columns):\n"
        "    return [None if 'dog' in p else float(len(c.split()) + 100 * ('Norvik' in a))\n"
        "            for p, c, a in zip(prompts, completions, answer)]\n"
        "def breaks(completions, **columns):\n    return [1 / len(columns['nowhere']) for c in completions]\n"
    )
    wanted = {"rouge_l": {}, "bleu": {"tokens": "13a"}, "numeric": {}, "mine.py:words": {}, "mine.py:breaks": {}}
    found = completed(wait(evaluations.start(services, [tuned, "model:demo"], FACTS, SHORT, wanted)))
    rows = read_splits(DEMO_DATA / "company_facts", ("test",))["test"].rows
    answers = read_answers(found.job.folder)
    assert set(answers) == {(row.line, key) for row in rows for key in (tuned, "model:demo")}
    assert any(answers[row.line, tuned]["text"] != answers[row.line, "model:demo"]["text"] for row in rows)
    for key in (tuned, "model:demo"):
        texts = [answers[row.line, key]["text"] for row in rows]
        for metric in ("rouge_l", "bleu", "numeric"):
            expected = score_set(build_metric(metric, wanted[metric]), texts, [row.value for row in rows])
            np.testing.assert_array_equal(results.values_of(found, metric, key), expected.values)
            figure = next(each for each in results.figures(found, metric) if each.variant == key)
            assert (figure.not_applicable, figure.failed, figure.whole) == (expected.not_applicable, expected.failed, expected.whole)
        asked = [row.value["messages"][0]["content"] for row in rows]
        own = [np.nan if "dog" in prompt else len(text.split()) + 100.0 for prompt, text in zip(asked, texts, strict=True)]
        np.testing.assert_array_equal(results.values_of(found, "mine.py:words", key), own)
    assert results.figures(found, "numeric")[0].not_applicable > 0  # most facts are no numbers
    broken = results.figures(found, "mine.py:breaks")[0]
    assert (broken.failed, broken.not_applicable, broken.interval.mean) == (len(rows), 0, None)
    assert broken.problem is not None
    assert broken.problem.code == "reward_failed_at"
    assert found.baseline == "model:demo"
    losses = results.read_scores(found)["likelihood"]
    assert losses["model:demo"]["perplexity"] == pytest.approx(np.exp(losses["model:demo"]["loss"]))
    assert losses[tuned]["loss"] != losses["model:demo"]["loss"]
    assert results.measured(found) == [*wanted, "loss", "perplexity"]
    for metric in ("loss", "perplexity"):  # each row's own loss and tokens give the figure of all
        means = {each.variant: each.interval.mean for each in results.figures(found, metric)}
        assert means == pytest.approx({key: record[metric] for key, record in losses.items()}, rel=1e-9)
        (compared,) = results.differences(found, metric, "model:demo").values()
        assert compared.difference == pytest.approx(means[tuned] - means["model:demo"])
        assert compared.smaller_is_better
    assert losses[tuned]["rows"] == [row.line for row in rows]
    assert results.read_scores(found)["contamination"] == []


def test_an_adapter_in_half_strength_and_a_copy_of_the_base(services: Services, tuned: str, wait: Callable[[str], Evaluation]) -> None:
    """Two bases, one after the other: the copy answers as the original, the halved adapter as neither."""
    models = services.data_dir / "models"
    shutil.copytree(DEMO_MODEL, models / "copy")
    keys = [tuned, "model:copy", "model:demo", f"{tuned}@0.5"]
    found = completed(wait(evaluations.start(services, keys, EvaluationConfig(data="company_facts", limit=4), SHORT, {"rouge_l": {}})))
    answers = read_answers(found.job.folder)
    texts = {key: [answers[line, key]["text"] for line in range(1, 5)] for key in keys}
    assert texts["model:copy"] == texts["model:demo"]
    assert texts[f"{tuned}@0.5"] != texts[tuned]
    losses = results.read_scores(found)["likelihood"]
    assert losses["model:copy"] == losses["model:demo"]
    assert len({record["loss"] for record in losses.values()}) == 3


def test_loss_is_measured_behind_the_system_prompt_and_one_row_longer_is_cut(
    services: Services, tuned: str, wait: Callable[[str], Evaluation]
) -> None:
    """What stands before a question changes what is foretold after it; a cut row has other tokens, which nobody compares."""
    config = EvaluationConfig(data="company_facts", limit=6)
    losses = {}
    for name, changes in {"plain": {}, "asked": {"system": "Answer in French."}, "cut": {"longest_tokens": 28}}.items():
        found = completed(wait(evaluations.start(services, ["model:demo", tuned], replace(config, **changes), SHORT, {}, name)))
        losses[name] = results.read_scores(found)["likelihood"]["model:demo"]
    assert losses["plain"]["tokens"] == losses["asked"]["tokens"] > losses["cut"]["tokens"]
    assert losses["plain"]["targets"] == losses["asked"]["targets"] != losses["cut"]["targets"]
    assert abs(losses["plain"]["loss"] - losses["asked"]["loss"]) > 1e-3
    _, best = results.ask(services, found, tuned, GateRule("loss"))
    assert not best.earlier  # the earlier ones foretold other tokens


CHANGES = {"data": "evaluation_data_changed", "weights": "evaluation_variant_changed", "settings": "evaluation_settings_changed"}


@pytest.mark.parametrize("what", CHANGES)
def test_what_has_changed_is_refused(services: Services, tuned: str, wait: Callable[[str], Evaluation], tmp_path: Path, what: str) -> None:
    data = copy_of_facts(tmp_path)
    started = evaluations.start(services, [tuned], EvaluationConfig(data=data, limit=2, likelihood=False), SHORT, {})
    folder = completed(wait(started)).job.folder
    before = (folder / "predictions.jsonl").read_bytes()
    if what == "data":
        file = Path(data) / "test.jsonl"
        file.write_text(file.read_text("utf-8").replace("return policy", "return policies", 1), encoding="utf-8")
    elif what == "weights":
        shutil.copy(DEMO_MODEL / "model.safetensors", services.data_dir / "adapters" / "drawn" / "adapter" / "adapters.safetensors")
    else:
        request = json.loads((folder / "request.json").read_bytes())
        request["sampling"]["max_tokens"] = 3
        (folder / "request.json").write_text(json.dumps(request))
    shelved.resume(services, started)
    again = wait(started)
    assert again.job.error is not None
    assert again.job.error.code == CHANGES[what]
    assert (folder / "predictions.jsonl").read_bytes() == before


def test_rows_that_were_trained_on_are_told(services: Services, wait: Callable[[str], Evaluation], tmp_path: Path) -> None:
    """A run's record says what it learned from: all of these rows but one."""
    data = Path(copy_of_facts(tmp_path))
    rows = (data / "test.jsonl").read_text("utf-8").splitlines()
    (data / "train.jsonl").write_text("\n".join(rows[1:]), encoding="utf-8")
    facts = {"name": "run", "kind": "train", "method": "sft", "model": "demo", "data": "facts"}
    run = services.store.create("model: demo\ndata: facts\n", model_path=str(DEMO_MODEL), data_path=str(data), **facts)
    made = services.data_dir / "adapters" / add_adapter(services.data_dir, "one").id / "adapter"
    shutil.copytree(made, services.store.folder(run.id).adapter)
    (services.store.folder(run.id).adapter / "MANIFEST.json").write_text("{}")  # written last: it is whole
    for status in ("starting", "running", "completed"):
        run = services.store.transition(run, status)
    config = EvaluationConfig(data=str(data), likelihood=False)
    found = completed(wait(evaluations.start(services, [f"adapter:{run.id}", "model:demo"], config, SHORT, {"rouge_l": {}})))
    (told,) = results.read_scores(found)["contamination"]
    assert (told["exact"], told["prompts"], told["training_rows"]) == (len(rows) - 1, len(rows), len(rows) - 1)
    assert told["variants"] == [f"adapter:{run.id}"]
    assert {match["row"] for match in told["matches"] if match["exact"]} == set(range(2, len(rows) + 1))


def test_plain_text_is_measured_without_answers(services: Services, wait: Callable[[str], Evaluation], tmp_path: Path) -> None:
    path = tmp_path / "stories.jsonl"
    path.write_text('{"text": "Once upon a time there was a dog."}\n{"text": "The sea is wide."}', encoding="utf-8")
    found = completed(wait(evaluations.start(services, ["model:demo"], EvaluationConfig(data=str(path)), SHORT, {})))
    assert found.job.result == {"rows": 0, "answers": 0}
    assert results.read_scores(found)["without_question"] == 2
    assert results.read_scores(found)["likelihood"]["model:demo"]["tokens"] > 10
    without = wait(evaluations.start(services, ["model:demo"], EvaluationConfig(data=str(path), likelihood=False), SHORT, {}))
    assert without.job.error is not None
    assert without.job.error.code == "evaluation_asks_nothing"


def test_the_gate_asks_of_loss_and_perplexity(
    services: Services, tuned: str, wait: Callable[[str], Evaluation], capsys: pytest.CaptureFixture[str]
) -> None:
    """The drawn adapter foretells worse than the base: the base passes the gate, the adapter does not; no metric of answers is needed."""
    asked = ("evaluate", "--variant", tuned, "--variant", "demo", "--data", "company_facts", "--max-tokens", "2", "--no-likelihood")
    code, said = run_here(capsys, *asked, "--gate", "perplexity:0.1", "--baseline", tuned, "--json")
    record = json.loads(said)
    assert (code, record["gate"]["verdict"], record["gate"]["candidate"]) == (0, "better", "model:demo")
    compared = record["gate"]["comparison"]
    by_key = {each["variant"]: each["perplexity"] for each in record["variants"]}
    assert compared["difference"] == pytest.approx(by_key["model:demo"] - by_key[tuned])
    assert compared["low"] < compared["difference"] < compared["high"] < -0.1
    code, said = run_here(capsys, "evaluate", "--resume", record["id"], "--gate", "loss")
    assert (code, "demo is better than drawn." in said) == (0, True)
    found = wait(record["id"])
    first = results.read_scores(found)["likelihood"]
    assert [each.name for each in evaluations.list_evaluations(services)] == [found.name]
    again = completed(wait(evaluations.start(services, [tuned], replace(FACTS, limit=200), Sampling(max_tokens=2), {})))
    verdict, best = results.ask(services, again, tuned, GateRule("loss"))
    assert (verdict.verdict, best.evaluation, best.record["key"], best.earlier) == ("worse", found.id, "model:demo", True)
    assert verdict.comparison.right_mean == pytest.approx(first["model:demo"]["loss"])


def test_the_best_so_far_was_asked_in_the_same_way(services: Services, tuned: str, wait: Callable[[str], Evaluation]) -> None:
    """Neither longer answers nor another system prompt nor a changed function makes a best that others are measured by."""
    rewards = services.data_dir / "rewards"
    rewards.mkdir()
    wanted: dict[str, dict[str, object]] = {"chrf": {}, "mine.py:points": {}}
    config = EvaluationConfig(data="company_facts", limit=4, likelihood=False)
    for words, changes, sampling in (("1", {}, SHORT), ("2", {}, Sampling(max_tokens=4)), ("2", {"system": "Be brief."}, SHORT)):
        (rewards / "mine.py").write_text(f"def points(completions, **columns):\n    return [{words}.0 for c in completions]\n")
        completed(wait(evaluations.start(services, ["model:demo"], replace(config, **changes), sampling, wanted, words)))
    (rewards / "mine.py").write_text("def points(completions, **columns):\n    return [1.5 for c in completions]\n")
    last = completed(wait(evaluations.start(services, [tuned, "model:demo"], config, SHORT, wanted)))
    _, best = results.ask(services, last, tuned, GateRule("chrf"))
    assert (best.evaluation_name, best.earlier) == ("1", True)
    _, best = results.ask(services, last, tuned, GateRule("mine.py:points"))
    assert not best.earlier


def test_the_gate_asks_against_the_best_so_far(services: Services, tuned: str, wait: Callable[[str], Evaluation]) -> None:
    """The drawn adapter is far from every answer; the base says sorry. Figures by hand from the files."""
    config = EvaluationConfig(data="company_facts", likelihood=False)
    first = completed(wait(evaluations.start(services, ["model:demo"], config, SHORT, {"chrf": {}})))
    second = completed(wait(evaluations.start(services, [tuned], config, SHORT, {"chrf": {}})))
    verdict, best = results.ask(services, second, tuned, GateRule("chrf"))
    assert (best.evaluation, best.record["key"], best.earlier) == (first.id, "model:demo", True)
    left, right = results.values_of(second, "chrf", tuned), results.values_of(first, "chrf", "model:demo")
    assert verdict.comparison.difference == pytest.approx(float((left - right).mean()))
    assert (verdict.comparison.wins, verdict.comparison.losses) == (int((left > right).sum()), int((left < right).sum()))
    with pytest.raises(UserError) as caught:
        results.ask(services, first, "model:demo", GateRule("chrf"))
    assert caught.value.code == "gate_same"  # nothing is earlier than the first, and it is its own baseline
    with pytest.raises(UserError) as caught:
        results.values_of(second, "bleu", tuned)
    assert caught.value.code == "evaluation_metric_missing"


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return a command's exit code and what it printed."""
    code = 0
    try:
        cli.app(list(arguments), standalone_mode=False)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, capsys.readouterr().out


def test_from_the_terminal(services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The base beside a drawn adapter: a gate that holds ends with 0, one that does not with 1, a slip is a person's error."""
    key = f"adapter:{add_adapter(services.data_dir, 'drawn', seed=3, size=3.0).id}"
    (tmp_path / "settings.yaml").write_text("metrics: {contains: {words: [sorry]}}", encoding="utf-8")
    asked = ("evaluate", "--variant", key, "--variant", "demo", "--data", "company_facts", "--metric", "contains", "--max-tokens", "12")
    asked += ("--settings", str(tmp_path / "settings.yaml"), "--no-likelihood", "--json", "--gate", "contains:0.2:0.9", "--baseline")
    code, said = run_here(capsys, *asked, key)
    record = json.loads(said)
    assert (code, record["gate"]["verdict"], record["gate"]["candidate"]) == (0, "better", "model:demo")
    base = next(each for each in record["variants"] if each["variant"] == "model:demo")
    assert base["metrics"]["contains"]["mean"] == 1.0  # it says sorry to everything
    code, said = run_here(capsys, *asked, "demo", "--candidate", key)
    assert (code, json.loads(said)["gate"]["verdict"]) == (1, "worse")
    file = tmp_path / "answers.csv"
    predict = ("predict", "--variant", "demo", "--data", "company_facts", "--limit", "3", "--max-tokens", "8", "--out")
    code, _ = run_here(capsys, *predict, str(file))
    assert code == 0
    assert file.read_text("utf-8-sig").splitlines()[0] == "row,prompt,reference,variant,name,text,tokens,finish"
    assert len(file.read_text("utf-8-sig").splitlines()) == 4
    with pytest.raises(UserError) as caught:
        run_here(capsys, *predict, str(tmp_path / "answers.xls"))
    assert caught.value.code == "predictions_format"


def test_one_that_ends_early_tells_how_it_goes_on(services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = copy_of_facts(tmp_path)
    started = evaluations.start(services, ["model:demo"], EvaluationConfig(data=data, limit=1, likelihood=False), SHORT, {})
    (Path(data) / "test.jsonl").write_text('{"prompt": "Another?", "completion": "Yes."}\n', encoding="utf-8")
    with pytest.raises(UserError) as caught:
        run_here(capsys, "evaluate", "--resume", started)
    assert caught.value.code == "evaluation_data_changed"
    assert t("cli.goes_on", "en", command="tunesmith evaluate", job=started) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("rouge_l", GateRule("rouge_l")),
        ("rouge_l:0.02", GateRule("rouge_l", 0.02)),
        ("bleu:0.1:0.9", GateRule("bleu", 0.1, 0.9)),
        ("mine.py:words:0.1", GateRule("mine.py:words", 0.1)),
        ("mine.py:words", GateRule("mine.py:words")),
    ],
)
def test_a_gate_is_read(text: str, rule: GateRule) -> None:
    assert parse_gate(text) == rule
