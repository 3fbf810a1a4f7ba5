"""What a run measures beside its steps: the loss on rows kept aside, and answers to fixed prompts. Knows no optimiser."""

from __future__ import annotations

import logging
import math

from tunesmith.data.batching import BatchRules
from tunesmith.inference.generation import generate_text
from tunesmith.training.batches import fixed_batches
from tunesmith.training.prepare import Run

logger = logging.getLogger(__name__)
SAMPLE_TOKENS = 40


def validate(run: Run, step: int) -> None:
    """Measure, keep the best state, answer the prompts; leaves the model in training mode.

    The loss is the token mean over the same rows at each call. Raises UserError `disk_full`.
    """
    model = run.base.model
    model.eval()
    loss = _measure(run)
    if loss is not None:
        run.recorder.metrics(step, val_loss=loss, val_perplexity=math.exp(min(loss, 700)))
        logger.info("step %d/%d  validation loss %.4f", step, run.steps, loss)
        if run.progress.note_validation(loss) and step and run.processes.writes:
            run.checkpoints.save_best()
        for alert in run.health.after_validation(step, loss):
            run.recorder.event("alert", step=step, **alert.as_record())
    _answer_prompts(run, step)
    model.train()


def _measure(run: Run) -> float | None:
    rules: BatchRules = run.rules
    total, count = 0.0, 0
    for number, batch in enumerate(fixed_batches(run.rows.valid, rules, run.config.val_batches)):
        if number % run.processes.count != run.processes.rank:
            continue
        total += float(run.loss(run.base.model, batch, run.forward))
        count += batch.supervised_tokens
        run.recorder.beat()
    total, all_tokens = run.processes.sum_numbers(total, count)
    return total / all_tokens if all_tokens else None


def _answer_prompts(run: Run, step: int) -> None:
    if not run.processes.writes:
        return
    for probe in run.probes:
        text = generate_text(run.base.model, run.base.tokenizer, probe.messages, SAMPLE_TOKENS, run.config.template)
        run.recorder.event("sample", step=step, prompt=probe.prompt, text=text, expected=probe.expected)
        run.recorder.beat()
