"""Writes a model as a GGUF file, tensor by tensor, with the `gguf` package's writer. Knows no quantisation that needs llama.cpp.

F32, F16, BF16 and Q8_0; tensors of one dimension stay F32, and rows that Q8_0's blocks of 32 do not divide become F16, as upstream's
converter does.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np

from tunesmith.errors import UserError
from tunesmith.export.gguf_architectures import ROPE_FACTORS, Array, Blueprint, read_blueprint, rope_factors, write_settings
from tunesmith.export.gguf_tokens import read_vocabulary, write_vocabulary
from tunesmith.models.fused_weights import FusedWeights
from tunesmith.store.saved_folders import whole_file
from tunesmith.system.progress import Report, silent

Type = gguf.GGMLQuantizationType
OUTTYPES = {
    "F32": (Type.F32, gguf.LlamaFileType.ALL_F32), "F16": (Type.F16, gguf.LlamaFileType.MOSTLY_F16),
    "BF16": (Type.BF16, gguf.LlamaFileType.MOSTLY_BF16), "Q8_0": (Type.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}  # fmt: skip
LARGEST_F16 = 65504.0


def export_gguf(
    weights: FusedWeights, source: Path, target: Path, outtype: str, report: Report = silent, name: str = "", template: str | None = None
) -> None:
    """Write `weights`, made from the model folder `source`, as the file `target`; about one tensor at a time is in memory.

    `outtype` is a key of OUTTYPES, `name` what engines show, `template` a prompt format in place of the source's. Raises UserError
    `target_exists`, `setting_choice`, `gguf_…`, `model_…`, `disk_full`; then nothing is left.
    """
    if outtype not in OUTTYPES:
        raise UserError("setting_choice", field="outtype", value=outtype, choices=", ".join(OUTTYPES))
    blueprint = read_blueprint(source)
    vocabulary = read_vocabulary(source, blueprint.rows, template)
    with whole_file(target) as aside:
        writer = gguf.GGUFWriter(aside, blueprint.arch_name)
        writer.add_type(gguf.GGUFType.MODEL)
        writer.add_name(name or source.name)
        writer.add_file_type(OUTTYPES[outtype][1])
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        write_settings(writer, blueprint)
        write_vocabulary(writer, vocabulary)
        _write_tensors(writer, weights, blueprint, OUTTYPES[outtype][0], report)


def _write_tensors(writer: gguf.GGUFWriter, weights: FusedWeights, blueprint: Blueprint, wanted: Type, report: Report) -> None:
    factors = rope_factors(blueprint)
    if factors is not None:
        writer.add_tensor_info(ROPE_FACTORS, factors.shape, factors.dtype, factors.nbytes)
    for name, shape in blueprint.shapes.items():
        kind = stored_type(shape, wanted)
        writer.add_tensor_info(blueprint.names[name], shape, np.dtype(np.float32), _stored_bytes(shape, kind), kind)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        pairs = zip(weights.tensors(), blueprint.shapes.items(), strict=True)
        for count, ((name, array), (planned, shape)) in enumerate(pairs, start=1):
            if (name, tuple(array.shape)) != (planned, shape):
                raise UserError("gguf_tensor_unknown", tensor=name)
            dense = np.array(array.astype(mx.float32))
            writer.write_tensor_data(encode(name, blueprint.lay_out(name, dense), stored_type(shape, wanted)))
            mx.clear_cache()
            report("writing", count / weights.count)
    finally:
        writer.close()


def stored_type(shape: tuple[int, ...], wanted: Type) -> Type:
    """Return how a tensor of this shape is stored when `wanted` is asked for."""
    if len(shape) == 1:
        return Type.F32
    return Type.F16 if wanted == Type.Q8_0 and shape[-1] % gguf.GGML_QUANT_SIZES[wanted][0] else wanted


def encode(name: str, array: Array, kind: Type) -> Array:
    """Return a float32 tensor as it is stored. Raises UserError `gguf_f16_overflow`, `gguf_not_finite`."""
    largest = float(np.abs(array).max(initial=0.0))
    if not np.isfinite(largest):
        raise UserError("gguf_not_finite", tensor=name)
    if kind == Type.F16 and largest > LARGEST_F16:
        raise UserError("gguf_f16_overflow", tensor=name, largest=f"{largest:.4g}")
    return np.ascontiguousarray(gguf.quants.quantize(array, kind))


def _stored_bytes(shape: tuple[int, ...], kind: Type) -> int:
    return int(np.prod(gguf.quant_shape_to_byte_shape(shape, kind)))
