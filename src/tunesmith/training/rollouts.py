"""Answers to prompts in groups, scored: what a step of a policy learns from, and what validation measures. Knows rewards, no loss."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tunesmith.data.batching import order_of_epoch
from tunesmith.data.prompts import Prompt
from tunesmith.inference.batch_generation import Drawing, Written, generate_groups
from tunesmith.training.policy_config import PolicyParameters
from tunesmith.training.policy_math import Floats, Places, group_advantages, has_no_spread, kept_of_group
from tunesmith.training.results import Measurement
from tunesmith.training.rewards.scoring import RewardSet, Scores
from tunesmith.training.rewards.spec import Completion, RewardSpec
from tunesmith.training.task import Run

ROUNDS = 3  # how often prompts are asked in a step while groups without difference are put aside
LONGEST_TEXT = 4000  # characters of a completion that are kept for the rollout browser


@dataclass(frozen=True)
class Rollouts:
    """P groups of G answers, scored; rows are in the order of the groups. `kept` [P·G] says which are learned from, `left_out` rows are
    cut answers that count in their group and are not learned from."""

    prompts: list[Prompt]
    answers: list[list[Written]]
    texts: list[list[str]]
    scores: Scores
    advantages: Floats
    kept: np.ndarray[tuple[int], np.dtype[np.bool_]]
    left_out: Places
    prompts_used: int
    seconds_rollout: float

    @property
    def group_size(self) -> int:
        """Answers per prompt, G."""
        return len(self.answers[0])

    @property
    def rewards(self) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """The rewards [P, G]."""
        return self.scores.total.reshape(len(self.prompts), -1)

    @property
    def prompt_ids(self) -> list[list[int]]:
        """The prompt of each row [P·G]."""
        return [prompt.ids for prompt in self.prompts for _ in range(self.group_size)]

    @property
    def completion_ids(self) -> list[list[int]]:
        """The answer of each row [P·G]."""
        return [answer.ids for group in self.answers for answer in group]

    @property
    def tokens(self) -> int:
        """All tokens that were written."""
        return sum(map(len, self.completion_ids))

    def figures(self) -> dict[str, float]:
        """Return the step's figures: rewards, spread, lengths, pace."""
        lengths = [len(ids) for ids in self.completion_ids]
        figures = {
            "reward": float(self.rewards.mean()), "reward_std": float(self.rewards.std(axis=1, ddof=1).mean()),
            "zero_spread_share": float(has_no_spread(self.rewards).mean()), "completion_tokens": float(np.mean(lengths)),
            "truncated_share": float(np.mean([answer.truncated for group in self.answers for answer in group])),
            "rollout_tokens_per_second": self.tokens / max(1e-9, self.seconds_rollout),
        }  # fmt: skip
        for name, values in self.scores.by_function.items():
            known = values[~np.isnan(values)]
            if len(known):
                figures[f"reward/{name}"] = float(known.mean())
            figures[f"coverage/{name}"] = len(known) / len(values)
        return figures

    def as_record(self) -> list[dict[str, Any]]:
        """Return the groups for the rollout browser; long texts are cut."""
        return [self._group(number) for number in range(len(self.prompts))]

    def _group(self, number: int) -> dict[str, Any]:
        prompt, first = self.prompts[number], number * self.group_size
        completions = []
        for place, answer in enumerate(self.answers[number]):
            row = first + place
            scores = {name: None if np.isnan(values[row]) else float(values[row]) for name, values in self.scores.by_function.items()}
            completions.append(
                {
                    "text": self.texts[number][place][:LONGEST_TEXT], "reward": float(self.scores.total[row]), "scores": scores,
                    "advantage": float(self.advantages[row]), "tokens": len(answer.ids), "truncated": answer.truncated,
                    "kept": bool(self.kept[row]),
                }
            )  # fmt: skip
        return {"prompt": prompt.text[:LONGEST_TEXT], "answer": prompt.columns.get("answer"), "completions": completions}


