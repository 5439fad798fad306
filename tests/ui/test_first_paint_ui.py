"""Before anything of the page is built."""

from __future__ import annotations

import re
from typing import Any

from sway_dash.figures.theme import STATIC


def test_a_server_that_gets_no_cookie_is_asked_twice_and_no_more(browser: Any) -> None:
    head = (STATIC / "first.html").read_text(encoding="utf-8")
    script = re.search(r"<script>.*?</script>", head, re.DOTALL)
    assert script is not None
    # As a proxy does that strips cookies: the page is light whatever the browser remembers.
    served = script[0].replace("{{ sway_theme }}", "light")
    asked = []

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        route.fulfill(body=f"<!doctype html><head>{served}</head><p>here</p>", content_type="text/html")

    page = browser.new_page(color_scheme="dark")
    try:
        page.route("**/*", answer)
        page.goto("http://127.0.0.1:9/sway", wait_until="commit")
        page.wait_for_timeout(1000)
        page.locator("p").wait_for()
        assert len([url for url in asked if url.endswith("/sway")]) == 2
        assert page.evaluate("document.cookie") == "sway_theme=dark"
    finally:
        page.close()
