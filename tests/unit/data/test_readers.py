"""Each format by hand-made bytes: the rows, the lines that they stand in, and what is said of the others."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tunesmith.data.formats import Row
from tunesmith.data.readers.source import Budget, inspect_source, iterate_rows
from tunesmith.errors import UserError

DEFAULT = Budget()
Rows = list[tuple[int, Any]]
Problems = list[tuple[int, str, str, dict[str, Any]]]


@pytest.fixture
def read(tmp_path: Path) -> Any:
    """Return a function: bytes to (rows as (line, value), problems as (line, field, code, facts)), all of the train split."""

    def run(content: bytes, budget: Budget = DEFAULT) -> tuple[Rows, Problems]:
        path = tmp_path / "rows"  # no suffix: content tells
        path.write_bytes(content)
        pairs = list(iterate_rows(path, budget))
        assert {split for split, _ in pairs} == {"train"}
        items = [item for _, item in pairs]
        rows = [(item.line, item.value) for item in items if isinstance(item, Row)]
        return rows, [(p.line, p.field, p.code, dict(p.facts)) for p in items if not isinstance(p, Row)]

    return run


@pytest.fixture
def refuse(tmp_path: Path) -> Any:
    """Return a function: bytes to the (code, facts) of their refusal."""

    def run(content: bytes, budget: Budget = DEFAULT) -> tuple[str, dict[str, object]]:
        path = tmp_path / "mine"
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            list(iterate_rows(path, budget))
        return caught.value.code, caught.value.facts

    return run


def format_of(content: bytes, tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(content)
    return inspect_source(tmp_path / "file").format


# JSON lines


def test_lines_are_counted_from_one_and_blank_ones_skipped(read: Any) -> None:
    rows, problems = read(b'{"text": "a"}\n\n  \n{"text": "b"}\nnot json\n[1]\n"x"\n{"text": "c"}')
    assert rows == [(1, {"text": "a"}), (4, {"text": "b"}), (8, {"text": "c"})]
    assert problems == [
        (5, "", "not_json", {"column": 1}),
        (6, "", "not_an_object", {"found": "list"}),
        (7, "", "not_an_object", {"found": "str"}),
    ]


@pytest.mark.parametrize(
    ("line", "field", "code", "facts"),
    [
        ('{"text": "a" "b": 1}', "", "not_json", {"column": 14}),
        ('{"text": NaN}', "", "not_a_number", {"found": "NaN"}),
        ('{"text": -Infinity}', "", "not_a_number", {"found": "-Infinity"}),
        ('{"text": 1e999}', "", "not_a_number", {"found": "1e999"}),
        ('{"text": "\\ud800"}', "text", "broken_text", {}),
        ('{"messages": [{"role": "user", "content": "\\udc00"}]}', "messages[1].content", "broken_text", {}),
        ('{"text": "a\\u0000b"}', "text", "control_character", {"found": "U+0000"}),
        ('{"text": "a\0b"}', "", "control_character", {"found": "U+0000"}),
        ('{"text": "a\x07b"}', "", "control_character", {"found": "U+0007"}),
        ('{"text": ' + "[" * 101 + "]" * 101 + "}", "", "too_deeply_nested", {"most": 100}),
    ],
)
def test_a_bad_line_is_named_and_its_neighbours_are_kept(read: Any, line: str, field: str, code: str, facts: dict[str, Any]) -> None:
    rows, problems = read(f'{{"text": "a"}}\n{line}\n{{"text": "b"}}\n'.encode())
    assert rows == [(1, {"text": "a"}), (3, {"text": "b"})]
    assert problems == [(2, field, code, facts)]


def test_a_hundred_levels_are_kept(read: Any) -> None:
    rows, problems = read(b'{"text": "a"}\n{"a": ' + b"[" * 99 + b"]" * 99 + b"}\n")
    assert len(rows) == 2
    assert problems == []


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('{"text": "a", "text": "b"}', "text"),
        ('{"text" : "a", "text" : "b"}', "text"),
        ('{"text": "a", "\\u0074ext": "b"}', "text"),
        ('{"messages": [{"role": "user", "content": "a", "content": "b"}]}', "content"),
        ('{"a": {"b": [{"c": {"d": 1, "d": 2}}]}}', "d"),
    ],
)
def test_a_name_given_twice_warns_and_the_row_is_kept(read: Any, line: str, name: str) -> None:
    rows, problems = read(f"{line}\n".encode())
    assert rows == [(1, json.loads(line))]
    assert problems == [(1, name, "duplicate_key", {"name": name})]


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', 'say "x": y', '" : "', "\\", '\\"'])
def test_text_that_looks_like_names_is_no_warning(read: Any, text: str) -> None:
    value = {"messages": [{"role": "user", "content": text}], "tags": ["a", "b"], "n": 1, "tools": [{"f": {"x": [text]}}]}
    assert read(json.dumps(value).encode() + b"\n") == ([(1, value)], [])


def test_several_objects_in_a_line_are_all_rows(read: Any) -> None:
    rows, problems = read(b'{"text": "a"}\n{"text": "b"}{"text": "c"}\n{"text": "d"},\n')
    assert rows == [(1, {"text": "a"}), (2, {"text": "b"}), (2, {"text": "c"}), (3, {"text": "d"})]
    assert problems == []


def test_a_line_longer_than_a_field_may_be_is_not_held(read: Any) -> None:
    rows, problems = read(b'{"text": "a"}\n{"text": "' + b"x" * 988 + b'"}\n{"text": "b"}\n', Budget(field_bytes=900))
    assert rows == [(1, {"text": "a"}), (3, {"text": "b"})]
    assert problems == [(2, "", "field_too_long", {"size_bytes": 1000, "most_bytes": 900})]  # {"text": " and "} are 12 bytes


def test_lines_across_the_chunks_of_reading_are_whole(read: Any) -> None:
    lines = [json.dumps({"text": "あ" * (i % 700), "n": i}, ensure_ascii=False) for i in range(2000)]
    content = "\r\n".join(lines).encode()
    assert len(content) > 4 * 262_144
    rows, problems = read(content)
    assert [(line, value["n"], len(value["text"])) for line, value in rows] == [(i + 1, i, i % 700) for i in range(2000)]
    assert problems == []


# JSON that is no lines


def test_a_list_on_one_line_counts_its_elements(read: Any) -> None:
    rows, problems = read(b'[{"text": "a"}, 5, {"text": "b"}, {"text": NaN}]')
    assert rows == [(1, {"text": "a"}), (3, {"text": "b"})]
    assert problems == [(2, "", "not_an_object", {"found": "int"}), (4, "", "not_a_number", {"found": "NaN"})]


def test_a_pretty_list_counts_lines(read: Any) -> None:
    content = json.dumps([{"text": "a", "n": [1, 2]}, {"text": "b}]"}], indent=2).encode()
    rows, problems = read(content)  # [ 1, { 2, "text" 3, "n" 4, 1 5, 2 6, ] 7, } 8, { 9
    assert rows == [(2, {"text": "a", "n": [1, 2]}), (9, {"text": "b}]"})]
    assert problems == []


def test_pretty_objects_one_after_the_other_are_rows(read: Any) -> None:
    rows, problems = read(b'{\n  "text": "a"\n}\n{\n  "text": "b"\n}\n\n{\n  "text": "c"\n}')
    assert rows == [(1, {"text": "a"}), (4, {"text": "b"}), (8, {"text": "c"})]
    assert problems == []


def test_objects_without_anything_between_are_rows(read: Any) -> None:
    assert read(b'{"text": "a"}{"text": "b"}{"text": "c"}')[0] == [(1, {"text": "a"}), (2, {"text": "b"}), (3, {"text": "c"})]


def test_a_list_that_ends_early_keeps_its_rows(read: Any) -> None:
    rows, problems = read(b'[\n{"text": "a"},\n{"text": "b"},\n{"text": "c')
    assert rows == [(2, {"text": "a"}), (3, {"text": "b"})]
    assert [(line, code) for line, _, code, _ in problems] == [(4, "not_json"), (4, "ends_early")]


def test_a_broken_object_in_a_list_costs_only_itself(read: Any) -> None:
    rows, problems = read(b'[\n{"text": "a"},\n{"text": "b},\n{"text": "c"},\n{"text": "d"}\n]')
    assert rows == [(2, {"text": "a"}), (4, {"text": "c"}), (5, {"text": "d"})]
    assert problems == [(3, "", "not_json", {"column": 13})]  # {"text": "b} are 12 characters, and the text goes on


@pytest.mark.parametrize("name", ["data", "examples", "rows"])
def test_rows_in_a_named_list(read: Any, name: str) -> None:
    content = json.dumps({"version": {"n": [1]}, name: [{"text": "a"}, {"text": "b"}], "more": [{"x": 1}]}).encode()
    assert read(content) == ([(1, {"text": "a"}), (2, {"text": "b"})], [])


def test_lists_named_by_split(tmp_path: Path) -> None:
    path = tmp_path / "all.json"
    path.write_text(json.dumps({"train": [{"text": "a"}, {"text": "b"}], "validation": [{"text": "c"}], "test": [{"text": "d"}]}))
    found = [(split, item.value["text"]) for split, item in iterate_rows(path)]  # type: ignore[union-attr]
    assert found == [("train", "a"), ("train", "b"), ("valid", "c"), ("test", "d")]
    source = inspect_source(path)
    assert source.format == "json"
    assert source.files == {"train": ("all.json",), "valid": ("all.json",), "test": ("all.json",)}


def test_one_object_is_one_row_even_with_lists_in_it(read: Any) -> None:
    value = {"messages": [{"role": "user", "content": "a"}], "data": "no list"}
    assert read(json.dumps(value).encode()) == ([(1, value)], [])


# tables


@pytest.mark.parametrize(("delimiter", "name"), [(",", "csv"), ("\t", "tsv"), (";", "csv"), ("|", "csv")])
def test_the_delimiter_is_told_by_the_content(read: Any, tmp_path: Path, delimiter: str, name: str) -> None:
    content = delimiter.join(["prompt", "completion"]) + "\n" + delimiter.join(["あ", "い"]) + "\n" + delimiter.join(['"a\nb"', '"c""d"'])
    rows, problems = read(content.encode())
    assert rows == [(2, {"prompt": "あ", "completion": "い"}), (3, {"prompt": "a\nb", "completion": 'c"d'})]
    assert problems == []
    assert format_of(content.encode(), tmp_path) == name


def test_commas_in_text_do_not_make_a_table_of_tabs_a_table_of_commas(read: Any) -> None:
    rows, _ = read(b"prompt\tcompletion\na, b, c\td, e, f\ng, h\ti, j\n")
    assert rows == [(2, {"prompt": "a, b, c", "completion": "d, e, f"}), (3, {"prompt": "g, h", "completion": "i, j"})]


def test_a_row_with_too_many_or_too_few_fields_is_named(read: Any) -> None:
    rows, problems = read(b"text,label\na,b\nc\nd,e,f\ng,h\n")
    assert rows == [(2, {"text": "a", "label": "b"}), (5, {"text": "g", "label": "h"})]
    assert problems == [
        (3, "label", "uneven_row", {"column": 2, "found": 1, "expected": 2}),
        (4, "", "uneven_row", {"column": 3, "found": 3, "expected": 2}),
    ]


def test_a_quote_that_does_not_close_costs_its_line_only(read: Any) -> None:
    rows, problems = read(b'text,label\na,b\n"open,c\nd,e\nf,g\n')
    assert rows == [(2, {"text": "a", "label": "b"}), (4, {"text": "d", "label": "e"}), (5, {"text": "f", "label": "g"})]
    assert problems == [(3, "", "unterminated_quote", {})]


def test_a_quote_that_runs_away_beyond_a_field_costs_its_line_only(read: Any) -> None:
    rows, problems = read(b'text,label\n"open,c\n' + b"d,e\n" * 100_000, Budget(field_bytes=10_000))
    assert len(rows) == 100_000
    assert rows[0] == (3, {"text": "d", "label": "e"})
    assert rows[-1][0] == 100_002
    assert problems == [(2, "", "unterminated_quote", {})]


def test_a_long_field_is_named_by_its_first_line(read: Any) -> None:
    rows, problems = read(b"text,label\na,b\n" + b"x" * 200 + b",c\nd,e\n", Budget(field_bytes=100))
    assert [line for line, _ in rows] == [2, 4]
    assert problems == [(3, "", "field_too_long", {"size_bytes": 202, "most_bytes": 100})]


def test_columns_without_a_name_or_with_the_same(read: Any) -> None:
    assert read(b",text\n0,a\n1,b\n")[0] == [(2, {"column_1": "0", "text": "a"}), (3, {"column_1": "1", "text": "b"})]
    rows, problems = read(b"text,text\na,b\n")
    assert rows == [(2, {"text": "b"})]
    assert problems == [(1, "text", "duplicate_key", {"name": "text"})]


def test_a_table_without_names_is_refused(refuse: Any) -> None:
    assert refuse(b"1,2\n3,4\n5,6\n") == ("data_header_missing", {"file": "mine", "columns": 2})


def test_one_column_is_a_table_when_its_name_is_known(read: Any) -> None:
    assert read(b'text\na\n"b, c"\n')[0] == [(2, {"text": "a"}), (3, {"text": "b, c"})]


# text and Markdown


def test_paragraphs_are_rows(read: Any) -> None:
    rows, problems = read("吾輩は猫である。\nまだ名前はない。\n\n\nWhere was I born?\n".encode())
    assert rows == [(1, {"text": "吾輩は猫である。\nまだ名前はない。"}), (5, {"text": "Where was I born?"})]
    assert problems == []


def test_sections_are_rows_under_a_title(read: Any, tmp_path: Path) -> None:
    content = b"# Title\n\nIntro.\n\n## One\n\na\n\n```\n## no heading\n```\n\n## Two\n\nb\n"
    assert format_of(content, tmp_path) == "markdown"
    assert read(content)[0] == [
        (1, {"text": "# Title\n\nIntro."}),
        (5, {"text": "## One\n\na\n\n```\n## no heading\n```"}),
        (13, {"text": "## Two\n\nb"}),
    ]


def test_a_nul_in_text_is_named_by_its_line(read: Any) -> None:
    rows, problems = read(b"one\n\ntwo\nthree\0\n\nfour\n")
    assert rows == [(1, {"text": "one"}), (6, {"text": "four"})]
    assert problems == [(4, "", "control_character", {"found": "U+0000"})]


# Parquet and Excel


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, **options)
    return buffer.getvalue()


def test_parquet_rows_are_numbered_over_row_groups(read: Any) -> None:
    messages = [[{"role": "user", "content": f"質問{i}"}, {"role": "assistant", "content": "答え"}] for i in range(2500)]
    rows, problems = read(parquet({"messages": messages, "n": list(range(2500))}, row_group_size=1100))
    assert rows == [(i + 1, {"messages": messages[i], "n": i}) for i in range(2500)]
    assert problems == []


def test_parquet_values_become_what_json_knows(read: Any) -> None:
    columns = {
        "f": [1.5, float("nan")],
        "d": [datetime.date(2026, 1, 2), None],
        "t": [datetime.datetime(2026, 1, 2, 3, 4, 5), None],
        "b": ["ä".encode(), b"x"],
        "m": pa.array([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        "s": [["a"], []],
    }
    rows, problems = read(parquet(columns))
    assert rows == [
        (1, {"f": 1.5, "d": "2026-01-02", "t": "2026-01-02T03:04:05", "b": "ä", "m": {"k": 1}, "s": ["a"]}),
        (2, {"f": None, "d": None, "t": None, "b": "x", "m": [], "s": []}),
    ]
    assert problems == []


def test_a_parquet_value_that_is_no_text_costs_its_row_only(read: Any) -> None:
    offsets, texts = pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0\4\0\0\0"), pa.py_buffer(b"a\xff\xfeb")  # a, bytes ff fe, b
    rows, problems = read(parquet({"text": pa.StringArray.from_buffers(3, offsets, texts)}))
    assert rows == [(1, {"text": "a"}), (3, {"text": "b"})]
    assert problems == [(2, "", "broken_text", {})]


def test_a_nul_in_parquet_is_named_by_its_path(read: Any) -> None:
    rows, problems = read(parquet({"m": [[{"a": "b"}], [{"a": "c\0"}]], "b": [b"x", b"y"]}))
    assert rows == [(1, {"m": [{"a": "b"}], "b": "x"})]
    assert problems == [(2, "m[1].a", "control_character", {"found": "U+0000"})]
    assert read(parquet({"b": [b"\0"], "c": ["d"]})) == ([], [(1, "b", "control_character", {"found": "U+0000"})])


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_parquet_of_each_compression_repeats_texts_in_lists(read: Any, compression: str) -> None:
    """A text of 20 kB in 30 lists of 300: 180 MB when written out, so it is held once and each row of 6 MB is too long."""
    texts = pa.array(["a" * 20_000, "b"])
    once = pa.DictionaryArray.from_arrays(pa.array([0] * 9000 + [1] * 3, pa.int32()), texts)
    ends = [*range(0, 9001, 300), 9003]
    rows, problems = read(
        parquet({"l": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), once)}, compression=compression, store_schema=False)
    )
    assert rows == [(31, {"l": ["b", "b", "b"]})]
    assert problems == [(i, "", "field_too_long", {"size_bytes": 6_000_000, "most_bytes": 5_000_000}) for i in range(1, 31)]


def test_a_parquet_field_that_is_too_long_is_named(read: Any) -> None:
    rows, problems = read(parquet({"text": ["a", "b" * 2000], "n": [1, 2]}), Budget(field_bytes=1000))
    assert rows == [(1, {"text": "a", "n": 1})]
    assert problems == [(2, "text", "field_too_long", {"size_bytes": 2000, "most_bytes": 1000})]


def test_a_text_repeated_in_a_list_counts_as_often_as_it_stands_there(read: Any) -> None:
    """A dictionary of one text of 10 kB, 20,000 times in one row: 200 MB of text from a file of about 1 kB."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["a" * 10_000]))
    content = parquet({"l": pa.ListArray.from_arrays(pa.array([0, 20_000], pa.int32()), texts)}, store_schema=False)
    assert len(content) < 5000
    assert read(content) == ([], [(1, "", "field_too_long", {"size_bytes": 200_000_000, "most_bytes": 5_000_000})])


