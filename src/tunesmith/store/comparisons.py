"""What was asked of several variants and what they said, and the sets of prompts that people keep: a JSON file each, with a trash.

`<data dir>/comparisons/<id>.json`, `<data dir>/prompt_sets/<id>.json`. Knows no models and asks nobody.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.store.files import make_folder, read_json, write_atomic
from tunesmith.store.trash import bring_back, owner_in, purge_older, throw_away
from tunesmith.system.paths import as_file_name, resolve_under

LONGEST_NAME = 100
LARGEST_BYTES = 1_000_000_000  # hundreds of questions to eight variants, with every token


@dataclass(frozen=True)
class Token:
    """One token of an answer: its piece of the text, its id, its log-probability (nats, None when it is no number)."""

    text: str
    id: int
    logprob: float | None


@dataclass(frozen=True)
class Answer:
    """What one variant said; `finish` is `stop`, `length`, `not_finite`, or empty when a person ended it.

    `sent` is the exact text that it was given, special tokens and all, `sent_tokens` its length.
    """

    tokens: tuple[Token, ...] = ()
    finish: str = ""
    seconds: float = 0.0
    first_token_seconds: float | None = None
    sent: str = ""
    sent_tokens: int = 0

    @property
    def text(self) -> str:
        """The answer without the white space around it."""
        return "".join(token.text for token in self.tokens).strip()


@dataclass(frozen=True)
class Round:
    """A question and the variants' answers in their order; `follows`: it goes on from the round before, else it begins afresh."""

    question: str
    follows: bool
    system: str
    sampling: dict[str, Any]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Comparison:
    """Questions to the same variants; a record of a variant tells at least its `key` and its `model_path`."""

    id: str
    created_at: float
    variants: tuple[dict[str, Any], ...]
    rounds: tuple[Round, ...] = ()
    owner: str = ""


@dataclass(frozen=True)
class Heading:
    """What a list tells of a comparison: its first question, how many there are, nothing of the answers."""

    id: str
    created_at: float
    variants: tuple[dict[str, Any], ...]
    owner: str
    question: str
    questions: int


@dataclass(frozen=True)
class PromptSet:
    """Prompts under a name, to be asked again and again."""

    id: str
    name: str
    prompts: tuple[str, ...]
    changed_at: float
    owner: str = ""


class RecordFolder:
    """Records as files of a folder; what is thrown away stays in `.trash` for 7 days."""

    def __init__(self, root: Path, unknown: str) -> None:
        self.root, self._unknown = root, unknown
        self._trash = root / ".trash"
        make_folder(self._trash)

    def ids(self) -> list[str]:
        """Return the ids, the last in their order first."""
        return sorted((path.stem for path in self.root.glob("[!.]*.json")), reverse=True)

    def _path(self, record_id: str) -> Path:
        return resolve_under(self.root, f"{record_id}.json")

    def read(self, record_id: str) -> Any:
        """Return a record. Raises UserError of the folder's own code, `store_file_unreadable`, `name_not_allowed`."""
        try:
            return read_json(self._path(record_id), LARGEST_BYTES)
        except FileNotFoundError as error:
            raise UserError(self._unknown, name=record_id) from error

    def write(self, record_id: str, record: dict[str, Any]) -> None:
        """Put a record in its place as a whole. Raises UserError `disk_full`."""
        write_atomic(self._path(record_id), orjson.dumps(record))

    def owner(self, record_id: str) -> str:
        """Return who owns a record, here or in the trash; nothing for an old or a broken one. Raises UserError `name_not_allowed`."""
        path = self._path(record_id)
        return owner_in(path if path.exists() else self._trash / path.name, most_bytes=LARGEST_BYTES)

    def trash(self, record_id: str) -> None:
        """Throw a record away. Raises UserError of the folder's own code."""
        if not self._path(record_id).exists():
            raise UserError(self._unknown, name=record_id)
        throw_away(self._path(record_id), self._trash)

    def restore(self, record_id: str) -> None:
        """Bring a record back, unless another one has taken its place. Raises UserError of the folder's own code, `target_exists`."""
        path = self._path(record_id)
        source = self._trash / path.name
        if not source.is_file():
            raise UserError(self._unknown, name=record_id)
        bring_back(source, path)

    def purge_trash(self) -> None:
        """Delete what has been in the trash for more than 7 days."""
        purge_older(self._trash)


