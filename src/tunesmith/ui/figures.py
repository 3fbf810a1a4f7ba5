"""Numbers, sizes, durations and dates in the session's language."""

from __future__ import annotations

from tunesmith.i18n.quantities import bytes_words, count_words, duration_words, loss_words, number_words, time_words
from tunesmith.ui.session import language


def show_number(value: float | None, digits: int = 4) -> str:
    """Return a figure with significant digits, a dash when unknown."""
    return number_words(value, language(), digits)


def show_loss(value: float | None) -> str:
    """Return a loss with three decimals, a dash when unknown."""
    return loss_words(value, language())


def show_count(value: float | None) -> str:
    """Return a whole number with thousands separated."""
    return count_words(value, language())


def show_bytes(value: float | None) -> str:
    """Return a size, a dash when unknown."""
    return bytes_words(value, language())


def show_duration(seconds: float | None) -> str:
    """Return a duration in words of the language."""
    return duration_words(seconds, language())


def show_time(unix_seconds: float) -> str:
    """Return a date and time of this computer."""
    return time_words(unix_seconds)
