"""Three hundred files made to break a reader: each name with what makes its bytes. No test is in this file."""

from __future__ import annotations

import base64
import gzip
import io
import itertools
import json
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from tests.fuzz.corpus import PAIRS, ROWS, TEXT, json_lines, table
from tests.fuzz.hostile_packed import GOOD, MB, Bytes, packed, parquet_files, workbooks, zip_lies, zip_names

Files = Iterator[tuple[str, Callable[[], bytes]]]


@cache
def hostile_files() -> dict[str, Callable[[], bytes]]:
    """Return what makes the bytes of each file, by `family/name`."""
    return {f"{family.__name__.strip('_')}/{name}": make for family in FAMILIES for name, make in _made(family())}


def _made(files: dict[str, Bytes]) -> Files:
    for name, content in files.items():
        yield name, content if callable(content) else lambda content=content: content  # type: ignore[misc]


def _deep() -> dict[str, Bytes]:
    files: dict[str, Bytes] = {}
    for levels, (opening, closing) in itertools.product((101, 1000, 100_000), (("[", "]"), ('{"a":', "}"))):
        nested = opening * levels + "1" + closing * levels
        files[f"{levels}{closing}row"] = GOOD + f'{{"text": {nested}}}\n'.encode() + GOOD
        files[f"{levels}{closing}top"] = nested.encode()
        files[f"{levels}{closing}open"] = (opening * levels).encode()
        files[f"{levels}{closing}list"] = f'[{{"text": "a"}},\n{{"b": {nested}}}]'.encode()
    return files


def _numbers() -> dict[str, Bytes]:
    words = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "nan", "9" * 5000, "1" * MB, "0." + "1" * MB, "1e" + "9" * 1000, "-0", "01"]
    return {f"{word[:9]}_{len(word)}": GOOD + f'{{"text": {word}}}\n'.encode() + GOOD for word in words}


def _names() -> dict[str, Bytes]:
    return {
        "twice": b'{"text": "a", "text": "b"}\n' + GOOD,
        "twice_inside": b'{"messages": [{"role": "user", "role": "system", "content": "a"}]}\n',
        "twice_escaped": b'{"text": "a", "\\u0074ext": "b"}\n',
        "a_hundred_thousand_times": b'{"a": 1' + b', "a": 1' * 100_000 + b"}\n",
        "a_hundred_thousand_names": json.dumps({f"n{i}": i for i in range(100_000)}).encode(),
        "long_name_of_long_list": json.dumps({"k" * MB: list(range(200_000)), "z": "\0"}).encode(),
        "name_of_50_MB": b'{"' + b"k" * 50 * MB + b'": 1}\n' + GOOD,
        "nul_in_name": b'{"a\\u0000b": "c"}\n' + GOOD,
    }


def _surrogates() -> dict[str, Bytes]:
    texts = [
        b"\\ud800",
        b"\\udc00\\ud800",
        b"\\uD83D",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\xe6\x9d",
    ]
    files = {f"{number}_text": GOOD + b'{"text": "' + text + b'"}\n' + GOOD for number, text in enumerate(texts)}
    return {**files, "in_name": b'{"\\ud800": 1}\n' + GOOD, "in_table": b"text,label\n\xed\xa0\x80,a\nb,c\n"}


def _large() -> dict[str, Bytes]:
    text = b"a" * 50 * MB
    return {
        "lines": lambda: GOOD + b'{"text": "' + text + b'"}\n' + GOOD,
        "list": lambda: b'[{"text": "' + text + b'"}, {"text": "b"}]',
        "open_string": lambda: b'[{"text": "' + text,
        "table": lambda: b"text,label\n" + text + b",b\nc,d\n",
        "quoted_field": lambda: b'text,label\n"' + text + b'",b\nc,d\n',
        "plain": lambda: text,
        "markdown": lambda: b"# a\n\n" + text + b"\n\n# b\n\nc\n",
        "spaced_out": lambda: b'{"text":' + b" " * 50 * MB + b'"a"}\n' + GOOD,
        "escapes": lambda: b'{"text": "' + b"\\n" * 25 * MB + b'"}\n' + GOOD,
        "header": lambda: b"text," + text + b"\na,b\n",
        "short_lines": lambda: b"{}\n" * 300_000,
    }


def _nuls() -> dict[str, Bytes]:
    return {
        "lines": GOOD + b'{"text": "a\0b"}\n' + GOOD,
        "escaped": GOOD + b'{"text": "a\\u0000b"}\n',
        "table": b"text,label\na\0b,c\nd,e\n",
        "plain": b"one\n\ntwo\0\n\nthree\n",
        "only": b"\0" * MB,
        "between": b"\0".join(b"abcdef"[i : i + 1] for i in range(6)) * 1000,
        "after_lines": GOOD * 3 + b"\0" * 1000,
    }


