"""A step's answers as rows of tokens, and what is known of each token: advantage, old and reference log-probability, entropy.

Knows token ids and arrays, no texts, no rewards and no optimiser.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from tunesmith.data.batching import BatchRules
from tunesmith.data.templates import Encoded
from tunesmith.training.batches import Batch, make_passes
from tunesmith.training.forward import Forward
from tunesmith.training.policy_math import TokenFacts
from tunesmith.training.prompt_sharing import SharedBatch, make_shared_passes

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass
class RolloutBatch:
    """R rows of prompt and completion. Token values lie flat [T] over all completions, `begins` [R] says where a row's begin.

    `lengths` [R] are the tokens that are learned from, 0 for a row that is left out; `advantages` [R].
    """

    rows: list[Encoded]
    prompt_lengths: Places
    begins: Places
    lengths: Places
    advantages: Floats
    old: Floats | None = None
    reference: Floats | None = None
    entropy: Floats | None = None
    kept: Floats | None = None

    @property
    def tokens(self) -> int:
        """How many completion tokens there are, T."""
        return int(self.begins[-1] + len(self.rows[-1].ids) - self.prompt_lengths[-1])

    def flat_places(self, batch: Batch | SharedBatch, members: Places) -> Places:
        """Return where the values of a pass's tokens [N] lie; the pass was made of the rows `members`."""
        rows = members[batch.owners]
        places: Places = np.maximum(0, self.begins[rows] + batch.places - self.prompt_lengths[rows])
        return places

    def facts(self, batch: Batch | SharedBatch, members: Places, weights: Floats) -> TokenFacts:
        """Return what the loss needs of a pass's tokens; `weights` [R] are what each token of a row counts."""
        places = self.flat_places(batch, members)
        rows = members[batch.owners]
        counts = np.array(batch.counts) * (self.lengths[rows] > 0)
        return TokenFacts(
            old=None if self.old is None else mx.array(self.old[places]),
            reference=None if self.reference is None else mx.array(self.reference[places]),
            advantages=mx.array(self.advantages[rows]), weights=mx.array((weights[rows] * counts).astype(np.float32)),
            kept=mx.ones(len(rows)) if self.kept is None else mx.array(self.kept[places]), counts=mx.array(counts.astype(np.float32)),
            owners=mx.array(batch.owners), row_lengths=mx.array(self.lengths[members].astype(np.float32)),
        )  # fmt: skip

    def keep_uncertain(self, members: Places, share: float) -> None:
        """Let the policy's term count only the most uncertain share of the learned tokens of some rows (arXiv 2506.01939)."""
        assert self.entropy is not None
        learned = self._learned(members)
        if len(learned):
            self.kept = (self.entropy >= np.quantile(self.entropy[learned], 1 - share)).astype(np.float32)

    def mean_divergence(self, members: Places) -> float:
        """Return the mean k3 per learned token between the old policy and the reference, over some rows."""
        assert self.old is not None
        assert self.reference is not None
        learned = self._learned(members)
        distance = (self.reference - self.old)[learned].astype(np.float64)
        return float((np.expm1(distance) - distance).mean()) if len(learned) else 0.0

    def _learned(self, members: Places) -> Places:
        """Return where the values of the learned tokens of some rows lie."""
        ranges = [np.arange(self.begins[row], self.begins[row] + self.lengths[row]) for row in members]
        return np.concatenate([np.zeros(0, np.int64), *ranges])

    def passes(self, members: Places, rules: BatchRules, shared_prompts: bool) -> Iterator[Batch | SharedBatch]:
        """Yield the rows `members` in passes of bounded size, prompts computed once per pass if that is allowed and less to compute."""
        rows = [self.rows[i] for i in members]
        shared = make_shared_passes(rows, self.prompt_lengths[members].tolist(), rules) if shared_prompts else []
        if rows:
            yield from shared or make_passes(rows, rules)


def lay_out(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], advantages: Floats, left_out: Places) -> RolloutBatch:
    """Return rows of prompts [R] and their completions [R]; the rows `left_out` keep their place and are not learned from."""
    rows = [Encoded([*p, *c], [False] * len(p) + [True] * len(c)) for p, c in zip(prompts, completions, strict=True)]
    counts = np.array([len(c) for c in completions], np.int64)
    lengths = counts.copy()
    lengths[left_out] = 0
    return RolloutBatch(rows, np.array([len(p) for p in prompts], np.int64), np.cumsum(counts) - counts, lengths, advantages)


def score_tokens(
    batch: RolloutBatch, members: Places, model: Any, forward: Forward, rules: BatchRules, temperature: float, beat: Callable[[], None]
) -> tuple[Floats, Floats]:
    """Return log-probabilities and entropies [T] of the completions of the rows `members` under the model as it is."""
    logs, entropies = np.zeros(batch.tokens, np.float32), np.zeros(batch.tokens, np.float32)
    for part in batch.passes(members, rules, forward.shared_prompts):
        found, uncertain = forward.log_probabilities(model, part, temperature)
        mx.eval(found, uncertain)
        used = np.array(part.counts) > 0
        places = batch.flat_places(part, members)[used]
        logs[places], entropies[places] = np.array(found)[used], np.array(uncertain)[used]
        beat()
    return logs, entropies
