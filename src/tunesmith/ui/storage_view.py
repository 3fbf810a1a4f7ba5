"""What takes the disk, and what can be cleaned up. Knows the storage service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.access.people import ADMIN, TRAINER
from tunesmith.services import storage
from tunesmith.services.rights import may_change
from tunesmith.services.storage import RunUse, StorageReport
from tunesmith.store.disk_use import PARTS
from tunesmith.ui.damage_view import draw_damage
from tunesmith.ui.dialogs import ask_first
from tunesmith.ui.figures import show_bytes, show_count, show_time
from tunesmith.ui.messages import guarded, sentence, toast
from tunesmith.ui.run_status import STATUS_LOOK
from tunesmith.ui.session import services, t

MOST_RUNS = 1000  # rows that a table shows


def draw_storage() -> None:
    """Draw the last count of the disk; the first look, and the button, begin one."""
    draw_damage()
    if st.session_state.pop("storage_count", False) or storage.last_report(services()) is None:
        storage.begin_count(services())
    if storage.share_counted(services()) is not None:
        _draw_counting()
    report = storage.last_report(services())
    if report is None:
        return
    _draw_tiles(report)
    _draw_kinds(report)
    _draw_runs(report)
    _draw_exports()
    _draw_rest(report)


@st.fragment(run_every=0.5)
def _draw_counting() -> None:
    with guarded():
        share = storage.share_counted(services())
        if share is None:
            st.rerun()
        st.progress(share or 0.0, text=t("storage.counting"))


def _draw_tiles(report: StorageReport) -> None:
    cleanable = storage.cleanable(services(), report)
    tiles = (
        (t("storage.used"), show_bytes(report.total.bytes)), (t("storage.free"), show_bytes(report.free_bytes)),
        (t("storage.old_checkpoints"), show_bytes(sum(run.freeable_bytes for run in cleanable))),
        (t("storage.in_trash"), show_bytes(report.kinds["trash"].bytes)),
    )  # fmt: skip
    for place, (label, value) in zip(st.columns(4), tiles, strict=True):
        place.metric(label, value, border=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(t("storage.counted_at", at=show_time(report.counted_at), n=show_count(report.total.files)))
        if st.button(t("storage.count_again"), icon=":material/refresh:", type="tertiary"):
            _count_anew()
            st.rerun()


def _draw_kinds(report: StorageReport) -> None:
    st.markdown(f"#### {t('storage.kinds')}")
    kinds = sorted((kind for kind in report.kinds.items() if kind[1].files), key=lambda kind: kind[1].bytes, reverse=True)
    whole = max(1, report.total.bytes)
    table = {
        "kind": [t(f"storage.kind_{kind}") for kind, _ in kinds],
        "bytes": [size.bytes for _, size in kinds],
        "files": [size.files for _, size in kinds],
        "share": [size.bytes / whole for _, size in kinds],
    }
    look: Mapping[str, Any] = {
        "kind": t("storage.kind"), "bytes": st.column_config.NumberColumn(t("storage.size"), format="bytes"),
        "files": st.column_config.NumberColumn(t("storage.files"), format="localized"),
        "share": st.column_config.ProgressColumn(t("storage.share"), format="percent", min_value=0.0, max_value=1.0),
    }  # fmt: skip
    st.dataframe(pd.DataFrame(table), hide_index=True, width="stretch", height="content", column_config=look)


def _draw_runs(report: StorageReport) -> None:
    st.markdown(f"#### {t('storage.runs')}")
    if not report.runs:
        st.info(t("storage.no_runs"), icon=":material/science:")
        return
    shown = report.runs[:MOST_RUNS]
    columns: dict[str, list[object]] = {
        "name": [run.name for run in shown], "owner": [run.owner for run in shown],
        "status": [t(f"status.{run.status}") if run.status in STATUS_LOOK else run.status for run in shown],
        "total": [run.size.total.bytes for run in shown], "old": [run.freeable_bytes for run in shown],
        **{part: [run.size.parts[part].bytes for run in shown] for part in PARTS},
        "kept": [sentence(run.kept) if run.kept and run.size.old_bytes else "" for run in shown],
    }  # fmt: skip
    sizes = {name: t(f"storage.kind_run_{name}") for name in PARTS} | {"total": t("storage.size"), "old": t("storage.old_checkpoints")}
    words = {name: t(f"storage.run_{name}") for name in ("name", "owner", "status", "kept")}
    look: Mapping[str, Any] = words | {name: st.column_config.NumberColumn(label, format="bytes") for name, label in sizes.items()}
    event = st.dataframe(
        pd.DataFrame(columns), hide_index=True, width="stretch", column_config=look, on_select="rerun", selection_mode="multi-row",
        height="auto" if len(shown) < 12 else 440,
        key=f"storage-runs-{hash(tuple(run.id for run in shown))}",  # another list, another selection
    )  # fmt: skip
    if len(report.runs) > MOST_RUNS:
        rest = sum(run.size.total.bytes for run in report.runs[MOST_RUNS:])
        st.caption(t("storage.more_runs", n=show_count(len(report.runs) - MOST_RUNS), size=show_bytes(rest)))
    _draw_clean(report, [shown[row].id for row in event.selection.rows if row < len(shown)])


def _draw_clean(report: StorageReport, chosen: Sequence[str]) -> None:
    runs: list[RunUse] = storage.cleanable(services(), report, chosen)
    freed = sum(run.freeable_bytes for run in runs)
    st.caption(t("storage.clean_text"))
    facts = {"n": show_count(len(runs)), "size": show_bytes(freed)}
    label = t("storage.clean_chosen" if chosen else "storage.clean_all", **facts)
    if st.button(label, icon=":material/cleaning_services:", disabled=not runs or services().read_only):
        ids = [run.id for run in runs]
        ask_first(t("storage.clean"), t("storage.clean_ask", **facts), _freeing(lambda: storage.delete_old_checkpoints(services(), ids)))


def _draw_exports() -> None:
    made = [each for each in storage.list_exports(services()) if may_change(services(), each.owner)]
    st.markdown(f"#### {t('storage.exports')}")
    if not made:
        st.caption(t("storage.no_exports"))
        return
    words = {str(each.path): f"{each.name} ({show_bytes(each.size_bytes)})" for each in made}
    chosen = st.multiselect(t("storage.choose_exports"), list(words), format_func=lambda path: words.get(path, path), key="storage-exports")
    facts = {"n": len(chosen), "size": show_bytes(sum(each.size_bytes for each in made if str(each.path) in chosen))}
    allowed = services().person.may(TRAINER) and not services().read_only
    label = t("storage.delete_exports", **facts) if chosen else t("common.delete")
    if st.button(label, icon=":material/delete:", disabled=not chosen or not allowed):
        ask_first(
            t("common.delete"), t("storage.delete_exports_ask", **facts), _freeing(lambda: storage.delete_exports(services(), chosen))
        )


def _draw_rest(report: StorageReport) -> None:
    """Draw what an admin may empty."""
    st.markdown(f"#### {t('storage.rest')}")
    allowed = services().person.may(ADMIN) and services().supervisor.in_charge
    if not services().person.may(ADMIN):
        st.caption(t("settings.admins_only"))
    with st.container(horizontal=True):
        for kind, icon, act in (
            ("trash", "delete_forever", storage.empty_trash), ("uploads", "delete_sweep", storage.clear_uploads),
            ("cache", "mop", storage.clear_cache),
        ):  # fmt: skip
            size = report.kinds[kind]
            label = t(f"storage.empty_{kind}", size=show_bytes(size.bytes))
            if st.button(label, key=f"storage-{kind}", icon=f":material/{icon}:", disabled=not allowed or not size.files):
                question = t(f"storage.empty_{kind}_ask", n=show_count(size.files), size=show_bytes(size.bytes))
                ask_first(t(f"storage.empty_{kind}_title"), question, _freeing(partial(act, services())))


def _freeing(act: Callable[[], int]) -> Callable[[], None]:
    """Return the act with what it freed said afterwards, and the disk counted anew."""

    def do() -> None:
        with st.spinner(t("storage.freeing")):
            freed = act()
        toast(t("storage.freed", size=show_bytes(freed)))
        _count_anew()

    return do


def _count_anew() -> None:
    st.session_state["storage_count"] = True
