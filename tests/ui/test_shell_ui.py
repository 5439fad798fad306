"""The frame: addresses, Back, keys, theme, a narrow screen, a network that hangs, a server that is started anew."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import CHROMIUM, ROOT, Tab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]


def shown(tab: Tab) -> str:
    """The page whose link is marked as the current one."""
    return tab.page.locator("nav[aria-label='Pages of the run'] [aria-current]").inner_text()


def background(tab: Tab) -> str:
    return str(tab.page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_back_and_forward_turn_the_pages(open_tab: Open) -> None:
    tab = open_tab("?run=demo")
    tab.open_tab("Trace")
    tab.until(lambda: "page=trace" in tab.page.url)
    tab.open_tab("Log")
    tab.until(lambda: "page=log" in tab.page.url and shown(tab) == "Log")
    tab.page.go_back()
    tab.until(lambda: shown(tab) == "Trace")
    tab.page.go_back()
    tab.until(lambda: shown(tab) == "Overview")
    tab.page.go_forward()
    tab.until(lambda: shown(tab) == "Trace")
    assert "page=trace" in tab.page.url


def test_a_link_opens_what_was_on_the_screen(open_tab: Open) -> None:
    tab = open_tab("?run=demo&page=prompts&x=kl&q=keeper&p=1")
    tab.until(lambda: shown(tab) == "Prompts")
    url = tab.page.url
    for part in ("page=prompts", "run=demo", "x=kl", "q=keeper", "p=1"):
        assert part in url
    tab.page.reload()
    tab.page.wait_for_selector(".sway-hook-head h1")
    tab.until(lambda: shown(tab) == "Prompts")
    assert tab.page.url == url


def test_keys_work_where_nobody_types(open_tab: Open) -> None:
    tab = open_tab("?run=demo")
    keys = tab.page.keyboard
    keys.press("5")
    tab.until(lambda: shown(tab) == "Trace")
    keys.press("?")
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_text("What it does").wait_for()
    keys.press("Escape")
    dialog.wait_for(state="hidden")
    keys.press("Control+k")
    field = tab.page.get_by_role("dialog").get_by_role("combobox")
    field.wait_for()
    field.fill("Lo")
    keys.press("1")
    tab.page.wait_for_timeout(500)
    assert shown(tab) == "Trace"
    field.fill("Log")
    tab.page.get_by_role("option", name="Log", exact=True).click()
    tab.until(lambda: shown(tab) == "Log")


def test_single_letters_can_be_turned_off_and_stay_off(open_tab: Open) -> None:
    tab = open_tab("?run=demo")
    press = tab.page.keyboard.press
    dialog = tab.page.get_by_role("dialog")

    def pressed_in_vain() -> bool:
        press("5")
        # What answers later has heard the 5 before.
        press("?")
        dialog.get_by_text("What it does").wait_for()
        press("Escape")
        dialog.wait_for(state="hidden")
        return shown(tab) == "Overview"

    press("?")
    tab.page.get_by_label("Single letters are keys").click()
    tab.until(lambda: tab.page.evaluate("localStorage.getItem('sway-letters')") == "off")
    press("Escape")
    dialog.wait_for(state="hidden")
    assert pressed_in_vain()
    tab.page.reload()
    tab.page.wait_for_selector(".sway-hook-head h1")
    assert pressed_in_vain()


def test_the_theme_follows_the_system_until_one_is_chosen(open_tab: Open) -> None:
    tab = open_tab("?run=demo")
    tab.page.locator("[role=img] canvas").first.wait_for()
    light = background(tab)
    moves: list[str] = []
    tab.page.on("framenavigated", lambda frame: moves.append(frame.url))
    tab.page.emulate_media(color_scheme="dark")
    tab.until(lambda: background(tab) != light)
    dark = background(tab)
    tab.until(lambda: _plot_pixel(tab) == dark)
    tab.page.keyboard.press("t")
    tab.until(lambda: background(tab) == light)
    tab.until(lambda: _plot_pixel(tab) == light)
    assert moves == []
    tab.page.reload()
    tab.page.wait_for_selector(".sway-hook-head h1")
    # The system is still dark; the reader has chosen light.
    tab.page.wait_for_timeout(1000)
    assert background(tab) == light


def _plot_pixel(tab: Tab) -> str:
    """Colour of a corner of the first plot, as the browser paints it."""
    import io

    from PIL import Image

    shot = Image.open(io.BytesIO(tab.page.locator("[role=img]").first.screenshot())).convert("RGB")
    return "rgb({}, {}, {})".format(*shot.getpixel((2, 2)))


@pytest.mark.parametrize(
    "page", ["overview", "prompts", "ablation", "null", "trace", "log", "runs", "new", "compare", "probe"]
)
def test_every_page_fits_a_telephone(open_tab: Open, page: str) -> None:
    tab = open_tab(f"?run=demo&page={page}", width=390, height=844)
    tab.page.wait_for_timeout(2500)
    wide = tab.page.evaluate(
        """() => { const out = []; const walk = (root) => { for (const el of root.querySelectorAll('*')) {
        if (el.shadowRoot) walk(el.shadowRoot);
        const r = el.getBoundingClientRect(); if (!r.width || r.right <= innerWidth + 1) continue;
        let n = el, inside = false;
        while (n && !inside) {
          inside = n instanceof Element && n !== document.body
            && /(auto|scroll|hidden)/.test(getComputedStyle(n).overflowX);
          n = n.parentNode ?? n.host }
        if (!inside) out.push(el.tagName + '.' + el.className) } };
        walk(document); return [document.documentElement.scrollWidth > innerWidth + 1, out.slice(0, 5)] }"""
    )
    assert wide[0] is False, wide


def test_a_network_that_hangs_holds_up_nothing(server: Any, play: Any) -> None:
    """Whoever asks the outside waits for ever; the page must not be waiting."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        rules = f"--host-resolver-rules=MAP * 127.0.0.1:{silent.getsockname()[1]}, EXCLUDE 127.0.0.1"
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", rules])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        page.goto(server.url + "?run=demo")
        page.wait_for_selector(".sway-hook-verdict p")
        page.locator("[role=img] canvas").first.wait_for()
        browser.close()
        assert [u for u in asked if not u.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))] == []


def test_a_server_that_comes_back_finds_its_readers(browser: Any, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def serve() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "panel", "serve", str(ROOT / "apps" / "sway.py"), "--port", str(port)]
        command += ["--address", "127.0.0.1", "--allow-websocket-origin", f"127.0.0.1:{port}"]
        env = {**os.environ, "SWAY_RUNS_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/sway", timeout=30).read()
                return process
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server does not answer")

    first = serve()
    page = browser.new_page()
    tab = Tab(page)
    try:
        page.goto(f"http://127.0.0.1:{port}/sway?run=demo&page=log")
        page.wait_for_selector(".sway-hook-log li")
        first.send_signal(signal.SIGKILL)
        first.wait()
        tab.until(lambda: bool(page.evaluate("document.documentElement.classList.contains('sway-offline')")))
        # What was there can still be read.
        assert page.locator(".sway-hook-log li").first.is_visible()
        second = serve()
        try:
            # A server that starts imports the whole dashboard, which a busy machine takes its time for.
            online = "!document.documentElement.classList.contains('sway-offline')"
            tab.until(lambda: bool(page.evaluate(online)), seconds=240)
            page.wait_for_selector(".sway-hook-log li")
            assert "page=log" in page.url
        finally:
            second.kill()
            second.wait()
    finally:
        page.close()
        if first.poll() is None:
            first.kill()
