"""Models of the hub: search, look at one, download it, and what then. Knows the service of the hub."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tunesmith.errors import UserError
from tunesmith.export.config import ARRIVAL_FORMS, ArrivalRules
from tunesmith.jobs.job import Job
from tunesmith.models.hub import FoundModel, HubModel
from tunesmith.services import model_hub
from tunesmith.settings.files import from_mapping
from tunesmith.ui.figures import show_bytes, show_count
from tunesmith.ui.forms import draw_fields
from tunesmith.ui.frame import go_to
from tunesmith.ui.job_view import draw_jobs
from tunesmith.ui.made_view import draw_quantization
from tunesmith.ui.messages import guarded, show_error, toast
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import start_form_on

FOUND, LOOKED_AT, ROUND = "hub_found", "hub_looked_at", "hub_round"
TO_KEYS = {"hub_model_needs_token", "hub_token_refused"}


def draw_hub() -> None:
    """Draw the search, the model that is looked at, and the downloads."""
    with st.container(border=True), guarded():
        _draw_search()
        if (found := st.session_state.get(FOUND)) is not None:
            _draw_found(found)
        if looked_at := st.session_state.get(LOOKED_AT):
            _draw_looked_at(looked_at[1])
    draw_jobs((model_hub.KIND,), draw_arrived, resume=lambda job_id: model_hub.resume(services(), job_id))


def _draw_search() -> None:
    """Draw the question; a whole name is looked at directly."""
    st.caption(t("hub.text"))
    with st.form("hub_search", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(t("hub.search"), key="hub_text", placeholder=t("hub.placeholder"), help=t("hub.search_help"))
        mlx_only = st.toggle(t("hub.mlx_only"), key="hub_mlx_only", help=t("hub.mlx_only_help"))
        asked = st.form_submit_button(t("hub.search_now"), type="primary", icon=":material/search:", disabled=services().read_only)
    if not asked:
        return
    for name in (FOUND, LOOKED_AT):
        st.session_state.pop(name, None)
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1  # another list, another selection
    if "/" in text:
        _look_at(text.strip())
        return
    with st.spinner(t("hub.asking")):
        st.session_state[FOUND] = model_hub.search(services(), text, mlx_only)


def _look_at(name: str) -> None:
    """Ask for a model; what is wrong with it is kept in its place."""
    with st.spinner(t("hub.asking")):
        try:
            st.session_state[LOOKED_AT] = (name, model_hub.describe(services(), name))
        except UserError as error:
            st.session_state[LOOKED_AT] = (name, error)


def _draw_found(found: list[FoundModel]) -> None:
    """Draw what the search found; the selected one is looked at."""
    if not found:
        st.info(t("hub.nothing"), icon=":material/search_off:")
        return
    none = t("common.none")
    table = {
        t("settings.model_name"): [m.name for m in found],
        t("hub.form"): [_form_words(m) for m in found],
        t("settings.model_parameters"): [show_count(m.parameters or None) for m in found],
        t("settings.model_size"): [show_bytes(m.size_bytes or None) for m in found],
        t("models.licence"): [m.licence or none for m in found],
        t("hub.access"): [t("hub.gated") if m.gated else t("hub.open") for m in found],
        t("hub.downloads"): [m.downloads for m in found],
        t("hub.likes"): [m.likes for m in found],
    }
    event = st.dataframe(
        pd.DataFrame(table), hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row",
        key=f"hub-rows-{st.session_state.get(ROUND, 0)}",
    )  # fmt: skip
    rows = event["selection"]["rows"]
    if not rows or rows[0] >= len(found):
        st.session_state.pop(LOOKED_AT, None)
        st.caption(t("hub.select"))
        return
    name = found[rows[0]].name
    if st.session_state.get(LOOKED_AT, ("", None))[0] != name:
        _look_at(name)


def _draw_looked_at(found: HubModel | UserError) -> None:
    if isinstance(found, HubModel):
        _draw_model(found)
        return
    show_error(found)
    if found.code == "hub_model_not_granted":
        address = f"{found.facts['endpoint']}/{found.facts['name']}"
        st.markdown(f"[{address}]({address})")
    if found.code in TO_KEYS and st.button(t("hub.to_keys"), icon=":material/key:"):
        go_to("settings", view="keys")


def _form_words(found: FoundModel) -> str:
    if found.is_mlx:
        return t("hub.form_mlx")
    return t("hub.form_safetensors" if found.has_safetensors else "hub.form_other")


def _draw_model(model: HubModel) -> None:
    """Draw what would be downloaded and what becomes of it."""
    st.markdown(f"##### {model.name}")
    facts = [show_bytes(model.size_bytes), t("hub.files", n=show_count(len(model.files))), t("hub.licence", name=model.licence or "?")]
    st.markdown(" · ".join([*facts, f"[{t('hub.page')}]({model.address})"]))
    if not model.licence:
        st.caption(t("hub.no_licence"))
    values = draw_fields(ArrivalRules(), "arrival", advanced=False, options={}, columns=2)
    if ARRIVAL_FORMS[values["form"]] in {4, 8}:
        values |= draw_fields(ArrivalRules(), "arrival", advanced=True, options={}, columns=2)
    rules = from_mapping(ArrivalRules, values)
    needed, free = model_hub.needed_bytes(model, rules), model_hub.free_bytes(services())
    st.caption(t("hub.room", needed=show_bytes(needed), free=show_bytes(free)))
    if st.button(t("hub.download"), type="primary", icon=":material/download:", disabled=services().read_only):
        model_hub.start_download(services(), model, rules)
        st.session_state.pop(LOOKED_AT, None)
        st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1  # nothing is selected any more
        toast(t("hub.started", name=model.name))
        st.rerun()


def draw_arrived(job: Job) -> None:
    """Draw a model that has come, and the next steps."""
    result = job.result
    st.success(t("hub.done", name=result["model"]), icon=":material/check_circle:")
    if "kl" in result:
        draw_quantization(result)
    with st.container(horizontal=True):
        if st.button(t("export.train"), key=f"train-{job.id}", type="primary", icon=":material/model_training:"):
            start_form_on(result["model"])
            go_to("training", view="new")
        if st.button(t("run.compare"), key=f"compare-{job.id}", icon=":material/compare:"):
            go_to("compare", variants=f"model:{result['model']}")
