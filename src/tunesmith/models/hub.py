"""Models on the hub: found by words, described at one commit, downloaded so that a broken download goes on where it ended. Loads nothing.

huggingface_hub brings the session, its waiting when the hub asks for it, and the words of refusals. Its own downloads begin each file anew
after a kill (a temporary file for each process), so the bytes are received here: what came of a file lies in `<name>.part`. Files come by
plain HTTP, which mirrors and private hubs have too.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from tunesmith.errors import UserError
from tunesmith.models.hub_files import ModelFile, choose_files, size_of_weights
from tunesmith.store.files import as_user_error, sha256_of
from tunesmith.system.hub import hub_endpoint, read_refusal
from tunesmith.system.paths import resolve_under

PIECE_BYTES = 1 << 20
ANSWER_SECONDS, SEARCH_SECONDS = 30.0, 15.0
PART = ".part"
_LICENCE = re.compile(r"license:[\w.+-]{1,60}")
_SEARCHED = ("downloads", "likes", "gated", "tags", "safetensors", "library_name", "config")
Received = Callable[[int], object]  # takes the bytes of all files that are there


@dataclass(frozen=True)
class FoundModel:
    """A model that a search found; sizes are 0 and texts empty where the hub does not tell."""

    name: str
    downloads: int
    likes: int
    parameters: int
    size_bytes: int
    licence: str
    gated: bool
    is_mlx: bool
    model_type: str
    has_safetensors: bool


@dataclass(frozen=True)
class HubModel:
    """A model at one commit and what would be downloaded of it; `address` is its page, where a gated one is asked for."""

    name: str
    commit: str
    files: tuple[ModelFile, ...]
    licence: str
    gated: bool
    is_mlx: bool
    model_type: str
    parameters: int
    downloads: int
    likes: int
    address: str

    @property
    def size_bytes(self) -> int:
        """The bytes of all its files."""
        return sum(file.size_bytes for file in self.files)


class ModelHub:
    """The hub, with a token or without; the endpoint is that of the environment."""

    def __init__(self, token: str | None) -> None:
        from huggingface_hub import HfApi

        self.endpoint = hub_endpoint()
        self._token = token
        self._api = HfApi(endpoint=self.endpoint, token=token or False)

    def search(self, text: str, most: int, mlx_only: bool) -> list[FoundModel]:
        """Return text models by downloads, `most` in MLX's form first and then, unless `mlx_only`, as many others.

        Raises UserError `hub_token_refused`, `hub_unreachable`, `hub_busy`.
        """
        asked = {"search": text, "pipeline_tag": "text-generation", "sort": "downloads", "limit": most, "expand": list(_SEARCHED)}
        found: dict[str, FoundModel] = {}
        for filters in ({"filter": "mlx"},) if mlx_only else ({"filter": "mlx"}, {}):
            for each in self._ask(text, partial(self._list, asked | filters)):
                found.setdefault(each.name, each)
        return list(found.values())

    def _list(self, asked: dict[str, Any]) -> list[FoundModel]:
        """Return one page of models. `HfApi.list_models` would try for half a minute where there is no network."""
        from huggingface_hub import ModelInfo
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff  # type: ignore[attr-defined]

        headers = build_hf_headers(token=self._token or False)
        address = f"{self.endpoint}/api/models"
        answer = http_backoff("GET", address, params=asked, headers=headers, timeout=SEARCH_SECONDS, max_retries=1)
        hf_raise_for_status(answer)
        return [_as_found(ModelInfo(**item)) for item in answer.json()]  # type: ignore[no-untyped-call]

    def describe(self, name: str, commit: str = "") -> HubModel:
        """Return a model `owner/name` at a commit, the newest by default, if its files may be had.

        Raises UserError `hub_model_name_wrong`, `hub_model_unknown`, `hub_model_needs_token`, `hub_model_not_granted`,
        `hub_model_forbidden`, `hub_token_refused`, `hub_unreachable`, `hub_busy`, and what `choose_files` raises.
        """
        check_name(name)
        info = self._ask(name, lambda: self._api.model_info(name, revision=commit or None, files_metadata=True, timeout=ANSWER_SECONDS))
        files = [self._as_file(name, str(info.sha), each) for each in info.siblings or []]
        chosen = choose_files(name, files)
        if info.gated or info.private:
            self._ask(name, lambda: self._api.get_hf_file_metadata(url=self._url(name, str(info.sha), "config.json")))
        found = _as_found(info)
        return HubModel(
            name=name, commit=str(info.sha), files=tuple(chosen), licence=found.licence, gated=found.gated, is_mlx=found.is_mlx,
            model_type=found.model_type, parameters=found.parameters, downloads=found.downloads, likes=found.likes,
            address=f"{self.endpoint}/{name}",
        )  # fmt: skip

    def download(self, model: HubModel, file: ModelFile, folder: Path, received: Received) -> None:
        """Put a file into a folder, whole and proven by its hash or not at all; what came of it is used the next time.

        A connection that broke off is opened again as long as something comes over it. `received` is told the bytes that are there.
        Raises UserError as `describe` does, `hub_file_damaged`, `disk_full`.
        """
        path = resolve_under(folder, file.name)
        part = path.with_name(path.name + PART)
        there = -1
        while not path.exists():
            try:
                with part.open("ab") as stream:
                    self._ask(model.name, lambda: self._receive(model, file, stream, received))
            except OSError as error:
                raise as_user_error(error, part) from error
            except UserError as error:
                if error.code != "hub_unreachable" or part.stat().st_size <= there:
                    raise
                there = part.stat().st_size
            else:
                _take_over(model, file, part, path)
        received(file.size_bytes)

    def _receive(self, model: HubModel, file: ModelFile, stream: BinaryIO, received: Received) -> None:
        """Add to a file what is missing of it. Raises what huggingface_hub and the network raise, the disk's errors as UserError."""
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff  # type: ignore[attr-defined]

        done = stream.seek(0, os.SEEK_END)
        if done > file.size_bytes:
            done = stream.truncate(0)
        received(done)
        if done == file.size_bytes:
            return
        wanted = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        headers = build_hf_headers(token=self._token or False) | wanted
        with http_stream_backoff(
            "GET", self._url(model.name, model.commit, file.name), headers=headers, timeout=ANSWER_SECONDS, retry_on_exceptions=(),
            retry_on_status_codes=(408, 429),
        ) as answer:  # fmt: skip
            hf_raise_for_status(answer)
            if done and answer.status_code == 200:  # the whole file again
                done = 0
                stream.truncate(0)
            for piece in answer.iter_bytes(PIECE_BYTES):
                done += len(piece)
                if done > file.size_bytes:
                    raise UserError("hub_file_damaged", name=model.name, file=file.name)
                _write(stream, piece)
                received(done)
        if done < file.size_bytes:
            raise ConnectionError(f"{file.name}: {done} of {file.size_bytes} bytes came")

    def _url(self, name: str, commit: str, file: str) -> str:
        from huggingface_hub import hf_hub_url

        return str(hf_hub_url(name, file, revision=commit, endpoint=self.endpoint))

    def _as_file(self, name: str, commit: str, entry: Any) -> ModelFile:
        """Return what the description tells of a file; some mirrors tell no sizes, then its own address is asked."""
        file = ModelFile(entry.rfilename, entry.size or 0, entry.lfs.sha256 if entry.lfs else "", "" if entry.lfs else entry.blob_id or "")
        if entry.size is not None:
            return file
        told = self._ask(name, lambda: self._api.get_hf_file_metadata(url=self._url(name, commit, entry.rfilename))).size
        if told is None:
            raise UserError("hub_unreachable", name=name, endpoint=self.endpoint, reason=f"no size of {entry.rfilename}")
        return ModelFile(file.name, int(told), file.sha256, file.git_sha1)

    def _ask(self, name: str, call: Callable[[], Any]) -> Any:
        """Do a request and word its refusals."""
        try:
            return call()
        except UserError:
            raise
        except Exception as error:  # whatever the network and its libraries raise
            kind, reason = read_refusal(error)
            facts = {"name": name or "*", "endpoint": self.endpoint}
            if kind == "gated":
                raise UserError("hub_model_not_granted" if self._token else "hub_model_needs_token", **facts) from error
            if kind == "unknown":
                raise UserError("hub_model_unknown", **facts) from error
            if kind == "token_refused":
                raise UserError("hub_token_refused", endpoint=self.endpoint) from error
            if kind == "busy":
                raise UserError("hub_busy", endpoint=self.endpoint) from error
            raise UserError("hub_model_forbidden" if kind == "forbidden" else "hub_unreachable", reason=reason, **facts) from error


