"""Bringing a file: what it is, what its columns mean, what would be kept, and the import. Knows the service of versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from tunesmith.data.formats import KINDS
from tunesmith.data.row_kinds import roles_of
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import has
from tunesmith.services import dataset_versions as versions
from tunesmith.services import uploads
from tunesmith.services.dataset_versions import Inspection
from tunesmith.ui.dataset_view import draw_conversation, problem_table
from tunesmith.ui.figures import show_count
from tunesmith.ui.messages import show_error, toast
from tunesmith.ui.session import services, t
from tunesmith.ui.work_bar import work_bar

SHOWN_PROBLEMS = 100


def draw_import() -> None:
    """Draw the upload, what was found in it, the mapping of its columns, and the button that keeps it."""
    files = st.file_uploader(
        t("import.files"), help=t("import.files_help"), disabled=services().read_only, accept_multiple_files=True,
        key=f"import-files-{st.session_state.get('import_round', 0)}",
    )  # fmt: skip
    st.caption(t("import.files_help"))
    if not files:
        _forget()
        return
    try:
        path = _held(files)
        mapping = _draw_kind(path)
        found = _inspect(path, mapping)
        _draw_found(found)
        _draw_samples(found)
        _draw_button(path, found, mapping)
    except UserError as error:
        show_error(error)


def _held(files: list[Any]) -> Path:
    """Keep the uploads aside once; others take their place."""
    ids = tuple(file.file_id for file in files)
    if st.session_state.get("import_ids") != ids:
        _forget()
        st.session_state["import_path"] = uploads.hold(services(), [(file.name, file) for file in files])
        st.session_state["import_ids"] = ids
    path: Path = st.session_state["import_path"]
    return path


def _forget() -> None:
    if path := st.session_state.pop("import_path", None):
        uploads.drop(services(), path)
    for name in ("import_ids", "import_found"):
        st.session_state.pop(name, None)


def _inspect(path: Path, mapping: dict[str, Any] | None) -> Inspection:
    """Look at the file, once per mapping."""
    seen: dict[str, Inspection] = st.session_state.setdefault("import_found", {})
    if repr(mapping) not in seen:
        with work_bar(t("import.reading")) as report:
            seen[repr(mapping)] = versions.inspect_file(path, mapping, report)
    return seen[repr(mapping)]


def _draw_kind(path: Path) -> dict[str, Any] | None:
    """Draw what the rows are and which column is what; return the mapping, None for the rows' own names."""
    plain = _inspect(path, None)
    if not plain.columns:
        return None
    suggested = plain.suggested or {"kind": "", "columns": {}}
    kinds = ["", *KINDS]
    first = "" if plain.rows else suggested["kind"]
    key = f"import-{path.parent.name}-{path.name}"
    kind = st.selectbox(
        t("import.kind"), kinds, index=kinds.index(first), format_func=lambda name: t(f"kind.{name}") if name else t("import.kind_auto"),
        help=t("import.kind_help"), key=f"{key}-kind",
    )  # fmt: skip
    if not kind:
        return None
    st.caption(t("import.mapping_text"))
    roles = roles_of(kind)
    places = st.columns(min(4, len(roles)))
    chosen = {}
    for number, role in enumerate(roles):
        needed = role in KINDS[kind].columns
        options = plain.columns if needed else ["", *plain.columns]
        present = suggested["columns"].get(role) if suggested["kind"] == kind else None
        guess = present or (role if role in options else options[min(number, len(options) - 1)] if needed else "")
        chosen[role] = places[number % len(places)].selectbox(
            t(f"import.role_{role}"), options, index=options.index(guess), format_func=lambda name: name or t("common.none"),
            key=f"{key}-{kind}-{role}",
        )  # fmt: skip
    return {"kind": kind, "columns": {role: column for role, column in chosen.items() if column}}


def _draw_found(found: Inspection) -> None:
    rows = ", ".join(f"{t('dataset.split_' + split)} {show_count(count)}" for split, count in found.rows.items())
    kinds = ", ".join(f"{t('kind.' + kind)} {show_count(count)}" for kind, count in found.kinds.items())
    kind_of_file = t("import.format_" + found.format) + (f" ({found.encoding})" if found.encoding else "")
    st.markdown(" · ".join(part for part in (f"**{kind_of_file}**", rows or t("import.no_usable"), kinds) if part))
    if found.methods:
        st.caption(f"{t('dataset.methods')}: {', '.join(t(f'method.{method}') for method in found.methods)}")
    if not found.whole:
        st.caption(t("import.first_rows", n=show_count(versions.LOOKED_AT_ROWS)))
    if not found.problem_counts:
        return
    counted = ", ".join(f"{name_problem(code)} ({show_count(count)})" for code, count in found.problem_counts.items())
    st.warning(t("import.problems", count=show_count(found.left_out), problems=counted), icon=":material/warning:")
    with st.expander(t("dataset.problems")):
        st.dataframe(problem_table(found.problems[:SHOWN_PROBLEMS]), hide_index=True, width="stretch")


def name_problem(code: str) -> str:
    """Return a problem's short name."""
    return t(f"problem_name.{code}") if has(f"problem_name.{code}") else code


def _draw_samples(found: Inspection) -> None:
    """Draw the first rows as they stand in the file, and what becomes of them."""
    for sample in found.samples[:2]:
        left, right = st.columns(2)
        with left:
            st.caption(t("import.in_file"))
            cells = {t("import.column"): list(sample["source"]), t("import.value"): [_short(v) for v in sample["source"].values()]}
            st.dataframe(pd.DataFrame(cells), hide_index=True, width="stretch")
        with right:
            st.caption(t("import.becomes"))
            if sample["canonical"] is None:
                st.caption(t("import.not_usable_yet"))
            else:
                draw_conversation(sample["canonical"])


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 300 else f"{text[:300]}…"


def _draw_button(path: Path, found: Inspection, mapping: dict[str, Any] | None) -> None:
    name = st.text_input(t("import.name"), value=path.stem, help=t("import.name_help"), key=f"import-name-{path.parent.name}")
    if not st.button(t("import.keep"), type="primary", icon=":material/add:", disabled=not found.rows):
        return
    with work_bar(t("import.importing")) as report:
        made = versions.import_file(services(), path, name.strip() or path.name, mapping, report)
    finish_import(made)


def finish_import(dataset_id: str) -> None:
    """Say what was kept and show it."""
    _forget()
    st.session_state["import_round"] = st.session_state.get("import_round", 0) + 1
    version = versions.versions(services(), dataset_id)[-1]
    rows = sum(version.record["census"]["rows"].values())
    left_out = version.record["census"]["left_out"]
    words = t("dataset.uploaded", name=dataset_id, rows=show_count(rows))
    toast(f"{words} {t('import.left_out', count=show_count(left_out))}" if left_out else words)
    st.query_params["data"] = dataset_id
    st.rerun()


def draw_hub() -> None:
    """Draw the import of a hub's data set by name."""
    st.caption(t("import.hub_text"))
    name = st.text_input(t("import.hub_name"), placeholder="owner/name", key="import-hub")
    if st.button(t("import.hub_button"), disabled=not name.strip() or services().read_only, icon=":material/cloud_download:"):
        try:
            with work_bar(t("import.importing")) as report:
                made = versions.import_hub(services(), name.strip(), report)
        except UserError as error:
            show_error(error)
        else:
            finish_import(made)
