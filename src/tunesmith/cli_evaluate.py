"""`tunesmith predict` and `tunesmith evaluate`: ask variants the rows of a data set, score the answers. The page's services."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli_output import Json, as_id, finish_kept, open_services, report
from tunesmith.errors import UserError
from tunesmith.evaluation.config import EvaluationConfig
from tunesmith.evaluation.gate import GateRule, GateVerdict
from tunesmith.evaluation.perplexity import LIKELIHOOD, PERPLEXITY
from tunesmith.i18n.catalog import t
from tunesmith.inference.sampling import Sampling
from tunesmith.services import evaluation_results as results
from tunesmith.services import evaluation_rows, evaluations, shelved
from tunesmith.services.context import Services
from tunesmith.services.evaluation_results import Best
from tunesmith.services.evaluations import Evaluation
from tunesmith.services.variants import find_variant, plain_names
from tunesmith.settings.files import from_mapping, read_yaml
from tunesmith.store.files import write_atomic
from tunesmith.system.paths import typed_path

PLAIN, DRAWN = EvaluationConfig(), Sampling()
WRITERS = {".jsonl": evaluation_rows.as_jsonl, ".csv": evaluation_rows.as_csv}
Variants = Annotated[list[str] | None, typer.Option("--variant", help="A model's or an adapter's id, checkpoint:RUN/STEP; with @STRENGTH.")]
Data = Annotated[str, typer.Option(help="A data set's id, or a file or folder of rows.")]
Split = Annotated[str, typer.Option(help="train, valid or test; by default the held-out rows.")]
Limit = Annotated[int, typer.Option(help="The first rows are asked; 0: all.")]
System = Annotated[str, typer.Option(help="A system prompt for questions that have none.")]
Temperature = Annotated[float | None, typer.Option(help=f"0: always the likeliest token (default: {DRAWN.temperature:g}).")]
MaxTokens = Annotated[int | None, typer.Option(help=f"Longest answer, in tokens (default: {DRAWN.max_tokens}).")]
Seed = Annotated[int | None, typer.Option(help=f"The same seed draws the same answers (default: {DRAWN.seed}).")]
Resume = Annotated[str, typer.Option(help="The id of one that was cancelled or killed and goes on; what was asked for is not asked again.")]
Settings = Annotated[
    Path | None, typer.Option(help="YAML file with `sampling:` (all of its settings) and `metrics:` (a metric's settings by its name).")
]


def predict(
    out: Annotated[Path, typer.Option(help="The file to write, .jsonl or .csv.")],
    variant: Variants = None,
    data: Data = "",
    split: Split = "",
    limit: Limit = 0,
    system: System = "",
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    settings: Settings = None,
    resume: Resume = "",
    json: Json = False,
) -> None:
    """Write variants' answers to the rows of a data set into a file."""
    if out.suffix not in WRITERS:
        raise UserError("predictions_format", file=out.name, known=", ".join(WRITERS))
    target = typed_path(str(out)).resolve()
    if not target.parent.is_dir():
        raise UserError("folder_missing", folder=str(target.parent))
    config = from_mapping(
        EvaluationConfig, {"data": as_id(data), "split": split, "limit": limit, "system": system, "likelihood": False}
    )  # fmt: skip
    sampling = _sampling(settings, temperature=temperature, max_tokens=max_tokens, seed=seed)
    with open_services() as services:
        started = resume or evaluations.start(services, variant or (), config, sampling, {})
        found = _finish(services, started, bool(resume), json, f"tunesmith predict --out {out}")
        write_atomic(target, WRITERS[out.suffix](found))
        answers = {key: dataclasses.asdict(each) for key, each in results.answer_figures(found).items()}
    record = {"id": found.id, "file": str(target), "rows": found.job.result["rows"], "answers": answers}
    report(record, json, t("cli.predicted", "en", answers=found.job.result["answers"], file=str(out)))


def evaluate(
    variant: Variants = None,
    data: Data = "",
    metric: Annotated[
        list[str] | None, typer.Option(help="exact_match, numeric, rouge_l …, loss, perplexity, or file.py:function of the rewards folder.")
    ] = None,
    split: Split = "",
    limit: Limit = PLAIN.limit,
    baseline: Annotated[str, typer.Option(help="The variant to compare with; by default the first without an adapter.")] = "",
    gate: Annotated[str, typer.Option(help="metric[:margin[:confidence]]; exit code 1 unless the candidate is better.")] = "",
    candidate: Annotated[str, typer.Option(help="Who must be better; by default the first that is not the baseline.")] = "",
    likelihood: Annotated[bool, typer.Option(help="Measure loss and perplexity too.")] = PLAIN.likelihood,
    name: Annotated[str, typer.Option(help="What the evaluation is called.")] = "",
    system: System = "",
    temperature: Temperature = None,
    max_tokens: MaxTokens = None,
    seed: Seed = None,
    settings: Settings = None,
    resume: Resume = "",
    json: Json = False,
) -> None:
    """Ask variants the rows of a data set and score them: figures with intervals, differences, a gate."""
    rule = parse_gate(gate) if gate else None
    options = _section(settings, "metrics")
    wished = dict.fromkeys([*(metric or ()), *([rule.metric] if rule else [])])
    metrics = {each: dict(options.get(each) or {}) for each in wished if each not in LIKELIHOOD}
    likelihood = likelihood or any(each in LIKELIHOOD for each in wished)
    config = from_mapping(
        EvaluationConfig, {"data": as_id(data), "split": split, "limit": limit, "system": system, "likelihood": likelihood}
    )  # fmt: skip
    sampling = _sampling(settings, temperature=temperature, max_tokens=max_tokens, seed=seed)
    with open_services() as services:
        base = find_variant(services, baseline).key if baseline else ""
        wanted = find_variant(services, candidate).key if candidate else ""
        started = resume or evaluations.start(services, variant or (), config, sampling, metrics, name, base)
        found = _finish(services, started, bool(resume), json, "tunesmith evaluate")
        record = results.summary(found)
        asked = _ask_gate(services, found, rule, wanted) if rule else None
    lines = _lines(record)
    if asked:
        verdict, best, chosen = asked
        lines += _verdict_lines(found, verdict, best, chosen)
        record["gate"] = {"candidate": chosen, "best": dataclasses.asdict(best), **dataclasses.asdict(verdict)}
    report(record, json, "\n".join(lines))
    raise SystemExit(0 if asked is None or asked[0].verdict == "better" else 1)


