"""A model server's own process: `python -m tunesmith.jobs.serving_worker FOLDER`. Writes its address, and as its last act how it ended."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tunesmith.jobs.job import END, REQUEST
from tunesmith.jobs.job_worker import run_to_end
from tunesmith.jobs.serving import KEY_VARIABLE, SERVER
from tunesmith.store.files import read_json, write_json


def end_when_asked(folder: Path) -> None:
    """End the process at SIGTERM. At once: an exception raised in the middle of an import is swallowed, or becomes another."""

    def end(*_: object) -> None:
        if not (folder / END).exists():
            write_json(folder / END, {"status": "stopped"})
        os._exit(0)

    signal.signal(signal.SIGTERM, end)


def main() -> int:
    """Serve what the folder's request says until SIGTERM."""
    folder = Path(sys.argv[1])
    end_when_asked(folder)

    def tell(address: str) -> None:
        write_json(folder / SERVER, {"pid": os.getpid(), "nonce": sys.argv[1], "address": address})

    def work() -> dict[str, Any]:
        tell("")
        from tunesmith.models.blas import prepare_worker

        prepare_worker()  # before the first import of mlx
        from tunesmith.export.serve import Serving, serve

        request = read_json(folder / REQUEST)
        adapter, key = request["adapter_path"], os.environ.pop(KEY_VARIABLE, "")
        model = Path(request["model_path"])
        names = tuple(request.get("names", ()))
        serve(Serving(model, Path(adapter) if adapter else None, request["name"], request["host"], request["port"], key, names), tell)
        return {"status": "stopped"}

    return run_to_end(folder, work)


if __name__ == "__main__":
    os._exit(main())  # neither waits for a model that is being loaded nor takes the engine's libraries down
