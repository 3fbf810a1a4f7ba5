"""Reward functions for the pages: which there are, and the workbench that tries them on rows before a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tunesmith.access.people import TRAINER
from tunesmith.data.formats import as_prompt, row_answer
from tunesmith.errors import UserError
from tunesmith.jobs.reward_trial import try_rewards
from tunesmith.services.attachments import find_adapter, find_reward_file, functions_of, rewards_folder
from tunesmith.services.context import Services
from tunesmith.services.datasets import row_values
from tunesmith.services.models import find_model
from tunesmith.services.rights import needs
from tunesmith.training.config import TrainConfig
from tunesmith.training.policy_config import PolicyParameters
from tunesmith.training.rewards.junk import JunkScore, junk_for
from tunesmith.training.rewards.registry import REWARDS
from tunesmith.training.rewards.scoring import unique_names
from tunesmith.training.rewards.spec import Completion, RewardSpec

MOST_ROWS, MOST_ANSWERS = 50, 32
CONSTANT = 1e-9


@dataclass(frozen=True)
class FunctionFigures:
    """How one function judged the answers; `failed` says why it could not."""

    name: str
    weight: float
    mean: float | None
    deviation: float | None
    lowest: float | None
    highest: float | None
    coverage: float
    failed: UserError | None

    @property
    def is_constant(self) -> bool:
        """Whether it judged all answers alike: such a function teaches nothing."""
        return self.deviation is not None and self.deviation < CONSTANT


@dataclass(frozen=True)
class TriedAnswer:
    """An answer and its scores; `origin` is `sampled`, `given` or `reference` (the row's own answer)."""

    row: int
    prompt: str
    text: str
    origin: str
    reward: float
    scores: dict[str, float | None]
    truncated: bool


@dataclass(frozen=True)
class Trial:
    """What the workbench found; `alike` is the share of rows whose sampled answers were all worth the same, None without any."""

    answers: list[TriedAnswer]
    functions: list[FunctionFigures]
    junk: list[JunkScore]
    alike: float | None


def built_in() -> tuple[str, ...]:
    """Return the names of the built-in functions."""
    return tuple(REWARDS)


def settings_of(function: str) -> Any:
    """Return a built-in function's settings class."""
    return REWARDS[function]


def custom_functions(s: Services) -> tuple[list[str], list[UserError]]:
    """Return the functions of the rewards folder as `file.py:function`, and what is wrong with files that have none to give."""
    found: list[str] = []
    problems: list[UserError] = []
    for path in sorted(rewards_folder(s).glob("*.py")) if rewards_folder(s).is_dir() else []:
        try:
            found += [f"{path.name}:{name}" for name in functions_of(find_reward_file(s, path.name))]
        except UserError as error:
            problems.append(error)
    return found, problems


@needs(TRAINER)
def try_on_rows(s: Services, config: TrainConfig, rows: int, answers: int, given: Sequence[str] = (), split: str = "train") -> Trial:
    """Score answers to the first rows of a split: `answers` sampled from the model to each, and the `given` texts.

    Raises UserError `rewards_missing`, `row_missing`, `reward_…`, `dataset_…`, `model_…`.
    """
    if not config.policy.rewards:
        raise UserError("rewards_missing")
    values = [value for value in row_values(s, config.data, split, min(rows, MOST_ROWS)) if as_prompt(value)]
    if not values:
        raise UserError("row_missing", row=1)
    prompts = [as_prompt(value, config.policy.system_prompt) for value in values]
    texts = [str(messages[-1]["content"]) for messages in prompts]
    tried = [(i, "given", Completion(text, round(1.4 * len(text.split())))) for i in range(len(values)) for text in given]
    if answers:
        tried += _sample(s, config, prompts, min(answers, MOST_ANSWERS))
    references = [(i, "reference", Completion(answer)) for i, value in enumerate(values) if (answer := row_answer(value))]
    junk = [(i, kind, c) for i, text in enumerate(texts) for kind, c in junk_for(text, [c.text for n, _, c in tried if n == i]).items()]
    every = [*tried, *references, *junk]
    columns = [{**value, "answer": answer} if (answer := row_answer(value)) else value for value in values]
    folder = rewards_folder(s)
    scores = try_rewards(
        config.policy.rewards, folder, [texts[i] for i, _, _ in every], [c for _, _, c in every], [columns[i] for i, _, _ in every]
    )
    shown = len(tried) + len(references)
    names = unique_names(config.policy.rewards)
    found = [
        TriedAnswer(i, texts[i], c.text, origin, float(scores.total[n]), _scores_at(scores.by_function, n), c.truncated)
        for n, (i, origin, c) in enumerate(every[:shown])
    ]
    functions = [
        _figures(name, spec, scores.by_function[name][: len(tried) or shown], scores.skipped.get(name))
        for name, spec in zip(names, config.policy.rewards, strict=True)
    ]
    best = max((answer.reward for answer in found), default=0.0)
    kinds = [kind for _, kind, _ in junk]
    return Trial(found, functions, _junk_scores(kinds, scores.total[shown:], best), _alike(found))


def _sample(s: Services, config: TrainConfig, prompts: Sequence[Any], count: int) -> list[tuple[int, str, Completion]]:
    policy: PolicyParameters = config.policy
    adapter = find_adapter(s, config.resume_adapter_file) if config.resume_adapter_file else None
    drawing = {
        "max_tokens": policy.max_completion_length, "temperature": policy.temperature, "top_p": policy.top_p, "top_k": policy.top_k,
    }  # fmt: skip
    groups = s.host.sample(find_model(s, config.model).path, adapter, prompts, count, drawing, config.template, config.seed)
    return [(i, "sampled", Completion(**dataclasses.asdict(sample))) for i, group in enumerate(groups) for sample in group]


def _scores_at(by_function: dict[str, Any], place: int) -> dict[str, float | None]:
    return {name: None if np.isnan(values[place]) else float(values[place]) for name, values in by_function.items()}


def _figures(name: str, spec: RewardSpec, values: Any, failed: UserError | None) -> FunctionFigures:
    known = values[~np.isnan(values)]
    if not len(known):
        return FunctionFigures(name, spec.weight, None, None, None, None, 0.0, failed)
    return FunctionFigures(
        name, spec.weight, float(known.mean()), float(known.std()), float(known.min()), float(known.max()), len(known) / len(values), failed
    )


def _junk_scores(kinds: Sequence[str], totals: Any, best: float) -> list[JunkScore]:
    means = {kind: float(np.mean([total for k, total in zip(kinds, totals, strict=True) if k == kind])) for kind in dict.fromkeys(kinds)}
    return [JunkScore(kind, mean, best) for kind, mean in means.items()]


def _alike(answers: Sequence[TriedAnswer]) -> float | None:
    groups: dict[int, list[float]] = {}
    for answer in answers:
        if answer.origin == "sampled":
            groups.setdefault(answer.row, []).append(answer.reward)
    alike = [max(rewards) - min(rewards) < CONSTANT for rewards in groups.values() if len(rewards) > 1]
    return sum(alike) / len(alike) if alike else None
