"""The report of one run: outcome, curves, answers, evaluations, what happened, what it ran on, settings, how to do it again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words, has, t
from tunesmith.i18n.quantities import bytes_words, count_words, duration_words, loss_words, number_words, time_words
from tunesmith.reports.blocks import Block, Code, Heading, Paragraph, Picture, Report, Table
from tunesmith.reports.event_words import event_words
from tunesmith.reports.metric_words import curve_words
from tunesmith.reports.svg_chart import PALETTE, ChartLine, line_chart
from tunesmith.services import evaluation_results, evaluations, overlays, run_facts, runs, training
from tunesmith.services.context import Services
from tunesmith.services.curves import matching, panels_of, shown_column
from tunesmith.services.runs import RunSnapshot
from tunesmith.services.variants import plain_names
from tunesmith.store.series import MetricSeries
from tunesmith.system.environment import package_versions

MOST_EXTRA_CHARTS = 8
OUTCOMES = {  # the first that was measured tells what was learned: its label, and whether lower is better
    "val_reward": ("learning.held_out", False), "val_accuracy": ("learning.held_out_accuracy", False),
    "val_loss": ("run.val_loss", True), "train_loss": ("run.loss", True),
}  # fmt: skip
TRAIN_COMMAND = "tunesmith train {file}"


def write_run_report(s: Services, run_id: str, lang: str) -> Report:
    """Return a run's report in a language. Raises UserError `run_unknown`, `store_file_unreadable`."""
    state, events = runs.snapshot(s, run_id), runs.events(s, run_id)
    blocks: list[Block] = [Paragraph(outcome_words(s, state, lang), strong=True)]
    if state.error:
        blocks.append(Paragraph(error_words(state.error.code, state.error.facts, lang)))
    blocks.append(Table(("", ""), tuple(_summary(s, state, lang))))
    if charts := list(run_charts(s.series(run_id), state.method, lang)):
        blocks += [Heading(t("run.curves", lang)), *charts]
    blocks += answers_blocks(events, lang)
    blocks += evaluation_blocks(s, run_id, lang)
    blocks += _events(events, lang)
    blocks += environment_blocks(s, run_id, lang)
    blocks += _settings(s, state, lang)
    note = t("report.made_by", lang, version=package_versions()["tunesmith"])
    return Report(state.name, [*blocks, Paragraph(note)])


def outcome_words(s: Services, state: RunSnapshot, lang: str) -> str:
    """Return how a run ended and what it learned, in one or two sentences."""
    facts = {"status": t(f"status.{state.status}", lang), "steps": count_words(state.step, lang)}
    said = [t("report.outcome", lang, **facts, duration=duration_words(state.elapsed_seconds, lang))]
    reader = s.series(state.id)
    for metric, (label, lower) in OUTCOMES.items():
        steps, values = reader.column(metric)
        if len(values) > 1:
            best = int(values.argmin() if lower else values.argmax())
            first, last = number_words(float(values[0]), lang), number_words(float(values[-1]), lang)
            told = {"metric": t(label, lang), "first": first, "last": last, "best": number_words(float(values[best]), lang)}
            said.append(t("report.course", lang, **told, step=count_words(float(steps[best]), lang)))
            break
    return " ".join(said)


