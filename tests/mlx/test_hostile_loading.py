"""Folders that were made to harm or do not fit, through the real loading in a process of its own: loaded or refused, no code is run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunesmith.system.paths import DEMO_MODEL

Change = Callable[[Path], Any]
WEIGHTS, TOKENIZER = "model_weights_broken", "model_tokenizer_broken"
LOAD_EACH = """
import sys
from pathlib import Path
from tunesmith.models.blas import prepare_worker
prepare_worker()
from tunesmith.errors import UserError
from tunesmith.models.loading import load_model
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load_model(path)
        print(path.name, "loaded")
    except UserError as error:
        print(path.name, error.code)
"""


class Bomb:
    """A pickle that makes a folder when it is read."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def changed(name: str, **changes: Any) -> Change:
    """Change a JSON file; None takes a key out."""

    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({key: value for key, value in found.items() if value is not None}))

    return change


def unchanged(folder: Path) -> None:
    """Leave a folder as it is."""


def cut(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])


def not_a_number(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-2:] = struct.pack("<H", 0x7E00)
    (folder / "model.safetensors").write_bytes(content)


def a_pipe(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    os.mkfifo(folder / "tokenizer.json")


FOLDERS: dict[str, tuple[Change, str]] = {
    "honest": (unchanged, "loaded"),
    "layers": (changed("config.json", num_hidden_layers=2_000_000), "model_config_unbounded"),
    "code": (changed("config.json", model_file="evil.py"), "model_runs_code"),
    "tokenizer-code": (changed("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]}), "model_runs_code"),
    "cut": (cut, WEIGHTS),
    "pipe": (a_pipe, "model_file_not_plain"),
    "one-layer-more": (changed("config.json", num_hidden_layers=5), WEIGHTS),
    "wider": (changed("config.json", hidden_size=512), WEIGHTS),
    "no-heads": (changed("config.json", num_attention_heads=0, head_dim=None), WEIGHTS),
    "no-width": (changed("config.json", hidden_size=None), WEIGHTS),
    "no-model": (changed("config.json", model_type="rope_utils"), WEIGHTS),
    "unknown": (changed("config.json", model_type="evil"), "model_type_unsupported"),
    "nan": (not_a_number, WEIGHTS),
    "strange-tokenizer": (changed("tokenizer.json", model={"type": "BPE", "vocab": {"a": -1}, "merges": [["a", "b"]]}), TOKENIZER),
    "strange-template": (changed("tokenizer_config.json", chat_template_type="..evil"), TOKENIZER),
}  # fmt: skip


def test_what_passes_the_check_is_loaded_or_refused_and_runs_no_code(tmp_path: Path) -> None:
    root, canary = tmp_path / "models", tmp_path / "canary"
    for name, (change, _) in FOLDERS.items():
        folder = Path(shutil.copytree(DEMO_MODEL, root / name))
        (folder / "evil.py").write_text(f"import os\nos.mkdir({str(canary)!r})\nclass T: ...\n")
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(canary)))
        change(folder)
    done = subprocess.run([sys.executable, "-c", LOAD_EACH, str(root)], capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found == {name: code for name, (_, code) in FOLDERS.items()}
    assert not canary.exists()
    pickle.loads((root / "honest" / "pytorch_model.bin").read_bytes())
    assert canary.exists()  # the pickle would have done it
