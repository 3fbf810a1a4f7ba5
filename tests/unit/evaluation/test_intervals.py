"""Intervals against known spreads, how often they hold the truth, and what they say of too few rows."""

from __future__ import annotations

import numpy as np
import pytest

from tunesmith.evaluation.intervals import Estimator, IntervalRules, compare_paired, mean_interval, resampled_figures, sign_test
from tunesmith.evaluation.perplexity import likelihood_estimator

QUICK = IntervalRules(resamples=400)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [
        (0, 0, 1),
        (1, 0, 1),
        (6, 0, 2 / 64),
        (0, 6, 2 / 64),
        (5, 1, 2 * (1 + 6) / 64),
        (3, 3, 1),
        (4, 3, 1),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
    ],
)
def test_the_sign_test_by_hand(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p, rel=1e-12)


def test_the_interval_of_a_coin() -> None:
    """50 of 100: the mean of 100 draws spreads by √(0.25/100) = 0.05, 1.96 of it is 0.098."""
    found = mean_interval(np.array([0.0, 1.0] * 50))
    assert (found.mean, found.rows, found.note) == (0.5, 100, "")
    assert found.low == pytest.approx(0.402, abs=0.011)
    assert found.high == pytest.approx(0.598, abs=0.011)
    assert resampled_figures(np.array([0.0, 1.0] * 50), IntervalRules()).std() == pytest.approx(0.05, rel=0.03)
    wide = mean_interval(np.array([0.0, 1.0] * 50), IntervalRules(confidence=0.99))
    assert wide.low == pytest.approx(0.5 - 2.576 * 0.05, abs=0.011)


def test_the_same_seed_gives_the_same_interval_also_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random(50)
    whole = resampled_figures(values, QUICK)
    assert np.array_equal(whole, resampled_figures(values, QUICK))
    assert not np.array_equal(whole, resampled_figures(values, IntervalRules(resamples=400, seed=1)))
    monkeypatch.setattr("tunesmith.evaluation.intervals._BLOCK", 700)
    assert resampled_figures(values, QUICK).shape == (400,)
    assert resampled_figures(values, QUICK).std() == pytest.approx(values.std() / 50**0.5, rel=0.15)


@pytest.mark.parametrize(
    ("values", "mean", "low", "note", "left_out"),
    [
        ([], None, None, "no_rows", 0), ([np.nan, np.nan], None, None, "no_rows", 2), ([0.7], 0.7, None, "one_row", 0),
        ([0.7, np.nan], 0.7, None, "one_row", 1), ([1, 1, 1, np.nan], 1, 1, "all_equal", 1),
    ],
)  # fmt: skip
def test_too_little_for_an_interval_is_told(values: list[float], mean: float | None, low: float | None, note: str, left_out: int) -> None:
    found = mean_interval(np.array(values, float))
    assert (found.mean, found.low, found.high, found.note, found.left_out) == (mean, low, low, note, left_out)


def test_a_paired_comparison() -> None:
    """Differences 1, 0, −1, 1 and 0.5; two rows have only one side."""
    left = np.array([1, 1, 0, 1, 0.5, np.nan, 1])
    right = np.array([0, 1, 1, 0, 0, 1, np.nan])
    found = compare_paired(left, right)
    assert (found.rows, found.left_out, found.wins, found.ties, found.losses) == (5, 2, 3, 1, 1)
    assert (found.left_mean, found.right_mean) == (0.7, 0.4)
    assert found.difference == pytest.approx(0.3)
    assert found.sign_p == pytest.approx(2 * (1 + 4) / 16)
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low < 0.3 < found.high <= 1
    swapped = compare_paired(right, left)
    assert (swapped.difference, swapped.wins, swapped.losses) == (-found.difference, 1, 3)
    empty = compare_paired(left[5:], right[5:])
    assert (empty.rows, empty.left_out, empty.difference, empty.sign_p, empty.note) == (0, 2, None, 1.0, "no_rows")


