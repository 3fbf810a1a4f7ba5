"""Numbers, sizes, durations and dates as people read them."""

from __future__ import annotations

import time

from tunesmith.i18n.catalog import format_bytes
from tunesmith.ui.session import t


def show_number(value: float | None, digits: int = 4) -> str:
    """Return a figure with significant digits, a dash when unknown."""
    return t("common.none") if value is None else f"{value:.{digits}g}"


def show_loss(value: float | None) -> str:
    """Return a loss with three decimals, a dash when unknown."""
    return t("common.none") if value is None else f"{value:.3f}"


def show_count(value: float | None) -> str:
    """Return a whole number with thousands separated."""
    return t("common.none") if value is None else f"{value:,.0f}"


def show_bytes(value: float | None) -> str:
    """Return a size, a dash when unknown."""
    return t("common.none") if value is None else format_bytes(value)


def show_duration(seconds: float | None) -> str:
    """Return a duration in words of the language."""
    if seconds is None:
        return t("common.none")
    if seconds < 60:
        return t("unit.seconds", n=f"{seconds:.0f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return t("unit.minutes", m=minutes, s=rest)
    return t("unit.hours", h=minutes // 60, m=minutes % 60)


def show_time(unix_seconds: float) -> str:
    """Return a date and time of this computer."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_seconds))
