"""What a policy wrote at a step, group by group, with every score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunesmith.services.context import Services


@dataclass(frozen=True)
class RolloutCompletion:
    """One answer: its scores by function (None: nothing to say), its place in the group, and whether it was learned from."""

    text: str
    reward: float
    scores: dict[str, float | None]
    advantage: float
    tokens: int
    truncated: bool
    kept: bool
    best: bool
    worst: bool


@dataclass(frozen=True)
class RolloutGroup:
    """A prompt and its answers, the best first; `alike` says that all were worth the same, so that nothing is learned from them."""

    prompt: str
    answer: str | None
    completions: list[RolloutCompletion]

    @property
    def alike(self) -> bool:
        """Whether all answers were rewarded alike."""
        return not any(c.best for c in self.completions)

    @property
    def spread(self) -> float:
        """The distance between the best and the worst answer."""
        return self.completions[0].reward - self.completions[-1].reward

    @property
    def mean_reward(self) -> float:
        """The mean over the answers."""
        return sum(c.reward for c in self.completions) / max(1, len(self.completions))


def steps(s: Services, run_id: str) -> list[int]:
    """Return the steps whose answers are recorded. Raises UserError `run_unknown`."""
    return s.rollouts(run_id).steps()


def groups(s: Services, run_id: str, step: int) -> list[RolloutGroup]:
    """Return a step's groups. Raises UserError `run_unknown`."""
    return [_group(record) for record in s.rollouts(run_id).read(step)]


def _group(record: dict[str, Any]) -> RolloutGroup:
    ordered = sorted(record["completions"], key=lambda c: -c["reward"])
    spread = ordered[0]["reward"] - ordered[-1]["reward"] > 1e-8
    last = len(ordered) - 1
    completions = [RolloutCompletion(**c, best=spread and i == 0, worst=spread and i == last) for i, c in enumerate(ordered)]
    return RolloutGroup(record["prompt"], record.get("answer"), completions)
