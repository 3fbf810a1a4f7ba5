"""The losses of preference pairs beside trl's own trainers, and beside arithmetic done by hand."""

from __future__ import annotations

import warnings
from collections import defaultdict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from tunesmith.training.policy_math import Floats
from tunesmith.training.preference_math import DPO_LOSSES, Loss, PairSums, orpo_loss, sigmoid_loss

torch = pytest.importorskip("torch", reason="the losses are compared with torch's")
pytest.importorskip("trl", reason="the losses are compared with trl's")

from trl.import_utils import TRLExperimentalWarning  # noqa: E402
from trl.trainer.dpo_trainer import DPOTrainer  # noqa: E402

with warnings.catch_warnings():
    warnings.simplefilter("ignore", TRLExperimentalWarning)
    from trl.experimental.orpo import ORPOTrainer

PROMPT = 3
COLUMNS = 14
CHOSEN_LENGTHS = np.array([6, 1, 9, 4])
REJECTED_LENGTHS = np.array([2, 10, 9, 5])


@dataclass(frozen=True)
class Pairs:
    """Log-probabilities [2P, T] of the tokens after the first: of the chosen answers, then of the rejected; 0 outside of answers."""

    policy: Floats
    reference: Floats
    mask: np.ndarray[Any, Any]

    @property
    def pairs(self) -> int:
        return len(self.mask) // 2

    def pair(self, place: int) -> Pairs:
        rows = [place, place + self.pairs]
        return Pairs(self.policy[rows], self.reference[rows], self.mask[rows])


def make_pairs(spread: float, seed: int = 3) -> Pairs:
    """`spread` is how far the policy went from the reference, per token."""
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([CHOSEN_LENGTHS, REJECTED_LENGTHS])[:, None]
    places = np.arange(COLUMNS)
    mask = (places >= PROMPT) & (places < PROMPT + lengths)
    reference = -rng.uniform(0.2, 2.5, mask.shape) * mask
    policy = np.minimum(reference + rng.normal(0, spread, mask.shape), -0.05) * mask
    return Pairs(policy.astype(np.float32), reference.astype(np.float32), mask.astype(np.int64))


class ModelWithOutputs(torch.nn.Module):
    """A model that was asked already: it answers with given log-probabilities."""

    is_gradient_checkpointing = False

    def __init__(self, log_probabilities: Any) -> None:
        super().__init__()
        self.log_probabilities = log_probabilities

    def forward(self, **_: Any) -> SimpleNamespace:
        zeros = torch.zeros_like(self.log_probabilities)
        return SimpleNamespace(log_probs=self.log_probabilities, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool())


def trl_dpo(pairs: Pairs, loss_type: str, beta: float, label_smoothing: float) -> tuple[float, Floats]:
    """Return the loss of a DPOTrainer that was never built, and its gradient by the log-probabilities."""
    leaf = torch.tensor(pairs.policy, requires_grad=True)
    model = ModelWithOutputs(leaf * torch.tensor(pairs.mask))
    trainer = DPOTrainer.__new__(DPOTrainer)
    vars(trainer).update(
        model=model, ref_model=ModelWithOutputs(torch.tensor(pairs.reference)), beta=beta, label_smoothing=label_smoothing,
        loss_types=[loss_type], loss_weights=[1.0], f_divergence_type="reverse_kl", ld_alpha=None, use_weighting=False,
        precompute_ref_logps=False, aux_loss_enabled=False, _metrics=defaultdict(lambda: defaultdict(list)), _total_train_tokens=0,
        _tp_size=1, args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        accelerator=SimpleNamespace(device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value),
    )  # fmt: skip
    mask = torch.nn.functional.pad(torch.tensor(pairs.mask), (1, 0))
    inputs = {"input_ids": torch.ones_like(mask), "attention_mask": torch.ones_like(mask), "completion_mask": mask}
    loss = DPOTrainer._compute_loss(trainer, model, inputs, return_outputs=False)
    loss.backward()
    return loss.item(), leaf.grad.numpy()


