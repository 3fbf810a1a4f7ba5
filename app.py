"""The launcher: `streamlit run app.py`. Routes, hosts, lifespan; the pages are drawn by src/tunesmith/ui/main.py."""

from __future__ import annotations

import importlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st
from starlette.middleware import Middleware

from tunesmith import api
from tunesmith.access.gate import Gate
from tunesmith.services import computer
from tunesmith.services.context import open_services
from tunesmith.ui.frame import MAIN_SCRIPT
from tunesmith.ui.left_pages import forget_left_pages
from tunesmith.ui.login_page import LoginPage, refuse
from tunesmith.ui.many_sessions import serve_many
from tunesmith.ui.messages import LOG_NAME
from tunesmith.ui.open_tabs import OpenTabs
from tunesmith.ui.routes import ROUTES
from tunesmith.ui.security import SecurityHeaders
from tunesmith.ui.session import door
from tunesmith.ui.sign_in_page import SignInPage


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """Supervise from the start, whether or not a page is open; leave running trainings running at the end."""
    del app
    services = open_services()
    computer.watch()
    handler = logging.FileHandler(services.data_dir / LOG_NAME)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.getLogger("tunesmith").addHandler(handler)
    for heavy in ("pandas", "plotly.graph_objects"):
        importlib.import_module(heavy)
    async with serve_many():
        yield
    services.close()


forget_left_pages()
app = st.App(
    MAIN_SCRIPT,
    routes=[*LoginPage(door()).routes, *SignInPage(door()).routes, *ROUTES, *api.ROUTES],
    middleware=[Middleware(SecurityHeaders, names=door().names), Middleware(Gate, door=door(), refuse=refuse), Middleware(OpenTabs)],
    lifespan=lifespan,
)
