"""Prompt formats by name, as Jinja texts, and the check of a person's own. Imports no tokenizer: its own template is the default.

Each writes the tokenizer's end-of-text token behind every answer, unless the format's own mark is that token: a model that never
learned to end would talk on.
"""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tunesmith.errors import UserError

OWN, CUSTOM = "model", "custom"
MOST_CHARACTERS = 20_000

_EOS = "{{ eos_token if eos_token }}"


def _turns(user: str, assistant: str, system: str, begin: str = "", answer_next: str = "", tool: str = "") -> str:
    """Return a template of one line per role; `%` stands for the content."""

    def spell(text: str) -> str:
        return text.replace("%", "{{ message['content'] }}")

    return (
        begin
        + "{% for message in messages %}{% if message['role'] == 'system' %}" + spell(system)
        + "{% elif message['role'] == 'assistant' %}" + spell(assistant)
        + (("{% elif message['role'] == 'tool' %}" + spell(tool)) if tool else "")
        + "{% else %}" + spell(user) + "{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}" + answer_next + "{% endif %}"
    )  # fmt: skip


def _marked(mark: str, close: str) -> str:
    """Write the end-of-text token behind a closing mark that is not that token."""
    return close + "{{ eos_token if eos_token and eos_token != '" + mark + "' }}"


_BOS = "{{ bos_token if bos_token }}"
_CHATML_END = _marked("<|im_end|>", "<|im_end|>") + "\n"
_LLAMA3_END = _marked("<|eot_id|>", "<|eot_id|>")
_GEMMA_END = _marked("<end_of_turn>", "<end_of_turn>") + "\n"
_PHI_END = _marked("<|end|>", "<|end|>") + "\n"

_INST_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
)
_LLAMA2 = (
    _INST_SYSTEM + "{% for message in turns %}{% if message['role'] == 'assistant' %} {{ message['content'] }} " + _EOS
    + "{% else %}" + _BOS + "[INST] {% if loop.first and system %}<<SYS>>\n{{ system }}\n<</SYS>>\n\n{% endif %}"
    "{{ message['content'] }} [/INST]{% endif %}{% endfor %}"
)  # fmt: skip
_MISTRAL = (
    _INST_SYSTEM + _BOS + "{% for message in turns %}{% if message['role'] == 'assistant' %} {{ message['content'] }}" + _EOS
    + "{% else %}[INST] {% if loop.first and system %}{{ system }}\n\n{% endif %}{{ message['content'] }}[/INST]{% endif %}{% endfor %}"
)  # fmt: skip
_GEMMA = (
    _INST_SYSTEM + _BOS + "{% for message in turns %}{% if message['role'] == 'assistant' %}<start_of_turn>model\n{{ message['content'] }}"
    + _GEMMA_END + "{% else %}<start_of_turn>user\n{% if loop.first and system %}{{ system }}\n\n{% endif %}{{ message['content'] }}"
    "<end_of_turn>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)  # fmt: skip
_ALPACA_HEAD = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
_JAPANESE_HEAD = "以下は、タスクを説明する指示です。要求を適切に満たす応答を書きなさい。\n\n"

TEMPLATES = {
    "chatml": _turns(
        "<|im_start|>user\n%<|im_end|>\n", "<|im_start|>assistant\n%" + _CHATML_END, "<|im_start|>system\n%<|im_end|>\n",
        answer_next="<|im_start|>assistant\n", tool="<|im_start|>tool\n%<|im_end|>\n",
    ),
    "qwen": _turns(
        "<|im_start|>user\n%<|im_end|>\n", "<|im_start|>assistant\n%" + _CHATML_END, "<|im_start|>system\n%<|im_end|>\n",
        begin="{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}",
        answer_next="<|im_start|>assistant\n", tool="<|im_start|>user\n<tool_response>\n%\n</tool_response><|im_end|>\n",
    ),
    "llama2": _LLAMA2,
    "llama3": _turns(
        "<|start_header_id|>user<|end_header_id|>\n\n%<|eot_id|>", "<|start_header_id|>assistant<|end_header_id|>\n\n%" + _LLAMA3_END,
        "<|start_header_id|>system<|end_header_id|>\n\n%<|eot_id|>", begin=_BOS,
        answer_next="<|start_header_id|>assistant<|end_header_id|>\n\n", tool="<|start_header_id|>ipython<|end_header_id|>\n\n%<|eot_id|>",
    ),
    "mistral": _MISTRAL,
    "gemma": _GEMMA,
    "phi": _turns(
        "<|user|>\n%<|end|>\n", "<|assistant|>\n%" + _PHI_END, "<|system|>\n%<|end|>\n", answer_next="<|assistant|>\n",
    ),
    "alpaca": _turns(
        "### Instruction:\n%\n\n", "### Response:\n%" + _EOS + "\n\n", "%\n\n",
        begin=_BOS + "{% if messages[0]['role'] != 'system' %}" + _ALPACA_HEAD + "{% endif %}", answer_next="### Response:\n",
    ),
    "japanese": _turns(
        "### 指示:\n%\n\n", "### 回答:\n%" + _EOS + "\n\n", "%\n\n",
        begin=_BOS + "{% if messages[0]['role'] != 'system' %}" + _JAPANESE_HEAD + "{% endif %}", answer_next="### 回答:\n",
    ),
    "plain": _turns("%\n", "%" + _EOS + "\n", "%\n", begin=_BOS),
}  # fmt: skip
NAMES = (OWN, *TEMPLATES, CUSTOM)

_PROBE = [
    {"role": "system", "content": "⟦system⟧"}, {"role": "user", "content": "⟦user⟧"}, {"role": "assistant", "content": "⟦answer⟧"},
]  # fmt: skip


def template_text(name: str, custom: str = "") -> str | None:
    """Return a format's Jinja text, None for the model's own. Raises UserError `template_…` for a person's own that cannot be used."""
    if name == OWN:
        return None
    if name != CUSTOM:
        return TEMPLATES[name]
    check_template(custom)
    return custom


def check_template(text: str) -> None:
    """Refuse a template that does not parse, does not render, or loses the question or the answer.

    Raises UserError `template_empty`, `template_too_long`, `template_broken` (line, reason), `template_loses` (part).
    """
    if not text.strip():
        raise UserError("template_empty")
    if len(text) > MOST_CHARACTERS:
        raise UserError("template_too_long", length=len(text), most=MOST_CHARACTERS)
    shown = render_text(text, _PROBE[1:])
    for message in _PROBE[1:]:
        if message["content"] not in shown:
            raise UserError("template_loses", part=message["role"])


def render_text(text: str, messages: list[dict[str, str]], **values: Any) -> str:
    """Return a conversation as a template writes it, in a sandbox as transformers does. Raises UserError `template_broken`."""

    def refuse(reason: str) -> None:
        raise TemplateError(reason)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals["raise_exception"] = refuse
    try:
        template = environment.from_string(text)
        return str(
            template.render(messages=messages, **{"eos_token": "</s>", "bos_token": "<s>", "add_generation_prompt": False, **values})
        )
    except TemplateSyntaxError as error:
        raise UserError("template_broken", line=error.lineno, reason=str(error.message)[:200]) from error
    except Exception as error:  # a template may fail in any way that its expressions can
        raise UserError("template_broken", line=1, reason=str(error)[:200] or type(error).__name__) from error
