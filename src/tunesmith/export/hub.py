"""Puts a model folder on the Hugging Face hub as one commit, and sees afterwards that it is all there. Keeps no token.

Files go by the hub's LFS interface, which mirrors and private hubs have too; Xet storage is passed by, since it tells no progress and would
be a second way to prove. The endpoint is that of the environment (`HF_ENDPOINT`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from threading import Lock

from tunesmith.errors import UserError
from tunesmith.export.folder_files import shared_files, total_bytes
from tunesmith.system.hub import hub_endpoint
from tunesmith.system.progress import Report, silent
from tunesmith.system.secrets import mask

# what mlx-lm and transformers load by itself beside a new model's files
_WEIGHTS = "model*.safetensors"
_OUTLIVED = (_WEIGHTS, "model.safetensors.index.json", "chat_template.jinja", "chat_template.json")
_CODES = {401: "hub_upload_token_refused", 403: "hub_upload_forbidden", 409: "hub_repository_exists"}


@dataclass(frozen=True)
class Uploaded:
    """What is on the hub now."""

    address: str
    commit: str
    files: int
    size_bytes: int


def upload_folder(
    folder: Path, repo_id: str, private: bool, token: str, report: Report = silent, into_existing: bool = False
) -> Uploaded:  # fmt: skip
    """Make the repository `owner/name` and put a model folder into it; with `into_existing`, into one that is there already.

    The same commit takes an old model's weights and prompt format out, where new weights come. Raises UserError
    `hub_repository_name_wrong`, `nothing_to_share`, `hub_upload_token_refused`, `hub_upload_forbidden`, `hub_repository_exists`,
    `hub_repository_public`, `hub_repository_unknown`, `hub_upload_unreachable`, `hub_upload_failed`, `hub_upload_incomplete`.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.utils.tqdm import disable_progress_bars

    files = shared_files(folder)
    endpoint = hub_endpoint()
    api = HfApi(endpoint=endpoint, token=token)
    disable_progress_bars()
    with _worded(repo_id, endpoint, token), ExitStack() as opened:
        report("creating_repository", 0.0)
        address = api.create_repo(repo_id, private=private, exist_ok=into_existing)
        outlived: list[str] = []
        if into_existing:
            before = api.model_info(repo_id)
            if private and not before.private:
                raise UserError("hub_repository_public", name=repo_id, endpoint=endpoint)
            outlived = _outlived([entry.rfilename for entry in before.siblings or []], [file.name for file in files])
        streams = _open_counted(files, report, opened)
        added = [CommitOperationAdd(file.name, stream) for file, stream in zip(files, streams, strict=True)]
        for stream in streams:
            stream.phase = "uploading"
        taken_out = [CommitOperationDelete(name, is_folder=False) for name in outlived]
        made = api.create_commit(repo_id, [*added, *taken_out], commit_message="Upload model", revision="main")
        report("checking", 0.0)
        about = api.model_info(repo_id, revision=made.oid, files_metadata=True)
    there = {entry.rfilename: entry.size for entry in about.siblings or []}
    missing = [file.name for file in files if there.get(file.name) != file.stat().st_size]
    if missing:
        raise UserError("hub_upload_incomplete", name=repo_id, files=", ".join(missing[:5]))
    report("checking", 1.0)
    return Uploaded(str(address), str(made.oid), len(files), total_bytes(files))


def _outlived(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return the old files that would be loaded together with new weights; none where no weights of a whole model come."""
    if not any(fnmatchcase(name, _WEIGHTS) for name in new):
        return []
    return [name for name in old if "/" not in name and name not in new and any(fnmatchcase(name, each) for each in _OUTLIVED)]


class _Counted(io.BufferedReader):
    """A file that tells each piece read: first while its hash is computed, then while it is sent."""

    def __init__(self, path: Path, tell: Callable[[str, int], None]) -> None:
        super().__init__(path.open("rb", buffering=0))
        self.phase = "hashing"
        self._tell = tell

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(size)
        self._tell(self.phase, len(piece))
        return piece


def _open_counted(files: Sequence[Path], report: Report, opened: ExitStack) -> list[_Counted]:
    """Open all files; their pieces are added up by phase, from several threads."""
    total = max(1, total_bytes(list(files)))
    done: dict[str, int] = {}
    lock = Lock()

    def tell(phase: str, size: int) -> None:
        with lock:
            done[phase] = done.get(phase, 0) + size
            report(phase, min(1.0, done[phase] / total))

    return [opened.enter_context(_Counted(file, tell)) for file in files]


@contextmanager
def _worded(repo_id: str, endpoint: str, token: str) -> Iterator[None]:
    """Word the hub's refusals and the network's failures; the token is in none of them."""
    from huggingface_hub import errors

    facts = {"name": repo_id, "endpoint": endpoint}
    try:
        yield
    except UserError:
        raise
    except errors.HFValidationError as error:
        raise UserError("hub_repository_name_wrong", name=repo_id) from error
    except Exception as error:  # whatever the network and its libraries raise
        cause = _root(error)
        reason = mask(" ".join(str(cause).split()) or type(cause).__name__, token)[:300]
        status = cause.response.status_code if isinstance(cause, errors.HfHubHTTPError) else 0
        if isinstance(cause, errors.RepositoryNotFoundError):  # before the statuses: the hub hides by a 401 what may not be seen
            raise UserError("hub_repository_unknown", **facts) from error
        if status in _CODES:
            raise UserError(_CODES[status], **facts) from error
        code = "hub_upload_failed" if status or isinstance(cause, ValueError) else "hub_upload_unreachable"
        raise UserError(code, reason=reason, **facts) from error


def _root(error: BaseException) -> BaseException:
    """Return the refusal behind the error: uploading threads wrap theirs."""
    while isinstance(error, RuntimeError) and error.__cause__:
        error = error.__cause__
    return error
