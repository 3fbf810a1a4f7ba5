"""What a fusion did: how exact its result is, losses before and after, what to do next. Knows the results of fusion jobs."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from tunesmith.i18n.markdown import as_text
from tunesmith.jobs.job import Job
from tunesmith.ui.figures import show_loss
from tunesmith.ui.frame import go_to
from tunesmith.ui.proof_view import draw_likeness
from tunesmith.ui.session import t
from tunesmith.ui.tiles import draw_tiles

KEPT_WELL = 0.9


def draw_fusion(job: Job) -> None:
    """Draw the report of a finished fusion and where to go from it."""
    result = job.result
    made_adapter = "adapter" in result
    st.markdown(f"**{t('fusion.made_adapter' if made_adapter else 'fusion.made_model', name=as_text(job.request['name']))}**")
    draw_likeness(result["likeness"], t("fusion.reference"))
    if made_adapter:
        least, share = result["least_kept"]
        draw_tiles(((t("adapters.rank"), str(result["rank"]), None), (t("fusion.kept"), f"{result['kept']:.1%}", t("fusion.kept_note"))))
        if result["kept"] < KEPT_WELL:
            st.warning(t("fusion.lost", percent=f"{1 - result['kept']:.0%}", module=least, least=f"{share:.0%}"), icon=":material/warning:")
    if losses := result.get("losses"):
        _draw_losses(losses, [each["name"] for each in job.request["adapters"]])
    with st.container(horizontal=True):
        if made_adapter and st.button(t("run.compare"), key=f"compare-{job.id}", type="primary", icon=":material/compare:"):
            go_to("compare", run=result["adapter"])
        key = f"adapter:{result['adapter']}" if made_adapter else f"model:{result['model']}"
        if st.button(t("adapters.export"), key=f"export-{job.id}", icon=":material/output:"):
            go_to("export", source=key)


def _draw_losses(losses: dict[str, float], names: list[str]) -> None:
    shown = {"base": t("fusion.loss_base"), "naive": t("fusion.loss_naive"), "result": t("fusion.loss_result")}
    labels = [names[int(key.removeprefix("adapter_"))] if key.startswith("adapter_") else shown[key] for key in losses]
    st.markdown(f"**{t('fusion.losses')}**", help=t("fusion.losses_help"))
    frame = pd.DataFrame({t("fusion.loss_of"): labels, t("fusion.loss"): [show_loss(value) for value in losses.values()]})
    st.dataframe(frame, hide_index=True, width="content")


def draw_sweep(job: Job) -> None:
    """Draw the held-out loss over the weights, and the best of them."""
    names = [str(each["name"]) for each in job.request["adapters"]]
    points, best = job.result["points"], job.result["best"]
    labels = [" / ".join(f"{weight:.2g}" for weight in point["weights"]) for point in points]
    chosen = ", ".join(f"{as_text(name)} {weight:.2g}" for name, weight in zip(names, best["weights"], strict=True))
    st.success(t("fusion.sweep_best", weights=chosen, loss=show_loss(best["loss"])), icon=":material/flag:")
    figure = go.Figure(go.Scatter(x=labels, y=[point["loss"] for point in points], mode="lines+markers"))
    figure.update_layout(height=260, margin={"l": 0, "r": 0, "t": 10, "b": 0}, xaxis_title=" / ".join(names), yaxis_title=t("fusion.loss"))
    figure.update_xaxes(type="category")
    st.plotly_chart(figure, width="stretch", key=f"sweep-{job.id}")
