"""What metrics are called where no panel stands above them. Knows the panels, no page."""

from __future__ import annotations

from tunesmith.i18n.catalog import has, t
from tunesmith.services.curves import GIGABYTES, panel_of
from tunesmith.services.overlays import Chart
from tunesmith.training.rewards.registry import REWARDS


def metric_words(metric: str, lang: str) -> str:
    """Return what a metric is called; one of a person's own keeps its name."""
    if metric.startswith("reward/"):
        function = metric.removeprefix("reward/")
        return t("overlay.function", lang, name=t(f"reward.{function}", lang) if function in REWARDS else function)
    name, panel = GIGABYTES.get(metric, metric), panel_of(metric)
    words = t(f"curve.{name}", lang) if has(f"curve.{name}") else name
    if panel is None:
        return words
    above = t(f"panel.{panel.name}", lang)
    if len(panel.metrics) == 1:
        return above
    return words if above.casefold() in words.casefold() or words.casefold() in above.casefold() else f"{above}: {words}"


def chart_words(chart: Chart, lang: str) -> str:
    """Return what a chart is called: its panel where several of the panel's metrics are in it."""
    panel = panel_of(chart.name)
    return t(f"panel.{panel.name}", lang) if panel and len(chart.metrics) > 1 else metric_words(chart.name, lang)


def curve_words(metric: str, lang: str) -> str:
    """Return what a line is called below its panel's title."""
    name = GIGABYTES.get(metric, metric)
    return t(f"curve.{name}", lang) if has(f"curve.{name}") else metric_words(metric, lang)
