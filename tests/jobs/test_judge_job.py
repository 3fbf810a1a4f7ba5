"""Judgements by an endpoint that behaves well and badly, and by a model of ours: real processes, killed and resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.adapters import add_adapter
from tests.jobs.conftest import wait_for
from tests.judge_double import LEFT, RIGHT, Asked, JudgeDouble, Said, add_evaluation, serve_judge, verdict_for
from tunesmith import cli
from tunesmith.errors import UserError
from tunesmith.evaluation.judging import JudgeRules
from tunesmith.evaluation.verdicts import Verdict, judge_result
from tunesmith.inference.sampling import Sampling
from tunesmith.jobs.judgements import read_verdicts
from tunesmith.services import jobs, judging
from tunesmith.services.context import Services
from tunesmith.services.judging import Judge, Judged, outcome_of
from tunesmith.system.endpoint import Endpoint

FIRST, SECOND, TRUTH = 0.755, 0.440, 0.6
SECRET = "secret-of-the-judge-7731"
JUNK = ("I like both answers.", "[[A]] and [[B]]", "", "好きなのはAです。", '{"winner": "maybe"}')


def ended(services: Services, judgement_id: str, seconds: float = 90) -> Judged:
    wait_for(lambda: judging.find(services, judgement_id).job.ended, seconds)
    return judging.find(services, judgement_id)


def judge_at(double: JudgeDouble, variable: str = "") -> Judge:
    return Judge(Endpoint(double.address, "double", variable))


def kill_worker(folder: Path) -> None:
    for child in psutil.Process().children():
        if str(folder) in child.cmdline():
            os.kill(child.pid, signal.SIGKILL)


def test_a_biased_judge_with_junk_and_faults(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.755 one way, 0.440 the other, one answer of ten is junk; some questions time out, fail always, or fail once."""
    rows, chance = 400, np.random.default_rng(5)
    prefers_left = {(row, swapped): chance.random() < (SECOND if swapped else FIRST) for row in range(rows) for swapped in (False, True)}
    junk = {asked: JUNK[number % len(JUNK)] for number, asked in enumerate(a for a in prefers_left if chance.random() < 0.1)}
    timeout, broken, cut = (11, False), (12, True), (13, False)
    busy, once, refused = (14, True), (15, False), (16, True)

    def script(asked: Asked, before: int) -> Said:
        special = {broken: (500, "broken"), refused: (400, "too long"), cut: (200, "[[A]] it seems to me, but then…")}
        if asked in special:
            return special[asked]
        if asked in {busy, once} and before == 0:
            return (429, "slow down") if asked == busy else (503, "starting")
        return 200, junk.get(asked) if asked in junk else verdict_for(prefers_left[asked], asked[1])

    for asked in (timeout, broken, cut, busy, once, refused):
        junk.pop(asked, None)
    evaluation = add_evaluation(services.data_dir, rows)
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    rules = JudgeRules(rows=rows, parallel=8, attempts=2, timeout_seconds=3, price_in=2.0, price_out=10.0)
    with serve_judge(script) as double:
        double.wait_seconds = lambda asked, _: 9.0 if asked == timeout else 0.0
        started = judging.start(services, [LEFT, RIGHT], rules, judge_at(double, "JUDGE_KEY"), evaluation=evaluation)
        done = ended(services, started)
        assert double.keys == {f"Bearer {SECRET}"}
        assert double.paths == {"/v1/chat/completions"}
    assert done.job.status == "completed", done.job.error
    again = {timeout: 2, broken: 2, busy: 2, once: 2}
    assert double.asked == Counter({asked: again.get(asked, 1) for asked in prefers_left})

    found = judging.read_judgement(done)
    kinds = Counter(
        {"I like both answers.": "no_mark", "[[A]] and [[B]]": "contradiction", "": "empty"}.get(words, "no_mark")
        for words in junk.values()
    )  # fmt: skip
    kinds.update({"timeout": 1, "server_error": 1, "refused": 1, "cut": 1})
    assert found.failures == dict(kinds)
    assert (found.asked, found.unanswered) == (2 * rows, 3)
    lost = {*junk, timeout, broken, refused, cut}
    expected = judge_result(
        Verdict(str(asked[0]), asked[1], "" if asked in lost else "first" if left != asked[1] else "second")
        for asked, left in prefers_left.items()
    )  # fmt: skip
    assert found.pairwise == expected
    assert found.pairwise is not None
    assert found.pairwise.low is not None
    assert found.pairwise.high is not None
    assert found.pairwise.low <= TRUTH <= found.pairwise.high
    assert found.pairwise.decision.verdict == "better"
    assert found.pairwise.rate_first == pytest.approx(FIRST, abs=0.05)
    assert found.pairwise.rate_second == pytest.approx(SECOND, abs=0.05)
    assert set(judging.warnings_of(found)) == {"many_left_out", "inconsistent", "likes_a_place"}
    answered = 2 * rows - 3
    assert (found.prompt_tokens, found.completion_tokens, found.untold) == (300 * answered, 40 * answered, 0)
    assert found.cost == pytest.approx(answered * (300 * 2 + 40 * 10) / 1e6)
    everything = b"".join(p.read_bytes() for p in services.data_dir.rglob("*") if p.is_file())
    assert SECRET.encode() not in everything


