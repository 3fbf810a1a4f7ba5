"""What a GGUF file is worth: read back into MLX and asked in llama.cpp, beside the model that it was made from. Knows no writing.

Two links, measured apart: the stored weights against the original's (both in MLX), and llama.cpp against MLX with the stored weights.
What could not be checked is named, and the file then does not count as verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm.utils import dequantize_model

from tunesmith.errors import UserError
from tunesmith.export.gguf_architectures import Array, read_blueprint
from tunesmith.export.gguf_reading import count_types, open_gguf, read_back
from tunesmith.export.gguf_tokens import end_ids
from tunesmith.export.llama_cpp import ask_llama_cpp, find_library
from tunesmith.inference.proof import PROMPTS, Likeness, compare_logits, encode_prompts, prompt_logits
from tunesmith.models.fused_weights import FusedWeights
from tunesmith.models.loading import load_tokenizer
from tunesmith.models.weights import open_lazily
from tunesmith.system.progress import Report, silent
from tunesmith.system.scratch import scratch_folder

TEXTS = (
    *PROMPTS, "  two  spaces ", "tabs\t\tand\n\n\nlines\r\n x", "It's 3.14159, don't 12345678!", "é 🎉 한국어 Ünïcödé", "１２３ｱｲｳ々〆ヵ",
)  # fmt: skip
ANSWER_TOKENS, CONTEXT_TOKENS = 24, 512
STORED_KL = {"F32": 1e-6, "F16": 1e-3, "BF16": 1e-2, "Q8_0": 2e-2}  # nats, the most for a file whose roughest type it is
STORED_KL_ELSE = 0.5
ENGINE_KL = {"F32": 1e-4, "F16": 1e-4, "BF16": 1e-3}  # llama.cpp keeps keys and values in F16
ENGINE_KL_ELSE = 3e-2  # and rounds what it multiplies with quantised weights to 8 bits
LARGEST_GAP = {"F32": 0.05, "F16": 0.05, "BF16": 0.2}  # nats by which MLX may prefer another token than llama.cpp's greedy one
LARGEST_GAP_ELSE = 1.0


@dataclass(frozen=True)
class Followed:
    """An engine's greedy answers seen by MLX, given the same text before: the share of tokens that MLX finds likeliest too, and by how
    much (nats) it preferred another one at most.
    """

    tokens: int
    same: float
    largest_gap: float


@dataclass(frozen=True)
class EngineAnswers:
    """What llama.cpp did: greedy answers, the prompts' logits [T, V], whether each text was cut alike and all ends are known to it.

    `name` is empty when there was none or it failed; `missing` then says why by code, `reason` in its words.
    """

    name: str = ""
    answers: list[list[int]] = field(default_factory=list)
    logits: list[Array] = field(default_factory=list)
    texts: Mapping[str, bool] = field(default_factory=dict)
    ends: bool = False
    missing: str = ""
    reason: str = ""


def prove_gguf(path: Path, source: Path, weights: FusedWeights, report: Report = silent, library: str = "") -> dict[str, Any]:
    """Return for a manifest what was checked of `path`, made from `weights` (fresh ones) of the folder `source`, and how it came out.

    `likeness`: the weights read back, against the original's. `engine`, who answered (empty: nobody), and against MLX with the stored
    weights: `engine_likeness`, `greedy_equal` (the share of the greedy answers' tokens that MLX finds likeliest), `greedy_gap` (by how
    much it preferred another, nats), and `tokens_equal`, the share of texts cut alike; `greedy_equal_original` is against the original.
    `checks`: what was checked and whether it came out well. `unchecked`: codes of what was not. `verified`: an engine answered and all
    checks came out well. Raises UserError `gguf_broken`, `gguf_library_missing`, `model_…`.
    """
    blueprint, reader, tokenizer = read_blueprint(source), open_gguf(path), load_tokenizer(source)
    prompts = encode_prompts(tokenizer)
    report("proving", 0.0)
    engine = ask_engine(path, tokenizer, prompts, library)
    report("proving", 0.3)
    model = load_dense(source, weights.tensors())
    expected, original = prompt_logits(model, prompts), follow(model, prompts, engine.answers)
    report("proving", 0.6)
    _replace(model, read_back(reader, blueprint))
    found = prompt_logits(model, prompts)
    likeness, types = compare_logits(expected, found), count_types(reader)
    checks = {"stored": likeness.kl <= _limit(types, STORED_KL, STORED_KL_ELSE)}
    told = engine_record(engine, checks, found, follow(model, prompts, engine.answers), types, tokenizer)
    report("proving", 1.0)
    facts = {"file": path.name, "size_bytes": path.stat().st_size, "types": types, "likeness": likeness.as_record()}
    return facts | told | ({"greedy_equal_original": original.same} if engine.name else {})


def ask_engine(path: Path, tokenizer: Any, prompts: Sequence[Sequence[int]], library: str, adapter: Path | None = None) -> EngineAnswers:
    """Return what llama.cpp makes of a file, with an adapter's file on it if there is one. Raises UserError `gguf_library_missing`."""
    folder = find_library(library)
    if folder is None:
        return EngineAnswers(missing="engine_missing")
    texts = [*TEXTS, " ".join(tokenizer.all_special_tokens)]
    with scratch_folder() as room:
        logits = Path(room) / "logits.npy"
        request = {
            "do": "answer", "model": str(path), "adapter": str(adapter) if adapter else "", "texts": texts, "prompts": prompts,
            "answer_tokens": ANSWER_TOKENS, "context_tokens": CONTEXT_TOKENS, "logits": str(logits),
        }  # fmt: skip
        try:
            found = ask_llama_cpp(folder, request)
        except UserError as error:  # the file may be at fault as well as the engine
            return EngineAnswers(missing="engine_failed", reason=str(error.facts["reason"]))
        rows = np.split(np.load(logits), np.cumsum([len(prompt) for prompt in prompts])[:-1])  # noqa: TID251 ours
    alike = {text: ids == list(tokenizer.encode(text)) for text, ids in zip(texts, found["texts"], strict=True)}
    ends = set(end_ids(tokenizer)) <= set(found["ends"])
    return EngineAnswers(f"llama.cpp {found['version']}".strip(), found["answers"], rows, alike, ends)


