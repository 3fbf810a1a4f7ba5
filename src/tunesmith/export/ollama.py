"""What a model in Ollama is made of, and the same as a Modelfile for `ollama create`. Knows no server.

The Modelfile's form: https://docs.ollama.com/modelfile (as read by ollama's parser/parser.go).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tunesmith.errors import UserError

Parameter = str | int | float | bool
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
_NAME = re.compile(rf"({_PART}/)?{_PART}(:{_PART})?")


@dataclass(frozen=True)
class OllamaModel:
    """The prompt format (Go), where answers stop, the system message that is used when a conversation has none, other parameters.

    The names of `parameters` are Ollama's: `temperature`, `num_ctx`, `top_p`, `repeat_penalty` …
    """

    template: str
    stops: tuple[str, ...] = ()
    system: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def as_request(self) -> dict[str, object]:
        """Return the fields of /api/create."""
        parameters: dict[str, object] = dict(self.parameters)
        if self.stops:
            parameters["stop"] = list(self.stops)
        fields = {"template": self.template, "system": self.system, "parameters": parameters}
        return {name: value for name, value in fields.items() if value}


def full_name(name: str) -> str:
    """Return a model's name with its tag, `latest` where it has none. Raises UserError `ollama_name_wrong`."""
    if not _NAME.fullmatch(name):
        raise UserError("ollama_name_wrong", name=name[:200])
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


def modelfile(gguf_name: str, model: OllamaModel) -> str:
    """Return a Modelfile that lies beside the GGUF file. Raises UserError `modelfile_cannot_quote`."""
    lines = [f"FROM ./{gguf_name}", f"TEMPLATE {_quote(model.template, 'template')}"]
    if model.system:
        lines.append(f"SYSTEM {_quote(model.system, 'system')}")
    lines += [f"PARAMETER stop {_quote(stop, 'stop')}" for stop in model.stops]
    lines += [f"PARAMETER {name} {str(value).lower() if isinstance(value, bool) else value}" for name, value in model.parameters.items()]
    return "\n".join(lines) + "\n"


def _quote(text: str, part: str) -> str:
    """Return a value in quotes. Ollama ends a triple-quoted value at the first line that ends in three quotes; there is no escape."""
    if any(line.rstrip().endswith('"""') for line in re.split(r"[\r\n]", text)[:-1]):
        raise UserError("modelfile_cannot_quote", part=part)
    plain = not re.search(r"[\r\n\"]", text)
    return f'"{text}"' if plain else f'"""{text}"""'
