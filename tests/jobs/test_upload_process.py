"""An upload in a process of its own: it has the token by its environment alone, and reaches the hub though workers are kept from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loopback_hub import serve_hub
from tunesmith.system.environment import worker_environment
from tunesmith.system.secrets import hub_environment

TOKEN = "hf_abcdefghijklmnop"
UPLOAD = """
import sys
from pathlib import Path
from tunesmith.errors import UserError
from tunesmith.export.hub import upload_folder
from tunesmith.system.secrets import hub_token
try:
    print(upload_folder(Path(sys.argv[1]), "me/tiny", True, hub_token() or "hf_none_at_all"))
except UserError as error:
    print(error.code)
"""


@pytest.mark.parametrize(("given", "said"), [(True, "Uploaded("), (False, "hub_upload_unreachable")])
def test_only_the_uploading_process_reaches_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool, said: str) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights" * 1000)
    with serve_hub() as hub:
        hub.writers = {TOKEN}
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        environment = worker_environment(os.environ) | {"HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.address}
        environment |= hub_environment() if given else {}
        command = [sys.executable, "-W", "ignore", "-c", UPLOAD, str(tmp_path / "model")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout.startswith(said)
        assert TOKEN not in done.stdout + done.stderr
        assert bool(hub.models) == given
        assert [authorization for _, path, authorization in hub.asked if path == "/api/repos/create"] == [f"Bearer {TOKEN}"] * given
