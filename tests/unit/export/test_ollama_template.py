"""Chat templates as Go templates: what both write is the same, text for text, for our formats and for templates as models bring them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.go_template import execute
from tunesmith.data.chat_templates import TEMPLATES
from tunesmith.errors import UserError
from tunesmith.export.ollama_template import ChatFormat, check_go_template, read_chat_format, to_go_template
from tunesmith.system.paths import DEMO_MODEL

MARKS = {
    "chatml": ("", "<|im_end|>"), "qwen": ("", "<|im_end|>"), "llama2": ("<s>", "</s>"), "llama3": ("<|begin_of_text|>", "<|eot_id|>"),
    "mistral": ("<s>", "</s>"), "gemma": ("<bos>", "<end_of_turn>"), "phi": ("", "<|end|>"), "alpaca": ("<s>", "</s>"),
    "japanese": ("<s>", "</s>"), "plain": ("<s>", "</s>"),
}  # fmt: skip
WORDS = ['Say {{ .Role }} "as is".\n\n# A title', "はい、「わかりました」。", "7 + 5 = ?\nAnd why?", "Because.", 'Thanks {x} """']
BRIEF = {"role": "system", "content": "Be brief.\nBe kind."}

# Templates in the manner of published models: a default system message, a trimmed and folded one, one before the last question, a refusal.
WITH_DEFAULT = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}"
    "{%- else %}{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{%- endif %}"
    "{%- for m in messages if m.role != 'system' %}{{- '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
SYSTEM_LAST = (
    "{%- if messages[0].role == 'system' %}{%- set system = messages[0].content %}{%- set turns = messages[1:] %}"
    "{%- else %}{%- set turns = messages %}{%- endif %}{{- bos_token }}"
    "{%- for m in turns %}{%- if m.role == 'user' %}{%- if loop.last and system is defined %}"
    "{{- '[INST] ' + system + '\n\n' + m.content + '[/INST]' }}"
    "{%- else %}{{- '[INST] ' + m.content + '[/INST]' }}{%- endif %}{%- else %}{{- ' ' + m.content + eos_token }}{%- endif %}{%- endfor %}"
)
REFUSES_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ '<start_of_turn>' }}"
    "{{ ('model' if m.role == 'assistant' else 'user') + '\n' + m.content | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
DATED = (
    "{{- bos_token }}{{- '<|start_header_id|>system<|end_header_id|>\n\nToday: ' }}"
    "{{- (strftime_now('%Y') if strftime_now is defined else '2024') }}"
    "{%- if messages[0].role == 'system' %}{{- '\n\n' + messages[0].content }}"
    "{%- set messages = messages[1:] %}{%- endif %}{{- '<|eot_id|>' }}"
    "{%- for m in messages %}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
THINKING = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] + '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n<think>\n' }}{%- endif %}"
)
BRACES = (
    """{% for m in messages %}{{ '{"role": "' + m.role + '", "says": {{"' + '""' + m.content + '"}}}\n' }}{% endfor %}"""
    """{% if add_generation_prompt %}{{ '{"role": "assistant", "says": {' }}{% endif %}"""
)
PUBLISHED = {
    "braces and quotes": (BRACES, "", "</s>", "", True),
    "a default system message": (WITH_DEFAULT, "", "<|im_end|>", "chatml", True),
    "the system message last": (SYSTEM_LAST, "<s>", "</s>", "mistral", True),
    "no system message": (REFUSES_SYSTEM, "<bos>", "<end_of_turn>", "gemma", False),
    "a date": (DATED, "<|begin_of_text|>", "<|eot_id|>", "llama3", True),
    "thoughts": (THINKING, "", "<|im_end|>", "chatml", True),
}


def conversations(system: bool) -> list[list[dict[str, str]]]:
    """Return conversations of one to five turns with contents that the converter never saw."""
    found = []
    for length, brief in itertools.product((1, 3, 5), {False, system}):
        turns = [{"role": "assistant" if n % 2 else "user", "content": WORDS[n]} for n in range(length)]
        found.append([BRIEF, *turns] if brief else turns)
    return found


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("adds_bos", [True, False])
def test_our_formats_in_go_write_the_same(name: str, adds_bos: bool) -> None:
    bos, eos = MARKS[name]
    chat = ChatFormat(TEMPLATES[name], bos, (eos,))
    found = to_go_template(chat, adds_bos)
    assert found.format == {"qwen": "chatml"}.get(name, name)
    assert found.takes_system
    begin = bos if adds_bos and found.begins_with_bos else ""
    for messages in conversations(system=True):
        assert begin + execute(found.text, messages) == chat.write(messages)


