"""A chat template in Go for Ollama, read off from what the model's own template writes. Knows no network and no tokenizer.

Probe conversations are written by the model's template; the texts around their contents become the Go template's literals. Then longer
conversations are written both ways: one difference and the template is refused, so nothing rests on a template's name.
What Ollama fills in: `.Messages`, every turn; `.System`, all system messages joined (ollama, template/template.go).

Unlike many models' templates, the Go template does not trim contents, and it knows no tools.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunesmith.data.chat_templates import render_text
from tunesmith.errors import UserError
from tunesmith.store.files import read_json

Write = Callable[[list[dict[str, str]]], str]  # messages -> the prompt up to where the model goes on

_FOLDED = "\n\n"  # between a system message and the question, where a template has no place of its own for system messages
_SYSTEM = {"role": "system", "content": 'Speak like {a} "pirate".\nAnswer in one line; no {{ tricks }}.'}
_ASKED = ["What is 7 + 5?", "次の文を訳してください。\n\n「海は広い。」", "And the third one?"]
_ANSWERED = ["It is 12.", "The sea is wide.\nThat is all."]

FORMATS: dict[str, tuple[str, ...]] = {  # name -> the marks by which a format is known; generation stops at them
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "phi": ("<|end|>", "<|user|>", "<|assistant|>"),
    "mistral": ("[INST]", "[/INST]"),
    "alpaca": ("### Instruction:", "### Response:"),
    "japanese": ("### 指示:", "### 回答:"),
}
_LLAMA2_MARK = "<<SYS>>"


@dataclass(frozen=True)
class Literals:
    """What a template writes around the contents of a conversation in which questions and answers take turns."""

    opening: str  # before the first question
    system_opening: str  # before the system message: in place of `opening`, or behind it where `system_last`
    system_closing: str  # between the system message and the question
    answer: str  # between a question and its answer
    question: str  # between an answer and the next question
    closing: str  # behind the last question: here the model goes on
    system_last: bool  # the system message stands before the last question, not the first

    def write(self, messages: Sequence[dict[str, str]]) -> str:
        """Return a conversation as the Go template of `go_text` writes it."""
        system = next((m["content"] for m in messages if m["role"] == "system"), "")
        turns = [m for m in messages if m["role"] != "system"]
        written = ""
        for number, turn in enumerate(turns):
            if turn["role"] == "assistant":
                written += self.answer + turn["content"]
                continue
            opening = self.question if number else self.opening
            if system and self.system_last and number == len(turns) - 1:
                opening += self.system_opening + system + self.system_closing
            elif system and not self.system_last and not number:
                opening = self.system_opening + system + self.system_closing
            written += opening + turn["content"]
        return written + ("" if turns[-1]["role"] == "assistant" else self.closing)


@dataclass(frozen=True)
class GoTemplate:
    """A template for Ollama.

    `format` is its known name or empty. `takes_system`: the model's template has a place for system messages; else they stand before the
    first question. `begins_with_bos`: the model's template writes the begin token, so the GGUF file must say that the engine adds it,
    or the Go text has it.
    """

    text: str
    stops: tuple[str, ...]
    format: str
    takes_system: bool
    begins_with_bos: bool


@dataclass(frozen=True)
class ChatFormat:
    """A model folder's chat template (Jinja) and the texts of its begin and end tokens."""

    template: str
    bos: str
    eos: tuple[str, ...]

    def write(self, messages: list[dict[str, str]]) -> str:
        """Return a conversation up to where the model goes on. Raises UserError `template_broken`."""
        return render_text(
            self.template, messages, bos_token=self.bos, eos_token=self.eos[0] if self.eos else "", add_generation_prompt=True,
            tools=None, strftime_now=time.strftime,
        )  # fmt: skip


def to_go_template(chat: ChatFormat, adds_bos: bool) -> GoTemplate:
    """Return a model's chat template for Ollama; `adds_bos` tells whether the GGUF file has the engine add the begin token.

    Raises UserError `ollama_template_unknown`: then a person has to write the TEMPLATE.
    """
    literals, takes_system = read_literals(chat.write)
    begins = bool(chat.bos) and literals.opening.startswith(chat.bos)
    name = _name(literals, [chat.bos, *chat.eos])
    text = go_text(literals, chat.bos if begins and adds_bos else "")
    stops = FORMATS["mistral" if name == "llama2" else name] if name in {*FORMATS, "llama2"} else ()
    return GoTemplate(text, tuple(dict.fromkeys([*chat.eos, *stops])), name, takes_system, begins)


def read_literals(write: Write) -> tuple[Literals, bool]:
    """Return a template's literals and whether it has a place for system messages. Raises UserError `ollama_template_unknown`."""
    turns = _around(write, _conversation(2, system=False))
    if not turns:
        raise UserError("ollama_template_unknown")
    opening, answer, question, closing = turns
    around = _around(write, _conversation(1, system=True))
    if around:
        candidates = [Literals(opening, around[0], around[1], answer, question, closing, system_last=False)]
        if around[0].startswith(opening):
            candidates.append(Literals(opening, around[0].removeprefix(opening), around[1], answer, question, closing, system_last=True))
    else:
        candidates = [Literals(opening, opening, _FOLDED, answer, question, closing, system_last=False)]
    probes = [_conversation(count, system) for count in (1, 2, 3) for system in {False, bool(around)}]
    for literals in candidates:
        if all(literals.write(probe) == _written(write, probe) for probe in probes):
            return literals, bool(around)
    raise UserError("ollama_template_unknown")