def sums_of(pairs: Pairs, policy: mx.array) -> PairSums:
    mask, count = mx.array(pairs.mask), pairs.pairs
    sums, reference, tokens = (policy * mask).sum(axis=1), (mx.array(pairs.reference) * mask).sum(axis=1), mask.sum(axis=1)
    return PairSums(sums[:count], sums[count:], reference[:count], reference[count:], tokens[:count], tokens[count:])


def ours(pairs: Pairs, loss: Loss, beta: float, label_smoothing: float = 0.0) -> tuple[float, Floats]:
    """Return our loss, the mean over pairs, and its gradient by the log-probabilities."""
    value, gradient = mx.value_and_grad(lambda policy: loss(sums_of(pairs, policy), beta, label_smoothing).mean())(mx.array(pairs.policy))
    return value.item(), np.array(gradient)


def assert_same(mine: tuple[float, Floats], theirs: tuple[float, Floats]) -> None:
    assert mine[0] == pytest.approx(theirs[0], rel=0, abs=1e-5)
    np.testing.assert_allclose(mine[1], theirs[1], rtol=0, atol=1e-6)
    assert np.abs(theirs[1]).max() > 1e-4


@pytest.mark.parametrize("spread", [0.1, 3.0], ids=["near", "far"])
@pytest.mark.parametrize("beta", [0.1, 0.5])
@pytest.mark.parametrize(
    ("name", "label_smoothing"), [("sigmoid", 0.0), ("robust", 0.0), ("robust", 0.1), ("robust", 0.3), ("hinge", 0.0), ("ipo", 0.0)]
)
def test_the_loss_and_its_gradient_are_those_of_trl(name: str, label_smoothing: float, beta: float, spread: float) -> None:
    pairs = make_pairs(spread)
    assert_same(ours(pairs, DPO_LOSSES[name], beta, label_smoothing), trl_dpo(pairs, name, beta, label_smoothing))


@pytest.mark.parametrize("place", range(len(CHOSEN_LENGTHS)))
@pytest.mark.parametrize("label_smoothing", [0.1, 0.3])
def test_label_smoothing_is_that_of_trl(label_smoothing: float, place: int) -> None:
    """The `sigmoid` of trl has no smoothing any more, but its `aot` of a single pair, where nothing is sorted, is the same formula."""
    pair = make_pairs(1.0).pair(place)
    assert_same(ours(pair, sigmoid_loss, 0.5, label_smoothing), trl_dpo(pair, "aot", 0.5, label_smoothing))


