"""Which files of a model go to other programs: weights, settings, tokenizer, card; no code, nothing hidden, no folders."""

from __future__ import annotations

from pathlib import Path

from tunesmith.errors import UserError

_SHARED = (".safetensors", ".gguf", ".json", ".jinja", ".model", ".tiktoken", ".txt", ".md")


def shared_files(source: Path) -> list[Path]:
    """Return the file itself, or the files of a model folder that are given on, by name. Raises UserError `nothing_to_share`."""
    if source.is_file():
        return [source]
    inside = source.iterdir() if source.is_dir() else []
    found = [path for path in inside if path.is_file() and path.suffix in _SHARED and not path.name.startswith(".")]
    if not any(path.suffix in {".safetensors", ".gguf"} for path in found):
        raise UserError("nothing_to_share", folder=str(source))
    return sorted(found)


def total_bytes(files: list[Path]) -> int:
    """Return the bytes of files in all."""
    return sum(file.stat().st_size for file in files)
