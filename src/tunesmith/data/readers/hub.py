"""Rows of a data set on the Hugging Face hub, by name. Only files of data are fetched and read by our own readers; no code is run.

huggingface_hub (transformers brings it) tells every file's size before anything is downloaded, so the budget holds; `datasets` would
be a second set of readers. Which files are of which configuration is told in `hub_files`.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tunesmith.data.formats import Problem, Row
from tunesmith.data.readers.hub_files import choose_files, is_data
from tunesmith.data.readers.meter import Budget, Meter
from tunesmith.data.readers.source import iterate_rows
from tunesmith.errors import UserError
from tunesmith.system.hub import hub_endpoint, read_refusal

Progress = Callable[[int, int], None]


def hub_rows(name: str, folder: Path, budget: Budget, progress: Progress | None = None) -> Iterator[tuple[str, Row | Problem]]:
    """Download into `folder/download` and yield (split, row or problem); `name` is `owner/name` or `owner/name:config`.

    All files are of the one commit that was described. `progress(bytes_done, bytes_total)` is called while they come.

    Raises UserError `hub_name_wrong`, `hub_dataset_unknown`, `hub_dataset_gated`, `hub_token_refused`, `hub_unreachable`,
    `hub_choose_config`, `hub_config_unknown`, `hub_no_data_files`, `data_too_large`, `data_too_many_rows`, and what `iterate_rows` raises.
    """
    repository, _, config = name.partition(":")
    if "://" in name or repository.count("/") > 1 or not all(_is_name(part) for part in repository.split("/")):
        raise UserError("hub_name_wrong", name=name)
    hub = _Hub(repository, folder / "download")  # a folder of its own: a repository may hold files of any name
    info = hub.describe()
    sizes = {s.rfilename: hub.size(s.rfilename) if s.size is None else s.size for s in info.siblings or [] if is_data(s.rfilename)}
    files = choose_files(repository, config, sizes, info.card_data.to_dict() if info.card_data else {})
    total = sum(file.size_bytes for file in files)
    if total > budget.bytes:
        raise UserError("data_too_large", file=name, most_bytes=budget.bytes)
    meter = Meter(budget, name)
    done = 0
    for file in files:
        path = hub.download(file.name, _report(progress, done, file.size_bytes, total))
        meter.check_time()
        done += file.size_bytes
        for split, item in iterate_rows(path, budget):
            meter.add_rows(1)  # of all files together
            given = time.perf_counter()
            yield (file.split or split), item
            meter.paused_seconds += time.perf_counter() - given
    shutil.rmtree(hub.folder / ".cache", ignore_errors=True)  # times of download, which would make each import's hash another


def _is_name(part: str) -> bool:
    return part.replace("-", "").replace("_", "").replace(".", "").isalnum()


def _report(progress: Progress | None, before: int, size: int, total: int) -> Callable[[int], None]:
    return lambda done: progress(before + min(done, size), total) if progress else None


class _Hub:
    """One repository at one endpoint and commit; the endpoint and token are those of the environment, never ones kept on the machine."""

    def __init__(self, repository: str, folder: Path) -> None:
        from huggingface_hub import HfApi

        self.folder = folder
        self._repository = repository
        self._endpoint = hub_endpoint()
        self._revision: str | None = None
        self._api = HfApi(endpoint=self._endpoint, token=os.environ.get("HF_TOKEN") or False)

    def describe(self) -> Any:
        info = self._ask(lambda: self._api.dataset_info(self._repository, files_metadata=True, timeout=30))
        self._revision = info.sha
        return info

    def size(self, name: str) -> int:
        """Return what the file's own address says; some mirrors list no sizes. Refuses a file whose size nobody tells."""
        from huggingface_hub import hf_hub_url

        url = hf_hub_url(self._repository, name, repo_type="dataset", revision=self._revision, endpoint=self._endpoint)
        size: int | None = self._ask(lambda: self._api.get_hf_file_metadata(url=url)).size
        if size is None:
            raise self._unreachable(f"no size of {name}")
        return size

    def download(self, name: str, report: Callable[[int], None]) -> Path:
        path = self._ask(
            lambda: self._api.hf_hub_download(
                self._repository, name, repo_type="dataset", revision=self._revision, local_dir=self.folder, tqdm_class=_bar_that(report)
            )
        )
        report(Path(path).stat().st_size)
        return Path(path)

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Do a request to the hub and word its refusals."""
        try:
            return call()
        except Exception as error:  # whatever the network and its libraries raise
            kind, reason = read_refusal(error)
            if kind == "gated":
                raise UserError("hub_dataset_gated", name=self._repository, endpoint=self._endpoint) from error
            if kind == "unknown":
                raise UserError("hub_dataset_unknown", name=self._repository, endpoint=self._endpoint) from error
            if kind == "token_refused":
                raise UserError("hub_token_refused", endpoint=self._endpoint) from error
            raise self._unreachable(reason) from error

    def _unreachable(self, reason: str) -> UserError:
        return UserError("hub_unreachable", name=self._repository, endpoint=self._endpoint, reason=reason)


def _bar_that(report: Callable[[int], None]) -> Any:
    """Return a class of progress bars that draw nothing and report the bytes done."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]
            self._done = int(options.get("initial") or 0)

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            report(self._done)

    return Bar
