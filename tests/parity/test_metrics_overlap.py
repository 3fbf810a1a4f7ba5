"""ROUGE-L beside rouge-score, BLEU beside nltk's, both written by others from the papers."""

from __future__ import annotations

import random

import pytest

from tunesmith.evaluation.text_overlap import corpus_bleu, rouge_l, sentence_bleu

rouge_scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="rouge-score is in the extra parity")
bleu_score = pytest.importorskip("nltk.translate.bleu_score", reason="nltk comes with rouge-score")

WORDS = [
    "the", "a", "quick", "brown", "fox", "jumps", "over", "lazy", "dog's", "well-known", "snake_case", "3.14", "U.S.", "don't", "(maybe)",
    "“no”", "end.", "And", "yet;", "x2",
]  # fmt: skip


def random_pairs(count: int, longest: int, seed: int) -> list[tuple[str, str]]:
    """Return texts and changed copies of them: words left out, moved and put in."""
    chance = random.Random(seed)
    pairs = []
    for _ in range(count):
        words = chance.choices(WORDS, k=chance.randrange(1, longest))
        changed = [chance.choice(WORDS) if chance.random() < 0.2 else word for word in words if chance.random() > 0.15]
        pairs.append((" ".join(changed), " ".join(words)))
    return pairs


def test_rouge_l_is_rouge_scores_on_english() -> None:
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    pairs = [*random_pairs(400, 30, 1), *random_pairs(20, 300, 2), ("", "a b"), ("A B", "a b"), ("the end", "The End!")]
    compared = 0
    for prediction, reference in pairs:
        ours = rouge_l(prediction, reference)
        if ours is not None:
            assert ours == pytest.approx(scorer.score(reference, prediction)["rougeL"].fmeasure, abs=1e-12), (prediction, reference)
            compared += 1
    assert compared > 400


def test_rouge_score_has_nothing_for_japanese_and_ours_has() -> None:
    prediction, reference = "東京は日本の首都です", "日本の首都は東京です"
    scorer = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
    assert scorer.score(reference, prediction)["rougeL"].fmeasure == 0
    # with a letter for each character the package sees what we see
    letters = {character: f"w{number}" for number, character in enumerate(sorted(set(prediction + reference)))}
    spelled = [" ".join(letters[c] for c in text) for text in (reference, prediction)]
    assert rouge_l(prediction, reference) == pytest.approx(scorer.score(*spelled)["rougeL"].fmeasure)


def test_bleu_is_nltks_where_all_orders_have_matches() -> None:
    """Plain words, so that the tokenizers agree; long texts, so that no smoothing is needed."""
    chance = random.Random(4)
    predictions, references = [], []
    for _ in range(60):
        words = [f"w{chance.randrange(50)}" for _ in range(chance.randrange(20, 60))]
        predictions.append(" ".join(word for word in words if chance.random() > 0.05))
        references.append([" ".join(words), " ".join(reversed(words))])
    split = [[text.split() for text in several] for several in references]
    theirs = bleu_score.corpus_bleu(split, [text.split() for text in predictions])
    assert corpus_bleu(predictions, references) == pytest.approx(theirs, abs=1e-9)
    assert 0.3 < theirs < 0.99
    for prediction, several in zip(predictions, references, strict=True):
        alone = bleu_score.sentence_bleu([text.split() for text in several], prediction.split())
        assert sentence_bleu(prediction, several) == pytest.approx(alone, abs=1e-9)
