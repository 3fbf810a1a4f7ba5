"""Every format × every kind of row, from the file's bytes to ids and mask; docs/data.md holds the table of what runs here.

Compared with the tokenizer's own `apply_chat_template` and with mlx_lm's data sets on the same rows, id for id.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlx_lm.tuner.datasets import ChatDataset, CompletionsDataset, TextDataset

from tunesmith.data.encoding import EncodingRules, encode_dataset
from tunesmith.data.formats import KINDS, as_messages
from tunesmith.data.importing import Work, import_source
from tunesmith.data.prompts import PromptRules, read_prompts
from tunesmith.data.readers.source import Budget
from tunesmith.data.row_files import open_rows
from tunesmith.models.loading import LoadedModel

ROOT = Path(__file__).resolve().parents[2]
Rows = Sequence[Mapping[str, Any]]
ROWS: dict[str, list[dict[str, Any]]] = {
    "messages": [
        {"messages": [{"role": "system", "content": "短く答える。"}, {"role": "user", "content": "日本の首都は?"},
                      {"role": "assistant", "content": "東京です。"}, {"role": "user", "content": "Thanks, \"bye\"!"},
                      {"role": "assistant", "content": "Bye;\nuntil then."}]},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},
    ],
    "preference": [{"prompt": "色は?", "chosen": "青です。", "rejected": "しらない"}, {"prompt": "Two?", "chosen": "2", "rejected": "3"}],
    "scored": [{"prompt": "Best?", "completions": ["悪い, no", "良い"], "scores": [0.1, 0.9]},
               {"prompt": "Or?", "completions": ["x", "y"], "scores": [2, 1]}],
    "kto": [{"prompt": "良い?", "completion": "はい, yes", "label": True}, {"prompt": "Good?", "completion": "Sure", "label": True}],
    "prompt_completion": [{"prompt": "東京は\nどこ?", "completion": "日本, Asia"}, {"prompt": "One?", "completion": "1"}],
    "reasoning": [{"prompt": "1+1+1?", "reasoning_steps": ["1+1=2", "2+1=3"], "answer": "3"},
                  {"prompt": "二つ?", "reasoning_steps": ["考える"], "answer": "はい"}],
    "prompt_answer": [{"prompt": "6 × 7?", "answer": "42"}, {"prompt": "最初は?", "answer": "一"}],
    "prompt": [{"prompt": "色は?"}, {"prompt": "Why, \"really\"?"}],
    "text": [{"text": "昔々、あるところに。"}, {"text": "Once upon a time, \"there\" was."}],
}  # fmt: skip


def as_jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_table(rows: Rows, delimiter: str = ",") -> str:
    """Lists stand in their cells as JSON, as pandas and the hub's viewers write them."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(rows[0])
    writer.writerows([[json.dumps(v, ensure_ascii=False) if isinstance(v, list | bool) else v for v in row.values()] for row in rows])
    return out.getvalue()


def as_parquet(rows: Rows) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), out)
    return out.getvalue()


def as_excel(rows: Rows) -> bytes:
    book = openpyxl.Workbook()
    for line in csv.reader(io.StringIO(as_table(rows), newline="")):
        book.active.append(line)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def as_zip(rows: Rows) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/train.jsonl", as_jsonl(rows))
        archive.writestr("README.md", "# about")
    return out.getvalue()


FORMATS: dict[str, Callable[[Rows], bytes]] = {
    "JSON lines": as_jsonl,
    "JSON list": lambda rows: json.dumps(rows, indent=2).encode(),
    "JSON object": lambda rows: json.dumps({"data": rows}).encode(),
    "JSON, concatenated": lambda rows: b",\n".join(json.dumps(row, indent=1).encode() for row in rows),
    "CSV": lambda rows: as_table(rows).encode("utf-8-sig"),
    "TSV": lambda rows: as_table(rows, "\t").encode(),
    "Parquet": as_parquet,
    "Excel": as_excel,
    "gzip": lambda rows: gzip.compress(as_jsonl(rows)),
    "zip": as_zip,
    "UTF-16": lambda rows: as_jsonl(rows).decode().encode("utf-16"),
    "Shift-JIS": lambda rows: as_jsonl(rows).decode().encode("cp932"),
    "EUC-JP": lambda rows: as_jsonl(rows).decode().encode("euc_jp"),
}


def expected_tokens(base: LoadedModel, row: Mapping[str, Any]) -> tuple[list[int], int]:
    """Return ids and where the last answer begins, by mlx_lm's data sets where they know the kind, else by the chat template."""
    tokenizer = base.tokenizer
    if "text" in row:
        return TextDataset([row], tokenizer).process(row)
    if "messages" in row:
        return ChatDataset([row], tokenizer, mask_prompt=True).process(row)
    if "completion" in row:
        return CompletionsDataset([row], tokenizer, "prompt", "completion", mask_prompt=True).process(row)
    messages = as_messages(row)
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    return ids, len(tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, return_dict=False))


def expected_prompt(base: LoadedModel, row: Mapping[str, Any]) -> list[int]:
    messages = [{"role": "user", "content": row["prompt"]}]
    ids: list[int] = base.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("format_name", FORMATS)
def test_bytes_to_tokens(base: LoadedModel, tmp_path: Path, format_name: str, kind: str) -> None:
    file, folder = tmp_path / "upload", tmp_path / "made"
    file.write_bytes(FORMATS[format_name](ROWS[kind]))
    folder.mkdir()
    record = import_source(Work(file, None, Budget()), folder)
    assert record["census"]["kinds"] == {kind: 2}
    assert record["census"]["left_out"] == 0
    assert [row.value for row in open_rows(folder / "train.jsonl")] == ROWS[kind]
    if kind == "prompt":
        found = read_prompts(folder, [kind], base.tokenizer, PromptRules(longest=2048, validation_share=0.0, seed=0)).train
        assert [prompt.ids for prompt in found] == [expected_prompt(base, row) for row in ROWS[kind]]
        return
    rules = EncodingRules(max_seq_length=2048, loss_on="last_answer", overlong="cut", validation_share=0.0, seed=0)
    encoded = encode_dataset(folder, [kind], base.tokenizer, rules)
    for row, source in zip(encoded.train, ROWS[kind], strict=True):
        ids, begin = expected_tokens(base, source)
        assert row.ids == ids
        last = len(ids) - 1 - ids[::-1].index(base.tokenizer.eos_token_id)  # mlx_lm also counts the line break behind it
        assert row.supervised == [begin <= place <= last for place in range(len(ids))]


def test_the_table_in_the_guide_is_this_one() -> None:
    guide = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    (header,) = [line for line in guide.splitlines() if line.startswith("| Format |")]
    assert [cell.strip(" `") for cell in header.strip("|").split("|")][1:] == list(KINDS)
    table = takewhile(lambda line: line.startswith("|"), guide.split(header)[1].splitlines()[2:])
    listed = [line.strip("|").split("|")[0].strip() for line in table]
    assert listed == list(FORMATS)
