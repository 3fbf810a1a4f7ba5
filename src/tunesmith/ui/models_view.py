"""The models that are there, what can be done with each, and where more come from. Knows the services of models and of the hub."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from tunesmith.access.people import ADMIN
from tunesmith.i18n.markdown import as_text
from tunesmith.models.discovery import ModelInfo
from tunesmith.services import model_library, models, rights
from tunesmith.services.model_library import Origin
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.figures import show_bytes, show_count
from tunesmith.ui.frame import go_to
from tunesmith.ui.hub_view import draw_hub
from tunesmith.ui.messages import describe, guarded, sentence, toast
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import start_form_on
from tunesmith.ui.upload_view import draw_upload

TRASHED = "model_trashed"


def draw_models() -> None:
    """Draw the models found in the folders, broken ones with the reason, then the ways to get more."""
    _draw_undo()
    found = models.list_models(services())
    origins = [model_library.origin_of(services(), model) for model in found]
    chosen = _draw_table(found, origins)
    if chosen is None:
        st.caption(t("models.select"))
    else:
        with guarded():
            _draw_actions(found[chosen], origins[chosen])
    st.subheader(t("models.more"))
    with guarded():
        draw_hub()
    with guarded():
        draw_upload()
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(t("models.folders"))
        if services().person.may(ADMIN) and st.button(t("models.to_folders"), icon=":material/folder_open:"):
            go_to("settings", view="general")


def _draw_table(found: list[ModelInfo], origins: list[Origin]) -> int | None:
    """Draw all models; return the place of the selected one."""
    none = t("common.none")
    table = {
        t("settings.model_name"): [m.id for m in found],
        t("settings.model_type"): [m.model_type or none for m in found],
        t("settings.model_parameters"): [show_count(m.parameters or None) for m in found],
        t("settings.model_size"): [show_bytes(m.size_bytes or None) for m in found],
        t("models.precision"): [m.quantization or m.dtype or none for m in found],
        t("models.from"): [t(f"models.from_{o.place}") for o in origins],
        t("models.licence"): [o.licence or none for o in origins],
        t("settings.model_state"): [sentence(m.problem) if m.problem else t("settings.model_usable") for m in found],
    }
    event = st.dataframe(
        pd.DataFrame(table), hide_index=True, width="stretch", on_select="rerun", selection_mode="single-row", key=f"models-{len(found)}"
    )
    rows = event["selection"]["rows"]
    return rows[0] if rows and rows[0] < len(found) else None


def _draw_actions(model: ModelInfo, origin: Origin) -> None:
    if model.problem:
        st.error(describe(model.problem), icon=":material/error:")
    if origin.name:
        st.caption(t("models.hub_origin", name=origin.name, commit=origin.commit[:12], address=origin.address))
    st.code(str(model.path), language=None)
    unusable = model.problem is not None
    with st.container(horizontal=True):
        if st.button(t("export.train"), type="primary", icon=":material/model_training:", disabled=unusable):
            start_form_on(model.id)
            go_to("training", view="new")
        if st.button(t("run.compare"), icon=":material/compare:", disabled=unusable):
            go_to("compare", variants=f"model:{model.id}")
        if st.button(t("models.quantize"), icon=":material/compress:", disabled=unusable):
            go_to("export", source=f"model:{model.id}", format="quantized")
        if origin.is_ours:
            allowed = rights.may_change(services(), origin.owner)
            reason = None if allowed else t("models.of_another", owner=origin.owner)
            locked = services().read_only or not allowed
            if st.button(t("common.delete"), icon=":material/delete:", disabled=locked, help=reason):
                _ask(model)


def _ask(model: ModelInfo) -> None:
    resting = model_library.count_adapters(services(), model)
    question = t("models.delete_ask", name=model.id, size=show_bytes(model.size_bytes or None))
    ask_delete(f"{question} {t('models.delete_adapters', n=show_count(resting))}" if resting else question, lambda: _trash(model))


def _trash(model: ModelInfo) -> None:
    """Throw a model away and remember it for the undo."""
    model_library.trash(services(), model)
    st.session_state[TRASHED] = model.path.name


def _draw_undo() -> None:
    if name := st.session_state.get(TRASHED):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(t("models.trashed", name=as_text(name)), icon=":material/delete:")
            if st.button(t("common.undo"), icon=":material/undo:", key="model-undo"):
                del st.session_state[TRASHED]
                with guarded():
                    model_library.restore(services(), name)
                    toast(t("models.restored", name=as_text(name)))
                    st.rerun()
