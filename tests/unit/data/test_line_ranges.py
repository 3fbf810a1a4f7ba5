"""Large files in ranges: the same rows, counts and problems as the careful way, whatever lies in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from tunesmith.data import line_ranges
from tunesmith.data.importing import Work, import_items, import_source
from tunesmith.data.plain_lines import plain_row
from tunesmith.data.readers.source import Budget, iterate_rows
from tunesmith.errors import UserError

CHAT = {"messages": [{"role": "user", "content": "東京は?"}, {"role": "assistant", "content": '首都\n"です"'}]}
PLAIN = [CHAT, {"prompt": "a", "completion": "b"}, {"prompt": "a", "answer": "b"}, {"text": "t"}]
ODD = [
    b'{"messages": [{"role": "user", "content": "x"}]}', b'{"prompt":"a","prompt":"b","completion":"c"}',
    b'{"prompt":"a","completion":" "}',
    b'{"prompt":"a","completion":"b","id":3}', b"", b"broken", b'{"text":"nul\\u0000"}', b'{"question":"q","answer":7}', b'{"text":"\xff"}',
    b'{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y","name":"n"}]}', b'{"text":"cr"}\r', b"[1]",
]  # fmt: skip


@pytest.mark.parametrize("row", PLAIN)
def test_a_plain_row_is_written_without_its_spaces(row: dict[str, Any]) -> None:
    kind, text = plain_row(json.dumps(row).encode())
    assert kind
    assert text == orjson.dumps(row)
    assert plain_row(orjson.dumps(row)) == (kind, orjson.dumps(row))


@pytest.mark.parametrize("line", [line for line in ODD if line != b'{"question":"q","answer":7}'])
def test_what_needs_care_is_not_plain(line: bytes) -> None:
    if line != b'{"text":"nul\\u0000"}':  # told by the range
        assert plain_row(line.rstrip(b"\n"))[0] == "" or line.endswith(b"\r")


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_ranges_and_the_careful_way_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel: bool, end: bytes) -> None:
    monkeypatch.setattr(line_ranges, "RANGE_BYTES", 600)
    monkeypatch.setattr(line_ranges, "PARALLEL_BYTES", 0 if parallel else 10**9)
    plain = [orjson.dumps(row) if n % 2 else json.dumps(row, ensure_ascii=False).encode() for n, row in enumerate(PLAIN * 40)]
    lines = [*plain[:60], *ODD, *plain[60:], ODD[1], *plain]
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"\n".join(lines) + end)
    made = {}
    for name in ("ranges", "careful"):
        (tmp_path / name).mkdir()
        work = Work(file, None, Budget())
        if name == "ranges":
            made[name] = import_source(work, tmp_path / name)
        else:
            made[name] = import_items(lambda _, work=work: iterate_rows(work.path, work.budget), work, tmp_path / name, {})
    ranges, careful = made["ranges"], made["careful"]
    assert ranges["sha256_out"] == careful["sha256_out"]
    assert ranges["sha256_in"] == careful["sha256_in"]
    assert {**ranges["census"], "columns": 0} == {**careful["census"], "columns": 0}
    assert set(ranges["census"]["columns"]) == set(careful["census"]["columns"])
    assert ranges["census"]["left_out"] == 6
    assert (tmp_path / "ranges/train.jsonl").read_bytes() == (tmp_path / "careful/train.jsonl").read_bytes()


def test_a_file_of_plain_rows_keeps_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in PLAIN * 10))
    (tmp_path / "made").mkdir()
    record = import_source(Work(file, None, Budget()), tmp_path / "made")
    assert record["sha256_in"] == record["sha256_out"]["train"]
    assert record["census"]["duplicates"] == 36  # 40 rows of 4 contents


def test_budgets_hold_in_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_ranges, "RANGE_BYTES", 100)
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"text":"a"}\n' * 100)
    for budget, code in ((Budget(rows=50), "data_too_many_rows"), (Budget(bytes=500), "data_too_large")):
        folder = tmp_path / code
        folder.mkdir()
        with pytest.raises(UserError) as caught:
            import_source(Work(file, None, budget), folder)
        assert caught.value.code == code