def parse_gate(text: str) -> GateRule:
    """Return the rule of `metric[:margin[:confidence]]`; a custom function's name has a colon itself. Raises UserError `setting_…`."""
    parts, numbers = text.split(":"), list[float]()
    while len(parts) > 1 and len(numbers) < 2 and _is_number(parts[-1]):
        numbers.insert(0, float(parts.pop()))
    checked = from_mapping(GateRule, dict(zip(("margin", "confidence"), numbers, strict=False)))
    return dataclasses.replace(checked, metric=":".join(parts))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _section(settings: Path | None, section: str) -> Mapping[str, Any]:
    if settings and not settings.is_file():
        raise UserError("file_missing", file=str(settings))
    values = (read_yaml(settings) if settings else {}).get(section) or {}
    if not isinstance(values, dict):
        raise UserError("setting_type", field=section, value=str(values)[:50], expected="mapping")
    return values


def _sampling(settings: Path | None, **drawn: Any) -> Sampling:
    typed = {name: value for name, value in drawn.items() if value is not None}
    return from_mapping(Sampling, dict(_section(settings, "sampling")) | typed)


def _finish(services: Services, evaluation_id: str, goes_on: bool, quiet: bool, command: str) -> Evaluation:
    """Wait for an evaluation's end; one that ended early goes on first."""
    if goes_on:
        shelved.resume(services, evaluations.find(services, evaluation_id).id)
    return evaluations.find(services, finish_kept(services, evaluation_id, quiet, command).id)


def _ask_gate(services: Services, found: Evaluation, rule: GateRule, candidate: str) -> tuple[GateVerdict, Best, str]:
    chosen = candidate or next((key for key in found.variants if key != found.baseline), found.baseline)
    if chosen not in found.variants:
        raise UserError("evaluation_baseline_missing", baseline=chosen)
    verdict, best = results.ask(services, found, chosen, rule)
    return verdict, best, chosen


def _verdict_lines(found: Evaluation, verdict: GateVerdict, best: Best, candidate: str) -> list[str]:
    """Return the verdict as a sentence, and the figures behind it."""
    compared, other = verdict.comparison, next(iter(plain_names([best.record]).values()))
    if best.earlier:
        other = t("evaluation.of_earlier", "en", name=other, evaluation=best.evaluation_name)
    names = plain_names(found.variants.values())
    words = t(f"evaluation.verdict_{verdict.verdict}", "en", candidate=names[candidate], best=other)
    if verdict.reason:
        words = f"{words} {t(f'evaluation.reason_{verdict.reason}', 'en', needed=verdict.differing_needed)}"
    figures = t(
        "evaluation.verdict_figures", "en", difference=_span(compared.difference, dataclasses.asdict(compared), verdict.rule.metric, "+"),
        confidence=f"{verdict.rule.confidence:.0%}", won=compared.wins, lost=compared.losses, tied=compared.ties,
    )  # fmt: skip
    return [words, figures]


def _lines(record: Mapping[str, Any]) -> list[str]:
    """Return a line for each variant and metric, then what was trained on."""
    lines = [f"{record['name']}: {record['rows']} rows ({record['data']}, {record['split']})"]
    for variant in record["variants"]:
        for metric, figure in variant["metrics"].items():
            change = record["differences"][metric].get(variant["variant"])
            told = f"  {_span(change['difference'], change, metric, '+')}" if change else ""
            lines.append(f"{variant['name']:<28} {metric:<16} {_span(figure['mean'], figure, metric)}{told}")
    for found in record["contamination"]:
        if found.get("exact") or found.get("near"):
            told = ", ".join(each["name"] for each in record["variants"] if each["variant"] in found["variants"])
            facts = {"exact": found["exact"], "near": found["near"], "prompts": found["prompts"], "data": found["data"], "names": told}
            lines.append(t("evaluation.contaminated", "en", **facts))
    return lines


def _span(middle: float | None, bounds: Mapping[str, Any], metric: str, sign: str = "") -> str:
    if middle is None:
        return "–"
    shape = f"{sign}.4g" if metric == PERPLEXITY else f"{sign}.3f"
    interval = "" if bounds["low"] is None else f" [{bounds['low']:{shape}}, {bounds['high']:{shape}}]"
    return f"{middle:{shape}}{interval}"
