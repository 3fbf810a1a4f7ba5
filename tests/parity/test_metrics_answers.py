"""Exact match, F1, BLEU and chrF beside those that come with lm-eval: SQuAD's as TyDi QA counts them, sacrebleu's of a set."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tests.parity.test_metrics_overlap import random_pairs
from tunesmith.data.agreement import exact_match, word_f1
from tunesmith.evaluation.text_overlap import corpus_bleu, corpus_chrf

pytest.importorskip("lm_eval", reason="lm-eval is in the extra eval")
squad: Any = import_module("lm_eval.tasks.tydiqa.utils")
harness: Any = import_module("lm_eval.api.metrics")

PLAIN = [  # theirs leaves punctuation and articles out, ours does not: so there are none here
    ("blue kettle from norvik", "Norvik kettle"), ("Porto", "porto"), ("red red red fox", "red fox fox"), ("nothing shared", "at all"),
    ("45 days", "45 DAYS"), ("one two three four", "four three two one"),
]  # fmt: skip


@pytest.mark.parametrize(("found", "wanted"), PLAIN)
def test_f1_and_exact_match_are_squads(found: str, wanted: str) -> None:
    assert word_f1(found, wanted) == pytest.approx(squad.f1_score(found, wanted, "en"))
    assert exact_match(found, wanted, "whole") == float(squad.exact_match_score(found, wanted, "en"))


def test_f1_of_drawn_texts_is_squads() -> None:
    """Words of letters and digits alone: what is punctuation to the one and a part of a word to the other is left out."""
    seen = set()
    for changed, whole in random_pairs(200, 12, seed=8):
        texts = [" ".join(word for word in text.split() if word.isalnum() and word not in {"a", "the"}) for text in (changed, whole)]
        if all(texts):
            ours = word_f1(*texts)
            assert ours == pytest.approx(squad.f1_score(*texts, "en"))
            seen.add(ours)
    assert len(seen) > 10


def test_bleu_and_chrf_of_a_set_are_those_of_lm_eval() -> None:
    pairs = random_pairs(60, 25, seed=9)
    predictions, references = [changed for changed, _ in pairs], [[whole] for _, whole in pairs]
    items = [(whole, changed) for changed, whole in pairs]
    assert corpus_bleu(predictions, references) == pytest.approx(harness.bleu(items) / 100)
    assert corpus_chrf(predictions, references) == pytest.approx(harness.chrf(items) / 100)
    assert 0.2 < corpus_bleu(predictions, references) < 0.9
