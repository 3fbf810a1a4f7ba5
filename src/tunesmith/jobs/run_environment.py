"""What a run is computed with, written down by its worker at each attempt: versions, machine, data. Knows no training."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

from tunesmith.data.content import hash_data
from tunesmith.errors import UserError
from tunesmith.store.files import read_json, write_json
from tunesmith.store.run_folder import RunFolder
from tunesmith.system.device import chip_name, device_name
from tunesmith.system.environment import package_versions, source_commit
from tunesmith.system.memory import read_memory
from tunesmith.system.paths import REPOSITORY


def record_environment(folder: RunFolder, record: dict[str, Any], blas: str) -> None:
    """Add this attempt to environment.json. Raises UserError `disk_full`.

    `record` is the run's; an unversioned data set is hashed as it is now, so that a later change of it shows.
    """
    attempts = [each for each in read_attempts(folder) if each.get("attempt") != record["attempt"]]
    attempts.append(
        {
            "attempt": record["attempt"], "at": time.time(), "device": device_name(), "chip": chip_name(), "blas": blas,
            "cores": os.cpu_count() or 0, "memory_bytes": read_memory().total_bytes, "system": platform.platform(),
            "python": platform.python_version(), "versions": package_versions(), "commit": source_commit(REPOSITORY),
            "data_hash": hash_data(Path(record["data_path"])), "config_sha256": record["config_sha256"],
        }
    )  # fmt: skip
    write_json(folder.environment, {"v": 1, "attempts": attempts})


def read_attempts(folder: RunFolder) -> list[dict[str, Any]]:
    """Return what each attempt was computed with, oldest first; none of a run that has not begun, or is older than these records."""
    try:
        attempts = read_json(folder.environment)["attempts"]
    except (OSError, UserError, KeyError, TypeError):
        return []
    return [each for each in attempts if isinstance(each, dict)] if isinstance(attempts, list) else []
