"""What a run measures beside its steps: rows kept aside, and answers to fixed prompts. Knows no optimiser and no method."""

from __future__ import annotations

import logging

from tunesmith.inference.generation import generate_text
from tunesmith.training.task import Run

logger = logging.getLogger(__name__)
SAMPLE_TOKENS = 40


def validate(run: Run, step: int) -> None:
    """Measure, keep the best state, answer the prompts; leaves the model in evaluation mode.

    Raises UserError `disk_full`, `reward_…`.
    """
    model = run.base.model
    model.eval()
    measured = run.task.measure(run)
    if measured is not None:
        run.recorder.metrics(step, **measured.figures)
        logger.info("step %d/%d  validation  %s", step, run.steps, "  ".join(f"{n} {v:.4f}" for n, v in measured.figures.items()))
        if run.progress.note_validation(measured.score) and step and run.processes.writes:
            run.checkpoints.save_best()
        for alert in run.health.after_validation(step, measured.score):
            run.recorder.event("alert", step=step, **alert.as_record())
    run.progress.validated = step
    _answer_prompts(run, step)


def _answer_prompts(run: Run, step: int) -> None:
    if not run.processes.writes:
        return
    for probe in run.probes:
        text = generate_text(run.base.model, run.base.tokenizer, probe.messages, SAMPLE_TOKENS, run.config.template)
        run.recorder.event("sample", step=step, prompt=probe.prompt, text=text, expected=probe.expected)
        run.recorder.beat()