def test_damaged_parquet_is_refused(refuse: Any) -> None:
    content = parquet({"text": ["a"]})
    assert refuse(content[:-8])[0] == "data_file_broken"
    assert refuse(parquet({"text": pa.array([], pa.string())})) == ("data_file_empty", {"file": "mine"})
    assert refuse(parquet({"n": list(range(11))}), Budget(rows=10)) == ("data_too_many_rows", {"file": "mine", "most": 10})


def workbook(*records: list[Any]) -> bytes:
    book = openpyxl.Workbook()
    for record in records:
        book.active.append(record)
    book.create_sheet("other").append(["not", "read"])
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def test_excel_rows_keep_the_sheets_numbers(read: Any, tmp_path: Path) -> None:
    content = workbook(
        ["prompt", "score", "when"], ["日本", 0.5, datetime.datetime(2026, 1, 2)], [], ["b", 2, None], ["c", None, None, "x"]
    )
    rows, problems = read(content)
    assert rows == [(2, {"prompt": "日本", "score": 0.5, "when": "2026-01-02T00:00:00"}), (4, {"prompt": "b", "score": 2, "when": None})]
    assert problems == [(5, "", "uneven_row", {"column": 4, "found": 4, "expected": 3})]
    assert format_of(content, tmp_path) == "excel"


