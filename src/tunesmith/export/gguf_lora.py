"""An MLX adapter as a GGUF file that llama.cpp puts on its base when it runs, and the proof of it. Knows no whole models' files.

llama.cpp adds alpha / rank · B A x: MLX's scale is alpha / rank, and where the rank differs from module to module B carries the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np

from tunesmith.errors import UserError
from tunesmith.export.gguf import OUTTYPES, encode
from tunesmith.export.gguf_architectures import Array, Blueprint, read_blueprint
from tunesmith.export.gguf_proof import ask_engine, engine_record, follow, load_dense
from tunesmith.export.gguf_reading import count_types, open_gguf
from tunesmith.inference.proof import encode_prompts, prompt_logits
from tunesmith.models.adapter_files import load_adapter_weights, read_adapter_config
from tunesmith.models.fused_weights import adapter_change, fused_weights
from tunesmith.models.loading import hash_model, load_tokenizer
from tunesmith.store.saved_folders import whole_file
from tunesmith.system.progress import Report, silent

STORED_SHARE = 0.01  # of the largest number: more than BF16's rounding


def export_gguf_lora(adapter: Path, base: Path, target: Path, outtype: str = "F32", name: str = "") -> None:
    """Write the LoRA adapter of the folder `adapter` of the model folder `base`; `outtype` is `F32`, `F16` or `BF16`.

    Raises UserError `adapter_…`, `gguf_adapter_part`, `gguf_…`, `setting_choice`, `target_exists`, `disk_full`; then nothing is left.
    """
    if outtype not in OUTTYPES or outtype == "Q8_0":
        raise UserError("setting_choice", field="outtype", value=outtype, choices="F32, F16, BF16")
    blueprint = read_blueprint(base)
    factors, alpha = _read_factors(adapter, base, blueprint)
    kind = OUTTYPES[outtype][0]
    with whole_file(target) as aside:
        writer = gguf.GGUFWriter(aside, blueprint.arch_name)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        writer.add_name(name or adapter.name)
        for tensor, array in factors.items():
            writer.add_tensor(tensor, encode(tensor, array, kind), raw_dtype=kind)
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        finally:
            writer.close()


def _read_factors(adapter: Path, base: Path, blueprint: Blueprint) -> tuple[dict[str, Array], float]:
    """Return the tensors, A [r, in] and B [out, r] of each module, and alpha."""
    config, arrays = read_adapter_config(adapter, base, hash_model(base)), load_adapter_weights(adapter)
    kind = str(config.get("fine_tune_type", "lora"))
    if kind != "lora":
        raise UserError("adapter_kind_unsupported", adapter=adapter.parent.name, kind=kind)
    modules = [name.removesuffix(".lora_a") for name in arrays if name.endswith(".lora_a")]
    if not modules or len(arrays) != 2 * len(modules):
        raise UserError("adapter_broken", folder=str(adapter), file="adapters.safetensors")
    scale = float(config["lora_parameters"].get("scale", 20.0))
    alpha = scale * arrays[f"{modules[0]}.lora_a"].shape[1]
    factors: dict[str, Array] = {}
    for module in modules:
        weight = f"{module}.weight"
        if weight not in blueprint.names or "embed_tokens" in module:
            raise UserError("gguf_adapter_part", module=module)
        a, b = (np.array(arrays[f"{module}.{leaf}"].astype(mx.float32)).T for leaf in ("lora_a", "lora_b"))
        b = blueprint.lay_out(weight, b) * np.float32(scale * len(a) / alpha)
        name = blueprint.names[weight]
        factors |= {f"{name}.lora_a": np.ascontiguousarray(a), f"{name}.lora_b": np.ascontiguousarray(b)}
    return factors, alpha


def prove_gguf_lora(path: Path, base_gguf: Path, adapter: Path, base: Path, report: Report = silent, library: str = "") -> dict[str, Any]:
    """Return for a manifest what was checked of the adapter's file `path` on `base_gguf`, as `prove_gguf` does for a model.

    There is no `likeness`: `factors_max_abs` is the largest difference of a factor from the adapter's.
    Raises UserError `adapter_…`, `gguf_…`, `model_…`.
    """
    blueprint, reader, tokenizer = read_blueprint(base), open_gguf(path), load_tokenizer(base)
    factors, _ = _read_factors(adapter, base, blueprint)
    found = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    if {name: array.shape for name, array in found.items()} != {name: array.shape for name, array in factors.items()}:
        raise UserError("gguf_broken", file=path.name, reason="lora")
    difference = max(float(np.abs(found[name] - array).max(initial=0.0)) for name, array in factors.items())
    largest = max(float(np.abs(array).max(initial=0.0)) for array in factors.values())
    report("proving", 0.1)
    prompts = encode_prompts(tokenizer)
    engine = ask_engine(base_gguf, tokenizer, prompts, library, path)
    report("proving", 0.5)
    model = load_dense(base, fused_weights(base, adapter_change(adapter, base)).tensors())
    checks = {"stored": difference <= STORED_SHARE * largest}
    types = count_types(open_gguf(base_gguf)) | count_types(reader)
    told = engine_record(engine, checks, prompt_logits(model, prompts), follow(model, prompts, engine.answers), types, tokenizer)
    report("proving", 1.0)
    return {"file": path.name, "size_bytes": path.stat().st_size, "types": count_types(reader), "factors_max_abs": difference} | told
