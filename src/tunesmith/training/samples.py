"""The prompts that a run answers while it learns, so that a person sees it change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.formats import KINDS, Message, Row, as_messages, as_prompt
from tunesmith.data.row_files import read_splits
from tunesmith.data.validation import usable_rows

PROBES = 3
CONVERSATIONS = tuple(kind for kind in KINDS if kind != "text")


@dataclass(frozen=True)
class Probe:
    """A held-out conversation up to the answer, and the answer that the data gives."""

    messages: list[Message]
    prompt: str
    expected: str


def choose_probes(data_path: Path, valid: Sequence[Row], prompts: Sequence[str] = (), system: str = "") -> list[Probe]:
    """Return the given prompts, else up to three held-out ones: of the test rows, else of the validation rows; evenly spread.

    `system` is what the run puts before every prompt that has no system message of its own.
    """
    if prompts:
        return [Probe(as_prompt({"prompt": prompt}, system), prompt, "") for prompt in prompts]
    splits = read_splits(data_path, ("test",))
    rows = usable_rows(splits["test"].rows, CONVERSATIONS)[0] if "test" in splits else list(valid)
    probes = [probe for row in rows if (probe := _probe(row.value, system))]
    stride = max(1, len(probes) // PROBES)
    return probes[::stride][:PROBES]


def _probe(value: Mapping[str, Any], system: str) -> Probe | None:
    messages = as_messages(value)
    if len(messages) < 2 or messages[-1]["role"] != "assistant" or messages[-2]["role"] != "user":
        return None
    return Probe(as_prompt(value, system), messages[-2]["content"], messages[-1]["content"])
