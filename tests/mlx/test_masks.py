"""Which tokens are learned: derived by hand from the demo model's ChatML template."""

from __future__ import annotations

import json

import pytest

from tunesmith.data.chat_templates import TEMPLATES
from tunesmith.data.formats import Row
from tunesmith.data.row_kinds import canonical_row
from tunesmith.data.templates import encode_row
from tunesmith.errors import UserError
from tunesmith.models.loading import LoadedModel

CHAT = {
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi there."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "Pip."},
    ]
}


def learned_text(base: LoadedModel, row: dict[str, object], loss_on: str = "all_answers") -> list[str]:
    """Return the runs of learned tokens as text."""
    encoded = encode_row(row, base.tokenizer, loss_on)
    runs: list[list[int]] = []
    for i, (token, learned) in enumerate(zip(encoded.ids, encoded.supervised, strict=True)):
        if learned and (i == 0 or not encoded.supervised[i - 1]):
            runs.append([])
        if learned:
            runs[-1].append(token)
    return [base.tokenizer.decode(run) for run in runs]


def test_every_assistant_turn_is_learned_up_to_its_end_token(base: LoadedModel) -> None:
    assert learned_text(base, CHAT) == ["Hi there.<|im_end|>", "Pip.<|im_end|>"]


def test_without_the_mask_everything_is_learned(base: LoadedModel) -> None:
    (text,) = learned_text(base, CHAT, loss_on="everything")
    assert text.startswith("<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user")


def test_prompt_and_completion_is_a_chat_of_two_turns(base: LoadedModel) -> None:
    assert learned_text(base, {"prompt": "Hello!", "completion": "Hi."}) == ["Hi.<|im_end|>"]


def test_plain_text_is_learned_whole_and_ends(base: LoadedModel) -> None:
    encoded = encode_row({"text": "One day."}, base.tokenizer)
    assert all(encoded.supervised)
    assert base.tokenizer.decode(encoded.ids) == "One day.<|im_end|>"


def test_japanese_survives_the_tokens(base: LoadedModel) -> None:
    assert learned_text(base, {"prompt": "日本の首都は?", "completion": "東京です。"}) == ["東京です。<|im_end|>"]


class Rewriting:
    """A template that drops the reasoning of earlier turns, as some models' do."""

    eos_token_id = 0
    chat_template = "x"

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        del add_special_tokens
        return [ord(c) for c in text]

    def apply_chat_template(self, messages: list[dict[str, str]], add_generation_prompt: bool = False, **_: object) -> list[int]:
        ids: list[int] = []
        for number, message in enumerate(messages):
            text = message["content"]
            if message["role"] == "assistant" and number < len(messages) - 1:
                text = text.rpartition("|")[2]
            ids += [ord(message["role"][0].upper()), *self.encode(text), 0]
        return ids + ([ord("A")] if add_generation_prompt else [])


def test_a_rewriting_template_never_learns_another_turn() -> None:
    messages = [
        {"role": "user", "content": "q1"}, {"role": "assistant", "content": "think|a1"},
        {"role": "user", "content": "q2"}, {"role": "assistant", "content": "hm|a2"},
    ]  # fmt: skip
    encoded = encode_row({"messages": messages}, Rewriting())
    learned = "".join(chr(t) for t, s in zip(encoded.ids, encoded.supervised, strict=True) if s)
    assert learned.endswith("hm|a2\0")
    assert "q" not in learned
    assert "U" not in learned


def test_a_chosen_format_is_written_learned_and_ended(base: LoadedModel) -> None:
    encoded = encode_row(CHAT, base.tokenizer, template=TEMPLATES["alpaca"])
    written = base.tokenizer.decode(encoded.ids)
    assert written.startswith("Be short.\n\n### Instruction:\nHello!\n\n### Response:\nHi there.<|im_end|>")
    assert encoded.learns_to_end(base.tokenizer.eos_token_id)
    learned = [token for token, counts in zip(encoded.ids, encoded.supervised, strict=True) if counts]
    assert base.tokenizer.decode(learned) == "Hi there.<|im_end|>Pip.<|im_end|>"


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_format_learns_both_answers_and_no_question(base: LoadedModel, name: str) -> None:
    encoded = encode_row(CHAT, base.tokenizer, template=TEMPLATES[name])
    text = base.tokenizer.decode([token for token, counts in zip(encoded.ids, encoded.supervised, strict=True) if counts])
    assert "Hi there." in text
    assert "Pip." in text
    assert "Hello!" not in text
    assert "Who are you?" not in text
    assert encoded.learns_to_end(base.tokenizer.eos_token_id)


def test_a_format_without_an_end_is_noticed(base: LoadedModel) -> None:
    endless = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    assert not encode_row(CHAT, base.tokenizer, template=endless).learns_to_end(base.tokenizer.eos_token_id)


def test_a_format_that_refuses_the_roles_is_a_named_error(base: LoadedModel) -> None:
    with pytest.raises(UserError) as caught:
        encode_row(CHAT, base.tokenizer, template="{{ raise_exception('no system message') }}")
    assert (caught.value.code, caught.value.facts["reason"]) == ("template_broken", "no system message")


def test_tools_reach_the_template(base: LoadedModel) -> None:
    template = "{{ tools | length }} tools {% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    row = {**CHAT, "tools": [{"type": "function", "function": {"name": "f"}}]}
    expected = encode_row(row, base.tokenizer, template=template).ids
    assert base.tokenizer.decode(expected).startswith("1 tools")
    _, as_in_a_table, problems = canonical_row(Row(1, {**row, "tools": json.dumps(row["tools"])}))
    assert (problems, encode_row(as_in_a_table or {}, base.tokenizer, template=template).ids) == ([], expected)


def test_a_column_called_tools_of_other_rows_means_nothing(base: LoadedModel) -> None:
    template = "{{ (tools or []) | length }} tools {% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    row = {"prompt": "Which?", "completion": "A hammer.", "tools": "hammer, saw"}
    assert base.tokenizer.decode(encode_row(row, base.tokenizer, template=template).ids).startswith("0 tools")
