"""What is exported and as what. Knows the exports service."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from tunesmith.errors import UserError
from tunesmith.export.config import FIXED_SHAPES, GgufRules, QuantizeRules
from tunesmith.services import datasets, exports
from tunesmith.services.exports import Source
from tunesmith.settings.files import from_mapping
from tunesmith.ui.forms import draw_fields
from tunesmith.ui.messages import show_error
from tunesmith.ui.session import services, t
from tunesmith.ui.training_form import dataset_title

OF_ADAPTERS = ("gguf", "fused", "quantized", "peft", "gguf_lora")
OF_MODELS = ("gguf", "quantized")
Start = Callable[[str], str]  # takes the name, returns the job's id


def draw_source(titles: dict[str, str], sources: dict[str, Source]) -> Source:
    """Draw the choice of what is exported; the address may name it."""
    keys, wanted = list(sources), st.query_params.get("source")
    chosen = st.selectbox(
        t("export.source"), keys, index=keys.index(wanted) if wanted in keys else 0, format_func=lambda key: titles[key],
        help=t("export.source_help"), key=f"export-source-{wanted}",
    )  # fmt: skip
    return sources[chosen]


def draw_format(source: Source) -> None:
    """Draw the format, its choices and the start."""
    kinds = OF_ADAPTERS if source.is_adapter else OF_MODELS
    asked = st.query_params.get("format", "")
    kind = st.segmented_control(
        t("export.format"), kinds, default=asked if asked in kinds else kinds[0], format_func=lambda name: t(f"export.format_{name}"),
        key=f"format-{source.is_adapter}{asked}",
    ) or kinds[0]  # fmt: skip
    st.caption(t(f"export.about_{kind}"))
    start = FORMS[kind](source)
    name = st.text_input(
        t("export.name"), value=f"{source.name}-{t(f'export.suffix_{kind}')}"[:100], key=f"name-{kind}-{source.key}", max_chars=200
    )
    try:
        if st.button(t("export.start"), type="primary", icon=":material/output:", disabled=services().read_only):
            start(name)
            st.rerun()
    except UserError as error:
        show_error(error)


def _gguf(source: Source) -> Start:
    values = draw_fields(GgufRules(), "gguf", advanced=False, options={}, columns=3)
    return lambda name: exports.start_gguf(services(), source, name, from_mapping(GgufRules, values))


def _fused(source: Source) -> Start:
    dtype = st.selectbox(t("export.dtype"), exports.DTYPES, format_func=lambda d: d or t("export.dtype_own"), help=t("export.dtype_help"))
    return lambda name: exports.start_fused(services(), source, name, dtype)


def _quantized(source: Source) -> Start:
    values = draw_fields(QuantizeRules(), "quantize", advanced=False, options={}, columns=3)
    if fixed := FIXED_SHAPES.get(str(values["mode"])):
        st.caption(t("export.fixed_shape", mode=values["mode"], group_size=fixed[0], bits=fixed[1]))
    with st.expander(t("training.advanced"), icon=":material/tune:"):
        values |= draw_fields(QuantizeRules(), "quantize", advanced=True, options={}, columns=3)
    titles = {d.id: dataset_title(d) for d in datasets.list_datasets(services()) if d.rows.get("valid") and "sft" in d.methods}
    data = st.selectbox(
        t("export.data"), ["", *titles], format_func=lambda d: titles.get(d, t("fusion.no_data")), help=t("export.data_help")
    )
    return lambda name: exports.start_quantized(services(), source, name, from_mapping(QuantizeRules, values), data)


def _peft(source: Source) -> Start:
    return lambda name: exports.start_peft(services(), source, name)


def _gguf_lora(source: Source) -> Start:
    return lambda name: exports.start_gguf_lora(services(), source, name)


FORMS: dict[str, Callable[[Source], Start]] = {
    "gguf": _gguf, "fused": _fused, "quantized": _quantized, "peft": _peft, "gguf_lora": _gguf_lora,
}  # fmt: skip
