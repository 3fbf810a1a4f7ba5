"""Sample rows are right: computed anew, run, and checked by our own validation."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import orjson
import pytest

from tunesmith.data import samples
from tunesmith.data.formats import POLICY, PREFERENCE, SFT, Row, methods_of
from tunesmith.data.row_kinds import canonical_row
from tunesmith.data.samples.facts import draw_facts
from tunesmith.data.validation import check_row

PAIRS = [(kind, domain) for kind in samples.KINDS for domain in samples.domains_of(kind)]


@pytest.mark.parametrize(("kind", "domain"), PAIRS)
def test_rows_are_usable_and_different(kind: str, domain: str) -> None:
    rows = samples.sample_rows(kind, domain, samples.MOST_ROWS, seed=1)
    assert len({orjson.dumps(row) for row in rows}) == samples.MOST_ROWS
    assert rows == samples.sample_rows(kind, domain, samples.MOST_ROWS, seed=1)
    for row in rows:
        found, value, problems = canonical_row(Row(1, row))
        assert value is not None
        assert problems == check_row(Row(1, value), found) == []


def test_every_method_has_several_domains_and_every_domain_several_kinds() -> None:
    domains: dict[str, set[str]] = {}
    for kind, domain in PAIRS:
        found, _, _ = canonical_row(Row(1, samples.sample_rows(kind, domain, 1, 0)[0]))
        for method in methods_of([found]):
            domains.setdefault(method, set()).add(domain)
    assert {method: len(names) >= 3 for method, names in domains.items()} == dict.fromkeys((*SFT, *PREFERENCE, *POLICY), True)
    assert all(sum(d == domain for _, d in PAIRS) >= 3 for domain in samples.DOMAINS)


def test_sums_are_right() -> None:
    for fact in draw_facts("mathematics", 20, seed=2):
        price, shirts, paid = map(int, re.findall(r"\d+", fact.question))
        assert fact.answer == str(paid - shirts * price)
        assert int(fact.answer) >= 0
    for fact in draw_facts("japanese_mathematics", 20, seed=2):
        _, price, apples = map(int, re.findall(r"\d+", fact.question))
        assert fact.answer == f"{price * apples}円"


def test_code_prints_what_is_said() -> None:
    facts = draw_facts("code", 20, seed=3)
    lines = [fact.question.split("```python\n")[1].split("\n```")[0] for fact in facts]
    for line in lines:
        ast.parse(line)
    printed = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True).stdout
    assert printed.splitlines() == [fact.answer for fact in facts]


@pytest.mark.parametrize("domain", samples.DOMAINS)
def test_a_worse_answer_is_another_one(domain: str) -> None:
    assert all(fact.worse not in {fact.sentence, fact.answer} for fact in draw_facts(domain, 20, seed=0))


@pytest.mark.parametrize("domain", samples.DOMAINS)
@pytest.mark.parametrize("count", [1, 2, samples.MOST_ROWS])
def test_a_conversation_asks_nothing_twice(domain: str, count: int) -> None:
    rows = samples.sample_rows("chat", domain, count, seed=4)
    assert len(rows) == count
    for row in rows:
        asked = [message["content"] for message in row["messages"] if message["role"] == "user"]
        assert len(set(asked)) == len(asked) == 2
    assert [row["messages"][0]["role"] for row in rows[:2]] == ["system", "user"][:count]


@pytest.mark.parametrize("domain", samples.domains_of("reasoning"))
def test_steps_lead_to_the_answer(domain: str) -> None:
    for row in samples.sample_rows("reasoning", domain, samples.MOST_ROWS, seed=5):
        assert row["solution"].removesuffix("円") in row["reasoning_steps"][-1]
        assert row["problem"] not in " ".join(row["reasoning_steps"])


def test_worse_prints_have_no_form_of_their_own() -> None:
    facts = draw_facts("code", 20, seed=6)
    assert all(fact.worse.startswith("It prints `") for fact in facts)
    assert len({fact.worse for fact in facts}) > 10  # one refrain would be learned instead of the content


def test_japanese_is_japanese() -> None:
    for domain in ("japanese", "japanese_mathematics"):
        assert all(re.search(r"[ぁ-ん]", fact.question + fact.sentence) for fact in draw_facts(domain, 10, seed=0))


def test_tables_open_in_excel_and_here() -> None:
    assert [kind for kind in samples.KINDS if not samples.is_flat(kind)] == ["chat", "reasoning", "scored"]
    rows = samples.sample_rows("prompt_answer", "japanese", 2, 0)
    content = samples.as_csv(rows)
    assert content.startswith(b"\xef\xbb\xbfprompt,answer\r\n")
    assert rows[0]["prompt"] in content.decode("utf-8-sig")
