"""Learning which of two answers is better: DPO's losses and ORPO, one table. Knows pairs and models, no files but the data set's.

The reference of DPO is the base: the same model with its adapter switched off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from tunesmith.data.batching import BatchRules, Shape, group_pairs, order_of_epoch, rows_of_step
from tunesmith.data.pairs import Pair, PairRules, Pairs, largest_pair_shape, read_pairs
from tunesmith.models.loading import LoadedModel
from tunesmith.training.batches import Batch, make_batch
from tunesmith.training.config import TrainConfig
from tunesmith.training.method_checks import check_method
from tunesmith.training.preference_math import DPO_LOSSES, Loss, PairSums, orpo_loss
from tunesmith.training.registry import METHODS
from tunesmith.training.results import Measurement, StepResult
from tunesmith.training.task import Run
from tunesmith.training.update import GradientSum, move_weights


@dataclass(frozen=True)
class PreferenceMethod:
    """A row of the table: the loss, whether it needs the reference, and whether it compares means per token instead of sums."""

    loss: Loss
    needs_reference: bool
    per_token: bool = False


def method_of(config: TrainConfig) -> PreferenceMethod:
    """Return what the settings name."""
    if config.method == "orpo":
        return PreferenceMethod(orpo_loss, needs_reference=False, per_token=True)
    loss = config.preference.loss_type
    return PreferenceMethod(DPO_LOSSES[loss], needs_reference=True, per_token=loss == "ipo")


def pair_figures(pairs: PairSums, method: PreferenceMethod, beta: float) -> dict[str, mx.array]:
    """Return each pair's rewards [P], β · nats, their difference and whether the chosen answer has the greater one; and its KL.

    They are in the loss's own measure, else an answer's length would decide them: per token for ORPO (as trl) and IPO (trl tells sums).
    """
    chosen_tokens, rejected_tokens = mx.maximum(pairs.chosen_tokens, 1), mx.maximum(pairs.rejected_tokens, 1)
    chosen, rejected = beta * pairs.chosen_rewards, beta * pairs.rejected_rewards
    if method.per_token:
        chosen, rejected = chosen / chosen_tokens, rejected / rejected_tokens
    figures = {
        "reward_chosen": chosen, "reward_rejected": rejected, "reward_margin": chosen - rejected,
        "reward_accuracy": (chosen > rejected).astype(mx.float32),
    }  # fmt: skip
    return figures | ({"kl": pairs.chosen_rewards / chosen_tokens} if method.needs_reference else {})


class PreferenceTask:
    """Pairs in batches; both answers of a pair go through the model in one pass."""

    def __init__(self, config: TrainConfig, pairs: Pairs) -> None:
        self.pairs = pairs
        self.trial = [pairs.train[0].chosen, pairs.train[0].rejected]
        self.count = len(pairs.train)
        self.valid_source = pairs.valid_source
        self.facts = {"valid_rows": len(pairs.valid), "tokens": sum(pair.tokens for pair in pairs.train)}
        self.notes = (("rows_left_out", pairs.unusable), ("rows_drop", pairs.overlong))
        self._method = method_of(config)
        self._rules = config.preference
        self._gradient_of: Any = None

    @classmethod
    def open(cls, config: TrainConfig, base: LoadedModel, data_path: Path, run_dir: Path) -> PreferenceTask:
        """Read and encode the pairs. Raises UserError `data_…`, `dataset_…`, `template_…`, and what `check_method` raises."""
        del run_dir
        check_method(config)
        rules = PairRules(config.max_seq_length, config.validation_share, config.seed, config.template)
        return cls(config, read_pairs(data_path, METHODS[config.method].row_kinds, base.tokenizer, rules))

    def begin(self, run: Run) -> None:
        """Get the gradient ready."""
        self._gradient_of = nn.value_and_grad(run.base.model, self._summed_loss)

    def take_step(self, run: Run, step: int) -> StepResult:
        """Do one optimiser step on the mean loss of its pairs. Raises UserError `loss_not_finite`."""
        chosen = [self.pairs.train[i] for rows in rows_of_step(self.count, step - 1, run.rules) for i in rows]
        gradients = GradientSum()
        loss_sum, tokens = 0.0, 0
        figures: dict[str, float] = {}
        for batch, count in pair_passes(chosen, run.rules):
            (part, met), slopes = self._gradient_of(run.base.model, run, batch, self._reference_sums(run, batch, count), count)
            gradients.add(slopes)
            del slopes
            gradients.evaluate(part, met)
            loss_sum += float(part)
            tokens += batch.tokens
            for name, value in met.items():
                figures[name] = figures.get(name, 0.0) + float(value)
        grad_norm = move_weights(run, step, gradients, loss_sum / len(chosen), len(chosen))
        return StepResult(loss_sum, len(chosen), tokens, grad_norm, {name: value / len(chosen) for name, value in figures.items()})

    def _reference_sums(self, run: Run, batch: Batch, count: int) -> mx.array:
        """Return the base's log-probabilities of the pass's answers [2P]; zeros for a method without a reference."""
        if not self._method.needs_reference:
            return mx.zeros(2 * count)
        with run.reference.switched_on():
            sums = _answer_sums(run, run.base.model, batch, count)
            mx.eval(sums)
        return sums

    def _summed_loss(self, model: Any, run: Run, batch: Batch, reference: mx.array, count: int) -> tuple[mx.array, dict[str, mx.array]]:
        """Return the loss summed over the pass's pairs, and sums of the figures."""
        sums = _answer_sums(run, model, batch, count)
        tokens = mx.zeros(2 * count).at[mx.array(batch.owners)].add(batch.counts)
        pairs = PairSums(sums[:count], sums[count:], reference[:count], reference[count:], tokens[:count], tokens[count:])
        loss: mx.array = self._method.loss(pairs, self._rules.beta, self._rules.label_smoothing).sum()
        met = pair_figures(pairs, self._method, self._rules.beta)
        return loss, {name: mx.stop_gradient(value.sum()) for name, value in met.items()}

    def measure(self, run: Run) -> Measurement | None:
        """Return mean loss, accuracy and margin over the same pairs at each call."""
        chosen = _fixed_pairs(self.pairs.valid, run)
        if not chosen:
            return None
        totals: dict[str, float] = {}
        for batch, count in pair_passes(chosen, run.rules):
            loss, met = self._summed_loss(run.base.model, run, batch, self._reference_sums(run, batch, count), count)
            for name, value in {"loss": loss, **met}.items():
                totals[name] = totals.get(name, 0.0) + float(value)
            run.recorder.beat()
        means = {name: total / len(chosen) for name, total in totals.items()}
        figures = {"val_loss": means["loss"], "val_accuracy": means["reward_accuracy"], "val_margin": means["reward_margin"]}
        return Measurement(means["loss"], figures)

    def largest_shape(self, run: Run) -> Shape:
        """Return the pass with the most tokens of the first epoch."""
        return largest_pair_shape(self.pairs.train, run.rules)

    def close(self) -> None:
        """Hold nothing."""


def _answer_sums(run: Run, model: Any, batch: Batch, count: int) -> mx.array:
    """Return the log-probabilities [2P] of the pass's answers, the chosen ones first."""
    logs, _ = run.forward.log_probabilities(model, batch)
    return mx.zeros(2 * count).at[mx.array(batch.owners)].add(logs * batch.counts)


def pair_passes(pairs: Sequence[Pair], rules: BatchRules) -> Iterator[tuple[Batch, int]]:
    """Yield passes of whole pairs, about `pass_tokens` tokens each, with their number of pairs; the chosen answers come first."""
    for members in group_pairs([pair.tokens for pair in pairs], rules):
        part = [pairs[i] for i in members]
        yield make_batch([pair.chosen for pair in part] + [pair.rejected for pair in part], rules), len(part)


def _fixed_pairs(pairs: Sequence[Pair], run: Run) -> list[Pair]:
    most = run.config.val_batches
    if most < 0:
        return list(pairs)
    order = order_of_epoch(len(pairs), 0, run.config.seed)[: most * run.config.batch_size]
    return [pairs[i] for i in order]
