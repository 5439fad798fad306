"""The frame: addresses, Back, keys, theme, a narrow screen, a network that hangs, a server that is started anew."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import CHROMIUM, FLAGS, Tab, free_port, serving

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


def test_back_pressed_before_the_server_has_answered_keeps_the_address_true(open_tab: Open) -> None:
    tab = open_tab("?run=demo")
    tab.open_tab("Trace")
    tab.until(lambda: "page=trace" in tab.page.url and shown(tab) == "Trace")
    log = tab.page.get_by_role("link", name="Log", exact=True).first
    # The answer to the click, an address of the log, is on its way when Back has already gone.
    log.evaluate("link => { link.click(); history.back() }")
    tab.until(lambda: shown(tab) == "Overview")
    tab.page.wait_for_timeout(1500)
    assert shown(tab) == "Overview"
    assert "page=log" not in tab.page.url
    tab.page.go_forward()
    tab.until(lambda: shown(tab) == "Trace" and "page=trace" in tab.page.url)


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
    tab.open_tab("Log")
    tab.page.get_by_label("Filter lines").fill("finished")
    tab.until(lambda: "l.find=finished" in tab.page.url)
    tab.page.reload()
    tab.page.wait_for_selector(".sway-hook-log li")
    assert tab.page.get_by_label("Filter lines").input_value() == "finished"
    tab.page.go_back()
    tab.until(lambda: shown(tab) == "Prompts" and "p=1" in tab.page.url)


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


def test_the_tools_of_a_figure_hide_neither_its_rows_nor_the_dark(open_tab: Open) -> None:
    tab = open_tab("?run=demo")
    tab.page.emulate_media(color_scheme="dark")
    figure = tab.page.locator('[role=img][aria-label*="prompts"]').first
    figure.wait_for()
    tools = figure.locator(".bk-Toolbar")
    tab.until(lambda: _plot_pixel(tab) == background(tab))
    box = figure.bounding_box()
    tab.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 20)
    tab.until(lambda: tools.evaluate("e => getComputedStyle(e).visibility") == "visible")
    # The white bar that Bokeh would lay over the first rows, and that would take the pointer from them.
    assert tools.evaluate("e => getComputedStyle(e).backgroundColor") == "rgba(0, 0, 0, 0)"
    assert tools.evaluate("e => getComputedStyle(e).pointerEvents") == "none"
    buttons = tools.evaluate("e => [...e.shadowRoot.children].map(b => getComputedStyle(b).pointerEvents)")
    assert buttons.count("auto") >= 4


def _plot_pixel(tab: Tab) -> str:
    """Colour of a corner of the first plot, as the browser paints it."""
    import io

    from PIL import Image

    shot = Image.open(io.BytesIO(tab.page.locator("[role=img]").first.screenshot())).convert("RGB")
    return "rgb({}, {}, {})".format(*shot.getpixel((2, 2)))


TURNED = {
    "overview": ".sway-hook-verdict p",
    "prompts": ".sway-hook-table .rows .row",
    "ablation": ".sway-hook-ablation p",
    "null": ".sway-hook-null p",
    "trace": ".sway-hook-trace p",
    "log": ".sway-hook-log li",
    "runs": ".sway-hook-runs-note",
    "new": ".sway-hook-yaml .ace_content",
    "compare": ".sway-hook-recent",
    "probe": ".sway-hook-model p",
}
"""Pages and what they show once they are there."""


def test_every_page_fits_a_telephone_and_its_figures_have_words(open_tab: Open) -> None:
    """One tab turns all pages, as Back does: a page of its own for each would take minutes."""
    tab = open_tab("?run=demo", width=390, height=844)
    for page, ready in TURNED.items():
        tab.page.evaluate(
            "query => { history.pushState(null, '', query); dispatchEvent(new PopStateEvent('popstate')) }",
            f"?run=demo&page={page}",
        )
        tab.page.locator(f"{ready}:visible").first.wait_for()
        tab.page.wait_for_timeout(1000)
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
        assert wide[0] is False, (page, wide)
        drawn = tab.page.locator("[role=img][aria-label]:visible")
        labels = drawn.evaluate_all("all => all.map(e => e.getAttribute('aria-label'))")
        assert all(len(label) > 20 for label in labels), (page, labels)
        assert labels or page not in ("overview", "prompts", "ablation", "null", "trace"), page


def test_a_network_that_hangs_holds_up_nothing(server: Any, play: Any) -> None:
    """Whoever asks the outside waits for ever; the page must not be waiting."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        rules = f"--host-resolver-rules=MAP * 127.0.0.1:{silent.getsockname()[1]}, EXCLUDE 127.0.0.1"
        browser = play.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, rules])
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        page.goto(server.url + "?run=demo")
        page.wait_for_selector(".sway-hook-verdict p")
        page.locator("[role=img] canvas").first.wait_for()
        browser.close()
        assert [u for u in asked if not u.startswith(("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:"))] == []


def test_a_page_that_finds_no_server_keeps_its_first_words_and_asks_again(browser: Any, server: Any) -> None:
    page = browser.new_page()
    page.add_init_script("window.WebSocket = class extends WebSocket { constructor() { super('ws://127.0.0.1:9') } }")
    page.goto(f"{server.url}?run=demo", wait_until="commit")
    page.get_by_text("The server no longer answers").wait_for()
    assert page.locator("#sway-first h1").is_visible()
    assert not page.get_by_text("could not be established").is_visible()
    with page.expect_navigation():
        page.get_by_role("button", name="Try again").click()
    page.close()


def test_a_server_that_comes_back_finds_its_readers(browser: Any, tmp_path: Path) -> None:
    port = free_port()
    page = browser.new_page()
    tab = Tab(page)
    with serving(tmp_path, port) as first:
        page.goto(f"{first.url}?run=demo&page=log")
        page.wait_for_selector(".sway-hook-log li")
        os.kill(first.pid, signal.SIGKILL)
        tab.until(lambda: bool(page.evaluate("document.documentElement.classList.contains('sway-offline')")))
        # What was there can still be read.
        assert page.locator(".sway-hook-log li").first.is_visible()
    with serving(tmp_path, port):
        # The page asks now and then, and a busy machine takes its time to answer with a whole new one.
        page.wait_for_selector("html:not(.sway-offline)", state="attached", timeout=240_000)
        page.wait_for_selector(".sway-hook-log li")
        assert "page=log" in page.url
        page.close()
