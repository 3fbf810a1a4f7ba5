"""A model for Ollama as a Modelfile, read back by the rules of Ollama's own parser, and as the fields of a request."""

from __future__ import annotations

import pytest

from tunesmith.errors import UserError
from tunesmith.export.ollama import OllamaModel, full_name, modelfile


def read_modelfile(text: str) -> list[tuple[str, str]]:
    """Return (command, value): a value goes on over line ends until its quotes are closed, as in ollama's parser/parser.go."""
    found: list[tuple[str, str]] = []
    command, value = "", ""
    for line in text.splitlines(keepends=True):
        if not command:
            command, _, value = line.partition(" ")
            if command == "PARAMETER":
                name, _, value = value.partition(" ")
                command = f"PARAMETER {name}"
        else:
            value += line
        shown = value.strip()
        for quotes in ('"""', '"'):
            if shown.startswith(quotes):
                closed = len(shown) >= 2 * len(quotes) and shown.endswith(quotes)
                shown = shown[len(quotes) : -len(quotes)]
                break
        else:
            closed = True
        if closed:
            found.append((command, shown))
            command = ""
    assert not command, "unclosed"
    return found


@pytest.mark.parametrize("system", ["Be brief.", 'Say "yes"', 'He said "no"', "a\n\nb ", ' x "" ', '"""in front\nb', "日本語\r\nで"])
def test_a_modelfile_reads_back(system: str) -> None:
    template = "{{ .System }}<|im_start|>\n{{ .Prompt }}\n"
    model = OllamaModel(template, ("<|im_end|>", "\n###", 'a"b'), system, {"temperature": 0.5, "num_ctx": 4096, "penalize_newline": False})
    read = read_modelfile(modelfile("tiny.gguf", model))
    assert read == [
        ("FROM", "./tiny.gguf"), ("TEMPLATE", template), ("SYSTEM", system), ("PARAMETER stop", "<|im_end|>"), ("PARAMETER stop", "\n###"),
        ("PARAMETER stop", 'a"b'), ("PARAMETER temperature", "0.5"), ("PARAMETER num_ctx", "4096"), ("PARAMETER penalize_newline", "false"),
    ]  # fmt: skip


@pytest.mark.parametrize("system", ['a """\nb', '"""\nb', 'a\r"""  \nb'])
def test_what_a_modelfile_cannot_hold_is_refused(system: str) -> None:
    with pytest.raises(UserError) as refused:
        modelfile("tiny.gguf", OllamaModel("{{ .Prompt }}", system=system))
    assert (refused.value.code, refused.value.facts) == ("modelfile_cannot_quote", {"part": "system"})


def test_a_request_holds_only_what_is_set() -> None:
    assert OllamaModel("t").as_request() == {"template": "t"}
    assert OllamaModel("t", ("a", "b"), "s", {"num_ctx": 1}).as_request() == {
        "template": "t", "system": "s", "parameters": {"num_ctx": 1, "stop": ["a", "b"]},
    }  # fmt: skip


@pytest.mark.parametrize(("name", "full"), [("a", "a:latest"), ("a:q4", "a:q4"), ("me/a.b-c_d", "me/a.b-c_d:latest"), ("me/a:1", "me/a:1")])
def test_names_have_tags(name: str, full: str) -> None:
    assert full_name(name) == full


@pytest.mark.parametrize("name", ["", "a b", "a:", ":b", "../a", "a/b/c", "-a", "日本", "a" * 81, "a:b:c", "http://x/a"])
def test_names_that_ollama_refuses(name: str) -> None:
    with pytest.raises(UserError) as refused:
        full_name(name)
    assert refused.value.code == "ollama_name_wrong"
