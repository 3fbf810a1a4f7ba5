"""A model's vocabulary as llama.cpp wants it, taken from the tokenizer as it works in MLX. Knows no weights.

Byte-level BPE becomes llama.cpp's `gpt2` (tokens and merges), SentencePiece's BPE its `llama` (pieces and scores).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import orjson

from tunesmith.errors import UserError
from tunesmith.export.gguf_pretokenizers import adds_space, split_name
from tunesmith.models.loading import load_tokenizer

END_KEYS = ("eos", "eot", "eom")  # as many ids as GGUF has keys for
PROBE = "a"


@dataclass(frozen=True)
class Vocabulary:
    """What llama.cpp needs to cut text as MLX does; `merges` for byte-level BPE, `scores` for SentencePiece."""

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    ids: Mapping[str, int]  # bos, eos, eot, eom, pad, unk
    add_bos: bool
    add_eos: bool
    add_space: bool | None
    chat_template: str


def read_vocabulary(source: Path, rows: int, template: str | None = None) -> Vocabulary:
    """Return the vocabulary of a model folder, padded to the embedding's rows; `template` replaces its prompt format.

    Raises UserError `gguf_tokenizer_unknown`, `gguf_vocabulary_larger`, `gguf_end_missing`, `model_…`.
    """
    tokenizer = load_tokenizer(source)
    told = orjson.loads(tokenizer.backend_tokenizer.to_str())  # as it works, whatever class made it from whatever files
    model = told["model"]
    if model["type"] != "BPE" or model.get("dropout") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise UserError("gguf_tokenizer_unknown", part="model")
    merges = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"]]
    pieces = bool(model.get("byte_fallback"))
    tokens, types = _tokens(told, rows, model.get("unk_token") if pieces else None)
    add_bos, add_eos = _added(tokenizer)
    return Vocabulary(
        model="llama" if pieces else "gpt2", pre="default" if pieces else split_name(told), tokens=tokens, types=types,
        merges=[] if pieces else [" ".join(pair) for pair in merges], scores=_scores(tokens, merges) if pieces else [],
        ids=_ids(tokenizer), add_bos=add_bos, add_eos=add_eos, add_space=adds_space(told) if pieces else None,
        chat_template=template or _template(tokenizer),
    )  # fmt: skip


def _tokens(told: Mapping[str, Any], rows: int, unknown: str | None) -> tuple[list[str], list[int]]:
    added = {each["id"]: each for each in told["added_tokens"]}
    plain = {number: text for text, number in told["model"]["vocab"].items()}
    largest = max([*added, *plain])
    if largest >= rows:
        raise UserError("gguf_vocabulary_larger", tokens=largest + 1, rows=rows)
    tokens, types = [], []
    for number in range(rows):
        text = added[number]["content"] if number in added else plain.get(number, f"[PAD{number}]")
        tokens.append(text)
        types.append(_type(number, text, added, plain, unknown))
    return tokens, types


def _type(number: int, text: str, added: Mapping[int, Any], plain: Mapping[int, str], unknown: str | None) -> int:
    if unknown is not None and text == unknown:
        return int(gguf.TokenType.UNKNOWN)
    if number in added:
        return int(gguf.TokenType.CONTROL if added[number]["special"] else gguf.TokenType.USER_DEFINED)
    if number not in plain:
        return int(gguf.TokenType.UNUSED)
    is_byte = unknown is not None and len(text) == 6 and text.startswith("<0x") and text.endswith(">")
    return int(gguf.TokenType.BYTE if is_byte else gguf.TokenType.NORMAL)


def _scores(tokens: Sequence[str], merges: Sequence[Sequence[str]]) -> list[float]:
    """Return a score per piece: SentencePiece merges the pair whose piece scores highest, so the order of learning is enough."""
    order: dict[str, float] = {}
    for left, right in merges:
        order.setdefault(left + right, -float(len(order)))
    return [order.get(token, -float(len(order))) for token in tokens]


def _added(tokenizer: Any) -> tuple[bool, bool]:
    """Return whether encoding puts the beginning and the end around a text."""
    bare, whole = list(tokenizer.encode(PROBE, add_special_tokens=False)), list(tokenizer.encode(PROBE))
    bos = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None and whole[:1] == [tokenizer.bos_token_id] else []
    eos = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None and whole[-1:] == [tokenizer.eos_token_id] else []
    if whole != bos + bare + eos:
        raise UserError("gguf_tokenizer_unknown", part="post_processor")
    return bool(bos), bool(eos)


def _ids(tokenizer: Any) -> dict[str, int]:
    ends = end_ids(tokenizer)
    if not ends:
        raise UserError("gguf_end_missing")
    named = dict(zip(END_KEYS, ends, strict=False))  # llama.cpp finds further ones by their usual texts; the proof tells
    for key, number in (("bos", tokenizer.bos_token_id), ("pad", tokenizer.pad_token_id), ("unk", tokenizer.unk_token_id)):
        if number is not None:
            named[key] = int(number)
    return named


def end_ids(tokenizer: Any) -> list[int]:
    """Return the ids that end an answer in MLX, the tokenizer's own first."""
    own = tokenizer.eos_token_id
    return sorted((int(number) for number in tokenizer.eos_token_ids), key=lambda number: (number != own, number))


def _template(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    return template if isinstance(template, str) else ""


def write_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    """Write the keys of a vocabulary."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_token_scores(vocabulary.scores)
    for name, number in vocabulary.ids.items():
        writer.add_uint32(f"tokenizer.ggml.{_KEYS[name]}_token_id", number)
    writer.add_add_bos_token(vocabulary.add_bos)
    writer.add_add_eos_token(vocabulary.add_eos)
    if vocabulary.add_space is not None:
        writer.add_add_space_prefix(vocabulary.add_space)
    writer.add_chat_template(vocabulary.chat_template)


_KEYS = {"bos": "bos", "eos": "eos", "eot": "eot", "eom": "eom", "pad": "padding", "unk": "unknown"}
