"""The demo model as GGUF behind the double of Ollama: its prompt in Go gives the answer that the model gives by its own chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.generate import generate_step

from tests.ollama_double import serve_ollama
from tests.parity.llama_engine import engine_folder
from tunesmith.data.templates import render
from tunesmith.export.gguf import export_gguf
from tunesmith.export.llama_cpp import ask_llama_cpp
from tunesmith.export.ollama import OllamaModel
from tunesmith.export.ollama_client import OllamaClient
from tunesmith.export.ollama_deploy import check_deployed, deploy_gguf
from tunesmith.export.ollama_template import read_chat_format, to_go_template
from tunesmith.inference.generation import generate_text
from tunesmith.models.fused_weights import fused_weights
from tunesmith.models.loading import LoadedModel
from tunesmith.system.paths import DEMO_MODEL

QUESTION, MOST_TOKENS = "What is the capital of France?", 24


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    export_gguf(fused_weights(DEMO_MODEL), DEMO_MODEL, tmp_path / "demo.gguf", "F32")
    return tmp_path / "demo.gguf"


class MlxEngine:
    """Answers as an engine does: from the prompt's text alone, up to a stop. Has MLX's weights, whatever the file holds."""

    def __init__(self, base: LoadedModel) -> None:
        self.base = base
        self.prompts: list[list[int]] = []

    def __call__(self, _: Path, prompt: str, stops: list[str], most_tokens: int) -> tuple[str, int]:
        self.prompts.append(self.base.tokenizer.encode(prompt, add_special_tokens=False))
        steps = generate_step(mx.array(self.prompts[-1]), self.base.model, max_tokens=most_tokens)
        return self.read([int(token) for token, _ in steps], stops)

    def read(self, answer: list[int], stops: list[str]) -> tuple[str, int]:
        """Return a text up to the first stop, and how many tokens there were."""
        text = self.base.tokenizer.decode(answer)
        return text[: min([text.find(stop) for stop in stops if stop in text], default=len(text))], len(answer)


class LlamaCppEngine(MlxEngine):
    """Answers by llama.cpp from the uploaded file: its own weights, its own cutting of the text."""

    def __call__(self, gguf: Path, prompt: str, stops: list[str], most_tokens: int) -> tuple[str, int]:
        request = {"do": "answer", "model": str(gguf), "context_tokens": 256, "answer_tokens": most_tokens, "logits": str(gguf) + ".npy"}
        cut: Any = ask_llama_cpp(engine_folder(), request | {"texts": [prompt], "prompts": [[0]]})
        self.prompts += cut["texts"]
        return self.read(ask_llama_cpp(engine_folder(), request | {"texts": [], "prompts": cut["texts"]})["answers"][0], stops)


@pytest.mark.parametrize("system", ["", "You are a helpful assistant."])
@pytest.mark.parametrize("make_engine", [MlxEngine, LlamaCppEngine])
def test_a_deployed_model_answers_as_it_does_here(
    base: LoadedModel, gguf: Path, tmp_path: Path, make_engine: type[MlxEngine], system: str
) -> None:
    base.model.eval()
    if make_engine is LlamaCppEngine:
        engine_folder()  # skips where there is none
    engine = make_engine(base)
    template = to_go_template(read_chat_format(DEMO_MODEL), adds_bos=False)
    model = OllamaModel(template.text, template.stops, system)
    with serve_ollama(tmp_path / "server", engine) as double:
        client = OllamaClient(double.address)
        deploy_gguf(client, tmp_path / "data", "demo", gguf, model)
        check = check_deployed(client, "demo", model, QUESTION, MOST_TOKENS)
    messages = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": QUESTION}]
    assert engine.prompts == [render(base.tokenizer, messages, answer_next=True)]
    assert check.answer.text.strip() == generate_text(base.model, base.tokenizer, messages, MOST_TOKENS)
    assert check.answer.text.strip()
    assert check.template_kept
    assert check.stops_kept
