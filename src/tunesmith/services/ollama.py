"""Ollama as the pages see it: the Modelfile of an export, the models that are there, a test question, taking ours away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.export.config import OllamaRules
from tunesmith.export.ollama import OllamaModel, modelfile
from tunesmith.export.ollama_client import ChatAnswer, OllamaClient
from tunesmith.export.ollama_deploy import is_ours, list_deployed, remove_deployed
from tunesmith.export.ollama_model import ollama_model
from tunesmith.services import exports
from tunesmith.services.context import Services
from tunesmith.services.exports import Made
from tunesmith.services.rights import needs


@dataclass(frozen=True)
class OllamaRow:
    """A model in Ollama; `ours` are those that we made there and nobody changed since."""

    name: str
    size_bytes: int
    ours: bool


def client(s: Services) -> OllamaClient:
    """Return who asks the Ollama of the settings. Raises UserError `endpoint_…`."""
    return OllamaClient(s.settings.ollama_url, s.settings.endpoint_hosts)


def models(s: Services) -> list[OllamaRow]:
    """Return the models that are in Ollama. Raises UserError `ollama_not_running`, `ollama_…`."""
    asked, deployed = client(s), list_deployed(s.data_dir)
    return [
        OllamaRow(present.name, present.size_bytes, any(is_ours(entry, asked.address, present) for entry in deployed))
        for present in asked.list_models()
    ]


def describe(made: Made, rules: OllamaRules) -> OllamaModel:
    """Return what an export's Ollama model is made of. Raises UserError `ollama_template_unknown`, `model_without_chat_template`."""
    return ollama_model(made.manifest, rules)


def modelfile_of(made: Made, rules: OllamaRules) -> str:
    """Return an export's Modelfile. Raises UserError `ollama_template_unknown`, `gguf_missing`, `modelfile_cannot_quote`."""
    return modelfile(exports.gguf_of(made).name, describe(made, rules))


def ask(s: Services, name: str, question: str) -> ChatAnswer:
    """Ask a model in Ollama. Raises UserError `prompt_empty`, `ollama_…`."""
    if not question.strip():
        raise UserError("prompt_empty")
    return client(s).chat(name, question, max_tokens=256)


@needs(TRAINER)
def remove(s: Services, name: str) -> None:
    """Take away a model that we made. Raises UserError `ollama_model_not_ours`, `ollama_model_changed`, `ollama_…`."""
    folder: Path = s.data_dir
    remove_deployed(client(s), folder, name)
