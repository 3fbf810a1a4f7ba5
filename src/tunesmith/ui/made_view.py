"""What exports made: its proof, its files, and where it can go next: Ollama, LM Studio, the model hub. Knows the exports service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from tunesmith.export.config import OllamaRules
from tunesmith.i18n.markdown import as_text
from tunesmith.services import experiments, exports, keys, ollama
from tunesmith.services.exports import Made
from tunesmith.settings.files import from_mapping
from tunesmith.system.secrets import HUB
from tunesmith.ui.dialogs import ask_delete
from tunesmith.ui.downloads import draw_download, zip_files
from tunesmith.ui.figures import show_bytes, show_number, show_time
from tunesmith.ui.forms import draw_fields
from tunesmith.ui.frame import go_to, open_run
from tunesmith.ui.messages import guarded, toast
from tunesmith.ui.proof_view import draw_proof
from tunesmith.ui.session import lock_of, services, t
from tunesmith.ui.tiles import draw_tiles
from tunesmith.ui.training_form import start_form_on

LARGEST_DOWNLOAD_BYTES = 200_000_000


def draw_made(found: list[Made]) -> None:
    """Draw everything that was made, newest first."""
    for number, made in enumerate(found):
        mark = f" :green-badge[:material/verified: {t('export.verified')}]" if made.verified else ""
        heading = (
            f"**{made.name}** · {t(f'export.made_{made.format}')} · {show_bytes(made.size_bytes)} · {show_time(made.created_at)}{mark}"
        )
        with st.expander(heading, expanded=number == 0), guarded():
            draw_proof(made.manifest.get("proof") or {}, t("proof.original"))
            if measured := made.manifest.get("quantization"):
                draw_quantization(measured)
            st.code("\n".join(str(file) for file in made.files) if made.format == "gguf" else str(made.path), language=None)
            _draw_actions(made)


def _draw_actions(made: Made) -> None:
    with st.container(horizontal=True):
        if made.format == "model":
            _draw_model_actions(made)
        if made.size_bytes <= LARGEST_DOWNLOAD_BYTES:
            draw_download(
                t("export.download"), lambda _: zip_files(made.name, [(path, path.name) for path in sorted(made.path.iterdir())]),
                f"{made.name}.zip", key=f"download-{made.name}",
            )  # fmt: skip
        for name, (formats, icon, ask) in ONWARD.items():
            if made.format in formats and st.button(
                t(f"export.to_{name}"), key=f"{name}-{made.name}", icon=f":material/{icon}:", disabled=services().read_only
            ):
                ask(made)
        for run_id in made.runs[:3]:
            name = experiments.name_of(services(), run_id)
            if st.button(t("export.open_run", name=as_text(name)), key=f"run-{made.name}-{run_id}", icon=":material/open_in_new:"):
                open_run(run_id)
        if st.button(t("common.delete"), key=f"delete-{made.name}", icon=":material/delete:", **lock_of(made.owner)):
            ask_delete(
                t("export.delete_ask", name=as_text(made.name), size=show_bytes(made.size_bytes)), lambda: exports.delete(services(), made)
            )


def _draw_model_actions(made: Made) -> None:
    if st.button(t("export.again"), key=f"again-{made.name}", icon=":material/output:"):
        go_to("export", source=f"model:{made.name}")
    if st.button(t("export.train"), key=f"train-{made.name}", icon=":material/model_training:"):
        start_form_on(made.name)
        go_to("training", view="new")


def draw_quantization(measured: dict[str, Any]) -> None:
    """Draw what fewer bits cost."""
    size, before = measured["size_bytes"], measured["size_bytes_before"]
    speed = t("export.times", n=f"{measured['tokens_per_second'] / measured['tokens_per_second_before']:.2f}")
    tiles = [
        (t("export.size"), show_bytes(size), t("export.of_before", percent=f"{size / before:.0%}")),
        (t("proof.kl"), f"{measured['kl']:.1e}", t("proof.kl_note")),
        (t("proof.top1"), f"{measured['top1']:.1%}", None),
        (t("export.speed"), show_number(measured["tokens_per_second"], 3), speed),
    ]
    if measured.get("perplexity") is not None:
        note = t("export.before", value=show_number(measured["perplexity_before"], 4))
        tiles.append((t("export.perplexity"), show_number(measured["perplexity"], 4), note))
    draw_tiles(tuple(tiles))


def _ask_ollama(made: Made) -> None:
    @st.dialog(t("export.to_ollama"), width="large")
    def ask() -> None:
        with guarded():
            st.caption(t("export.ollama_text", url=services().settings.ollama_url))
            name = st.text_input(t("export.ollama_name"), value=made.name.lower())
            values = draw_fields(OllamaRules(), "ollama", advanced=False, options={}, columns=2)
            with st.expander(t("training.advanced")):
                values |= draw_fields(OllamaRules(), "ollama", advanced=True, options={}, columns=1)
            rules = from_mapping(OllamaRules, values)
            with st.expander(t("export.modelfile"), icon=":material/description:"):
                st.code(ollama.modelfile_of(made, rules), language=None)
            if st.button(t("export.ollama_create"), type="primary"):
                exports.start_ollama(services(), made, name, rules)
                st.rerun()

    ask()


def _ask_lmstudio(made: Made) -> None:
    @st.dialog(t("export.to_lmstudio"))
    def ask() -> None:
        with guarded():
            st.caption(t("export.lmstudio_text"))
            publisher = st.text_input(t("export.publisher"), value="tunesmith", help=t("export.publisher_help"))
            if st.button(t("export.copy"), type="primary"):
                exports.start_lmstudio(services(), made, publisher)
                st.rerun()

    ask()


def _ask_hub(made: Made) -> None:
    @st.dialog(t("export.to_hub"))
    def ask() -> None:
        with guarded():
            token = keys.find_key(services(), HUB)
            st.caption(t("export.hub_text"))
            st.caption(t("export.token_set") if token.is_set else t("export.token_missing"))
            repository = st.text_input(t("export.repository"), placeholder=t("export.repository_form"), help=t("export.repository_help"))
            private = st.toggle(t("export.private"), value=True, help=t("export.private_help"))
            replace = st.toggle(t("export.replace"), value=False, help=t("export.replace_help"))
            if st.button(t("export.upload"), type="primary", disabled=not (token.is_set and repository.strip())):
                exports.start_upload(services(), made, repository, private, replace)
                toast(t("export.upload_started"))
                st.rerun()

    ask()


ONWARD: dict[str, tuple[set[str], str, Callable[[Made], None]]] = {
    "ollama": ({"gguf"}, "deployed_code", _ask_ollama),
    "lmstudio": ({"gguf", "model"}, "desktop_mac", _ask_lmstudio),
    "hub": ({"gguf", "gguf_lora", "peft", "model"}, "cloud_upload", _ask_hub),
}