def test_excel_without_names_or_rows_is_refused(refuse: Any) -> None:
    assert refuse(workbook([1, 2], ["a", "b"])) == ("data_header_missing", {"file": "mine", "columns": 2})
    assert refuse(workbook()) == ("data_file_empty", {"file": "mine"})


def test_excel_without_its_library_says_what_to_install(refuse: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    content = workbook(["text"], ["a"])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert refuse(content) == ("data_needs_extra", {"file": "mine", "extra": "excel"})


# all formats


@pytest.mark.parametrize(
    "content", [b"", b"\n\n  \n", b"\xef\xbb\xbf", b"[]", b'{"data": []}', b"prompt,completion\n", gzip.compress(b"", mtime=0)]
)
def test_a_file_without_rows_is_named(refuse: Any, content: bytes) -> None:
    assert refuse(content) == ("data_file_empty", {"file": "mine"})


@pytest.mark.parametrize(
    "head", [b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n", b"\x7fELF", b"7z\xbc\xaf\x27\x1c", b"SQLite format 3\0", b"\0" * 600]
)
def test_files_of_another_kind_are_refused(refuse: Any, head: bytes) -> None:
    assert refuse(head + b"\0\1\2" * 100) == ("data_format_unknown", {"file": "mine"})


def test_budgets_hold(refuse: Any) -> None:
    lines = b'{"text": "a"}\n' * 11  # 14 bytes each
    assert refuse(lines, Budget(rows=10)) == ("data_too_many_rows", {"file": "mine", "most": 10})
    assert refuse(lines, Budget(bytes=153)) == ("data_too_large", {"file": "mine", "most_bytes": 153})
    assert refuse(lines, Budget(seconds=0.0)) == ("data_too_slow", {"file": "mine", "seconds": 0.0})


def test_the_budget_just_reached_is_no_error(read: Any) -> None:
    assert len(read(b'{"text": "a"}\n' * 11, Budget(rows=11, bytes=154))[0]) == 11


def test_the_callers_time_is_not_reading_time(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((b'{"text": "' + b"a" * 1000 + b'"}\n') * 1000)  # four chunks: the time is looked at between them
    for number, _ in enumerate(iterate_rows(path, Budget(seconds=1.0))):
        if number == 0:
            time.sleep(1.1)


def test_progress_goes_up_to_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((b'{"text": "' + b"a" * 988 + b'"}\n') * 1000)  # 1001 bytes each
    seen: list[tuple[int, int]] = []
    assert sum(1 for _ in iterate_rows(path, progress=lambda done, total: seen.append((done, total)))) == 1000
    assert {total for _, total in seen} == {1_001_000}
    dones = [done for done, _ in seen]
    assert dones == sorted(dones)
    assert dones[-1] == 1_001_000
    assert len(dones) >= 4  # 1,001,000 / 262,144 = 3.8


def test_rows_come_before_the_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n' * 1_000_000)
    seen: list[int] = []
    next(iterate_rows(path, progress=lambda done, _: seen.append(done)))
    assert max(seen) <= 2 * 262_144


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("none.jsonl", "a\0b"):
        with pytest.raises(UserError) as caught:
            list(iterate_rows(tmp_path / name))
        assert (caught.value.code, caught.value.facts) == ("data_file_missing", {"file": str(tmp_path / name)})
