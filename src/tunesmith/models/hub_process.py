"""The process that asks the model hub: `python -m tunesmith.models.hub_process`, a JSON request in, a JSON answer out. Knows no pages.

The page process never waits for the network nor holds what the hub sends; whoever asks ends this process when it takes too long.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from typing import Any

import orjson

from tunesmith.errors import UserError
from tunesmith.models.hub import ModelHub
from tunesmith.system.secrets import HUB

OPERATIONS: dict[str, Callable[[ModelHub, dict[str, Any]], Any]] = {
    "search": lambda hub, asked: [dataclasses.asdict(found) for found in hub.search(asked["text"], asked["most"], asked["mlx_only"])],
    "describe": lambda hub, asked: dataclasses.asdict(hub.describe(asked["name"])),
}


def main() -> None:
    """Answer the one request in the standard input."""
    request = orjson.loads(sys.stdin.buffer.read())
    try:
        answer = {"result": OPERATIONS[request["op"]](ModelHub(os.environ.get(HUB)), request["asked"])}
    except UserError as error:
        answer = {"error": error.as_record()}
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main()