@pytest.mark.parametrize("beta", [0.1, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_odds_ratio_is_that_of_trl(seed: int, beta: float) -> None:
    """What trl names the odds-ratio loss is its negative, and the mean log p(chosen) is not in it: it is added to ours."""
    pairs = make_pairs(1.0, seed)
    leaf = torch.tensor(pairs.policy, requires_grad=True)
    mask = torch.tensor(pairs.mask)
    chosen, rejected = ((leaf * mask).sum(dim=1) / mask.sum(dim=1)).chunk(2)
    trainer = SimpleNamespace(beta=beta, accelerator=SimpleNamespace(device="cpu"))
    theirs = -ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0].mean()
    theirs.backward()

    def odds_part(sums: PairSums, beta: float, label_smoothing: float) -> mx.array:
        return orpo_loss(sums, beta, label_smoothing) + sums.chosen / sums.chosen_tokens

    assert_same(ours(pairs, odds_part, beta), (theirs.item(), leaf.grad.numpy()))


@pytest.mark.parametrize(("chosen", "rejected"), [(-0.1, -0.69), (-0.69, -0.7), (-0.7, -0.1), (-20.0, -0.3), (-0.3, -20.0)])
def test_the_odds_ratio_is_that_of_trl_on_both_sides_of_log_two(chosen: float, rejected: float) -> None:
    leaf = torch.tensor([chosen, rejected], requires_grad=True)
    trainer = SimpleNamespace(beta=1.0, accelerator=SimpleNamespace(device="cpu"))
    theirs = -ORPOTrainer.odds_ratio_loss(trainer, leaf[:1], leaf[1:])[0].sum()
    theirs.backward()
    zero, one = mx.zeros(1), mx.ones(1)

    def odds_part(means: mx.array) -> mx.array:
        return (orpo_loss(PairSums(means[:1], means[1:], zero, zero, one, one), 1.0, 0.0) + means[:1]).sum()

    value, gradient = mx.value_and_grad(odds_part)(mx.array([chosen, rejected]))
    assert value.item() == pytest.approx(theirs.item(), rel=0, abs=1e-5)
    np.testing.assert_allclose(np.array(gradient), leaf.grad.numpy(), rtol=0, atol=1e-6)


def by_hand(loss: Loss, label_smoothing: float = 0.0) -> float:
    """Return a pair's loss with beta 0.1: chosen -4 (reference -5) of 2 tokens, rejected -6 (reference -4) of 4 tokens."""
    sums = PairSums(*(mx.array([value]) for value in (-4.0, -6.0, -5.0, -4.0, 2.0, 4.0)))
    return float(loss(sums, 0.1, label_smoothing).item())


def test_sigmoid_by_hand() -> None:
    """Rewards -4 + 5 = 1 and -6 + 4 = -2: margin 0.1 x 3 = 0.3. Loss: log(1 + e^-0.3) = log 1.7408182 = 0.5543552."""
    assert by_hand(DPO_LOSSES["sigmoid"]) == pytest.approx(0.5543552, rel=0, abs=1e-6)


def test_label_smoothing_by_hand() -> None:
    """Margin 0.3: -log sigma(0.3) = 0.5543552 and -log sigma(-0.3) = 0.5543552 + 0.3 = 0.8543552.

    Smoothing 0.1. Loss: 0.9 x 0.5543552 + 0.1 x 0.8543552 = 0.5843552.
    """
    assert by_hand(DPO_LOSSES["sigmoid"], 0.1) == pytest.approx(0.5843552, rel=0, abs=1e-6)


def test_robust_by_hand() -> None:
    """The terms of label smoothing, but (0.9 x 0.5543552 - 0.1 x 0.8543552) / (1 - 0.2) = 0.4134842 / 0.8 = 0.5168552."""
    assert by_hand(DPO_LOSSES["robust"], 0.1) == pytest.approx(0.5168552, rel=0, abs=1e-6)


def test_hinge_by_hand() -> None:
    """Margin 0.3. Loss: max(0, 1 - 0.3) = 0.7."""
    assert by_hand(DPO_LOSSES["hinge"]) == pytest.approx(0.7, rel=0, abs=1e-6)


def test_ipo_by_hand() -> None:
    """Rewards per token 1 / 2 = 0.5 and -2 / 4 = -0.5: difference 1. Loss: (1 - 1 / 0.2)^2 = (1 - 5)^2 = 16."""
    assert by_hand(DPO_LOSSES["ipo"]) == pytest.approx(16.0, rel=0, abs=1e-6)


def test_orpo_by_hand() -> None:
    """Means per token -4 / 2 = -2 and -6 / 4 = -1.5.

    Log odds: -2 - log(1 - e^-2) = -2 + 0.1454135 = -1.8545865; -1.5 - log(1 - e^-1.5) = -1.5 + 0.2524825 = -1.2475175.
    Difference -0.6070690; -log sigma of it: log(1 + e^0.6070690) = 1.0420578. Loss: 2 + 0.1 x 1.0420578 = 2.1042058.
    """
    assert by_hand(orpo_loss) == pytest.approx(2.1042058, rel=0, abs=1e-6)
