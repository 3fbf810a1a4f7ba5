"""Checks of whole data sets, each with texts that must be found and texts that must not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from tunesmith.data.formats import KINDS, row_kind
from tunesmith.data.quality import CHECKS, NORMALISATIONS, QualityRules, check_quality, clean_value
from tunesmith.data.row_files import RowFile


def ask(question: str, answer: str = "Fine.") -> dict[str, Any]:
    return {"prompt": question, "completion": answer}


def found(tmp_path: Path, threshold: float = 0.85, **splits: list[dict[str, Any]]) -> dict[str, list[tuple[str, int]]]:
    """Return the rows of each check that found something, as (split, place)."""
    files = {}
    for name, rows in splits.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
        files[name] = RowFile(path)
    findings = check_quality(files, QualityRules(threshold))
    assert [f.code for f in findings] == list(CHECKS)
    return {f.code: [(s, n) for s, numbers in f.rows.items() for n in numbers] for f in findings if f.count}


LONG = "The quick brown fox jumps over the lazy dog while the sun sets slowly behind the hills of the old town"
CLEAN = [
    ask("What is the capital of Japan?", "Tokyo."), ask("日本の首都はどこですか?", "東京です。"),
    ask("Fix this:\n```python\nprint('a')\n```", "It is right."), ask("Which commit?", "3f786850e387550fdab836ed7e6dc881de23001b"),
    ask("Decode aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQgdGV4dA==", "hello world this is base64 text"),
    ask("Write to whom?", "support@example.com or admin@test.example.org"), ask("Date?", "2026-11-20 at 10:30, room 03-12"),
    ask("住所は?", "〒100-0001 東京都千代田区千代田1-1"), ask("Sum 1-2-3?", "0120 is no number of a phone here"),
    ask("Use (a) and（b）！", "はい、「AI」は人工知能です。"), ask("sk- what?", "The prefix sk-learn is a library"),
]  # fmt: skip


def test_clean_rows_raise_no_alarm(tmp_path: Path) -> None:
    assert found(tmp_path, train=CLEAN) == {}


@pytest.mark.parametrize(
    ("code", "row"),
    [
        ("secrets", ask("Key?", "Use AKIAIOSFODNN7EXAMPLE please")),
        ("secrets", ask("Key?", "token ghp_" + "a1B2" * 9)),
        ("secrets", ask("Key?", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----")),
        ("email_addresses", ask("Who?", "Ask hanako.suzuki@mail.tokyo-corp.jp")),
        ("phone_numbers", ask("Call?", "Ring 03-1234-5678")),
        ("phone_numbers", ask("Call?", "Ring +81 90 1234 5678")),
        ("mojibake", ask("何?", "縺薙ｓ縺ｫ縺｡縺ｯ")),
        ("mojibake", ask("What?", "It’s cafÃ©")),
        ("mojibake", ask("What?", "bro\ufffdken")),
        ("control_characters", ask("What?", "in\u200bvisible")),
        ("width_forms", ask("ﾃｽﾄ?", "はい")),
        ("boilerplate", ask("Why?", "As an AI language model, I have no feelings.")),
        ("boilerplate", ask("なぜ?", "申し訳ありませんが、AIなのでわかりません。")),
        ("loops", ask("Go?", "Start. " + "and then again and again, " * 12)),
        ("empty_turns", {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "Hi"}]}),
        ("one_sided", {"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "Hi"}]}),
        ("same_answers", {"prompt": "q", "chosen": "a", "rejected": "a"}),
    ],
)  # fmt: skip
def test_each_check_finds_its_own(tmp_path: Path, code: str, row: dict[str, Any]) -> None:
    assert found(tmp_path, train=[*CLEAN, row])[code] == [("train", len(CLEAN))]


FIRST, SECOND = ("What is the capital of Japan?", "Tokyo."), ("Which river flows through Paris?", "It is the Seine.")
OF_EACH_KIND: dict[str, Callable[[str, str, bool], dict[str, Any]]] = {
    "messages": lambda q, a, _: {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]},
    "preference": lambda q, a, _: {"prompt": q, "chosen": a, "rejected": "I do not know."},
    "scored": lambda q, a, _: {"prompt": q, "completions": [a, "I do not know."], "scores": [1.0, 0.0]},
    "kto": lambda q, a, good: {"prompt": q, "completion": a, "label": good},
    "prompt_completion": lambda q, a, _: {"prompt": q, "completion": a},
    "reasoning": lambda q, a, _: {"prompt": q, "reasoning_steps": ["I remember it."], "answer": a},
    "prompt_answer": lambda q, a, _: {"prompt": q, "answer": a},
    "text": lambda q, a, _: {"text": f"{q} {a}"},
    "prompt": lambda q, *_: {"prompt": q, "system": "Be short."},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_two_different_rows_of_a_kind_raise_no_alarm_and_a_repeated_one_does(tmp_path: Path, kind: str) -> None:
    rows = [OF_EACH_KIND[kind](*FIRST, True), OF_EACH_KIND[kind](*SECOND, False)]
    assert [row_kind(row) for row in rows] == [kind, kind]
    assert found(tmp_path, train=rows) == {}
    assert found(tmp_path, train=rows[:1], test=rows[1:]) == {}
    assert found(tmp_path, train=[*rows, rows[0]])["exact_duplicates"] == [("train", 2)]


def test_duplicates_keep_the_first(tmp_path: Path) -> None:
    rows = [
        ask("Tell me a story about it", LONG),
        ask("tell me a  story about it", LONG.upper()),
        ask("Tell me a story about it", LONG + "s"),
    ]
    assert found(tmp_path, train=rows)["exact_duplicates"] == [("train", 1)]
    assert found(tmp_path, train=rows)["near_duplicates"] == [("train", 2)]
    assert "near_duplicates" not in found(tmp_path, threshold=1.0, train=rows)


def test_japanese_near_duplicates_need_no_spaces(tmp_path: Path) -> None:
    text = "東京は日本の首都で、世界でも有数の大都市です。歴史ある寺社と新しい高層ビルが並び、多くの人々が訪れています。"
    rows = [
        {"text": text},
        {"text": text.replace("大都市", "都市")},
        {"text": "大阪は西日本の中心となる都市で、食べ物がおいしいことで知られています。"},
    ]
    assert found(tmp_path, threshold=0.7, train=rows) == {"near_duplicates": [("train", 1)]}


def test_a_leak_goes_from_what_is_trained(tmp_path: Path) -> None:
    train = [ask("One?", "1"), ask("two?", "zwei"), ask("Tell me a story about it", LONG), ask("Else?", "no")]
    made = found(tmp_path, train=train, valid=[ask("Two?", "2")], test=[ask("One?", "1"), ask("Tell me a story about it!", LONG)])
    assert made == {"leakage": [("train", 0), ("train", 1), ("train", 2)]}


def test_another_answer_to_the_same_question_is_a_hint(tmp_path: Path) -> None:
    assert found(tmp_path, train=[ask("One?", "1"), ask("One?", "eins")]) == {"repeated_prompts": [("train", 1)]}


def test_rare_languages(tmp_path: Path) -> None:
    rows = [{"text": f"これは{n}番目の日本語の文章です。"} for n in "一二三四五六七八九十百千"]
    assert found(tmp_path, threshold=1.0, train=[*rows, {"text": "This one is English"}]) == {"language_mix": [("train", 12)]}


def test_very_long_rows_and_labels(tmp_path: Path) -> None:
    rows = [{"prompt": f"q {n} " + "x" * n, "completion": f"a{n}", "label": n > 0} for n in range(20)]
    made = found(tmp_path, train=[*rows, {"text": "\n".join(f"{n} bottles" for n in range(500))}])
    assert made["very_long"] == [("train", 20)]
    assert "label_imbalance" in made


def test_texts_are_cleaned_and_nothing_else() -> None:
    row = {"messages": [{"role": "user", "content": " ﾃｽﾄ\u200b a@b.co.jp "}, {"role": "assistant", "content": "ok"}], "note": " ﾃｽﾄ "}
    cleaned, changed = clean_value(row, tuple(NORMALISATIONS))
    assert cleaned["messages"] == [{"role": "user", "content": "テスト [EMAIL]"}, {"role": "assistant", "content": "ok"}]
    assert cleaned["note"] == " ﾃｽﾄ "
    assert changed == {"nfkc", "strip_controls", "mask_emails", "trim"}
    assert clean_value(cleaned, tuple(NORMALISATIONS)) == (cleaned, set())
    assert row["messages"][0]["content"].startswith(" ﾃ")
