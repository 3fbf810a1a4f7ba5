"""Export: carry a model or an adapter to other engines; each export proves itself, and can be found again."""

from __future__ import annotations

import streamlit as st

from tunesmith.services import exports
from tunesmith.services.exports import EXPORT_KINDS, Source
from tunesmith.ui.export_form import draw_format, draw_source
from tunesmith.ui.export_results import draw_result
from tunesmith.ui.job_view import draw_jobs
from tunesmith.ui.made_view import draw_made
from tunesmith.ui.messages import guarded
from tunesmith.ui.ollama_view import draw_ollama
from tunesmith.ui.run_titles import run_titles
from tunesmith.ui.serving_view import draw_serving
from tunesmith.ui.session import services, t
from tunesmith.ui.view_choice import choose_view


def source_titles(sources: list[Source]) -> dict[str, str]:
    """Return a title of its own for each source, by its key."""
    names = run_titles([source.adapter for source in sources if source.adapter])
    titles = {source.key: t("export.model_title", name=source.name) for source in sources if source.adapter is None}
    for source in sources:
        if source.adapter:
            titles[source.key] = t("export.adapter_title", name=names[source.adapter.id], model=source.model.id)
    return titles


def draw_make() -> None:
    """Draw the form, and the exports that run or ran."""
    found = exports.list_sources(services())
    with st.container(border=True), guarded():
        draw_format(draw_source(source_titles(found), {source.key: source for source in found}))
    draw_jobs(EXPORT_KINDS, draw_result)


def draw_list() -> None:
    """Draw everything that was made, of one run if the address says so."""
    found = exports.list_made(services(), st.query_params.get("run", ""))
    if not found:
        st.info(t("export.none"), icon=":material/info:")
    draw_made(found)


def draw_servers() -> None:
    """Draw the endpoints for other programs."""
    found = exports.list_sources(services())
    draw_serving(source_titles(found), {source.key: source for source in found})


VIEWS = {"make": draw_make, "made": draw_list, "serve": draw_servers, "ollama": draw_ollama}

st.title(t("export.title"))
st.write(t("export.intro"))
view = choose_view("export", VIEWS)
with guarded():
    VIEWS[view]()
