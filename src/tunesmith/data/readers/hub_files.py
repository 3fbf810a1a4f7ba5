"""Which files of a hub's data set hold its rows, by configuration and split: as its card says or its folders are called. No network.

What a card may say: https://huggingface.co/docs/hub/datasets-manual-configuration
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

from tunesmith.data.readers.archives import split_of
from tunesmith.errors import UserError

_DATA = (".parquet", ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".txt", ".md", ".xlsx", ".gz", ".zip")
_PROSE = (".txt", ".md")
_NO_DATA = re.compile(
    r"(dataset_infos?|state)\.json|(readme|licen[cs]e|changelog|notice|citation|contributing|requirements)[-_\w]*\.(md|txt)", re.IGNORECASE
)
_ALL = "**"
Patterns = dict[str, list[tuple[str, str]]]  # (split, pattern of names) by configuration


@dataclass(frozen=True)
class HubFile:
    """A file of a data set on the hub and the split that it is of; the split is empty where nothing tells it."""

    name: str
    split: str
    size_bytes: int


def is_data(name: str) -> bool:
    """Say whether a file may hold rows, by its name."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return path.name.lower().endswith(_DATA) and not _NO_DATA.fullmatch(path.name) and not hidden


def choose_files(repository: str, config: str, sizes: Mapping[str, int], card: Mapping[str, Any]) -> list[HubFile]:
    """Return the files of one configuration (empty: the default or only one), each once, from the bytes of each data file.

    Raises UserError `hub_no_data_files`, `hub_choose_config`, `hub_config_unknown`.
    """
    if not sizes:
        raise UserError("hub_no_data_files", name=repository)
    named = _configs(card) or _folders(list(sizes))
    names = ", ".join(sorted(named))[:400]
    if config and config not in named:
        raise UserError("hub_config_unknown", name=repository, config=config, configs=names)
    chosen = config or _default(named, card)
    if not chosen:
        raise UserError("hub_choose_config", name=repository, configs=names)
    found: dict[str, HubFile] = {}
    for split, pattern in named[chosen]:
        for name in _matching(sizes, pattern):
            found.setdefault(name, HubFile(name, split or _split_of(name), sizes[name]))
    if not found:
        raise UserError("hub_no_data_files", name=repository)
    return list(found.values())


def _default(named: Patterns, card: Mapping[str, Any]) -> str:
    """Return the configuration that the card marks, or the one called default, or the only one; empty if there is none such."""
    marked = [str(config.get("config_name")) for config in _listed(card) if config.get("default") is True]
    return next((name for name in [*marked, "default"] if name in named), next(iter(named)) if len(named) == 1 else "")


def _listed(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = card.get("configs")
    return [config for config in listed if isinstance(config, dict)] if isinstance(listed, list) else []


def _configs(card: Mapping[str, Any]) -> Patterns:
    """Return what the card's front matter names."""
    found: Patterns = {}
    for config in _listed(card):
        folder = str(config.get("data_dir") or "").removeprefix("./").strip("/")
        within = f"{glob.escape(folder)}/" if folder else ""
        entries = found.setdefault(str(config.get("config_name", "default")), [])
        entries += [(split, within + pattern) for split, pattern in _entries(config.get("data_files") or _ALL)]
    return found


def _entries(data_files: Any) -> Iterator[tuple[str, str]]:
    """Yield (split, pattern) of a pattern, a list of them, or a list of splits with theirs."""
    for entry in data_files if isinstance(data_files, list) else [data_files]:
        split, paths = (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else ("", entry)
        for path in paths if isinstance(paths, list) else [paths]:
            if isinstance(path, str):
                yield (split_of(str(split)) or "train") if split else "", path.removeprefix("./")


def _folders(names: list[str]) -> Patterns:
    """Return one configuration of all files, or one per folder when only folders of other names than splits hold them."""
    tops = {PurePosixPath(name).parts[0] for name in names if "/" in name}
    if len(tops) > 1 and all("/" in name for name in names) and not any(split_of(top) or top == "data" for top in tops):
        return {top: [("", f"{glob.escape(top)}/{_ALL}")] for top in tops}
    return {"default": [("", _ALL)]}


def _matching(sizes: Mapping[str, int], pattern: str) -> list[str]:
    """Return the names that a pattern means; where it says only "all", notes beside the rows are none of them."""
    found = sorted(name for name in sizes if _fits(name, pattern))
    if not pattern.endswith(_ALL):
        return found
    found = [name for name in found if not name.lower().endswith(_PROSE)] or found
    if any(_split_of(name) == "train" for name in found):  # as in a folder: named splits are the data set, the rest lies beside it
        found = [name for name in found if _split_of(name)]
    return found


def _fits(name: str, pattern: str) -> bool:
    """Say whether a path fits a pattern; `*` stays within a folder, `**` is any folders. Takes time in proportion, whatever the pattern."""
    parts = name.split("/")
    reached = {0}  # how many parts may be used up so far
    for wanted in pattern.split("/"):
        if wanted == _ALL:
            reached = set(range(min(reached), len(parts) + 1))
        else:
            reached = {done + 1 for done in reached if done < len(parts) and fnmatchcase(parts[done], wanted)}
        if not reached:
            return False
    return len(parts) in reached


def _split_of(name: str) -> str:
    return next((split for part in reversed(PurePosixPath(name).parts) if (split := split_of(part))), "")
