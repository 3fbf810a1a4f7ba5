"""Judgements: begin one, find them, let one go on, read what it says. Knows requests and folders, no language."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.data.formats import as_prompt, row_answer
from tunesmith.data.library import find_splits
from tunesmith.data.row_files import open_rows
from tunesmith.errors import UserError
from tunesmith.evaluation.judge_prompts import check_prompt, default_prompt
from tunesmith.evaluation.judge_reading import TIE
from tunesmith.evaluation.judging import Case, Judgement, JudgeRules, Line, check_rules, latest, sum_up
from tunesmith.evaluation.verdicts import WORTH, JudgeResult
from tunesmith.inference.sampling import Sampling
from tunesmith.jobs.answer_files import PREDICTIONS
from tunesmith.jobs.job import Job
from tunesmith.jobs.judgements import VERDICTS, read_cases, read_verdicts
from tunesmith.services import evaluations, jobs
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset, row_values
from tunesmith.services.endpoints import open_endpoint
from tunesmith.services.rights import needs
from tunesmith.services.shelved import Shelved, find_kept, first_name, name_of
from tunesmith.services.shelved import resume as resume_kept
from tunesmith.services.synthesis import CHARACTERS_PER_TOKEN
from tunesmith.services.variants import as_record, find_variant, plain_names
from tunesmith.settings.fields import check_values
from tunesmith.settings.files import from_mapping
from tunesmith.system.endpoint import Endpoint

KIND = "judge"
MOST_VARIANTS = 8
LOW_CONSISTENCY = 0.6  # of a judge that tosses a coin each time, 0.5 is to be expected
MANY_LEFT_OUT = 0.05
LIKED_PLACE = 0.1  # from this far beside one half
JUDGED_TOKENS = 120  # an explanation of three sentences and the verdict
SAMPLED_ROWS = 200


@dataclass(frozen=True)
class Judge:
    """Who judges: an endpoint, or the key of a variant that answers on this computer."""

    endpoint: Endpoint | None = None
    variant: str = ""


@dataclass(frozen=True)
class Estimate:
    """What a judgement asks for, about; `cost` in the prices' currency, None without prices or when a model of ours judges."""

    questions: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None


@dataclass(frozen=True)
class JudgedRow:
    """A judged prompt and the lines of its verdicts: of both orders, or of each variant."""

    case: Case
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Judged(Shelved):
    """A judgement as far as it is; of two variants, the first is the left one."""

    rules: JudgeRules

    @property
    def names(self) -> list[str]:
        """What the variants are called in no language."""
        return list(plain_names(self.variants.values()).values())

    @property
    def judge_name(self) -> str:
        """The model that judges, as the endpoint or this computer calls it."""
        return str(self.job.request["judge"]["name"])


@needs(TRAINER)
def start(
    s: Services, keys: Sequence[str], rules: JudgeRules, judge: Judge, *, data: str = "", split: str = "", evaluation: str = "",
    template: str = "", sampling: Sampling | None = None, name: str = "",
) -> str:  # fmt: skip
    """Start to judge the variants' answers and return the judgement's id.

    The answers are those of an ended `evaluation`, or are made first: to the held-out rows of `data` (or of its `split`). Raises
    UserError `setting_…`, `judge_…`, `variant_…`, `evaluation_…`, `dataset_…`, `endpoint_…`, `model_…`, `adapter_…`.
    """
    check_rules(rules)
    check_values(sampling or Sampling())
    template = template.strip() or default_prompt(rules.mode, rules.language)
    check_prompt(template, rules.mode)
    source = _source_of_answers(s, keys, evaluation) if evaluation else _data_of_answers(s, keys, data, split, rules.rows)
    _check_variants(rules, keys)
    names = " ↔ ".join(plain_names(source["variants"]).values())
    request = source | {
        "name": first_name(name, f"{names} · {source['data']}"),
        "rules": dataclasses.asdict(rules), "prompt": template, "sampling": dataclasses.asdict(sampling or Sampling()), "system": "",
        "judge": _judge_record(s, judge),
    }  # fmt: skip
    return jobs.start(s, KIND, request, environment=open_endpoint(s, judge.endpoint), shelf=jobs.EVALUATIONS)


