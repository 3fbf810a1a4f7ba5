"""Evaluations: begin one, find them. Knows requests and folders; what came of them is evaluation_results'."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.access.people import TRAINER
from tunesmith.data.library import find_splits
from tunesmith.data.readers.source import inspect_source
from tunesmith.errors import UserError
from tunesmith.evaluation.config import HELD_OUT, EvaluationConfig
from tunesmith.evaluation.metrics import build_metric
from tunesmith.inference.sampling import Sampling
from tunesmith.services import jobs
from tunesmith.services.adapters import find_adapter
from tunesmith.services.attachments import find_reward_file, functions_of, rewards_folder
from tunesmith.services.context import Services
from tunesmith.services.datasets import DatasetInfo, find_dataset
from tunesmith.services.lineage import read_manifest, runs_of
from tunesmith.services.rights import needs
from tunesmith.services.shelved import Shelved, find_kept, first_name, name_of
from tunesmith.services.variants import VariantInfo, as_record, find_variant, plain_names
from tunesmith.settings.fields import check_values

KIND = "evaluate"
MOST_VARIANTS = 12
Metrics = Mapping[str, Mapping[str, Any]]  # a metric, or `file.py:function` of the rewards folder, and its settings


@dataclass(frozen=True)
class Evaluation(Shelved):
    """One evaluation."""

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The metrics' settings by name."""
        return {metric["name"]: metric["options"] for metric in self.job.request["metrics"]}

    @property
    def baseline(self) -> str:
        """The variant that others are compared with."""
        return str(self.job.request["baseline"])


@needs(TRAINER)
def start(
    s: Services, keys: Sequence[str], config: EvaluationConfig, sampling: Sampling, metrics: Metrics, name: str = "", baseline: str = ""
) -> str:
    """Start to ask the variants, and return the evaluation's id; without metrics there are only predictions.

    `baseline` is one of the keys; by default the first model without an adapter, else the first. Raises UserError `evaluation_…`,
    `variant_…`, `adapter_…`, `model_…`, `dataset_…`, `metric_…`, `pattern_wrong`, `schema_wrong`, `reward_…`, `setting_…`, `name_too_long`.
    """
    check_values(config)
    check_values(sampling)
    variants = _find_variants(s, keys)
    if baseline and baseline not in {variant.key for variant in variants}:
        raise UserError("evaluation_baseline_missing", baseline=baseline)
    info = find_dataset(s, config.data)
    split = config.split or held_out_split(info)
    if split not in splits_of(info):
        raise UserError("dataset_without_split", dataset=info.id, split=split)
    for metric, options in metrics.items():
        _check_metric(s, metric, options)
    records = [as_record(variant) for variant in variants]
    request = dataclasses.asdict(config) | {
        "name": first_name(name, f"{', '.join(plain_names(records).values())} · {info.id}"), "variants": records,
        "baseline": baseline or next((v.key for v in variants if v.adapter_path is None), variants[0].key), "data": info.pinned_id,
        "data_path": str(info.path), "split": split, "sampling": dataclasses.asdict(sampling),
        "metrics": [{"name": metric, "options": dict(options)} for metric, options in metrics.items()],
        "training": training_data(s, variants), "rewards_folder": str(rewards_folder(s)),
    }  # fmt: skip
    return jobs.start(s, KIND, request, shelf=jobs.EVALUATIONS)


def _find_variants(s: Services, keys: Sequence[str]) -> list[VariantInfo]:
    variants = [find_variant(s, key) for key in keys]
    if not variants:
        raise UserError("evaluation_without_variants")
    if len(variants) > MOST_VARIANTS:
        raise UserError("too_many_variants", asked=len(variants), most=MOST_VARIANTS)
    found = [variant.key for variant in variants]
    if twice := [variant.name for variant in variants if found.count(variant.key) > 1]:
        raise UserError("evaluation_variant_twice", name=twice[0])
    return variants


def held_out_split(info: DatasetInfo) -> str:
    """Return the split that no run learns from: test, else validation; of a file alone, its only one.

    Raises UserError `dataset_without_held_out`, `data_…`.
    """
    splits = splits_of(info)
    if found := [split for split in HELD_OUT if split in splits]:
        return found[0]
    if info.path.is_file() and len(splits) == 1:
        return splits[0]
    raise UserError("dataset_without_held_out", dataset=info.id)


def splits_of(info: DatasetInfo) -> list[str]:
    """Return the splits that a data set has; of plain files, by their content. Raises UserError `data_…`, `archive_…`."""
    found = find_splits(info.path) if info.path.is_dir() else {}
    return list(found or inspect_source(info.path).files)


def _check_metric(s: Services, metric: str, options: Mapping[str, Any]) -> None:
    """Refuse now what would fail on every row."""
    if ":" not in metric:
        build_metric(metric, options).score("", {})
        return
    file, _, function = metric.rpartition(":")
    if function not in (known := functions_of(find_reward_file(s, file))):
        raise UserError("reward_function_unknown", function=function, file=file, known=", ".join(known) or "–")


def training_data(s: Services, variants: Sequence[VariantInfo]) -> list[dict[str, Any]]:
    """Return the data sets that the variants' runs learned from, each with the keys of those variants."""
    found: dict[str, dict[str, Any]] = {}
    for variant in variants:
        for run_id in _runs_of(s, variant):
            try:
                run = s.store.get(run_id)
            except UserError:
                continue  # that run is gone
            if not run.data_path:
                continue  # it was imported, and its data are not here
            record = found.setdefault(run.data_path, {"data": run.data, "data_path": run.data_path, "variants": []})
            if variant.key not in record["variants"]:
                record["variants"].append(variant.key)
    return list(found.values())


def _runs_of(s: Services, variant: VariantInfo) -> list[str]:
    """Return the runs that a variant comes from, those of its base too."""
    of_base = runs_of(read_manifest(variant.model_path))
    if variant.run_id or variant.adapter_path is None:
        return [run for run in (variant.run_id, *of_base) if run]
    adapter_id = variant.key.partition(":")[2].partition("@")[0]
    return runs_of(find_adapter(s, adapter_id).lineage) + of_base


def list_evaluations(s: Services, most: int | None = None) -> list[Evaluation]:
    """Return the evaluations, newest first."""
    return [Evaluation(job, name_of(job)) for job in jobs.list_jobs(s, KIND, most=most, shelf=jobs.EVALUATIONS)]


def find(s: Services, evaluation_id: str) -> Evaluation:
    """Return one evaluation. Raises UserError `evaluation_unknown`."""
    job = find_kept(s, evaluation_id, KIND)
    return Evaluation(job, name_of(job))
