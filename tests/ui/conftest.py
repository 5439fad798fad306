"""A served app and a browser that can reach nothing but this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash.nav import TITLES

ROOT = Path(__file__).resolve().parents[2]
# The shell is the same engine without the windows around it: a page costs it a seventh of the processor time.
WHOLE = ("chromium", "chromium-browser", "google-chrome")
NAMES = ("chromium-headless-shell", "chrome-headless-shell", *WHOLE)
CHROMIUM = os.environ.get("SWAY_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)

# Pages live for seconds: compiling their scripts a second time, for speed, costs more than it gives.
FLAGS = ("--no-sandbox", "--disable-gpu", "--js-flags=--no-opt --no-maglev")


def _no_browser(reason: str) -> None:
    if os.environ.get("SWAY_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Server:
    """The app as a user serves it."""

    url: str
    runs: Path
    log: Path
    pid: int


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(runs: Path, port: int = 0, **env: str) -> Iterator[Server]:
    """``panel serve`` the app with run folders of its own; ready when it answers, gone at the end."""
    port = port or free_port()
    own = {"SWAY_RUNS_DIR": str(runs), "SWAY_NULL_CACHE_DIR": str(runs / ".nulls"), "PYTHONPATH": str(ROOT), **env}
    command = [sys.executable, "-m", "panel", "serve", str(ROOT / "apps" / "sway.py"), "--port", str(port)]
    command += ["--address", "127.0.0.1", "--allow-websocket-origin", f"127.0.0.1:{port}"]
    # Sessions of closed tabs go soon: they would go on looking for news beside the next tests.
    command += ["--check-unused-sessions", "2000"]
    log = runs / "server.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **own})
    url = f"http://127.0.0.1:{port}/sway"
    try:
        for _ in range(300):
            assert process.poll() is None, log.read_text()
            try:
                urllib.request.urlopen(url, timeout=30).read()
                break
            except OSError:
                time.sleep(0.2)
        yield Server(url, runs, log, process.pid)
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The app that most tests share."""
    with serving(tmp_path_factory.mktemp("runs"), FAKE_DELAY_S="0.03") as found:
        yield found


@pytest.fixture(scope="session")
def play() -> Iterator[Any]:
    """Playwright; a missing Chromium skips, or fails where the environment asks for it."""
    if CHROMIUM is None:
        _no_browser("no Chromium on PATH (set SWAY_CHROMIUM)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _no_browser("playwright is not installed")
    with sync_playwright() as found:
        yield found


@pytest.fixture(scope="session")
def browser(play: Any) -> Iterator[Any]:
    """System Chromium that finds nothing but this machine."""
    rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    browser = play.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, rules])
    yield browser
    browser.close()


def went_wrong(server: Server) -> list[str]:
    """Errors in the server's log, but for what a tab still said after it had been closed: Bokeh asserts that away."""
    lines = server.log.read_text(encoding="utf-8", errors="replace").splitlines()
    late = {i for i, line in enumerate(lines) if "error: AssertionError()" in line}
    return [
        line
        for i, line in enumerate(lines)
        if "ERROR" in line or ("error handling message" in line and not late & {i + 1, i + 2, i + 3})
    ]


@dataclass
class Tab:
    """A page with what went wrong in it."""

    page: Any
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def head(self) -> str:
        """Title and state line of the open run."""
        return " | ".join(self.page.locator(".sway-hook-head h1, .sway-hook-head p").all_inner_texts())

    def verdict(self) -> str:
        """What the verdict says."""
        return " | ".join(self.page.locator(".sway-hook-verdict p").all_inner_texts())

    def until(self, holds: Callable[[], bool], seconds: float = 120.0) -> bool:
        """Wait for something, and fail when it does not come; the browser's events go on meanwhile."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"{self.head()} / {self.verdict()} / {self.errors}"
            self.page.wait_for_timeout(150)
        return True

    def rows(self, column: str = "prompt") -> int:
        """Rows of the dot plot's source in the browser."""
        return int(
            self.page.evaluate(
                """(column) => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
                if (m.type === 'ColumnDataSource' && 'null_text' in m.data) return m.data[column].length;
                return -1 }""",
                column,
            )
        )

    def turn_to(self, query: str) -> None:
        """Go to another address in this page, as Back does, by way of the log: its coming and going can be waited for.

        ``query`` asks for any page but the log.
        """
        for address in ("?page=log", query):
            self.page.evaluate(
                "query => { history.pushState(null, '', query); dispatchEvent(new PopStateEvent('popstate')) }", address
            )
            if address != query:
                self.page.locator(".sway-hook-log li").first.wait_for()
        # What is asked for is marked once the choices and the run of before have gone.
        self.page.locator(f"nav [aria-current]:text-is('{TITLES['log']}')").wait_for(state="hidden")

    def open_tab(self, name: str) -> None:
        """Click the link of a page."""
        self.page.get_by_role("link", name=name, exact=True).first.click()


def new_tab(browser: Any, server: Server, query: str, width: int, height: int) -> Tab:
    """The app in a page of its own."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(120_000)
    tab = Tab(page)
    local = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(local) else tab.outside.append(r.url))
    page.on("pageerror", lambda e: tab.errors.append(e.stack or str(e)))
    page.on("console", lambda m: tab.errors.append(m.text) if m.type == "error" else None)
    try:
        page.goto(server.url + query)
        page.wait_for_selector("nav[aria-label='Main'] a[aria-current]")
    except Exception:
        page.close()
        raise
    return tab


@pytest.fixture
def open_tab(browser: Any, server: Server) -> Iterator[Callable[..., Tab]]:
    """Open the app; at the end nothing may have gone wrong in the browser or asked for the outside."""
    tabs: list[Tab] = []

    def open_(query: str = "", width: int = 1280, height: int = 900) -> Tab:
        tabs.append(new_tab(browser, server, query, width, height))
        return tabs[-1]

    yield open_
    for tab in tabs:
        tab.page.close()
    assert [t.outside for t in tabs] == [[] for _ in tabs]
    assert [t.errors for t in tabs] == [[] for _ in tabs]


@pytest.fixture(scope="module")
def kept_tabs() -> Iterator[list[Tab]]:
    """The page that tests of a file hand on, if there is one."""
    tabs: list[Tab] = []
    yield tabs
    for tab in tabs:
        tab.page.close()


@pytest.fixture
def same_tab(
    kept_tabs: list[Tab], browser: Any, server: Server, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Tab]]:
    """As ``open_tab``, in the page of the test before: one of its own costs seconds of processor time.

    What the address does not carry (a zoom, a held view) stays; a test that failed leaves no page behind.
    """
    before = request.session.testsfailed

    def go(query: str = "", width: int = 1280, height: int = 900) -> Tab:
        if not kept_tabs:
            kept_tabs.append(new_tab(browser, server, query, width, height))
        else:
            kept_tabs[0].page.set_viewport_size({"width": width, "height": height})
            kept_tabs[0].page.emulate_media(color_scheme="null", reduced_motion="null", forced_colors="null")
            kept_tabs[0].turn_to(query)
        return kept_tabs[0]

    yield go
    wrong = [(t.outside, t.errors) for t in kept_tabs if t.outside or t.errors]
    if kept_tabs and (wrong or request.session.testsfailed > before):
        kept_tabs.pop().page.close()
    assert not wrong
