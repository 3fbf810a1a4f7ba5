"""Archives, Parquet files and workbooks made to break a reader. No test is in this file."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.corpus import PAIRS, parquet, seeds, workbook, zipped

MB = 1_000_000
GOOD = b'{"text": "good"}\n'
Bytes = bytes | Callable[[], bytes]


def _patched(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    """Return a zip's bytes with a field of each record that begins with `mark` overwritten."""
    changed = bytearray(data)
    at = data.find(mark)
    while at >= 0:
        changed[at + offset : at + offset + len(value)] = value
        at = data.find(mark, at + 4)
    return bytes(changed)


def zip_lies() -> dict[str, Bytes]:
    local, central, end = b"PK\3\4", b"PK\1\2", b"PK\5\6"
    good = zipped({"train.jsonl": GOOD * 50})
    zeros = zipped({"train.jsonl": b"\0" * 200 * MB})
    smaller = struct.pack("<I", 10)
    return {
        "declares_less": _patched(_patched(zeros, local, 22, smaller), central, 24, smaller),
        "declares_more": _patched(good, central, 24, struct.pack("<I", 50_000)),
        "declares_4_GB": _patched(good, central, 24, struct.pack("<I", 0xFFFFFFFE)),
        "wrong_sum": _patched(good, central, 16, b"\1\2\3\4"),
        "offset_beyond": _patched(good, central, 42, struct.pack("<I", 10**9)),
        "overlapping": _overlapping(),
        "encrypted": _patched(_patched(good, local, 6, b"\1"), central, 8, b"\1"),
        "strongly_encrypted": _patched(good, central, 8, b"\x41"),
        "method_99": _patched(good, central, 10, b"\x63\0"),
        "version_99": _patched(good, central, 6, b"\x63\0"),
        "entries_60000": _patched(good, end, 10, struct.pack("<H", 60_000)),
        "directory_beyond": _patched(good, end, 16, struct.pack("<I", 10**8)),
        "zip64_lie": _patched(good, central, 24, b"\xff\xff\xff\xff"),
        "truncated": good[: len(good) // 2],
        "head_only": b"PK\3\4",
        "end_only": b"PK\5\6" + b"\0" * 18,
        "end_short": b"PK\5\6\0\0",
        "name_differs": good.replace(b"train.jsonl", b"other.jsonl", 1),
        "name_not_utf8": _patched(_patched(good, central, 46, b"\xff\xfe"), central, 8, b"\0\x08"),
    }


def _overlapping() -> bytes:
    """Return a zip of 200 entries that all share one packed body of 50 MB."""
    body = zipped({"a": b'{"text": "a"}\n' * 3_500_000})
    start, end = body.find(b"PK\1\2"), body.find(b"PK\5\6")
    directory = body[start:end] * 200
    tail = body[end : end + 8] + struct.pack("<HHII", 200, 200, len(directory), start) + b"\0\0"
    return body[:start] + directory + tail


def zip_names() -> dict[str, Bytes]:
    names = [
        "../train.jsonl",
        "a/../../b.jsonl",
        "/etc/train.jsonl",
        "C:\\train.jsonl",
        "c:train.jsonl",
        "..\\train.jsonl",
        "\\\\host\\a.jsonl",
    ]
    files: dict[str, Bytes] = {f"path_{number}": zipped({name: GOOD}) for number, name in enumerate(names)}
    files["nul"] = zipped({"train.jsonl_x": GOOD}).replace(b"train.jsonl_x", b"train.jsonl\0x")
    files["control"] = zipped({"train\x1b[2J.jsonl": GOOD, "a\nb.jsonl": GOOD})
    files["long"] = zipped({"a" * 60_000: GOOD})
    files["twice"] = zipped({"train.jsonl": GOOD, "./train.jsonl": GOOD})
    files["reserved"] = zipped({"CON": GOOD, "aux.jsonl": GOOD})
    for name, mode in {"symlink": stat.S_IFLNK, "device": stat.S_IFCHR, "pipe": stat.S_IFIFO}.items():
        files[name] = _special(mode)
    return files


def _special(mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        entry = zipfile.ZipInfo("train.jsonl")
        entry.create_system = 3
        entry.external_attr = (mode | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def packed() -> dict[str, Bytes]:
    nested = zipped({"train.jsonl": GOOD})
    for _ in range(5):
        nested = zipped({"inner.zip": nested})
    good = gzip.compress(GOOD * 100)
    return {
        "nested": nested,
        "zip_of_gzip": zipped({"train.jsonl.gz": good}),
        "gzip_of_zip": gzip.compress(zipped({"train.jsonl": GOOD})),
        "gzip_of_gzip": gzip.compress(good),
        "gzip_of_workbook": gzip.compress(seeds()["excel"]),
        "zip_of_workbook": zipped({"train.xlsx": seeds()["excel"]}),
        "zip_of_picture": zipped({"train.png": b"\x89PNG\r\n\x1a\n"}),
        "many_entries": lambda: zipped({f"{i}.jsonl": GOOD for i in range(1001)}),
        "folders_only": zipped({"a/": b"", "b/": b""}),
        "empty_entry": zipped({"train.jsonl": b""}),
        "hidden_only": zipped({"__MACOSX/._a": b"\0", ".DS_Store": b"\0"}),
        "bzip2": zipped({"train.jsonl": GOOD * 100}, zipfile.ZIP_BZIP2),
        "lzma": zipped({"train.jsonl": GOOD * 100}, zipfile.ZIP_LZMA),
        "zip_bomb": lambda: zipped({"train.jsonl": b"a" * 500 * MB}),
        "zip_of_rows": lambda: zipped({f"{i}.jsonl": GOOD * 1000 for i in range(100)}),
        "gzip_bomb_of_nuls": lambda: _gzip_bomb(b"\0" * MB, 200),
        "gzip_bomb_of_text": lambda: _gzip_bomb(b"a" * MB, 1100),
        "gzip_bomb_of_blank_lines": lambda: _gzip_bomb(b"\n" * MB, 200),
        "gzip_bomb_of_brackets": lambda: _gzip_bomb(b"[" * MB, 600),
        "gzip_bomb_of_rows": lambda: _gzip_bomb(GOOD * 50_000, 100),
        "gzip_bomb_of_one_string": lambda: _gzip_bomb(b"a" * MB, 800, b'[{"text": "'),
        "gzip_truncated": good[:-10],
        "gzip_wrong_sum": good[:-8] + b"\0" * 8,
        "gzip_head": b"\x1f\x8b\x08",
        "gzip_with_tail": good + b"tail",
        "gzip_members": gzip.compress(GOOD) * 10_000,
        "gzip_empty_members": gzip.compress(b"") * 50_000,
        "gzip_long_name": good[:3] + b"\x08" + good[4:10] + b"n" * MB + b"\0" + good[10:],
    }


def _gzip_bomb(piece: bytes, times: int, start: bytes = b"") -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(start) + b"".join(packer.compress(piece) for _ in range(times)) + packer.flush()


def _parquet_table(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def _repeated(text: str, rows: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([text]))


def _repeated_in_list(text: str, values: int) -> Any:
    return pa.ListArray.from_arrays(pa.array([0, values], pa.int32()), _repeated(text, values))


def _repeated_among_others() -> bytes:
    """Return a file of lists with a text of 1 MB repeated 1000 times, and 300 MB of others that go into the same dictionary."""
    texts = [["a" * MB] * 1000, *([f"{i}" + "b" * 30_000] for i in range(10_000))]
    return _parquet_table({"l": texts}, store_schema=False, compression="zstd", dictionary_pagesize_limit=2 * MB, write_statistics=False)


def _long_list(values: int) -> Any:
    return pa.ListArray.from_arrays(pa.array([0, values], pa.int32()), pa.nulls(values, pa.int64()).fill_null(0))


def _footer_patched(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    length = struct.unpack("<I", data[-8:-4])[0]
    footer = change(data[-8 - length : -8])
    return data[: -8 - length] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _varint(number: int) -> bytes:
    zigzag, out = number << 1, b""
    while zigzag >= 0x80:
        out, zigzag = out + bytes([zigzag & 0x7F | 0x80]), zigzag >> 7
    return out + bytes([zigzag])


def _padded_footer() -> bytes:
    """Return a file whose footer has a field of its own (number 100): a list of seven million empty structs."""
    count = 7 * MB
    encoded = bytes([count & 0x7F | 0x80, count >> 7 & 0x7F | 0x80, count >> 14 & 0x7F | 0x80, count >> 21])
    return _footer_patched(parquet(PAIRS), lambda footer: footer[:-1] + b"\x09\xc8\x01\xfc" + encoded + b"\0" * count + b"\0")


def _lying_sizes() -> bytes:
    """Return a file whose footer says that a page of 300 MB unpacks to 1000 bytes."""
    data = _parquet_table({"text": ["a" * 300 * MB]}, compression="zstd", use_dictionary=False, write_statistics=False, store_schema=False)
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    return _footer_patched(data, lambda footer: footer.replace(_varint(column.total_uncompressed_size), _varint(1000)))


def _deep_type(levels: int) -> bytes:
    value: Any = pa.array([1])
    for _ in range(levels):
        value = pa.StructArray.from_arrays([value], ["a"])
    return _parquet_table({"text": value})


def parquet_files() -> dict[str, Bytes]:
    good = parquet(PAIRS * 10, store_schema=False)
    short = good[-8:-4]
    rows = pq.ParquetFile(io.BytesIO(good)).metadata.num_rows
    return {
        "rows_of_nothing": lambda: _parquet_table({"n": pa.nulls(3 * MB, pa.int64())}),
        "repeated_text": lambda: _parquet_table({"text": _repeated("a" * 10 * MB, 50_000)}, store_schema=False),
        "repeated_small_text": lambda: _parquet_table({"text": _repeated("a" * 100_000, 50_000)}, store_schema=False),
        "repeated_in_list": lambda: _parquet_table({"text": _repeated_in_list("a" * MB, MB)}, store_schema=False),
        "repeated_among_others": _repeated_among_others,
        "long_list": lambda: _parquet_table({"n": _long_list(30 * MB)}),
        "very_long_list": lambda: _parquet_table({"n": _long_list(70 * MB)}),
        "many_columns_repeated": lambda: _parquet_table({f"c{i}": _repeated("a" * MB, 2000) for i in range(40)}, store_schema=False),
        "large_page": lambda: _parquet_table({"text": ["a" * 200 * MB]}, compression="zstd", use_dictionary=False, write_statistics=False),
        "larger_page": lambda: _parquet_table({"text": ["a" * 300 * MB]}, compression="zstd", use_dictionary=False, write_statistics=False),
        "lying_sizes": _lying_sizes,
        "padded_footer": _padded_footer,
        # a column that is not optional any more: pyarrow's own metadata of its chunk would end the process
        "levels_missing": _footer_patched(good, lambda footer: footer.replace(b"\x25\x02", b"\x25\0", 1)),
        "prefixed": lambda: _parquet_table(
            {"text": ["a" * MB] * 500},
            use_dictionary=False,
            column_encoding={"text": "DELTA_BYTE_ARRAY"},
            compression="zstd",
            write_statistics=False,
        ),
        "prefixed_in_list": lambda: _parquet_table({"text": [["aaa", "aab"]]}, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY"),
        "more_rows_than_pages": _footer_patched(good, lambda footer: footer.replace(_varint(rows), _varint(100))),
        "ten_billion_rows": _footer_patched(good, lambda footer: footer.replace(_varint(rows), _varint(10**10))),
        "footer_too_long": good[:-8] + b"\xff\xff\xff\x7fPAR1",
        "footer_of_nothing": good[:-8] + b"\0\0\0\0PAR1",
        "footer_cut": good[:-20] + short + b"PAR1",
        "footer_noise": b"PAR1" + b"\x15" * 1000 + struct.pack("<I", 1000) + b"PAR1",
        "footer_lists": b"PAR1" + b"\x29\xfc\xff\xff\xff\xff\x0f" * 10 + struct.pack("<I", 70) + b"PAR1",
        "no_footer": good[:-8],
        "magic_only": b"PAR1",
        "magic_twice": b"PAR1PAR1",
        "encrypted_magic": good[:-4] + b"PARE",
        "pages_of_noise": good[:4] + b"\xa5" * (len(good) // 3) + good[4 + len(good) // 3 :],
        "pages_of_zeros": good[:4] + b"\0" * (len(good) // 3) + good[4 + len(good) // 3 :],
        "no_rows": _parquet_table({"text": pa.array([], pa.string())}),
        "no_columns": _parquet_table({}),
        "same_names": lambda: _parquet_same_names(),
        "deep_type": _deep_type(120),
        "ten_thousand_columns": lambda: _parquet_table({f"c{i}": [i] for i in range(10_000)}),
        "not_numbers": _parquet_table({"x": [float("nan"), float("inf")], "d": pa.array([None, 10**30], pa.decimal128(38, 0))}),
        "bytes": _parquet_table({"text": [b"\xff\xfe", b"ok"], "u": pa.array([2**64 - 1, 0], pa.uint64())}),
        "text_not_utf8": _parquet_table({"text": pa.StringArray.from_buffers(2, *_utf8_buffers())}),
        "times": _parquet_table({"t": pa.array([2**62, 1], pa.timestamp("ns")), "d": pa.array([2**30, 0], pa.date32())}),
    }


def _utf8_buffers() -> tuple[Any, Any]:
    return pa.py_buffer(struct.pack("<iii", 0, 2, 4)), pa.py_buffer(b"\xff\xfeok")


def _parquet_same_names() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), buffer)
    return buffer.getvalue()


def _part(name: str, xml: bytes) -> Callable[[], bytes]:
    """Return what makes a workbook with one of its parts replaced."""

    def make() -> bytes:
        with zipfile.ZipFile(io.BytesIO(workbook([["text", "n"], ["a", 1]]))) as archive:
            parts = {entry: archive.read(entry) for entry in archive.namelist()}
        return zipped({**parts, name: xml})

    return make


_SPACE = b'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def _sheet(rows: bytes, start: bytes = b"") -> Callable[[], bytes]:
    return _part("xl/worksheets/sheet1.xml", start + b"<worksheet " + _SPACE + b"><sheetData>" + rows + b"</sheetData></worksheet>")


def _cell(text: bytes, place: bytes = b"A1") -> bytes:
    return b'<c r="' + place + b'" t="inlineStr"><is><t>' + text + b"</t></is></c>"


def workbooks() -> dict[str, Bytes]:
    laughs = b"".join(b'<!ENTITY a%d "%s">' % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 10))
    head = b'<row r="1">' + _cell(b"text") + b"</row>"
    strings = b"<sst " + _SPACE + b">"
    return {
        "billion_laughs": _sheet(b'<row r="1">' + _cell(b"&a9;") + b"</row>", b'<!DOCTYPE x [<!ENTITY a0 "ha">' + laughs + b"]>"),
        "outer_entity": _sheet(b'<row r="1">' + _cell(b"&x;") + b"</row>", b'<!DOCTYPE x [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
        "broken_xml": _sheet(b'<row r="1"><c></row>'),
        "cut_xml": _part("xl/worksheets/sheet1.xml", b"<worksheet " + _SPACE + b"><sheetData>" + head),
        "no_xml": _part("xl/worksheets/sheet1.xml", b"\0\1\2"),
        "utf16_xml": _part("xl/worksheets/sheet1.xml", "<?xml version='1.0' encoding='utf-16'?><worksheet/>".encode("utf-16")),
        "other_encoding": _sheet(head, b'<?xml version="1.0" encoding="cp037"?>'),
        "no_rows": _sheet(b""),
        "far_row": _sheet(head + b'<row r="1048576">' + _cell(b"b", b"A1048576") + b"</row>"),
        "endless_row": _sheet(head + b'<row r="99999999999">' + _cell(b"b", b"A99999999999") + b"</row>"),
        "far_columns": _sheet(head + b'<row><c r="XFD1"><v>1</v></c></row>' * 5_000),
        "beyond_columns": _sheet(head + b'<row><c r="ZZZZ1"><v>1</v></c></row>'),
        "many_rows": lambda: _sheet(b"<row>" + _cell(b"text") + b"</row>" + b"<row><c/></row>" * 300_000)(),
        "many_cells": lambda: _sheet(b"<row>" + b"<c/>" * MB + b"</row>")(),
        "large_text": lambda: _sheet(b'<row r="1">' + _cell(b"a" * 100 * MB) + b"</row>")(),
        "hidden_large_text": lambda: _sheet(b'<row r="1">' + _cell(b"a" * 50 * MB + b"<!--</a>-->" + b"a" * 50 * MB) + b"</row>")(),
        "many_strings": lambda: _part("xl/sharedStrings.xml", strings + b"<si/>" * 5 * MB + b"</sst>")(),
        "many_styles": lambda: _part(
            "xl/styles.xml", b"<styleSheet " + _SPACE + b"><cellXfs>" + b"<xf/>" * MB + b"</cellXfs></styleSheet>"
        )(),
        "deep_xml": _sheet(b"<a>" * 100_000 + b"</a>" * 100_000),
        "no_sheets": _part("xl/workbook.xml", b"<workbook " + _SPACE + b"><sheets/></workbook>"),
        "no_workbook": _part("xl/workbook.xml", b""),
        "no_types": _part("[Content_Types].xml", b"<Types/>"),
        "controls": _sheet(
            head + b'<row r="2">' + _cell(b"a_x0000_b", b"A2") + b'</row><row r="3">' + _cell(b"_xD800_", b"A3") + b"</row>"
        ),
        "numbers": _sheet(head + b'<row r="2"><c r="A2"><v>1e999</v></c></row><row r="3"><c r="A3"><v>' + b"9" * 300 + b"</v></c></row>"),
        "many_digits": _sheet(head + b'<row r="2"><c r="A2"><v>' + b"9" * 5000 + b"</v></c></row>"),
        "numbers_as_names": lambda: workbook([[1, 2], ["a", "b"]]),
        "path_in_workbook": lambda: zipped({"xl/workbook.xml": b"<workbook/>", "../x": b"y"}),
        "zip_bomb": lambda: _part("xl/media/a.xml", b"<a>" + b" " * 200 * MB)(),
    }
