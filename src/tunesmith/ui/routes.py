"""The app's own addresses beside the pages: curves, the packaged plotly.js, health. Only reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import plotly
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tunesmith.errors import UserError
from tunesmith.services import context, overlays, run_packages, runs


def run_series(request: Request) -> Response:
    """Answer the curves of a run since a revision: binary, or 204 when nothing is new."""
    run_id = request.path_params["run_id"]
    return _curves(request, lambda since, smoothing: runs.series_bytes(context.open_services(), run_id, since, smoothing))


def overlay_series(request: Request) -> Response:
    """Answer the curves of the runs `runs` in the charts `charts` along the axis `x`, as `run_series` does."""
    run_ids, charts = (request.query_params.get(name, "").split(",") for name in ("runs", "charts"))
    axis = request.query_params.get("x", "step")
    return _curves(
        request, lambda since, smoothing: overlays.pack_overlay(context.open_services(), run_ids, charts, axis, since, smoothing)
    )


def _curves(request: Request, read: Callable[[int, float], bytes | None]) -> Response:
    try:
        asked = request.query_params
        body = read(int(asked.get("since", "-1")), float(asked.get("smoothing", "0")))
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    except UserError as error:
        return JSONResponse(error.as_record(), status_code=404)
    if body is None:
        return Response(status_code=204)
    return Response(body, media_type="application/octet-stream", headers={"cache-control": "no-store"})


def package_file(request: Request) -> Response:
    """Answer a package of runs that a job has made, piece by piece."""
    try:
        path = run_packages.packed_file(context.open_services(), request.path_params["job_id"])
    except UserError as error:
        return JSONResponse(error.as_record(), status_code=404)
    return FileResponse(path, media_type="application/zip", filename=f"runs-{request.path_params['job_id']}.zip")


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
    Route("/live/runs/{run_id}", run_series),
    Route("/live/overlay", overlay_series),
    Route("/downloads/{job_id}", package_file),
    Route("/assets/plotly.min.js", plotly_script),
    Route("/health", health),
]
