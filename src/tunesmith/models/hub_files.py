"""Which files of a model from elsewhere are taken: settings, tokenizer, safetensors, card, licence; no code, no pickles, no folders.

Knows no network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunesmith.errors import UserError
from tunesmith.models.folder_layout import CARRIED
from tunesmith.models.safety import INDEX, TOKENIZER_FILES, check_file_size

_WEIGHTS = re.compile(r"model[\w.-]*\.safetensors")
_LICENCE = re.compile(r"(LICEN[CS]E|NOTICE|USE[-_]POLICY)[\w.-]*", re.IGNORECASE)
_PICKLED = (".bin", ".pt", ".pth")
LARGEST_PAPER_BYTES = 5_000_000


@dataclass(frozen=True)
class ModelFile:
    """A file of a model on the hub; of a large one the hub tells the SHA-256, of any other the SHA-1 that git gives it."""

    name: str
    size_bytes: int
    sha256: str = ""
    git_sha1: str = ""

    @property
    def is_weights(self) -> bool:
        """Whether tensors are in it."""
        return bool(_WEIGHTS.fullmatch(self.name))


def choose_files(repository: str, files: Sequence[ModelFile]) -> list[ModelFile]:
    """Return the files that a model folder needs, settings first, weights last.

    Raises UserError `model_config_missing`, `model_tokenizer_missing`, `model_weights_missing`, `model_weights_pickled`,
    `model_file_too_large`.
    """
    known = {file.name: file for file in files if is_wanted(file.name, file.size_bytes)}
    weights = [file for file in known.values() if file.is_weights]
    if "config.json" not in known:
        raise UserError("model_config_missing", folder=repository)
    if not weights:
        pickled = any(file.name.endswith(_PICKLED) for file in files)
        raise UserError("model_weights_pickled" if pickled else "model_weights_missing", folder=repository)
    if not any(name in known for name in TOKENIZER_FILES):
        raise UserError("model_tokenizer_missing", folder=repository)
    for file in known.values():
        check_file_size(file.name, file.size_bytes, repository)
    return sorted(known.values(), key=lambda file: (file.is_weights, file.name != "config.json", file.name))


def is_wanted(name: str, size_bytes: int = 0) -> bool:
    """Say whether a file belongs to a model, by its whole name: one with a folder in it, or a step out of one, fits none."""
    if name in {"config.json", INDEX, *CARRIED} or _WEIGHTS.fullmatch(name):
        return True
    return (name == "README.md" or is_licence(name)) and size_bytes <= LARGEST_PAPER_BYTES


def is_licence(name: str) -> bool:
    """Say whether a file holds the terms of use, by its name."""
    return bool(_LICENCE.fullmatch(name)) and not name.endswith(".py")


_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2}


def size_of_weights(counts: Mapping[str, int]) -> int:
    """Return the bytes of tensors, from how many numbers of each safetensors dtype there are; unknown ones count a byte each."""
    return sum(_BYTES.get(dtype, 1) * count for dtype, count in counts.items())
