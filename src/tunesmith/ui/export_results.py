"""What an export job brought about, in words, with its proof and the next step. Knows the results of export jobs."""

from __future__ import annotations

import streamlit as st

from tunesmith.jobs.job import Job
from tunesmith.ui.frame import go_to
from tunesmith.ui.made_view import draw_quantization
from tunesmith.ui.proof_view import draw_proof
from tunesmith.ui.session import t

MADE = {"fuse_into_base", "quantize", "export_peft", "export_gguf", "export_gguf_lora"}


def draw_result(job: Job) -> None:
    """Draw the result of a finished export."""
    result = job.result
    if job.kind == "quantize":
        draw_quantization(result)
    elif "proof" in result:
        draw_proof(result["proof"], t("export.worn_adapter") if job.kind == "fuse_into_base" else t("proof.original"))
    elif job.kind == "export_lmstudio":
        st.success(t("export.copied", path=result["path"]), icon=":material/check_circle:")
    elif job.kind == "upload":
        st.success(t("export.uploaded", address=result["address"]), icon=":material/check_circle:")
    elif job.kind == "export_ollama":
        st.success(t("export.ollama_made", name=result["name"]), icon=":material/check_circle:")
        st.caption(t("export.ollama_said", answer=result["check"]["answer"]["text"].strip()[:200] or "…"))
    if job.kind in MADE:
        st.code(result["path"], language=None)
        if st.button(t("export.open_made"), key=f"made-{job.id}", icon=":material/inventory_2:"):
            go_to("export", view="made")
