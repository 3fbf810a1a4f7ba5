"""Numbers, sizes, durations and dates as people of a language read them. Knows no page."""

from __future__ import annotations

import time

from tunesmith.i18n.catalog import format_bytes, t


def number_words(value: float | None, lang: str, digits: int = 4) -> str:
    """Return a figure with significant digits, a dash when unknown."""
    return t("common.none", lang) if value is None else f"{value:.{digits}g}"


def loss_words(value: float | None, lang: str) -> str:
    """Return a loss with three decimals, a dash when unknown."""
    return t("common.none", lang) if value is None else f"{value:.3f}"


def count_words(value: float | None, lang: str) -> str:
    """Return a whole number with thousands separated, a dash when unknown."""
    return t("common.none", lang) if value is None else f"{value:,.0f}"


def bytes_words(value: float | None, lang: str) -> str:
    """Return a size, a dash when unknown."""
    return t("common.none", lang) if value is None else format_bytes(value)


def duration_words(seconds: float | None, lang: str) -> str:
    """Return a duration, a dash when unknown."""
    if seconds is None:
        return t("common.none", lang)
    if seconds < 60:
        return t("unit.seconds", lang, n=f"{seconds:.0f}")
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return t("unit.minutes", lang, m=minutes, s=rest)
    return t("unit.hours", lang, h=minutes // 60, m=minutes % 60)


def time_words(unix_seconds: float) -> str:
    """Return a date and time of this computer."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(unix_seconds))
