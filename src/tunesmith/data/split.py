"""Seeded splits of rows; rows that ask the same never stand on two sides. Knows no files."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tunesmith.data.formats import Row, as_messages, as_prompt
from tunesmith.errors import UserError


@dataclass(frozen=True)
class SplitRules:
    """Sizes of the validation and test splits: below 1 a share of the rows, from 1 on a number of rows; the rest is trained on."""

    valid: float = field(default=0.1, metadata={"help": "Below 1: share of the rows; from 1 on: number of rows."})
    test: float = field(default=0.0, metadata={"help": "Below 1: share of the rows; from 1 on: number of rows."})
    seed: int = field(default=0, metadata={"help": "The same seed gives the same split."})
    stratify: str = field(default="", metadata={"help": "A column whose values should be as frequent in every split."})
    by_prompt: bool = field(default=True, metadata={"help": "Rows with the same prompt stay together, so that nothing leaks."})


def prompt_key(value: Mapping[str, Any]) -> bytes:
    """Return a hash of what a row asks: everything before its first answer, case and white space aside; of plain text, all of it."""
    asked = []
    for message in as_messages(value) or as_prompt(value):
        if message["role"] == "assistant":
            break
        if message["role"] == "user":
            asked.append(message["content"])
    text = "\n".join(asked) if asked else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return hashlib.sha256(" ".join(text.casefold().split()).encode()).digest()[:16]


def split_rows(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Return (train, valid): about `share` of the rows go to valid, those of one prompt together; one prompt's at least, if there are two.

    Both keep the file's order. A share of 0 gives no validation rows.
    """
    keys = [prompt_key(row.value) for row in rows]
    sizes = Counter(keys).values()
    if share <= 0 or len(sizes) < 2:
        return list(rows), []
    wanted = min(len(rows) - 1, max(min(sizes), round(len(rows) * share)))
    found = assign_splits(keys, [""] * len(rows), SplitRules(valid=wanted, seed=seed))
    train, valid = ([row for row, split in zip(rows, found, strict=True) if split == name] for name in ("train", "valid"))
    return train, valid


def assign_splits(keys: Sequence[bytes], strata: Sequence[str], rules: SplitRules) -> list[str]:
    """Return the split of each row: `train`, `valid` or `test`; rows of one key share it, each stratum is divided alike.

    A group of rows goes to a split only while it fits into what the split still lacks, so a large group rather stays in training.
    Raises UserError `split_too_large`.
    """
    total = len(keys)
    wanted = {"test": _count(rules.test, total), "valid": _count(rules.valid, total)}
    if sum(wanted.values()) >= total:
        raise UserError("split_too_large", rows=total, asked=sum(wanted.values()))
    groups: dict[bytes, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    by_stratum: dict[str, list[list[int]]] = {}
    for key in sorted(groups):
        by_stratum.setdefault(strata[groups[key][0]], []).append(groups[key])
    found = ["train"] * total
    for split, count in wanted.items():
        sizes = {name: sum(map(len, members)) for name, members in by_stratum.items()}
        for name, share in _apportion(count, sizes).items():
            by_stratum[name] = _take(by_stratum[name], share, split, found, random.Random(f"{rules.seed}/{split}/{name}"))
    return found


def _count(size: float, total: int) -> int:
    return round(size * total) if size < 1 else round(size)


def _apportion(count: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide a count over the strata by their sizes; the largest remainders get what rounding leaves (Hare's method)."""
    total = sum(sizes.values())
    exact = {name: count * size / total for name, size in sizes.items()}
    shares = {name: int(part) for name, part in exact.items()}
    left = count - sum(shares.values())
    for name in sorted(exact, key=lambda n: (shares[n] - exact[n], n))[:left]:
        shares[name] += 1
    return shares


def _take(groups: list[list[int]], count: int, split: str, found: list[str], chance: random.Random) -> list[list[int]]:
    """Give a stratum's groups to a split in seeded order until it has `count` rows; return the groups that are left."""
    left = []
    chance.shuffle(groups)
    for group in groups:
        if len(group) <= count:
            count -= len(group)
            for index in group:
                found[index] = split
        else:
            left.append(group)
    return left