def _check_variants(rules: JudgeRules, keys: Sequence[str]) -> None:
    wanted = (2, 2) if rules.mode == "pairwise" else (1, MOST_VARIANTS)
    if not wanted[0] <= len(keys) <= wanted[1] or len(set(keys)) < len(keys):
        raise UserError("judge_two_variants" if rules.mode == "pairwise" else "judge_variants_wrong", most=MOST_VARIANTS)


def _source_of_answers(s: Services, keys: Sequence[str], evaluation_id: str) -> dict[str, Any]:
    found = evaluations.find(s, evaluation_id)
    if missing := [key for key in keys if key not in found.variants]:
        raise UserError("judge_variant_not_asked", name=missing[0], evaluation=found.name)
    if not has_answers(found.job):
        raise UserError("judge_without_answers")
    request = found.job.request
    return {
        "variants": [found.variants[key] for key in keys], "source": str(found.job.folder), "data": request["data"],
        "split": request["split"], "data_path": request["data_path"], "limit": request["limit"],
    }  # fmt: skip


def _data_of_answers(s: Services, keys: Sequence[str], data: str, split: str, rows: int) -> dict[str, Any]:
    info = find_dataset(s, data)
    return {
        "variants": [as_record(find_variant(s, key)) for key in keys], "source": "", "data": info.pinned_id,
        "split": split or evaluations.held_out_split(info), "data_path": str(info.path), "limit": rows,
    }  # fmt: skip


def _judge_record(s: Services, judge: Judge) -> dict[str, Any]:
    if judge.endpoint:
        hosts = list(s.settings.endpoint_hosts)
        return {"name": judge.endpoint.model, "endpoint": dataclasses.asdict(judge.endpoint), "allowed_hosts": hosts}
    if not judge.variant:
        raise UserError("judge_missing")
    variant = as_record(find_variant(s, judge.variant))
    return {"name": variant["name"], "variant": variant}


def estimate(
    s: Services, rules: JudgeRules, variants: int, *, data: str = "", evaluation: str = "", template: str = "", answer_tokens: int = 100
) -> Estimate:
    """Return about what a judgement asks for: of answers that are there by their lengths, of others by `answer_tokens` each.

    Raises UserError `dataset_…`, `evaluation_…`.
    """
    template = template or default_prompt(rules.mode, rules.language)
    if evaluation:
        cases = list(read_cases(evaluations.find(s, evaluation).job.folder, rules.rows))
        asked = [len(case.question) + len(case.reference or "") for case in cases]
        answered = [sum(map(len, case.answers.values())) / max(1, len(case.answers)) for case in cases]
        rows = len(cases)
    else:
        info = find_dataset(s, data)
        split = evaluations.held_out_split(info)
        asked = [_characters(value) for value in row_values(s, data, split, min(rules.rows, SAMPLED_ROWS))]
        answered = [answer_tokens * CHARACTERS_PER_TOKEN]
        rows = min(rules.rows, len(open_rows(find_splits(info.path)[split])))
    orders = 2 if rules.mode == "pairwise" else 1
    questions = rows * (2 if rules.mode == "pairwise" else variants)
    prompt = round(questions * (len(template) + _mean(asked) + _mean(answered) * orders) / CHARACTERS_PER_TOKEN)
    completion = questions * min(JUDGED_TOKENS, rules.max_tokens)
    return Estimate(questions, prompt, completion, rules.cost(prompt, completion))


def _characters(value: dict[str, Any]) -> int:
    question, reference = as_prompt(value), row_answer(value)
    return sum(len(str(turn["content"])) for turn in question) + len(reference or "")


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values) if values else 0.0


def list_judgements(s: Services, most: int | None = None) -> list[Judged]:
    """Return the judgements, newest first."""
    return [_as_judged(job) for job in jobs.list_jobs(s, KIND, most=most, shelf=jobs.EVALUATIONS)]


def find(s: Services, judgement_id: str) -> Judged:
    """Return one judgement. Raises UserError `evaluation_unknown`."""
    return _as_judged(find_kept(s, judgement_id, KIND))


def _as_judged(job: Job) -> Judged:
    return Judged(job, name_of(job), from_mapping(JudgeRules, job.request["rules"]))


@needs(TRAINER)
def resume(s: Services, judgement_id: str) -> None:
    """Let an ended judgement go on: only questions without an answer are asked; works beside an open app.

    Raises UserError `evaluation_unknown`, `job_running`, `endpoint_…`.
    """
    told = find(s, judgement_id).job.request["judge"].get("endpoint")
    resume_kept(s, judgement_id, open_endpoint(s, Endpoint(**told) if told else None))


