"""How one interpreter serves many sessions: what lives long is left out of Streamlit's collections, and threads take short turns.

Streamlit collects garbage after every drawing, and nobody else is served meanwhile: with 50 open pages 50-80 ms each time, with what they
hold frozen 2-8 ms. What dies frozen in a cycle is found by a sweep of everything, now and then.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

FREEZE_SECONDS, FREEZES_TO_SWEEP = 10.0, 120  # a sweep every 20 minutes
TURN_SECONDS = 0.001  # the default of 5 ms lets a drawing hold up each of an answer's three writes and reads


def sweep() -> None:
    """Collect all garbage, what was frozen too, and freeze what lives."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


async def _keep_frozen() -> None:
    turn = 0
    while True:
        await asyncio.sleep(FREEZE_SECONDS)
        turn += 1
        if turn % FREEZES_TO_SWEEP:
            gc.freeze()
        else:
            sweep()


@asynccontextmanager
async def serve_many() -> AsyncIterator[None]:
    """Keep drawings short for each other while the server stands."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    sweep()
    keeping = asyncio.create_task(_keep_frozen())
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        sys.setswitchinterval(before)
        gc.unfreeze()
