"""The helper process: streams, cancels, counts, survives errors, and dies with its parent."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pytest

from tunesmith.errors import UserError
from tunesmith.inference.client import Answers, HostClient
from tunesmith.inference.host import Host
from tunesmith.inference.protocol import Asked, Sent
from tunesmith.inference.sampling import Sampling
from tunesmith.system.paths import DEMO_DATA, DEMO_MODEL

QUESTION = [{"role": "user", "content": "What is the capital of Japan?"}]
ASKED = Asked(QUESTION)
RULES = {"max_seq_length": 128, "loss_on": "all_answers", "overlong": "cut", "validation_share": 0.1, "seed": 0}
LENGTH = {"iters": 10, "epochs": 0}
BATCHING = {"batch_size": 4, "longest": 128, "seed": 0}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[HostClient]:
    client = HostClient(tmp_path / "inference.log")
    yield client
    client.close()


def answer(host: HostClient, sampling: Sampling = Sampling()) -> str:  # noqa: B008 - frozen
    return "".join(d.text for d in host.stream(DEMO_MODEL, [ASKED], sampling)).strip()


def test_it_answers_in_pieces_and_again(host: HostClient) -> None:
    deltas = list(host.stream(DEMO_MODEL, [ASKED, ASKED], Sampling()))
    assert "".join(d.text for d in deltas if d.variant == 0).strip() == "The capital of Japan is Tokyo."
    assert [d.finish for d in deltas if d.finish] == ["stop", "stop"]
    assert len({d.first_token_seconds for d in deltas if d.variant == 0}) == 1
    assert answer(host) == "The capital of Japan is Tokyo."
    assert list(host.stream(DEMO_MODEL, [ASKED], Sampling(max_tokens=2)))[-1].finish == "length"


def test_it_tells_what_each_variant_was_given(host: HostClient) -> None:
    told: list[Sent] = []
    longer = [{"role": "system", "content": "Be brief."}, *QUESTION, {"role": "assistant", "content": "東京"}, *QUESTION]
    stream = host.stream(DEMO_MODEL, [ASKED, Asked(longer)], Sampling(max_tokens=2), told.extend)
    next(stream)
    question = "<|im_start|>user\nWhat is the capital of Japan?<|im_end|>\n"
    assert [sent.text for sent in told] == [
        f"{question}<|im_start|>assistant\n",
        f"<|im_start|>system\nBe brief.<|im_end|>\n{question}<|im_start|>assistant\n東京<|im_end|>\n{question}<|im_start|>assistant\n",
    ]
    tokens, total, _ = host.xray(DEMO_MODEL, {"messages": longer[:2]}, "everything", 1000)
    assert 0 < told[0].tokens < total < told[1].tokens
    assert len(tokens) == total


def test_a_closed_stream_cancels(host: HostClient) -> None:
    stream = host.stream(DEMO_MODEL, [ASKED], Sampling(temperature=2.0, max_tokens=8000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    began = time.monotonic()
    assert answer(host) == "The capital of Japan is Tokyo."
    assert time.monotonic() - began < 60


def test_sampling_repeats_with_its_seed(host: HostClient) -> None:
    first, again, other = (answer(host, Sampling(temperature=2.0, max_tokens=30, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_errors_come_back_with_their_code_and_the_host_goes_on(host: HostClient, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        list(host.stream(tmp_path, [ASKED], Sampling()))
    assert caught.value.code == "model_config_missing"
    with pytest.raises(UserError) as caught:
        list(host.stream(DEMO_MODEL, [Asked(QUESTION, tmp_path)], Sampling()))
    assert caught.value.code == "adapter_missing"
    assert answer(host) == "The capital of Japan is Tokyo."


def test_a_killed_host_is_reported_and_replaced(host: HostClient) -> None:
    stream = host.stream(DEMO_MODEL, [ASKED], Sampling(temperature=2.0, max_tokens=8000))
    next(stream)
    assert host._process is not None
    os.kill(host._process.pid, signal.SIGKILL)
    with pytest.raises(UserError) as caught:
        list(stream)
    assert caught.value.code == "host_died"
    assert answer(host) == "The capital of Japan is Tokyo."


def test_the_end_of_a_host_is_not_told_to_who_waits_for_the_next(host: HostClient) -> None:
    """A host dies, a question starts the next one, and only then the first one's reader comes to tell it."""
    dead, answers = host._start(), Answers()
    with subprocess.Popen([sys.executable, "-c", ""]) as living:
        host._waiting[99] = living, answers
        readers = [thread for thread in threading.enumerate() if thread.name == "tunesmith-host-reader"]
        dead.kill()
        for reader in readers:
            reader.join(10)
            assert not reader.is_alive()
    assert answers.empty()


def test_what_nobody_waits_for_any_more_loads_no_model(host: HostClient, tmp_path: Path) -> None:
    out = io.BytesIO()
    worker = Host(out)
    for cancelled in (True, False):
        worker.cancelled |= {7} if cancelled else set()
        worker.answer({"id": 7, "op": "stream", "model": str(tmp_path), "asked": [], "sampling": {}})
    first, second = map(orjson.loads, out.getvalue().splitlines())
    assert first == {"id": 7, "done": True}
    assert second["error"]["code"] == "model_config_missing"
    assert list(host.stream(DEMO_MODEL, [ASKED], Sampling(), unwanted=lambda: True)) == []
    assert not host.busy


def test_tokens_are_counted_by_the_models_own_tokenizer(host: HostClient) -> None:
    report = host.count_tokens(DEMO_MODEL, DEMO_DATA / "company_facts", "sft", ["messages"], RULES, BATCHING, LENGTH)
    lines = (DEMO_DATA / "company_facts" / "train.jsonl").read_text().splitlines()
    assert report.rows == len(lines)
    assert report.overlong_rows == report.unusable_rows == report.rows_without_labels == 0
    assert report.steps == 10
    assert 0 < report.supervised_tokens < report.tokens
    rules = RULES | {"max_seq_length": report.longest_tokens - 1}
    shorter = host.count_tokens(DEMO_MODEL, DEMO_DATA / "company_facts", "sft", ["messages"], rules, BATCHING, LENGTH)
    assert shorter.overlong_rows > 0


def test_the_host_dies_with_its_parent() -> None:
    code = """
import sys, pathlib, time
from tunesmith.inference.client import HostClient
from tunesmith.inference.sampling import Sampling
client = HostClient(pathlib.Path("/dev/null"))
client._process = client._start()
print(client._process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(2)
        parent.kill()
    deadline = time.monotonic() + 60
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_every_token_of_a_row_is_shown_with_what_becomes_of_it(host: HostClient) -> None:
    """The pieces are the rendered conversation; the answer and its end token are learned, what lies behind the maximum is cut."""
    row = {"messages": [{"role": "user", "content": "Hello 東京!"}, {"role": "assistant", "content": "Hi there."}]}
    tokens, total, ends = host.xray(DEMO_MODEL, row, "all_answers", 1000)
    assert ends
    assert total == len(tokens)
    assert "".join(token.text for token in tokens).rstrip() == (
        "<|im_start|>user\nHello 東京!<|im_end|>\n<|im_start|>assistant\nHi there.<|im_end|>"
    )
    learned = "".join(token.text for token in tokens if token.state == "learned")
    assert learned == "Hi there.<|im_end|>"
    cut, _, _ = host.xray(DEMO_MODEL, row, "everything", 5)
    assert [token.state for token in cut[:6]] == ["learned"] * 5 + ["cut"]
