"""What a run would do, beside the form: problems, rows, steps, memory with its fixes, time. Knows the training service."""

from __future__ import annotations

import dataclasses

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.jobs.measure import Measurement
from tunesmith.services import plan, training
from tunesmith.services.plan import Fix, MemoryPlan
from tunesmith.training.config import TrainConfig
from tunesmith.ui.figures import show_bytes, show_count, show_duration
from tunesmith.ui.messages import describe, show_error, toast
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import setting_label, start_form_with

VERDICTS = {"fits": ("green", "check_circle"), "tight": ("orange", "warning"), "swaps": ("red", "error")}


@st.cache_data(ttl=20, show_spinner=False)
def _preview(config: TrainConfig, measured: Measurement | None, store: str, budget_gb: float) -> training.RunPreview:
    del store, budget_gb  # parts of the cache's key: another data folder, another budget
    return training.preview(services(), config, measured)


def draw_preview(config: TrainConfig) -> bool:
    """Draw what the run would do; return whether it may start."""
    measured = _measured(config)
    with st.container(border=True):
        with st.spinner(t("training.counting")):
            found = _preview(config, measured, str(services().data_dir), services().settings.memory_budget_gb)
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"##### {t('training.preview')}")
            if found.problems:
                st.badge(t("training.not_ready"), color="red", icon=":material/block:")
            else:
                st.badge(t("training.ready"), color="green", icon=":material/check_circle:")
        for problem in found.problems:
            show_error(problem)
        for warning in found.warnings:
            st.warning(describe(warning), icon=":material/warning:")
        for fix in found.memory.fixes if found.memory else []:
            _draw_fix(config, fix)
        _draw_figures(config, found)
        if not found.problems:
            _draw_measure(config)
    return not found.problems


def _measured(config: TrainConfig) -> Measurement | None:
    """Return the session's measurement when it is of these settings."""
    of, measured = st.session_state.get("measured", (None, None))
    return measured if of == config else None


def _draw_fix(config: TrainConfig, fix: Fix) -> None:
    label = t(f"training.fix_{fix.name}", peak=show_bytes(fix.peak_bytes))
    if st.button(label, key=f"fix-{fix.name}", icon=":material/auto_fix_high:", width="stretch"):
        start_form_with(dataclasses.replace(config, **fix.changes))
        toast(t("training.fix_applied"))
        st.rerun()


def _draw_measure(config: TrainConfig) -> None:
    if not st.button(t("training.measure"), icon=":material/speed:", help=t("training.measure_help"), disabled=services().read_only):
        return
    try:
        with st.spinner(t("training.measuring")):
            st.session_state["measured"] = (config, plan.measure_run(services(), config))
    except UserError as error:
        show_error(error)
    else:
        st.rerun()


def _draw_figures(config: TrainConfig, found: training.RunPreview) -> None:
    lines = []
    if found.train_rows is not None:
        lines.append(t("training.rows_line", train=show_count(found.train_rows), valid=show_count(found.valid_rows)))
        lines.append(t("training.steps_line", steps=show_count(found.steps), epochs=f"{found.epochs or 0:.1f}"))
        lines.append(t("training.tokens_line", tokens=show_count(found.tokens), longest=show_count(found.longest_tokens)))
        share = (found.supervised_tokens or 0) * (found.epochs or 0) / max(1, found.tokens or 1)
        lines.append(t("training.supervised_line", share=f"{share:.0%}"))
        known = found.seconds_estimate is not None
        lines.append(t("training.time_line", time=show_duration(found.seconds_estimate)) if known else t("training.time_unknown"))
    if config.fine_tune_type != "full":
        lora = config.lora_parameters
        lines.append(t("training.alpha_line", alpha=f"{lora.alpha:g}", rank=lora.rank, factor=f"{lora.effective_scale:g}"))
    names = ", ".join(setting_label(name) for name in found.changed)
    lines.append(t("training.changed_line", n=len(found.changed), names=names) if names else t("training.unchanged_line"))
    st.markdown("\n".join(f"- {line}" for line in lines))
    if found.memory:
        _draw_memory(found.memory)


def _draw_memory(memory: MemoryPlan) -> None:
    colour, icon = VERDICTS[memory.verdict]
    parts = memory.estimate
    told = t(
        "training.memory_parts", weights=show_bytes(parts.weights_bytes), adapter=show_bytes(parts.adapter_bytes),
        gradient=show_bytes(parts.gradient_bytes), optimizer=show_bytes(parts.optimizer_bytes),
        activations=show_bytes(parts.activations_bytes), logits=show_bytes(parts.logits_bytes),
    )  # fmt: skip
    peak, budget = show_bytes(memory.peak_bytes), show_bytes(memory.budget_bytes)
    line = (
        t("training.memory_measured", peak=peak, budget=budget) if memory.measured else t("training.memory_line", peak=peak, budget=budget)
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(t(f"training.verdict_{memory.verdict}"), color=colour, icon=f":material/{icon}:")  # type: ignore[arg-type]
        st.caption(line, help=told)
