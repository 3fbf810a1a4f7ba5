"""`tunesmith judge`: let an endpoint or a local model judge variants' answers. The page's services."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli_output import Json, as_id, finish_kept, open_services, report
from tunesmith.errors import UserError
from tunesmith.evaluation.judging import Judgement, JudgeRules
from tunesmith.i18n.catalog import t
from tunesmith.services import judging
from tunesmith.services.judging import Judge, Judged
from tunesmith.services.variants import find_variant
from tunesmith.settings.files import from_mapping, read_text_file, read_yaml
from tunesmith.system.endpoint import Endpoint

PLAIN = JudgeRules()


def judge(
    variant: Annotated[list[str] | None, typer.Option(help="Whose answers: a model's or an adapter's id, checkpoint:RUN/STEP.")] = None,
    data: Annotated[str, typer.Option(help="Data set whose held-out rows are the prompts; the variants answer them first.")] = "",
    split: Annotated[str, typer.Option(help="train, valid or test, instead of the held-out rows.")] = "",
    evaluation: Annotated[str, typer.Option(help="The id of an evaluation whose answers are judged, instead of --data.")] = "",
    endpoint: Annotated[str, typer.Option(help="Address of the judge in OpenAI's form, such as http://127.0.0.1:8080/v1.")] = "",
    model: Annotated[str, typer.Option(help="The judge's name at the endpoint.")] = "",
    key_variable: Annotated[str, typer.Option(help="Name of the endpoint's key: an environment variable, or one of `tunesmith keys`")] = "",
    judge_variant: Annotated[str, typer.Option(help="A model of this computer judges, instead of an endpoint.")] = "",
    rubric: Annotated[bool, typer.Option("--rubric", help="Score each variant alone by criteria.")] = False,
    criterion: Annotated[list[str] | None, typer.Option(help="A criterion of the rubric; may be repeated.")] = None,
    prompt_file: Annotated[Path | None, typer.Option(help="The judge's prompt, instead of the shipped one.")] = None,
    language: Annotated[str, typer.Option(help=f"Language of the shipped prompt: en or ja (default: {PLAIN.language}).")] = "",
    limit: Annotated[int | None, typer.Option(help=f"How many rows are judged (default: {PLAIN.rows}).")] = None,
    settings: Annotated[Path | None, typer.Option(help="YAML file with any of the judgement's settings (prices, time limits …).")] = None,
    name: Annotated[str, typer.Option(help="What the judgement is called.")] = "",
    resume: Annotated[str, typer.Option(help="The id of a judgement that goes on; nothing else is needed.")] = "",
    json: Json = False,
) -> None:  # fmt: skip
    """Judge variants' answers, each pair in both orders, or by a rubric; wait for the end."""
    with open_services() as services:
        if resume:
            judging.resume(services, resume)
            started = resume
        else:
            values = _read_settings(settings)
            values |= {"language": language} if language else {}
            values |= {} if limit is None else {"rows": limit}
            values |= {"mode": "rubric"} if rubric else {}
            values |= {"criteria": criterion} if criterion else {}
            who = Judge(Endpoint(endpoint, model, key_variable) if endpoint else None, judge_variant)
            keys = [key if evaluation else find_variant(services, key).key for key in variant or ()]
            started = judging.start(
                services, keys, from_mapping(JudgeRules, values), who, data=as_id(data), split=split, evaluation=evaluation,
                template=_read_prompt(prompt_file), name=name,
            )  # fmt: skip
        found = judging.find(services, finish_kept(services, started, json, "tunesmith judge").id)
        said = judging.read_judgement(found)
    report(_as_record(found, said), json, "\n".join(_lines(found, said)))


def _read_settings(path: Path | None) -> dict[str, Any]:
    if path and not path.is_file():
        raise UserError("file_missing", file=str(path))
    return dict(read_yaml(path)) if path else {}


def _read_prompt(path: Path | None) -> str:
    return read_text_file(path) if path else ""


def _as_record(found: Judged, said: Judgement) -> dict[str, Any]:
    plain = dataclasses.asdict(said)
    plain["examples"] = {problem: line["text"] for problem, line in said.examples.items()}
    return {"id": found.id, "name": found.name, "variants": list(found.variants), "judge": found.judge_name, **plain}


def _lines(found: Judged, said: Judgement) -> list[str]:
    names = found.names
    lines = []
    if said.pairwise:
        code, facts = judging.verdict_of(said.pairwise, names[0], names[1])
        lines.append(t(f"judge.verdict_{code}", "en", **facts))
        if said.pairwise.first_share is not None:
            lines.append(t("judge.caveat", "en", share=said.pairwise.first_share))
    for each in said.rubric:
        means = "  ".join(f"{name} {_number(each.means[key].mean)}" for key, name in zip(found.variants, names, strict=True))
        lines.append(f"{each.criterion or t('judge.mean_of_all', 'en'):<24} {means}")
    lines += [f"! {t(f'judge.warn_{code}', 'en', **facts)}" for code, facts in judging.warnings_of(said).items()]
    lines += [f"  {t(f'judge_problem.{problem}', 'en')}: {count}" for problem, count in said.failures.items()]
    told = [t("judge.not_told", "en") if n is None else f"{n:,}" for n in (said.prompt_tokens, said.completion_tokens)]
    lines.append(t("judge.tokens", "en", prompt=told[0], completion=told[1]))
    return lines if said.cost is None else [*lines, t("judge.paid", "en", cost=f"{said.cost:,.4g}")]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
