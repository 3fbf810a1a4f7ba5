"""The job that puts the answers of variants before a judge: an endpoint, or a local model. Its folder holds what was said.

Answers are those of an ended evaluation, or are made first. `verdicts.jsonl` has a line for each question; a question with an answer is
never asked again, one without is when the job goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.evaluation.judging import JudgeQuestion, JudgeRules, Line, describe, describe_failure, is_answered, latest, make_questions
from tunesmith.jobs.answer_files import PREDICTIONS, ROWS, read_questions
from tunesmith.jobs.job_kinds import Request
from tunesmith.jobs.judgements import VERDICTS, read_cases, read_verdicts
from tunesmith.settings.files import from_mapping
from tunesmith.store.files import AppendLog, as_user_error
from tunesmith.system.asking import ask_each
from tunesmith.system.endpoint import Endpoint, EndpointClient
from tunesmith.system.progress import Report

MODELS_HERE = "tunesmith.jobs.work.judging_here"  # brings the engine, which an endpoint that judges an evaluation needs not
FAILURES_IN_A_ROW = 8
_HOPELESS = {401, 403, 404}  # the next question would be refused as well
_WRONG_ADDRESS = {"endpoint_redirects", "endpoint_private_address"}
Keep = Callable[[Line], None]


def judge(request: Request, report: Report) -> dict[str, Any]:
    """Get the answers, then ask the judge what it has not answered yet.

    Raises UserError `data_…`, `evaluation_…`, `model_…`, `adapter_…`, `judge_without_answers`, `endpoint_…`, `disk_full`.
    """
    folder, rules = Path(request["folder"]), from_mapping(JudgeRules, request["rules"])
    keys = [variant["key"] for variant in request["variants"]]
    report("reading", 0.0)
    if request["source"]:
        _take_answers(Path(request["source"]), folder)
    elif not _all_answered(folder, rules, keys):
        import_module(MODELS_HERE).make_answers(request, report)
    questions = list(make_questions(read_cases(folder, rules.rows), rules, keys, request["prompt"]))
    if not questions:
        raise UserError("judge_without_answers")
    known = {key for key, line in latest(read_verdicts(folder)).items() if is_answered(line)}
    waiting = [question for question in questions if question.key not in known]
    log = AppendLog(folder / VERDICTS)
    try:
        keep = _keeper(log, len(waiting), report)
        if request["judge"].get("variant"):
            import_module(MODELS_HERE).ask_local(request, rules, waiting, questions, keep, report)
        else:
            _ask_endpoint(request, rules, waiting, keep, report)
    finally:
        log.close()
    return {"questions": len(questions), "asked_now": len(waiting)}


def _take_answers(source: Path, folder: Path) -> None:
    """Copy an evaluation's rows and answers: it may be deleted, the judgement stands."""
    try:
        for name in (ROWS, PREDICTIONS):
            if not (folder / name).exists():
                shutil.copyfile(source / name, folder / f".{name}")
                (folder / f".{name}").rename(folder / name)
    except OSError as error:
        raise as_user_error(error, folder / name) from error


def _all_answered(folder: Path, rules: JudgeRules, keys: Sequence[str]) -> bool:
    """Return whether nothing is missing: then the judging goes on though the data or the models have changed."""
    if not read_questions(folder):
        return False
    return all(key in case.answers for case in read_cases(folder, rules.rows) for key in keys)


def _keeper(log: AppendLog, waiting: int, report: Report) -> Keep:
    """Return what writes a line down and tells how far the judging is."""
    done = 0
    report("judging", 0.0)

    def keep(line: Line) -> None:
        nonlocal done
        done += 1
        log.append(line)
        report("judging", done / waiting)

    return keep


def _ask_endpoint(request: Request, rules: JudgeRules, waiting: Sequence[JudgeQuestion], keep: Keep, report: Report) -> None:
    endpoint, hosts = Endpoint(**request["judge"]["endpoint"]), request["judge"]["allowed_hosts"]
    client = partial(EndpointClient, endpoint, hosts, attempts=rules.attempts, read_seconds=rules.timeout_seconds)
    asked = [[{"role": "user", "content": question.text}] for question in waiting]
    done = failed_in_a_row = 0
    replies = ask_each(
        client, asked, rules.temperature, rules.max_tokens, rules.parallel, lambda: report("judging", done / max(1, len(waiting)))
    )  # fmt: skip
    for place, reply in replies:
        done += 1
        if not isinstance(reply, UserError):
            failed_in_a_row = 0
            keep(describe(waiting[place], rules, reply.text, reply.was_cut, reply.prompt_tokens or None, reply.completion_tokens or None))
            continue
        failed_in_a_row += 1
        keep(describe_failure(waiting[place], reply))
        if failed_in_a_row >= FAILURES_IN_A_ROW or reply.code in _WRONG_ADDRESS or reply.facts.get("status") in _HOPELESS:
            raise reply
