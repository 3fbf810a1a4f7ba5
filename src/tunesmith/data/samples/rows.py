"""Facts in the columns of each kind of row, and as files to download."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import orjson

from tunesmith.data.samples.facts import FACTS, Fact, draw_facts

DOMAINS = tuple(FACTS)
MOST_ROWS = 10
Make = Callable[[Fact, Fact], dict[str, Any]]  # of a fact and the one before it


def _chat(fact: Fact, other: Fact) -> dict[str, Any]:
    asked = [{"role": "user", "content": other.question}, {"role": "assistant", "content": other.sentence}]
    system = {"role": "system", "content": "Answer briefly and correctly."}
    return {"messages": [system, *asked, {"role": "user", "content": fact.question}, {"role": "assistant", "content": fact.sentence}]}


MAKERS: dict[str, Make] = {
    "chat": _chat,
    "prompt_completion": lambda fact, _: {"prompt": fact.question, "completion": fact.sentence},
    "instruction": lambda fact, _: {"instruction": fact.question, "input": "", "output": fact.sentence},
    "text": lambda fact, _: {"text": f"{fact.question}\n{fact.sentence}"},
    "preference": lambda fact, _: {"prompt": fact.question, "chosen": fact.sentence, "rejected": fact.worse},
    "prompt_answer": lambda fact, _: {"prompt": fact.question, "answer": fact.answer},
    "reasoning": lambda fact, _: {"problem": fact.question, "reasoning_steps": list(fact.steps), "solution": fact.answer},
    "scored": lambda fact, _: {"prompt": fact.question, "completions": [fact.worse, fact.sentence], "scores": [0.0, 1.0]},
}
KINDS = (*MAKERS, "kto")
_SHORT_ANSWERS = ("prompt_answer", "reasoning")  # an answer that a reward function can compare


def domains_of(kind: str) -> tuple[str, ...]:
    """Return the domains that have rows of a kind: answers to be compared are short, steps are worth showing where one computes."""
    return tuple(d for d in DOMAINS if kind not in _SHORT_ANSWERS or d not in {"support", "translation", "law"})


def sample_rows(kind: str, domain: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Return different, correct rows of a kind and domain; the same seed gives the same."""
    facts = draw_facts(domain, count, seed)
    if kind == "kto":  # good and bad answers in turn
        return [{"prompt": f.question, "completion": f.worse if n % 2 else f.sentence, "label": not n % 2} for n, f in enumerate(facts)]
    return [MAKERS[kind](fact, facts[number - 1]) for number, fact in enumerate(facts)]


def is_flat(kind: str) -> bool:
    """Say whether a kind's rows fit into a table."""
    return not any(isinstance(value, list) for value in sample_rows(kind, domains_of(kind)[0], 1, 0)[0].values())


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    """Return rows as JSON lines."""
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """Return flat rows as CSV in UTF-8 with a byte order mark, which Excel needs to see that it is UTF-8."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8-sig")