def open_rewards(policy: PolicyParameters, folder: Path) -> RewardSet:
    """Return the settings' reward functions, the soft overlong punishment among them when switched on. Raises UserError `reward_…`."""
    specs = list(policy.rewards)
    if policy.soft_overlong and not any(spec.function == "soft_overlong" for spec in specs):
        buffer = max(1, round(policy.soft_overlong * policy.max_completion_length))
        specs.append(RewardSpec("soft_overlong", 1.0, {"longest": policy.max_completion_length, "buffer": buffer}))
    return RewardSet(specs, folder, skip_failing=policy.on_reward_error == "skip")


def collect_rollouts(run: Run, prompts: Sequence[Prompt], rewards: RewardSet, step: int) -> Rollouts:
    """Answer a step's prompts and score the answers; with dynamic sampling, groups without difference are exchanged, three rounds at most.

    Which prompts depends on the rows used so far alone. Raises Abandoned, UserError `reward_…`.
    """
    policy, wanted = run.config.policy, run.config.batch_size
    rounds: list[Rollouts] = []
    used = 0
    while True:
        chosen = _next_prompts(prompts, run.progress.rows_used + used, wanted, run.config.seed)
        used += wanted
        rounds.append(_roll(run, chosen, rewards, step))
        useful = sum(int((~has_no_spread(each.rewards)).sum()) for each in rounds)
        if not policy.dynamic_sampling or useful >= wanted or len(rounds) == ROUNDS:
            return _joined(rounds, wanted, used, run.config.policy)