def _tables() -> dict[str, Bytes]:
    runaway = b"text,label\n" + b"a,b\n" * 10 + b'"open,b\n'
    return {
        "other_delimiter": b"text;label\na,b\nc,d\n",
        "two_delimiters": b"text,label\na\tb\nc,d\n",
        "spaces": b"text label\na b\nc d\n",
        "quote_at_first_line": b'"text,label\na,b\nc,d\n',
        "quote_at_last_line": b'text,label\na,b\n"c,d\n',
        "quote_within": b'text,label\na"b,c\n"a"b,c\nd,e\n',
        "runaway_quote": lambda: runaway + b"a,b\n" * MB,
        "runaway_quotes": lambda: b"text,label\n" + b'"a,b\n' * 99_999,
        "alternating_quotes": lambda: b"text,label\n" + b'"\n' * 500_000,
        "hundred_thousand_columns": lambda: b",".join(b"c%d" % i for i in range(100_000)) + b"\n" + b",".join([b"x"] * 100_000) + b"\n",
        "a_row_of_a_hundred_thousand": b"text,label\na,b\n" + b"," * 100_000 + b"\nc,d\n",
        "a_million_columns": lambda: b"text" + b",a" * MB + b"\n" + b"1" + b",2" * MB + b"\n",
        "same_names": b"text,text,text\na,b,c\n",
        "no_names": b",,,\n,,,\n",
        "numbers_only": b"1,2\n3,4\n5,6\n",
        "header_only": b"prompt,completion\n",
        "sep_line": b"sep=;\ntext;label\na;b\n",
        "formulas": b"text,label\n=cmd|' /C calc'!A0,\"=1+1\"\n",
    }


def _line_ends() -> dict[str, Bytes]:
    line = GOOD.strip()
    ends = {
        "cr": b"\r",
        "mixed": b"\r\n\n\r",
        "cr_cr_lf": b"\r\r\n",
        "form_feed": b"\x0c",
        "nel": b"\xc2\x85",
        "separator": "\u2028".encode(),
    }
    files: dict[str, Bytes] = {name: end.join([line] * 4) for name, end in ends.items()}
    files["cr_at_the_edge"] = (b'{"text": "' + b"a" * 8180 + b'"}\r\n') * 40
    return files


def _marks() -> dict[str, Bytes]:
    mark = b"\xef\xbb\xbf"
    return {
        "between_lines": GOOD + mark + GOOD,
        "twice": mark * 2 + GOOD,
        "only": mark,
        "utf16_only": b"\xff\xfe",
        "utf16_inside": GOOD + b"\xff\xfe" + GOOD.decode().encode("utf-16-le"),
        "in_table": mark + b"text,label\n" + mark + b"a,b\n",
        "utf32": GOOD.decode().encode("utf-32"),
    }


def _encodings() -> dict[str, Bytes]:
    japanese = json_lines(PAIRS)
    latin = '{"text": "Käse für Zoë, naïve façade, señor"}\n' * 5
    chinese, korean, russian = (
        '{"text": "机器学习很有趣，我们都喜欢。"}\n',
        '{"text": "한국어 문장입니다."}\n',
        '{"text": "Привет, как дела?"}\n',
    )
    return {
        "utf7": japanese.encode("utf-7"),
        "latin1": latin.encode("latin-1"),
        "latin1_table": "text,label\nKäse,für\nZoë,naïve\n".encode("latin-1"),
        "windows_quotes": '{"text": "it’s “quoted” – dash"}\n'.encode("cp1252"),
        "utf8_then_sjis": (japanese * 5).encode() + japanese.encode("cp932"),
        "sjis_then_utf8": japanese.encode("cp932") + japanese.encode(),
        "sjis_then_euc": japanese.encode("cp932") + japanese.encode("euc_jp"),
        "utf16_odd": japanese.encode("utf-16")[:-1],
        "utf16_surrogate": '{"text": "a'.encode("utf-16") + b"\x00\xd8" + '"}\n'.encode("utf-16-le") + GOOD.decode().encode("utf-16-le"),
        "gb18030": chinese.encode("gb18030"),
        "big5": '{"text": "機器學習很有趣"}\n'.encode("big5"),
        "euc_kr": korean.encode("euc_kr"),
        "koi8": russian.encode("koi8-r"),
        "ebcdic": latin.encode("cp037", "replace"),
        "iso2022_kr": korean.encode("iso2022_kr"),
        "escape_without_end": b'{"text": "\x1b$B' + b"$" * 1001,
        "cut_in_a_character": japanese.encode().rstrip()[:-4],
        "late_first_character": lambda: GOOD * 40_000 + japanese.encode("cp932"),
        "late_broken_character": lambda: GOOD * 40_000 + b'{"text": "\xff\xfe\xfd"}\n',
    }


