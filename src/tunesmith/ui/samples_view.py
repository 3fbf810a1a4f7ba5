"""Sample rows to download and edit: for each kind and domain, shown before they are taken. Knows the samples."""

from __future__ import annotations

import io

import streamlit as st

from tunesmith.data import samples
from tunesmith.errors import UserError
from tunesmith.services import dataset_versions as versions
from tunesmith.services import uploads
from tunesmith.ui.dataset_view import draw_conversation
from tunesmith.ui.downloads import draw_download
from tunesmith.ui.import_view import finish_import
from tunesmith.ui.messages import show_error
from tunesmith.ui.session import services, t
from tunesmith.ui.work_bar import work_bar

SHOWN_ROWS = 2


def draw_samples() -> None:
    """Draw the choice of kind, domain and number, the first rows, the download, and the way to try them at once."""
    st.caption(t("samples.text"))
    left, middle, right = st.columns(3)
    kind = left.selectbox(t("samples.kind"), samples.KINDS, format_func=lambda name: t(f"samples.kind_{name}"), key="samples-kind")
    domains = samples.domains_of(kind)
    domain = middle.selectbox(
        t("samples.domain"), domains, format_func=lambda name: t(f"samples.domain_{name}"), key=f"samples-domain-{kind}"
    )
    count = right.number_input(t("samples.count"), 1, samples.MOST_ROWS, 10, key="samples-count")
    rows = samples.sample_rows(kind, domain, int(count), seed=0)
    for row in rows[:SHOWN_ROWS]:
        draw_conversation(row)
    name = f"{kind}-{domain}"
    with st.container(horizontal=True):
        draw_download("JSONL", samples.as_jsonl(rows), f"{name}.jsonl")
        if samples.is_flat(kind):
            draw_download("CSV", samples.as_csv(rows), f"{name}.csv")
        taken = st.button(t("samples.take"), icon=":material/add:", disabled=services().read_only)
    if taken:
        try:
            path = uploads.hold(services(), [(f"{name}.jsonl", io.BytesIO(samples.as_jsonl(rows)))])
            try:
                with work_bar(t("import.importing")) as report:
                    made = versions.import_file(services(), path, name, progress=report)
            finally:
                uploads.drop(services(), path)
        except UserError as error:
            show_error(error)
        else:
            finish_import(made)