def test_pairing_takes_out_what_rows_have_in_common() -> None:
    """Hard and easy rows spread both alike by 0.3; the difference itself spreads by 0.02, so 1.96 · 0.02 / √200 on either side."""
    chance = np.random.default_rng(0)
    hardness = chance.normal(0.5, 0.3, 200)
    found = compare_paired(hardness + chance.normal(0.01, 0.02, 200), hardness)
    assert found.high is not None
    assert found.low is not None
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * 0.02 / 200**0.5, rel=0.2)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    """400 sets of 80 rows, a model that is right in 0.7 of all cases: 95 % of intervals should hold 0.7; 91.5 % is 3 spreads below."""
    held = 0
    for seed in range(400):
        right = (np.random.default_rng(seed).random(80) < 0.7).astype(float)
        found = mean_interval(right, IntervalRules(resamples=300, seed=seed))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.7 <= found.high
    assert 0.915 <= held / 400 <= 0.99


def test_a_long_row_counts_as_much_as_it_has_tokens() -> None:
    """Losses of 1 over 10 tokens and of 4 over 30: (10 + 120) / 40 = 3.25, where their plain mean is 2.5."""
    losses, tokens = np.array([1.0, 4.0, np.nan]), [10, 30, 50]
    assert mean_interval(losses, QUICK, likelihood_estimator("loss", tokens)).mean == pytest.approx(3.25)
    assert mean_interval(losses, QUICK, likelihood_estimator("perplexity", tokens)).mean == pytest.approx(np.exp(3.25))
    drawn = resampled_figures(losses[:2], QUICK, likelihood_estimator("loss", tokens[:2]))
    assert set(drawn.round(9)) == {1.0, 3.25, 4.0}  # the first row twice, both, the second twice


def test_two_losses_are_compared_by_their_tokens_and_smaller_wins() -> None:
    """Row by row −0.5, −0.5, +1 over 60, 30 and 10 tokens: −0.35; of perplexities exp(1.75) − exp(2.1)."""
    left, right, tokens = np.array([1.5, 1.5, 4.0]), np.array([2.0, 2.0, 3.0]), [60, 30, 10]
    found = compare_paired(left, right, QUICK, likelihood_estimator("loss", tokens))
    assert found.difference == pytest.approx(-0.35)
    assert (found.left_mean, found.right_mean) == (pytest.approx(1.75), pytest.approx(2.1))
    assert (found.wins, found.ties, found.losses, found.smaller_is_better) == (2, 0, 1, True)
    assert (found.low, found.high) == (-0.5, 1.0)
    exponentials = compare_paired(left, right, QUICK, likelihood_estimator("perplexity", tokens))
    assert exponentials.difference == pytest.approx(np.exp(1.75) - np.exp(2.1))
    assert exponentials.low == pytest.approx(np.exp(1.5) - np.exp(2.0))
    assert exponentials.high == pytest.approx(np.exp(4.0) - np.exp(3.0))
    assert (exponentials.wins, exponentials.losses) == (2, 1)


def test_an_exponential_without_end_stays_a_number() -> None:
    assert np.isfinite(mean_interval(np.array([5000.0, 6000.0]), QUICK, Estimator(exponential=True)).high)


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says() -> None:
    """300 sets of 80 rows, long rows foretold worse (a loss of 1 + tokens / 100): Σ tokens · loss / Σ tokens → 1 + E[t²] / (100 E[t]).

    Of 1 … 100 tokens evenly that is 1 + 67 / 100 = 1.67; 95 % − 3 · √(0.05 · 0.95 / 300) = 91.2 %.
    """
    held = 0
    for seed in range(300):
        chance = np.random.default_rng(seed)
        tokens = chance.integers(1, 101, 80)
        losses = 1 + tokens / 100 + chance.normal(0, 0.3, 80)
        found = mean_interval(losses, IntervalRules(resamples=300, seed=seed), likelihood_estimator("loss", tokens))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.67 <= found.high
    assert 0.912 <= held / 300 <= 0.99
