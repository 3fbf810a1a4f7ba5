"""Text of each encoding to the same rows; what fits none is refused with its line."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.formats import Problem, Row
from tunesmith.data.readers.source import inspect_source, iterate_rows
from tunesmith.data.readers.text_encoding import Utf8Chunks, decide_encoding, read_text
from tunesmith.errors import UserError

PAIRS = [
    {"prompt": "日本の首都はどこですか。", "completion": "東京です。"},
    {"prompt": "Who wrote 坊っちゃん?", "completion": "夏目漱石です。"},
]
LINES = "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in PAIRS)
TABLE = "prompt,completion\n" + "".join(f'"{pair["prompt"]}","{pair["completion"]}"\n' for pair in PAIRS)
TEXT = "".join(f"{pair['prompt']}{pair['completion']}\n\n" for pair in PAIRS)
ENCODINGS = {
    "utf-8": ("utf-8", b""),
    "utf-8 with a mark": ("utf-8", codecs.BOM_UTF8),
    "utf-16 little": ("utf-16-le", codecs.BOM_UTF16_LE),
    "utf-16 big": ("utf-16-be", codecs.BOM_UTF16_BE),
    "utf-16 little without a mark": ("utf-16-le", b""),
    "utf-16 big without a mark": ("utf-16-be", b""),
    "utf-32": ("utf-32-le", codecs.BOM_UTF32_LE),
    "shift-jis": ("cp932", b""),
    "euc-jp": ("euc_jp", b""),
    "iso-2022-jp": ("iso2022_jp", b""),
}
NAMES = {"utf-16-le": "utf-16", "utf-16-be": "utf-16", "utf-32-le": "utf-32"}


def read(path: Path, content: bytes) -> list[Row | Problem]:
    path.write_bytes(content)
    return [item for _, item in iterate_rows(path)]


@pytest.mark.parametrize("name", ENCODINGS)
@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (LINES, [Row(1, PAIRS[0]), Row(2, PAIRS[1])]),
        (LINES.replace("\n", "\r\n"), [Row(1, PAIRS[0]), Row(2, PAIRS[1])]),
        (json.dumps(PAIRS, ensure_ascii=False), [Row(1, PAIRS[0]), Row(2, PAIRS[1])]),
        (TABLE, [Row(2, PAIRS[0]), Row(3, PAIRS[1])]),
        (TABLE.replace("\n", "\r"), [Row(2, PAIRS[0]), Row(3, PAIRS[1])]),
        (TEXT, [Row(1, {"text": TEXT.split("\n\n")[0]}), Row(3, {"text": TEXT.split("\n\n")[1]})]),
    ],
    ids=["lines", "lines of Windows", "list", "table", "table of old Macs", "text"],
)
def test_every_encoding_gives_the_same_rows(tmp_path: Path, name: str, text: str, rows: list[Row]) -> None:
    codec, mark = ENCODINGS[name]
    path = tmp_path / "file"
    assert read(path, mark + text.encode(codec)) == rows
    assert inspect_source(path).encoding == NAMES.get(codec, codec)


@pytest.mark.parametrize("codec", ["utf-8", "cp932", "euc_jp"])
def test_the_encoding_is_told_late_where_japanese_begins_late(tmp_path: Path, codec: str) -> None:
    """Two characters of 2 bytes may be cut by the end of a chunk (262,144 bytes): 30,000 lines of 14 bytes are 1.6 chunks."""
    items = read(tmp_path / "file", b'{"text": "a"}\n' * 30_000 + LINES.encode(codec))
    assert items[-2:] == [Row(30_001, PAIRS[0]), Row(30_002, PAIRS[1])]
    assert inspect_source(tmp_path / "file").encoding == codec


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "cp932", "euc_jp"])
def test_characters_across_chunks_are_whole(codec: str) -> None:
    text = "あいうえお。\r\n" * 50
    content = text.encode(codec)
    for size in (1, 2, 3, 7):  # a head of 600 bytes tells the encoding, then pieces that cut through characters and line ends
        chunks = [content[:600], *(content[at : at + size] for at in range(600, len(content), size))]
        assert b"".join(Utf8Chunks(chunks, "file")).decode() == text.replace("\r\n", "\n")


@pytest.mark.parametrize(("codec", "broken"), [("utf-8", b"\xff"), ("cp932", b"\x81\x20"), ("utf-16-le", b"\x00\xd8")])
def test_a_broken_character_costs_its_row_only(tmp_path: Path, codec: str, broken: bytes) -> None:
    good = LINES * 10  # 20 lines
    content = good.encode(codec) + '{"prompt": "'.encode(codec) + broken + '"}\n'.encode(codec) + good.encode(codec)
    items = read(tmp_path / "file", content)
    assert [item.line for item in items if isinstance(item, Row)] == [*range(1, 21), *range(22, 42)]
    assert [(p.line, p.code) for p in items if isinstance(p, Problem)] == [(21, "broken_text")]


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        ("Käse für Zoë, naïve façade", "latin-1"),
        ("it’s “quoted” – dash", "cp1252"),
        ("机器学习很有趣，我们都喜欢。", "gb18030"),
        ("機器學習很有趣", "big5"),
        ("한국어 문장입니다.", "euc_kr"),
        ("Привет, как дела?", "koi8-r"),
    ],
)
def test_encodings_that_cannot_be_told_are_refused_with_their_line(tmp_path: Path, text: str, codec: str) -> None:
    content = b'{"text": "a"}\n{"text": "b"}\n' + f'{{"text": "{text}"}}\n'.encode(codec)
    with pytest.raises(UserError) as caught:
        read(tmp_path / "file", content)
    assert (caught.value.code, caught.value.facts) == ("data_encoding_unknown", {"file": "file", "line": 3})


def test_the_line_counts_what_was_read_before(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path / "file", b'{"text": "a"}\n' * 30_000 + b'{"text": "\xff\xfe\xfd"}\n')
    assert caught.value.facts["line"] == 30_001


def test_an_escape_without_an_end_is_refused() -> None:
    content = "\n日本".encode("iso2022_jp") + b"\x1b" + b"(" * 10
    with pytest.raises(UserError) as caught:
        b"".join(Utf8Chunks([content], "file"))
    assert (caught.value.code, caught.value.facts) == ("data_encoding_unknown", {"file": "file", "line": 1})


def test_ascii_stays_undecided() -> None:
    chunks: Any = Utf8Chunks([b"a\n", b"b\r", b"\nc\r"], "file")
    assert list(chunks) == [b"a\n", b"b", b"\nc", b"\n"]
    assert (chunks.encoding, chunks.decided) == ("utf-8", False)


def test_half_width_katakana_alone_is_not_taken_for_shift_jis() -> None:
    """“café” in Latin-1 is c, a, f and a byte that Shift-JIS reads as ﾃ or the like."""
    with pytest.raises(UserError):
        decide_encoding("café et thé".encode("latin-1"), True, "file")


@pytest.mark.parametrize("codec", ["utf-8", "cp932", "euc_jp", "utf-16", "iso2022_jp"])
def test_a_text_file_is_read_whole(tmp_path: Path, codec: str) -> None:
    text = "営業時間は朝九時からです。\n駅前の店は日曜日も開いています。\n"
    (tmp_path / "text").write_bytes(text.replace("\n", "\r\n").encode(codec))
    assert read_text(tmp_path / "text") == text


def test_a_text_file_with_a_broken_line_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes("営業時間は朝九時からです。\n".encode() * 2 + b"\xff\n")
    with pytest.raises(UserError) as caught:
        read_text(tmp_path / "text")
    assert (caught.value.code, caught.value.facts) == ("data_encoding_unknown", {"file": "text", "line": 3})
