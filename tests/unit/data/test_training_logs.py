"""Curves of other tools' runs, from real output and from files laid out as those tools write them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tunesmith.data.training_logs import MOST_METRICS, ForeignRun, read_training_log
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import LANGUAGES, error_words

REAL_OUTPUT = Path(__file__).parent / "logs" / "mlx_lm_0_32.txt"  # of mlx_lm.lora 0.32.2 with the shipped model, colours and all
BEFORE_0_32 = """Loading pretrained model
Trainable parameters: 2.546% (0.063M/2.493M)
Starting training..., iters: 600
Iter 1: Val loss 2.345, Val took 12.345s
Iter 10: Train loss 2.125, Learning Rate 1.000e-05, It/sec 1.250, Tokens/sec 345.100, Trained Tokens 1234, Peak mem 3.400 GB
Iter 10: Saved adapter weights to adapters/adapters.safetensors and adapters/0000010_adapters.safetensors.
Iter 11: Val loss 1.875, Val took 11.000s
Iter 20: Train loss nan, Learning Rate 9.000e-06, It/sec 1.200, Tokens/sec 340.000, Trained Tokens 2468, Peak mem 3.400 GB
Test loss 1.234, Test ppl 3.435.
"""


def read(tmp_path: Path, text: str, name: str = "run.log") -> ForeignRun:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_training_log(path)


def test_the_output_of_mlx_lm() -> None:
    """A validation is printed with the step that it comes before: `1 val` is the base's, of step 0."""
    run = read_training_log(REAL_OUTPUT)
    assert (run.tool, run.method, run.steps_planned, run.last_step) == ("mlx-lm", "sft", 12, 12)
    assert run.records == [
        {"step": 0, "val_loss": 2.571},
        {"step": 4, "train_loss": 1.425, "tokens_per_second": 11.0, "tokens_seen": 300.0},
        {"step": 5, "val_loss": 1.145},
        {"step": 8, "train_loss": 2.045, "tokens_per_second": 188.0, "tokens_seen": 600.0},
        {"step": 11, "val_loss": 2.454},
        {"step": 12, "train_loss": 1.808, "tokens_per_second": 216.0, "tokens_seen": 800.0},
    ]


def test_the_output_of_mlx_lm_before_0_32(tmp_path: Path) -> None:
    run = read(tmp_path, BEFORE_0_32)
    assert (run.tool, run.steps_planned, len(run.records)) == ("mlx-lm", 600, 3)
    assert run.records[0] == {"step": 0, "val_loss": 2.345}
    assert run.records[1] == {
        "step": 10, "train_loss": 2.125, "learning_rate": 1e-5, "steps_per_second": 1.25, "tokens_per_second": 345.1,
        "tokens_seen": 1234.0, "peak_memory_bytes": 3.4e9, "val_loss": 1.875,
    }  # fmt: skip
    assert run.records[2]["train_loss"] != run.records[2]["train_loss"], "a loss that is no number stays one"


def test_trainer_state(tmp_path: Path) -> None:
    """The last entry's train_loss is the mean of the run, not the loss of its step; Python writes NaN, which is no JSON."""
    history = [
        {"epoch": 0.5, "grad_norm": 1.5, "learning_rate": 2e-5, "loss": 2.0, "step": 5},
        {"epoch": 0.5, "eval_loss": 1.75, "eval_runtime": 3.0, "step": 5},
        {"epoch": 1.0, "grad_norm": float("nan"), "learning_rate": 1e-5, "loss": 1.0, "step": 10},
        {"epoch": 1.0, "step": 10, "total_flos": 1e15, "train_loss": 1.5, "train_runtime": 60.0, "train_steps_per_second": 0.1},
    ]
    state = {"best_metric": None, "log_history": history, "max_steps": 12, "num_train_epochs": 1, "train_batch_size": 2}
    run = read(tmp_path, json.dumps(state), "trainer_state.json")
    assert (run.tool, run.method, run.steps_planned) == ("transformers", "sft", 12)
    assert run.records[0] == {
        "step": 5, "epoch": 0.5, "grad_norm": 1.5, "learning_rate": 2e-5, "train_loss": 2.0, "val_loss": 1.75, "eval_runtime": 3.0,
    }  # fmt: skip
    last = run.records[1]
    assert (last["step"], last["train_loss"], last["elapsed_seconds"]) == (10, 1.0, 60.0)
    assert run.settings["batch_size"] == 2


