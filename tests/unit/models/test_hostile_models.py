"""Folders made to harm: each is refused by name before anything is loaded, no code of theirs runs, and no honest folder is refused."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import UserError
from tunesmith.i18n.catalog import error_words
from tunesmith.models.discovery import inspect_model
from tunesmith.models.safety import check_model_folder, read_safetensors_header
from tunesmith.system.paths import DEMO_MODEL

Change = Callable[[Path], Any]
CONFIG = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 8, "vocab_size": 16, "num_attention_heads": 2}
ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
CANARY = "canary"


class Bomb:
    """A pickle that writes a file when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def pack(header: Any, data: bytes = b"\0" * 8, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that may be loaded, as far as can be told without loading it, with code and a pickle that nothing asks for."""
    path = tmp_path / "a-model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "model.safetensors").write_bytes(pack({"w": ENTRY}))
    (path / "tokenizer.json").write_text('{"model": {}}')
    (path / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / CANARY)!r})\n")
    (path / "evil.pkl").write_bytes(pickle.dumps(Bomb(tmp_path / CANARY)))
    return path


def unchanged(folder: Path) -> None:
    """Leave a folder as it is."""


def config(**changes: Any) -> Change:
    return lambda f: (f / "config.json").write_text(json.dumps(CONFIG | changes))


def text(name: str, content: str | bytes) -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def record(name: str, value: Any) -> Change:
    return text(name, json.dumps(value))


def weights(header: Any, data: bytes = b"\0" * 8, length: int | None = None) -> Change:
    return text("model.safetensors", pack(header, data, length))


def tensor(**changes: Any) -> Change:
    return weights({"w": ENTRY | changes})


def two(first: list[int], second: list[int], data: int = 16) -> Change:
    return weights({"a": ENTRY | {"data_offsets": first}, "b": ENTRY | {"data_offsets": second}}, b"\0" * data)


def large(name: str, size_bytes: int) -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        with (folder / name).open("ab") as stream:
            stream.truncate(size_bytes)  # takes no room on the disk

    return change


def remove(name: str) -> Change:
    return lambda f: (f / name).unlink()


def rename(name: str, other: str) -> Change:
    return lambda f: (f / name).rename(f / other)


def link(name: str, target: str) -> Change:
    def change(folder: Path) -> None:
        outside = folder.parent / "outside"
        if (folder / name).exists():
            shutil.copy(folder / name, outside)
            (folder / name).unlink()
        else:
            outside.write_text("x")
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).symlink_to(target.format(outside=outside))

    return change


def pipe(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)  # reading it would never end

    return change


def bomb(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / name).write_bytes(pickle.dumps(Bomb(folder.parent / CANARY)))

    return change


def zipped_weights(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Bomb(folder.parent / CANARY)))


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"text_config": inner}
    return inner


def index(*names: str) -> Change:
    return record("model.safetensors.index.json", {"weight_map": {f"w{i}": name for i, name in enumerate(names)}})


BROKEN, RUNS, UNBOUNDED = "model_config_broken", "model_runs_code", "model_config_unbounded"
WEIGHTS, TOKENIZER, LARGE, PLAIN, INDEX = (
    "model_weights_broken", "model_tokenizer_broken", "model_file_too_large", "model_file_not_plain", "model_index_broken",
)  # fmt: skip
HOSTILE: dict[str, tuple[Change, str]] = {
    "no config": (remove("config.json"), "model_config_missing"),
    "empty config": (text("config.json", ""), BROKEN),
    "config is no JSON": (text("config.json", "model_type: llama"), BROKEN),
    "config is a list": (text("config.json", "[{}]"), BROKEN),
    "config is null": (text("config.json", "null"), BROKEN),
    "config in UTF-16": (text("config.json", json.dumps(CONFIG).encode("utf-16")), BROKEN),
    "config of 2 MB": (text("config.json", " " * 2_000_001), BROKEN),
    "config of a million brackets": (text("config.json", "[" * 1_000_000), BROKEN),
    "config of a hundred thousand objects": (text("config.json", '{"text_config":' * 100_000), BROKEN),
    "text_config in text_config": (config(**nested(40)), BROKEN),
    "lists in lists": (config(deep=json.loads("[" * 40 + "]" * 40)), BROKEN),
    "a number of 5000 digits": (text("config.json", '{"model_type": "llama", "hidden_size": ' + "9" * 5000 + "}"), BROKEN),
    "no model_type": (record("config.json", {"hidden_size": 8}), BROKEN),
    "model_type is a number": (config(model_type=7), BROKEN),
    "model_type is a path": (config(model_type="../../evil"), BROKEN),
    "model_type with a zero byte": (config(model_type="llama\0"), BROKEN),
    "model_type of a million letters": (config(model_type="a" * 1_000_000), BROKEN),
    "model_file": (config(model_file="evil.py"), RUNS),
    "auto_map": (config(auto_map={"AutoModelForCausalLM": "evil.Model"}), RUNS),
    "auto_map of the tokenizer": (config(auto_map={"AutoTokenizer": ["evil.Tokenizer", None]}), RUNS),
    "auto_map within": (config(text_config={"auto_map": {"AutoConfig": "evil.Config"}}), RUNS),
    "auto_map in a list": (config(towers=[{"auto_map": {"AutoConfig": "evil.Config"}}]), RUNS),
    "two million layers": (config(num_hidden_layers=2_000_000), UNBOUNDED),
    "minus one layers": (config(num_hidden_layers=-1), UNBOUNDED),
    "layers in words": (config(num_hidden_layers="many"), UNBOUNDED),
    "layers true": (config(num_hidden_layers=True), UNBOUNDED),
    "half a layer": (config(num_hidden_layers=4.5), UNBOUNDED),
    "endless layers": (config(num_hidden_layers=float("inf")), UNBOUNDED),
    "layers by another name": (config(n_layer=10**9), UNBOUNDED),
    "a width of a terabyte": (config(hidden_size=2**40), UNBOUNDED),
    "a vocabulary of a billion": (config(vocab_size=10**9), UNBOUNDED),
    "experts without end": (config(num_local_experts=10**8), UNBOUNDED),
    "one width per layer, one absurd": (config(intermediate_size=[8, 2**50]), UNBOUNDED),
    "a list of widths": (config(hidden_size=[8, 8]), UNBOUNDED),
    "a list of bits": (config(quantization={"bits": [4], "group_size": 64}), UNBOUNDED),
    "layers within": (config(text_config={"num_hidden_layers": 10**9}), UNBOUNDED),
    "layers further within": (config(thinker_config={"text_config": {"num_hidden_layers": 10**9}}), UNBOUNDED),
    "text_config is a list": (config(text_config=[1]), BROKEN),
    "quantization is text": (config(quantization="4-bit"), BROKEN),
    "quantization_config is a number": (config(quantization_config=4), BROKEN),
    "quantized to no bits": (config(quantization={"bits": 0, "group_size": 64}), UNBOUNDED),
    "quantized to a billion bits": (config(quantization={"bits": 10**9, "group_size": 64}), UNBOUNDED),
    "quantized to four bits in words": (config(quantization={"bits": "four", "group_size": 64}), UNBOUNDED),
    "groups of a billion": (config(quantization={"bits": 4, "group_size": 10**9}), UNBOUNDED),
    "one layer quantized below nothing": (config(quantization={"bits": 4, "group_size": 64, "lm_head": {"bits": -4}}), UNBOUNDED),
    "hf_quant_config is no JSON": (text("hf_quant_config.json", "{"), BROKEN),
    "hf_quant_config absurd": (record("hf_quant_config.json", {"quantization": {"group_size": 10**12}}), UNBOUNDED),
    "hf_quant_config too large": (large("hf_quant_config.json", 2_000_001), LARGE),
    "no weights": (remove("model.safetensors"), "model_weights_missing"),
    "weights by a name that is not read": (rename("model.safetensors", "weights.safetensors"), "model_weights_missing"),
    "weights as pickle": (bomb("pytorch_model.bin"), "model_weights_pickled"),
    "weights as a checkpoint of torch": (bomb("model.pt"), "model_weights_pickled"),
    "pickle named safetensors": (bomb("model.safetensors"), WEIGHTS),
    "zip named safetensors": (zipped_weights, WEIGHTS),
    "empty weights": (text("model.safetensors", ""), WEIGHTS),
    "seven bytes of weights": (text("model.safetensors", b"\0" * 7), WEIGHTS),
    "header of 2⁶² bytes": (weights({"w": ENTRY}, length=2**62), WEIGHTS),
    "header beyond the file": (weights({"w": ENTRY}, length=4096), WEIGHTS),
    "header of no bytes": (weights(b"", length=0), WEIGHTS),
    "header is no JSON": (weights(b"{not json"), WEIGHTS),
    "header is a list": (weights(b"[1, 2]"), WEIGHTS),
    "header is not UTF-8": (weights(b'{"w\xff": {}}'), WEIGHTS),
    "header begins with a space": (weights(b" " + json.dumps({"w": ENTRY}).encode()), WEIGHTS),
    "header of a million brackets": (weights(b'{"w":' * 1_000_000), WEIGHTS),
    "two tensors of one name": (weights(b'{"w": %b, "w": %b}' % ((json.dumps(ENTRY).encode(),) * 2)), WEIGHTS),
    "two shapes of one tensor": (
        weights(b'{"w": {"dtype": "F32", "shape": [2], "shape": [2, 1], "data_offsets": [0, 8]}}'), WEIGHTS,
    ),
    "metadata is a list": (weights({"__metadata__": [1], "w": ENTRY}), WEIGHTS),
    "metadata with numbers": (weights({"__metadata__": {"format": 1}, "w": ENTRY}), WEIGHTS),
    "a tensor is text": (weights({"w": "F32"}), WEIGHTS),
    "no offsets": (weights({"w": {"dtype": "F32", "shape": [2]}}), WEIGHTS),
    "offsets reversed": (tensor(data_offsets=[8, 0]), WEIGHTS),
    "offsets overlap": (two([0, 8], [4, 12], data=12), WEIGHTS),
    "offsets equal": (two([0, 8], [0, 8], data=8), WEIGHTS),
    "a hole between tensors": (two([0, 8], [12, 20], data=20), WEIGHTS),
    "offsets beyond the file": (tensor(shape=[1000], data_offsets=[0, 4000]), WEIGHTS),
    "offsets below zero": (tensor(data_offsets=[-8, 0]), WEIGHTS),
    "offsets broken": (tensor(data_offsets=[0, 8.5]), WEIGHTS),
    "offsets in words": (tensor(data_offsets=["0", "8"]), WEIGHTS),
    "three offsets": (tensor(data_offsets=[0, 4, 8]), WEIGHTS),
    "offsets beyond 64 bits": (tensor(data_offsets=[0, 2**80]), WEIGHTS),
    "unknown dtype": (tensor(dtype="F128"), WEIGHTS),
    "dtype is a list": (tensor(dtype=["F32"]), WEIGHTS),
    "more numbers than bytes": (tensor(shape=[1000]), WEIGHTS),
    "fewer numbers than bytes": (tensor(shape=[1]), WEIGHTS),
    "shape below zero": (tensor(shape=[-1, -2]), WEIGHTS),
    "shape beyond 32 bits": (tensor(shape=[2**40]), WEIGHTS),
    "shape that is nothing in 64 bits": (weights({"w": ENTRY | {"shape": [65536] * 4, "data_offsets": [0, 0]}}, b""), WEIGHTS),
    "shape true": (tensor(shape=[True, 2]), WEIGHTS),
    "shape in words": (tensor(shape=["2"]), WEIGHTS),
    "shape is a number": (tensor(shape=2), WEIGHTS),
    "a hundred dimensions": (tensor(shape=[1] * 100 + [2]), WEIGHTS),
    "weights cut": (weights({"w": ENTRY}, b"\0" * 5), WEIGHTS),
    "bytes behind the weights": (weights({"w": ENTRY}, b"\0" * 4096), WEIGHTS),
    "index leads outside": (index("model.safetensors", "../outside.safetensors"), INDEX),
    "index leads to the root": (index("/etc/passwd"), INDEX),
    "index leads to Windows": (index("..\\outside.safetensors"), INDEX),
    "index with a missing shard": (index("model.safetensors", "model-2.safetensors"), INDEX),
    "index is no JSON": (text("model.safetensors.index.json", "{"), INDEX),
    "index maps nothing": (record("model.safetensors.index.json", {"weight_map": ["model.safetensors"]}), INDEX),
    "index without a map": (record("model.safetensors.index.json", {}), INDEX),
    "index too large": (large("model.safetensors.index.json", 10**9), LARGE),
    "no tokenizer": (remove("tokenizer.json"), "model_tokenizer_missing"),
    "tokenizer is no JSON": (text("tokenizer.json", '{"model": {}'), TOKENIZER),
    "tokenizer is a list": (text("tokenizer.json", "[]"), TOKENIZER),
    "tokenizer of a million brackets": (text("tokenizer.json", '{"a": ' + "[" * 1_000_000), TOKENIZER),
    "tokenizer of a terabyte": (large("tokenizer.json", 10**12), LARGE),
    "SentencePiece model of a terabyte": (large("tokenizer.model", 10**12), LARGE),
    "merges of a terabyte": (large("merges.txt", 10**12), LARGE),
    "vocabulary is no JSON": (text("vocab.json", "{]"), TOKENIZER),
    "added tokens are a list": (text("added_tokens.json", "[]"), TOKENIZER),
    "special tokens are a list": (text("special_tokens_map.json", "[]"), TOKENIZER),
    "generation settings are a list": (text("generation_config.json", "[2]"), TOKENIZER),
    "tokenizer settings are no JSON": (text("tokenizer_config.json", "{"), TOKENIZER),
    "tokenizer settings with code": (record("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", None]}}), RUNS),
    "tokenizer settings with a path to files": (record("tokenizer_config.json", {"fast_tokenizer_files": ["../t.json"]}), TOKENIZER),
    "tokenizer settings with arguments": (record("tokenizer_config.json", {"init_inputs": ["/etc/passwd"]}), TOKENIZER),
    "prompt format of a gigabyte": (large("chat_template.jinja", 10**9), LARGE),
    "prompt format by name of a gigabyte": (large("additional_chat_templates/tools.jinja", 10**9), LARGE),
    "prompt format of 2 MB in the settings": (record("tokenizer_config.json", {"chat_template": "a" * 2_000_000}), LARGE),
    "many prompt formats of 2 MB": (record("tokenizer_config.json", {"chat_template": [{"template": "a" * 200_000}] * 10}), LARGE),
    "prompt format is a number": (record("tokenizer_config.json", {"chat_template": 5}), TOKENIZER),
    "prompt formats are numbers": (record("chat_template.json", {"chat_template": {"default": 5}}), TOKENIZER),
    "config leads outside": (link("config.json", "{outside}"), PLAIN),
    "config leads outside by dots": (link("config.json", "../outside"), PLAIN),
    "weights lead outside": (link("model.safetensors", "{outside}"), PLAIN),
    "tokenizer is the password file": (link("tokenizer.json", "/etc/passwd"), PLAIN),
    "tokenizer is endless": (link("tokenizer.json", "/dev/zero"), PLAIN),
    "link to nothing": (link("tokenizer.model", "nowhere"), PLAIN),
    "link to itself": (link("tokenizer.model", "tokenizer.model"), PLAIN),
    "folder that leads outside": (link("additional_chat_templates", "/etc"), PLAIN),
    "prompt format leads outside": (link("additional_chat_templates/a.jinja", "{outside}"), PLAIN),
    "config is a pipe": (pipe("config.json"), PLAIN),
    "weights are a pipe": (pipe("model.safetensors"), PLAIN),
    "tokenizer is a pipe": (pipe("tokenizer.json"), PLAIN),
}  # fmt: skip


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) > 120


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused_by_name(folder: Path, name: str) -> None:
    change, code = HOSTILE[name]
    change(folder)
    with pytest.raises(UserError) as caught:
        check_model_folder(folder)
    assert caught.value.code == code, caught.value
    assert inspect_model(folder).problem is not None
    for lang in ("en", "ja"):
        assert "a-model" in error_words(code, caught.value.facts, lang)
    assert not (folder.parent / CANARY).exists()


def in_a_hub_cache(folder: Path) -> None:
    """Put the weights where the hub's client keeps them: beside the snapshots, by their hash."""
    snapshots, blobs = folder.parent / "models--a--b" / "snapshots", folder.parent / "models--a--b" / "blobs"
    snapshots.mkdir(parents=True)
    blobs.mkdir()
    (folder / "model.safetensors").rename(blobs / "0123abcd")
    (folder / "model.safetensors").symlink_to(Path("../../blobs/0123abcd"))
    folder.rename(snapshots / "a-model")
    folder.symlink_to(snapshots / "a-model")


HONEST: dict[str, Change] = {
    "as it is": unchanged,
    "header filled up with spaces": weights(json.dumps({"w": ENTRY}).encode() + b" " * 61),
    "header as mlx writes it": weights({"__metadata__": None, "w": ENTRY}),
    "header with metadata": weights({"__metadata__": {"format": "pt", "total": "1"}, "w": ENTRY}),
    "tensors in any order": two([8, 16], [0, 8]),
    "a tensor of nothing and a number alone": weights(
        {"a": ENTRY | {"shape": [0, 4], "data_offsets": [0, 0]}, "b": ENTRY, "c": ENTRY | {"shape": [], "data_offsets": [8, 12]}},
        b"\0" * 12,
    ),
    "small floats": weights(
        {"a": {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]}, "b": {"dtype": "F4", "shape": [8], "data_offsets": [4, 8]}}
    ),
    "pickles beside safetensors": text("pytorch_model.bin", b"\x80\x05."),
    "endless numbers in the config": config(time_step_limit=[0.0, float("inf")], alpha=float("nan")),
    "tagged numbers": config(limit={"__float__": "Infinity"}),
    "a width per layer": config(intermediate_size=[16, 32], num_key_value_heads=[2, None]),
    "nothing where a number could be": config(head_dim=None, text_config=None, quantization=None, auto_map=None),
    "quantized, some layers otherwise": config(quantization={"bits": 4, "group_size": 64, "lm_head": False, "model.norm": {"bits": 8}}),
    "quantized elsewhere": config(quantization_config={"quant_method": "gptq", "bits": 4, "group_size": -1, "desc_act": False}),
    "two towers": config(vision_config={"hidden_size": 1152, "num_hidden_layers": 27}, text_config={"hidden_size": 2048}),
    "index": index("model.safetensors"),
    "index of another packing": index("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    "prompt formats by name": record("tokenizer_config.json", {"chat_template": [{"name": "default", "template": "{{ x }}"}]}),
    "prompt format of 300 kB": text("chat_template.jinja", "a" * 300_000),
    "tokenizer settings as they are": record("tokenizer_config.json", {"init_inputs": [], "fast_tokenizer_files": ["tokenizer.4.0.json"]}),
    "links within": lambda f: (f / "tokenizer.model").symlink_to("tokenizer.json"),
    "hub cache": in_a_hub_cache,
    "folders and hidden files": lambda f: ((f / ".cache").mkdir(), (f / "onnx").mkdir(), (f / ".gitattributes").write_text("")),
}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_folder_is_not_refused(folder: Path, name: str) -> None:
    HONEST[name](folder)
    assert check_model_folder(folder)["model_type"] == "llama"


def test_a_path_that_is_a_pattern_is_refused(folder: Path) -> None:
    other = folder.rename(folder.parent / "model [v2]")
    with pytest.raises(UserError) as caught:
        check_model_folder(other)
    assert caught.value.code == "model_path_is_pattern"


def test_the_header_of_a_real_file_is_what_it_holds() -> None:
    header = read_safetensors_header(DEMO_MODEL / "model.safetensors")
    end = max(entry["data_offsets"][1] for entry in header.values())
    assert len(header) > 40
    assert end < (DEMO_MODEL / "model.safetensors").stat().st_size
