"""How many tabs are open, and how often a part of a page may then renew itself. Knows no pages."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

UNHURRIED_TABS = 10  # so many renew themselves as often as they like


class OpenTabs:
    """ASGI middleware that counts the open websockets: each tab has one."""

    count = 0

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on; count a websocket while it is open."""
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        OpenTabs.count += 1
        try:
            await self.app(scope, receive, send)
        finally:
            OpenTabs.count -= 1


def renewal_seconds(seconds: float) -> float:
    """Return how often a part that would renew itself every so many seconds does so beside all open tabs."""
    return seconds * max(1.0, OpenTabs.count / UNHURRIED_TABS)