@pytest.mark.parametrize("kind", PUBLISHED)
def test_templates_of_models_in_go_write_the_same(kind: str) -> None:
    template, bos, eos, name, takes_system = PUBLISHED[kind]
    chat = ChatFormat(template, bos, (eos,))
    found = to_go_template(chat, adds_bos=True)
    assert (found.format, found.takes_system, found.begins_with_bos) == (name, takes_system, bool(bos))
    for messages in conversations(takes_system):
        assert bos + execute(found.text, messages) == chat.write(messages)


def test_a_system_message_without_a_place_stands_before_the_question() -> None:
    found = to_go_template(ChatFormat(REFUSES_SYSTEM, "<bos>", ("<end_of_turn>",)), adds_bos=True)
    written = execute(found.text, [BRIEF, {"role": "user", "content": "Hi"}])
    assert written == "<start_of_turn>user\nBe brief.\nBe kind.\n\nHi<end_of_turn>\n<start_of_turn>model\n"


def test_an_answer_that_was_begun_is_gone_on_with() -> None:
    found = to_go_template(ChatFormat(TEMPLATES["chatml"], "", ("<|im_end|>",)), adds_bos=False)
    written = execute(found.text, [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel"}])
    assert written == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHel"


def test_generation_stops_at_the_models_end_tokens_and_the_formats_marks() -> None:
    found = to_go_template(ChatFormat(TEMPLATES["chatml"], "", ("<|endoftext|>", "<|im_end|>")), adds_bos=False)
    assert found.stops == ("<|endoftext|>", "<|im_end|>", "<|im_start|>")
    assert to_go_template(ChatFormat(TEMPLATES["plain"], "", ("</s>",)), adds_bos=False).stops == ("</s>",)


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}Turn {{ loop.index }}: {{ m.content }}\n{% endfor %}",  # counts the turns
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
        "{% for m in messages[-1:] %}{{ m.content }}{% endfor %}",  # forgets the conversation
        "{{ nothing.at.all }}",
    ],
)
def test_what_go_would_write_otherwise_is_refused(template: str) -> None:
    with pytest.raises(UserError) as refused:
        to_go_template(ChatFormat(template, "", ("</s>",)), adds_bos=False)
    assert refused.value.code == "ollama_template_unknown"


def test_a_models_folder_tells_its_format(tmp_path: Path) -> None:
    found = read_chat_format(DEMO_MODEL)
    assert (found.bos, found.eos[0]) == ("", "<|im_end|>")
    assert to_go_template(found, adds_bos=False).format == "chatml"
    write(tmp_path / "tokenizer_config.json", {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": "old"})
    write(tmp_path / "tokenizer.json", {"added_tokens": [{"id": 7, "content": "<|end|>"}, {"id": 2, "content": "</s>"}]})
    write(tmp_path / "generation_config.json", {"eos_token_id": [2, 7]})
    (tmp_path / "chat_template.jinja").write_text("new", encoding="utf-8")
    assert read_chat_format(tmp_path) == ChatFormat("new", "<s>", ("</s>", "<|end|>"))
    (tmp_path / "chat_template.jinja").unlink()
    write(tmp_path / "tokenizer_config.json", {"chat_template": [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]})
    assert read_chat_format(tmp_path).template == "d"
    assert read_chat_format(tmp_path, "mine").template == "mine"
    write(tmp_path / "tokenizer_config.json", {})
    with pytest.raises(UserError) as refused:
        read_chat_format(tmp_path)
    assert refused.value.code == "model_without_chat_template"


def test_a_template_by_hand_must_show_the_question() -> None:
    check_go_template("{{ .System }} {{ .Prompt }}")
    with pytest.raises(UserError) as refused:
        check_go_template("{{ .System }}")
    assert refused.value.code == "ollama_template_loses"


def write(path: Path, record: Any) -> None:
    path.write_bytes(orjson.dumps(record))