def _structures() -> dict[str, Bytes]:
    return {
        "trailing_comma": b'[{"text": "a"},]',
        "comments": b'// rows\n[{"text": "a"} /* one */]',
        "python": b"{'text': 'a'}\n{'text': None}\n",
        "data_is_an_object": b'{"data": {"text": "a"}}',
        "train_is_a_number": b'{"train": 5}',
        "train_twice": b'{"train": [{"text": "a"}], "train": [{"text": "b"}]}',
        "no_commas": b'[{"text": "a"} {"text": "b"}]',
        "wrong_brackets": b'[{"text": "a"}}, {"text": "b"]]',
        "empty_objects": b"[" + b"{}," * 100_000 + b"{}]",
        "many_numbers": b"[" + b"1," * 200_000 + b"1]",
        "many_lists": b"[" + b"[]," * 200_000 + b"[]]",
        "top_string": b'"just a text"',
        "top_null": b"null",
        "brackets": b"[" * 5 * MB,
        "braces": b"{" * 5 * MB,
        "quotes": b'"' * 2 * MB,
        "backslashes": b'{"text": "' + b"\\" * 2 * MB,
        "back_to_back": b'{"text": "a"}' * 200_000,
        "opened_each_line": b'{"a":\n' * 100_000,
        "open_string_each_line": b'[\n{"a": "\n' + b'{"a": "\n' * 100_000,
        "closed_each_line": b"[\n" + b"}\n" * 100_000,
        "commas": b"," * 2 * MB,
        "colons_in_container": b'{"train": [' + b'{"a":1}' * 1000 + b"], " + b":," * 100_000 + b"}",
        "long_word": b"[" + b"a" * 20 * MB + b"]",
        "ends_in_list": b'{"train": [{"text": "a"}, {"text": "b"}',
        "arrays_of_cells": b'["a", "b"]\n' * 1000,
    }


def _sizes() -> dict[str, Bytes]:
    single = {f"byte_{byte:02x}": bytes([byte]) for byte in b'{["\n\0a\xff\x1fP,#1'}
    return {
        **single,
        "nothing": b"",
        "blank_lines": b"\n" * 1000,
        "a_million_blank_lines": b"\n" * (MB + 1),
        "blank_then_row": b"\n" * 500_000 + GOOD,
        "spaces": b" " * 10 * MB,
        "space_then_row": b" \n" * 10 + GOOD,
        "carriage_returns": b"\r" * MB,
    }


def _foreign() -> dict[str, Bytes]:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("train.jsonl"))
    noise = b"".join(zlib.compress(bytes([i])) for i in range(200))
    heads = {
        "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
        "gif": b"GIF89a\x01\0\x01\0",
        "elf": b"\x7fELF\x02\x01\x01",
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "7z": b"7z\xbc\xaf\x27\x1c\0\4",
        "sqlite": b"SQLite format 3\0\x10\0",
        "bzip2": b"BZh91AY&SY",
        "xz": b"\xfd7zXZ\0\0\4",
        "zstd": b"\x28\xb5\x2f\xfd\4\0",
        "rar": b"Rar!\x1a\7\1\0",
        "old_excel": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "arrow": b"ARROW1\0\0",
        "orc": b"ORC\x08",
        "avro": b"Obj\x01\4",
        "gguf": b"GGUF\3\0\0\0",
        "pickle": b"\x80\4\x95\0\0",
        "wav": b"RIFF\x24\0\0\0WAVE",
        "exe": b"MZ\x90\0\3\0\0\0",
        "wasm": b"\0asm\1\0\0\0",
        "class": b"\xca\xfe\xba\xbe\0\0\0\x34",
        "safetensors": struct.pack("<Q", 20) + b'{"__metadata__":{}}  ',
    }
    return {**{name: head + noise for name, head in heads.items()}, "tar": archive.getvalue(), "tar_gz": gzip.compress(archive.getvalue())}


def _prose() -> dict[str, Bytes]:
    return {
        "headings": b"# a\n" * 200_000,
        "open_fence": b"# a\n\n```\n" + b"# b\n" * 200_000,
        "paragraphs": b"a\n\n" * 300_000,
        "one_long_paragraph": (TEXT.replace("\n", "") + "\n").encode() * 100_000,
        "base64": base64.b64encode(bytes(range(256)) * 4000),
        "html": b"<!DOCTYPE html><html><body><p>a</p></body></html>\n" * 1000,
        "yaml": b"- text: a\n- text: b\n",
        "xml": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>',
        "wide_rows": table(ROWS[:1], "|").encode() * 50,
    }


FAMILIES = (
    _deep, _numbers, _names, _surrogates, _large, _nuls, _tables, _line_ends, _marks, _encodings, _structures, _sizes, _foreign, _prose,
    zip_lies, zip_names, packed, parquet_files, workbooks,
)  # fmt: skip
