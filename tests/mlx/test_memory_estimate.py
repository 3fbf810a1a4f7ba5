"""The estimate against MLX's own peak of real runs, each in a process of its own: the peak and the cache are the process's."""

from __future__ import annotations

from tunesmith.models.blas import prepare_engine, prepare_worker

(prepare_worker if __name__ == "__main__" else prepare_engine)()  # before the first import of mlx

import dataclasses  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from importlib import import_module  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import mlx.core as mx  # noqa: E402
import orjson  # noqa: E402
import pytest  # noqa: E402
from mlx.utils import tree_flatten  # noqa: E402

from tunesmith.data.batching import PAD_TO, BatchRules, attention_width, largest_shape, pass_tokens  # noqa: E402
from tunesmith.data.encoding import EncodingRules, encode_dataset  # noqa: E402
from tunesmith.models import memory_estimate, tuning  # noqa: E402
from tunesmith.models.loading import LoadedModel, load_model, load_tokenizer  # noqa: E402
from tunesmith.models.memory_estimate import MemoryInputs, count_model_parameters, estimate_memory  # noqa: E402
from tunesmith.system.paths import DEMO_MODEL  # noqa: E402
from tunesmith.training import prepare  # noqa: E402
from tunesmith.training.config import LoraParameters, TrainConfig  # noqa: E402
from tunesmith.training.cross_entropy import PIECE  # noqa: E402
from tunesmith.training.forward import CHUNKED_FROM_VOCABULARY  # noqa: E402
from tunesmith.training.registry import METHODS  # noqa: E402
from tunesmith.training.run import train  # noqa: E402

TOLERANCE = 0.15
WHOLE = 1 << 20  # tokens per pass: a batch is one pass
STEPS = 2  # the first has no optimiser state yet
SENTENCE = "What is the colour of the river, and who saw it there? "
DEMO: dict[str, Any] = orjson.loads((DEMO_MODEL / "config.json").read_bytes())
MIDDLE: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 384, "num_hidden_layers": 5, "intermediate_size": 1024, "num_attention_heads": 6,
    "num_key_value_heads": 2, "vocab_size": 2048,
}  # fmt: skip
LARGE = MIDDLE | {"hidden_size": 256, "num_hidden_layers": 4, "intermediate_size": 704, "num_attention_heads": 4, "vocab_size": 16384}


@dataclass(frozen=True)
class Case:
    """`batch` rows of `length` tokens through the demo model, or one with some keys of config.json changed."""

    model: dict[str, Any] = field(default_factory=dict)
    batch: int = 8
    length: int = 129
    settings: dict[str, Any] = field(default_factory=dict)
    half: bool = False  # held in bfloat16, as off a CPU


CASES = {
    "demo": Case(),
    "demo, one padded row": Case(batch=1, length=200, settings={"packing": False}),
    "demo, wide lines": Case(batch=2, length=513),
    "demo, in passes": Case(batch=32, settings={"pass_tokens": 0}),
    "demo, checkpointed": Case(batch=16, settings={"grad_checkpoint": True}),
    "middle, dora": Case(MIDDLE, settings={"fine_tune_type": "dora"}),
    "middle, 8-bit": Case(MIDDLE, batch=2, settings={"quantize": "8-bit"}),
    "middle, full by lion": Case(MIDDLE, batch=2, settings={"fine_tune_type": "full", "optimizer": "lion"}),
    "middle, full, accumulated": Case(MIDDLE, batch=4, settings={"fine_tune_type": "full", "grad_accumulation_steps": 2}),
    "large vocabulary": Case(LARGE),
    "large vocabulary, in passes": Case(LARGE, batch=16, settings={"pass_tokens": 0}),
    "large vocabulary, full": Case(LARGE, batch=4, settings={"fine_tune_type": "full"}),
    "middle, full, half precision": Case(MIDDLE, batch=4, settings={"fine_tune_type": "full"}, half=True),
    "large vocabulary, full, half precision": Case(LARGE, batch=4, settings={"fine_tune_type": "full"}, half=True),
    "large vocabulary, checkpointed": Case(LARGE, settings={"grad_checkpoint": True}),
    "large vocabulary, 8-bit": Case(LARGE, batch=2, settings={"quantize": "8-bit"}),
}  # fmt: skip


SAMPLE = ("demo, in passes", "middle, full, accumulated", "large vocabulary")  # in every run; the others are slow