def _summary(s: Services, state: RunSnapshot, lang: str) -> Iterator[tuple[str, str]]:
    experiment = s.store.get(state.id)
    yield t("experiments.status", lang), t(f"status.{state.status}", lang)
    yield t("experiments.method", lang), state.method
    yield t("experiments.model", lang), state.model
    yield t("experiments.data", lang), state.data
    yield t("report.steps", lang), t("common.of", lang, part=count_words(state.step, lang), whole=count_words(state.iters, lang))
    yield t("experiments.duration", lang), duration_words(state.elapsed_seconds, lang)
    if state.family == "policy":
        yield t("learning.reward", lang), number_words(state.figures.get("reward"), lang)
        yield t("learning.held_out", lang), number_words(state.figures.get("val_reward"), lang)
    else:
        yield t("run.loss", lang), loss_words(state.train_loss, lang)
        yield t("run.val_loss", lang), loss_words(state.val_loss, lang)
        yield t("experiments.best_loss", lang), loss_words(state.best_val_loss, lang)
    yield t("run.speed", lang), count_words(state.tokens_per_second, lang)
    yield t("report.tokens", lang), count_words(state.tokens_seen, lang)
    yield t("run.memory", lang), bytes_words(state.peak_memory_bytes, lang)
    if state.adapter:
        yield t("report.adapter", lang), bytes_words(run_facts.adapter_bytes(s, state.id), lang)
    yield t("experiments.created", lang), time_words(state.created_at)
    if experiment.owner:
        yield t("report.owner", lang), experiment.owner
    if experiment.imported:
        yield t("report.imported", lang), imported_words(experiment.imported, lang)
    yield t("report.id", lang), state.id


def imported_words(imported: dict[str, Any], lang: str) -> str:
    """Return where an imported run comes from."""
    at = imported.get("at")
    facts = {"file": imported.get("file"), "time": time_words(at) if isinstance(at, int | float) else ""}
    if imported.get("source") != "package":
        return t("run.imported", lang, source=imported.get("source"), **facts)
    return t("run.imported_package", lang, owner=imported.get("owner") or t("common.none", lang), **facts)


def run_charts(reader: MetricSeries, method: str, lang: str) -> Iterator[Picture]:
    """Yield a run's curves: the panels of its method, then what else was measured."""
    shown: set[str] = set()
    for panel in panels_of(method):
        names = [name for metric in panel.metrics for name in matching(reader.names, metric)]
        shown |= set(names)
        if picture := _chart(reader, t(f"panel.{panel.name}", lang), panel.name, names, lang):
            yield picture
    extra = [chart for chart in overlays.charts_of(reader.names) if not set(chart.metrics) & shown]
    for number, chart in enumerate(extra[:MOST_EXTRA_CHARTS]):
        if picture := _chart(reader, curve_words(chart.name, lang), f"other-{number + 1}", list(chart.metrics), lang):
            yield picture


def _chart(reader: MetricSeries, title: str, file: str, names: list[str], lang: str) -> Picture | None:
    lines: list[ChartLine] = []
    for name in names:
        steps, values = shown_column(reader, name)
        if len(steps):
            colour = PALETTE[len(lines) % len(PALETTE)]
            lines.append(ChartLine(curve_words(name, lang), steps, values, colour, dotted=name.startswith(overlays.HELD_OUT)))
    return Picture(f"{file}.svg", title, line_chart(title, t("run.x_axis", lang), lines)) if lines else None


def answers_blocks(events: list[dict[str, Any]], lang: str) -> list[Block]:
    """Return the answers to the sample prompts before the first step and at the end."""
    samples = [e for e in events if e.get("kind") == "sample" and isinstance(e.get("step"), int)]
    if not samples:
        return []
    steps = sorted({e["step"] for e in samples})
    shown = list(dict.fromkeys((steps[0], steps[-1])))
    answers = {(str(e.get("prompt")), e["step"]): str(e.get("text")) for e in samples}
    expected = {str(e.get("prompt")): str(e.get("expected") or "") for e in samples}
    told = (t("run.sample_step", lang, step=count_words(step, lang)) for step in shown)
    head = (t("run.grid_prompt", lang), t("run.grid_expected", lang), *told)
    rows = tuple((prompt, right, *(answers.get((prompt, step), "") for step in shown)) for prompt, right in expected.items())
    return [Heading(t("run.samples", lang)), Table(head, rows)]


