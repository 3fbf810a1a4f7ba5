"""How variants differ on a benchmark's rows: the paired difference to their base. Knows no lm-eval and no model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tunesmith.evaluation.intervals import IntervalRules, compare_paired

RESULTS, SAMPLES = "results.json", "samples.jsonl"  # in the job's folder
Place = tuple[str, str, str]  # task, metric, filter


def differences(
    samples: Iterable[Mapping[str, Any]], base_of: Mapping[str, str], rules: IntervalRules | None = None
) -> list[dict[str, Any]]:
    """Return each variant's comparison with its base, by task, metric and filter; `base_of` gives the base's key by the variant's.

    Only metrics with a number for each row can be paired: an accuracy can, BLEU of the whole set cannot.
    """
    values: dict[tuple[str, Place], dict[int, float]] = {}
    for sample in samples:
        for metric, value in sample["values"].items():
            if value is not None:
                place = (sample["task"], metric, sample["filter"])
                values.setdefault((sample["variant"], place), {})[sample["row"]] = value
    found = []
    for (variant, place), own in values.items():
        base = values.get((base_of.get(variant, ""), place))
        if base is None:
            continue
        rows: Sequence[int] = sorted(own.keys() & base.keys())
        paired = compare_paired(np.array([own[row] for row in rows]), np.array([base[row] for row in rows]), rules)
        names = dict(zip(("task", "metric", "filter"), place, strict=True))
        found.append({"variant": variant, "base": base_of[variant], **names, **asdict(paired)})
    return found
