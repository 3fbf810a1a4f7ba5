"""The app's own addresses beside the pages: curves and figures, the packaged plotly.js, the icon, health. Only reads.

What many tabs ask for each second is worked out once for all of them, and each answer says when to ask again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import plotly
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tunesmith.access.gate import HEALTH, ICONS
from tunesmith.errors import UserError
from tunesmith.i18n.catalog import LANGUAGES
from tunesmith.reports.run_figures import worded_figures
from tunesmith.services import context, overlays, queue, run_packages, runs
from tunesmith.services.audience import Audience, pace_seconds
from tunesmith.services.shared_answers import SharedAnswers
from tunesmith.ui.login_page import refuse

FRESH_SECONDS = 0.25  # of an age that nobody sees
KEPT_SECONDS = 60.0  # what a revision names does not change
PAGE_SECONDS = 0.06  # of one core, to draw a run's page anew
BINARY = "application/octet-stream"
AS_IT_IS = {"cache-control": "no-store", "content-encoding": "identity"}  # packed for each viewer anew, it would cost more than the rest
ICON = Path(__file__).parent / "assets" / "icon.png"
ANSWERS, AUDIENCE = SharedAnswers(), Audience()


async def run_series(request: Request) -> Response:
    """Answer the curves of a run since a revision: binary, or 204 when nothing is new."""
    return await _answer(request, _series, BINARY)


async def _series(request: Request) -> bytes | None:
    run_id, services = request.path_params["run_id"], context.open_services()
    since, smoothing = int(request.query_params.get("since", "-1")), float(request.query_params.get("smoothing", "0"))
    rev, active = await ANSWERS.find(("state", run_id), lambda: runs.series_state(services, run_id), FRESH_SECONDS)
    if rev == since and active:
        return None
    asked = ("series", run_id, rev, active, smoothing)
    return await ANSWERS.find(asked, lambda: runs.pack_series(services, run_id, active, smoothing), KEPT_SECONDS)


async def run_figures(request: Request) -> Response:
    """Answer a run's figures in words of the language `lang`, as JSON."""
    return await _answer(request, _figures, "application/json")


async def _figures(request: Request) -> bytes:
    run_id, lang, services = request.path_params["run_id"], request.query_params.get("lang", "en"), context.open_services()
    if lang not in LANGUAGES:
        raise ValueError(f"language {lang}")

    def work() -> bytes:
        return orjson.dumps(worded_figures(services, runs.snapshot(services, run_id), lang))

    return await ANSWERS.find(("figures", run_id, lang), work, FRESH_SECONDS)


async def queue_marks(request: Request) -> Response:
    """Answer what changes as soon as the queue looks otherwise, as JSON."""
    return await _answer(request, _queue, "application/json")


async def _queue(request: Request) -> bytes:
    del request
    services = context.open_services()
    return await ANSWERS.find("queue", lambda: orjson.dumps({"marks": queue.marks(queue.overview(services))}), 4 * FRESH_SECONDS)


async def overlay_series(request: Request) -> Response:
    """Answer the curves of the runs `runs` in the charts `charts` along the axis `x`, as `run_series` does."""
    return await _answer(request, _overlay, BINARY)


async def _overlay(request: Request) -> bytes | None:
    asked, services = request.query_params, context.open_services()
    run_ids, charts = (tuple(asked.get(name, "").split(",")) for name in ("runs", "charts"))
    axis, since, smoothing = asked.get("x", "step"), int(asked.get("since", "-1")), float(asked.get("smoothing", "0"))

    def work() -> bytes | None:
        return overlays.pack_overlay(services, run_ids, charts, axis, since, smoothing)

    return await ANSWERS.find(("overlay", run_ids, charts, axis, since, smoothing), work, FRESH_SECONDS)


async def _answer(request: Request, find: Callable[[Request], Awaitable[bytes | None]], kind: str) -> Response:
    """Answer what `find` returns, 204 for None. The headers tell how soon to ask again, and over how long to spread wishes for a page."""
    client = request.client.host if request.client else ""
    AUDIENCE.see(f"{client} {request.query_params.get('viewer', '')[:40]}")
    try:
        body = await find(request)
    except ValueError as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    except UserError as error:
        return JSONResponse(error.as_record(), status_code=404)
    viewers = AUDIENCE.count()
    pace = {"x-every-ms": f"{pace_seconds(viewers) * 1000:.0f}", "x-spread-ms": f"{viewers * PAGE_SECONDS * 1000:.0f}"}
    if body is None:
        return Response(status_code=204, headers=pace)
    return Response(body, media_type=kind, headers=pace | AS_IT_IS)


def package_file(request: Request) -> Response:
    """Answer a package of runs that a job has made, piece by piece."""
    try:
        path = run_packages.packed_file(context.open_services(), request.path_params["job_id"])
    except UserError as error:
        return refuse(request.scope, 404, error)
    return FileResponse(path, media_type="application/zip", filename=f"runs-{request.path_params['job_id']}.zip")


def plotly_script(request: Request) -> Response:
    """Answer plotly.js from the installed package: no other host is asked."""
    del request
    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return FileResponse(script, media_type="text/javascript", headers={"cache-control": "public, max-age=86400"})


def icon(request: Request) -> Response:
    """Answer the picture in a browser's tab."""
    del request
    return FileResponse(ICON, media_type="image/png", headers={"cache-control": "public, max-age=86400"})


def health(request: Request) -> Response:
    """Tell that the server stands and who is in charge of the store."""
    del request
    return JSONResponse({"ok": True, "in_charge": context.open_services().supervisor.in_charge})


ROUTES = [
    Route("/live/runs/{run_id}", run_series),
    Route("/live/runs/{run_id}/figures", run_figures),
    Route("/live/queue", queue_marks),
    Route("/live/overlay", overlay_series),
    Route("/downloads/{job_id}", package_file),
    Route("/assets/plotly.min.js", plotly_script),
    *(Route(path, icon) for path in ICONS),
    Route(HEALTH, health),
]
