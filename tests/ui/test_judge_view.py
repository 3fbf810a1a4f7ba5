"""The view "judge" of the Evaluate page: its form, an ended judgement with all that it shows, in both languages."""

from __future__ import annotations

import json
from collections.abc import Callable

import orjson
import pytest
from streamlit.testing.v1 import AppTest

from tests.judge_double import LEFT, RIGHT, add_evaluation, verdict_for
from tests.ui.conftest import everything_visible
from tunesmith.errors import UserError
from tunesmith.evaluation.judge_prompts import default_prompt
from tunesmith.evaluation.judging import JudgeRules, describe, describe_failure, make_questions
from tunesmith.i18n.catalog import t
from tunesmith.jobs.job import END, JobFolders
from tunesmith.jobs.judgements import VERDICTS, read_cases
from tunesmith.services import evaluations, jobs, judging, shelved
from tunesmith.services.context import Services
from tunesmith.services.jobs import EVALUATIONS
from tunesmith.store.files import copy_into, write_json

Open = Callable[..., AppTest]
ROWS = 30


def add_judgement(
    services: Services, rules: JudgeRules, status: str = "completed", said: Callable[[int, bool, str], str] | None = None
) -> str:
    """Write a judgement as its job leaves it: the last question has no answer, one is junk, the rest prefer the left variant."""
    source = jobs.find_job(services, add_evaluation(services.data_dir, ROWS), EVALUATIONS)
    endpoint = {"address": "http://127.0.0.1:1/v1", "model": "double", "key_variable": ""}
    folders = JobFolders(services.data_dir / EVALUATIONS)
    template = default_prompt(rules.mode, rules.language)
    request = {
        "kind": "judge", "name": "left ↔ right", "variants": source.request["variants"], "source": str(source.folder),
        "data": "company_facts", "split": "test", "rules": rules.__dict__, "prompt": template,
        "judge": {"name": "double", "endpoint": endpoint, "allowed_hosts": ["127.0.0.1"]},
    }  # fmt: skip
    judgement_id = folders.create(request)
    folder = folders.folder(judgement_id)
    for name in ("rows.jsonl", "predictions.jsonl"):
        copy_into(source.folder / name, folder / name)
    questions = list(make_questions(read_cases(folder, rules.rows), rules, [LEFT, RIGHT], template))
    lines = []
    for question in questions[:-1]:
        text = said(question.row, question.swapped, question.variant) if said else verdict_for(True, question.swapped)
        text = "No idea, <b>really</b>." if question.row == 1 and not question.swapped and question.variant != RIGHT else text
        lines.append(describe(question, rules, text, False, 300, 40))
    lines.append(describe_failure(questions[-1], UserError("endpoint_unreachable", address="http://x", reason="ReadTimeout")))
    (folder / VERDICTS).write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    if status != "stopped":
        write_json(folder / END, {"status": status, "result": {}})
    return judgement_id


def words_of(app: AppTest) -> str:
    assert not app.exception
    return "\n".join([*everything_visible(app), *(each.value for each in app.text), *(each.value for each in app.code)])


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_an_ended_judgement_is_told_in_full(services: Services, open_page: Open, lang: str) -> None:
    judgement_id = add_judgement(services, JudgeRules(price_in=2.0, price_out=10.0))
    app = open_page("evaluate", lang, view="judge")
    words = words_of(app)
    found = judging.read_judgement(judging.find(services, judgement_id))
    assert found.pairwise is not None
    left, right = (t("variants.model", lang, name=name) for name in ("left", "right"))
    code, facts = judging.verdict_of(found.pairwise, left, right)
    assert code == "better"
    for key, values in [
        ("verdict_better", facts), ("caveat", {"share": found.pairwise.first_share}), ("unanswered", {"count": "1"}), ("again", {}),
        ("left_out", {"count": "2", "asked": "60"}), ("tokens", {"prompt": "17,700", "completion": "2,360"}),
        ("paid_least", {"cost": "0.059"}), ("open_hint", {}), ("consistency", {}),
    ]:  # fmt: skip
        assert t(f"judge.{key}", lang, **values) in words, key
    assert t("evaluation.note_all_equal", lang) in words
    assert t("judge_problem.timeout", lang) in words
    assert t("judge_problem.no_mark", lang) in words
    assert "No idea, <b>really</b>." in words
    table = next(frame.value for frame in app.dataframe)
    assert list(table[t("judge.outcome", lang)])[:3] == [left, t("judge.unreadable", lang), left]
    assert not app.dataframe[0].value.isna().any().any()


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_rubric_and_one_that_died_are_told(services: Services, open_page: Open, lang: str) -> None:
    rules = JudgeRules(mode="rubric", criteria=("right", "short"), language=lang)
    stopped = add_judgement(services, rules, "stopped", lambda row, _, key: f"right: {8 if key == LEFT else 3 + row % 2}\nshort: 5")
    app = open_page("evaluate", lang, view="judge", judgement=stopped)
    words = words_of(app)
    assert t("judge.ended_early", lang, asked="59", all="60") in words
    assert t("common.resume", lang) in words
    assert t("judge.rubric_note", lang) in words
    table = app.dataframe[0].value
    assert list(table[t("judge.criterion", lang)]) == [t("judge.mean_of_all", lang), "right", "short"]
    left, right = (t("variants.model", lang, name=name) for name in ("left", "right"))
    assert table[left][1] == "8.00 (8.00 – 8.00)"
    assert table[t("judge.difference", lang, left=left, right=right)][1].startswith("+4.5")


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_form_has_the_prompt_of_its_language(open_page: Open, lang: str) -> None:
    app = open_page("evaluate", lang, view="judge")
    words = words_of(app)
    assert t("judge.none", lang) in words
    assert t("judge.start", lang) in words
    assert app.text_area(key=f"judge-prompt-pairwise-{lang}").value == default_prompt("pairwise", lang)
    assert t("judge.estimate", lang, questions="*", prompt="*", completion="*").split("*")[0] in words


