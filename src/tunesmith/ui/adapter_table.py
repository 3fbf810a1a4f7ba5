"""Adapters as a table. Knows rows of the adapters service."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from tunesmith.services.adapters import AdapterInfo
from tunesmith.ui.figures import show_bytes, show_loss, show_time
from tunesmith.ui.session import t


def draw_adapters(rows: Sequence[AdapterInfo]) -> AdapterInfo | None:
    """Draw the table and return the selected adapter."""
    table = {
        t("adapters.name"): [r.name for r in rows],
        t("adapters.origin"): [t(f"adapters.origin_{r.origin}") for r in rows],
        t("adapters.model"): [r.model for r in rows],
        t("adapters.kind"): ["–" if r.problem else r.kind for r in rows],
        t("adapters.rank"): pd.Series([r.rank or None for r in rows], dtype="Int64"),
        t("adapters.modules"): [" ".join(key.split(".")[-1].removesuffix("_proj") for key in r.keys) for r in rows],
        t("adapters.data"): [r.data for r in rows],
        t("adapters.loss"): [show_loss(r.metrics.get("best_val_loss", r.metrics.get("loss_last"))) for r in rows],
        t("adapters.tags"): [list(r.tags) for r in rows],
        t("adapters.size"): [show_bytes(r.size_bytes) for r in rows],
        t("adapters.created"): [show_time(r.created_at) for r in rows],
    }
    chosen = st.dataframe(
        pd.DataFrame(table), hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row",
        key=f"adapters-{hash(tuple(row.id for row in rows))}",  # another list, another selection
       
        column_config={
            t("adapters.name"): st.column_config.TextColumn(width="medium"),
            t("adapters.modules"): st.column_config.TextColumn(width="small"),
            t("adapters.tags"): st.column_config.ListColumn(width="small"),
        },
    )  # fmt: skip
    indices = chosen["selection"]["rows"]
    return rows[indices[0]] if indices and indices[0] < len(rows) else None
