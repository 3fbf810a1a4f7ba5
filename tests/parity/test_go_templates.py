"""Our templates for Ollama, executed by Go's own text/template: against the models' templates and against our small evaluator."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.go_template import execute
from tests.unit.export.test_ollama_template import MARKS, PUBLISHED, conversations
from tunesmith.data.chat_templates import TEMPLATES
from tunesmith.export.ollama_template import ChatFormat, to_go_template

PROGRAM = """
package main

import (
	"encoding/json"
	"os"
	"strings"
	"text/template"
)

type Message struct{ Role, Content string }
type Case struct {
	Template string
	Messages []Message
}

func main() {
	var cases []Case
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	written := []string{}
	for _, c := range cases {
		var system []string
		for _, m := range c.Messages {
			if m.Role == "system" {
				system = append(system, m.Content)
			}
		}
		var out strings.Builder
		parsed := template.Must(template.New("").Option("missingkey=zero").Parse(c.Template))
		values := map[string]any{"Messages": c.Messages, "System": strings.Join(system, "\\n\\n"), "Response": ""}
		if err := parsed.Execute(&out, values); err != nil {
			panic(err)
		}
		written = append(written, out.String())
	}
	json.NewEncoder(os.Stdout).Encode(written)
}
"""


def formats() -> list[tuple[ChatFormat, bool]]:
    ours = [(ChatFormat(text, MARKS[name][0], (MARKS[name][1],)), True) for name, text in TEMPLATES.items()]
    return ours + [(ChatFormat(template, bos, (eos,)), system) for template, bos, eos, _, system in PUBLISHED.values()]


@pytest.mark.skipif(not shutil.which("go"), reason="needs Go, which Ollama's templates are written for")
def test_go_itself_writes_what_the_models_templates_write(tmp_path: Path) -> None:
    cases: list[dict[str, Any]] = []
    expected, small = [], []
    for chat, system in formats():
        text = to_go_template(chat, adds_bos=False).text
        for messages in conversations(system):
            cases.append({"Template": text, "Messages": [{"Role": m["role"], "Content": m["content"]} for m in messages]})
            expected.append(chat.write(messages))
            small.append(execute(text, messages))
    (tmp_path / "main.go").write_text(PROGRAM, encoding="utf-8")
    environment = os.environ | {"HOME": str(tmp_path), "GOCACHE": str(tmp_path / "cache"), "GO111MODULE": "off", "GOTOOLCHAIN": "local"}
    command = [str(shutil.which("go")), "run", "main.go"]
    result = subprocess.run(
        command, cwd=tmp_path, input=orjson.dumps(cases), env=environment, capture_output=True, timeout=240, check=False
    )
    assert result.returncode == 0, result.stderr.decode()[-2000:]
    written = orjson.loads(result.stdout)
    assert len(written) == len(cases) > 80
    assert written == expected
    assert written == small
