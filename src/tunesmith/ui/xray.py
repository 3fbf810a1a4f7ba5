"""Tokens in colours: learned, context, cut away; and the lengths of all rows beside the maximum. Knows the xray service."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from tunesmith.data.chat_templates import CUSTOM, NAMES, TEMPLATES
from tunesmith.inference.protocol import TokenView
from tunesmith.services import models, training, xray
from tunesmith.services.datasets import DatasetSummary
from tunesmith.training.config import LOSS_ON, TrainConfig
from tunesmith.ui.figures import show_bytes, show_count, show_duration
from tunesmith.ui.forms import show_choice
from tunesmith.ui.frame import go_to
from tunesmith.ui.messages import describe, guarded
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import present_config, setting_label, start_form_with

BINS = 30
LENGTHS = [size * 2**power for power in range(11) for size in (32, 48)]  # 32, 48, 64, 96 … 49,152
STYLE = """<style>
.xray {font-family: var(--font-mono, monospace); font-size: .86rem; line-height: 1.9; white-space: pre-wrap; overflow-wrap: anywhere}
.xray span {border-radius: 3px; padding: 1px 0; box-decoration-break: clone}
.xray .learned {background: rgba(42, 157, 116, .28); box-shadow: inset 0 -2px rgba(42, 157, 116, .8)}
.xray .context {background: rgba(128, 138, 160, .14)}
.xray .cut {background: rgba(217, 88, 60, .16); text-decoration: line-through; opacity: .7}
</style>"""


def draw_xray(dataset_id: str, summary: DatasetSummary) -> None:
    """Draw the choice of model, length and loss, one row's tokens, and the whole set's lengths."""
    st.caption(t("dataset.xray_text"))
    config = _draw_choices(dataset_id)
    split = "train" if summary.rows.get("train") else next(iter(summary.rows), "")
    if not split or not summary.rows[split]:
        st.caption(t("dataset.no_rows"))
        return
    count = summary.rows[split]
    number = st.number_input(t("dataset.xray_row"), min_value=1, max_value=count, value=1, key=f"xray-row-{dataset_id}")
    with guarded():
        found = xray.xray_row(services(), config, split, int(number) - 1)
        _draw_row(found)
    with guarded():
        _draw_set(config)


def _draw_choices(dataset_id: str) -> TrainConfig:
    shown = present_config()
    known = [m.id for m in models.list_models(services()) if m.problem is None]
    left, middle, right, last = st.columns(4)
    model = left.selectbox(t("dataset.xray_model"), known, index=known.index(shown.model) if shown.model in known else 0, key="xray-model")
    longest = middle.select_slider(
        setting_label("max_seq_length"), sorted({*LENGTHS, shown.max_seq_length}), value=shown.max_seq_length, key="xray-length"
    )
    loss_on = right.selectbox(
        setting_label("loss_on"), LOSS_ON, index=LOSS_ON.index(shown.loss_on), format_func=show_choice, key="xray-loss"
    )
    template = last.selectbox(
        setting_label("chat_template"), NAMES, index=NAMES.index(shown.chat_template), format_func=show_choice, key="xray-template"
    )
    own = shown.custom_template
    if template == CUSTOM:
        own = st.text_area(setting_label("custom_template"), value=own or TEMPLATES["plain"], key="xray-own", height=140)
    chosen = dataclasses.replace(
        shown, model=model, data=dataset_id, max_seq_length=int(longest), loss_on=loss_on, chat_template=template, custom_template=own
    )
    if st.button(t("dataset.xray_use"), icon=":material/arrow_forward:", help=t("dataset.xray_use_help")):
        start_form_with(chosen)
        go_to("training", view="new")
    return chosen


def _draw_row(found: xray.RowXray) -> None:
    if found.learns_nothing:
        st.warning(t("dataset.xray_nothing"), icon=":material/warning:")
    elif not found.ends:
        st.warning(t("dataset.xray_no_end"), icon=":material/warning:")
    elif not found.learns_to_end:
        st.warning(t("dataset.xray_endless"), icon=":material/warning:")
    counts = {name: show_count(count) for name, count in found.counts.items()}
    st.caption(t("dataset.xray_counts", total=show_count(found.total), **counts))
    with st.container(border=True):
        st.html(STYLE + f'<div class="xray">{as_html(found.tokens)}</div>')
        legend = "".join(
            f'<span class="{state}">{html.escape(t("dataset.xray_" + state))}</span>  ' for state in ("learned", "context", "cut")
        )
        st.html(f'<div class="xray">{legend}</div>')
    with st.expander(t("dataset.xray_exact")):
        st.code(found.text, language=None, wrap_lines=True)
        st.code(" ".join(str(token.id) for token in found.tokens), language=None, wrap_lines=True)
    if found.total > len(found.tokens):
        st.caption(t("dataset.xray_truncated", n=show_count(len(found.tokens))))


def as_html(tokens: Sequence[TokenView]) -> str:
    """Return tokens as coloured spans, the id on hover; the text is escaped, line breaks are shown and kept."""
    spans = []
    for token in tokens:
        text = html.escape(token.text).replace("\n", "↵\n") or "·"
        spans.append(f'<span class="{token.state}" title="{token.id}">{text}</span>')
    return "".join(spans)


def _draw_set(config: TrainConfig) -> None:
    found = training.preview(services(), config)
    st.markdown(f"##### {t('dataset.xray_set')}")
    for problem in found.problems:
        st.caption(describe(problem))
    if found.tokens is None or not found.lengths:
        return
    epoch_tokens = found.tokens / (found.epochs or 1)
    tiles = (
        (t("dataset.xray_tokens"), show_count(epoch_tokens)),
        (t("dataset.xray_share"), f"{(found.supervised_tokens or 0) / max(1, epoch_tokens):.0%}"),
        (t("dataset.xray_median"), show_count(float(np.median(found.lengths)))),
        (t("dataset.xray_longest"), show_count(found.longest_tokens)),
        (t("dataset.xray_overlong"), show_count(found.overlong_rows)),
        (t("dataset.xray_without"), show_count(found.rows_without_labels)),
        (t("dataset.xray_padding"), f"{found.padding_padded:.0%}"),
        (t("dataset.xray_packed"), f"{found.padding_packed:.0%}"),
    )
    with st.container(horizontal=True, gap="medium"):
        for label, value in tiles:
            st.metric(label, value, width="content")
    _draw_histogram(found.lengths, config.max_seq_length)
    if found.memory:
        words = t("dataset.xray_plan", memory=show_bytes(found.memory.peak_bytes), cut=show_count(found.overlong_rows))
        if found.seconds_estimate:
            words = f"{words}, {t('dataset.xray_time', time=show_duration(found.seconds_estimate))}"
        st.caption(words)


def _draw_histogram(lengths: Sequence[int], longest: int) -> None:
    counts, edges = np.histogram(lengths, bins=min(BINS, max(1, len(set(lengths)))))
    states = [t("dataset.xray_overlong") if edge > longest else t("dataset.xray_rows") for edge in edges[1:]]
    length, rows, fate = t("dataset.xray_length"), t("dataset.xray_rows"), t("dataset.xray_fate")
    frame = pd.DataFrame({length: edges[:-1].round().astype(int), rows: counts, fate: states})
    st.caption(t("dataset.xray_histogram"))
    st.bar_chart(frame, x=length, y=rows, color=fate, height=220)
