"""Rows of a data set on the Hugging Face hub, by name. Only files of data are fetched and read by our own readers; no code is run.

huggingface_hub (transformers brings it) tells every file's size before anything is downloaded, so the budget holds; `datasets` would
be a second set of readers.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tunesmith.data.formats import Problem, Row
from tunesmith.data.readers.archives import split_of
from tunesmith.data.readers.meter import Budget
from tunesmith.data.readers.source import iterate_rows
from tunesmith.errors import UserError

_DATA = (".parquet", ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".txt", ".md", ".xlsx", ".gz", ".zip")
_NO_DATA = ("dataset_infos.json", "dataset_info.json", "state.json", "readme.md", "license.txt", "license.md")
DEFAULT_ENDPOINT = "https://huggingface.co"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class HubFile:
    """A file of a data set on the hub and the split that it is of."""

    name: str
    split: str
    size_bytes: int


def hub_rows(name: str, folder: Path, budget: Budget, progress: Progress | None = None) -> Iterator[tuple[str, Row | Problem]]:
    """Download into a folder and yield (split, row or problem); `name` is `owner/name` or `owner/name:config`.

    Raises UserError `hub_name_wrong`, `hub_dataset_unknown`, `hub_dataset_gated`, `hub_unreachable`, `hub_choose_config`,
    `hub_no_data_files`, and what `iterate_rows` raises.
    """
    repository, _, config = name.partition(":")
    if repository.count("/") > 1 or not all(
        part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in repository.split("/")
    ):
        raise UserError("hub_name_wrong", name=name)
    files = _choose(repository, config, _describe(repository))
    total = sum(file.size_bytes for file in files)
    if total > budget.bytes:
        raise UserError("data_too_large", file=name, most_bytes=budget.bytes)
    done = 0
    for file in files:
        path = _download(repository, file.name, folder)
        done += file.size_bytes
        if progress:
            progress(done, total)
        for split, item in iterate_rows(path, budget):
            yield (file.split or split), item


def _ask(repository: str, call: Callable[[], Any]) -> Any:
    """Do a request to the hub and word its refusals."""
    from huggingface_hub import errors

    endpoint = os.environ.get("HF_ENDPOINT", DEFAULT_ENDPOINT)
    try:
        return call()
    except errors.GatedRepoError as error:
        raise UserError("hub_dataset_gated", name=repository, endpoint=endpoint) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError, errors.EntryNotFoundError) as error:
        raise UserError("hub_dataset_unknown", name=repository, endpoint=endpoint) from error
    except Exception as error:  # whatever the network and its libraries raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError("hub_unreachable", name=repository, endpoint=endpoint, reason=reason) from error


def _describe(repository: str) -> Any:
    from huggingface_hub import HfApi

    return _ask(repository, lambda: HfApi().dataset_info(repository, files_metadata=True, timeout=30))


def _download(repository: str, name: str, folder: Path) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(_ask(repository, lambda: hf_hub_download(repository, name, repo_type="dataset", local_dir=folder)))


def _choose(repository: str, config: str, info: Any) -> list[HubFile]:
    """Return the data files of one configuration, as the card names them or as the folders are called."""
    sizes = {s.rfilename: s.size or 0 for s in info.siblings or [] if _is_data(s.rfilename)}
    if not sizes:
        raise UserError("hub_no_data_files", name=repository)
    named = _configs(info)
    if not named:
        named = _folders(list(sizes))
    if config not in named and len(named) > 1 and not (config == "" and "default" in named):
        raise UserError("hub_choose_config", name=repository, configs=", ".join(sorted(named))[:400])
    patterns = named.get(config) or named.get("default") or next(iter(named.values()))
    files = [HubFile(name, split or _split_of(name), sizes[name]) for split, pattern in patterns for name in _matching(sizes, pattern)]
    if not files:
        raise UserError("hub_no_data_files", name=repository)
    return list({file.name: file for file in files}.values())


def _is_data(name: str) -> bool:
    path = PurePosixPath(name)
    return path.name.lower().endswith(_DATA) and path.name.lower() not in _NO_DATA and not any(p.startswith(".") for p in path.parts)


def _matching(names: dict[str, int], pattern: str) -> list[str]:
    return sorted(name for name in names if fnmatch.fnmatchcase(name, pattern.replace("**/", "*")))


def _configs(info: Any) -> dict[str, list[tuple[str, str]]]:
    """Return (split, pattern) by configuration as the card's front matter names them."""
    listed = (info.card_data.to_dict() if info.card_data else {}).get("configs") or []
    found: dict[str, list[tuple[str, str]]] = {}
    for config in listed if isinstance(listed, list) else []:
        entries = config.get("data_files") or []
        for entry in [{"split": "", "path": entries}] if isinstance(entries, str) else entries:
            paths = entry["path"] if isinstance(entry, dict) else entry
            split = _own_split(entry.get("split", "")) if isinstance(entry, dict) else ""
            found.setdefault(str(config.get("config_name", "default")), []).extend(
                (split, p) for p in ([paths] if isinstance(paths, str) else paths)
            )
    return found


def _folders(names: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Return one configuration of all files, or one per folder when only folders of other names than splits hold them."""
    tops = {PurePosixPath(name).parts[0] for name in names if "/" in name}
    if len(tops) > 1 and all("/" in name for name in names) and not any(split_of(top) or top == "data" for top in tops):
        return {top: [("", f"{top}/*")] for top in tops}
    return {"default": [("", "*")]}


def _split_of(name: str) -> str:
    parts = PurePosixPath(name).parts
    return next((split for part in reversed(parts) if (split := split_of(part))), "")


def _own_split(name: Any) -> str:
    return split_of(str(name)) or ("train" if name else "")
