"""Writes a run's metrics and events for whoever watches. Knows the store's lines, not the pages."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.store.files import AppendLog
from tunesmith.store.run_folder import RunFolder

BEAT_SECONDS = 1.0


class Recorder:
    """One run's writer of metrics.jsonl, events.jsonl and the heartbeat; the only one: of several processes, the others are `silent`."""

    def __init__(self, run_dir: Path, attempt: int, silent: bool = False) -> None:
        self._folder = RunFolder(run_dir)
        self._attempt = attempt
        self._silent = silent
        self._metrics, self._events = AppendLog(self._folder.metrics), AppendLog(self._folder.events)
        self._rollouts: AppendLog | None = None
        self._seq = 0
        self._last_beat = 0.0

    def metrics(self, step: int, **values: float) -> None:
        """Record figures of a step; NaN and infinity become null and are named in `nonfinite` (JSON has neither)."""
        if self._silent:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        broken = {name: str(value) for name, value in values.items() if not math.isfinite(value)}
        record = self._stamp() | {"step": step} | finite
        self._metrics.append(record | ({"nonfinite": broken} if broken else {}))

    def resumed(self, step: int) -> None:
        """Tell that a new attempt goes on after a step: what the last attempt measured later is no longer the run's."""
        if not self._silent:
            self._metrics.append(self._stamp() | {"step": step, "resumed": True})

    def event(self, kind: str, **facts: Any) -> None:
        """Record something that happened.

        Kinds: `run_started`, `resumed`, `sample`, `checkpoint`, `alert`, `early_stop`, `best_kept`, `kept_last_good`, `packing_off`,
        `rows_left_out`, `rows_without_labels`, `rows_cut`, `rows_drop`, `rows_split`, `prompts_too_long`, `rewards_loaded`,
        `reward_skipped`.
        """
        if not self._silent:
            self._events.append(self._stamp() | {"kind": kind} | facts)

    def rollouts(self, step: int, groups: Sequence[Mapping[str, Any]]) -> None:
        """Record what a step's prompts were answered, and what each answer was worth."""
        if not self._silent:
            self._rollouts = self._rollouts or AppendLog(self._folder.rollouts)
            self._rollouts.append({"v": 1, "step": step, "attempt": self._attempt, "groups": list(groups)})

    def _stamp(self) -> dict[str, Any]:
        self._seq += 1
        return {"v": 1, "seq": self._seq, "attempt": self._attempt, "time": time.time()}

    def beat(self) -> None:
        """Tell that the loop moves, at most once a second."""
        if not self._silent and time.monotonic() - self._last_beat >= BEAT_SECONDS:
            self._folder.beat()
            self._last_beat = time.monotonic()

    def close(self) -> None:
        """Flush the files."""
        for log in (self._metrics, self._events, self._rollouts):
            if log is not None:
                log.close()
