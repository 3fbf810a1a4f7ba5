"""`python -m demo.recipe`: data, tokenizer, weights, scores, model card. `--data-only` writes the data sets alone."""

from __future__ import annotations

import argparse
import ctypes
import logging
import os
import sys
from pathlib import Path

from demo.recipe.datasets import write_datasets

DEMO = Path(__file__).resolve().parents[1]


def load_fast_blas() -> None:
    """On Linux, load OpenBLAS before mlx: the wheel's own BLAS is many times slower."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(min(2, os.cpu_count() or 1)))
    if sys.platform == "linux":
        ctypes.CDLL("libopenblas.so.0", mode=ctypes.RTLD_GLOBAL)


def main() -> None:
    """Make everything in `demo/`."""
    parser = argparse.ArgumentParser(prog="python -m demo.recipe")
    parser.add_argument("--data-only", action="store_true", help="write the data sets, leave the model")
    parser.add_argument("--measure-only", action="store_true", help="measure the model that is there and write its card")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    write_datasets(DEMO / "data")
    if options.data_only:
        return
    load_fast_blas()
    import mlx.core as mx

    from demo.recipe.card import write_card
    from demo.recipe.measure import measure_abilities
    from demo.recipe.pretrain import Recipe, describe_model, make_model, save_model, train_model
    from demo.recipe.tokenizer import save_tokenizer, train_tokenizer

    if mx.default_device() == mx.cpu:
        mx.disable_compile()
    recipe, folder = Recipe(), DEMO / "model"
    if not options.measure_only:
        folder.mkdir(exist_ok=True)
        tokenizer = train_tokenizer(recipe.vocabulary, recipe.seed)
        config = describe_model(recipe, tokenizer)
        model = make_model(config, recipe)
        train_model(model, tokenizer, recipe)
        save_tokenizer(tokenizer, folder)
        save_model(model, config, folder)
    write_card(folder, recipe, measure_abilities(folder, DEMO / "data" / "abilities" / "test.jsonl"))


if __name__ == "__main__":
    main()
