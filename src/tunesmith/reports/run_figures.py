"""A run's figures as its page shows them, in words: state, progress, notes, tiles, and what a policy's curves say. Knows no page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.i18n.catalog import t
from tunesmith.i18n.quantities import bytes_words, count_words, duration_words, loss_words, number_words
from tunesmith.services import learning, runs
from tunesmith.services.context import Services
from tunesmith.services.learning import Sign
from tunesmith.services.runs import RunSnapshot

Tile = tuple[str, str, str]  # label, value, note


def worded_figures(s: Services, state: RunSnapshot, lang: str) -> dict[str, Any]:
    """Return a run's figures for the page, ready for JSON: `marks` say what is drawn by the server and when that is no longer so."""
    step = t("run.step", lang, step=count_words(state.step, lang), iters=count_words(state.iters, lang))
    return {
        "active": state.active, "marks": {"stage": state.stage, **runs.marks(s, state.id)},
        "status": state.status, "status_words": t(f"status.{state.status}", lang), "line": f"{state.model} · {state.data} · {step}",
        "progress": round(state.progress, 4), "progress_words": step, "notes": _notes(state, lang),
        "tiles": TILES[state.family](state, lang), "signs": _signs(s, state, lang),
    }  # fmt: skip


def _notes(state: RunSnapshot, lang: str) -> list[tuple[str, str]]:
    """Return (mood, words) of what changes while the run goes on."""
    notes = []
    if state.status == "queued" and state.queue_position:
        notes.append(("waiting", t("run.waiting_for", lang, n=state.queue_position)))
    elif state.active and state.step == 0:
        notes.append(("plain", t("run.loading", lang)))
    if not state.responding:
        notes.append(("warning", t("run.not_responding", lang)))
    if state.bad_lines:
        notes.append(("plain", t("run.bad_lines", lang, n=state.bad_lines)))
    return notes


def _pace(state: RunSnapshot, lang: str) -> str:
    return t("run.step_time", lang, n=number_words(state.seconds_per_step, lang, 2)) if state.seconds_per_step else ""


def _left(state: RunSnapshot, lang: str) -> str:
    known = state.active and state.eta_seconds is not None
    return t("run.left", lang, time=duration_words(state.eta_seconds, lang)) if known else ""


def _share(value: float | None, lang: str) -> str:
    return t("common.none", lang) if value is None else f"{value:.0%}"


def _time_and_memory(state: RunSnapshot, lang: str) -> tuple[Tile, Tile]:
    elapsed = (t("run.elapsed", lang), duration_words(state.elapsed_seconds, lang), _left(state, lang) or _pace(state, lang))
    return elapsed, (t("run.memory", lang), bytes_words(state.peak_memory_bytes, lang), "")


def _sft_tiles(state: RunSnapshot, lang: str) -> list[Tile]:
    first, best = state.train_loss_first, state.best_val_loss
    return [
        (t("run.loss", lang), loss_words(state.train_loss, lang),
         "" if first is None else t("run.loss_first", lang, loss=loss_words(first, lang))),
        (t("run.val_loss", lang), loss_words(state.val_loss, lang),
         "" if best is None else t("run.best", lang, loss=loss_words(best, lang))),
        (t("run.elapsed", lang), duration_words(state.elapsed_seconds, lang), _left(state, lang)),
        (t("run.speed", lang), count_words(state.tokens_per_second, lang), _pace(state, lang)),
        (t("run.memory", lang), bytes_words(state.peak_memory_bytes, lang), ""),
    ]  # fmt: skip


def _preference_tiles(state: RunSnapshot, lang: str) -> list[Tile]:
    figures = state.figures
    return [
        (t("learning.accuracy", lang), _share(figures.get("reward_accuracy"), lang), t("learning.pairs", lang)),
        (t("learning.held_out_accuracy", lang), _share(figures.get("val_accuracy"), lang), ""),
        (t("learning.margin", lang), number_words(figures.get("reward_margin"), lang, 3), ""),
        *_time_and_memory(state, lang),
    ]


def _policy_tiles(state: RunSnapshot, lang: str) -> list[Tile]:
    figures, began = state.figures, state.first.get("val_reward")
    deviation = t("learning.deviation", lang, value=number_words(figures["reward_std"], lang, 2)) if "reward_std" in figures else ""
    return [
        (t("learning.reward", lang), number_words(figures.get("reward"), lang, 3), deviation),
        (t("learning.held_out", lang), number_words(figures.get("val_reward"), lang, 3),
         "" if began is None else t("run.loss_first", lang, loss=number_words(began, lang, 3))),
        (t("learning.alike", lang), _share(figures.get("zero_spread_share"), lang), ""),
        *_time_and_memory(state, lang),
    ]  # fmt: skip


TILES: Mapping[str, Callable[[RunSnapshot, str], list[Tile]]] = {
    "sft": _sft_tiles, "preference": _preference_tiles, "policy": _policy_tiles,
}  # fmt: skip


def _signs(s: Services, state: RunSnapshot, lang: str) -> dict[str, Any] | None:
    """Return “Is it learning?” with its answers as (mood, words); of a run that ended too early, and of other families, nothing."""
    if state.family != "policy":
        return None
    found = learning.signs(s.series(state.id))
    if not state.active and found[0].code == "too_early":
        return None
    return {"title": t("learning.title", lang), "said": [(sign.mood, _sign_words(sign, lang)) for sign in found]}


def _sign_words(sign: Sign, lang: str) -> str:
    shown = {
        name: f"{value:.0f}" if name in {"percent", "steps", "reports"} else number_words(value, lang, 3)
        for name, value in sign.facts.items()
    }
    return t(f"sign.{sign.code}", lang, **shown)