def go_text(literals: Literals, dropped_bos: str = "") -> str:
    """Return literals as a Go template; `dropped_bos` is the begin token that the engine writes itself."""
    opening, system_opening, system_closing, answer, question, closing = (
        _escape(text)
        for text in (
            literals.opening.removeprefix(dropped_bos),
            literals.system_opening.removeprefix(dropped_bos),
            literals.system_closing, literals.answer, literals.question, literals.closing,
        )
    )  # fmt: skip
    system = system_opening + "{{ $.System }}" + system_closing
    if literals.system_last:
        place = "{{ if $first }}" + opening + "{{ else }}" + question + "{{ end }}"
        place += "{{ if and $.System (eq (len (slice $.Messages $i)) 1) }}" + system + "{{ end }}"
    else:
        place = "{{ if not $first }}" + question + "{{ else if $.System }}" + system + "{{ else }}" + opening + "{{ end }}"
    return (
        '{{ $first := true }}{{ $role := "" }}{{ range $i, $_ := .Messages }}'
        '{{ if eq .Role "assistant" }}' + answer + "{{ .Content }}"
        '{{ else if eq .Role "user" }}' + place + "{{ .Content }}{{ $first = false }}{{ end }}"
        "{{ $role = .Role }}{{ end }}"
        '{{ if ne $role "assistant" }}' + closing + "{{ end }}"
    )


def check_go_template(text: str) -> None:
    """Refuse a person's own TEMPLATE that never shows the question. Raises UserError `ollama_template_loses`."""
    if ".Messages" not in text and ".Prompt" not in text:
        raise UserError("ollama_template_loses")


def read_chat_format(folder: Path, template: str | None = None) -> ChatFormat:
    """Return a model folder's chat template, or `template` in its place, and its tokens' texts.

    Raises UserError `model_without_chat_template`, `store_file_unreadable`.
    """
    settings = _read(folder / "tokenizer_config.json")
    chosen = template or _template(folder, settings)
    if not chosen:
        raise UserError("model_without_chat_template")
    names = {entry["id"]: entry["content"] for entry in _read(folder / "tokenizer.json").get("added_tokens", [])}
    ids: list[int] = []
    for file in ("generation_config.json", "config.json"):
        found = _read(folder / file).get("eos_token_id")
        ids += found if isinstance(found, list) else [] if found is None else [found]
    ends = [_token(settings.get("eos_token")), *(names.get(number, "") for number in ids)]
    return ChatFormat(chosen, _token(settings.get("bos_token")), tuple(dict.fromkeys(end for end in ends if end)))


def _template(folder: Path, settings: dict[str, Any]) -> str:
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    found = _read(folder / "chat_template.json").get("chat_template") or settings.get("chat_template") or ""
    if isinstance(found, list):  # several by name
        found = next((entry["template"] for entry in found if entry.get("name") == "default"), "")
    return str(found)


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _token(entry: Any) -> str:
    return str(entry.get("content") or "") if isinstance(entry, dict) else str(entry or "")


def _conversation(questions: int, system: bool) -> list[dict[str, str]]:
    messages = [_SYSTEM] if system else []
    for number in range(questions):
        messages.append({"role": "user", "content": _ASKED[number]})
        if number < questions - 1:
            messages.append({"role": "assistant", "content": _ANSWERED[number]})
    return messages


def _written(write: Write, messages: list[dict[str, str]]) -> str:
    """Return what the model's template writes, nothing where it refuses."""
    try:
        return write(messages)
    except UserError:
        return ""


def _around(write: Write, messages: list[dict[str, str]]) -> list[str] | None:
    """Return the texts before, between and behind the contents, None where the template refuses or loses one."""
    rest, texts = _written(write, messages), []
    for message in messages:
        before, found, rest = rest.partition(message["content"])
        if not found:
            return None
        texts.append(before)
    return [*texts, rest]


def _name(literals: Literals, tokens: Sequence[str]) -> str:
    """Return the name of the format whose marks all stand in the literals; plain where nothing but space and the model's tokens does."""
    seen = literals.opening + literals.answer + literals.question + literals.closing
    for name, marks in FORMATS.items():
        if all(mark in seen for mark in marks):
            return "llama2" if _LLAMA2_MARK in literals.system_opening else name
    for token in tokens:
        seen = seen.replace(token, "") if token else seen
    return "" if seen.strip() else "plain"


def _escape(text: str) -> str:
    """Write a literal so that Go reads no action into it and a Modelfile's triple quotes stay whole."""
    return text.replace("{", '{{ "{" }}').replace('"""', '{{ "\\"\\"\\"" }}')
