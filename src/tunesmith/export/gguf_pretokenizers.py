"""How tokenizers cut text before merging, and llama.cpp's names for it: only what is exactly the same has a name. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.errors import UserError

Step = tuple[str, object]
ENGLISH = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
MARKS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES, GPT2 = ("ByteLevel", False), ("ByteLevel", True)  # whether it also cuts by GPT-2's pattern
SPLITS: dict[tuple[tuple[Step, ...], bool], str] = {  # (steps, whole words of the vocabulary skip the merges) -> llama.cpp's name
    ((GPT2,), False): "gpt-2",
    ((("Digits", True), GPT2), False): "smollm",
    ((("Split", ENGLISH + r"\p{N}{1,3}" + MARKS), BYTES), True): "llama-bpe",
    ((("Split", ENGLISH + r"\p{N}{1,3}" + MARKS), BYTES), False): "smaug-bpe",
    ((("Split", ENGLISH + r"\p{N}" + MARKS), BYTES), False): "qwen2",
    ((("Split", TEKKEN), BYTES), True): "tekken",
}
TO_LOW_LINE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Prepend", "prepend": "▁"}
CUT_AT_SPACES = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}
SPACES: tuple[tuple[list[Any], list[Any], bool], ...] = (  # normalizers, pre-tokenizers, whether text gets a space before it
    ([PREPEND, TO_LOW_LINE], [], True),
    ([TO_LOW_LINE], [], False),
    ([TO_LOW_LINE], [CUT_AT_SPACES], False),  # spaces are gone by then: it cuts nothing
    ([], [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}], True),
    ([], [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}], True),
    ([], [{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": False}], False),
)


def split_name(tokenizer: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of how a byte-level tokenizer (tokenizer.json) cuts text. Raises UserError `gguf_tokenizer_unknown`."""
    if _parts(tokenizer, "normalizer", "normalizers") not in ([], [{"type": "NFC"}]):
        raise UserError("gguf_tokenizer_unknown", part="normalizer")
    steps = tuple(_step(each) for each in _parts(tokenizer, "pre_tokenizer", "pretokenizers"))
    name = SPLITS.get((steps, bool(tokenizer["model"].get("ignore_merges"))))
    if name is None:
        raise UserError("gguf_tokenizer_unknown", part="pre_tokenizer")
    return name


def adds_space(tokenizer: Mapping[str, Any]) -> bool:
    """Return whether a SentencePiece tokenizer puts a space before text. Raises UserError `gguf_tokenizer_unknown`."""
    form = (_parts(tokenizer, "normalizer", "normalizers"), _parts(tokenizer, "pre_tokenizer", "pretokenizers"))
    for normalizers, pre_tokenizers, adds in SPACES:
        if form == (normalizers, pre_tokenizers):
            return adds
    raise UserError("gguf_tokenizer_unknown", part="normalizer")


def _parts(tokenizer: Mapping[str, Any], key: str, many: str) -> list[dict[str, Any]]:
    part = tokenizer.get(key)
    if part is None:
        return []
    return list(part[many]) if part["type"] == "Sequence" else [part]


def _step(part: Mapping[str, Any]) -> Step:
    if part["type"] == "Split" and part["behavior"] == "Isolated" and not part["invert"]:
        return "Split", part["pattern"].get("Regex")
    if part["type"] == "ByteLevel" and not part["add_prefix_space"]:
        return "ByteLevel", part["use_regex"]
    if part["type"] == "Digits":
        return "Digits", part["individual_digits"]
    return str(part["type"]), None
