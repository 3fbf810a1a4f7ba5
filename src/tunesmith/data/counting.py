"""A data set in a model's tokens before a run: one way per family of methods, one form of report. Knows no model but its tokenizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunesmith.data.batching import PAD_TO, BatchRules, largest_shape, padding_share
from tunesmith.data.encoding import EncodingRules, encode_dataset
from tunesmith.data.pairs import PairRules, largest_pair_shape, read_pairs
from tunesmith.data.prompts import PromptRules, read_prompts
from tunesmith.data.templates import Tokenizer

MOST_LENGTHS = 5000
Report = dict[str, Any]
Rules = Mapping[str, Any]


def count_rows(path: Path, kinds: Sequence[str], tokenizer: Tokenizer, rules: Rules, batching: BatchRules, length: Rules) -> Report:
    """Count rows for supervised fine-tuning; `rules` are EncodingRules, `length` has iters and epochs. Raises UserError `data_…`."""
    rows = encode_dataset(path, kinds, tokenizer, EncodingRules(**rules))
    steps = batching.steps(len(rows.train), length["iters"], length["epochs"])
    return {
        "rows": len(rows.train), "valid_rows": len(rows.valid), "tokens": rows.tokens, "supervised_tokens": rows.supervised_tokens,
        "longest_tokens": rows.longest_tokens, "overlong_rows": rows.overlong, "unusable_rows": rows.unusable,
        "endless_rows": rows.endless, "rows_without_labels": rows.without_labels, "steps": steps, "lengths": _thin(rows.lengths),
        "padding_packed": padding_share(rows.train, dataclasses.replace(batching, packed=True)),
        "padding_padded": padding_share(rows.train, dataclasses.replace(batching, packed=False)),
        "largest_batch": [*largest_shape(rows.train, batching, steps)],
    }  # fmt: skip


def count_pairs(path: Path, kinds: Sequence[str], tokenizer: Tokenizer, rules: Rules, batching: BatchRules, length: Rules) -> Report:
    """Count preference pairs; `rules` are PairRules. Tokens are those of both answers. Raises UserError `data_…`."""
    pairs = read_pairs(path, kinds, tokenizer, PairRules(**rules))
    sides = [side for pair in pairs.train for side in pair]
    return _plain_report(pairs.unusable, pairs.overlong, pairs.lengths) | {
        "rows": len(pairs.train), "valid_rows": len(pairs.valid), "tokens": sum(pair.tokens for pair in pairs.train),
        "supervised_tokens": sum(sum(side.supervised) for side in sides),
        "steps": batching.steps(len(pairs.train), length["iters"], length["epochs"]),
        "endless_rows": sum(not pair.chosen.learns_to_end(tokenizer.eos_token_id) for pair in pairs.train),
        "largest_batch": [*largest_pair_shape(pairs.train, batching)],
    }  # fmt: skip


def count_prompts(path: Path, kinds: Sequence[str], tokenizer: Tokenizer, rules: Rules, batching: BatchRules, length: Rules) -> Report:
    """Count prompts; `rules` are PromptRules, `length` also has the longest answer and how many there are to a prompt.

    Tokens are those of an epoch in which every answer is as long as it may be. Raises UserError `data_…`, `prompts_too_long`.
    """
    prompts = read_prompts(path, kinds, tokenizer, PromptRules(**rules))
    answer, group = length["max_completion_length"], length["num_generations"]
    longest = max(len(prompt.ids) for prompt in prompts.train) + answer
    width = -(-longest // PAD_TO) * PAD_TO
    lines = max(1, min(batching.batch_size * group, batching.pass_tokens // width))
    written = group * answer * len(prompts.train)
    return _plain_report(prompts.unusable, prompts.overlong, prompts.lengths) | {
        "rows": len(prompts.train), "valid_rows": len(prompts.valid), "supervised_tokens": written, "endless_rows": 0,
        "tokens": group * sum(len(prompt.ids) for prompt in prompts.train) + written,
        "steps": batching.steps(len(prompts.train), length["iters"], length["epochs"]), "largest_batch": [lines, width, lines * answer],
    }  # fmt: skip


def _plain_report(unusable: int, overlong: int, lengths: Sequence[int]) -> Report:
    return {
        "longest_tokens": max(lengths), "overlong_rows": overlong, "unusable_rows": unusable, "rows_without_labels": 0,
        "lengths": _thin(lengths), "padding_packed": 0.0, "padding_padded": 0.0,
    }  # fmt: skip


COUNTS: Mapping[str, Callable[..., Report]] = {"sft": count_rows, "preference": count_pairs, "policy": count_prompts}


def _thin(lengths: Sequence[int]) -> list[int]:
    """Return the lengths in order, thinned evenly when there are very many."""
    ordered = sorted(lengths)
    return ordered[:: max(1, len(ordered) // MOST_LENGTHS)]