def _next_prompts(prompts: Sequence[Prompt], begin: int, count: int, seed: int) -> list[Prompt]:
    places = range(begin, begin + count)
    return [prompts[order_of_epoch(len(prompts), place // len(prompts), seed)[place % len(prompts)]] for place in places]


def _roll(run: Run, prompts: list[Prompt], rewards: RewardSet, step: int) -> Rollouts:
    policy = run.config.policy
    drawing = Drawing(policy.max_completion_length, policy.temperature, policy.top_p, policy.top_k, policy.rollout_rows)
    began = time.perf_counter()
    answers = write_answers(run, prompts, policy.num_generations, drawing)
    seconds = time.perf_counter() - began
    texts, scores = score_answers(run, prompts, answers, rewards)
    for name, error in scores.skipped.items():
        run.recorder.event("reward_skipped", step=step, function=name, **error.as_record())
    totals = scores.total.reshape(len(prompts), -1)
    advantages, kept = advantages_of(totals, policy)
    cut = np.array([answer.truncated for group in answers for answer in group])
    left_out = np.flatnonzero(cut) if policy.mask_truncated_completions else np.zeros(0, np.int64)
    return Rollouts(prompts, answers, texts, scores, advantages, kept, left_out, len(prompts), seconds)


def advantages_of(rewards: np.ndarray[Any, np.dtype[np.float64]], policy: PolicyParameters) -> tuple[Floats, Any]:
    """Return the advantages [P·G] of rewards [P, G], and which answers [P·G] are learned from.

    Of a subset by variance the advantages are those within the subset (PODS); by advantage they stay those of the group (CPPO).
    """
    advantages = group_advantages(rewards, policy.scale_rewards)
    kept = np.ones(rewards.shape, bool)
    if 0 < policy.keep_rollouts < rewards.shape[1]:
        places = np.stack([kept_of_group(group, policy.keep_rollouts, policy.keep_by) for group in rewards])
        kept = np.zeros(rewards.shape, bool)
        np.put_along_axis(kept, places, True, axis=1)
        if policy.keep_by == "variance":
            among = group_advantages(np.take_along_axis(rewards, places, axis=1), policy.scale_rewards)
            np.put_along_axis(advantages, places, among, axis=1)
    return advantages.reshape(-1), kept.reshape(-1)


def _joined(rounds: list[Rollouts], wanted: int, used: int, policy: PolicyParameters) -> Rollouts:
    """Return the rounds as one; with dynamic sampling only groups with a difference are learned from, as many as were wanted."""
    size = rounds[0].group_size
    by_function = {
        name: np.concatenate([each.scores.by_function[name] for each in rounds]) for name in rounds[0].scores.by_function
    }  # fmt: skip
    skipped = {name: error for each in rounds for name, error in each.scores.skipped.items()}
    total = np.concatenate([each.scores.total for each in rounds])
    kept = np.concatenate([each.kept for each in rounds])
    if policy.dynamic_sampling:
        useful = np.flatnonzero(~has_no_spread(total.reshape(-1, size)))[:wanted]
        groups = np.zeros(len(total) // size, bool)
        groups[useful] = True
        kept = kept & np.repeat(groups, size)
    places = np.cumsum([0, *[len(each.prompts) * size for each in rounds[:-1]]])
    return Rollouts(
        prompts=[p for each in rounds for p in each.prompts], answers=[a for each in rounds for a in each.answers],
        texts=[t for each in rounds for t in each.texts], scores=Scores(total, by_function, skipped),
        advantages=np.concatenate([each.advantages for each in rounds]), kept=kept,
        left_out=np.concatenate([each.left_out + place for each, place in zip(rounds, places, strict=True)]), prompts_used=used,
        seconds_rollout=sum(each.seconds_rollout for each in rounds),
    )  # fmt: skip


def write_answers(run: Run, prompts: Sequence[Prompt], group_size: int, drawing: Drawing) -> list[list[Written]]:
    """Return answers to prompts in groups. Raises Abandoned within a token of the wish."""

    def abandoned() -> bool:
        run.recorder.beat()
        return run.abandoned()

    stops = sorted(run.base.tokenizer.eos_token_ids)
    return generate_groups(run.base.model, [prompt.ids for prompt in prompts], group_size, stops, drawing, abandoned)


def score_answers(
    run: Run, prompts: Sequence[Prompt], answers: Sequence[Sequence[Written]], rewards: RewardSet
) -> tuple[list[list[str]], Scores]:
    """Return the answers' texts by group and their scores. Raises UserError `reward_…`."""
    texts = [[text_of(run.base.tokenizer, answer.ids) for answer in group] for group in answers]
    flat = [
        (prompt, Completion(text, len(answer.ids), answer.truncated))
        for prompt, group, written in zip(prompts, answers, texts, strict=True)
        for answer, text in zip(group, written, strict=True)
    ]
    scores = rewards.score([prompt.text for prompt, _ in flat], [c for _, c in flat], [prompt.columns for prompt, _ in flat])
    return texts, scores


def text_of(tokenizer: Any, ids: Sequence[int]) -> str:
    """Return an answer's text without its stop token."""
    written = list(ids[:-1]) if ids and ids[-1] in tokenizer.eos_token_ids else list(ids)
    return str(tokenizer.decode(written))


def held_out_rewards(run: Run, prompts: Sequence[Prompt], rewards: RewardSet) -> Measurement | None:
    """Return the mean reward of one greedy answer to each of the same prompts, and each function's mean; None without prompts."""
    policy, most = run.config.policy, run.config.val_batches
    order = order_of_epoch(len(prompts), 0, run.config.seed) if most >= 0 else np.arange(len(prompts))
    chosen = [prompts[i] for i in order[: most * run.config.batch_size if most >= 0 else None]]
    if not chosen:
        return None
    drawing = Drawing(policy.max_completion_length, rows=policy.rollout_rows)
    answers = write_answers(run, chosen, 1, drawing)
    _, scores = score_answers(run, chosen, answers, rewards)
    mean = float(scores.total.mean())
    figures = {f"val_reward/{name}": float(np.nanmean(v)) for name, v in scores.by_function.items() if not np.isnan(v).all()}
    return Measurement(-mean, {"val_reward": mean, **figures})