def test_trainer_state_of_preferences(tmp_path: Path) -> None:
    entry = {"step": 1, "loss": 0.6931, "rewards/margins": 0.25, "rewards/accuracies": 0.75, "eval_rewards/margins": 0.125}
    run = read(tmp_path, json.dumps({"log_history": [entry], "max_steps": 1}))
    assert run.method == "dpo"
    assert run.records == [{"step": 1, "train_loss": 0.6931, "reward_margin": 0.25, "reward_accuracy": 0.75, "val_margin": 0.125}]


def test_trainer_log_of_llama_factory(tmp_path: Path) -> None:
    """The last line of a run that was killed is torn."""
    lines = (
        '{"current_steps": 5, "total_steps": 30, "loss": 2.5, "lr": 4.5e-05, "epoch": 0.3, "percentage": 16.67, '
        '"elapsed_time": "0:01:05", "remaining_time": "0:05:00"}\n'
        '{"current_steps": 10, "total_steps": 30, "eval_loss": 1.25, "epoch": 0.6, "percentage": 33.33, "elapsed_time": "1 day, 0:00:10"}\n'
        '{"current_steps": 15, "total_st'
    )
    run = read(tmp_path, lines, "trainer_log.jsonl")
    assert (run.tool, run.steps_planned) == ("llama-factory", 30)
    first, second = run.records
    assert (first["train_loss"], first["learning_rate"], first["elapsed_seconds"]) == (2.5, 4.5e-5, 65.0)
    assert (second["step"], second["val_loss"], second["elapsed_seconds"]) == (10, 1.25, 86_410.0)
    assert "percentage" not in first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("step,loss,eval_loss\n1,2.5,\n2,,1.5\n", [{"step": 1, "train_loss": 2.5}, {"step": 2, "val_loss": 1.5}]),
        ("\ufeffIteration;Loss\n1;2,5\n10;1,25\n", [{"step": 1, "train_loss": 2.5}, {"step": 10, "train_loss": 1.25}]),
        ('step\ttokens\n1\t"1,234"\n', [{"step": 1, "tokens": 1234.0}]),
        ("step,metric,value\n1,loss,2\n1,my metric,3\n", [{"step": 1, "train_loss": 2.0, "my metric": 3.0}]),
        ("step,loss\n2,1\n1,2\n2,3\n", [{"step": 1, "train_loss": 2.0}, {"step": 2, "train_loss": 3.0}]),
        ("step,time,attempt,seq,v,self,loss\n1,9,9,9,9,9,2\n", [{"step": 1, "train_loss": 2.0}]),
    ],
)
def test_tables(tmp_path: Path, text: str, expected: list[dict[str, float]]) -> None:
    assert read(tmp_path, text, "run.csv").records == expected


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "log_not_understood"),
        (b"nothing of use\n", "log_not_understood"),
        (b"\xff\xfe\x00\x01", "log_not_text"),
        (b'{"log_history": ' + b"[" * 200_000, "log_not_understood"),
        (b'{"log_history": {}}', "log_not_understood"),
        (b'{"log_history": [1, null, "x"]}', "log_without_steps"),
        (b"step,name\n1,x\n", "log_without_steps"),
        (b"step,loss\n-1,2\n1e300,2\nnan,2\n1.5,2\n", "log_without_steps"),
        (b"step," + b",".join(b"m%d" % n for n in range(MOST_METRICS + 1)) + b"\n1" + b",1" * (MOST_METRICS + 1), "log_too_many_metrics"),
        (b'step,loss\n"' + b"x" * 200_000 + b'",1\n', "log_not_understood"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes, code: str) -> None:
    path = tmp_path / "odd.log"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_training_log(path)
    assert caught.value.code == code
    for lang in LANGUAGES:
        assert "{" not in error_words(code, caught.value.facts, lang)


def test_numbers_that_are_no_figures_are_left_out(tmp_path: Path) -> None:
    lines = '{"step": 1, "loss": 2.0, "ok": true, "text": "x", "list": [1], "' + "n" * 500 + '": 1, "big": ' + "9" * 400 + "}\n"
    assert read(tmp_path, lines).records[0].keys() <= {"step", "train_loss", "big"}


def test_a_log_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="file_missing"):
        read_training_log(tmp_path / "none.log")
