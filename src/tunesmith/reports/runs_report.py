"""The report of several runs: figures side by side, the settings in which they differ, curves laid over each other, last answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tunesmith.i18n.catalog import t
from tunesmith.i18n.quantities import count_words, duration_words, number_words, time_words
from tunesmith.i18n.titles import tell_apart
from tunesmith.reports.blocks import Block, Code, Heading, Paragraph, Picture, Report, Table
from tunesmith.reports.metric_words import chart_words, metric_words
from tunesmith.reports.run_report import TRAIN_COMMAND, config_name
from tunesmith.reports.svg_chart import ChartLine, line_chart
from tunesmith.services import overlays, run_settings, runs
from tunesmith.services.context import Services
from tunesmith.services.curves import shown_column
from tunesmith.services.run_colours import run_colours
from tunesmith.services.runs import RunSnapshot
from tunesmith.system.environment import package_versions

MOST_CHARTS = 12
SHORT_ID = 6  # the end of an id that tells runs of one name apart


def write_runs_report(s: Services, run_ids: Sequence[str], lang: str) -> Report:
    """Return the report of several runs in a language. Raises UserError `run_unknown`, `store_file_unreadable`."""
    states = [runs.snapshot(s, run_id) for run_id in dict.fromkeys(run_ids)]
    names = distinct_names(states)
    blocks: list[Block] = [
        Table(_head(lang), tuple(_line(state, names[state.id], lang) for state in states)),
        *_figures(s, states, names, lang), *_differences(s, states, names, lang),
    ]  # fmt: skip
    if charts := list(overlay_charts(s, states, names, lang)):
        blocks += [Heading(t("run.curves", lang)), *charts]
    blocks += _answers(s, states, names, lang)
    blocks.append(Heading(t("run.settings", lang)))
    for state in states:
        blocks += [Paragraph(f"{names[state.id]} · {state.id}", strong=True), Code("yaml", runs.config_yaml(s, state.id))]
    blocks += [Heading(t("report.again", lang)), Paragraph(t("report.again_several", lang))]
    blocks.append(Code("sh", "\n".join(TRAIN_COMMAND.format(file=config_name(state.id)) for state in states)))
    title = t("report.several", lang, n=len(states))
    return Report(title, [*blocks, Paragraph(t("report.made_by", lang, version=package_versions()["tunesmith"]))])


def distinct_names(states: Sequence[RunSnapshot]) -> dict[str, str]:
    """Return a name of its own for each run, by id: the end of the id where two are called alike."""
    return tell_apart({state.id: state.name for state in states}, lambda run_id: f" ({run_id[-SHORT_ID:]})")


def _head(lang: str) -> tuple[str, ...]:
    own = ("experiments.name", "experiments.status", "experiments.method", "experiments.model", "experiments.data")
    return (*(t(key, lang) for key in own), t("report.steps", lang), t("experiments.duration", lang), t("experiments.created", lang))


def _line(state: RunSnapshot, name: str, lang: str) -> tuple[str, ...]:
    steps, seconds = count_words(state.step, lang), duration_words(state.elapsed_seconds, lang)
    status = t(f"status.{state.status}", lang)
    return name, status, state.method, state.model, state.data, steps, seconds, time_words(state.created_at)


def _figures(s: Services, states: Sequence[RunSnapshot], names: dict[str, str], lang: str) -> list[Block]:
    """Return last and best figures, the best run's marked."""
    rows = []
    for line in overlays.figures_of(s, [state.id for state in states]):
        if all(value is None for value in line.values):
            continue
        cells = [number_words(value, lang) for value in line.values]
        if line.best is not None:
            cells[line.best] = f"★ {cells[line.best]}"
        rows.append((metric_words(line.metric, lang), t(f"report.statistic_{line.statistic}", lang), *cells))
    head = (t("report.metric", lang), "", *(names[state.id] for state in states))
    return [Heading(t("report.figures", lang)), Table(head, tuple(rows))] if rows else []


def _differences(s: Services, states: Sequence[RunSnapshot], names: dict[str, str], lang: str) -> list[Block]:
    lines = run_settings.differing(run_settings.compare_settings(s, [state.id for state in states]))
    heading = Heading(t("report.differences", lang))
    if not lines:
        return [heading, Paragraph(t("report.no_differences", lang))]
    rows = tuple((line.name, *map(run_settings.show_value, line.values)) for line in lines)
    return [heading, Table((t("report.setting", lang), *(names[state.id] for state in states)), rows)]


def overlay_charts(s: Services, states: Sequence[RunSnapshot], names: dict[str, str], lang: str) -> Iterator[Picture]:
    """Yield the metrics' curves, a line for each run, each run in its own colour; held-out measures dotted."""
    ids = [state.id for state in states]
    colours = run_colours(ids)
    for number, chart in enumerate(overlays.charts_of(overlays.recorded(s, ids))[:MOST_CHARTS]):
        lines = []
        for metric in chart.metrics:
            held_out = metric.startswith(overlays.HELD_OUT) and len(chart.metrics) > 1
            for run_id in ids:
                steps, values = shown_column(s.series(run_id), metric)
                name = t("report.held_out", lang, name=names[run_id]) if held_out else names[run_id]
                if len(steps):
                    lines.append(ChartLine(name, steps, values, colours[run_id], dotted=held_out))
        if lines:
            title = chart_words(chart, lang)
            yield Picture(f"chart-{number + 1}.svg", title, line_chart(title, t("run.x_axis", lang), lines))


def _answers(s: Services, states: Sequence[RunSnapshot], names: dict[str, str], lang: str) -> list[Block]:
    """Return each run's last answers side by side."""
    last: dict[str, dict[str, str]] = {}
    for state in states:
        for event in runs.events(s, state.id):
            if event.get("kind") == "sample":
                last.setdefault(str(event.get("prompt")), {})[state.id] = str(event.get("text"))
    if not last:
        return []
    rows = tuple((prompt, *(answers.get(state.id, "") for state in states)) for prompt, answers in last.items())
    return [Heading(t("report.last_answers", lang)), Table((t("run.grid_prompt", lang), *(names[state.id] for state in states)), rows)]
