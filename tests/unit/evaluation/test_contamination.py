"""Evaluation prompts in training rows: the same, nearly the same, and not at all; the lookup against all pairs."""

from __future__ import annotations

import random

from tunesmith.data.near_duplicates import NearTexts, jaccard, shingle_hashes
from tunesmith.evaluation.contamination import Match, find_contamination

LONG = "A farmer has seventeen sheep and all but nine of them run away during the storm. How many sheep does the farmer have left?"


def asked(*texts: str) -> list[dict[str, object]]:
    return [{"prompt": text} for text in texts]


def test_the_same_prompt_in_any_form_of_row() -> None:
    prompts = [{"prompt": "What is the capital of France?", "answer": "Paris"}, {"prompt": "日本の首都はどこですか？"}, {"prompt": "Who?"}]
    training = [
        {"prompt": "Something else entirely", "completion": "yes"},
        {"messages": [{"role": "user", "content": "what is  the capital of FRANCE?"}, {"role": "assistant", "content": "Lyon"}]},
        {"prompt": "日本の首都はどこですか?", "chosen": "東京", "rejected": "大阪"},
        {"text": "Who? Nobody knows."},
    ]
    found = find_contamination(prompts, training)
    assert found.matches == [Match(0, 1, 1.0, True), Match(1, 2, 1.0, True)]
    assert (found.prompts, found.training_rows, found.exact, found.share) == (3, 4, 2, 2 / 3)


def test_a_turn_of_a_conversation_counts() -> None:
    turns = [("user", "Hello there"), ("assistant", "Hi"), ("user", "Name three rivers"), ("assistant", "Rhine, Elbe, Oder")]
    training = [{"messages": [{"role": role, "content": text} for role, text in turns]}]
    found = find_contamination(asked("Name three rivers.", "Rhine, Elbe, Oder", "Hello there"), training)
    assert [(m.prompt, m.exact) for m in found.matches] == [(0, True), (2, True)]


def test_near_prompts_are_told_with_their_similarity() -> None:
    changed = LONG.replace("seventeen", "eighteen")
    left, right = set(_pieces(LONG)), set(_pieces(changed))
    found = find_contamination(asked(LONG), asked("Nothing alike", changed, "Nothing alike"))
    assert found.matches == [Match(0, 1, len(left & right) / len(left | right), False)]
    assert 0.85 <= found.matches[0].similarity < 1
    assert (found.exact, found.share) == (0, 1.0)
    assert not find_contamination(asked(LONG), asked(changed), threshold=0.99).matches
    best = find_contamination(asked(LONG), asked(changed, LONG, LONG)).matches
    assert best == [Match(0, 1, 1.0, True)]


def _pieces(text: str) -> list[str]:
    text = text.casefold()[:-1] + "?"
    return [text[i : i + 5] for i in range(len(text) - 4)]


def test_prompts_that_are_near_each_other_are_all_found() -> None:
    prompts = [LONG, LONG.replace("sheep", "goats"), LONG, LONG.replace("storm", "stork")]
    found = find_contamination(asked(*prompts), asked(*["x" * 9] * 600, prompts[1], LONG))
    exact = {match.prompt: match.training_row for match in found.matches if match.exact}
    assert exact == {0: 601, 1: 600, 2: 601}
    assert [match.prompt for match in found.matches] == [0, 1, 2, 3]


def test_nothing_to_compare() -> None:
    for prompts, training in (([], asked("a")), (asked("a"), []), ([], [])):
        assert not find_contamination(prompts, training).matches
    assert find_contamination([], asked("a")).share is None
    assert find_contamination(asked("a"), []).share == 0
    assert not find_contamination(asked("", "?"), [{"messages": []}, {"prompt": ""}, {"other": 1}]).matches


def test_it_tells_how_far_it_is() -> None:
    told: list[int] = []
    found = find_contamination(asked("a"), (row for row in asked(*map(str, range(1200)))), told=told.append)
    assert found.training_rows == 1200
    assert told == [512, 1024, 1200]


def test_the_lookup_finds_what_all_pairs_give() -> None:
    chance = random.Random(5)
    texts = ["".join(chance.choices("abcdefghij ", k=120)) for _ in range(30)]
    texts += [text[:60] + chance.choice("xyz") + text[61:] for text in texts[:15]]
    asked_for = [text[:30] + chance.choice("xyz") + text[31:] for text in texts for _ in range(3)]
    known = [shingle_hashes(text) for text in texts]
    alike = [[(n, jaccard(hashes, other)) for n, other in enumerate(known)] for hashes in map(shingle_hashes, asked_for)]
    expected = [[(n, similarity) for n, similarity in of_one if similarity >= 0.85] for of_one in alike]
    found = list(NearTexts(texts, 0.85).find(asked_for))
    assert sum(map(len, expected)) >= 135
    assert all(set(few) <= set(all_of) for few, all_of in zip(found, expected, strict=True))
    assert sum(map(len, found)) >= 0.98 * sum(map(len, expected))
    assert list(NearTexts([], 0.85).find(["a"])) == [[]]