def has_answers(job: Job) -> bool:
    """Return whether an ended job's folder holds answers that can be judged."""
    return job.ended and (job.folder / PREDICTIONS).exists()


def count_questions(found: Judged) -> int:
    """Return how many questions the judge is asked in all, of the answers that are there; 0 while there are none."""
    variants, rows = list(found.variants), read_cases(found.job.folder, found.rules.rows)
    complete = sum(all(variant in case.answers for variant in variants) for case in rows)
    return complete * (2 if found.rules.mode == "pairwise" else len(variants))


def read_judgement(found: Judged) -> Judgement:
    """Return what the judge has said so far, with intervals."""
    path = found.job.folder / VERDICTS
    size = path.stat().st_size if path.exists() else 0
    return _sum_up(found.job.folder, size, found.rules, tuple(found.variants))


@functools.lru_cache(maxsize=32)
def _sum_up(folder: Path, size_bytes: int, rules: JudgeRules, variants: tuple[str, ...]) -> Judgement:
    del size_bytes  # the file only grows: part of the cache's key
    return sum_up(read_verdicts(folder), rules, variants)


def verdict_of(result: JudgeResult, left: str, right: str) -> tuple[str, dict[str, Any]]:
    """Return the code of a verdict and the facts of its sentence: `better`, `worse`, `within_margin`, `too_few_differ`, `no_rows`."""
    decision, compared = result.decision, result.decision.comparison
    facts = {"left": left, "right": right, "rate": result.win_rate, "low": result.low, "high": result.high}
    facts |= {"decided": compared.wins + compared.losses, "needed": decision.differing_needed}
    return decision.reason or decision.verdict, facts


def warnings_of(found: Judgement) -> dict[str, dict[str, Any]]:
    """Return what makes a judgement weak, with the facts: `inconsistent`, `many_left_out`, `likes_a_place`."""
    result, weak = found.pairwise, dict[str, dict[str, Any]]()
    if found.asked and found.left_out > MANY_LEFT_OUT * found.asked:
        weak["many_left_out"] = {"count": found.left_out, "asked": found.asked}
    if result and result.consistency is not None and result.consistency < LOW_CONSISTENCY:
        weak["inconsistent"] = {"share": result.consistency}
    if result and result.first_share is not None and abs(result.first_share - 0.5) > LIKED_PLACE:
        weak["likes_a_place"] = {"share": result.first_share}
    return weak


def judged_rows(found: Judged) -> list[JudgedRow]:
    """Return the judged prompts with what was said of them, in the order of the data."""
    lines: dict[int, list[Line]] = {}
    for line in latest(read_verdicts(found.job.folder)).values():
        lines.setdefault(line["row"], []).append(line)
    return [JudgedRow(case, tuple(lines[case.row])) for case in read_cases(found.job.folder, found.rules.rows) if case.row in lines]


def export_records(found: Judged) -> Iterator[dict[str, Any]]:
    """Yield a flat record of each question to the judge, with the prompt and the answers that it was about; all have the same columns."""
    rubric = found.rules.mode == "rubric"
    columns = ("row", *(("variant",) if rubric else ("swapped", "verdict")), "problem", "text", "prompt_tokens", "completion_tokens")
    for each in judged_rows(found):
        answers = {f"answer {name}": each.case.answers.get(key) for key, name in zip(found.variants, found.names, strict=True)}
        about = {"question": each.case.question, "reference": each.case.reference} | answers
        for line in each.lines:
            scores = {f"score {name}": line["scores"].get(name) for name in found.rules.criteria} if rubric else {}
            yield {name: line.get(name) for name in columns} | scores | about


def outcome_of(row: JudgedRow) -> str:
    """Return who a pairwise prompt goes to: `left`, `right`, `tie` (in both orders), `undecided` (the place decides), `unreadable`."""
    said = {bool(line["swapped"]): str(line["verdict"]) for line in row.lines}
    if not (said.get(False) and said.get(True)):
        return "unreadable"
    worth = WORTH[said[False]] + 1 - WORTH[said[True]]
    if worth == 1:
        return "tie" if said[False] == TIE else "undecided"
    return "left" if worth > 1 else "right"
