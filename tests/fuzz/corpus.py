"""Small files of every format to begin from, the ways to damage them, and what any reading must hold. No test is in this file."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

import openpyxl
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from tunesmith.data.formats import Problem, Row
from tunesmith.data.readers.source import Budget, inspect_source, iterate_rows
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words, has, problem_words, t

ROWS: list[dict[str, Any]] = [
    {"messages": [{"role": role, "content": text} for role, text in turns]}
    for turns in (
        [("user", "What is the capital of Japan?"), ("assistant", "Tokyo, “東京”.")],
        [("user", "日本で一番高い山は？"), ("assistant", "富士山です。\n標高は3776メートルです。")],
        [("system", "You are terse."), ("user", "2+2"), ("assistant", "4")],
    )
]
PAIRS: list[dict[str, Any]] = [
    {"prompt": "日本の首都はどこですか。", "completion": "日本の首都は東京です。"},
    {"prompt": 'カンマ, と"引用符"', "completion": "二行の\n答えです。"},
    {"prompt": "これは何ですか。", "completion": "これはペンです。"},
]
TEXT = "吾輩は猫である。名前はまだ無い。\n\nどこで生れたかとんと見当がつかぬ。\n何でも薄暗いじめじめした所でニャーニャー泣いていた。\n"
MARKDOWN = "# 猫の本\n\n前書きです。\n\n## 第一章\n\nThe first chapter.\n\n```\n# no heading\n```\n\n## 第二章\n\n終わり。\n"
SMALL = Budget(bytes=20_000_000, rows=20_000, seconds=8.0, field_bytes=200_000)
INSERTED = (
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "\\",
    ",",
    ":",
    "\0",
    "\r",
    "\n",
    "\t",
    ";",
    "|",
    "#",
    "```",
    "NaN",
    "1e999",
    "\\ud800",
    "\ufeff",
    '""',
)


def json_lines(rows: list[dict[str, Any]] = ROWS, ascii_only: bool = False) -> str:
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)


def table(rows: list[dict[str, Any]], delimiter: str, quoted: bool = True) -> str:
    quote = '"' if quoted else ""
    lines = [delimiter.join(rows[0])]
    lines += [delimiter.join(quote + str(cell).replace('"', '""' if quoted else "") + quote for cell in row.values()) for row in rows]
    return "\n".join(lines) + "\n"


def parquet(rows: list[dict[str, Any]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, **options)
    return buffer.getvalue()


def workbook(records: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    for record in records:
        book.active.append(record)
    buffer = io.BytesIO()
    book.save(buffer)
    with zipfile.ZipFile(buffer) as archive:  # packed again without the time of day
        return zipped({name: re.sub(rb"20\d\d-[^<]{6,20}Z", b"2026-01-01T00:00:00Z", archive.read(name)) for name in archive.namelist()})


def zipped(entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return buffer.getvalue()


@cache
def seeds() -> dict[str, bytes]:
    """Return a valid file of each format and encoding by name."""
    lists = {"train": ROWS, "valid": ROWS[:1], "test": ROWS[1:]}
    table_records = [["prompt", "completion", "score"], *([pair["prompt"], pair["completion"], 0.5] for pair in PAIRS)]
    files = {
        "lines": json_lines().encode(),
        "lines_escaped": json_lines(ascii_only=True).encode(),
        "lines_windows": json_lines().replace("\n", "\r\n").encode("utf-8-sig"),
        "list": json.dumps(PAIRS, ensure_ascii=False).encode(),
        "list_pretty": json.dumps(ROWS, ensure_ascii=False, indent=2).encode(),
        "data": json.dumps({"version": 1, "data": PAIRS}).encode(),
        "splits": json.dumps(lists, indent=1).encode(),
        "pretty_objects": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
        "joined_objects": "".join(json.dumps(row) for row in PAIRS).encode(),
        "csv": table(PAIRS, ",").encode(),
        "tsv": table(PAIRS[:1] + PAIRS[2:], "\t", quoted=False).encode(),
        "semicolons": table(PAIRS, ";").encode("utf-8-sig"),
        "bars": table(PAIRS, "|").encode(),
        "text": TEXT.encode(),
        "markdown": MARKDOWN.encode(),
        "parquet": parquet(PAIRS * 5),
        "parquet_lists": parquet(ROWS * 5, compression="zstd", row_group_size=4),
        "parquet_plain": parquet(PAIRS, compression="none", use_dictionary=False, data_page_version="2.0"),
        "excel": workbook(table_records),
    }
    for codec in ("utf-16", "utf-16-le", "utf-16-be", "cp932", "euc_jp", "iso2022_jp"):
        files[f"lines_{codec}"] = json_lines(PAIRS).encode(codec)
        files[f"csv_{codec}"] = table(PAIRS, ",").encode(codec)
        files[f"text_{codec}"] = TEXT.encode(codec)
    files["lines_gzip"] = gzip.compress(files["lines"], mtime=0)
    files["csv_gzip"] = gzip.compress(files["csv_cp932"], mtime=0)
    files["zip"] = zipped({"train.jsonl": files["lines"], "valid.csv": files["csv"], "test.json": files["list"], "README.md": b"# x"})
    files["zip_stored"] = zipped({"a/train-1.parquet": files["parquet"], "a/train-2.parquet": files["parquet_lists"]}, zipfile.ZIP_STORED)
    return files


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return bytes damaged in one to four ways."""
    for _ in range(rng.randint(1, 4)):
        way = rng.choice(MUTATIONS)
        data = way(data, other, rng)
    return data


