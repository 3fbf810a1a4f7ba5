"""What a judgement asks of models on this computer: the variants' answers where there are none, and the verdicts of a local judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tunesmith.data.formats import Row, as_prompt
from tunesmith.evaluation.judging import JudgeQuestion, JudgeRules, Line, describe
from tunesmith.inference.prediction import predict
from tunesmith.inference.sampling import Sampling
from tunesmith.jobs.answer_files import read_answers
from tunesmith.jobs.job_kinds import Request
from tunesmith.jobs.job_worker import wait_for_accelerator
from tunesmith.jobs.work.answering import answer, group_by_base, open_group, read_asked_rows, require_same
from tunesmith.store.files import LineTail
from tunesmith.system.progress import Report

SAID = "judge_answers.jsonl"
Keep = Callable[[Line], None]


def make_answers(request: Request, report: Report) -> None:
    """Ask the variants what they have not answered yet. Raises UserError `data_…`, `evaluation_…`, `model_…`, `adapter_…`."""
    rows = read_asked_rows(request)
    asking = [row for row in rows if as_prompt(row.value)]
    require_same(request, rows)
    known, done = read_answers(Path(request["folder"])), 0
    missing = len(asking) * len(request["variants"]) - len(known)

    def tell(more: int) -> None:
        nonlocal done
        done += more
        report("predicting", done / max(1, missing))

    groups = [
        group
        for group in group_by_base(request["variants"])
        if any((row.line, variant["key"]) not in known for row in asking for variant in group)
    ]
    if not groups:
        return
    with _accelerator(request, report):
        for group in groups:
            base, predictors = open_group(group, request["system"])
            answer(request, rows, base, predictors, tell)


@contextmanager
def _accelerator(request: Request, report: Report) -> Iterator[None]:
    """Hold the accelerator while models answer here; a judge elsewhere needs none."""
    lock = wait_for_accelerator(Path(request["slot"]), report)
    try:
        yield
    finally:
        lock.release()


def ask_local(
    request: Request, rules: JudgeRules, waiting: Sequence[JudgeQuestion], questions: Sequence[JudgeQuestion], keep: Keep, report: Report
) -> None:
    """Ask a model of ours in batches; its answers lie in a file of their own, by a question's place, until they are read."""
    folder, record = Path(request["folder"]), request["judge"]["variant"]
    tail, missing = LineTail(folder / SAID), {question.key for question in waiting}

    def take(_: float = 0.0) -> None:
        for said in tail.read_new():
            question = questions[said["row"]]
            if question.key in missing:
                missing.remove(question.key)
                keep(describe(question, rules, said["text"], said["finish"] == "length", None, said["tokens"]))

    def told() -> bool:
        report("judging", 1 - len(missing) / max(1, len(waiting)))
        return False

    take()  # what was said before the job was ended, but not read
    if not missing:
        return
    rows = [Row(place, {"prompt": question.text}) for place, question in enumerate(questions)]
    sampling = Sampling(temperature=rules.temperature, max_tokens=rules.max_tokens)
    with _accelerator(request, report):
        base, predictors = open_group([record])
        predict(base.model, base.tokenizer, rows, sampling, folder / SAID, predictors, report=take, abandoned=told)
