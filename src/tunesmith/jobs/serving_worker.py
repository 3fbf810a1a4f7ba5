"""A model server's own process: `python -m tunesmith.jobs.serving_worker FOLDER`. Writes its address, and as its last act how it ended."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tunesmith.jobs.job import REQUEST
from tunesmith.jobs.job_worker import Cancelled, run_to_end
from tunesmith.jobs.serving import KEY_VARIABLE, SERVER
from tunesmith.store.files import read_json, write_json


def _end(*_: object) -> None:
    raise Cancelled


def main() -> int:
    """Serve what the folder's request says until SIGTERM."""
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, _end)

    def tell(address: str) -> None:
        write_json(folder / SERVER, {"pid": os.getpid(), "nonce": sys.argv[1], "address": address})

    def work() -> dict[str, Any]:
        tell("")
        from tunesmith.models.blas import prepare_engine

        prepare_engine()  # before the first import of mlx
        from tunesmith.export.serve import Serving, serve

        request = read_json(folder / REQUEST)
        adapter, key = request["adapter_path"], os.environ.pop(KEY_VARIABLE, "")
        model = Path(request["model_path"])
        serve(Serving(model, Path(adapter) if adapter else None, request["name"], request["host"], request["port"], key), tell)
        return {"status": "stopped"}

    return run_to_end(folder, work)


if __name__ == "__main__":
    os._exit(main())  # neither waits for a model that is being loaded nor takes the engine's libraries down
