"""How alike two texts are by what they share: ROUGE-L, BLEU, chrF. Knows texts, no rows.

ROUGE-L: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004. Equal to the package rouge-score (no stemming) on
English; it drops every letter outside of a-z, so that it gives Japanese 0. Here words are those of `split_words`, of scripts without
spaces each character. BLEU and chrF are sacrebleu's (Post, "A Call for Clarity in Reporting BLEU Scores", 2018), in 0..1 here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from tunesmith.data.answers import split_words
from tunesmith.data.japanese import main_language

BLEU_TOKENS = ("auto", "13a", "intl", "char")
_CHRF = CHRF()
_UNSPACED_LANGUAGES = {"ja", "zh"}


def common_subsequence_length(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the length of the longest common subsequence: a row of the table is one number's bits.

    Hyyrö, "Bit-Parallel LCS-length Computation Revisited", 2004.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(left)) - 1
    unmatched = every
    for word in right:
        met = unmatched & places.get(word, 0)
        unmatched = (unmatched + met | unmatched - met) & every
    return len(left) - unmatched.bit_count()


def rouge_l(prediction: str, reference: str) -> float | None:
    """Return the F1 of the longest common subsequence of words, 0..1; None when the reference has no words."""
    wanted = split_words(reference.replace("_", " "))  # rouge-score divides words there
    found = split_words(prediction.replace("_", " "))
    if not wanted:
        return None
    return 2 * common_subsequence_length(wanted, found) / (len(wanted) + len(found))


def sentence_bleu(prediction: str, references: Sequence[str], tokens: str = "auto") -> float:
    """Return BLEU-4 of one text, 0..1, of as many orders as it has (sacrebleu's sentence BLEU); `tokens` is one of `BLEU_TOKENS`."""
    return float(_bleu(bleu_tokens(tokens, references), True).sentence_score(prediction, references).score) / 100


def corpus_bleu(predictions: Sequence[str], references: Sequence[Sequence[str]], tokens: str = "auto") -> float:
    """Return BLEU-4 of N texts as a whole, 0..1, as papers report it; `references` are those of each text."""
    every = [reference for of_one in references for reference in of_one]
    score = _bleu(bleu_tokens(tokens, every), False).corpus_score(predictions, list(zip_longest(*references)))
    return min(1.0, float(score.score) / 100)


def bleu_tokens(tokens: str, references: Sequence[str]) -> str:
    """Return the name of sacrebleu's tokenizer: `auto` is `char` for Japanese and Chinese, else `13a`, the usual one."""
    if tokens != "auto":
        return tokens
    return "char" if main_language(" ".join(references)) in _UNSPACED_LANGUAGES else "13a"


@lru_cache(maxsize=8)
def _bleu(tokens: str, of_sentence: bool) -> BLEU:
    return BLEU(tokenize=tokens, effective_order=of_sentence)


def sentence_chrf(prediction: str, references: Sequence[str]) -> float:
    """Return chrF2 of one text, 0..1: shared pieces of 1 to 6 characters, in any script."""
    return float(_CHRF.sentence_score(prediction, references).score) / 100


def corpus_chrf(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return chrF2 of N texts as a whole, 0..1; `references` are those of each text."""
    return float(_CHRF.corpus_score(predictions, list(zip_longest(*references))).score) / 100
