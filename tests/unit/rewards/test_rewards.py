"""Every built-in reward function against values worked out by hand."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tunesmith.errors import UserError
from tunesmith.training.rewards.registry import REWARDS, build_reward
from tunesmith.training.rewards.spec import Completion, RewardSpec


def score(function: str, text: str, row: Mapping[str, Any] | None = None, tokens: int = 0, truncated: bool = False, **options: Any) -> Any:
    return build_reward(RewardSpec(function, options=options)).score(Completion(text, tokens, truncated), row or {})


def refused(function: str, text: str = "x", **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        score(function, text, **options)
    return caught.value


@pytest.mark.parametrize(
    ("text", "answer", "reward"),
    [
        ("<answer>16</answer>", "16", 1), ("so \\boxed{16}.", 16, 1), ("#### 16", "7 + 9 = 16\n#### 16", 1), ("hm\n16.", "16", 1),
        ("Paris", "paris", 1), ("１６", "16", 1), ("東京。", "東京", 1), ("It is 16", "16", 0), ("", "16", 0),
        ("<think>16</think>", "16", 0),
        ("16", None, None), ("16", "", None), ("", ".", 0), ("1234", "... #### 1,234", 0), ("1,234", "... #### 1,234", 1),
    ],
)  # fmt: skip
def test_exact_match(text: str, answer: object, reward: float | None) -> None:
    assert score("exact_match", text, {"answer": answer}) == reward


def test_exact_match_looks_where_it_is_told() -> None:
    text = "<answer>1</answer>\n\\boxed{2}\n3"
    assert score("exact_match", text, {"answer": "2"}, place="boxed") == 1
    assert score("exact_match", text, {"answer": "3"}, place="last_line") == 1
    assert score("exact_match", text, {"answer": "3"}, place="whole") == 0
    assert score("exact_match", "3", {"answer": "3"}, place="tag") == 0
    assert score("exact_match", "3", {"solution": "3"}, column="solution") == 1
    assert score("exact_match", "3", {"answer": "3"}, column="solution") is None


@pytest.mark.parametrize(
    ("text", "answer", "tolerance", "reward"),
    [
        ("It is 1234.", "… #### 1,234", 0, 1), ("1234.0", 1234, 0, 1), ("1/2", 0.5, 0, 1), ("\\boxed{\\frac{1}{2}}", "0.5", 0, 1),
        ("50%", "50", 0, 1), ("5-3", "-3", 0, 0), ("-3", "-3", 0, 1), ("＋３", 3, 0, 1), ("1e3", "1000", 0, 1),
        ("none", "16", 0, 0), ("16", "no number", 0, None), ("16", None, 0, None), ("16", "1" * 100, 0, None), ("1" * 100, "16", 0, 0),
        ("101", "100", 0.01, 1), ("101.1", "100", 0.01, 0), ("99", "100", 0.01, 1), ("-101", "-100", 0.01, 1), ("129", "100", 0.29, 1),
        ("0", "0", 0.5, 1), ("0.001", "0", 0.5, 0), ("16\nDone.", "16", 0, 0), ("0.1", 0.1, 0, 1),
    ],
)  # fmt: skip
def test_numeric(text: str, answer: object, tolerance: float, reward: float | None) -> None:
    assert score("numeric", text, {"answer": answer}, tolerance=tolerance) == reward


@pytest.mark.parametrize(
    ("text", "answer", "reward"),
    [
        ("The answer is (B).", "B", 1), ("the answer is B", "(B)", 1), ("B", "B) green", 1), ("B. Vitamin C", "B", 1),
        ("it is B) Vitamin C", "B", 1), ("I think it is B", "B", 1), ("答えはＢです", "B", 1), ("\\boxed{\\text{B}}", "B", 1),
        ("A or B", "B", 0), ("(A), (B), (C)", "B", 0), ("A", "B", 0), ("b", "B", 0), ("", "B", 0), ("Because", "B", 0), ("B's", "B", 0),
        ("I", "I", 1), ("(I) and me", "I", 1), ("B", "none", None), ("B", None, None), ("A: B", "B", 0),
    ],
)  # fmt: skip
def test_multiple_choice(text: str, answer: object, reward: float | None) -> None:
    assert score("multiple_choice", text, {"answer": answer}) == reward


@pytest.mark.parametrize(
    ("text", "answer", "reward"),
    [
        ("Eiffel Tower", "the Eiffel Tower", 4 / 5), ("the cat the cat", "the cat", 4 / 6), ("dog", "cat", 0), ("", "cat", 0),
        ("東京", "東京都", 4 / 5), ("大阪", "東京", 0), ("cat", None, None), ("cat", "!", None), ("<think>cat</think> dog", "dog", 1),
    ],
)  # fmt: skip
def test_shared_words(text: str, answer: object, reward: float | None) -> None:
    assert score("f1", text, {"answer": answer}) == (reward if reward is None else pytest.approx(reward))


GOOD = "<think>\nwhy\n</think>\n<answer>\n16\n</answer>"


@pytest.mark.parametrize(
    ("text", "strict", "soft"),
    [
        (GOOD, 1, 1), (GOOD + "\n \n", 1, 1), ("<think>a</think> <answer>b</answer>", 0, 1), (f"well\n{GOOD}", 0, 1), (GOOD + " so", 0, 1),
        (GOOD * 2, 0, 1), (f"<think>\n{GOOD}", 0, 1), ("<think>\n<think>\na\n</think>\n<answer>\nb\n</answer>", 0, 1),
        ("<answer>\nb\n</answer>\n<think>\na\n</think>", 0, 0), (GOOD.replace("why", " "), 0, 0), (GOOD.replace("16", ""), 0, 0),
        ("<think></think><answer></answer> x </answer>", 0, 0), ("<think>a</think> so <answer>b</answer>", 0, 0),
        ("<think>a<answer>b</answer></think>", 0, 0), ("<think>a</think><answer>b", 0, 0), ("<think><answer>", 0, 0), ("", 0, 0),
        ("16", 0, 0),
        (GOOD.replace("why", "why\n\n\nwhat"), 1, 1), (GOOD.replace("why", "1 < 2 > 0 <b>"), 1, 1), (GOOD.upper(), 0, 0),
    ],
)  # fmt: skip
def test_think_and_answer_tags(text: str, strict: float, soft: float) -> None:
    assert (score("format_strict", text), score("format_soft", text)) == (strict, soft)


@pytest.mark.parametrize(
    "text",
    [GOOD.replace("why", "why " * 250_000), "<think>" * 50_000, "<think>a</think>" * 50_000, "<think>\na\n</think>\n<answer>" * 20_000],
    ids=["long", "open", "thoughts", "answers"],
)
def test_tags_without_end_cost_no_time(text: str) -> None:
    begin = time.process_time()
    expected = 1 if "</answer>" in text else 0
    assert (score("format_strict", text), score("format_soft", text)) == (expected, expected)
    assert time.process_time() - begin < 5.0


def test_a_pattern() -> None:
    assert score("pattern", "call 555-1234", pattern=r"\d{3}-\d{4}") == 1
    assert score("pattern", "call 555-1234", pattern=r"^\d{3}-\d{4}$") == 0
    assert score("pattern", "<answer>555</answer> 1", pattern=r"^\d+$", place="tag") == 1
    assert score("pattern", "555", pattern=r"\d", place="tag") == 0
    assert score("pattern", "<think>555</think>", pattern=r"\d") == 0


@pytest.mark.parametrize("pattern", ["(", "[a-", r"\p{Nope}", "a{99999999999}", "(?ua)x", "(" * 5000, "((a{1000}){1000}){1000}", r"\g<1>"])
def test_a_wrong_pattern(pattern: str) -> None:
    error = refused("pattern", pattern=pattern, place="tag")
    assert error.code == "pattern_wrong"
    assert error.facts["pattern"] == pattern[:100]
    assert error.facts["reason"]


def test_a_slow_pattern_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.data.answer_forms.PATTERN_SECONDS", 0.1)
    begin = time.process_time()
    assert refused("pattern", "a" * 100_000 + "b", pattern="(a+)+$").code == "pattern_slow"
    assert time.process_time() - begin < 1.5
    assert score("pattern", "aa", pattern="(a+)+$") == 1


def test_an_empty_pattern() -> None:
    assert refused("pattern").facts == {"option": "pattern"}


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ('{"age": 3}', 1), ('{"age": "3"}', 0.5), ("[]", 0.5), ("{age: 3}", 0), ("", 0), ("NaN", 0), ("1e400", 0), ("[" * 5000, 0),
        ('Here:\n```json\n{"age": 3}\n```\nDone.', 1), ("```\n[]```", 0.5), ("```json\n{", 0), ("``````", 0), ('"\\ud800"', 0),
        ('<think>{"age": "x"}</think>{"age": 3}', 1),
    ],
)  # fmt: skip
def test_json_by_schema(text: str, reward: float) -> None:
    schema = '{"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}'
    assert score("json_schema", text, schema=schema) == reward


@pytest.mark.parametrize(
    "schema",
    ["", "{", "3", '{"type": "objekt"}', '{"$ref": "#"}', '{"$ref": "#/missing"}', '{"pattern": "("}', "[" * 2000, '{"$ref": "x y"}'],
)
def test_a_wrong_schema(schema: str) -> None:
    error = refused("json_schema", "1", schema=schema)
    assert error.code == "schema_wrong"
    assert error.facts["reason"]


def test_nothing_is_fetched_for_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(*args: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", reached)
    monkeypatch.setattr(socket, "getaddrinfo", reached)
    inner = '{"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}'
    assert score("json_schema", "1", schema=inner) == 1  # nothing in the answer leads there
    assert refused("json_schema", '{"a": 1}', schema=inner).code == "schema_wrong"
    assert refused("json_schema", "1", schema='{"$ref": "file:///etc/passwd"}').code == "schema_wrong"


@pytest.mark.parametrize(
    "schema",
    [
        '{"pattern": "^(a|a)*$"}', '{"patternProperties": {"^(a|a)*$": {}}}',
        '{"additionalProperties": false, "patternProperties": {"^(a|a)*$": {}}}',
    ],
)  # fmt: skip
def test_slow_patterns_of_a_schema_are_stopped(schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.data.answer_forms.PATTERN_SECONDS", 0.05)
    word = "a" * 60_000 + "b"
    text = f'{{"{word}": 1}}' if "Properties" in schema else f'"{word}"'
    begin = time.process_time()
    with contextlib.suppress(UserError):  # either is right, only waiting is not
        assert score("json_schema", text, schema=schema) == 0.5
    assert time.process_time() - begin < 1.0


def test_patterns_of_a_schema_count() -> None:
    schema = '{"patternProperties": {"^n": {"type": "integer"}, "": true}, "properties": {"x": {"pattern": "^a"}}}'
    assert [score("json_schema", text, schema=schema) for text in ('{"n1": 1}', '{"n1": "1"}', '{"x": "ab"}', '{"x": "b"}')] == [
        1,
        0.5,
        1,
        0.5,
    ]
    closed = '{"properties": {"a": {}}, "patternProperties": {"^n": {}}, "additionalProperties": false}'
    assert [score("json_schema", text, schema=closed) for text in ('{"a": 1, "n": 2}', '{"b": 1}')] == [1, 0.5]
    assert score("json_schema", "[" * 900 + "]" * 900, schema='{"items": {"$ref": "#"}}') in {0.5, 1.0}


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("1. a\n2) b\n３．c", 1), ("Step 1: a", 1 / 3), ("**Step 1:** a\n## Step 2", 2 / 3), ("- a\n* b\n• c\n- d", 1),
        ("First, a\n then b\nFinally c", 1), ("手順1 a\n手順 2 b", 2 / 3), ("3.14 is pi", 0), ("Thence", 0), ("a. b", 0), ("", 0),
    ],
)  # fmt: skip
def test_reasoning_steps(text: str, reward: float) -> None:
    assert score("step_count", text) == pytest.approx(reward)


@pytest.mark.parametrize(("tokens", "reward"), [(0, 0), (50, 0.5), (100, 1), (150, 0.5), (200, 0), (5000, 0)])
def test_the_target_length(tokens: int, reward: float) -> None:
    assert build_reward(RewardSpec("target_length", options={"tokens": 100})).score(Completion("", tokens), {}) == reward


@pytest.mark.parametrize(
    ("tokens", "reward"), [(0, 0), (16384, 0), (16385, -1 / 4096), (18432, -0.5), (20480, -1), (20481, -1), (99999, -1)]
)
def test_the_punishment_of_long_answers_is_that_of_dapo(tokens: int, reward: float) -> None:
    """Its numbers: 20,480 tokens at most, the last 4,096 of them punished."""
    assert score("soft_overlong", "", tokens=tokens, longest=20480, buffer=4096) == pytest.approx(reward)


def test_a_cut_answer_is_too_long() -> None:
    assert score("soft_overlong", "", tokens=3, truncated=True) == -1
    assert [score("soft_overlong", "", tokens=n, longest=10, buffer=64) for n in (0, 5, 10)] == [0, -0.5, -1]
    assert str(score("soft_overlong", "")) == "0.0"


@pytest.mark.parametrize(
    ("text", "words", "reward"),
    [
        ("a b c d", 3, 0), ("a b a b a b", 2, 2 / 5 - 1), ("a a a a a", 1, 1 / 5 - 1), ("a b", 3, 0), ("", 3, 0),
        ("東京東京東京", 2, 2 / 5 - 1), ("A b. a B", 2, 2 / 3 - 1),
    ],
)  # fmt: skip
def test_repetition(text: str, words: int, reward: float) -> None:
    assert score("repetition", text, words=words) == pytest.approx(reward)


def test_keywords() -> None:
    assert score("keywords", "Therefore X.", wanted=["therefore", "because"]) == 0.5
    assert score("keywords", "Ｔｈｅｒｅｆｏｒｅ", wanted=["therefore"]) == 1
    assert score("keywords", "therefore, damn", wanted=["therefore"], forbidden=["damn"]) == 0
    assert score("keywords", "fine", forbidden=["damn"]) == 1
    assert score("keywords", "", forbidden=["damn"]) == 0
    assert score("keywords", "in 2024", wanted=[2024, ""]) == 1
    assert refused("keywords").facts == {"option": "wanted"}
    assert refused("keywords", wanted=["", " "]).code == "reward_option_empty"
    assert refused("keywords", wanted=[True]).code == refused("keywords", forbidden=[["a"]]).code == "setting_type"


@pytest.mark.parametrize(
    ("text", "language", "reward"),
    [
        ("これは本です", "ja", 1), ("this is a book", "ja", 0), ("this is a book", "latin", 1), ("这是一本书", "zh", 1),
        ("이것은 책이다", "ko", 1), ("это книга", "ru", 1), ("هذا كتاب", "ar", 1), ("", "latin", 0), ("123 !", "ja", 0),
    ],
)  # fmt: skip
def test_the_language(text: str, language: str, reward: float) -> None:
    assert score("language", text, language=language) == reward


def test_a_rubric() -> None:
    criteria = ["2 contains: Because", "lacks: sorry", "matches: ^[A-Z]", "words_at_least: 3", "0.5 words_at_most: 4"]
    assert score("rubric", "Because it is so late", criteria=criteria) == pytest.approx(5 / 5.5)
    assert score("rubric", "sorry", criteria=criteria) == pytest.approx(0.5 / 5.5)
    assert score("rubric", "", criteria=criteria) == 0
    assert score("rubric", "a: b", criteria=["contains: a: b"]) == 1
    assert score("rubric", "a", criteria=["  2   contains :a"]) == 1
    assert refused("rubric").facts == {"option": "criteria"}
    assert refused("rubric", criteria=["matches: ("]).code == "pattern_wrong"
    assert refused("rubric", criteria=[3]).code == "setting_type"


@pytest.mark.parametrize(
    "line",
    [
        "", ":", "contains", "contains:", "contains:  ", "holds: a", "0 contains: a", "-1 contains: a", "nan contains: a",
        "inf contains: a",
        "1e9 contains: a", "two contains: a", "1 2 contains: a", "words_at_least: many", "words_at_least: 2.5", "words_at_most: -1",
        "words_at_best: 3", "words_at_least: " + "1" * 5000, "Contains: a",
    ],
)  # fmt: skip
def test_a_malformed_criterion(line: str) -> None:
    error = refused("rubric", criteria=["contains: a", line])
    assert (error.code, error.facts["criterion"]) == ("reward_criterion_wrong", line[:100])


def test_options_are_checked() -> None:
    for name in REWARDS:
        assert refused(name, nonsense=1).code == "setting_unknown"
    assert refused("numeric", tolerance="much").code == refused("step_count", steps="3").code == "setting_type"
    assert refused("keywords", wanted="therefore").code == refused("pattern", pattern=3).code == "setting_type"
    assert refused("numeric", tolerance=float("nan")).code == refused("step_count", steps=0).code == "setting_too_small"
    assert refused("numeric", tolerance=2).code == "setting_too_large"
    assert refused("exact_match", place="somewhere").code == refused("language", language="en").code == "setting_choice"
    assert refused("nonsense").code == "reward_unknown"
