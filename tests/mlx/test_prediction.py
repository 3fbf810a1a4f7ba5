"""Predictions over many rows in batches: each is the answer that the model gives alone, and none is lost or written twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from tests.random_adapters import make_adapter
from tunesmith.data.formats import Row
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.inference.batch_generation import Abandoned, Question, Written, generate_each
from tunesmith.inference.generation import generate_text
from tunesmith.inference.prediction import Predicted, Predictor, predict
from tunesmith.inference.row_batch import like_lengths
from tunesmith.inference.sampling import Sampling
from tunesmith.inference.token_sampler import TokenSampler
from tunesmith.models.loading import LoadedModel
from tunesmith.store.files import AppendLog, LineTail
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL

SHORT = Sampling(max_tokens=24)


def read_rows(count: int) -> list[Row]:
    lines = (DEMO_DATA / "company_facts" / "train.jsonl").read_bytes().splitlines()
    return [Row(number, orjson.loads(line)) for number, line in enumerate(lines[:count], 1)]


def texts(path: Path) -> dict[tuple[int, str], str]:
    lines = list(LineTail(path).read_new())
    found = {(line["row"], line["variant"]): line["text"] for line in lines}
    assert len(found) == len(lines)
    return found


def test_64_rows_are_answered_as_one_by_one(base: LoadedModel, tmp_path: Path) -> None:
    base.model.eval()
    rows, shares = read_rows(64), []
    result = predict(base.model, base.tokenizer, rows, SHORT, tmp_path / "p.jsonl", report=shares.append)
    assert result == Predicted(64, 0, 0)
    assert shares == [n / 64 for n in range(1, 65)]
    found = texts(tmp_path / "p.jsonl")
    for row in rows:
        assert found[row.line, ""] == generate_text(base.model, base.tokenizer, row.value["messages"][:-1], 24)
    line = next(iter(LineTail(tmp_path / "p.jsonl").read_new()))
    assert line["reference"] == rows[line["row"] - 1].value["messages"][-1]["content"]
    assert {"stop", "length"} >= {line["finish"]}


def test_a_small_budget_and_variants_change_no_answer(base: LoadedModel, tmp_path: Path) -> None:
    base.model.eval()
    bank = AdapterBank(base)
    adapter = bank.load(make_adapter(tmp_path / "adapter", DEMO_MODEL, scale=8.0, seed=2))
    both = [Predictor("base", lambda: bank.activate(None)), Predictor("tuned", lambda: bank.activate(adapter))]
    rows = read_rows(14)
    wide, narrow = tmp_path / "wide.jsonl", tmp_path / "narrow.jsonl"
    predict(base.model, base.tokenizer, rows, SHORT, wide, both)
    predict(base.model, base.tokenizer, rows, SHORT, narrow, both, budget_tokens=260)
    assert texts(wide) == texts(narrow)
    assert len(texts(wide)) == 28
    bank.activate(adapter)
    assert texts(wide)[3, "tuned"] == generate_text(base.model, base.tokenizer, rows[2].value["messages"][:-1], 24)
    assert texts(wide)[3, "tuned"] != texts(wide)[3, "base"]


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=2.0, max_tokens=16, seed=4), Sampling(repetition_penalty=2.0, presence_penalty=2.0, max_tokens=24)]
)
def test_an_answer_depends_on_its_row_alone(base: LoadedModel, tmp_path: Path, sampling: Sampling) -> None:
    """Whoever is beside it, and whenever it comes into the batch."""
    base.model.eval()
    rows = read_rows(40)
    predict(base.model, base.tokenizer, rows, sampling, tmp_path / "all.jsonl")
    predict(base.model, base.tokenizer, rows, sampling, tmp_path / "few.jsonl", budget_tokens=5 * 48)  # five rows at a time
    predict(base.model, base.tokenizer, rows[5:7], sampling, tmp_path / "two.jsonl")
    everything, two = texts(tmp_path / "all.jsonl"), texts(tmp_path / "two.jsonl")
    assert len(set(everything.values())) > 4
    assert two == {key: everything[key] for key in two}
    assert texts(tmp_path / "few.jsonl") == everything


def test_an_answer_may_be_ended_before_its_end(base: LoadedModel) -> None:
    base.model.eval()
    prompts = sorted((base.tokenizer.encode(row.value["messages"][0]["content"]) for row in read_rows(9)), key=len)
    questions = [Question(prompt) for prompt in prompts]
    ended = dict(generate_each(base.model, questions, TokenSampler(SHORT), 4, [], is_over=lambda ids: len(ids) == 3))
    whole = dict(generate_each(base.model, questions, TokenSampler(SHORT), 9, []))
    assert set(ended) == set(range(9))
    for place, answer in ended.items():
        assert answer == Written(whole[place].ids[:3], truncated=False)
        assert (len(whole[place].ids), whole[place].truncated) == (24, True)


def test_prompts_of_like_length_are_read_together() -> None:
    """19 and 20 ids read 18 and 19 tokens: 2 × 19 ≤ 1.25 × 37. With 31 ids, 3 × 30 > 1.25 × 67."""
    prompts = [[7] * length for length in (1, 1, 19, 20, 31, 32)]
    assert [[len(prompt) for prompt in group] for group in like_lengths(prompts)] == [[1, 1], [19, 20], [31, 32]]
    assert [len(group) for group in like_lengths(prompts, most_padding=1.0)] == [2, 1, 1, 1, 1]


def test_it_goes_on_after_an_abandoned_part_and_a_torn_line(base: LoadedModel, tmp_path: Path) -> None:
    base.model.eval()
    rows, path = read_rows(20), tmp_path / "p.jsonl"
    predict(base.model, base.tokenizer, rows, SHORT, tmp_path / "whole.jsonl")

    def enough() -> bool:
        return path.read_bytes().count(b"\n") >= 6

    with pytest.raises(Abandoned):
        predict(base.model, base.tokenizer, rows, SHORT, path, budget_tokens=400, abandoned=enough)
    before = path.read_bytes()
    assert 6 <= before.count(b"\n") < 20
    path.write_bytes(before + b'{"row": 1')
    result = predict(base.model, base.tokenizer, rows, SHORT, path)
    assert result.earlier == before.count(b"\n")
    assert result.written == 20 - result.earlier
    assert path.read_bytes().startswith(before)
    assert texts(path) == texts(tmp_path / "whole.jsonl")


def test_rows_that_ask_nothing_are_counted(base: LoadedModel, tmp_path: Path) -> None:
    rows = [Row(1, {"text": "A story."}), *read_rows(2)[1:]]
    assert predict(base.model, base.tokenizer, rows, SHORT, tmp_path / "p.jsonl") == Predicted(1, 0, 1)


KILLED = """
import sys
from pathlib import Path
from tunesmith.models.blas import prepare_worker
prepare_worker()
import orjson
from tunesmith.data.formats import Row
from tunesmith.inference.prediction import predict
from tunesmith.inference.sampling import Sampling
from tunesmith.models.loading import load_model
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL
base = load_model(DEMO_MODEL)
lines = (DEMO_DATA / "company_facts" / "train.jsonl").read_bytes().splitlines()
rows = [Row(number, orjson.loads(line)) for number, line in enumerate(lines[:400], 1)]
predict(base.model, base.tokenizer, rows, Sampling(max_tokens=24), Path(sys.argv[1]), budget_tokens=300)
"""


def test_a_killed_process_is_gone_on_with(base: LoadedModel, tmp_path: Path) -> None:
    base.model.eval()
    path = tmp_path / "p.jsonl"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)]) as process:
        deadline = time.monotonic() + 60
        while not path.exists() or path.read_bytes().count(b"\n") < 8:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    kept = texts(path)
    assert 8 <= len(kept) < 400
    rows = read_rows(max(row for row, _ in kept))
    result = predict(base.model, base.tokenizer, rows, SHORT, path)
    assert result.earlier == len(kept)
    assert result.written == len(rows) - len(kept)
    assert len(texts(path)) == len(rows)
    assert {key: texts(path)[key] for key in kept} == kept


def test_a_line_that_stands_there_is_not_written_again(base: LoadedModel, tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    log = AppendLog(path)
    log.append({"row": 1, "variant": "", "text": "mine", "tokens": 1, "finish": "stop", "reference": None})
    log.close()
    predict(base.model, base.tokenizer, read_rows(2), SHORT, path)
    assert texts(path)[1, ""] == "mine"
