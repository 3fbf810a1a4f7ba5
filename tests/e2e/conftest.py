"""The real server and a real browser."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Response, expect, sync_playwright

from tests.e2e.settled import touch_settled_pages, watch
from tests.taught import teach, write_sums

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = Path(__file__).parent / "screenshots"
CHROMIUM = next((p for p in map(Path, ("/usr/bin/chromium", "/usr/bin/google-chrome", "/usr/bin/chromium-browser")) if p.exists()), None)
PATIENCE_MS, TEST_SECONDS = 60_000, 600  # what is drawn in a second by free cores takes many by busy ones
START_SECONDS = 180  # of a server: 3 s of work, of which busy cores made 63
PICTURES = bool(os.environ.get("TUNESMITH_TESTS_KEEP_PICTURES"))
PORTS = range(20_000, 32_000)  # the system gives none of them to anybody who asks for any
OWN = ("http://127.0.0.1", "data:", "blob:")
expect.set_options(timeout=PATIENCE_MS)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how each test failed that passed when it was tried once more."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"tried once more: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


def free_port() -> int:
    """Return a port that nobody listens at, and that nobody is given before its server does."""
    while True:
        with socket.socket() as probe:
            port = random.SystemRandom().choice(PORTS)
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class Server:
    """`streamlit run app.py` on a free port with a data folder of its own."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        self.data_dir, self.port, self._log = data_dir, free_port(), log
        self.address = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {"TUNESMITH_DATA_DIR": str(self.data_dir)}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(self.port)],
                cwd=ROOT, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.kill()

    def end_workers(self) -> None:
        """End the trainings that a server leaves running: the next test wants both cores."""
        for process in psutil.process_iter(["cmdline"]):
            if any(part.startswith(f"{self.data_dir}/") for part in process.info["cmdline"] or ()):
                with suppress(psutil.NoSuchProcess):
                    process.kill()


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Yield a server on `folder`/data for several tests; its secrets lie in the folder, too."""
    server = Server(folder / "data", folder / "server.log")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TUNESMITH_SECRETS_DIR", str(folder / "secrets"))
        environment.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
        try:
            server.start()
            environment.undo()
            yield server
        finally:
            server.stop()
            server.end_workers()


Serve = Callable[[Path], Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start servers on data folders; they end with the test."""
    servers: list[Server] = []

    def start(data_dir: Path) -> Server:
        servers.append(Server(data_dir, tmp_path / f"server-{len(servers)}.log"))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        server.end_workers()


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> Server:
    """A server with an empty data folder."""
    return serve(tmp_path / "data")


@pytest.fixture(scope="package")
def common_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for all tests that leave nothing behind which another would meet."""
    with serving(tmp_path_factory.mktemp("common")) as server:
        yield server


@pytest.fixture(scope="session")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with trained runs (tests.taught), one for all processes of this test run; copy it before you change it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "taught"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock, pytest.MonkeyPatch.context() as environment:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            environment.setenv("TUNESMITH_DATA_DIR", str(folder / "data"))
            teach(write_sums(folder / "sums.jsonl"))
            (folder / "done").touch()
    return folder / "data"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium")
    touch_settled_pages()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


def _is_search_for_server(url: str) -> bool:
    """Whether Streamlit looks for its own base path: on a deep link it first asks /page/_stcore, which is not there."""
    return "/_stcore/" in url


class Watched:
    """A browser tab whose console errors and requests to other hosts are noted."""

    def __init__(self, context: BrowserContext) -> None:
        context.set_default_timeout(PATIENCE_MS)
        watch(context)
        self.page: Page = context.new_page()
        self.console_errors: list[str] = []
        self.foreign: list[str] = []
        self.page.on("console", self._note_message)
        self.page.on("response", self._note_response)
        self.page.on("pageerror", lambda e: self.console_errors.append(str(e)))
        self.page.on("request", lambda r: self.foreign.append(r.url) if not r.url.startswith(OWN) else None)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):  # those come with their answer
            self.console_errors.append(message.text)

    def _note_response(self, response: Response) -> None:
        if response.status >= 400 and not _is_search_for_server(response.url):
            self.console_errors.append(f"{response.status} {response.url}")

    def shoot(self, name: str) -> None:
        """Keep a picture of the whole page, where pictures are wanted: Streamlit scrolls inside, so the window is made that high."""
        if not PICTURES:
            return
        SCREENSHOTS.mkdir(exist_ok=True)
        size = self.page.viewport_size or {"width": 1280, "height": 800}
        height = self.page.evaluate("() => document.querySelector('[data-testid=stMain]')?.scrollHeight ?? 800")
        self.page.set_viewport_size({"width": size["width"], "height": max(size["height"], min(int(height), 2600))})
        self.page.wait_for_timeout(600)
        self.page.screenshot(path=str(SCREENSHOTS / f"{name}.png"))
        self.page.set_viewport_size(size)


OpenTab = Callable[..., Watched]


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[OpenTab]:
    contexts: list[BrowserContext] = []

    def open_one(width: int = 1280, height: int = 800, dark: bool = False, locale: str = "en-US") -> Watched:
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", locale=locale)
        contexts.append(context)
        return Watched(context)

    yield open_one
    for context in contexts:
        context.close()
