"""Conversations as people write them to messages of role and content: ShareGPT, OpenAI, JSON in a cell. Knows no files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tunesmith.data.formats import Problem

SPEAKERS = {
    "human": "user", "user": "user", "prompter": "user", "question": "user",
    "gpt": "assistant", "assistant": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant", "bing": "assistant",
    "bard": "assistant", "ai": "assistant", "answer": "assistant", "function_call": "assistant",
    "system": "system", "developer": "system",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool",
}  # fmt: skip
_ROLE_NAMES, _TEXT_NAMES = ("role", "from", "speaker"), ("content", "value", "text")


def as_conversation(line: int, column: str, value: Any) -> tuple[Any, list[Problem]]:
    """Return messages of `role` and `content` (others keys are kept), and what could not be understood.

    Reads `{"role", "content"}` and ShareGPT's `{"from", "value"}`, a JSON text of either, plain texts in turns, and content in parts.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            return [], [Problem(line, column, "not_json", {"column": error.colno})]
    if not isinstance(value, list):
        return [], [Problem(line, column, "not_a_conversation", {"found": type(value).__name__})]
    if value and all(isinstance(turn, str) for turn in value):
        return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(value)], []
    messages, problems = [], []
    for number, turn in enumerate(value, start=1):
        if not isinstance(turn, dict):
            problems.append(Problem(line, f"{column}[{number}]", "not_a_message", {"found": type(turn).__name__}))
            continue
        messages.append(_as_message(turn))
    return messages, problems


def _as_message(turn: Mapping[str, Any]) -> dict[str, Any]:
    role_name = next((name for name in _ROLE_NAMES if name in turn), "role")
    text_name = next((name for name in _TEXT_NAMES if name in turn), "content")
    role = turn.get(role_name)
    content = turn.get(text_name)
    if isinstance(content, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
        content = "".join(part["text"] for part in content)
    if content is None and turn.get("tool_calls"):
        content = ""
    rest = {name: part for name, part in turn.items() if name not in {role_name, text_name} and part is not None}
    return {"role": SPEAKERS.get(str(role).strip().lower(), role), "content": content, **rest}


def split_preference(line: int, value: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """Return a preference row whose answers are texts; conversations are divided behind the turns that both begin with."""
    chosen, rejected = value["chosen"], value["rejected"]
    if not (isinstance(chosen, list) and isinstance(rejected, list)):
        if isinstance(value.get("prompt"), list):
            turns, problems = as_conversation(line, "prompt", value["prompt"])
            return value | {"prompt": turns}, problems
        return value, [] if "prompt" in value else _split_dialogue(line, value)
    left, problems = as_conversation(line, "chosen", chosen)
    right, more = as_conversation(line, "rejected", rejected)
    if problems or more:
        return value, problems + more
    common = 0
    while common < min(len(left), len(right)) - 1 and left[common] == right[common]:
        common += 1
    before, more = as_conversation(line, "prompt", value["prompt"]) if isinstance(value.get("prompt"), list) else ([], [])
    asked = before or ([] if common else [{"role": "user", "content": value["prompt"]}] if "prompt" in value else [])
    turns = left[:common] if common else asked
    if len(left) != common + 1 or len(right) != common + 1 or not turns:
        return value, [*more, Problem(line, "chosen", "preference_not_one_answer")]
    prompt: Any = turns[0]["content"] if len(turns) == 1 and turns[0]["role"] == "user" else turns
    return value | {"prompt": prompt, "chosen": left[-1]["content"], "rejected": right[-1]["content"]}, more


def _split_dialogue(line: int, value: dict[str, Any]) -> list[Problem]:
    """Divide texts of whole dialogues (`Human: … Assistant: …`) in place."""
    marker = "\n\nAssistant:"
    chosen, rejected = value["chosen"], value["rejected"]
    if isinstance(chosen, str) and isinstance(rejected, str):
        head, found, answer = chosen.rpartition(marker)
        other, _, worse = rejected.rpartition(marker)
        if found and head == other:
            value.update(prompt=_dialogue(head), chosen=answer.strip(), rejected=worse.strip())
            return []
    return [Problem(line, "prompt", "column_missing", {"column": "prompt"})]


def _dialogue(text: str) -> Any:
    """Return the turns of `\\n\\nHuman: … \\n\\nAssistant: …`, or the text of the only one."""
    turns = []
    for part in text.split("\n\nHuman:")[1:]:
        asked, *answers = part.split("\n\nAssistant:")
        turns.append({"role": "user", "content": asked.strip()})
        turns += [{"role": "assistant", "content": answer.strip()} for answer in answers]
    return turns[0]["content"] if len(turns) == 1 else turns
