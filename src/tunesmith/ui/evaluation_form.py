"""The form of a new evaluation: who is asked, which rows, how answers are drawn, what is measured. Knows the evaluations service."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.evaluation.config import EvaluationConfig
from tunesmith.evaluation.metrics import METRICS
from tunesmith.evaluation.perplexity import PERPLEXITY
from tunesmith.inference.sampling import Sampling
from tunesmith.services import datasets, evaluations, rewards
from tunesmith.services.datasets import DatasetSummary
from tunesmith.services.evaluations import Evaluation
from tunesmith.services.variants import VariantInfo, base_of, find_variant, list_variants
from tunesmith.settings.files import from_mapping
from tunesmith.ui.figures import show_count, show_loss, show_number
from tunesmith.ui.forms import draw_field, draw_fields, show_choice
from tunesmith.ui.messages import show_error
from tunesmith.ui.sampling_form import draw_sampling
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import dataset_title
from tunesmith.ui.variant_choice import choose_variants, record_titles, variant_titles

FIRST_METRICS = ("exact_match", "rouge_l")
FIELDS = {field.name: field for field in dataclasses.fields(EvaluationConfig)}


def draw_form() -> None:
    """Draw the form and start what it says; the address may name a variant."""
    asked = st.query_params.get("variant", "")
    first = _first_variants(asked)
    if not first:
        st.info(t("evaluation.no_models"), icon=":material/info:")
        return
    variants = choose_variants(t("evaluation.variants"), f"evaluation-variants-{asked}", first, evaluations.MOST_VARIANTS, checkpoints=True)
    if not variants:
        st.caption(t("evaluation.choose_variant"))
        return
    known = {d.id: d for d in datasets.list_datasets(services()) if d.rows}
    if not known:
        st.info(t("evaluation.no_data"), icon=":material/info:")
        return
    config, rows = _draw_questions(known, variants)
    metrics = _draw_metrics()
    sampling = _draw_sampling()
    titles = variant_titles(variants)
    left, right = st.columns(2)
    baseline = left.selectbox(
        t("evaluation.baseline"), list(titles), index=_plain_model(variants), format_func=lambda key: titles[key],
        help=t("evaluation.baseline_help"), key=f"evaluation-baseline-{'-'.join(titles)}",
    )  # fmt: skip
    name = right.text_input(t("evaluation.name"), key="evaluation-name", max_chars=200, placeholder=t("evaluation.name_own"))
    asked_rows = min(config.limit or rows, rows)
    st.caption(
        t("evaluation.plan", rows=show_count(asked_rows), variants=len(variants), answers=show_count(asked_rows * len(variants)))
    )  # fmt: skip
    if st.button(t("evaluation.start"), type="primary", icon=":material/play_arrow:", disabled=services().read_only):
        try:
            keys = [variant.key for variant in variants]
            started = evaluations.start(services(), keys, config, sampling, metrics, name, str(baseline))
        except UserError as error:
            show_error(error)
        else:
            st.query_params["evaluation"] = started
            st.rerun()


def _first_variants(asked: str) -> list[str]:
    """Return the variant that the address names, else the newest adapter, and its base; of a store without adapters, a model."""
    known = list_variants(services())
    try:
        first = find_variant(services(), asked) if asked else next(iter(known), None)
    except UserError as error:
        show_error(error)
        first = next(iter(known), None)
    return list(dict.fromkeys([first.key, base_of(services(), first).key])) if first else []


def _plain_model(variants: Sequence[VariantInfo]) -> int:
    return next((place for place, variant in enumerate(variants) if variant.adapter_path is None), 0)


def _draw_questions(known: dict[str, DatasetSummary], variants: Sequence[VariantInfo]) -> tuple[EvaluationConfig, int]:
    """Draw the data and its rows; return the settings and how many rows the split has."""
    learned = [record["data"].partition("@")[0] for record in evaluations.training_data(services(), variants)]
    first = next((data for data in learned if data in known), next((d.id for d in known.values() if "test" in d.rows), next(iter(known))))
    titles = {data: dataset_title(summary) for data, summary in known.items()}
    plain = dataclasses.replace(EvaluationConfig(), data=first)
    columns = st.columns(3)
    with columns[0]:
        shown = {"dataset": (list(known), lambda data: titles[data])}
        data = draw_field(plain, FIELDS["data"], f"evaluation-{first}", shown)
    splits = [split for split in ("test", "valid", "train") if known[data].rows.get(split)]
    with columns[1]:
        counts = {split: t("evaluation.split", name=t(f"dataset.split_{split}"), n=known[data].rows[split]) for split in splits}
        counted = {"split": (splits, lambda split: counts[split])}
        split = draw_field(dataclasses.replace(plain, split=splits[0]), FIELDS["split"], f"evaluation-{data}", counted)
    with columns[2]:
        limit = draw_field(plain, FIELDS["limit"], "evaluation", {})
    likelihood = draw_field(plain, FIELDS["likelihood"], "evaluation", {})
    if split == "train":
        st.caption(t("evaluation.training_rows"))
    with st.expander(t("evaluation.more"), icon=":material/tune:"):
        system = draw_field(plain, FIELDS["system"], "evaluation", {})
        longest = draw_field(plain, FIELDS["longest_tokens"], "evaluation", {})
    values = {"data": data, "split": split, "limit": limit, "likelihood": likelihood, "system": system, "longest_tokens": longest}
    return from_mapping(EvaluationConfig, values), known[data].rows[split]


def names_of(evaluation: Evaluation) -> dict[str, str]:
    """Return what an evaluation's variants are called, by key."""
    return record_titles(evaluation.variants.values())


def metric_title(name: str) -> str:
    """Return what a metric is called; a custom function stands for itself."""
    return show_choice(name, "metric")


def show_score(value: float | None, metric: str) -> str:
    """Return a figure of a metric: a perplexity, which has no bound, with four digits, others with three decimals."""
    return show_number(value) if metric == PERPLEXITY else show_loss(value)


def _draw_metrics() -> dict[str, dict[str, Any]]:
    """Draw the choice of metrics and their settings; what is as it always is needs no record."""
    custom, _ = rewards.custom_functions(services())
    titles = {name: metric_title(name) for name in (*METRICS, *custom)}
    chosen = st.multiselect(
        t("evaluation.metrics"), list(titles), default=list(FIRST_METRICS), format_func=lambda name: titles[name], key="evaluation-metrics",
        help=t("evaluation.metrics_help"), placeholder=t("evaluation.only_predictions"),
    )  # fmt: skip
    found: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    with st.container(horizontal=True):
        for name in (name for name in chosen if name in METRICS):
            with st.popover(metric_title(name), icon=":material/tune:"):
                st.caption(t(f"metric_help.{name}"))
                plain = METRICS[name]()
                drawn = draw_fields(plain, f"evaluation-metric-{name}", advanced=False, options={}, columns=1)
                changed = {key: value for key, value in drawn.items() if value != getattr(plain, key)}
                found[name] = {key: list(value) if isinstance(value, tuple) else value for key, value in changed.items()}
    return found


def _draw_sampling() -> Sampling:
    with st.expander(t("evaluation.sampling"), icon=":material/casino:"):
        return draw_sampling("evaluation-sampling")
