"""Facts in the columns of each kind of row, and as files to download."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import orjson

from tunesmith.data.samples.facts import FACTS, Fact, draw_facts

DOMAINS = tuple(FACTS)
MOST_ROWS = 20
Make = Callable[[Fact, Fact], dict[str, Any]]  # of a fact and another one


_SYSTEM = {"japanese": "簡潔に、正しく答えてください。", "japanese_mathematics": "計算して、簡潔に答えてください。"}


def _chat(fact: Fact, other: Fact) -> dict[str, Any]:
    return {"messages": [*_turn(other), *_turn(fact)]}


def _turn(fact: Fact) -> list[dict[str, str]]:
    return [{"role": "user", "content": fact.question}, {"role": "assistant", "content": fact.sentence}]


def _with_system(rows: list[dict[str, Any]], domain: str) -> list[dict[str, Any]]:
    """Put a system turn before every other conversation: both are right."""
    system = {"role": "system", "content": _SYSTEM.get(domain, "Answer briefly and correctly.")}
    return [row if n % 2 else {"messages": [system, *row["messages"]]} for n, row in enumerate(rows)]


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
_COMPUTED = ("mathematics", "code", "japanese_mathematics")  # whose steps are worth showing
_SENTENCES = ("support", "translation", "law")  # whose answers no reward function can compare


def domains_of(kind: str) -> tuple[str, ...]:
    """Return the domains that have rows of a kind: steps where one computes, answers to be compared where they are short."""
    if kind == "reasoning":
        return tuple(d for d in DOMAINS if d in _COMPUTED)
    return tuple(d for d in DOMAINS if kind != "prompt_answer" or d not in _SENTENCES)


def sample_rows(kind: str, domain: str, count: int, seed: int) -> list[dict[str, Any]]:
    """Return different, correct rows of a kind and domain, at most `MOST_ROWS`; the same seed gives the same."""
    *facts, spare = draw_facts(domain, count + 1, seed)  # a conversation speaks of two
    if kind == "kto":  # good and bad answers in turn
        return [{"prompt": f.question, "completion": f.worse if n % 2 else f.sentence, "label": not n % 2} for n, f in enumerate(facts)]
    rows = [MAKERS[kind](fact, other) for fact, other in zip(facts, [*facts[1:], spare], strict=True)]
    return _with_system(rows, domain) if kind == "chat" else rows


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
