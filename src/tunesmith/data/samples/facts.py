"""What sample rows speak of: a question, its right answer, the steps to it, and a worse answer. Each domain makes them by a seed.

Answers are computed or fixed facts, so that they are right; a worse answer is wrong or unhelpful by its making.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fact:
    """A question, the short right answer, a full sentence of it, the steps that lead there where one computes, and a worse answer."""

    question: str
    answer: str
    sentence: str
    steps: tuple[str, ...]
    worse: str


def _arithmetic(chance: random.Random) -> Fact:
    shirts, price, paid = chance.randint(2, 9), chance.randint(3, 25), 300
    total = shirts * price
    return Fact(
        f"A shirt costs {price} dollars. Mia buys {shirts} shirts and pays with {paid} dollars. How much change does she get?",
        str(paid - total), f"She gets {paid - total} dollars back.",
        (f"{shirts} shirts cost {shirts} × {price} = {total} dollars.", f"The change is {paid} - {total} = {paid - total} dollars."),
        f"She gets {paid - total + 10} dollars back.",
    )  # fmt: skip


def _japanese_arithmetic(chance: random.Random) -> Fact:
    apples, price = chance.randint(2, 12), chance.randint(5, 30) * 10
    total = apples * price
    return Fact(
        f"1個{price}円のりんごを{apples}個買いました。代金はいくらですか。", f"{total}円", f"代金は{total}円です。",
        (f"1個の値段は{price}円です。", f"{apples}個では {price} × {apples} = {total} 円になります。"), f"代金は{total + price}円です。",
    )  # fmt: skip


_CALLS: tuple[tuple[str, Callable[[list[str]], object], str], ...] = (
    ("len({words})", len, "counts the elements"),
    ("sorted({words})", sorted, "puts them in order"),
    ("{words}[-1]", lambda words: words[-1], "takes the last element"),
    ("'-'.join({words})", "-".join, "joins them by dashes"),
    ("{words}[::-1]", lambda words: words[::-1], "reverses the order"),
    ("max({words}, key=len)", lambda words: max(words, key=len), "takes the first of the longest"),
)
_WORDS = ("tea", "apple", "river", "sun", "window", "garden", "stone", "cloud", "lamp", "forest", "ink", "harbour")


def _code(chance: random.Random) -> Fact:
    words = chance.sample(_WORDS, 3)
    pattern, compute, does = chance.choice(_CALLS)
    expression, value = pattern.format(words=words), str(compute(words))
    wrong = chance.choice(sorted({str(other(words)) for _, other, _ in _CALLS} - {value}))
    return Fact(
        f"What does this Python line print?\n```python\nprint({expression})\n```", value, f"It prints `{value}`.",
        (f"The list is {words}.", f"The expression {does}, which gives {value}."), f"It prints `{wrong}`.",
    )  # fmt: skip


_TOPICS: dict[str, list[tuple[str, str, str]]] = tomllib.loads(Path(__file__).with_name("topics.toml").read_text(encoding="utf-8"))


def _say(domain: str, answer: str) -> str:
    """Return a short answer as a sentence; those of some domains are sentences already."""
    if domain in {"support", "translation"}:
        return answer
    return f"{answer}です。" if domain == "japanese" else f"{answer[0].upper()}{answer[1:]}."


def _listed(domain: str) -> Callable[[random.Random], Fact]:
    def draw(chance: random.Random) -> Fact:
        question, answer, wrong = chance.choice(_TOPICS[domain])
        sentence, worse = (_say(domain, text) for text in (answer, wrong))
        return Fact(question, answer, sentence, (), worse)

    return draw


FACTS: dict[str, Callable[[random.Random], Fact]] = {name: _listed(name) for name in _TOPICS} | {
    "mathematics": _arithmetic, "code": _code, "japanese_mathematics": _japanese_arithmetic,
}  # fmt: skip


def draw_facts(domain: str, count: int, seed: int) -> list[Fact]:
    """Return different facts of a domain, at most as many as it has."""
    chance = random.Random(f"{domain}/{seed}")
    facts: dict[str, Fact] = {}
    for _ in range(60 * count):
        fact = FACTS[domain](chance)
        facts.setdefault(fact.question, fact)
        if len(facts) == count:
            break
    return list(facts.values())
