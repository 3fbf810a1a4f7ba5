"""Sets of prompts that people keep and ask again: save, list, delete, bring from a data set or a file. Knows no page and no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from tunesmith.access.people import TRAINER
from tunesmith.errors import UserError
from tunesmith.services.compare import MOST_QUESTIONS
from tunesmith.services.context import Services
from tunesmith.services.datasets import find_dataset, held_out_prompts
from tunesmith.services.rights import needs, require_own
from tunesmith.store.comparisons import PromptSet, PromptSetStore

PROMPT_KEYS = ("prompt", "question", "instruction", "text")


def list_sets(s: Services) -> list[PromptSet]:
    """Return the sets by name."""
    return PromptSetStore(s.data_dir).all()


def find_set(s: Services, name: str) -> PromptSet:
    """Return a set by its id or name. Raises UserError `prompt_set_unknown`."""
    for each in list_sets(s):
        if name in (each.id, each.name):
            return each
    raise UserError("prompt_set_unknown", name=name)


def _find_named(s: Services, name: str) -> PromptSet | None:
    return next((each for each in list_sets(s) if each.name == " ".join(name.split())), None)


@needs(TRAINER)
def save(s: Services, name: str, prompts: Sequence[str]) -> PromptSet:
    """Keep prompts under a name, in place of the set of that name; empty ones and repetitions are left out.

    Raises UserError `server_read_only`, `name_empty`, `name_too_long`, `prompts_none`, `too_many_questions`, `owned_by_another`,
    `disk_full`.
    """
    s.require_writable()
    kept = list(dict.fromkeys(prompt.strip() for prompt in prompts if prompt.strip()))
    if not kept:
        raise UserError("prompts_none")
    if len(kept) > MOST_QUESTIONS:
        raise UserError("too_many_questions", asked=len(kept), most=MOST_QUESTIONS)
    known = _find_named(s, name)
    require_own(s, known.owner if known else "")
    return PromptSetStore(s.data_dir).save(name, kept, s.person.name)


@needs(TRAINER)
def save_new(s: Services, name: str, prompts: Sequence[str]) -> PromptSet:
    """Keep prompts under a name that no set has; raises as `save`, and UserError `prompt_set_exists`."""
    if _find_named(s, name):
        raise UserError("prompt_set_exists", name=" ".join(name.split()))
    return save(s, name, prompts)


@needs(TRAINER)
def add_prompts(s: Services, name: str, prompts: Sequence[str]) -> PromptSet:
    """Add prompts to the set of a name, made where there is none; raises as `save`."""
    known = _find_named(s, name)
    return save(s, name, [*(known.prompts if known else ()), *prompts])


@needs(TRAINER)
def import_held_out(s: Services, dataset_id: str, most: int) -> PromptSet:
    """Add the first questions of a data set's test rows, else of its validation rows, to the set that has the data set's name.

    Raises UserError `dataset_unknown`, `dataset_nothing_held_out`, and as `save`.
    """
    info = find_dataset(s, dataset_id)
    prompts = held_out_prompts(info.path, min(most, MOST_QUESTIONS))
    if not any(prompt.strip() for prompt in prompts):
        raise UserError("dataset_nothing_held_out", dataset=dataset_id)
    return add_prompts(s, dataset_id, prompts[:most])


@needs(TRAINER)
def delete(s: Services, set_id: str) -> None:
    """Throw a set away. Raises UserError `server_read_only`, `prompt_set_unknown`, `owned_by_another`."""
    s.require_writable()
    store = PromptSetStore(s.data_dir)
    require_own(s, store.owner(set_id))
    store.trash(set_id)


@needs(TRAINER)
def restore(s: Services, set_id: str) -> None:
    """Bring a set back. Raises UserError `server_read_only`, `prompt_set_unknown`, `target_exists`, `owned_by_another`."""
    s.require_writable()
    store = PromptSetStore(s.data_dir)
    require_own(s, store.owner(set_id))
    store.restore(set_id)


def read_prompt_file(path: Path) -> list[str]:
    """Return the prompts of a file: of `.jsonl` each line's text or its `prompt`, else one prompt a line.

    Raises UserError `file_missing`, `data_not_utf8`, `prompts_line`, `prompts_none`.
    """
    if not path.is_file():
        raise UserError("file_missing", file=str(path))
    content = path.read_bytes()
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError("data_not_utf8", file=path.name, line=content.count(b"\n", 0, error.start) + 1) from error
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    prompts = [_prompt_of(path, number, line) if path.suffix == ".jsonl" else line for number, line in numbered]
    if not prompts:
        raise UserError("prompts_none")
    return prompts


def _prompt_of(path: Path, number: int, line: str) -> str:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise UserError("prompts_line", file=path.name, line=number) from error
    if isinstance(value, dict):
        value = next((value[key] for key in PROMPT_KEYS if key in value), None)
    if not isinstance(value, str) or not value.strip():
        raise UserError("prompts_line", file=path.name, line=number)
    return value