class ComparisonStore(RecordFolder):
    """The history of comparisons."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir / "comparisons", "comparison_unknown")

    def save(self, comparison: Comparison) -> None:
        """Write a comparison. Raises UserError `disk_full`."""
        self.write(comparison.id, {"v": 1, **vars(comparison)})

    def get(self, comparison_id: str) -> Comparison:
        """Return a comparison. Raises UserError `comparison_unknown`, `store_file_unreadable`."""
        record = self.read(comparison_id)
        try:
            variants, rounds = _variants_and_rounds(record)
            told = tuple(_as_round(each) for each in rounds)
            return Comparison(comparison_id, float(record["created_at"]), variants, told, str(record.get("owner", "")))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _unreadable(self.root, comparison_id, error) from error

    def heading(self, comparison_id: str) -> Heading:
        """Return what a list tells of a comparison. Raises UserError `comparison_unknown`, `store_file_unreadable`."""
        path = self._path(comparison_id)
        try:
            state = path.stat()
        except FileNotFoundError as error:
            raise UserError(self._unknown, name=comparison_id) from error
        return _read_heading(self.root, comparison_id, (state.st_mtime_ns, state.st_size, state.st_ino))


@functools.lru_cache(maxsize=256)
def _read_heading(root: Path, comparison_id: str, stamp: tuple[int, ...]) -> Heading:
    del stamp  # part of the cache's key only: a page asks at every drawing, and a file with every token is large
    record = ComparisonStore(root.parent).read(comparison_id)
    try:
        variants, rounds = _variants_and_rounds(record)
        question = str(rounds[0]["question"]) if rounds else ""
        return Heading(comparison_id, float(record["created_at"]), variants, str(record.get("owner", "")), question, len(rounds))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(root, comparison_id, error) from error


def _variants_and_rounds(record: dict[str, Any]) -> tuple[tuple[dict[str, Any], ...], list[dict[str, Any]]]:
    variants = tuple(dict(each) for each in record["variants"])
    if any(len(each["answers"]) != len(variants) for each in record["rounds"]):
        raise ValueError("an answer for each variant")
    return variants, record["rounds"]


def _as_round(record: dict[str, Any]) -> Round:
    answers = tuple(Answer(**each | {"tokens": tuple(Token(**token) for token in each["tokens"])}) for each in record["answers"])
    return Round(**record | {"answers": answers})


def _unreadable(root: Path, record_id: str, error: Exception) -> UserError:
    return UserError("store_file_unreadable", file=f"{record_id}.json", folder=root.name, reason=str(error))


class PromptSetStore(RecordFolder):
    """The sets of prompts."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir / "prompt_sets", "prompt_set_unknown")

    def all(self) -> list[PromptSet]:
        """Return the readable sets by name."""
        found = []
        for set_id in self.ids():
            try:
                found.append(self.get(set_id))
            except UserError:
                continue
        return sorted(found, key=lambda each: (each.name.casefold(), each.id))

    def get(self, set_id: str) -> PromptSet:
        """Return a set. Raises UserError `prompt_set_unknown`, `store_file_unreadable`."""
        record = self.read(set_id)
        try:
            prompts = tuple(str(prompt) for prompt in record["prompts"])
            return PromptSet(set_id, str(record["name"]), prompts, float(record["changed_at"]), str(record.get("owner", "")))
        except (KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.root, set_id, error) from error

    def save(self, name: str, prompts: Sequence[str], owner: str = "") -> PromptSet:
        """Write a set under its name, in place of one of that name, whose owner stays.

        Raises UserError `name_empty`, `name_too_long`, `disk_full`.
        """
        name = " ".join(name.split())
        if not name:
            raise UserError("name_empty")
        if len(name) > LONGEST_NAME:
            raise UserError("name_too_long", longest=LONGEST_NAME)
        known = next((each for each in self.all() if each.name == name), None)
        made = PromptSet(
            known.id if known else self._free_id(name), name, tuple(prompts), time.time(), known.owner if known else owner
        )  # fmt: skip
        self.write(made.id, {"v": 1, "name": name, "prompts": made.prompts, "changed_at": made.changed_at, "owner": made.owner})
        return made

    def _free_id(self, name: str) -> str:
        base, taken = as_file_name(name, "prompts"), set(self.ids())
        return next(each for each in itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2))) if each not in taken)
