"""Supervised fine-tuning: cross-entropy of the next token where the loss counts. Knows rows and models, no files but the data set's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from tunesmith.data.batching import Shape, largest_shape
from tunesmith.data.encoding import EncodedRows, EncodingRules, encode_dataset
from tunesmith.errors import UserError
from tunesmith.models.loading import LoadedModel
from tunesmith.training.batches import Batch, batches_of_step, fixed_batches
from tunesmith.training.config import TrainConfig
from tunesmith.training.forward import Forward
from tunesmith.training.health import has_exploded
from tunesmith.training.registry import METHODS
from tunesmith.training.results import Measurement, StepResult
from tunesmith.training.task import Run
from tunesmith.training.update import GradientSum, move_weights


def summed_loss(model: Any, batch: Batch, forward: Forward) -> mx.array:
    """Return the float32 sum of the cross-entropy over the supervised tokens of a batch."""
    return forward.summed_loss(model, batch)


class SupervisedTask:
    """Rows in batches; the loss is the mean over the supervised tokens of a step."""

    def __init__(self, rows: EncodedRows, overlong: str) -> None:
        self.rows = rows
        self.trial = rows.train
        self.count = len(rows.train)
        self.valid_source = rows.valid_source
        self.facts = {"valid_rows": len(rows.valid), "tokens": rows.tokens, "supervised_tokens": rows.supervised_tokens}
        self.notes = (
            ("rows_left_out", rows.unusable), ("rows_without_labels", rows.without_labels), (f"rows_{overlong}", rows.overlong),
        )  # fmt: skip
        self._gradient_of: Any = None

    @classmethod
    def open(cls, config: TrainConfig, base: LoadedModel, data_path: Path, run_dir: Path) -> SupervisedTask:
        """Read and encode the rows. Raises UserError `data_…`, `dataset_…`, `template_…`."""
        del run_dir
        rules = EncodingRules(
            config.max_seq_length, config.loss_on, config.overlong, config.validation_share, config.seed, config.template
        )  # fmt: skip
        return cls(encode_dataset(data_path, METHODS[config.method].row_kinds, base.tokenizer, rules), config.overlong)

    def begin(self, run: Run) -> None:
        """Get the gradient ready."""
        self._gradient_of = nn.value_and_grad(run.base.model, summed_loss)

    def take_step(self, run: Run, step: int) -> StepResult:
        """Do one optimiser step on the token mean of its batches.

        Sums of loss and gradient are divided once by all tokens of the step, so accumulation and several processes change nothing.
        Raises UserError `loss_not_finite`, `loss_exploded`.
        """
        processes = run.processes
        batches = batches_of_step(self.rows.train, step - 1, run.rules, processes.rank, processes.count)
        gradients = GradientSum()
        loss_sum = 0.0
        for batch in batches:
            part, slopes = self._gradient_of(run.base.model, batch, run.forward)
            gradients.add(slopes)
            del slopes
            gradients.evaluate(part)
            loss_sum += float(part)
        loss_sum, supervised, tokens = processes.sum_numbers(
            loss_sum, sum(batch.supervised_tokens for batch in batches), sum(batch.tokens for batch in batches)
        )
        count = max(1, int(supervised))
        self._require_sound(run, step, loss_sum / count)
        grad_norm = move_weights(run, step, gradients, loss_sum / count, count)
        return StepResult(loss_sum, count, int(tokens), grad_norm)

    def _require_sound(self, run: Run, step: int, loss: float) -> None:
        """Stop a run whose loss is far off before it spoils the weights."""
        first = run.progress.first_loss = loss if run.progress.first_loss is None else run.progress.first_loss
        if math.isfinite(loss) and has_exploded(loss, first, math.log(_vocabulary(run))):
            rate = run.config.learning_rate
            run.recorder.metrics(step, train_loss=loss)
            raise UserError("loss_exploded", step=step, loss=round(loss, 3), first=round(first, 3), learning_rate=rate)

    def measure(self, run: Run) -> Measurement | None:
        """Return the token mean of the loss over the same rows at each call."""
        total, count = 0.0, 0
        for number, batch in enumerate(fixed_batches(self.rows.valid, run.rules, run.config.val_batches)):
            if number % run.processes.count != run.processes.rank:
                continue
            total += float(summed_loss(run.base.model, batch, run.forward))
            count += batch.supervised_tokens
            run.recorder.beat()
        total, all_tokens = run.processes.sum_numbers(total, count)
        if not all_tokens:
            return None
        loss = total / all_tokens
        return Measurement(loss, {"val_loss": loss, "val_perplexity": math.exp(min(loss, 700))})

    def largest_shape(self, run: Run) -> Shape:
        """Return the pass with the most tokens."""
        return largest_shape(self.rows.train, run.rules, run.steps)

    def close(self) -> None:
        """Hold nothing."""


def _vocabulary(run: Run) -> int:
    return int((run.base.config.get("text_config") or run.base.config).get("vocab_size") or 2)
