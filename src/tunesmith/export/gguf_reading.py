"""Reads a GGUF file that we wrote back into MLX's tensors. Knows no engine; a file from elsewhere is not for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import gguf
import mlx.core as mx

from tunesmith.errors import UserError
from tunesmith.export.gguf_architectures import ROPE_FACTORS, Blueprint


def open_gguf(path: Path) -> gguf.GGUFReader:
    """Return a reader; tensors are mapped, not read. Raises UserError `gguf_broken`."""
    try:
        return gguf.GGUFReader(path)
    except (OSError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise UserError("gguf_broken", file=path.name, reason=str(error)[:200]) from error


def file_type(reader: gguf.GGUFReader) -> int:
    """Return llama.cpp's number of how most tensors are stored."""
    field = reader.get_field(gguf.Keys.General.FILE_TYPE)
    return int(field.contents()) if field else -1


def count_types(reader: gguf.GGUFReader) -> dict[str, int]:
    """Return how many tensors there are of each type."""
    return dict(Counter(tensor.tensor_type.name for tensor in reader.tensors).most_common())


def read_back(reader: gguf.GGUFReader, blueprint: Blueprint) -> Iterator[tuple[str, mx.array]]:
    """Yield MLX's tensors in float32, one by one. Raises UserError `gguf_broken` where one is missing, unknown or of another shape."""
    found = {tensor.name: tensor for tensor in reader.tensors if tensor.name != ROPE_FACTORS}
    if set(found) != set(blueprint.names.values()):
        raise UserError("gguf_broken", file="", reason=", ".join(sorted(set(found) ^ set(blueprint.names.values())))[:200])
    for name, shape in blueprint.shapes.items():
        tensor = found[blueprint.names[name]]
        dense = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        if dense.shape != shape:
            raise UserError("gguf_broken", file="", reason=f"{tensor.name} {dense.shape}")
        yield name, mx.array(blueprint.lay_back(name, dense))