def test_a_killed_judgement_goes_on_and_asks_nothing_twice(services: Services) -> None:
    """What was under way at the kill had no line yet: only that is asked again, and after it each question has one line."""
    rows, parallel = 60, 3
    evaluation = add_evaluation(services.data_dir, rows)
    with serve_judge(lambda asked, _: (200, verdict_for(True, asked[1]))) as double:
        double.wait_seconds = lambda *_: 600.0 if sum(double.asked.values()) > rows + 20 else 0.0  # then it says nothing any more
        rules = JudgeRules(rows=rows, parallel=parallel, timeout_seconds=600)
        started = judging.start(services, [LEFT, RIGHT], rules, judge_at(double), evaluation=evaluation)
        folder = judging.find(services, started).job.folder
        wait_for(lambda: len(read_verdicts(folder)) >= rows)
        kill_worker(folder)
        assert ended(services, started).job.status == "stopped"
        before = read_verdicts(folder)
        asked_before = dict(double.asked)
        assert rows <= len(before) < 2 * rows
        partial = judging.read_judgement(judging.find(services, started))
        assert partial.asked == len(before)
        assert judging.count_questions(judging.find(services, started)) == 2 * rows
        double.wait_seconds = lambda *_: 0.0
        judging.resume(services, started)
        done = ended(services, started)
    assert done.job.status == "completed", done.job.error
    lines = read_verdicts(folder)
    assert lines[: len(before)] == before
    assert len(lines) == len({(line["row"], line["swapped"]) for line in lines}) == 2 * rows
    recorded = {(line["row"], line["swapped"]) for line in before}
    assert all(double.asked[asked] == 1 for asked in recorded)
    assert len(asked_before) - len(before) <= parallel
    assert sum(double.asked.values()) - 2 * rows <= parallel
    found = judging.read_judgement(done)
    assert found.pairwise is not None
    assert (found.pairwise.win_rate, found.pairwise.consistency) == (1, 1)
    assert {outcome_of(row) for row in judging.judged_rows(done)} == {"left"}


