"""Asks a child process what the model hub has, and waits for it, not for ever. Knows no pages and no token of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.system.environment import worker_environment
from tunesmith.system.hub import hub_endpoint
from tunesmith.system.secrets import HUB, mask

LONGEST_SECONDS = 45.0


def ask_hub(operation: str, asked: Mapping[str, Any], environment: Mapping[str, str]) -> Any:
    """Return what `models.hub_process` answers; `environment` is what it needs of ours, such as the token.

    Raises UserError as the operation does, `hub_unreachable`.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-m", "tunesmith.models.hub_process"], input=orjson.dumps({"op": operation, "asked": asked}),
            env=worker_environment(os.environ) | dict(environment), capture_output=True, timeout=LONGEST_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise _unreachable(asked, f"> {LONGEST_SECONDS:.0f} s") from error
    try:
        answer = orjson.loads(child.stdout)
    except orjson.JSONDecodeError as error:
        said = mask(child.stderr.decode("utf-8", "replace").strip(), environment.get(HUB, ""))
        raise _unreachable(asked, said[-200:] or f"exit {child.returncode}") from error
    if "error" in answer:
        raise UserError(answer["error"]["code"], **answer["error"]["facts"])
    return answer["result"]


def _unreachable(asked: Mapping[str, Any], reason: str) -> UserError:
    return UserError("hub_unreachable", name=str(asked.get("name") or asked.get("text")), endpoint=hub_endpoint(), reason=reason)