def engine_record(
    engine: EngineAnswers,
    checks: Mapping[str, bool],
    expected: Sequence[Array],
    followed: Followed,
    types: Mapping[str, int],
    tokenizer: Any,
) -> dict[str, Any]:
    """Return the part of a proof that says who checked what, and whether all of it came out well; `expected` are MLX's logits [T, V]."""
    likeness: Likeness | None = compare_logits(expected, engine.logits) if engine.name else None
    if likeness:
        checks = {
            **checks, "tokens": all(engine.texts.values()), "ends": engine.ends,
            "logits": likeness.kl <= _limit(types, ENGINE_KL, ENGINE_KL_ELSE),
            "answers": followed.largest_gap <= _limit(types, LARGEST_GAP, LARGEST_GAP_ELSE),
        }  # fmt: skip
    unchecked = [engine.missing] if engine.missing else []
    if type(tokenizer.backend_tokenizer.normalizer).__name__ == "NFC":
        unchecked.append("decomposed_text")  # llama.cpp leaves it as it is
    record = {"engine": engine.name, "checks": dict(checks), "unchecked": unchecked, "reason": engine.reason}
    if likeness is None:
        return record | {"verified": False}
    return record | {
        "engine_likeness": likeness.as_record(), "tokens_equal": float(np.mean(list(engine.texts.values()))),
        "greedy_equal": followed.same, "greedy_gap": followed.largest_gap, "verified": all(checks.values()),
    }  # fmt: skip


def follow(model: Any, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]]) -> Followed:
    """Return how MLX sees an engine's greedy answers."""
    gaps: list[float] = []
    for prompt, answer in zip(prompts, answers, strict=False):
        logits = prompt_logits(model, [[*prompt, *answer[:-1]]])[0][len(prompt) - 1 :]
        gaps += (logits.max(axis=1) - logits[np.arange(len(answer)), np.array(answer)]).tolist()
    if not gaps:
        return Followed(0, 0.0, 0.0)
    return Followed(len(gaps), float(np.mean(np.array(gaps) == 0)), max(gaps))


def _limit(types: Mapping[str, int], limits: Mapping[str, float], otherwise: float) -> float:
    return max(limits.get(name, otherwise) for name in types)


def load_dense(source: Path, tensors: Iterable[tuple[str, mx.array]]) -> Any:
    """Return the dense model of a folder with other weights in it, in float32: how MLX rounds is not the question."""
    model, _ = open_lazily(source)
    model = dequantize_model(model)
    model.load_weights(list(tensors))
    model.set_dtype(mx.float32)
    model.eval()
    return model


def _replace(model: Any, tensors: Iterable[tuple[str, mx.array]]) -> None:
    """Put other weights into a model, one by one."""
    for name, array in tensors:
        owner = model
        *path, leaf = name.split(".")
        for step in path:
            owner = owner[int(step)] if isinstance(owner, list) else owner[step]
        owner[leaf] = array
        mx.eval(array)