def write_model(folder: Path, config: dict[str, Any]) -> Path:
    """Random weights under the demo's tokenizer."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO_MODEL / name, folder / name)
    (folder / "config.json").write_bytes(orjson.dumps(config))
    mx.random.seed(0)
    shapes = {name: weight.shape for name, weight in tree_flatten(untrained(config).parameters())}
    weights = {name: mx.random.normal(shape) * shape[-1] ** -0.5 if len(shape) > 1 else mx.ones(shape) for name, shape in shapes.items()}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
    return folder


def untrained(config: dict[str, Any]) -> Any:
    module = import_module(f"mlx_lm.models.{config['model_type']}")
    return module.Model(module.ModelArgs.from_dict(config))


def write_rows(folder: Path, count: int) -> Path:
    folder.mkdir()
    rows = [{"text": f"{n}. {SENTENCE * 45}"} for n in range(count)]  # longer than any case's lines, so that all are cut
    (folder / "train.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    return folder


def measure(work: Path, model: Path, case: Case) -> dict[str, Any]:
    """Train for real; return the peak in bytes, the largest batch, and whether the cross-entropy went in pieces."""
    settings: dict[str, Any] = {
        "iters": STEPS, "batch_size": case.batch, "max_seq_length": case.length, "steps_per_report": 1, "steps_per_eval": 1000,
        "val_batches": 0, "validation_share": 0.0, "lora_parameters": LoraParameters(rank=8), "seed": 3,
        "pass_tokens": WHOLE,
    }  # fmt: skip
    config = TrainConfig(**(settings | case.settings))
    data = write_rows(work / "rows", case.batch * config.grad_accumulation_steps)
    mx.clear_cache()
    mx.reset_peak_memory()
    with pytest.MonkeyPatch.context() as patch:
        if case.half:
            patch.setattr(prepare, "load_model", load_half)
        train(config, model, data, work, lambda: "")
    peak = max(orjson.loads(line).get("peak_memory_bytes", 0) for line in (work / "metrics.jsonl").read_bytes().splitlines())
    events = [orjson.loads(line) for line in (work / "events.jsonl").read_bytes().splitlines()]
    started = next(event for event in events if event["kind"] == "run_started")
    encoding = EncodingRules(config.max_seq_length, config.loss_on, config.overlong, config.validation_share, config.seed)
    rows = encode_dataset(data, METHODS["sft"].row_kinds, load_tokenizer(model), encoding).train
    width = attention_width(DEMO | case.model)
    rules = BatchRules(
        config.batch_size, config.max_seq_length, config.seed, started["packing"], config.grad_accumulation_steps, width,
        config.pass_tokens or pass_tokens("cpu"),
    )  # fmt: skip
    return {"peak": peak, "shape": list(largest_shape(rows, rules, config.iters)), "chunked": started["chunked"]}


def load_half(path: Path) -> LoadedModel:
    base = load_model(path)
    base.model.set_dtype(mx.bfloat16)
    mx.eval(base.model.parameters())
    mx.clear_cache()
    mx.reset_peak_memory()
    return base


def measure_apart(work: Path, case: Case) -> dict[str, Any]:
    model = write_model(work / "model", DEMO | case.model) if case.model else DEMO_MODEL
    arguments = [str(work), str(model), orjson.dumps(dataclasses.asdict(case)).decode()]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return answer


def inputs_of(model: dict[str, Any], shape: tuple[int, int, int], settings: dict[str, Any], half: bool = False) -> MemoryInputs:
    named = {key: value for key, value in settings.items() if key in {"fine_tune_type", "optimizer", "quantize", "grad_checkpoint"}}
    accumulate = bool({"grad_accumulation_steps", "pass_tokens"} & settings.keys())
    return MemoryInputs(model, *shape, accumulate=accumulate, compute_bytes=2 if half else 4, **named)


@pytest.mark.parametrize("name", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.slow) for name in CASES])
def test_the_estimate_is_near_the_measured_peak(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    model = DEMO | case.model
    measured = measure_apart(tmp_path, case)
    assert measured["chunked"] == (model["vocab_size"] >= CHUNKED_FROM_VOCABULARY)
    estimate = estimate_memory(inputs_of(model, measured["shape"], case.settings, case.half))
    error = estimate.peak_bytes / measured["peak"] - 1
    report = f"{name} {measured['shape']}: estimated {estimate.peak_bytes}, measured {measured['peak']}, {error:+.1%}; {estimate}"
    sys.stdout.write(report)
    assert abs(error) <= TOLERANCE, report


def test_what_is_repeated_from_modules_with_mlx_is_the_same() -> None:
    repeated = (memory_estimate.CHUNKED_FROM_VOCABULARY, memory_estimate.PIECE, memory_estimate.PAD_LABELS_TO)
    assert repeated == (CHUNKED_FROM_VOCABULARY, PIECE, PAD_TO)
    assert memory_estimate.QUANTIZATIONS == tuning.QUANTIZATIONS


def test_parameters_of_the_demo_model() -> None:
    real = sum(weight.size for _, weight in tree_flatten(load_model(DEMO_MODEL).model.parameters()))
    assert count_model_parameters(DEMO) == real


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "llama", "tie_word_embeddings": False}, {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
        {"model_type": "qwen2"}, {"model_type": "qwen3", "tie_word_embeddings": False}, {"model_type": "gemma"}, {"model_type": "gemma2"},
        {"model_type": "phi3", "tie_word_embeddings": False, "head_dim": 64}, {"model_type": "smollm3"},
    ],
    ids=lambda changes: "-".join(str(value) for value in changes.values()),
)  # fmt: skip
def test_parameters_of_other_architectures(changes: dict[str, Any]) -> None:
    config = DEMO | {"vocab_size": 320, "query_pre_attn_scalar": 64} | changes
    assert count_model_parameters(config) == sum(weight.size for _, weight in tree_flatten(untrained(config).parameters()))


def peak(model: dict[str, Any] = LARGE, shape: tuple[int, int, int] = (4, 256, 900), **more: Any) -> int:
    return estimate_memory(MemoryInputs(DEMO | model, *shape, **more)).peak_bytes


def test_more_takes_more_and_savings_save() -> None:
    assert peak(shape=(1, 256, 200)) < peak(shape=(2, 256, 400)) < peak() < peak(shape=(4, 512, 900))
    assert peak(grad_checkpoint=True) < peak()
    assert peak(modules="attention") < peak()
    assert peak(num_layers=2) < peak(num_layers=3) < peak(num_layers=4) == peak()
    assert peak(rank=8) < peak(rank=64)
    assert peak(fused_attention=True) < peak()
    assert peak(compute_bytes=2) < peak()
    assert peak() < peak(fine_tune_type="dora")
    assert peak() < peak(fine_tune_type="full") < peak(fine_tune_type="full", shape=(4, 256, 900), accumulate=True)
    assert peak(quantize="4-bit") < peak(quantize="8-bit") < peak()


def test_full_tuning_of_a_half_precision_model_by_hand() -> None:
    """Of one block each weight is 4 bytes and of all else 2; Adam keeps 8 bytes per tuned weight and makes 2.6 x 4 while it moves it."""
    every = count_model_parameters(DEMO | MIDDLE)
    block = every - count_model_parameters(DEMO | MIDDLE | {"num_hidden_layers": MIDDLE["num_hidden_layers"] - 1})
    half = MemoryInputs(DEMO | MIDDLE, 1, 32, 32, "full", num_layers=1, compute_bytes=2)
    found = estimate_memory(half)
    assert (found.weights_bytes, found.optimizer_bytes, found.gradient_bytes) == (2 * every + 2 * block, 8 * block, int(2.6 * 4 * block))
    assert estimate_memory(dataclasses.replace(half, keeps_base=True)).weights_bytes == found.weights_bytes + 4 * block
    writing = dataclasses.replace(half, writing_rows=64, writing_tokens=4096)
    head = 4 * MIDDLE["vocab_size"] * MIDDLE["hidden_size"]  # copied into float32 for each token
    dense = estimate_memory(dataclasses.replace(writing, compute_bytes=4))
    assert estimate_memory(writing).logits_bytes - dense.logits_bytes == head


def test_an_already_quantised_model_by_hand() -> None:
    """4 bits and, per group of 64, two bfloat16: 4.5 bits per weight of embedding and blocks; the norms stay."""
    config = DEMO | {"quantization": {"bits": 4, "group_size": 64}}
    norms = 4 * (2 * 256 + 2 * 64) + 256
    expected = (count_model_parameters(config) - norms) * 4.5 / 8 + norms * 2
    assert estimate_memory(MemoryInputs(config, 1, 32, 32, compute_bytes=2)).weights_bytes == expected


def test_a_config_without_keys_raises_nothing() -> None:
    for config in ({}, {"text_config": {"hidden_size": None, "vocab_size": 50_000}}, {"quantization": {}, "num_key_value_heads": [1, 2]}):
        estimate = estimate_memory(MemoryInputs(config, 1, 128, 100))
        assert estimate.peak_bytes == sum(dataclasses.astuple(estimate)) > 0


def test_text_config_is_read_in_its_place() -> None:
    assert count_model_parameters({"text_config": LARGE | {"tie_word_embeddings": True}}) == count_model_parameters(LARGE)


if __name__ == "__main__":
    answer = measure(Path(sys.argv[1]), Path(sys.argv[2]), Case(**orjson.loads(sys.argv[3])))
    sys.stdout.write(orjson.dumps(answer).decode() + "\n")