def test_a_refused_key_ends_it_at_once_and_a_cancel_keeps_what_was_said(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 40
    evaluation = add_evaluation(services.data_dir, rows)
    monkeypatch.setenv("JUDGE_KEY", SECRET)
    allowed = False
    with serve_judge(lambda asked, _: (200, verdict_for(True, asked[1])) if allowed else (401, "who are you?")) as double:
        rules = JudgeRules(rows=rows, parallel=1, timeout_seconds=600)
        started = judging.start(services, [LEFT, RIGHT], rules, judge_at(double, "JUDGE_KEY"), evaluation=evaluation)
        done = ended(services, started)
        assert done.job.status == "failed"
        assert done.job.error is not None
        assert (done.job.error.code, done.job.error.facts["status"]) == ("endpoint_refused", 401)
        assert sum(double.asked.values()) == 1
        allowed = True
        double.wait_seconds = lambda *_: 600.0 if sum(double.asked.values()) > 20 else 0.0  # then it says nothing any more
        judging.resume(services, started)
        wait_for(lambda: len(read_verdicts(done.job.folder)) >= 15)
        jobs.cancel(services, started, jobs.EVALUATIONS)
        assert ended(services, started).job.status == "cancelled"  # a silent endpoint does not hold it up
        monkeypatch.delenv("JUDGE_KEY")
        with pytest.raises(UserError, match="endpoint_key_missing"):
            judging.resume(services, started)
        monkeypatch.setenv("JUDGE_KEY", SECRET)
        double.wait_seconds = lambda *_: 0.0
        judging.resume(services, started)
        assert ended(services, started).job.status == "completed"
    found = judging.read_judgement(judging.find(services, started))
    assert (found.asked, found.unanswered, found.failures) == (2 * rows, 0, {})


def test_an_endpoint_that_is_gone_is_given_up_with_what_was_said(services: Services) -> None:
    evaluation = add_evaluation(services.data_dir, 30)
    with serve_judge(lambda *_: (500, "down")) as double:
        rules = JudgeRules(rows=30, parallel=4, attempts=1)
        done = ended(services, judging.start(services, [LEFT, RIGHT], rules, judge_at(double), evaluation=evaluation))
    assert done.job.status == "failed"
    found = judging.read_judgement(done)
    assert found.failures == {"server_error": 8}
    assert found.pairwise is not None
    assert found.pairwise.win_rate is None


def test_a_rubric_without_usage_is_scored_and_costs_are_not_told(services: Services) -> None:
    rows = 30
    evaluation = add_evaluation(services.data_dir, rows)

    def script(asked: Asked, _: int) -> Said:
        row, right = asked
        return 200, f"Fine.\nright: {6 if right else 8}/10\nshort: {'eleven' if row == 3 and right else 5}"

    with serve_judge(script) as double:
        double.tells_usage = False
        rules = JudgeRules(mode="rubric", rows=rows, criteria=("right", "short"), price_in=1.0)
        started = judging.start(services, [LEFT, RIGHT], rules, judge_at(double), evaluation=evaluation, name="my scores")
        done = ended(services, started)
        assert "right: <1-10>\nshort: <1-10>" in double.bodies[0]["messages"][0]["content"]
    found = judging.read_judgement(done)
    assert (done.name, found.asked, found.failures) == ("my scores", 2 * rows, {"missing_criterion": 1})
    by_name = {each.criterion: each for each in found.rubric}
    assert (by_name["right"].means[LEFT].mean, by_name["right"].means[RIGHT].mean) == (8, 6)
    assert (by_name["right"].differences[RIGHT].rows, by_name["right"].differences[RIGHT].difference) == (rows - 1, 2)
    assert (found.prompt_tokens, found.cost, found.untold) == (None, None, 2 * rows)
    records = list(judging.export_records(done))
    assert len(records) == 2 * rows
    assert {record["score right"] for record in records} == {6.0, 8.0, None}


def test_a_model_of_ours_judges_for_real_and_its_junk_is_unreadable(services: Services) -> None:
    """The demo model knows no verdicts: every answer is counted, none is taken for one. The variants are asked first, in the same job."""
    adapter = add_adapter(services.data_dir, "drawn", seed=3)
    keys = ["model:demo", f"adapter:{adapter.id}@0.5"]
    rules = JudgeRules(rows=4, max_tokens=24)
    started = judging.start(
        services, keys, rules, Judge(variant="model:demo"), data="company_facts", sampling=Sampling(max_tokens=12)
    )  # fmt: skip
    done = ended(services, started, 150)
    assert done.job.status == "completed", done.job.error
    rows = judging.judged_rows(done)
    assert len(rows) == 4
    assert all(set(row.case.answers) == set(keys) and len(row.lines) == 2 for row in rows)
    found = judging.read_judgement(done)
    assert found.pairwise is not None
    assert (found.asked, found.left_out, found.pairwise.prompts, found.pairwise.win_rate) == (8, 8, 0, None)
    assert set(found.failures) <= {"no_mark", "cut", "empty", "contradiction"}
    assert (found.prompt_tokens, found.untold) == (None, 8)
    lines = read_verdicts(done.job.folder)
    judging.resume(services, started)
    assert ended(services, started).job.status == "completed"
    assert read_verdicts(done.job.folder) == lines


def test_what_cannot_be_judged_is_refused(services: Services) -> None:
    evaluation = add_evaluation(services.data_dir, 2)
    judge, rules = Judge(variant="model:demo"), JudgeRules()
    rubric = dataclasses.replace(rules, mode="rubric")
    far = Judge(Endpoint("https://judge.example/v1", "m"))
    for code, keys, how, who, more in [
        ("judge_two_variants", [LEFT], rules, judge, {}), ("judge_two_variants", [LEFT, LEFT], rules, judge, {}),
        ("judge_variants_wrong", [], rubric, judge, {}), ("judge_missing", [LEFT, RIGHT], rules, Judge(), {}),
        ("judge_variant_not_asked", [LEFT, "model:demo"], rules, judge, {}), ("endpoint_host_not_allowed", [LEFT, RIGHT], rules, far, {}),
        ("judge_prompt_incomplete", [LEFT, RIGHT], rules, judge, {"template": "{question} {answer_a}"}),
        ("setting_too_small", [LEFT, RIGHT], dataclasses.replace(rules, rows=0), judge, {}),
        ("evaluation_unknown", [LEFT, RIGHT], rules, judge, {"evaluation": "none"}),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=code):
            judging.start(services, keys, how, who, **{"evaluation": evaluation} | more)
    assert not judging.list_judgements(services)
    with pytest.raises(UserError, match="evaluation_unknown"):
        judging.find(services, evaluation)


def test_an_estimate_counts_both_orders_and_each_variant(services: Services) -> None:
    evaluation = add_evaluation(services.data_dir, 10)
    rules = JudgeRules(rows=8, price_in=1.0, price_out=5.0, max_tokens=50)
    about = judging.estimate(services, rules, 2, evaluation=evaluation, template="x" * 100)
    each = 100 + len("Question 1: how many?") + 1 + 2 * len("right says 1") - 1 / 2 * 2
    assert (about.questions, about.completion_tokens) == (16, 16 * 50)
    assert about.prompt_tokens == pytest.approx(16 * each / 3.5, rel=0.02)
    assert about.cost == pytest.approx((about.prompt_tokens + 5 * about.completion_tokens) / 1e6)
    assert judging.estimate(services, dataclasses.replace(rules, mode="rubric"), 3, evaluation=evaluation).questions == 24
    assert judging.estimate(services, JudgeRules(rows=5), 2, data="company_facts").questions == 10


def test_the_command_line_judges_goes_on_and_tells_what_it_lacks(
    services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluation = add_evaluation(services.data_dir, 12)
    template, settings = tmp_path / "prompt.txt", tmp_path / "judge.yaml"
    template.write_text("Which is better? {question} {answer_a} {answer_b}", encoding="utf-8")
    settings.write_text("price_out: 5\nparallel: 2\nattempts: 1\n", encoding="utf-8")
    both = ["judge", "--variant", LEFT, "--variant", RIGHT, "--evaluation", evaluation]

    def run(*arguments: str) -> str:
        cli.app(list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    with serve_judge(
        lambda asked, before: (500, "") if asked == (3, True) and not before else (200, verdict_for(True, asked[1]))
    ) as double:
        at = ["--endpoint", double.address, "--model", "m", "--prompt-file", str(template), "--settings", str(settings), "--limit", "10"]
        found = json.loads(run(*both, *at, "--json"))
        assert double.bodies[0]["messages"][0]["content"].startswith("Which is better? Question ")
        assert double.bodies[0]["model"] == "m"
        assert (found["asked"], found["failures"], found["pairwise"]["prompts"]) == (20, {"server_error": 1}, 9)
        assert found["cost"] == pytest.approx(19 * 40 * 5 / 1e6)
        words = run("judge", "--resume", found["id"])
        assert sum(double.asked.values()) == 21
    assert "left is preferred to right: in 100% of the prompts" in words
    assert "6,000 tokens asked, 800 answered" in words
    for wanted, arguments in [
        ("judge_missing", both), ("judge_two_variants", [*both[:3], *both[5:], "--judge-variant", "model:demo"]),
        ("file_missing", [*both, "--prompt-file", "nowhere.txt"]), ("dataset_missing", ["judge", "--variant", "demo"]),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=wanted):
            run(*arguments)
