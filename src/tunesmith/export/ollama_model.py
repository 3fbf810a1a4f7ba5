"""An Ollama model from a GGUF export's manifest and what a person chose. Knows no server and opens no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.errors import UserError
from tunesmith.export.config import OllamaRules
from tunesmith.export.ollama import OllamaModel, Parameter
from tunesmith.export.ollama_template import ChatFormat, check_go_template, to_go_template


def ollama_model(manifest: Mapping[str, Any], rules: OllamaRules) -> OllamaModel:
    """Return template, stops, system message and parameters.

    Raises UserError `ollama_template_unknown`, `ollama_template_loses`, `model_without_chat_template`.
    """
    chat = manifest.get("chat")
    if rules.template.strip():
        check_go_template(rules.template)
        template, stops = rules.template, tuple(chat["eos"]) if chat else ()
    elif chat:
        written = to_go_template(ChatFormat(chat["template"], chat["bos"], tuple(chat["eos"])), bool(chat["adds_bos"]))
        template, stops = written.text, written.stops
    else:
        raise UserError("model_without_chat_template")
    parameters: dict[str, Parameter] = {"temperature": rules.temperature, "top_p": rules.top_p, "num_ctx": rules.num_ctx}
    return OllamaModel(template, stops, rules.system.strip(), parameters)
