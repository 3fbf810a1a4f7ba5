"""Learning from rewards: GRPO, GSPO, Dr. GRPO, DAPO as rows of one table of switches. Knows prompts, rewards and models, no pages.

A step: answer prompts in groups, score the answers, turn scores into advantages, move the adapter once per minibatch. Departures from
trl: the length normalisers are exact over a minibatch whatever its passes; the uncertain tokens are chosen over the whole step; groups
without difference can be exchanged for others.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from tunesmith.data.batching import Shape
from tunesmith.data.prompts import PromptRules, Prompts, read_prompts
from tunesmith.data.templates import Encoded
from tunesmith.inference.batch_generation import Abandoned as StepAbandoned
from tunesmith.models.loading import LoadedModel
from tunesmith.store.files import sha256_of
from tunesmith.store.run_folder import RunFolder
from tunesmith.training.batches import Batch
from tunesmith.training.config import TrainConfig
from tunesmith.training.method_checks import check_method
from tunesmith.training.policy_math import Floats, Places, PolicyRules, TokenFacts, policy_loss, token_weights
from tunesmith.training.prompt_sharing import SharedBatch
from tunesmith.training.registry import METHODS
from tunesmith.training.results import Measurement, StepResult
from tunesmith.training.rewards.scoring import RewardSet
from tunesmith.training.rollout_batch import RolloutBatch, lay_out, score_tokens
from tunesmith.training.rollouts import collect_rollouts, held_out_rewards, open_rewards
from tunesmith.training.task import Run
from tunesmith.training.update import GradientSum, move_weights

MEASURE_KL_EVERY = 10  # steps, when nothing pulls towards the base: a pass of the base costs as much as a third of learning


class PolicyTask:
    """Prompts that the model answers, and what its answers are worth."""

    def __init__(self, config: TrainConfig, prompts: Prompts, rewards: RewardSet) -> None:
        policy = config.policy
        self.prompts = prompts
        self.rewards = rewards
        self.trial = [Encoded(prompt.ids, [True] * len(prompt.ids)) for prompt in prompts.train[:2]]
        self.count = len(prompts.train)
        self.valid_source = prompts.valid_source
        self.facts = {"valid_rows": len(prompts.valid)}
        self.notes = (("rows_left_out", prompts.unusable), ("prompts_too_long", prompts.overlong))
        self._policy = policy
        self._rules = PolicyRules(policy.importance_sampling_level, policy.epsilon, policy.epsilon_high, policy.beta)
        self._moves = policy.minibatches * policy.num_iterations
        self._gradient_of: Any = None
        self._largest = Shape(0, 0, 0)

    @classmethod
    def open(cls, config: TrainConfig, base: LoadedModel, data_path: Path, run_dir: Path) -> PolicyTask:
        """Read the prompts and open the reward functions. Raises UserError `data_…`, `dataset_…`, `template_…`, `reward_…`, and what
        `check_method` raises."""
        check_method(config)
        longest = config.max_seq_length - config.policy.max_completion_length
        rules = PromptRules(longest, config.validation_share, config.seed, config.policy.system_prompt, config.template)
        prompts = read_prompts(data_path, METHODS[config.method].row_kinds, base.tokenizer, rules)
        return cls(config, prompts, open_rewards(config.policy, RunFolder(run_dir).rewards))

    def begin(self, run: Run) -> None:
        """Get the gradient ready and load the reward files. Raises UserError `reward_…`."""
        self.rewards.open()
        folder = run.checkpoints.run_dir / "rewards"
        if folder.is_dir():
            run.recorder.event("rewards_loaded", files={path.name: sha256_of(path) for path in sorted(folder.iterdir())})
        self._gradient_of = nn.value_and_grad(run.base.model, self._loss_of_pass)

    def take_step(self, run: Run, step: int) -> StepResult:
        """Answer, score, and move the adapter by every minibatch. Raises Abandoned before the first move, UserError `reward_…`."""
        began = time.perf_counter()
        run.base.model.eval()
        rolled = collect_rollouts(run, self.prompts.train, self.rewards, step)
        scored = time.perf_counter()
        batch = lay_out(rolled.prompt_ids, rolled.completion_ids, rolled.advantages, rolled.left_out)
        kept = np.flatnonzero(rolled.kept)
        self._score(run, batch, kept, step)
        if run.abandoned():
            raise StepAbandoned
        moving = time.perf_counter()
        run.base.model.train()
        loss, grad_norm, figures = self._move(run, step, batch, kept)
        run.progress.rows_used += rolled.prompts_used
        run.recorder.rollouts(step, rolled.as_record())
        phases = {"seconds_score": moving - scored, "seconds_update": time.perf_counter() - moving}
        phases |= {"seconds_rollout": rolled.seconds_rollout, "seconds_reward": scored - began - rolled.seconds_rollout}
        return StepResult(loss, 1, rolled.tokens, grad_norm, {**rolled.figures(), **figures, **phases})

    def _score(self, run: Run, batch: RolloutBatch, kept: Places, step: int) -> None:
        """Fill in what the weights of before the first move say, and the base, where either is wanted."""
        policy, model = self._policy, run.base.model
        asked = (model, run.forward, run.rules, policy.temperature, run.recorder.beat)
        if self._moves > 1 or policy.top_entropy_quantile < 1:
            batch.old, batch.entropy = score_tokens(batch, kept, *asked)
        if policy.beta or step == 1 or step % MEASURE_KL_EVERY == 0:
            with run.reference.switched_on():
                batch.reference, _ = score_tokens(batch, kept, *asked)
        if policy.top_entropy_quantile < 1:
            batch.keep_uncertain(kept, policy.top_entropy_quantile)

    def _move(self, run: Run, step: int, batch: RolloutBatch, kept: Places) -> tuple[float, float, dict[str, float]]:
        """Move the adapter once per minibatch and pass over the answers; return mean loss, the largest gradient's norm, and figures."""
        policy = self._policy
        chance = np.random.default_rng([run.config.seed, step])
        losses: list[float] = []
        sums: dict[str, float] = {}
        norms: list[float] = []
        step_tokens = int(batch.lengths[kept].sum())
        for _ in range(policy.num_iterations):
            order = chance.permutation(kept) if policy.minibatches > 1 else kept
            for members in np.array_split(order, min(policy.minibatches, max(1, len(order)))):
                weights = np.zeros(len(batch.rows), np.float32)
                weights[members] = token_weights(
                    batch.lengths[members], policy.loss_type, policy.max_completion_length, step_tokens, policy.minibatches
                )
                loss, gradients = self._gradient(run, batch, members, weights, sums)
                norms.append(move_weights(run, step, gradients, loss))
                losses.append(loss)
                run.recorder.beat()
        tokens = sums.pop("tokens", 0.0)
        figures = {name: value / tokens for name, value in sums.items() if tokens}
        if batch.reference is not None and batch.old is not None:
            figures["kl"] = batch.mean_divergence(kept)  # of the weights that wrote the answers, whatever moved since
        return float(np.mean(losses)), max(norms), figures

    def _gradient(
        self, run: Run, batch: RolloutBatch, members: Places, weights: Floats, sums: dict[str, float]
    ) -> tuple[float, GradientSum]:
        """Return loss and gradient of a minibatch, added up over its passes; what the passes met is added to `sums`."""
        gradients = GradientSum()
        loss = 0.0
        watched = self._policy.beta or (batch.reference is not None and batch.old is None)
        teaching = members if watched else members[batch.advantages[members] != 0]  # of the others the gradient is exactly 0
        for part in batch.passes(teaching, run.rules, run.forward.shared_prompts):
            facts = batch.facts(part, teaching, weights)
            facts = facts if self._moves > 1 else dataclasses.replace(facts, old=None)  # the policy that wrote is the one that moves
            (value, met), slopes = self._gradient_of(run.base.model, run, part, facts)
            gradients.add(slopes)
            del slopes
            gradients.evaluate(value, met)
            loss += float(value)
            for name, total in met.items():
                sums[name] = sums.get(name, 0.0) + float(total)
            self._note_shape(part)
        return loss, gradients

    def _loss_of_pass(self, model: Any, run: Run, part: Batch | SharedBatch, facts: TokenFacts) -> tuple[mx.array, dict[str, mx.array]]:
        logs, entropies = run.forward.log_probabilities(model, part, self._policy.temperature)
        loss, met = policy_loss(logs, facts, self._rules)
        met["entropy"] = mx.stop_gradient((entropies * facts.counts).sum())
        if facts.reference is None:
            del met["kl"]
        return loss, met

    def _note_shape(self, part: Batch | SharedBatch) -> None:
        self._largest = max(self._largest, part.shape, key=lambda each: each.lines * each.width)

    def measure(self, run: Run) -> Measurement | None:
        """Return the mean reward of greedy answers to the same prompts at each call."""
        return held_out_rewards(run, self.prompts.valid, self.rewards)

    def largest_shape(self, run: Run) -> Shape:
        """Return the largest pass so far."""
        del run
        return self._largest

    def close(self) -> None:
        """End the reward files' processes."""
        self.rewards.close()
