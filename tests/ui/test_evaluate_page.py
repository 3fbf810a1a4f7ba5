"""The view of scores on a store with an ended evaluation, in both languages; figures and verdicts are those of its files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from tests.adapters import add_adapter
from tests.ui.conftest import add_run, everything_visible
from tests.ui.test_pages import assert_healthy
from tunesmith.evaluation.config import EvaluationConfig
from tunesmith.evaluation.gate import GateRule
from tunesmith.i18n.catalog import t
from tunesmith.inference.sampling import Sampling
from tunesmith.jobs import job as job_files
from tunesmith.services import evaluation_results as results
from tunesmith.services import evaluation_rows, evaluations
from tunesmith.services.context import Services
from tunesmith.store.files import write_json
from tunesmith.store.locks import ProcessLock

OpenPage = Callable[..., AppTest]
BASE = "model:demo"
ROWS = 12


@pytest.fixture
def tuned(services: Services) -> str:
    return f"adapter:{add_adapter(services.data_dir, 'the tuned one').id}"


@pytest.fixture
def started(services: Services, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever is started is written down, and no worker is launched; the ids of the evaluations."""
    ids: list[str] = []
    monkeypatch.setattr(job_files, "_start_worker", lambda folder, *_: ids.append(folder.name))
    return ids


def put_ended(services: Services, keys: list[str], metrics: dict[str, list[list[float | None]]], **scores: Any) -> str:
    """Write an evaluation as its worker would have, with given figures by metric and variant; `started` keeps workers away."""
    chosen: dict[str, dict[str, Any]] = {name: {} for name in metrics}
    evaluation_id = evaluations.start(services, keys, EvaluationConfig(data="company_facts"), Sampling(), chosen, "An *evaluation*")
    folder = evaluations.find(services, evaluation_id).job.folder
    rows = [{"row": n, "prompt": [{"role": "user", "content": f"Question {n}?"}], "reference": f"Answer {n}"} for n in range(1, ROWS + 1)]
    answer = {"tokens": 4, "finish": "stop", "reference": ""}
    lines = [{"row": row["row"], "variant": key, "text": f"{key} says {row['row']}", **answer} for row in rows for key in keys]
    lines[0]["finish"] = "length"
    for name, records in (("rows.jsonl", rows), ("predictions.jsonl", lines)):
        (folder / name).write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))
    described = {
        name: {
            key: {"values": values, "not_applicable": values.count(None), "failed": 0, "whole": None, "problem": None}
            for key, values in zip(keys, by_key, strict=True)
        }
        for name, by_key in metrics.items()
    }
    found = {"v": 1, "rows": list(range(1, ROWS + 1)), "without_question": 0, "metrics": described, "likelihood": {}, "contamination": []}
    write_json(folder / "scores.json", found | scores)
    write_json(folder / "fingerprint.json", {"rows": "the same"})
    write_json(folder / "end.json", {"status": "completed", "result": {"rows": ROWS, "answers": len(lines)}})
    return evaluation_id


def cells(app: AppTest) -> str:
    """Return everything that stands in the page's tables."""
    return "\n".join(str(value) for frame in app.dataframe for row in frame.value.values.tolist() for value in row)