def check_name(name: str) -> None:
    """Refuse what is no `owner/name`. Raises UserError `hub_model_name_wrong`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError("hub_model_name_wrong", name=name[:200]) from error
    if name.count("/") != 1:
        raise UserError("hub_model_name_wrong", name=name[:200])


def _write(stream: BinaryIO, piece: bytes) -> None:
    try:
        stream.write(piece)
        stream.flush()  # else a kill takes what lies in the buffer
    except OSError as error:
        raise as_user_error(error, Path(stream.name)) from error


def _take_over(model: HubModel, file: ModelFile, part: Path, path: Path) -> None:
    """Give a whole file its name; one that is not what was described goes."""
    if not _is_whole(file, part):
        part.unlink()
        raise UserError("hub_file_damaged", name=model.name, file=file.name)
    part.rename(path)


def _is_whole(file: ModelFile, path: Path) -> bool:
    if path.stat().st_size != file.size_bytes:
        return False
    if file.sha256:
        return sha256_of(path) == file.sha256
    if not file.git_sha1:
        return True
    digest = hashlib.sha1(b"blob %d\0" % file.size_bytes, usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest() == file.git_sha1


def _as_found(info: Any) -> FoundModel:
    tags = list(info.tags or [])
    config = info.config if isinstance(info.config, dict) else {}
    counts = dict(info.safetensors.parameters) if info.safetensors else {}
    packed = "U32" in counts  # several parameters in each number, of which the hub does not tell how many
    return FoundModel(
        name=str(info.id), downloads=int(info.downloads or 0), likes=int(info.likes or 0),
        parameters=0 if packed else sum(counts.values()), size_bytes=size_of_weights(counts),
        licence=next((tag.removeprefix("license:") for tag in tags if _LICENCE.fullmatch(tag)), ""),
        gated=bool(info.gated), is_mlx="mlx" in tags or info.library_name == "mlx", model_type=str(config.get("model_type") or ""),
        has_safetensors=bool(counts) or "safetensors" in tags,
    )  # fmt: skip
