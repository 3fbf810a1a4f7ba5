"""Prompt formats as text, compared with the formats' own published shapes; a person's own is checked before it is used."""

from __future__ import annotations

import pytest

from tunesmith.data.chat_templates import NAMES, TEMPLATES, check_template, render_text, template_text
from tunesmith.errors import UserError
from tunesmith.training.config import TrainConfig

TURNS = [
    {"role": "system", "content": "Be kind."}, {"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"},
    {"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"},
]  # fmt: skip
WRITTEN = {
    # the model cards' own examples, with <s> and </s> for the tokens that begin and end a text
    "llama2": "<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nOne? [/INST] 1 </s><s>[INST] Two? [/INST] 2 </s>",
    "mistral": "<s>[INST] Be kind.\n\nOne?[/INST] 1</s>[INST] Two?[/INST] 2</s>",
    "plain": "<s>Be kind.\nOne?\n1</s>\nTwo?\n2</s>\n",
    "alpaca": "<s>Be kind.\n\n### Instruction:\nOne?\n\n### Response:\n1</s>\n\n### Instruction:\nTwo?\n\n### Response:\n2</s>\n\n",
    "japanese": "<s>Be kind.\n\n### 指示:\nOne?\n\n### 回答:\n1</s>\n\n### 指示:\nTwo?\n\n### 回答:\n2</s>\n\n",
}
ENDS = {"chatml": "<|im_end|>", "qwen": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "phi": "<|end|>"}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_exact_text(name: str) -> None:
    assert render_text(TEMPLATES[name], TURNS) == WRITTEN[name]


def test_chatml_is_the_demo_models_own_shape() -> None:
    written = render_text(TEMPLATES["chatml"], TURNS[:3], eos_token="<|im_end|>")
    assert written == "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n1<|im_end|>\n"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_answer_ends_once(name: str) -> None:
    end = ENDS.get(name, "</s>")
    written = render_text(TEMPLATES[name], TURNS, eos_token=end)
    assert end * 2 not in written
    for answer in ("1", "2"):
        assert f"{answer}{end}" in written.replace(" </s>", "</s>")
    foreign = render_text(TEMPLATES[name], TURNS, eos_token="<eos>")  # a tokenizer whose end token is another one
    assert foreign.count("<eos>") == 2


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_prompt_is_the_beginning_of_the_answered_text(name: str) -> None:
    asked = render_text(TEMPLATES[name], TURNS[:4], add_generation_prompt=True)
    assert render_text(TEMPLATES[name], TURNS).startswith(asked.rstrip(" "))


def test_every_name_can_be_chosen() -> None:
    assert [name for name in NAMES if name not in TEMPLATES] == ["model", "custom"]
    assert template_text("model") is None
    assert TrainConfig(chat_template="alpaca").template == TEMPLATES["alpaca"]
    assert TrainConfig(chat_template="custom", custom_template=TEMPLATES["plain"]).template == TEMPLATES["plain"]


@pytest.mark.parametrize(
    ("text", "code", "facts"),
    [
        ("  ", "template_empty", {}),
        ("x" * 20_001, "template_too_long", {"length": 20_001, "most": 20_000}),
        ("{% for m in messages %}\n{{ m['content'] }}", "template_broken", {"line": 2}),
        ("{% for m in messages %}{{ m['content'] | nonsense }}{% endfor %}", "template_broken", {"line": 1}),
        ("{{ messages[0]['content'] }}", "template_loses", {"part": "assistant"}),
        ("{{ messages.__class__.__mro__[1].__subclasses__() }}", "template_broken", {}),
        ("{% for a in range(99999999) %}{{ a }}{% endfor %}", "template_broken", {}),
        ("{{ raise_exception('roles must alternate') }}", "template_broken", {"reason": "roles must alternate"}),
    ],
)  # fmt: skip
def test_an_own_template_is_checked(text: str, code: str, facts: dict[str, object]) -> None:
    with pytest.raises(UserError) as caught:
        check_template(text)
    assert caught.value.code == code
    assert facts.items() <= caught.value.facts.items()