def evaluation_blocks(s: Services, run_id: str, lang: str) -> list[Block]:
    """Return the scores of the evaluations that asked the run's adapter or checkpoints, each with its interval."""
    blocks: list[Block] = []
    for evaluation in evaluations.list_evaluations(s):
        if run_id not in {variant.get("run") for variant in evaluation.variants.values()}:
            continue
        names = plain_names(evaluation.variants.values())
        try:
            found = {metric: evaluation_results.figures(evaluation, metric) for metric in evaluation_results.measured(evaluation)}
        except UserError:
            continue  # its figures cannot be read
        rows = [
            (_score_words(metric, lang), *(_interval_words(each.interval, lang) for each in figures)) for metric, figures in found.items()
        ]  # fmt: skip
        if rows:
            about = t("report.evaluated_on", lang, data=evaluation.job.request["data"], split=evaluation.job.request["split"])
            blocks += [Paragraph(f"{evaluation.name} · {about}"), Table((t("report.metric", lang), *names.values()), tuple(rows))]
    return [Heading(t("report.evaluations", lang)), *blocks] if blocks else []


def _score_words(metric: str, lang: str) -> str:
    """Return what a metric of an evaluation is called; one of a person's own file keeps its name."""
    key = next((key for key in (f"choice.metric_{metric}", f"choice.{metric}") if has(key)), "")
    return t(key, lang) if key else metric


def _interval_words(interval: Any, lang: str) -> str:
    if interval.low is None or interval.high is None:
        return number_words(interval.mean, lang, 3)
    return f"{interval.mean:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


def _events(events: list[dict[str, Any]], lang: str) -> list[Block]:
    told = [(event, words) for event in events if (words := event_words(event, lang))]
    if not told:
        return []
    rows = tuple((time_of(event), step_of(event), words) for event, words in told)
    return [
        Heading(t("run.events", lang)),
        Table((t("run.event_time", lang), t("run.x_axis", lang), t("run.event_words", lang)), rows),
    ]


def time_of(event: dict[str, Any]) -> str:
    """Return when an event happened, to the minute; nothing when it was not written down."""
    moment = event.get("time")
    return time_words(moment) if isinstance(moment, int | float) and 0 <= moment < 2**32 else ""


def step_of(event: dict[str, Any]) -> str:
    """Return the step of an event, nothing when it has none."""
    step = event.get("step")
    return f"{step:,}" if isinstance(step, int) else ""


def environment_rows(attempt: dict[str, Any], lang: str) -> list[tuple[str, str]]:
    """Return what one attempt was computed with, as labels and values."""
    versions = attempt.get("versions")
    shown = {
        "device": attempt.get("device"), "chip": attempt.get("chip"), "blas": attempt.get("blas"), "cores": attempt.get("cores"),
        "memory": bytes_words(memory, lang) if isinstance(memory := attempt.get("memory_bytes"), int | float) else None,
        "system": attempt.get("system"), "python": attempt.get("python"), "commit": attempt.get("commit"),
        "data_hash": attempt.get("data_hash"), "config_hash": attempt.get("config_sha256"),
    }  # fmt: skip
    rows = [(t(f"environment.{name}", lang), str(value)) for name, value in shown.items() if value]
    found = versions.items() if isinstance(versions, dict) else ()
    return rows + [(str(name), str(version)) for name, version in found if version]


def environment_blocks(s: Services, run_id: str, lang: str) -> list[Block]:
    """Return what the run was computed with; of several attempts, the last one's."""
    rows = environment_rows(attempts[-1], lang) if (attempts := run_facts.environment_of(s, run_id)) else []
    if base := run_facts.base_hash_of(s, run_id):
        rows.append((t("environment.base_hash", lang), base))
    return [Heading(t("environment.title", lang)), Table(("", ""), tuple(rows))] if rows else []


def _settings(s: Services, state: RunSnapshot, lang: str) -> list[Block]:
    changed = training.changed_fields(state.config)
    words = t("report.changed", lang, names=", ".join(changed)) if changed else t("report.all_defaults", lang)
    return [
        Heading(t("run.settings", lang)), Paragraph(words), Code("yaml", runs.config_yaml(s, state.id)),
        Heading(t("report.again", lang)), Paragraph(t("report.again_text", lang, seed=state.config.seed)),
        Code("sh", TRAIN_COMMAND.format(file=config_name(state.id))),
    ]  # fmt: skip


def config_name(run_id: str) -> str:
    """Return the name under which a run's settings lie beside its report."""
    return f"{run_id}.yaml"
