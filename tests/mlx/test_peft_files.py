"""PEFT folders and foreign adapters: what is written, what is read, and what is refused, by arithmetic done here. PEFT is not needed."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import orjson
import pytest
from safetensors.numpy import load_file, save_file

from tests.random_adapters import make_adapter
from tests.tiny_models import make_tiny_model
from tunesmith.errors import UserError
from tunesmith.export.adapter_sources import find_adapter_files
from tunesmith.export.peft import prove_peft, to_peft
from tunesmith.export.peft_import import from_mlx, from_peft
from tunesmith.i18n.catalog import error_words
from tunesmith.inference.adapter_bank import AdapterBank
from tunesmith.models.loading import hash_model, load_model
from tunesmith.store.saved_folders import verify_folder
from tunesmith.system.paths import DEMO_MODEL

Tensors = dict[str, Any]
Q, V = "model.layers.1.self_attn.q_proj", "model.layers.3.self_attn.v_proj"
WIDTHS = {Q: (256, 256), V: (64, 256)}  # (out, in)


def settings_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((folder / "adapter_config.json").read_bytes())
    return found


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    for lang in ("en", "ja"):
        assert error_words(caught.value.code, caught.value.facts, lang)
    return caught.value.code


# ---- ours to PEFT


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_there_and_back_nothing_changes(tmp_path: Path, kind: str) -> None:
    adapter = make_adapter(tmp_path / "run" / "adapter", DEMO_MODEL, kind, rank=6, scale=1.75)
    to_peft(adapter, tmp_path / "out", "someone/a-model", DEMO_MODEL)
    verify_folder(tmp_path / "out")
    from_peft(tmp_path / "out", tmp_path / "again", DEMO_MODEL)
    first, second = (load_file(folder / "adapters.safetensors") for folder in (adapter, tmp_path / "again"))
    assert len(first) == 28 * (3 if kind == "dora" else 2)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert settings_of(tmp_path / "again") == settings_of(adapter)


def test_a_peft_folder_says_what_it_is(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "run" / "adapter", DEMO_MODEL, layers=[2, 3], last_names=["q_proj", "v_proj"], rank=4, scale=2.5)
    to_peft(adapter, tmp_path / "out", "someone/a-model", DEMO_MODEL)
    found = settings_of(tmp_path / "out")
    assert (found["r"], found["lora_alpha"], found["base_model_name_or_path"]) == (4, 10, "someone/a-model")
    assert (found["target_modules"], found["layers_to_transform"]) == (["q_proj", "v_proj"], [2, 3])
    ours, theirs = load_file(adapter / "adapters.safetensors"), load_file(tmp_path / "out" / "adapter_model.safetensors")
    key = "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"
    assert np.array_equal(theirs[key], ours["model.layers.2.self_attn.q_proj.lora_a"].T)
    assert len(theirs) == 8


def test_modules_that_no_short_name_tells_are_named_whole(tmp_path: Path) -> None:
    """q_proj of layer 1 and v_proj of layer 3, but not the other way round."""
    source = write_peft(tmp_path / "in", default_tensors())
    from_peft(source, tmp_path / "run" / "adapter", DEMO_MODEL)
    to_peft(tmp_path / "run" / "adapter", tmp_path / "out", "a", DEMO_MODEL)
    found = settings_of(tmp_path / "out")
    assert found["target_modules"] == [Q, V]
    assert "layers_to_transform" not in found


def test_the_proof_finds_a_single_changed_number(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "run" / "adapter", DEMO_MODEL, "dora", rank=4)
    to_peft(adapter, tmp_path / "out", "a", DEMO_MODEL)
    proof = prove_peft(adapter, tmp_path / "out", DEMO_MODEL)
    assert (proof.modules, proof.largest_difference, proof.likeness.max_abs, proof.likeness.top1) == (28, 0.0, 0.0, 1.0)
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    name = next(name for name in tensors if "lora_B" in name)
    tensors[name][0, 0] += 4
    save_file(tensors, tmp_path / "out" / "adapter_model.safetensors")
    proof = prove_peft(adapter, tmp_path / "out", DEMO_MODEL)
    assert proof.largest_difference == pytest.approx(10, rel=1e-3)  # 4 · scale 2.5
    assert proof.likeness.max_abs > 1e-4


def test_whole_weights_and_renamed_modules_have_no_place_in_peft(tmp_path: Path) -> None:
    full = tmp_path / "run" / "adapter"
    full.mkdir(parents=True)
    (full / "adapter_config.json").write_bytes(orjson.dumps({"fine_tune_type": "full", "lora_parameters": {}}))
    assert refusal(lambda: to_peft(full, tmp_path / "out", "a", DEMO_MODEL)) == "adapter_not_for_peft"
    base = make_tiny_model(tmp_path / "gemma3", "gemma3", num_hidden_layers=1)
    adapter = make_adapter(tmp_path / "other" / "adapter", base, rank=2)
    assert refusal(lambda: to_peft(adapter, tmp_path / "out", "a", base)) == "adapter_names_differ"
    assert not (tmp_path / "out").exists()


# ---- PEFT to ours


def default_tensors(rank: int = 2, other_rank: int | None = None, seed: int = 0) -> Tensors:
    chance = np.random.default_rng(seed)
    tensors: Tensors = {}
    for module, each in ((Q, rank), (V, other_rank or rank)):
        out, columns = WIDTHS[module]
        tensors[f"base_model.model.{module}.lora_A.weight"] = chance.standard_normal((each, columns)).astype(np.float32)
        tensors[f"base_model.model.{module}.lora_B.weight"] = chance.standard_normal((out, each)).astype(np.float32)
    return tensors


def write_peft(folder: Path, tensors: Tensors | None = None, **settings: Any) -> Path:
    folder.mkdir(parents=True)
    save_file(default_tensors() if tensors is None else tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    found = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **settings}
    (folder / "adapter_config.json").write_bytes(orjson.dumps(found))
    return folder


def added(folder: Path, module: str) -> Any:
    """Return what an adapter of ours adds to a weight [out, in]."""
    tensors = load_file(folder / "adapters.safetensors")
    scale = settings_of(folder)["lora_parameters"]["scale"]
    return scale * (tensors[f"{module}.lora_a"] @ tensors[f"{module}.lora_b"]).T


@pytest.mark.parametrize(
    ("settings", "ranks", "scalings"),
    [
        ({}, (2, 2), (4.0, 4.0)),  # 8 / 2
        ({"use_rslora": True}, (2, 2), (8 / 2**0.5, 8 / 2**0.5)),
        ({"rank_pattern": {"v_proj": 5}}, (2, 5), (4.0, 1.6)),  # 8 / 5
        ({"rank_pattern": {"v_proj": 5}, "alpha_pattern": {"layers.3.self_attn.v_proj": 20}}, (2, 5), (4.0, 4.0)),
        ({"alpha_pattern": {r"^model\.layers\.[12]\.self_attn\..*": 3}}, (2, 2), (1.5, 4.0)),
        ({"alpha_pattern": {"proj": 100, "self_attn.q_proj": 6, "q_proj": 200}}, (2, 2), (3.0, 4.0)),  # the first that fits a whole name
        ({"rank_pattern": {"v_proj": 5}, "use_rslora": True}, (2, 5), (8 / 2**0.5, 8 / 5**0.5)),
        ({"lora_alpha": 0}, (2, 2), (0.0, 0.0)),
    ],
)
def test_every_rank_and_alpha_comes_out_as_peft_means_it(
    tmp_path: Path, settings: dict[str, Any], ranks: tuple[int, int], scalings: tuple[float, float]
) -> None:
    tensors = default_tensors(*ranks)
    from_peft(write_peft(tmp_path / "in", tensors, **settings), tmp_path / "out", DEMO_MODEL)
    for module, scaling in zip((Q, V), scalings, strict=True):
        wanted = scaling * (tensors[f"base_model.model.{module}.lora_B.weight"] @ tensors[f"base_model.model.{module}.lora_A.weight"])
        assert np.allclose(added(tmp_path / "out", module), wanted, rtol=1e-4, atol=1e-5)
    found = settings_of(tmp_path / "out")
    assert found["lora_parameters"]["rank"] == max(ranks)
    assert (found["num_layers"], found["lora_parameters"]["keys"]) == (3, ["self_attn.q_proj", "self_attn.v_proj"])
    assert found["base_model_hash"] == hash_model(DEMO_MODEL)
    verify_folder(tmp_path / "out")


def without_part(tensors: Tensors) -> None:
    del tensors[f"base_model.model.{Q}.lora_B.weight"]


def put(name: str, shape: tuple[int, ...], value: float = 0.5, dtype: str = "float32") -> Callable[[Tensors], None]:
    def change(tensors: Tensors) -> None:
        tensors[name] = np.full(shape, value, dtype)

    return change


A, B = f"base_model.model.{Q}.lora_A.weight", f"base_model.model.{Q}.lora_B.weight"
UNSUPPORTED, KEYS, FIT = "adapter_peft_unsupported", "adapter_unknown_keys", "adapter_does_not_fit"
REFUSED_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "another method": ({"peft_type": "IA3"}, UNSUPPORTED),
    "AdaLoRA": ({"peft_type": "ADALORA"}, UNSUPPORTED),
    "no method": ({"peft_type": None}, UNSUPPORTED),
    "bias of all": ({"bias": "all"}, UNSUPPORTED),
    "bias of LoRA": ({"lora_bias": True}, UNSUPPORTED),
    "modules saved whole": ({"modules_to_save": ["lm_head"]}, UNSUPPORTED),
    "fan_in_fan_out": ({"fan_in_fan_out": True}, UNSUPPORTED),
    "layers doubled": ({"layer_replication": [[0, 4], [2, 5]]}, UNSUPPORTED),
    "parameters": ({"target_parameters": ["experts.gate_up_proj"]}, UNSUPPORTED),
    "tokens": ({"trainable_token_indices": [1, 2]}, UNSUPPORTED),
    "activated LoRA": ({"alora_invocation_tokens": [1]}, UNSUPPORTED),
    "QALoRA": ({"use_qalora": True}, UNSUPPORTED),
    "an option of tomorrow": ({"use_better_lora": 2}, UNSUPPORTED),
    "PiSSA": ({"init_lora_weights": "pissa_niter_16"}, "adapter_base_changed"),
    "OLoRA": ({"init_lora_weights": "olora"}, "adapter_base_changed"),
    "CorDA": ({"init_lora_weights": "corda"}, "adapter_base_changed"),
    "LoftQ": ({"init_lora_weights": "loftq"}, "adapter_base_changed"),
    "LoRA-GA": ({"init_lora_weights": "lora_ga"}, "adapter_base_changed"),
    "an init of another type": ({"init_lora_weights": ["pissa"]}, "adapter_base_changed"),
    "rank 0": ({"r": 0}, UNSUPPORTED),
    "rank in words": ({"r": "8"}, UNSUPPORTED),
    "rank true": ({"r": True}, UNSUPPORTED),
    "another rank than the tensors": ({"r": 3}, "adapter_ranks_differ"),
    "no alpha": ({"lora_alpha": None}, UNSUPPORTED),
    "alpha without end": ({"lora_alpha": 1e38, "alpha_pattern": {"q_proj": 1e-30}}, "adapter_not_finite"),
    "patterns as a list": ({"rank_pattern": ["q_proj"]}, UNSUPPORTED),
    "a pattern in words": ({"alpha_pattern": {"q_proj": "9"}}, UNSUPPORTED),
    "a broken pattern": ({"alpha_pattern": {"q_proj(": 9}}, UNSUPPORTED),
    "a pattern that takes for ever": ({"alpha_pattern": {r"(.|.)*[XYZ]": 9}}, UNSUPPORTED),
    "a long pattern": ({"alpha_pattern": {"q" * 5000: 9}}, UNSUPPORTED),
    "too many patterns": ({"alpha_pattern": {f"q{i}": 9 for i in range(6000)}}, UNSUPPORTED),
    "DoRA in words": ({"use_dora": "yes"}, UNSUPPORTED),
    "DoRA without magnitudes": ({"use_dora": True}, KEYS),
}
REFUSED_TENSORS: dict[str, tuple[Callable[[Tensors], None], str]] = {
    "a part missing": (without_part, KEYS),
    "a magnitude without DoRA": (put(f"base_model.model.{Q}.lora_magnitude_vector", (256,)), KEYS),
    "a bias": (put(f"base_model.model.{Q}.lora_B.bias", (256,)), KEYS),
    "a module saved whole": (put("base_model.model.lm_head.weight", (4, 4)), KEYS),
    "another adapter's name": (put(f"base_model.model.{Q}.lora_A.default.weight", (2, 256)), KEYS),
    "an embedding": (put("base_model.model.model.embed_tokens.lora_embedding_A", (2, 1024)), "adapter_of_embedding"),
    "a module that is not there": (lambda t: t.update({k.replace(Q, "model.layers.9.x"): v for k, v in t.items() if Q in k}), FIT),
    "a layer that is too far": (lambda t: t.update({k.replace(".1.", ".99."): v for k, v in t.items() if Q in k}), FIT),
    "the wrong width": (put(A, (2, 128)), FIT),
    "the wrong height": (put(B, (128, 2)), FIT),
    "ranks of A and B that differ": (put(A, (3, 256)), FIT),
    "experts": (put(A, (4, 2, 256)), "adapter_of_experts"),
    "a rank far above the width": (lambda t: (put(A, (3000, 256))(t), put(B, (256, 3000))(t)), FIT),  # type: ignore[func-returns-value]
    "no rank": (lambda t: (put(A, (0, 256))(t), put(B, (256, 0))(t)), "adapter_rank_zero"),  # type: ignore[func-returns-value]
    "not a number": (put(A, (2, 256), np.nan), "adapter_not_finite"),
    "infinity": (put(B, (256, 2), np.inf), "adapter_not_finite"),
    "whole numbers": (put(A, (2, 256), 1, "int32"), "adapter_file_broken"),
    "doubles": (put(A, (2, 256), 1, "float64"), "adapter_file_broken"),
    "nothing": (lambda t: t.clear(), "adapter_file_broken"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_SETTINGS)
def test_what_mlx_cannot_hold_is_refused_by_name(tmp_path: Path, name: str) -> None:
    settings, code = REFUSED_SETTINGS[name]
    source = write_peft(tmp_path / "in", **settings)
    assert refusal(lambda: from_peft(source, tmp_path / "out", DEMO_MODEL)) == code
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", REFUSED_TENSORS)
def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, name: str) -> None:
    change, code = REFUSED_TENSORS[name]
    tensors = default_tensors()
    change(tensors)
    source = write_peft(tmp_path / "in", tensors)
    assert refusal(lambda: from_peft(source, tmp_path / "out", DEMO_MODEL)) == code
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("adapter_config.json", b"{"),
        ("adapter_config.json", b"[1]"),
        ("adapter_config.json", b"[" * 100_000),
        ("adapter_config.json", b" " * 2_000_001),
        ("adapter_model.safetensors", b""),
        ("adapter_model.safetensors", b"\xff" * 8 + b"{}"),
        ("adapter_model.safetensors", b"PK\3\4 a zip of pickles"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, file: str, content: bytes) -> None:
    source = write_peft(tmp_path / "in")
    (source / file).write_bytes(content)
    assert refusal(lambda: from_peft(source, tmp_path / "out", DEMO_MODEL)) == "adapter_file_broken"


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    source = write_peft(tmp_path / "in")
    (source / "adapter_model.safetensors").rename(tmp_path / "elsewhere")
    (source / "adapter_model.safetensors").symlink_to(tmp_path / "elsewhere")
    assert refusal(lambda: from_peft(source, tmp_path / "out", DEMO_MODEL)) == "model_file_not_plain"


# ---- mlx-lm's to ours


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapter_of_mlx_lm_is_taken_as_it_is(tmp_path: Path, kind: str) -> None:
    adapter = make_adapter(tmp_path / "in", DEMO_MODEL, kind, rank=3, scale=20.0, layers=[3])
    settings = settings_of(adapter)
    foreign = {name: settings[name] for name in ("fine_tune_type", "num_layers", "lora_parameters")} | {"model": "x", "batch_size": 4}
    (adapter / "adapter_config.json").write_bytes(orjson.dumps(foreign))
    from_mlx(adapter, tmp_path / "out", DEMO_MODEL)
    first, second = (load_file(folder / "adapters.safetensors") for folder in (adapter, tmp_path / "out"))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert first.keys() == second.keys()
    assert settings_of(tmp_path / "out") == settings
    bank = AdapterBank(load_model(DEMO_MODEL))
    bank.activate(bank.load(tmp_path / "out"))


def test_whole_weights_of_mlx_lm_are_taken_when_they_fit(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    name = "model.layers.3.mlp.up_proj.weight"
    tuned = np.random.default_rng(0).standard_normal((512, 256)).astype(np.float32)
    (source / "adapter_config.json").write_bytes(orjson.dumps({"fine_tune_type": "full", "num_layers": 1}))
    save_file({name: tuned}, source / "adapters.safetensors")
    from_mlx(source, tmp_path / "out", DEMO_MODEL)
    bank = AdapterBank(load_model(DEMO_MODEL))
    bank.activate(bank.load(tmp_path / "out"))
    assert mx.array_equal(bank.base.model.model.layers[3].mlp.up_proj.weight, mx.array(tuned))
    save_file({name: tuned[:, :-1].copy()}, source / "adapters.safetensors")
    assert refusal(lambda: from_mlx(source, tmp_path / "again", DEMO_MODEL)) == FIT
    save_file({name: tuned * np.inf}, source / "adapters.safetensors")
    assert refusal(lambda: from_mlx(source, tmp_path / "again", DEMO_MODEL)) == "adapter_not_finite"
    save_file({"model.layers.9.mlp.up_proj.weight": tuned}, source / "adapters.safetensors")
    assert refusal(lambda: from_mlx(source, tmp_path / "again", DEMO_MODEL)) == KEYS


@pytest.mark.parametrize(
    ("settings", "key", "code"),
    [
        ({"base_model_hash": "of another"}, "", "adapter_wrong_base"),
        ({"fine_tune_type": "ia3"}, "", "adapter_kind_unsupported"),
        ({"fine_tune_type": ["lora"]}, "", "adapter_kind_unsupported"),
        ({"lora_parameters": [8]}, "", "adapter_file_broken"),
        ({"lora_parameters": {"scale": "20"}}, "", "adapter_file_broken"),
        ({"fine_tune_type": "dora"}, "", KEYS),
        ({}, "model.layers.0.self_attn.q_proj.lora_c", KEYS),
        ({}, "model.embed_tokens.lora_", "adapter_of_embedding"),
        ({}, "model.layers.0.self_attn.z_proj.lora_", FIT),
    ],
)
def test_a_foreign_adapter_that_does_not_fit_is_refused(tmp_path: Path, settings: dict[str, Any], key: str, code: str) -> None:
    adapter = make_adapter(tmp_path / "in", DEMO_MODEL, rank=3, layers=[3])
    (adapter / "adapter_config.json").write_bytes(orjson.dumps(settings_of(adapter) | settings))
    tensors = load_file(adapter / "adapters.safetensors")
    names = [f"{key}a", f"{key}b"] if key.endswith("lora_") else [key] if key else []
    save_file(tensors | {name: np.ones((3, 3), np.float32) for name in names}, adapter / "adapters.safetensors")
    assert refusal(lambda: from_mlx(adapter, tmp_path / "out", DEMO_MODEL)) == code


# ---- finding it


def zipped(path: Path, files: dict[str, bytes], **kinds: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, (kinds.get(name.rpartition("/")[2].partition(".")[0], stat.S_IFREG) | 0o644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return path


@pytest.fixture
def peft_files(tmp_path: Path) -> dict[str, bytes]:
    folder = write_peft(tmp_path / "made")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("prefix", ["", "my-adapter/", "a/b/c/"])
def test_a_zip_of_an_adapter_is_taken_wherever_it_lies(tmp_path: Path, peft_files: dict[str, bytes], prefix: str) -> None:
    files = {f"{prefix}{name}": content for name, content in peft_files.items()}
    others = {"__MACOSX/._adapter_config.json": b"x", "train.jsonl": b"{}", f"{prefix}README.md": b"#", f"{prefix}evil.py": b"1/0"}
    found = find_adapter_files(zipped(tmp_path / "My Adapter.zip", files | others), tmp_path / "into")
    assert found.kind == "peft"
    assert found.folder.parent == tmp_path / "into"
    assert {file.name: file.read_bytes() for file in (tmp_path / "into").rglob("*") if file.is_file()} == peft_files
    from_peft(found.folder, tmp_path / "out", DEMO_MODEL)


def test_a_folder_is_read_where_it_is(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "in" / "adapters", DEMO_MODEL, rank=2, layers=[3])
    found = find_adapter_files(tmp_path / "in", tmp_path / "into")
    assert (found.folder, found.kind) == (adapter, "mlx")
    assert not (tmp_path / "into").exists()


def test_the_adapter_nearest_to_the_top_is_meant(tmp_path: Path) -> None:
    write_peft(tmp_path / "in" / "checkpoint-100")
    write_peft(tmp_path / "in" / "checkpoint-200")
    assert refusal(lambda: find_adapter_files(tmp_path / "in", tmp_path)) == "adapter_files_several"
    for file in (tmp_path / "in" / "checkpoint-200").iterdir():
        shutil.copy(file, tmp_path / "in")
    assert find_adapter_files(tmp_path / "in", tmp_path).folder == tmp_path / "in"


@pytest.mark.parametrize(
    ("changes", "kinds", "code"),
    [
        ({"../evil.py": b"1/0"}, {}, "archive_path_not_allowed"),
        ({"/etc/evil": b"x"}, {}, "archive_path_not_allowed"),
        ({"C:\\evil": b"x"}, {}, "archive_path_not_allowed"),
        ({}, {"adapter_config": stat.S_IFLNK}, "archive_path_not_allowed"),
        ({}, {"adapter_model": stat.S_IFIFO}, "archive_path_not_allowed"),
        ({f"{i}.txt": b"" for i in range(1001)}, {}, "archive_too_many_files"),
        ({"adapter_model.safetensors": b"\0" * 50_000_000}, {}, "archive_ratio_not_plausible"),
        ({"adapter_config.json": bytes(range(256)) * 10_000}, {}, "data_too_large"),
        ({"adapter_config.json": None}, {}, "adapter_files_missing"),
        ({"adapter_model.safetensors": None}, {}, "adapter_files_missing"),
        ({"adapter_model.safetensors": None, "adapter_model.bin": b"\x80"}, {}, "adapter_pickled"),
    ],
)
def test_hostile_zips_are_refused(
    tmp_path: Path, peft_files: dict[str, bytes], changes: dict[str, bytes | None], kinds: dict[str, int], code: str
) -> None:
    files = {name: content for name, content in (peft_files | changes).items() if content is not None}
    path = zipped(tmp_path / "mine.zip", files, **kinds)
    assert refusal(lambda: find_adapter_files(path, tmp_path / "into")) == code
    assert not (tmp_path / "into").exists()


def test_a_damaged_zip_is_refused(tmp_path: Path, peft_files: dict[str, bytes]) -> None:
    content = bytearray(zipped(tmp_path / "mine.zip", peft_files).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "mine.zip").write_bytes(content)
    assert refusal(lambda: find_adapter_files(tmp_path / "mine.zip", tmp_path / "into")) == "data_file_broken"


def test_what_is_no_adapter_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    assert refusal(lambda: find_adapter_files(tmp_path / "a.txt", tmp_path)) == "adapter_files_missing"
    assert refusal(lambda: find_adapter_files(tmp_path / "b.txt", tmp_path)) == "file_missing"
    assert refusal(lambda: find_adapter_files(tmp_path, tmp_path)) == "adapter_files_missing"
    with zipfile.ZipFile(buffer := io.BytesIO(), "w"):
        pass
    (tmp_path / "empty.zip").write_bytes(buffer.getvalue())
    assert refusal(lambda: find_adapter_files(tmp_path / "empty.zip", tmp_path)) == "adapter_files_missing"
