"""Turns text of any encoding into UTF-8 with plain newlines, piece by piece. Knows no format; guesses nothing it cannot check."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from tunesmith.errors import UserError

SAMPLE_BYTES = 262_144
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32", "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16", "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16", "utf-16-be"),
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1f]")
_WIDE_RUNS = re.compile(r"[^\x00-\x7f]+")
_KANA = frozenset(map(chr, range(0x3041, 0x3100)))
_MARKS = frozenset(map(chr, [*range(0x3000, 0x3040), *range(0xFF01, 0xFF5F)]))
# JIS level 1: the everyday characters. Other encodings read as Japanese give the rare ones of level 2.
_EVERYDAY = frozenset(bytes((high, low)).decode("euc_jp", "ignore") for high in range(0xB0, 0xD0) for low in range(0xA1, 0xFF))
_PLAUSIBLE = _KANA | _MARKS | _EVERYDAY
_BROKEN = "tunesmith-broken"


def _mark_broken(error: UnicodeError) -> tuple[str, int]:
    """Put a lone surrogate where bytes do not decode: it makes the line invalid UTF-8, and the row's reader names the line."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udc80", error.end


codecs.register_error(_BROKEN, _mark_broken)


class Utf8Chunks:
    """The chunks of a file as UTF-8 with `\\n` as the only line end. `encoding` is final once a character beyond ASCII was met.

    Bytes that do not decode stay invalid, so that the reader of rows can name their line. Iterating raises UserError
    `data_encoding_unknown` where the text begins that no encoding fits.
    """

    def __init__(self, chunks: Iterable[bytes], file: str) -> None:
        self.encoding = "utf-8"
        self.decided = False
        self._file = file
        self._chunks = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        return _plain_newlines(self._utf8())

    def _utf8(self) -> Iterator[bytes]:
        head = next(self._chunks, b"")
        self.encoding, codec, skipped = _encoding_of_head(head)
        if codec:
            self.decided = True
            yield from self._decode(chain([head[skipped:]], self._chunks), codec)
            return
        lines_before = 0
        for chunk in chain([head], self._chunks):
            if chunk.isascii():
                lines_before += chunk.count(b"\n")
                yield chunk
                continue
            ahead = next(self._chunks, b"")
            text = chunk + ahead
            self.encoding, self.decided = decide_encoding(text, not ahead, self._file, lines_before), True
            yield from self._decode(chain([text], self._chunks), self.encoding)
            return

    def _decode(self, chunks: Iterable[bytes], codec: str) -> Iterator[bytes]:
        if codec == "utf-8":
            yield from chunks  # checked line by line where it is read
            return
        decoder = codecs.getincrementaldecoder(codec)(_BROKEN)
        line = 1
        for chunk in chain(chunks, [b""]):
            try:
                text = decoder.decode(chunk, not chunk)
            except UnicodeError as error:  # an escape sequence of ISO-2022 that has no end
                raise UserError("data_encoding_unknown", file=self._file, line=line) from error
            line += text.count("\n")
            yield text.encode("utf-8", "surrogatepass")


def read_text(path: Path) -> str:
    """Return a text file of any encoding that can be told. Raises UserError `data_encoding_unknown` with the line."""
    content = b"".join(Utf8Chunks([path.read_bytes()], path.name))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError("data_encoding_unknown", file=path.name, line=content.count(b"\n", 0, error.start) + 1) from error


def _plain_newlines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for chunk in chunks:
        text = held + chunk
        held = b""
        if b"\r" in text:
            if text.endswith(b"\r"):
                text, held = text[:-1], b"\r"
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if text:
            yield text
    if held:
        yield b"\n"


def _encoding_of_head(head: bytes) -> tuple[str, str, int]:
    """Return (name, codec, bytes to skip) of a byte order mark or of what is unmistakable; ("utf-8", "", 0) if nothing is."""
    for mark, name, codec in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return name, codec, len(mark)
    for codec in ("utf-16-le", "utf-16-be"):
        if _is_utf16(head[:4096], codec):
            return "utf-16", codec, 0
    if b"\x1b$B" in head or b"\x1b$@" in head:
        return "iso2022_jp", "iso2022_jp", 0
    return "utf-8", "", 0


def _is_utf16(head: bytes, codec: str) -> bool:
    text = head[: len(head) // 2 * 2].decode(codec, "replace")
    if len(text) < 2 or _CONTROLS.search(text) or text.count("\ufffd") > 1:
        return False
    counts = Counter(text)
    kana = sum(counts[c] for c in _KANA)
    known = sum(count for c, count in counts.items() if c.isascii() or c in _PLAUSIBLE)
    zeros = head[1::2] if codec == "utf-16-le" else head[::2]
    return (zeros.count(0) >= max(2, len(zeros) // 10) and text[0].isascii()) or (10 * kana > len(text) and 10 * known > 9 * len(text))


def decide_encoding(text: bytes, whole: bool, file: str, lines_before: int = 0) -> str:
    """Return `utf-8`, `cp932` or `euc_jp`; `text` holds characters beyond ASCII, and ends with the file if `whole`.

    Raises UserError `data_encoding_unknown` (file, line): Latin and other encodings decode anything, so they are never assumed.
    """
    start = next(i for i, byte in enumerate(text) if byte > 0x7F)
    sample = text[start : start + SAMPLE_BYTES]
    whole = whole and start + SAMPLE_BYTES >= len(text)
    wide, broken = _count_wide(_decode_sample(sample, "utf-8", whole))
    if not broken or wide >= 10 * broken:
        return "utf-8"
    shares = {codec: _japanese_share(sample, codec, whole) for codec in ("cp932", "euc_jp")}
    best = max(shares, key=lambda codec: shares[codec])
    if shares[best] >= 0.7:
        return best
    raise UserError("data_encoding_unknown", file=file, line=lines_before + _first_broken_line(text, whole))


def _first_broken_line(text: bytes, whole: bool) -> int:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text, whole)
    except UnicodeDecodeError as error:
        before = text[: error.start]
        return (before.count(b"\n") or before.count(b"\r")) + 1
    return 1


def _decode_sample(sample: bytes, codec: str, whole: bool) -> str:
    return codecs.getincrementaldecoder(codec)("replace").decode(sample, whole)


def _count_wide(text: str) -> tuple[int, int]:
    """Return (characters beyond ASCII, broken ones)."""
    broken = text.count("\ufffd")
    return sum(map(len, _WIDE_RUNS.findall(text))) - broken, broken


def _japanese_share(sample: bytes, codec: str, whole: bool) -> float:
    """Return the share of everyday Japanese among the characters beyond ASCII; 0 if it cannot be told from other encodings."""
    text = _decode_sample(sample, codec, whole)
    wide, broken = _count_wide(text)
    if not wide or broken * 50 > wide:
        return 0.0
    counts = Counter(text)
    kana = sum(counts[c] for c in _KANA)
    # “it’s” in Windows-1252 gives single characters; kanji alone in EUC-JP could as well be Chinese or Korean
    if kana < wide / 10 and (codec == "euc_jp" or wide < 2 * len(_WIDE_RUNS.findall(text))):
        return 0.0
    return sum(count for c, count in counts.items() if c in _PLAUSIBLE) / wide
