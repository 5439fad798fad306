"""The evidence of any probe in a browser, on the dashboard and in the report, without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sway_dash.report.html.build import write_elsewhere
from tests.evidence_runs import CLUSTERS, DECAY, LONG, evidence_run
from tests.ui.conftest import Server, Tab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]

INSIDE = "() => document.documentElement.scrollWidth <= window.innerWidth + 1"


def figures(page: Any, label: str) -> Any:
    return page.locator(f'[role=img][aria-label^="{label}"]:visible')


def test_a_probe_of_the_overview_opens_its_evidence_here_and_back_returns(same_tab: Open, server: Server) -> None:
    folder = evidence_run(server.runs)
    tab = same_tab(f"?run={folder.id}")
    link = tab.page.locator(".sway-hook-probes a", has_text="decay")
    tab.until(lambda: link.count() == 1)
    marked = "window.__same = 1"
    tab.page.evaluate(marked)
    link.click()
    tab.until(lambda: figures(tab.page, DECAY.title).count() == 1)
    assert tab.page.evaluate("window.__same") == 1
    tab.until(lambda: "e=decay" in tab.page.url and "page=evidence" in tab.page.url)
    tab.page.go_back()
    tab.until(lambda: "page=overview" in tab.page.url)


def test_what_follows_a_long_table_stands_below_it(same_tab: Open, server: Server) -> None:
    folder = evidence_run(server.runs)
    tab = same_tab(f"?run={folder.id}", height=200)
    parts = [tab.page.locator(".sway-hook-probes"), tab.page.get_by_role("button", name="Composite score")]
    tab.until(lambda: all(part.is_visible() for part in parts))
    table, following = (part.bounding_box() for part in parts)
    assert table["height"] > 200
    assert following["y"] >= table["y"] + table["height"]


def test_rows_are_ordered_turned_and_opened(same_tab: Open, server: Server) -> None:
    folder = evidence_run(server.runs)
    tab = same_tab(f"?run={folder.id}&page=evidence&e=sections")
    table = tab.page.locator(".sway-hook-panel-table").first
    tab.until(lambda: table.locator(".rows .row").count() > 10)
    part = tab.page.locator(".sway-hook-part span").first
    tab.until(lambda: "1 to 30 of 120" in part.inner_text())
    tab.page.get_by_role("button", name="Next rows").first.click()
    tab.until(lambda: "31 to 60 of 120" in part.inner_text())
    table.get_by_role("button", name="Label").click()
    first = sorted((r.label for r in LONG.rows), key=str.casefold)[0]
    tab.until(lambda: first[:12] in table.locator(".rows .row").first.inner_text())
    tab.until(lambda: "1 to 30 of 120" in part.inner_text())
    table.locator(".rows .row").nth(2).click()
    opened = tab.page.locator(".sway-hook-row .sway-prompt").first
    tab.until(lambda: opened.count() == 1)
    tab.page.keyboard.press("j")
    tab.until(lambda: "e=decay" in tab.page.url)
    assert tab.page.evaluate("window.__hit") is None


@pytest.mark.parametrize("width", [390, 1280])
def test_every_probe_fits_the_window(same_tab: Open, server: Server, width: int) -> None:
    folder = evidence_run(server.runs)
    for entry, title in (("sections", LONG.title), ("topics", CLUSTERS.title), ("house", "")):
        tab = same_tab(f"?run={folder.id}&page=evidence&e={entry}", width=width)
        tab.until(lambda tab=tab, entry=entry: entry in tab.page.locator(".sway-hook-evidence h1").all_inner_texts())
        if title:
            tab.until(lambda tab=tab, title=title: figures(tab.page, title).count() == 1)
        assert tab.page.evaluate(INSIDE)
        assert tab.page.evaluate("window.__hit") is None


def test_the_report_draws_and_lists_it_from_a_disk(browser: Any, tmp_path: Path) -> None:
    path = write_elsewhere(evidence_run(tmp_path), tmp_path / "report.html")
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    errors: list[str] = []
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=120_000)
    for title in (LONG.title, DECAY.title, CLUSTERS.title):
        assert figures(page, title).count() >= 1
    box = page.locator('details[data-rows="evidence-0-0"]')
    assert box.locator("tr").count() == 0
    box.locator("summary").click()
    box.locator("tbody tr").first.wait_for()
    assert box.locator("tbody tr").count() == len(LONG.rows)
    box.get_by_role("button", name="Base").click()
    box.locator("th[aria-sort=descending]").wait_for()
    highest = max(r.base or 0.0 for r in LONG.rows)
    assert f"{highest:.3g}" in box.locator("tbody tr").first.inner_text()
    assert page.evaluate("window.__hit") is None
    assert errors == []
    page.close()
