"""What happened in a run, event by event, in words. Knows the kinds of events; one that it cannot read has no words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.i18n.catalog import error_words, t
from tunesmith.services.runs import as_error

Event = Mapping[str, Any]


def _started(event: Event, lang: str) -> str:
    return t("event.run_started", lang, rows=f"{event['rows']:,}", steps=f"{event['steps']:,}", device=event["device"])


def _stepped(event: Event, lang: str) -> str:
    return t(f"event.{event['kind']}", lang, step=event["step"])


def _kept(event: Event, lang: str) -> str:
    return t(f"run.{event['kind']}", lang, step=event["step"])


def _counted(event: Event, lang: str) -> str:
    return t(f"run.{event['kind']}", lang, count=event["count"])


def _failed(event: Event, lang: str) -> str:
    error = as_error(dict(event))
    assert error is not None
    words = error_words(error.code, error.facts, lang)
    return words if event["kind"] == "alert" else t("event.reward_skipped", lang, function=event["function"], reason=words)


WORDS: Mapping[str, Callable[[Event, str], str]] = {
    "run_started": _started, "resumed": _stepped, "checkpoint": _stepped, "alert": _failed, "reward_skipped": _failed,
    "best_kept": _kept, "kept_last_good": _kept,
    **dict.fromkeys(("rows_left_out", "rows_without_labels", "rows_cut", "rows_drop", "rows_split", "prompts_too_long"), _counted),
    "packing_off": lambda event, lang: t("run.packing_off", lang, reason=event["reason"]),
    "early_stop": lambda event, lang: t("run.early_stop", lang, step=event["step"], best_step=event["best_step"]),
    "rewards_loaded": lambda event, lang: t("event.rewards_loaded", lang, names=", ".join(event["files"])),
}  # fmt: skip


def event_words(event: Event, lang: str) -> str | None:
    """Return what an event says, None for one without words: an answer, which is shown elsewhere, or one of a version unknown here."""
    find = WORDS.get(str(event.get("kind")))
    try:
        return find(event, lang) if find else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
