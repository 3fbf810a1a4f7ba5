"""Every metric against values worked out by hand, alone and over a set of rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from tunesmith.data.answers import split_words
from tunesmith.errors import UserError
from tunesmith.evaluation.metrics import METRICS, SetMetric, build_metric
from tunesmith.evaluation.set_scores import score_set
from tunesmith.evaluation.text_overlap import bleu_tokens, common_subsequence_length


def score(metric: str, prediction: str, answer: object = None, row: Mapping[str, Any] | None = None, **options: Any) -> float | None:
    return build_metric(metric, options).score(prediction, {"answer": answer} if row is None else row)


@pytest.mark.parametrize(
    ("metric", "prediction", "answer", "value"),
    [
        ("exact_match", "I think…\n Paris. ", "paris", 1), ("exact_match", "ＰＡＲＩＳ", "Paris", 1), ("exact_match", "Rome", "Paris", 0),
        ("exact_match", "", "Paris", 0), ("exact_match", "Paris", None, None), ("exact_match", "Paris", "", None),
        ("exact_match", "Edo", ["Tokyo", "Edo"], 1), ("exact_match", "Kyoto", ["Tokyo", "Edo"], 0), ("exact_match", "x", [], None),
        ("exact_match", "<think>Rome</think>Paris", "Paris", 1), ("exact_match", "0", 0, 1),
        ("numeric", "so it is 1,234.0", "… #### 1234", 1), ("numeric", "none", 3, 0), ("numeric", "3", "three", None),
        ("numeric", "5", [4, "no number", 5], 1),
        ("multiple_choice", "(B) because", "B", 1), ("multiple_choice", "A) or B)", "B", 0), ("multiple_choice", "B", "nothing", None),
        # {the, big, dog} and {the, dog, ran, off}: 2 shared, 2·2 / (3 + 4)
        ("f1", "the big dog", "The dog ran off.", 4 / 7), ("f1", "", "a dog", 0), ("f1", "a", "…", None),
        ("f1", "東京都", "東京", 4 / 5), ("f1", "big dog", ["cat", "big dog"], 1),
        # the cat on mat: 4 of 6 words on either side come in order
        ("rouge_l", "the cat sat on the mat", "the cat lay on a mat", 2 * 4 / 12), ("rouge_l", "dog bites man", "man bites dog", 1 / 3),
        # 日本の首都: 5 of 8 characters on either side
        ("rouge_l", "東京は日本の首都", "日本の首都は東京", 10 / 16), ("rouge_l", "", "word", 0), ("rouge_l", "x", "!?", None),
        ("rouge_l", "<think>one two</think>three", "three", 1), ("rouge_l", "b", ["a", "b"], 1),
        # shared 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, 0 of 1 quadruple, smoothed to 1/2
        ("bleu", "a b c d", "a b c e", (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25), ("bleu", "a b c d", "a b c d", 1),
        # too short: as far as it goes all is right, but it is half as long
        ("bleu", "a b c d", "a b c d e f g h", math.exp(1 - 8 / 4)),
        ("bleu", "", "a b", 0), ("bleu", "x", None, None), ("bleu", "a b", "a b", 1), ("bleu", "東京は日本の首都", "東京は日本の首都", 1),
        # of the characters 1 in 2 is shared, of the pairs none in 1
        ("chrf", "ab", "ac", 0.25), ("chrf", "東京", "東京", 1), ("chrf", "ab", None, None), ("chrf", "", "ab", 0),
        ("contains", "The capital is Paris, of course.", "paris", 1), ("contains", "I have 14 dogs", "4", 0), ("contains", "4 dogs", 4, 1),
        ("contains", "答えは東京都です", "東京", 1), ("contains", "concatenate", "cat", 0), ("contains", "x", None, None),
        ("contains", "so -5", ["7", "-5"], 1), ("contains", "Use ```", "```", 1), ("contains", "", "a", 0),
        ("contains", "答えはTokyoです", "Tokyo", 1),
    ],
)  # fmt: skip
def test_a_metric_by_hand(metric: str, prediction: str, answer: object, value: float | None) -> None:
    assert score(metric, prediction, answer) == (None if value is None else pytest.approx(value, abs=1e-12))


def test_metrics_with_settings() -> None:
    assert score("numeric", "101", 100, tolerance=0.01) == 1
    assert score("numeric", "102", 100, tolerance=0.01) == 0
    assert score("exact_match", "so 4", "4", place="whole") == 0
    assert score("exact_match", "4", row={"solution": "4"}, column="solution") == 1
    assert score("exact_match", "4", row={"solution": "4"}) is None
    assert score("contains", "red and blue", words=["red", "green"]) == 0.5
    assert score("contains", "version 3", words=[3]) == 1
    assert score("pattern", "On 2026-01-02", pattern=r"\d{4}-\d\d-\d\d") == 1
    assert score("pattern", "On Monday", pattern=r"\d") == 0
    assert score("json", '```json\n{"a": 1}\n```') == 1
    assert score("json", "[1]") == 0
    assert score("json", "[1]", schema="{}") == 1
    assert score("json", '{"a": "x"}', schema='{"properties": {"a": {"type": "number"}}}') == 0
    assert score("json", "{'a': 1}", schema="{}") == 0
    assert score("bleu", "東京は雨", "東京は雪", tokens="13a") != score("bleu", "東京は雨", "東京は雪", tokens="char")


def test_the_right_answer_is_found_in_any_kind_of_row() -> None:
    turns = [{"role": "user", "content": "Capital?"}, {"role": "assistant", "content": "Paris"}]
    for row in ({"messages": turns}, {"prompt": "Capital?", "completion": "Paris"}, {"prompt": "Capital?", "answer": "Paris"}):
        assert score("exact_match", "Paris", row=row) == 1
    assert score("exact_match", "Paris", row={"prompt": "Capital?"}) is None
    assert score("exact_match", "Paris", row={"messages": turns[:1]}) is None


def test_every_metric_is_one_for_the_answer_itself_and_stays_within_0_and_1() -> None:
    options = {"pattern": {"pattern": "."}, "json": {"schema": "{}"}}
    texts = {"numeric": "42", "multiple_choice": "B", "json": '{"a": 1}'}
    for name in METRICS:
        text = texts.get(name, "The quick brown fox jumps over the lazy dog")
        metric = build_metric(name, options.get(name))
        assert metric.score(text, {"answer": text}) == pytest.approx(1), name
        for junk in ("", "!?", "😀" * 50, "\ud800", "word " * 500, "<think>", "\x00"):
            value = metric.score(junk, {"answer": text})
            assert value is not None
            assert 0 <= value <= 1, (name, junk)
            if name not in {"pattern"}:
                assert value < 0.3, (name, junk)


def test_wrong_settings_are_told() -> None:
    with pytest.raises(UserError, match="metric_unknown"):
        build_metric("rouge_9")
    with pytest.raises(UserError, match="setting_unknown"):
        build_metric("rouge_l", {"stem": True})
    with pytest.raises(UserError, match="metric_option_empty"):
        score("pattern", "x")
    with pytest.raises(UserError, match="pattern_wrong"):
        score("pattern", "x", pattern="(")
    with pytest.raises(UserError, match="schema_wrong"):
        score("json", "x", schema="{")


def test_a_set_counts_what_is_left_out() -> None:
    """Right, wrong, nothing to compare with, no prediction, and neither: the mean is that of the first two."""
    rows = [{"answer": "4"}, {"answer": "5"}, {}, {"answer": "6"}, {}]
    found = score_set(build_metric("exact_match"), ["4", "4", "4", None, None], rows)
    assert found.values[:2].tolist() == [1, 0]
    assert (found.counted, found.not_applicable, found.failed, found.mean) == (2, 2, 1, 0.5)
    assert found.whole is None
    assert found.problem is None


def test_a_set_without_anything_to_count() -> None:
    for rows in ([], [{}]):
        found = score_set(build_metric("bleu"), ["x"] * len(rows), rows)
        assert (found.counted, found.not_applicable, found.failed) == (0, len(rows), 0)
        assert found.mean is None
        assert found.whole is None


def test_an_answer_that_a_pattern_takes_too_long_for_is_a_failure_not_a_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.data.answer_forms.PATTERN_SECONDS", 0.05)
    found = score_set(build_metric("pattern", {"pattern": "(a+)+$"}), ["a", "a" * 100_000 + "b", "b"], [{}] * 3)
    assert (found.mean, found.failed) == (0.5, 1)
    assert found.problem is not None
    assert found.problem.code == "pattern_slow"
    with pytest.raises(UserError, match="pattern_wrong"):
        score_set(build_metric("pattern", {"pattern": "("}), ["a"], [{}])


def test_bleu_of_a_set_is_not_the_mean_of_its_rows() -> None:
    """Words shared: 4 + 3 of 8; pairs 3 + 2 of 6; triples 2 + 1 of 4; quadruples 1 + 0 of 2."""
    metric = build_metric("bleu")
    assert isinstance(metric, SetMetric)
    found = score_set(metric, ["a b c d", "a b c d", "left out"], [{"answer": "a b c d"}, {"answer": ["a b c e", "x"]}, {}])
    assert found.whole == pytest.approx((7 / 8 * 5 / 6 * 3 / 4 * 1 / 2) ** 0.25)
    assert found.mean == pytest.approx((1 + 0.125**0.25) / 2)
    chrf = score_set(build_metric("chrf"), ["ab", "ab"], [{"answer": "ac"}, {"answer": "ab"}])
    assert chrf.whole == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_bleu_cuts_text_by_its_script() -> None:
    assert bleu_tokens("auto", ["The capital of Japan."]) == "13a"
    assert bleu_tokens("auto", ["東京は日本の首都です。"]) == "char"
    assert bleu_tokens("auto", ["北京是中国的首都。"]) == "char"
    assert bleu_tokens("intl", ["東京"]) == "intl"


def test_the_longest_common_subsequence_against_its_table() -> None:
    def by_table(left: str, right: str) -> int:
        row = [0] * (len(right) + 1)
        for a in left:
            before = row[:]
            for place, b in enumerate(right, start=1):
                row[place] = before[place - 1] + 1 if a == b else max(before[place], row[place - 1])
        return row[-1]

    texts = ["", "a", "abcbdab", "bdcaba", "aaaa", "abcdefghij" * 13, "jihgfedcba" * 11, "bca" * 40]
    for left in texts:
        for right in texts:
            assert common_subsequence_length(left, right) == by_table(left, right)


def test_words_of_scripts_with_marks() -> None:
    assert split_words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert split_words("مَرْحَبًا بك") == ["مَرْحَبًا", "بك"]
    assert split_words("กินข้าว") == ["กิ", "น", "ข้", "า", "ว"]
