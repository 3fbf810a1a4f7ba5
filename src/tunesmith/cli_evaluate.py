"""`tunesmith predict` and `tunesmith evaluate`: ask variants the rows of a data set, score the answers. The page's services."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tunesmith.cli_output import Json, as_id, follow_job, open_services, report
from tunesmith.errors import UserError
from tunesmith.evaluation.config import EvaluationConfig
from tunesmith.evaluation.gate import GateRule, GateVerdict
from tunesmith.i18n.catalog import t
from tunesmith.inference.sampling import Sampling
from tunesmith.services import evaluation_results as results
from tunesmith.services import evaluations, jobs
from tunesmith.services.context import Services
from tunesmith.services.evaluation_results import Best
from tunesmith.services.evaluations import Evaluation
from tunesmith.services.variants import find_variant
from tunesmith.settings.files import from_mapping, read_yaml
from tunesmith.store.files import write_atomic
from tunesmith.system.paths import typed_path

PLAIN, DRAWN = EvaluationConfig(), Sampling()
WRITERS = {".jsonl": results.as_jsonl, ".csv": results.as_csv}
Variants = Annotated[list[str], typer.Option("--variant", help="A model's or an adapter's id, checkpoint:RUN/STEP; with @STRENGTH.")]
Data = Annotated[str, typer.Option(help="A data set's id, or a file or folder of rows.")]
Split = Annotated[str, typer.Option(help="train, valid or test; by default the held-out rows.")]
Limit = Annotated[int, typer.Option(help="The first rows are asked; 0: all.")]
System = Annotated[str, typer.Option(help="A system prompt for questions that have none.")]
Temperature = Annotated[float, typer.Option(help="0: always the likeliest token.")]
MaxTokens = Annotated[int, typer.Option(help="Longest answer, in tokens.")]
Settings = Annotated[
    Path | None, typer.Option(help="YAML file with `sampling:` (all of its settings) and `metrics:` (a metric's settings by its name).")
]


def predict(
    variant: Variants,
    data: Data,
    out: Annotated[Path, typer.Option(help="The file to write, .jsonl or .csv.")],
    split: Split = "",
    limit: Limit = 0,
    system: System = "",
    temperature: Temperature = DRAWN.temperature,
    max_tokens: MaxTokens = DRAWN.max_tokens,
    seed: int = DRAWN.seed,
    settings: Settings = None,
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
        found = _finish(services, variant, config, sampling, {}, "", json)
        write_atomic(target, WRITERS[out.suffix](found))
        answers = {key: dataclasses.asdict(each) for key, each in results.answer_figures(found).items()}
    record = {"id": found.id, "file": str(target), "rows": found.job.result["rows"], "answers": answers}
    report(record, json, t("cli.predicted", "en", answers=found.job.result["answers"], file=str(out)))


def evaluate(
    variant: Variants,
    data: Data,
    metric: Annotated[list[str], typer.Option(help="exact_match, numeric, rouge_l …, or file.py:function of the rewards folder.")],
    split: Split = "",
    limit: Limit = PLAIN.limit,
    baseline: Annotated[str, typer.Option(help="The variant to compare with; by default the first without an adapter.")] = "",
    gate: Annotated[str, typer.Option(help="metric[:margin[:confidence]]; exit code 1 unless the candidate is better.")] = "",
    candidate: Annotated[str, typer.Option(help="Who must be better; by default the first that is not the baseline.")] = "",
    likelihood: Annotated[bool, typer.Option(help="Measure loss and perplexity too.")] = PLAIN.likelihood,
    name: Annotated[str, typer.Option(help="What the evaluation is called.")] = "",
    system: System = "",
    temperature: Temperature = DRAWN.temperature,
    max_tokens: MaxTokens = DRAWN.max_tokens,
    seed: int = DRAWN.seed,
    settings: Settings = None,
    json: Json = False,
) -> None:
    """Ask variants the rows of a data set and score them: means with intervals, differences, a gate."""
    rule = parse_gate(gate) if gate else None
    options = _section(settings, "metrics")
    metrics = {each: dict(options.get(each) or {}) for each in dict.fromkeys([*metric, *([rule.metric] if rule else [])])}
    config = from_mapping(
        EvaluationConfig, {"data": as_id(data), "split": split, "limit": limit, "system": system, "likelihood": likelihood}
    )  # fmt: skip
    sampling = _sampling(settings, temperature=temperature, max_tokens=max_tokens, seed=seed)
    with open_services() as services:
        base = find_variant(services, baseline).key if baseline else ""
        wanted = find_variant(services, candidate).key if candidate else ""
        found = _finish(services, variant, config, sampling, metrics, name, json, base)
        record = results.summary(found)
        asked = _ask_gate(services, found, rule, wanted) if rule else None
    lines = _lines(record)
    if asked:
        verdict, best, chosen = asked
        words = t(f"evaluation.verdict_{verdict.verdict}", "en", candidate=found.variants[chosen]["name"], best=best.record["name"])
        lines.append(words if not verdict.reason else f"{words} {_reason(verdict)}")
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
    return from_mapping(Sampling, drawn | dict(_section(settings, "sampling")))


def _finish(
    services: Services, keys: Sequence[str], config: EvaluationConfig, sampling: Sampling, metrics: evaluations.Metrics, name: str,
    quiet: bool, baseline: str = "",
) -> Evaluation:  # fmt: skip
    """Start an evaluation and wait for its end; an interrupt cancels it, what it has is kept."""
    evaluation_id = evaluations.start(services, keys, config, sampling, metrics, name, baseline)
    try:
        job = follow_job(services, evaluation_id, quiet, jobs.EVALUATIONS)
    except KeyboardInterrupt:
        jobs.cancel(services, evaluation_id, jobs.EVALUATIONS)
        raise SystemExit(130) from None
    if job.error:
        raise job.error
    if job.status != "completed":
        raise UserError("job_failed", kind=job.status, reason=job.id)
    return evaluations.find(services, evaluation_id)


def _ask_gate(services: Services, found: Evaluation, rule: GateRule, candidate: str) -> tuple[GateVerdict, Best, str]:
    chosen = candidate or next((key for key in found.variants if key != found.baseline), found.baseline)
    if chosen not in found.variants:
        raise UserError("evaluation_baseline_missing", baseline=chosen)
    verdict, best = results.ask(services, found, chosen, rule)
    return verdict, best, chosen


def _reason(verdict: GateVerdict) -> str:
    return t(f"evaluation.reason_{verdict.reason}", "en", needed=verdict.differing_needed)


def _lines(record: Mapping[str, Any]) -> list[str]:
    """Return a line for each variant and metric, then what was trained on."""
    lines = [f"{record['name']}: {record['rows']} rows ({record['data']}, {record['split']})"]
    names = [variant["name"] for variant in record["variants"]]
    for variant in record["variants"]:
        name = variant["name"] if names.count(variant["name"]) == 1 else variant["variant"]
        for metric, figure in variant["metrics"].items():
            change = record["differences"][metric].get(variant["variant"])
            told = f"  {_span(change['difference'], change, '+.3f')}" if change else ""
            lines.append(f"{name:<28} {metric:<16} {_span(figure['mean'], figure, '.3f')}{told}")
        if "perplexity" in variant:
            lines.append(f"{name:<28} {'perplexity':<16} {variant['perplexity']:.4g}")
    for found in record["contamination"]:
        if found.get("exact") or found.get("near"):
            told = ", ".join(each["name"] for each in record["variants"] if each["variant"] in found["variants"])
            facts = {"exact": found["exact"], "near": found["near"], "prompts": found["prompts"], "data": found["data"], "names": told}
            lines.append(t("evaluation.contaminated", "en", **facts))
    return lines


def _span(middle: float | None, bounds: Mapping[str, Any], shape: str) -> str:
    if middle is None:
        return "–"
    interval = "" if bounds["low"] is None else f" [{bounds['low']:{shape}}, {bounds['high']:{shape}}]"
    return f"{middle:{shape}}{interval}"
