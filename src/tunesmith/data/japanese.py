"""Japanese text: width and kana, shares of the scripts, sentences. Code, line breaks and indentation stay as they are.

Normalisation form NFKC: Unicode Standard Annex #15. It also rewrites what must stay (superscripts, full-width forms in code), so
code and addresses are left out of it, and a superscript digit keeps its meaning.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

# fenced code, inline code, addresses: kept byte for byte
_KEPT = re.compile(r"(```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`|https?://[!-~]+)", re.DOTALL)
# half-width katakana with its voicing marks, full-width ASCII, the ideographic space, and compatibility forms of letters and digits
_WIDTH = re.compile(r"[\uff01-\uff5e\uff61-\uff9f\u3000\u3300-\u33ff\u2160-\u217f\ufb00-\ufb06\ufe30-\ufe4f\uffe0-\uffe6]+")
_HALF_KANA = re.compile(r"[\uff66-\uff9f]")
_FULL_ASCII = re.compile(r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]")
_SCRIPTS = (
    ("hiragana", 0x3041, 0x309F), ("katakana", 0x30A0, 0x30FF), ("katakana", 0x31F0, 0x31FF), ("katakana", 0xFF66, 0xFF9F),
    ("kanji", 0x3400, 0x4DBF), ("kanji", 0x4E00, 0x9FFF), ("kanji", 0xF900, 0xFAFF), ("kanji", 0x20000, 0x3FFFF), ("kanji", 0x3005, 0x3007),
    ("hangul", 0xAC00, 0xD7AF), ("hangul", 0x1100, 0x11FF), ("cyrillic", 0x0400, 0x052F), ("arabic", 0x0600, 0x06FF),
)  # fmt: skip
_OPEN, _CLOSE, _STOPS = "「『（(“", "」』）)”", "。！？!?"


def normalize_text(text: str) -> str:
    """Return text with half-width kana and full-width letters and digits in their usual width; twice gives the same.

    Fenced and inline code, addresses, line breaks and indentation stay. Ideographic spaces become plain ones within a line; those that
    begin a line are a paragraph's indent and stay. Full-width punctuation of Japanese (（）！？：；，．～) stays beside Japanese text.
    """
    parts = _KEPT.split(text)
    return "".join(part if number % 2 else _normalize_prose(part) for number, part in enumerate(parts))


def _normalize_prose(text: str) -> str:
    return "\n".join(_normalize_line(line) for line in text.split("\n"))


def _normalize_line(line: str) -> str:
    body = line.lstrip("\u3000")
    japanese = any(script_of(c) in {"hiragana", "katakana", "kanji"} for c in body)

    def usual(match: re.Match[str]) -> str:
        return "".join(_usual_width(piece, japanese) for piece in re.findall(r"[\uff66-\uff9f]+|.", match[0]))

    return line[: len(line) - len(body)] + _WIDTH.sub(usual, body)


def _usual_width(piece: str, japanese: bool) -> str:
    if japanese and piece in "（）！？：；，．～［］｛｝＝＋－＊／％＆＃＠":
        return piece
    return unicodedata.normalize("NFKC", piece)


def script_of(character: str) -> str:
    """Return `hiragana`, `katakana`, `kanji`, `hangul`, `cyrillic`, `arabic`, `latin`, `digits` or `other`."""
    point = ord(character)
    if point < 0x250:
        return "latin" if character.isalpha() else "digits" if character.isdigit() else "other"
    for name, first, last in _SCRIPTS:
        if first <= point <= last:
            return name
    return "digits" if character.isdigit() else "latin" if "LATIN" in unicodedata.name(character, "") else "other"


def script_shares(text: str) -> dict[str, float]:
    """Return the share of each script among the letters and digits of a text, the largest first."""
    counts: Counter[str] = Counter()
    for character, count in Counter(text).items():
        counts[script_of(character)] += count
    del counts["other"]
    total = sum(counts.values())
    return {name: count / total for name, count in counts.most_common()} if total else {}


def main_language(text: str) -> str:
    """Return `ja`, `zh`, `ko`, `ru`, `ar` or `latin` by the scripts alone, empty when there is too little text to say."""
    shares = script_shares(text)
    if shares.get("hiragana", 0) + shares.get("katakana", 0) > 0.05:
        return "ja"
    for name, language in (("hangul", "ko"), ("kanji", "zh"), ("cyrillic", "ru"), ("arabic", "ar")):
        if shares.get(name, 0) > 0.3:
            return language
    return "latin" if shares.get("latin", 0) > 0.5 else ""


def width_problems(text: str) -> list[str]:
    """Return `half_width_kana` and `full_width_letters` where a text has them outside of code."""
    prose = _KEPT.sub("", text)
    found = [name for name, pattern in (("half_width_kana", _HALF_KANA), ("full_width_letters", _FULL_ASCII)) if pattern.search(prose)]
    return found


def split_sentences(text: str) -> list[str]:
    """Return the sentences of a text, each with its closing mark; quoted ones stay whole inside theirs, a line break ends one."""
    sentences, begin, depth = [], 0, 0
    for place, character in enumerate(text):
        following = text[place + 1 : place + 2]
        if character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth = max(0, depth - 1)
        if _ends_sentence(character, text[place - 1 : place], following, depth):
            sentences.append(text[begin : place + 1].strip())
            begin, depth = place + 1, 0
    return [sentence for sentence in [*sentences, text[begin:].strip()] if sentence]


def _ends_sentence(character: str, before: str, following: str, depth: int) -> bool:
    if character == "\n":
        return True
    if depth or (following and following in _STOPS):
        return False
    if character in _STOPS:
        return not (following and following in _CLOSE)
    if character in _CLOSE and before and before in _STOPS:
        return not following or following in _OPEN or following.isspace()
    return character == "." and (not following or following.isspace())
