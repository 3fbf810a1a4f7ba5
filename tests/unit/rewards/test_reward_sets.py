"""All reward functions of a run together: names, weights, columns, and what happens when one fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.errors import UserError
from tunesmith.training.rewards.custom import RewardFile
from tunesmith.training.rewards.scoring import RewardSet, unique_names
from tunesmith.training.rewards.spec import Completion, RewardSpec

EXACT, STEPS = RewardSpec("exact_match", 2.0), RewardSpec("step_count", 0.5, {"steps": 2})
BROKEN = RewardSpec("rubric", options={"criteria": ["nonsense"]})
COMPLETIONS = [Completion("16", 1), Completion("1. 7\n2. 9", 6, truncated=True)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Files whose functions are `first` and `second`, which tell what they were asked."""
    told: list[Any] = []

    def functions(self: RewardFile) -> list[str]:
        told.append(("open", self.path.name))
        return ["first", "second"]

    def score(self: RewardFile, name: str, arguments: Mapping[str, Any], count: int) -> list[float | None]:
        told.append((self.path, name, arguments, count))
        return [1.0, None]

    monkeypatch.setattr(RewardFile, "functions", functions)
    monkeypatch.setattr(RewardFile, "score", score)
    monkeypatch.setattr(RewardFile, "close", lambda self: told.append(("close", self.path.name)))
    return told


def total(specs: Sequence[RewardSpec], rows: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    return RewardSet(specs, Path("rewards"), **options).score(["7 + 9 = ?"] * 2, COMPLETIONS, rows)


def test_weights_and_functions_with_nothing_to_say() -> None:
    scores = total([EXACT, STEPS], [{"answer": "16"}, {}])
    np.testing.assert_array_equal(scores.by_function["exact_match"], [1, np.nan])
    np.testing.assert_array_equal(scores.by_function["step_count"], [0, 1])
    np.testing.assert_array_equal(scores.total, [2, 0.5])
    assert scores.skipped == {}
    assert total([EXACT], [{}, {}]).total.tolist() == [0, 0]
    assert total([RewardSpec("step_count", -1)], [{}, {}]).total.tolist() == [0, pytest.approx(-2 / 3)]


def test_a_set_of_no_completions() -> None:
    scores = RewardSet([EXACT], Path()).score([], [], [])
    assert scores.total.shape == scores.by_function["exact_match"].shape == (0,)


def test_a_function_twice_has_two_names() -> None:
    specs = [RewardSpec(f) for f in ("f1", "numeric", "f1", "a.py:f1", "a.py:f1_2")]
    assert unique_names(specs) == ["f1", "numeric", "f1_2", "f1_3", "f1_2_2"]
    scores = total([EXACT, RewardSpec("exact_match", options={"column": "other"})], [{"answer": "16", "other": "17"}, {}])
    assert {name: values[0] for name, values in scores.by_function.items()} == {"exact_match": 1, "exact_match_2": 0}


def test_a_failing_function_stops() -> None:
    with pytest.raises(UserError) as caught:
        total([EXACT, BROKEN], [{}, {}])
    assert caught.value.code == "reward_criterion_wrong"


def test_a_failing_function_is_skipped() -> None:
    scores = total([EXACT, BROKEN], [{"answer": "16"}, {}], skip_failing=True)
    assert {name: error.code for name, error in scores.skipped.items()} == {"rubric": "reward_criterion_wrong"}
    np.testing.assert_array_equal(scores.by_function["rubric"], [np.nan, np.nan])
    assert scores.total.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("specs", "code"),
    [
        ([], "rewards_missing"), ([RewardSpec("nonsense")], "reward_unknown"), ([RewardSpec("f1", options={"x": 1})], "setting_unknown"),
        ([RewardSpec("../a.py:f")], "reward_file_missing"), ([RewardSpec("/etc/a.py:f")], "reward_file_missing"),
        ([RewardSpec(":f")], "reward_file_missing"), ([RewardSpec("a\0.py:f")], "reward_file_missing"),
    ],
)  # fmt: skip
def test_a_set_that_cannot_be(specs: list[RewardSpec], code: str) -> None:
    with pytest.raises(UserError) as caught:
        RewardSet(specs, Path())
    assert caught.value.code == code


def test_files_get_the_columns_by_name(asked: list[Any], tmp_path: Path) -> None:
    told = asked
    rewards = RewardSet([RewardSpec("a.py:first", 3.0), RewardSpec("a.py:second"), RewardSpec("b.py:first")], tmp_path)
    rows = [{"answer": "16", "prompt": "no", "completions": "no"}, {"level": 2}]
    for _ in range(2):  # a closed set can be used again
        rewards.open()
        scores = rewards.score(["7 + 9 = ?", "1 + 1 = ?"], COMPLETIONS, rows)
        rewards.close()
    assert list(scores.by_function) == ["first", "second", "first_2"]
    assert scores.total.tolist() == [5, 0]
    path, name, arguments, count = told[2]
    assert (path, name, count) == (tmp_path / "a.py", "first", 2)
    assert arguments == {
        "prompts": ["7 + 9 = ?", "1 + 1 = ?"], "completions": ["16", "1. 7\n2. 9"], "completion_tokens": [1, 6], "truncated": [False, True],
        "answer": ["16", None], "level": [None, 2],
    }  # fmt: skip
    assert told[:2] == [("open", "a.py"), ("open", "b.py")]
    assert told[5:7] == [("close", "a.py"), ("close", "b.py")]


def test_a_missing_function_is_known_before_the_run(asked: list[Any], tmp_path: Path) -> None:
    told = asked
    with pytest.raises(UserError) as caught:
        RewardSet([RewardSpec("a.py:first"), RewardSpec("b.py:third")], tmp_path).open()
    assert caught.value.code == "reward_function_unknown"
    assert caught.value.facts == {"function": "third", "file": "b.py", "known": "first, second"}
    assert told[-2:] == [("close", "a.py"), ("close", "b.py")]


def test_an_error_names_the_prompt_at_which_it_happens(tmp_path: Path) -> None:
    """The function fails for one of three rows, and gives no number for another: both prompts are told."""
    (tmp_path / "odd.py").write_text(
        "def picky(completions, answer, **_):\n    return [1 / int(a) for a in answer]\n"
        "def vague(completions, answer, **_):\n    return [1.0 if a == '1' else 'much' for a in answer]\n"
    )
    answers = [Completion(text) for text in ("a", "b", "c")]
    rows = [{"answer": a} for a in ("1", "0", "2")]
    for function, code in (("picky", "reward_failed_at"), ("vague", "reward_not_a_number_at")):
        rewards = RewardSet([RewardSpec(f"odd.py:{function}")], tmp_path)
        with pytest.raises(UserError) as caught:
            rewards.score(["first", "second", "third"], answers, rows)
        rewards.close()
        assert caught.value.code == code
        assert caught.value.facts["prompt"] == "second"
