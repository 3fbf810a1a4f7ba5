"""The files of one run and who writes each. Knows their names, not what a run does.

experiment.json   the supervisor alone        labels.json    the pages (name, tags, notes, star, group, place in the queue)
config.yaml, begin/, rewards/   once, before the launch     requests/      pages and command line
environment.json, metrics.jsonl, events.jsonl, rollouts.jsonl, heartbeat, outcome.json, adapter/, best/, checkpoints/    the worker alone
log.txt           the worker's output
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.store.files import LineTail, copy_into, flush_folder, read_json, sweep_leftovers, worded, write_json
from tunesmith.store.saved_folders import MANIFEST, drop_whole, settle

ENDS = frozenset({"completed", "failed", "cancelled", "paused"})  # of a worker that could say how it ended
_LOG_TAIL_BYTES = 256 * 1024


@dataclass(frozen=True)
class RunFolder:
    """Paths of one run, and its small mailboxes."""

    path: Path

    @property
    def record(self) -> Path:
        """The supervisor's record."""
        return self.path / "experiment.json"

    @property
    def config(self) -> Path:
        """The run's settings, never changed after the launch."""
        return self.path / "config.yaml"

    @property
    def labels(self) -> Path:
        """What people call the run."""
        return self.path / "labels.json"

    @property
    def metrics(self) -> Path:
        """One line per measured step."""
        return self.path / "metrics.jsonl"

    @property
    def events(self) -> Path:
        """Samples, alerts, checkpoints."""
        return self.path / "events.jsonl"

    @property
    def environment(self) -> Path:
        """What each attempt was computed with: versions, machine, data."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """The worker's output."""
        return self.path / "log.txt"

    @property
    def adapter(self) -> Path:
        """The adapter that the run wrote."""
        return self.path / "adapter"

    @property
    def begin(self) -> Path:
        """The adapter that the run begins from; absent when it begins with a new one."""
        return self.path / "begin"

    @property
    def rewards(self) -> Path:
        """Copies of the reward files that the run uses, as they were when it was launched."""
        return self.path / "rewards"

    @property
    def rollouts(self) -> Path:
        """One line per step of a policy: prompts, completions, their scores."""
        return self.path / "rollouts.jsonl"

    @property
    def manifest(self) -> Path:
        """The adapter's manifest: written last, so that with it the adapter is complete."""
        return self.adapter / MANIFEST

    def has_adapter(self) -> bool:
        """Whether the adapter is complete."""
        return self.manifest.exists()

    def checkpoint(self, step: int) -> Path:
        """Return the folder of a checkpoint."""
        return self.path / "checkpoints" / f"step-{step}"

    def checkpoint_steps(self) -> list[int]:
        """Return the steps of the whole checkpoints, ascending."""
        names = (path.parent.name.removeprefix("step-") for path in (self.path / "checkpoints").glob(f"step-*/{MANIFEST}"))
        return sorted(int(name) for name in names if name.isdecimal())

    def keep_checkpoints(self, newest: int) -> None:
        """Drop all checkpoints but so many."""
        for step in self.checkpoint_steps()[:-newest]:
            drop_whole(self.checkpoint(step))

    def settle(self) -> None:
        """Put in order what a killed worker left half written; only for whoever knows that it is dead."""
        for parent in (self.path, self.path / "checkpoints"):
            settle(parent)
            sweep_leftovers(parent)

    def newest_checkpoint_step(self) -> int | None:
        """Return the step of the newest whole checkpoint, None when the run cannot go on from any."""
        return max(self.checkpoint_steps(), default=None)

    def drop_checkpoint(self, step: int) -> None:
        """Delete a checkpoint; no part of it ever counts as one."""
        drop_whole(self.checkpoint(step))

    def copy_state(self, target: Path) -> None:
        """Copy the newest checkpoint and the curves to another run's folder, which then goes on from there."""
        newest = f"checkpoints/step-{self.newest_checkpoint_step()}"
        copy_into(self.path / newest, target / newest)
        copy_into(self.metrics, target / self.metrics.name)

    def mail(self, kind: str) -> Path:
        """Return the file of a wish."""
        return self.path / "requests" / f"{kind}.json"

    def request(self, kind: str) -> None:
        """Put a wish in the mailbox: `cancel`, `pause` or `resume`. Raises UserError `disk_full`, `no_permission`."""
        with worded(self.mail(kind)):
            self.mail(kind).parent.mkdir(exist_ok=True)
            self.mail(kind).touch()  # an empty file: a full disk mostly takes one, and a run must be stopped there too
            flush_folder(self.mail(kind).parent)

    def forget_requests(self, *kinds: str) -> None:
        """Take wishes out of the mailbox: a new attempt begins without the last one's."""
        for kind in kinds:
            self.mail(kind).unlink(missing_ok=True)

    def has_request(self, kind: str) -> bool:
        """Whether a wish lies in the mailbox: one `stat`, cheap enough for every step."""
        return self.mail(kind).exists()

    def write_outcome(self, outcome: dict[str, Any]) -> None:
        """Record how the worker ended: the last thing that it writes. Raises UserError `disk_full`; that too can be read then."""
        try:
            write_json(self.path / "outcome.json", {"v": 1, **outcome})
        except UserError as error:
            if error.code == "disk_full":
                with suppress(OSError):
                    self._full_disk(outcome["nonce"]).touch()  # an empty file mostly finds room
            raise

    def _full_disk(self, nonce: str) -> Path:
        return self.path / f".{nonce}.disk_full"

    def read_outcome(self, nonce: str) -> dict[str, Any] | None:
        """Return how the launch with this nonce ended, None while it has not."""
        try:
            outcome = read_json(self.path / "outcome.json")
        except (FileNotFoundError, UserError):
            outcome = None
        if isinstance(outcome, dict) and outcome.get("nonce") == nonce and outcome.get("status") in ENDS:
            return outcome
        if nonce and self._full_disk(nonce).exists():
            return {"nonce": nonce, "status": "failed", "error": UserError("disk_full", folder=str(self.path)).as_record()}
        return None

    def beat(self) -> None:
        """Tell that the worker is alive and moving. Raises UserError `disk_full`."""
        with worded(self.path / "heartbeat"):
            (self.path / "heartbeat").touch()

    def forget_heartbeat(self) -> None:
        """Begin a new attempt: the last one's sign of life is not ours."""
        for sign in (self.path / "heartbeat", *self.path.glob(".*.disk_full")):
            sign.unlink(missing_ok=True)

    def heartbeat_age_seconds(self) -> float | None:
        """Return the seconds since the worker last moved, None before it did."""
        try:
            return max(0.0, time.time() - (self.path / "heartbeat").stat().st_mtime)
        except FileNotFoundError:
            return None

    def read_events(self) -> list[dict[str, Any]]:
        """Return all whole event lines."""
        return list(LineTail(self.events).read_new())

    def read_log_tail(self, lines: int) -> list[str]:
        """Return the last lines of the worker's output."""
        try:
            with self.log.open("rb") as stream:
                size = stream.seek(0, 2)
                stream.seek(max(0, size - _LOG_TAIL_BYTES))
                text = stream.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return []
        return list(deque(text.splitlines(), maxlen=lines))