def test_the_form_follows_its_choices(open_page: Open) -> None:
    app = open_page("evaluate", "en", view="judge")
    app.selectbox(key="judge.mode").set_value("rubric").run()
    shipped = default_prompt("rubric", "en")
    assert app.text_area(key="judge-prompt-rubric-en").value == shipped
    assert app.text_area(key="judge.criteria").value.splitlines() == list(JudgeRules().criteria)
    assert [each.label for each in app.multiselect] == [t("judge.variants", "en")]
    app.text_area(key="judge-prompt-rubric-en").set_value("only {question}").run()
    app.segmented_control(key="judge-who").set_value("local").run()
    next(button for button in app.button if button.label == t("judge.start", "en")).click().run()
    assert t("error.judge_prompt_incomplete", "en", missing="{answer}") in words_of(app)
    next(button for button in app.button if button.label == t("judge.prompt_back", "en")).click().run()
    assert app.text_area(key="judge-prompt-rubric-en").value == shipped
    assert not app.exception


def test_answers_of_an_evaluation_are_offered_and_deleting_asks_first(services: Services, open_page: Open) -> None:
    judgement_id = add_judgement(services, JudgeRules(rows=20))
    evaluation = evaluations.list_evaluations(services)[0]
    app = open_page("evaluate", "en", view="judge", evaluation=evaluation.id)
    assert app.selectbox(key=f"judge-left-{evaluation.id}").value == LEFT
    assert app.selectbox(key=f"judge-right-{evaluation.id}").options == [t("variants.model", "en", name="right")]
    estimate = judging.estimate(services, JudgeRules(), 2, evaluation=evaluation.id)
    assert f"{estimate.questions} questions to the judge" in words_of(app)
    assert estimate.questions == 2 * ROWS
    app.button(key=f"delete-{judgement_id}").click().run()
    assert t("judge.delete_ask", "en", name="left ↔ right") in words_of(app)
    assert judging.list_judgements(services)
    shelved.delete(services, judgement_id)
    assert not judging.list_judgements(services)
    assert evaluations.list_evaluations(services)


def test_the_files_hold_every_verdict_with_its_answers(services: Services) -> None:
    found = judging.find(services, add_judgement(services, JudgeRules(rows=5)))
    records = list(judging.export_records(found))
    assert len(records) == 10
    assert len({tuple(record) for record in records}) == 1  # a table has the same columns in every line
    assert records[0]["question"] == "Question 0: how many?"
    assert records[0]["answer left"] == "left says 0"
    assert json.loads(orjson.dumps(records[-1]))["problem"] == "timeout"


def test_judgements_of_one_name_and_minute_can_be_told_apart(services: Services, open_page: Open) -> None:
    """A list to choose from knows its lines by their words."""
    for _ in range(2):
        add_judgement(services, JudgeRules(rows=5))
    titles = open_page("evaluate", "en", view="judge").selectbox(key="judgement--2").options
    assert len(set(titles)) == 2
