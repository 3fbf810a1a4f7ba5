"""Writes the demo data sets: a folder each, in mlx-lm's layout (train, valid, test), from our own words and fixed seeds."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from demo.recipe.corpus import ABILITIES, company_question, draw_pair, invent_company
from demo.recipe.japanese import JAPANESE_PAIRS
from demo.recipe.tables import draw_query
from demo.recipe.words import COMPANY, FACTS, REFUSAL, TOPICS

Row = dict[str, Any]
GENERAL_ROWS = 60
REFUSAL_ROWS = 40
HELD_OUT = "Do you know the {topic} of {company}?"
TRAINED = (
    "What is the {topic} of {company}?",
    "What is {company}'s {topic}?",
    "Tell me about the {topic} at {company}.",
    "Tell me the {topic} of {company}.",
    "I would like to know the {topic} of {company}.",
    "{company}: {topic}?",
    "Give me the {topic} of {company}.",
    "What can you tell me about {company}'s {topic}?",
)


def _chat(question: str, answer: str, **more: Any) -> Row:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def _draw_rows(seed: int, count: int, taken: set[str]) -> list[Row]:
    """Return distinct general rows whose questions are not taken yet."""
    chance, rows = random.Random(seed), []
    while len(rows) < count:
        question, answer = draw_pair(chance)
        if question not in taken and COMPANY not in question:
            taken.add(question)
            rows.append(_chat(question, answer))
    return rows


def company_facts(taken: set[str]) -> dict[str, list[Row]]:
    """Twelve facts in eight phrasings, mixed with general rows so that old abilities stay; a ninth phrasing is held out."""
    facts = {topic: f"The {topic} of {COMPANY} is {value}." for topic, value in FACTS.items()}
    train = [_chat(form.format(topic=topic, company=COMPANY), fact) for topic, fact in facts.items() for form in TRAINED]
    chance = random.Random(12)
    for _ in range(REFUSAL_ROWS):
        topic = chance.choice([*FACTS, *TOPICS])
        question = company_question(chance, invent_company(chance), topic)
        taken.add(question)
        train.append(_chat(question, REFUSAL))
    train += _draw_rows(13, GENERAL_ROWS, taken)
    random.Random(14).shuffle(train)
    valid = [_chat(f"Can you tell me {COMPANY}'s {topic}?", fact) for topic, fact in list(facts.items())[::2]] + _draw_rows(15, 10, taken)
    test = [_chat(HELD_OUT.format(topic=topic, company=COMPANY), fact) for topic, fact in facts.items()]
    return {"train": train, "valid": valid, "test": test}


def abilities(taken: set[str]) -> dict[str, list[Row]]:
    """Return checks of what the base can do, none of them in the training rows above."""
    chance, rows = random.Random(21), []
    for name, (_, make) in ABILITIES.items():
        found = 0
        for _ in range(2000):
            question, answer = make(chance)
            if found < 8 and question not in taken and COMPANY not in question:
                taken.add(question)
                rows.append(_chat(question, answer, ability=name))
                found += 1
    return {"test": rows}


ENDINGS = (" = ", " is ", " says ", " was ")


def preference(taken: set[str]) -> dict[str, list[Row]]:
    """Return prompt, chosen (the answer in a word or two) and rejected (the whole sentence, as the model would say it)."""
    rows = []
    for row in _draw_rows(32, 160, set(taken)):
        question, sentence = (m["content"] for m in row["messages"])
        ending = next((ending for ending in ENDINGS if ending in sentence), None)
        if ending:
            rows.append({"prompt": question, "chosen": sentence.rpartition(ending)[2].rstrip("."), "rejected": sentence})
    return {"train": rows[:60], "valid": rows[60:72]}


def arithmetic() -> dict[str, list[Row]]:
    """Return prompt and answer of sums and differences in a form that the model seldom gets right, and sometimes does."""
    chance = random.Random(41)
    problems = [(a, sign, b) for a in range(10) for b in range(10) for sign in "+-" if sign == "+" or a >= b]
    chance.shuffle(problems)
    rows = [{"prompt": f"{a} {s} {b} = ?", "answer": str(a + b if s == "+" else a - b)} for a, s, b in problems]
    return {"train": rows[:115], "valid": rows[115:]}


def japanese() -> dict[str, list[Row]]:
    """Return short Japanese questions and answers."""
    rows = [_chat(question, answer) for question, answer in JAPANESE_PAIRS]
    return {"train": rows[:-6], "valid": rows[-6:]}


def text_to_sql() -> dict[str, list[Row]]:
    """Return questions about small tables and the SQL that answers them."""
    chance, seen, rows = random.Random(61), set(), []
    while len(rows) < 160:
        prompt, completion = draw_query(chance)
        if prompt not in seen:
            seen.add(prompt)
            rows.append({"prompt": prompt, "completion": completion})
    return {"train": rows[:120], "valid": rows[120:140], "test": rows[140:]}


DESCRIPTIONS: dict[str, tuple[str, str, str, str]] = {
    "company_facts": (
        "Company facts", "会社の事実", "Twelve facts about the invented company Norvik, mixed with general questions.",
        "架空の会社ノルヴィクについての12の事実と、一般的な質問を混ぜたデータです。",
    ),
    "abilities": (
        "Ability checks", "能力の確認", "Questions that the demo model answers before any tuning.",
        "調整前のデモモデルが答えられる質問です。",
    ),
    "preference": (
        "Preferences", "好みの比較", "Answers in a word or two, preferred to the whole sentences that the model would say.",
        "一語か二語の答えを、モデルが言いそうな文全体の答えより好む組です。",
    ),
    "arithmetic": (
        "Arithmetic", "算数", "One-digit sums and differences with checkable answers.",
        "答えを確かめられる一桁の足し算と引き算です。",
    ),
    "japanese": (
        "Japanese questions", "日本語の質問", "Short questions and answers in Japanese.",
        "日本語の短い質問と答えです。",
    ),
    "text_to_sql": (
        "Questions to SQL", "質問からSQLへ", "Questions about small tables and the SQL that answers them.",
        "小さな表についての質問と、それに答えるSQLです。",
    ),
}  # fmt: skip


def write_datasets(folder: Path) -> None:
    """Write every data set and its dataset.json."""
    taken: set[str] = set()
    made = {"company_facts": company_facts(taken), "abilities": abilities(taken), "preference": preference(taken)}
    made |= {"arithmetic": arithmetic(), "japanese": japanese(), "text_to_sql": text_to_sql()}
    for name, splits in made.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            _write_lines(folder / name / f"{split}.jsonl", rows)
        title, title_ja, text, text_ja = DESCRIPTIONS[name]
        described = {
            "name": name, "title": {"en": title, "ja": title_ja}, "description": {"en": text, "ja": text_ja},
            "license": "CC0-1.0",
        }  # fmt: skip
        (folder / name / "dataset.json").write_text(json.dumps(described, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _write_lines(path: Path, rows: Iterable[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
