"""This computer: device, memory, disk, versions. Knows the system service."""

from __future__ import annotations

import streamlit as st

from tunesmith.services import system
from tunesmith.ui.figures import show_bytes
from tunesmith.ui.session import services, t


def draw_computer() -> None:
    """Draw device, memory, disk and versions."""
    now = system.status(services())
    if now.device == "cpu" and now.blas == "reference":
        st.warning(t("settings.blas_hint"), icon=":material/speed:")
    tiles = (
        (t("settings.device"), t(f"settings.device_{now.device}")),
        (t("settings.blas"), t(f"settings.blas_{now.blas}")),
        (t("settings.memory"), t("common.of", part=show_bytes(now.memory_available_bytes), whole=show_bytes(now.memory_total_bytes))),
        (t("settings.disk"), show_bytes(now.disk_free_bytes)),
    )
    for pair in (tiles[:2], tiles[2:]):
        for place, (label, value) in zip(st.columns(2), pair, strict=True):
            place.metric(label, value, border=True, height="stretch")
    versions = " · ".join(f"{name} {number}" for name, number in now.versions.items() if number)
    lines = (f"{t('settings.chip')}: {now.chip}", f"{t('settings.memory_process')}: {show_bytes(now.process_memory_bytes)}",
             f"{t('settings.data_dir')}: `{now.data_dir}`", f"{t('settings.versions')}: Python {now.python} · {versions}")  # fmt: skip
    st.markdown("\n".join(f"- {line}" for line in lines))
