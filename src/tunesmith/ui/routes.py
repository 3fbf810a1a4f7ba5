"""The app's own addresses beside the pages: curves, the packaged plotly.js, health. Only reads."""

from __future__ import annotations

from pathlib import Path

import plotly
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tunesmith.errors import UserError
from tunesmith.services import context, runs


def run_series(request: Request) -> Response:
    """Answer the curves of a run since a revision: binary, or 204 when nothing is new."""
    try:
        since = int(request.query_params.get("since", "-1"))
        body = runs.series_bytes(context.open_services(), request.path_params["run_id"], since)
    except ValueError:
        return JSONResponse({"error": "since"}, status_code=400)
    except UserError as error:
        return JSONResponse(error.as_record(), status_code=404)
    if body is None:
        return Response(status_code=204)
    return Response(body, media_type="application/octet-stream", headers={"cache-control": "no-store"})


def plotly_script(request: Request) -> Response:
    """Answer plotly.js from the installed package: no other host is asked."""
    del request
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return FileResponse(script, media_type="text/javascript", headers={"cache-control": "public, max-age=86400"})


def health(request: Request) -> Response:
    """Tell that the server stands and who is in charge of the store."""
    del request
    return JSONResponse({"ok": True, "in_charge": not context.open_services().read_only})


ROUTES = [
    Route("/api/runs/{run_id}/series", run_series),
    Route("/assets/plotly.min.js", plotly_script),
    Route("/health", health),
]
