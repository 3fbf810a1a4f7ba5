"""The job that carries what was made to the model hub. Needs no engine, so that it starts at once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError
from tunesmith.export.hub import upload_folder
from tunesmith.jobs.job_kinds import Request
from tunesmith.system.progress import Report
from tunesmith.system.secrets import hub_token


def upload(request: Request, report: Report) -> dict[str, Any]:
    """Upload what was made to the model hub. Raises UserError `hub_…`."""
    token = hub_token()
    if not token:
        raise UserError("hub_token_missing")
    folder = Path(request["path"])
    return asdict(upload_folder(folder, request["repository"], request["private"], token, report, request["replace"]))
