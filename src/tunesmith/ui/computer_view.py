"""This computer: what it does now, renewed every two seconds, and what it is. Knows the services of the computer and the system."""

from __future__ import annotations

from collections.abc import Iterator

import streamlit as st
from streamlit import runtime
from streamlit.runtime.stats import GaugeStat

from tunesmith.i18n.markdown import as_text
from tunesmith.services import computer, system
from tunesmith.services.computer import Activity, EngineUse
from tunesmith.services.system import SystemStatus
from tunesmith.system.gpu import Gpu
from tunesmith.ui.figures import show_bytes, show_duration, show_number
from tunesmith.ui.messages import guarded
from tunesmith.ui.session import services, t

EVERY_SECONDS = 2.0
PAGES_FIGURE = "active_sessions"  # Streamlit's name of it


def draw_computer() -> None:
    """Draw what the computer does, and its device, memory, disk and versions."""
    status = system.status(services())
    if status.device == "cpu" and status.blas == "reference":
        st.warning(t("settings.blas_hint"), icon=":material/speed:")
    st.fragment(_draw_now, run_every=EVERY_SECONDS)(status.device)
    st.markdown(f"#### {t('computer.what')}")
    st.markdown("\n".join(f"- {line}" for line in _facts(status)))


def _draw_now(device: str) -> None:
    with guarded():
        seen = computer.look(services())
        _draw_load(seen)
        _draw_memory(seen)
        st.markdown(f"#### {t('computer.gpu')}")
        if not seen.gpus:
            st.caption(t(f"computer.no_gpu_{device}"))
        for gpu in seen.gpus:
            _draw_gpu(gpu)
        st.caption(" · ".join(_signs(seen)))


def _draw_load(seen: Activity) -> None:
    now, samples = seen.now, seen.samples
    left, right = st.columns(2)
    with left.container(border=True):
        share = t("common.of", part=show_bytes(now.memory_used_bytes), whole=show_bytes(now.memory_total_bytes))
        curve = [sample.memory_percent for sample in samples]
        st.metric(t("computer.memory"), share, chart_data=curve, chart_type="area", help=t("computer.minutes"))
        st.progress(min(1.0, now.memory_percent / 100), text=f"{now.memory_percent:.0f} %")
        if now.swap_total_bytes:
            swap = t("common.of", part=show_bytes(now.swap_used_bytes), whole=show_bytes(now.swap_total_bytes))
            st.caption(f"{t('computer.swap')}: {swap}")
    with right.container(border=True):
        curve = [sample.cpu_percent for sample in samples]
        st.metric(t("computer.cpu"), f"{now.cpu_percent:.0f} %", chart_data=curve, chart_type="area", help=t("computer.minutes"))
        st.progress(min(1.0, now.cpu_percent / 100), text=t("computer.cores", n=len(now.cores_percent)))
        told = [t("computer.each_core", values=" · ".join(f"{percent:.0f}" for percent in now.cores_percent))]
        if seen.load_average:
            told.append(t("computer.load", values=" · ".join(f"{value:.2f}" for value in seen.load_average)))
        st.caption("  \n".join(told))


def _draw_memory(seen: Activity) -> None:
    """Draw the memory of our own processes, and the engine's own account of it."""
    st.markdown(f"#### {t('computer.own')}")
    whole = sum(use.memory_bytes for use in seen.processes)
    parts = [f"{t(f'computer.process_{use.kind}', n=use.count)} {show_bytes(use.memory_bytes)}" for use in seen.processes]
    st.markdown(f"**{show_bytes(whole)}** · {' · '.join(parts)}")
    for engine in seen.engines:
        _draw_engine(engine)
    if not seen.engines:
        st.caption(t("computer.no_engine"))


def _draw_engine(engine: EngineUse) -> None:
    with st.container(border=True):
        st.markdown(t("computer.engine", name=as_text(engine.run_name)))
        figures = (("active", engine.active_bytes), ("cache", engine.cache_bytes), ("peak", engine.peak_bytes))
        for place, (name, value) in zip(st.columns(3), figures, strict=True):
            place.metric(t(f"computer.engine_{name}"), show_bytes(value), help=t(f"computer.engine_{name}_help"))


def _draw_gpu(gpu: Gpu) -> None:
    with st.container(border=True):
        told = [gpu.name]
        if gpu.memory_used_bytes is not None:
            whole = show_bytes(gpu.memory_total_bytes)
            used = show_bytes(gpu.memory_used_bytes)
            told.append(t("common.of", part=used, whole=whole) if gpu.memory_total_bytes else t("computer.gpu_memory", size=used))
        told += [f"{gpu.celsius:.0f} °C"] if gpu.celsius is not None else []
        told += [f"{gpu.watts:.0f} W"] if gpu.watts is not None else []
        st.markdown(" · ".join(told))
        if gpu.busy_percent is not None:
            st.progress(min(1.0, gpu.busy_percent / 100), text=t("computer.busy", share=show_number(gpu.busy_percent)))


def _signs(seen: Activity) -> Iterator[str]:
    """Yield the small facts: heat, power, disk, how long the server stands, who is here."""
    if seen.speed_percent < 100:
        yield t("computer.slowed", share=seen.speed_percent)
    yield t("computer.celsius", n=f"{seen.celsius:.0f}") if seen.celsius is not None else t("computer.no_celsius")
    if seen.battery:
        plugged = {True: "plugged", False: "on_battery", None: "battery"}[seen.battery.plugged]
        yield t(f"computer.{plugged}", share=f"{seen.battery.percent:.0f}")
    yield t("computer.disk", size=show_bytes(seen.disk_free_bytes))
    yield t("computer.up", time=show_duration(seen.up_seconds))
    if (pages := _open_pages()) is not None:
        yield t("computer.pages", n=pages)


def _open_pages() -> int | None:
    """Return how many pages are open in browsers, None where no server runs."""
    told = runtime.get_instance().stats_mgr.get_stats([PAGES_FIGURE]) if runtime.exists() else {}
    return next((int(stat.value) for stat in told.get(PAGES_FIGURE, ()) if isinstance(stat, GaugeStat)), None)


def _facts(status: SystemStatus) -> Iterator[str]:
    """Yield what does not change while the server stands."""
    yield f"{t('settings.device')}: {t(f'settings.device_{status.device}')}"
    yield f"{t('settings.chip')}: {status.chip}"
    yield f"{t('settings.blas')}: {t(f'settings.blas_{status.blas}')}"
    yield f"{t('settings.data_dir')}: `{status.data_dir}`"
    versions = " · ".join(f"{name} {number}" for name, number in status.versions.items() if number)
    yield f"{t('settings.versions')}: Python {status.python} · {versions}"
