"""What every evaluation begins with: the rows that are asked, the models opened one base after the other, their answers in a file.

Knows requests and folders, no scores. An ended job goes on in its folder, where rows, sampling and weights must be what they were.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from tunesmith.data.formats import KINDS, Row, as_prompt, row_answer
from tunesmith.data.row_files import read_splits
from tunesmith.data.validation import usable_rows
from tunesmith.errors import UserError
from tunesmith.inference.adapter_bank import AdapterBank, scale_adapter
from tunesmith.inference.prediction import Predicted, Predictor, predict
from tunesmith.inference.sampling import Sampling
from tunesmith.jobs.answer_files import PREDICTIONS, ROWS
from tunesmith.jobs.job_kinds import Request
from tunesmith.models.adapter_files import read_template
from tunesmith.models.loading import LoadedModel, hash_model, load_model
from tunesmith.store.files import read_json, sha256_of, write_atomic, write_json

FINGERPRINT = "fingerprint.json"
Record = Mapping[str, Any]  # a variant as services.variants.as_record writes it


def read_asked_rows(request: Request) -> list[Row]:
    """Return the first `limit` (0: all) checked rows of the split; those that ask nothing (plain text) get no answers.

    Raises UserError `data_…`, `dataset_without_split`, `evaluation_without_rows`.
    """
    path, split = Path(request["data_path"]), request["split"]
    splits = read_splits(path, (split,))
    if split not in splits:
        raise UserError("dataset_without_split", dataset=request["data"], split=split)
    rows, _ = usable_rows(splits[split].rows, tuple(KINDS))
    if not rows:
        raise UserError("evaluation_without_rows", data=request["data"], split=split)
    return rows[: request["limit"] or None]


def require_same(request: Request, rows: Sequence[Row]) -> None:
    """Write down what is asked of whom at the first start; later, refuse to go on with anything else.

    Raises UserError `evaluation_data_changed`, `evaluation_settings_changed`, `evaluation_variant_changed`.
    """
    found = {
        "rows": _digest([[row.line, row.value] for row in rows]), "settings": _digest([request["sampling"], request["system"]])
    }  # fmt: skip
    folder = Path(request["folder"])
    if not (folder / FINGERPRINT).exists():
        lines = [{"row": r.line, "prompt": as_prompt(r.value), "reference": row_answer(r.value)} for r in rows if as_prompt(r.value)]
        write_atomic(folder / ROWS, b"".join(orjson.dumps(line) + b"\n" for line in lines))
    before = keep_fingerprint(request, found)
    if before["rows"] != found["rows"]:
        raise UserError("evaluation_data_changed", data=request["data"], split=request["split"])
    if before["settings"] != found["settings"]:
        raise UserError("evaluation_settings_changed")


def keep_fingerprint(request: Request, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was found at the first start, where it is written down with the variants' weights.

    Raises UserError `evaluation_variant_changed` when the weights are others now.
    """
    path, variants = Path(request["folder"]) / FINGERPRINT, request["variants"]
    weights = {variant["key"]: _hash_weights(variant) for variant in variants}
    if not path.exists():
        write_json(path, {**found, "variants": weights})
    before: dict[str, Any] = read_json(path)
    for variant in variants:
        if before["variants"].get(variant["key"]) != weights[variant["key"]]:
            raise UserError("evaluation_variant_changed", name=variant["name"])
    return before


def _digest(values: Any) -> str:
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _hash_weights(variant: Record) -> list[str]:
    adapter = variant["adapter_path"]
    return [hash_model(Path(variant["model_path"])), sha256_of(Path(adapter) / "adapters.safetensors") if adapter else ""]


def group_by_base(variants: Sequence[Record]) -> list[list[Record]]:
    """Return the variants of one base together, in the order of their first."""
    groups: dict[str, list[Record]] = {}
    for variant in variants:
        groups.setdefault(variant["model_path"], []).append(variant)
    return list(groups.values())


def open_group(variants: Sequence[Record], system: str = "") -> tuple[LoadedModel, list[Predictor]]:
    """Load one base and its adapters; a predictor for each variant, by its key. Raises UserError `model_…`, `adapter_…`.

    A base that has learned no prompt format is asked in that of the first adapter that has one.
    """
    base = load_model(Path(variants[0]["model_path"]))
    base.model.eval()
    bank = AdapterBank(base)
    paths = [Path(variant["adapter_path"]) if variant["adapter_path"] else None for variant in variants]
    templates = [read_template(path) if path else None for path in paths]
    if not base.tokenizer.chat_template:
        templates = [template or next(filter(None, templates), None) for template in templates]
    loaded = [bank.load(path) if path else None for path in paths]
    adapters = [adapter and scale_adapter(adapter, variant["strength"]) for adapter, variant in zip(loaded, variants, strict=True)]
    predictors = [
        Predictor(variant["key"], partial(bank.activate, adapter), template, system)
        for variant, adapter, template in zip(variants, adapters, templates, strict=True)
    ]
    return base, predictors


def answer(
    request: Request, rows: Sequence[Row], base: LoadedModel, predictors: Sequence[Predictor], tell: Callable[[int], object]
) -> Predicted:  # fmt: skip
    """Append the answers that are missing to the job's predictions.

    `tell` is given 1 after each, and 0 between tokens, where it may raise to end the work.
    """

    def abandoned() -> bool:
        tell(0)
        return False

    path = Path(request["folder"]) / PREDICTIONS
    return predict(
        base.model, base.tokenizer, rows, Sampling(**request["sampling"]), path, predictors, report=lambda _: tell(1), abandoned=abandoned
    )  # fmt: skip
