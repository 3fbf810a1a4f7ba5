"""The job that packs runs into a zip file, for packages too large to be held in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.data.run_packages import write_package
from tunesmith.jobs.job_kinds import Request
from tunesmith.store.files import as_user_error, put_in_place
from tunesmith.store.run_folder import RunFolder
from tunesmith.system.progress import Report

PACKAGE = "package.zip"


def pack_runs(request: Request, report: Report) -> dict[str, Any]:
    """Write the runs into the job's own folder, whole or not at all. Raises UserError `disk_full`."""
    target = Path(request["folder"]) / PACKAGE
    aside = target.with_suffix(".part")
    try:
        with aside.open("wb") as stream:
            write_package(stream, [RunFolder(Path(path)) for path in request["runs"]], request["checkpoints"], report)
        put_in_place(aside, target)
    except OSError as error:
        raise as_user_error(error, target) from error
    finally:
        aside.unlink(missing_ok=True)
    return {"path": str(target), "size_bytes": target.stat().st_size, "runs": len(request["runs"])}