def _flip_bits(data: bytes, other: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8) if data else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _truncate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))]


def _cut_beginning(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[rng.randint(0, min(len(data), 64)) :]


def _repeat_piece(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start = rng.randint(0, len(data))
    piece = data[start : start + rng.randint(1, 200)]
    return data[:start] + piece * rng.choice((2, 3, 50)) + data[start:]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _join(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data + other


def _insert(data: bytes, other: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 5)):
        at = rng.randint(0, len(data))
        data = data[:at] + rng.choice(INSERTED).encode() * rng.choice((1, 1, 1, 2, 300)) + data[at:]
    return data


def _delete(data: bytes, other: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.randint(1, 30) :]


def _overwrite(data: bytes, other: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(data))
    piece = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", rng.randbytes(8)))
    return data[:at] + piece + data[at + len(piece) :]


def _swap_encoding(data: bytes, other: bytes, rng: random.Random) -> bytes:
    text = data.decode(rng.choice(("utf-8", "latin-1", "cp932")), "replace")
    return text.encode(rng.choice(("utf-8", "utf-16", "cp932", "euc_jp", "utf-7", "latin-1")), "replace")


MUTATIONS = (
    _flip_bits, _truncate, _cut_beginning, _repeat_piece, _splice, _join, _insert, _delete, _overwrite, _swap_encoding,
)  # fmt: skip


def read_checked(path: Path, budget: Budget = SMALL) -> str:
    """Read a file to its end; return the code of its refusal, or `rows/problems`. Raises AssertionError for what no reading may do."""
    rows = problems = 0
    refusal: UserError | None = None
    try:
        inspect_source(path)
        for split, item in iterate_rows(path, budget):
            assert split in {"train", "valid", "test"}
            assert item.line >= 1
            if isinstance(item, Row):
                rows += 1
                orjson.dumps(item.value)  # what is read can be written
            else:
                problems += 1
                _check_words(item)
    except UserError as error:
        refusal = error
    if refusal:
        assert has(f"error.{refusal.code}"), refusal.code
        assert all(error_words(refusal.code, refusal.facts, lang).encode() for lang in ("en", "ja"))
        return refusal.code
    assert rows + problems, "neither rows, nor problems, nor a refusal"
    return f"{rows}/{problems}"


def _check_words(problem: Problem) -> None:
    assert problem.severity in {"error", "warning"}
    assert len(problem.field) <= 200
    problem.field.encode()
    for lang in ("en", "ja"):
        assert problem_words(problem.code, dict(problem.facts), lang).encode()
        assert t(f"problem_name.{problem.code}", lang)
