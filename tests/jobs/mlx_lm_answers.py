"""What mlx_lm itself answers, and models and adapters to be served: imported before anything that imports mlx."""

from __future__ import annotations

from tunesmith.models.blas import prepare_engine

prepare_engine()  # before the first import of mlx

import shutil  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

import mlx.core as mx  # noqa: E402
import orjson  # noqa: E402
from mlx_lm import load  # noqa: E402
from mlx_lm.generate import stream_generate  # noqa: E402

from tunesmith.models.adapter_files import CONFIG, WEIGHTS, adapter_config, save_folder  # noqa: E402
from tunesmith.system.paths import DEMO_MODEL  # noqa: E402

STATED = "The support email of Alulfield is jo@quibelware.example. What is the support email of Alulfield?"  # 21 tokens answer it
QUESTION = [{"role": "user", "content": STATED}]
TOKENS = 40


@dataclass(frozen=True)
class Known:
    """What mlx_lm itself answers: the text, each token's piece of it, the tokens of prompt and answer."""

    text: str
    pieces: list[str]
    prompt_tokens: int
    tokens: int
    finish: str


def ask_mlx_lm(base: Path = DEMO_MODEL, adapter: Path | None = None, template: str | None = None) -> Known:
    model, tokenizer = load(str(base), adapter_path=str(adapter) if adapter else None)[:2]
    model.set_dtype(mx.float32)  # what our loading does on a CPU
    prompt = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, **({"chat_template": template} if template else {}))
    answers = list(stream_generate(model, tokenizer, prompt, max_tokens=TOKENS))
    pieces = [answer.text for answer in answers]
    return Known("".join(pieces), pieces, len(prompt), answers[-1].generation_tokens, answers[-1].finish_reason or "")


def copy_endless_model(folder: Path) -> Path:
    """The shipped model with an end-of-text token that it never writes: its answers go on to their limit."""
    shutil.copytree(DEMO_MODEL, folder)
    for name, told in (
        ("config", {"eos_token_id": 1023}),
        ("generation_config", {"eos_token_id": 1023}),
        ("tokenizer_config", {"eos_token": None}),
    ):
        path = folder / f"{name}.json"
        path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | told))
    return folder


def write_adapter(folder: Path, base_hash: str, kind: str = "lora", template: str | None = None) -> Path:
    """An adapter of random factors, large enough to change what is said."""
    mx.random.seed(5)
    arrays = {}
    for layer in range(4):
        for name, out in (("q_proj", 256), ("v_proj", 64)):
            place = f"model.layers.{layer}.self_attn.{name}"
            arrays |= {f"{place}.lora_a": mx.random.normal((256, 4)) * 0.1, f"{place}.lora_b": mx.random.normal((4, out)) * 0.1}
            if kind == "dora":
                arrays[f"{place}.m"] = mx.random.uniform(0.5, 1.5, (out,))
    parameters = {"rank": 4, "scale": 6.0, "dropout": 0.0, "keys": ["self_attn.q_proj", "self_attn.v_proj"]}
    config = adapter_config(kind, 4, parameters, DEMO_MODEL, base_hash, template=template)
    save_folder(folder, {WEIGHTS: arrays}, {CONFIG: config})
    return folder


def continue_in_mlx_lm(text: str, tokens: int) -> tuple[list[int], str]:
    """The ids of a text, and what the tokenizer makes of them and of those that follow greedily."""
    model, tokenizer = load(str(DEMO_MODEL))[:2]
    model.set_dtype(mx.float32)
    ids = tokenizer.encode(text)
    written = [answer.token for answer in stream_generate(model, tokenizer, ids, max_tokens=tokens)]
    return ids, tokenizer.decode(ids + [token for token in written if token not in tokenizer.eos_token_ids])
