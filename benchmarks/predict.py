"""Greedy answers to 64 short prompts: our batched predictions against `mlx_lm.generate` one prompt after the other, in one process.

Both write the same texts (compared). Our time includes rendering the prompts, decoding the texts and writing the file. The arms take
turns, in both orders; the first turn is not counted. Prompts are the first rows of each of three data sets that come with the demo.
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from statistics import mean, median
from typing import Any

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

import mlx.core as mx  # noqa: E402
import orjson  # noqa: E402
from mlx_lm import batch_generate, generate  # noqa: E402

from benchmarks.reporting import measure_models, publish  # noqa: E402
from tunesmith.data.formats import Row, as_prompt  # noqa: E402
from tunesmith.data.templates import render  # noqa: E402
from tunesmith.inference.prediction import predict  # noqa: E402
from tunesmith.inference.sampling import Sampling  # noqa: E402
from tunesmith.models.loading import LoadedModel, load_model  # noqa: E402
from tunesmith.store.files import LineTail  # noqa: E402
from tunesmith.system.paths import DEMO_DATA  # noqa: E402

PROMPTS, LONGEST_PROMPT, TOKENS = 64, 96, 32
TURNS = {"demo": 5, "random-60m": 1}
DATA = ("company_facts", "arithmetic", "text_to_sql")
SAMPLING = Sampling(max_tokens=TOKENS)


def read_rows(base: LoadedModel) -> list[Row]:
    """Return short rows of the data sets in turns."""
    files = [(DEMO_DATA / name / "train.jsonl").read_bytes().splitlines() for name in DATA]
    values = (orjson.loads(line) for lines in itertools.zip_longest(*files) for line in lines if line)
    asking = (value for value in values if as_prompt(value))
    short = (value for value in asking if len(render(base.tokenizer, as_prompt(value), answer_next=True)) <= LONGEST_PROMPT)
    return [Row(number, value) for number, value in enumerate(itertools.islice(short, PROMPTS), 1)]


def ours(base: LoadedModel, rows: list[Row], file: Path) -> list[str]:
    """Return the rows' answers by our predictions."""
    predict(base.model, base.tokenizer, rows, SAMPLING, file)
    texts = {line["row"]: line["text"] for line in LineTail(file).read_new()}
    return [texts[row.line] for row in rows]


def one_by_one(base: LoadedModel, rows: list[Row], _: Path) -> list[str]:
    """Return the rows' answers by mlx-lm's `generate`."""
    prompts = [render(base.tokenizer, as_prompt(row.value), answer_next=True) for row in rows]
    return [generate(base.model, base.tokenizer, prompt, max_tokens=TOKENS).strip() for prompt in prompts]


def stock_batch(base: LoadedModel, rows: list[Row], _: Path) -> list[str]:
    """Return the rows' answers by mlx-lm's `batch_generate` with its default sizes."""
    prompts = [render(base.tokenizer, as_prompt(row.value), answer_next=True) for row in rows]
    return [text.strip() for text in batch_generate(base.model, base.tokenizer, prompts, max_tokens=TOKENS).texts]


ARMS = {"ours": ours, "one_by_one": one_by_one, "stock_batch": stock_batch}


def measure(label: str, model: Path, folder: Path) -> dict[str, Any]:
    """Return one line of the table."""
    base = load_model(model)
    base.model.eval()
    rows = read_rows(base)
    took: dict[str, list[float]] = {name: [] for name in ARMS}
    cpu_took: dict[str, list[float]] = {name: [] for name in ARMS}
    texts: dict[str, list[str]] = {}
    for turn in range(TURNS[label] + 1):
        for name in ARMS if turn % 2 == 0 else reversed(ARMS):
            mx.clear_cache()
            began, cpu_began = time.perf_counter(), time.process_time()
            texts[name] = ARMS[name](base, rows, folder / f"{turn}.jsonl")
            took[name].append(time.perf_counter() - began)
            cpu_took[name].append(time.process_time() - cpu_began)
    seconds, cpu_seconds = ({name: median(each[1:]) for name, each in times.items()} for times in (took, cpu_took))
    pairs = [stock / own for own, stock in zip(took["ours"][1:], took["one_by_one"][1:], strict=True)]
    same = [a == b for a, b in zip(texts["ours"], texts["one_by_one"], strict=True)]
    return {
        "model": label, "turns": TURNS[label],
        "speed_ratio": median(pairs), "speed_ratio_least": min(pairs), "speed_ratio_most": max(pairs),
        "cpu_ratio": cpu_seconds["one_by_one"] / cpu_seconds["ours"],
        "speed_ratio_to_stock_batch": seconds["stock_batch"] / seconds["ours"], "seconds": seconds, "texts_equal": all(same),
        "texts_that_differ": same.count(False), "mean_characters": mean(map(len, texts["ours"])), "distinct_texts": len(set(texts["ours"])),
    }  # fmt: skip


def main() -> None:
    """Print the table and write the JSON; of all models, or of those that are named."""
    columns = {
        "model": "model", "speed_ratio": "one by one / ours", "cpu_ratio": "in CPU seconds",
        "speed_ratio_to_stock_batch": "mlx-lm's batch / ours", "texts_equal": "texts equal",
    }  # fmt: skip
    cells = measure_models(measure, columns)
    publish("predict", {
        "speed_ratio": min(cell["speed_ratio"] for cell in cells), "texts_equal": all(cell["texts_equal"] for cell in cells),
        "cells": cells, "prompts": PROMPTS, "longest_answer_tokens": TOKENS,
    })  # fmt: skip


if __name__ == "__main__":
    main()