def click(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_form_tells_what_it_will_do(open_page: OpenPage, tuned: str, lang: str) -> None:
    app = open_page("evaluate", lang, variant=tuned)
    assert_healthy(app)
    assert t("evaluation.plan", lang, rows="94", variants=2, answers="188") in [c.value for c in app.caption]
    assert [i.value for i in app.info] == [t("evaluation.none", lang)]


def test_the_form_starts_what_it_says(open_page: OpenPage, services: Services, tuned: str, started: list[str]) -> None:
    app = open_page("evaluate", variant=tuned)
    app.multiselect(key="evaluation-metrics").set_value(["exact_match", "contains"]).run()
    app.text_area(key="evaluation-metric-contains.words").set_value("sorry\nknow").run()
    click(app, t("evaluation.start"))
    (evaluation,) = evaluations.list_evaluations(services)
    request = evaluation.job.request
    assert list(evaluation.variants) == [tuned, BASE]
    assert (request["data"], request["split"], request["baseline"]) == ("abilities", "test", BASE)
    assert evaluation.metrics == {"exact_match": {}, "contains": {"words": ["sorry", "know"]}}
    assert [evaluation.id] == started
    assert Sampling(**request["sampling"]) == Sampling()


def test_an_unknown_variant_in_the_address_is_named(open_page: OpenPage) -> None:
    app = open_page("evaluate", variant="adapter:gone")
    assert_healthy(app)
    assert [e.value for e in app.error] == [t("error.adapter_missing", run="gone")]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_an_ended_one_tells_figures_verdict_and_rows(
    open_page: OpenPage, services: Services, tuned: str, started: list[str], lang: str
) -> None:
    """Ten rows of twelve won: the mean is 10/12 = 0.833; losing none, p = 2 / 2^10 = 0.00195."""
    first = put_ended(services, [tuned, BASE], {"exact_match": [[1.0] * 10 + [0.0] * 2, [0.0] * 12]})
    app = open_page("evaluate", lang, evaluation=first)
    assert_healthy(app)
    words = cells(app)
    assert "0.833 [0.583, 1.000]" in words
    assert "+0.833 [+0.583, +1.000]" in words
    assert "0.002" in words
    names = {"candidate": "the tuned one", "best": t("variants.model", lang, name="demo")}
    assert t("evaluation.verdict_better", lang, **names) in [s.value for s in app.success]
    captions = "\n".join(c.value for c in app.caption)
    assert t("evaluation.note_all_equal", lang) in captions
    assert t("evaluation.cut", lang, name="the tuned one", n=1) in captions
    assert t("evaluation.training_unknown", lang, names="the tuned one") in captions
    assert t("evaluation.rows_shown", lang, shown=12, rows=12) in captions
    assert not app.error


def likelihood(**losses: list[float]) -> dict[str, dict[str, Any]]:
    """Return what a job writes of variants that foretold the same tokens, ten in each row."""
    rows = list(range(1, ROWS + 1))
    return {
        key: {"loss": sum(values) / ROWS, "perplexity": 9.0, "tokens": 10 * ROWS, "rows": rows, "values": values, "row_tokens": [10] * ROWS,
              "targets": "the same"}
        for key, values in losses.items()
    }  # fmt: skip


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_loss_and_perplexity_have_intervals_and_a_verdict(
    open_page: OpenPage, services: Services, tuned: str, started: list[str], lang: str
) -> None:
    """A loss of 1 in ten rows and 4 in two, against 2 everywhere: 1.5 against 2, exp(1.5) = 4.482; ten rows won, two lost."""
    losses = likelihood(**{tuned: [1.0] * 10 + [4.0] * 2, BASE: [2.0] * 12})
    found = put_ended(services, [tuned, BASE], {}, likelihood=losses)
    app = open_page("evaluate", lang, evaluation=found)
    assert_healthy(app)
    assert "1.500 [1.000, 2.250]" in cells(app)
    assert "4.482 [2.718, 9.488]" in cells(app)  # exp of the same bounds, in four digits
    assert "-0.500 [-1.000, +0.250]" in cells(app)
    (offered,) = [each for each in app.segmented_control if each.key == f"evaluation-metric-{found}"]
    assert offered.options == [t("choice.metric_loss", lang), t("choice.metric_perplexity", lang)]
    not_shown = t("evaluation.verdict_not_shown", lang, candidate="the tuned one", best=t("variants.model", lang, name="demo"))
    assert any(each.value.startswith(not_shown) for each in app.info)


def test_rows_are_lost_where_the_loss_is_larger(open_page: OpenPage, services: Services, tuned: str, started: list[str]) -> None:
    losses = likelihood(**{tuned: [1.0] * 10 + [4.0] * 2, BASE: [2.0] * 12})
    found = put_ended(services, [tuned, BASE], {}, likelihood=losses)
    app = open_page("evaluate", evaluation=found)
    app.segmented_control(key=f"outcome-{found}").set_value("losses").run()
    assert_healthy(app)
    assert t("evaluation.rows_shown", shown=2, rows=12) in [c.value for c in app.caption]


def test_a_smaller_perplexity_is_better_and_a_margin_may_exceed_one(
    open_page: OpenPage, services: Services, tuned: str, started: list[str]
) -> None:
    losses = likelihood(**{tuned: [1.0, 1.1] * 6, BASE: [2.0] * 12})
    found = put_ended(services, [tuned, BASE], {}, likelihood=losses)
    app = open_page("evaluate", evaluation=found)
    app.segmented_control(key=f"evaluation-metric-{found}").set_value("perplexity").run()
    better = t("evaluation.verdict_better", candidate="the tuned one", best="demo (model)")
    assert better in [each.value for each in app.success]
    (margin,) = [each for each in app.number_input if each.key == f"gate-{found}-perplexity.margin"]
    margin.set_value(4.0).run()  # exp(2) − exp(1.05) = 4.53
    assert better in [each.value for each in app.success]
    (margin,) = [each for each in app.number_input if each.key == f"gate-{found}-perplexity.margin"]
    margin.set_value(5.0).run()
    assert_healthy(app)
    assert better not in [each.value for each in app.success]


def test_the_best_loss_so_far_is_the_smallest(services: Services, tuned: str, started: list[str]) -> None:
    other = f"adapter:{add_adapter(services.data_dir, 'the earlier one', seed=1).id}"
    put_ended(services, [other, BASE], {}, likelihood=likelihood(**{other: [1.0, 1.2] * 6, BASE: [2.0] * 12}))
    losses = likelihood(**{tuned: [1.5, 1.6] * 6, BASE: [2.0] * 12})
    found = evaluations.find(services, put_ended(services, [tuned, BASE], {}, likelihood=losses))
    verdict, best = results.ask(services, found, tuned, GateRule("loss"))
    assert (best.record["key"], verdict.verdict) == (other, "worse")
    assert verdict.comparison.difference == pytest.approx(1.55 - 1.1)


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_losses_of_other_tokens_are_not_compared(
    open_page: OpenPage, services: Services, tuned: str, started: list[str], lang: str
) -> None:
    losses = likelihood(**{tuned: [1.0, 1.1] * 6, BASE: [2.0] * 12})
    losses[tuned]["targets"] = "others"
    app = open_page("evaluate", lang, evaluation=put_ended(services, [tuned, BASE], {}, likelihood=losses))
    assert_healthy(app)
    names = {"left": "the tuned one", "right": t("variants.model", lang, name="demo")}
    assert t("error.evaluation_tokens_differ", lang, **names) in [c.value for c in app.caption]
    assert not app.success
    assert len(app.error) == 1


def test_rows_are_filtered(open_page: OpenPage, services: Services, tuned: str, started: list[str]) -> None:
    found = put_ended(services, [tuned, BASE], {"exact_match": [[1.0] * 10 + [0.0] * 2, [0.0] * 12]})
    app = open_page("evaluate", evaluation=found)

    def shown() -> list[int]:
        return [n for n in range(13) if t("evaluation.rows_shown", shown=n, rows=12) in [c.value for c in app.caption]]

    app.segmented_control(key=f"outcome-{found}").set_value("ties").run()
    assert shown() == [2]
    app.text_input(key=f"search-{found}").set_value("question 12").run()
    assert shown() == [1]
    app.segmented_control(key=f"outcome-{found}").set_value("all").run()
    app.text_input(key=f"search-{found}").set_value("").run()
    app.toggle(key=f"failures-{found}").set_value(True).run()
    assert shown() == [3]  # two wrong, one cut
    assert_healthy(app)


@pytest.mark.parametrize(
    ("won", "lost", "verdict", "reason"),
    [(5, 0, "not_shown", "too_few_differ"), (7, 5, "not_shown", "within_margin"), (0, 9, "worse", ""), (8, 0, "better", "")],
)
def test_the_gate_says_what_is_shown(
    open_page: OpenPage, services: Services, tuned: str, started: list[str], won: int, lost: int, verdict: str, reason: str
) -> None:
    values = [1.0] * won + [0.0] * lost + [0.5] * (12 - won - lost)
    other = [0.0] * won + [1.0] * lost + [0.5] * (12 - won - lost)
    app = open_page("evaluate", evaluation=put_ended(services, [tuned, BASE], {"rouge_l": [values, other]}))
    assert_healthy(app)
    words = t(f"evaluation.verdict_{verdict}", candidate="the tuned one", best="demo (model)")
    if reason:
        words = f"{words} {t(f'evaluation.reason_{reason}', needed=6)}"
    told = {"better": app.success, "worse": app.error, "not_shown": app.info}[verdict]
    assert words in [each.value for each in told]


def test_the_best_so_far_is_an_earlier_evaluations(open_page: OpenPage, services: Services, tuned: str, started: list[str]) -> None:
    other = f"adapter:{add_adapter(services.data_dir, 'the earlier one', seed=1).id}"
    put_ended(services, [other, tuned, BASE], {"rouge_l": [[0.9] * 12, [0.95] * 12, [0.1] * 12]})  # nor does the candidate itself
    put_ended(services, [other, BASE], {"bleu": [[1.0] * 12, [0.1] * 12]})  # another metric does not count
    latest = put_ended(services, [tuned, BASE], {"rouge_l": [[0.5] * 12, [0.1] * 12]})
    app = open_page("evaluate", evaluation=latest)
    best = t("evaluation.of_earlier", name="the earlier one", evaluation=r"An \*evaluation\*")
    assert t("evaluation.verdict_worse", candidate="the tuned one", best=best) in [e.value for e in app.error]
    app.selectbox(key=f"against-{latest}-{tuned}").set_value(BASE).run()
    assert t("evaluation.verdict_better", candidate="the tuned one", best="demo (model)") in [s.value for s in app.success]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_what_weakens_the_figures_is_told(open_page: OpenPage, services: Services, tuned: str, started: list[str], lang: str) -> None:
    matched = {"data": "company_facts", "variants": [tuned], "prompts": 12, "training_rows": 50, "exact": 3, "near": 2,
               "matches": [{"row": 7, "training_line": 31, "similarity": 0.9, "exact": False}]}  # fmt: skip
    unreadable = {"data": "gone", "variants": [BASE], "problem": {"code": "dataset_unknown", "facts": {"dataset": "gone"}}}
    metrics: dict[str, list[list[float | None]]] = {"rouge_l": [[0.4, None] * 6, [None] * 12]}
    found = put_ended(services, [tuned, BASE], metrics, contamination=[matched, unreadable])
    slow = {"code": "pattern_slow", "facts": {"pattern": "x"}}
    scores = results.read_scores(evaluations.find(services, found))
    scores["metrics"]["rouge_l"][BASE] |= {"failed": 12, "not_applicable": 0, "problem": slow}
    app = open_page("evaluate", lang, evaluation=found)
    assert_healthy(app)
    facts = {"exact": 3, "near": 2, "prompts": 12, "data": "company_facts", "names": "the tuned one"}
    assert t("evaluation.contaminated", lang, **facts) in [w.value for w in app.warning]
    assert [7, 31, "90%"] in [row for frame in app.dataframe for row in frame.value.values.tolist()]
    assert t("evaluation.first_matches", lang, shown=1, found=5) in [c.value for c in app.caption]
    captions = "\n".join(c.value for c in app.caption)
    assert t("evaluation.training_unreadable", lang, data="gone", names=t("variants.model", lang, name="demo")) in captions
    assert t("evaluation.note_no_rows", lang) in captions
    rouge = t("choice.metric_rouge_l", lang)
    assert t("evaluation.not_applicable", lang, name="the tuned one", metric=rouge, n=6) in captions
    assert t("evaluation.failed", lang, name=t("variants.model", lang, name="demo"), metric=rouge, n=12, reason="")[:20] in captions


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_an_unfinished_one_goes_on(open_page: OpenPage, services: Services, tuned: str, started: list[str], status: str) -> None:
    found = put_ended(services, [tuned, BASE], {"rouge_l": [[0.5] * 12, [0.1] * 12]})
    folder = evaluations.find(services, found).job.folder
    (folder / "scores.json").unlink()
    error = {"code": "evaluation_data_changed", "facts": {"data": "company_facts", "split": "test"}}
    write_json(folder / "end.json", {"status": status, "error": error if status == "failed" else None})
    app = open_page("evaluate", evaluation=found)
    assert_healthy(app)
    assert (t("error.evaluation_data_changed", data="company_facts", split="test") in [e.value for e in app.error]) == (status == "failed")
    assert t("evaluation.rows_shown", shown=12, rows=12) in [c.value for c in app.caption]  # its answers so far
    click(app, t("common.resume"))
    assert started == [found, found]


def test_a_running_one_and_a_list_are_drawn(open_page: OpenPage, services: Services, tuned: str, started: list[str]) -> None:
    found = put_ended(services, [tuned, BASE], {"rouge_l": [[0.5] * 12, [0.1] * 12]})
    app = open_page("evaluate")
    assert_healthy(app)
    assert "An *evaluation*" in cells(app)
    folder = evaluations.find(services, found).job.folder
    lock = ProcessLock(folder / "lock")
    assert lock.acquire()
    (folder / "end.json").unlink()
    write_json(folder / "progress.json", {"phase": "predicting", "share": 0.5, "seconds": 20.0})
    app = open_page("evaluate", evaluation=found)
    lock.release()
    assert_healthy(app)
    assert next(b for b in app.button if b.label == t("common.delete")).disabled
    assert t("common.cancel") in [b.label for b in app.button]


def test_every_word_of_an_evaluation_is_translated(open_page: OpenPage, services: Services, tuned: str, started: list[str]) -> None:
    app = open_page("evaluate", "xx", evaluation=put_ended(services, [tuned, BASE], {"rouge_l": [[0.5] * 12, [0.1] * 12]}))
    assert_healthy(app)
    bare = [words for words in everything_visible(app) if "⟪" not in words and not re.search(r"An \\?\*eval|Tunesmith \d|^```|^$", words)]
    assert not bare


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_run_leads_here(open_page: OpenPage, services: Services, lang: str) -> None:
    run = add_run(services, "completed")
    app = open_page("training", lang, run=run.id)
    assert t("evaluation.evaluate", lang) in [b.label for b in app.button]


def test_files_to_take_away(services: Services, tuned: str, started: list[str]) -> None:
    found = evaluations.find(services, put_ended(services, [tuned, BASE], {"rouge_l": [[0.5, None] * 6, [0.1] * 12]}))
    records = [json.loads(line) for line in evaluation_rows.as_jsonl(found).splitlines()]
    assert len(records) == 24
    assert records[2] == {
        "row": 2, "prompt": "Question 2?", "reference": "Answer 2", "variant": tuned, "name": "the tuned one", "text": f"{tuned} says 2",
        "tokens": 4, "finish": "stop", "figures": {"rouge_l": None},
    }  # fmt: skip
    table = list(csv.DictReader(io.StringIO(evaluation_rows.as_csv(found).decode("utf-8-sig"))))
    assert [row["rouge_l"] for row in table[:4]] == ["0.5", "0.1", "", "0.1"]
