"""What a user does, in a browser without a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash import jobs
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text
from tests.ui.conftest import ROOT, Server, Tab, serving, went_wrong

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]

HOSTILE = (
    "<img src=x onerror=window.__hit=1> $$\\frac{1}{2}$$ {{ 1 }} @item\u202e </script><script>window.__hit=1</script>"
)


def start(
    server: Server, monkeypatch: pytest.MonkeyPatch, text: str, name: str = "job", delay_s: float = 0.04
) -> RunFolder:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FAKE_DELAY_S", str(delay_s))
    return jobs.start(text, base_dir=server.runs, name=name, root=server.runs)


@pytest.fixture
def finished(server: Server, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    folder = start(server, monkeypatch, suite_text())
    jobs._workers[folder.meta()["pid"]].wait(timeout=300)
    return folder


def test_the_first_page_shows_the_example_until_there_is_a_run_of_ones_own(browser: Any, tmp_path: Path) -> None:
    with serving(tmp_path) as own:
        tab = Tab(browser.new_page())
        tab.page.goto(own.url)
        tab.until(lambda: "Recorded example" in tab.head() and "finished" in tab.head())
        tab.until(lambda: "hanged" in tab.verdict())
        assert "run=demo" in tab.page.url
        assert tab.rows() > 0
        RunFolder.create(suite_text(), root=tmp_path, name="mine")
        tab.page.goto(own.url)
        tab.until(lambda: "mine" in tab.head())
        tab.page.close()


def test_run_updates_live_and_a_reload_finds_it_again(
    open_tab: Open, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = start(server, monkeypatch, suite_text("slow", prompts=24, nulls=2, ablation=False), delay_s=0.3)
    tab, other = open_tab(f"?run={folder.id}"), open_tab(f"?run={folder.id}")
    tab.until(lambda: "running" in tab.head() and 0 < tab.rows() < 24)
    assert "Measuring" in tab.verdict()
    tab.page.reload()
    tab.page.wait_for_selector(".sway-hook-head h1")
    for one in (tab, other):
        one.until(lambda one=one: "finished" in one.head() and one.rows() == 24)
    tab.page.reload()
    tab.page.wait_for_selector(".sway-hook-head h1")
    tab.until(lambda: "finished" in tab.head() and tab.rows() == 24)
    assert f"run={folder.id}" in tab.page.url


def test_cancel_stops_and_keeps(open_tab: Open, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = start(server, monkeypatch, suite_text("slow", prompts=120, nulls=0, ablation=False), delay_s=0.3)
    tab = open_tab(f"?run={folder.id}")
    tab.until(lambda: tab.rows() >= 4)
    tab.page.get_by_role("button", name="Stop").click()
    tab.until(lambda: "cancelled" in tab.head())
    shown = tab.rows()
    assert 4 <= shown < 120
    assert shown == folder.fold().done
    assert tab.page.get_by_role("button", name="Resume").is_visible()
    assert "Inconclusive" in tab.verdict()


def test_dark_changes_plots_without_a_reload(open_tab: Open, finished: RunFolder) -> None:
    tab = open_tab(f"?run={finished.id}")
    tab.until(lambda: tab.rows() == 8)
    look = """() => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'LinearAxis') return [m.major_label_text_color, window.__mark]; }"""
    tab.page.evaluate("window.__mark = 1")
    before = tab.page.evaluate(look)
    tab.page.get_by_label("Toggle theme").click()
    tab.until(lambda: tab.page.evaluate(look)[0] != before[0])
    palette = """() => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'CategoricalColorMapper') return m.palette[0] }"""
    tab.until(lambda: tab.page.evaluate(palette) == "#FF9E5E")
    assert tab.page.evaluate(look)[1] == 1  # the same page
    # It is a choice, and however early it was made it stays.
    tab.page.wait_for_timeout(2000)
    assert tab.page.evaluate(look)[0] != before[0]
    assert "sway_theme=dark" in tab.page.evaluate("document.cookie")
    tab.page.reload()
    tab.until(lambda: (tab.page.evaluate(look) or before)[0] != before[0])
    # Twice at once is as it was.
    tab.page.get_by_label("Toggle theme").dblclick()
    tab.page.keyboard.press("t")
    tab.page.keyboard.press("t")
    tab.page.wait_for_timeout(2500)
    assert tab.page.evaluate(look)[0] != before[0]
    assert "sway_theme=dark" in tab.page.evaluate("document.cookie")


def test_hostile_text_is_inert(open_tab: Open, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    data = yaml.safe_load(suite_text(nulls=0, ablation=False, prompts=4))
    data["suite"][0]["prompts"] = [{"text": f"{HOSTILE} {i} light", "tags": [HOSTILE]} for i in range(4)]
    data["suite"][0]["name"] = HOSTILE
    folder = start(server, monkeypatch, yaml.safe_dump(data), name=HOSTILE)
    jobs._workers[folder.meta()["pid"]].wait(timeout=300)
    tab = open_tab(f"?run={folder.id}", height=2400)
    tab.until(lambda: tab.rows() == 4)
    box = tab.page.locator('[role=img][aria-label^="Dot plot"] canvas').first.bounding_box()
    for share in (0.3, 0.5, 0.7, 0.9):  # across the dots, for the hover
        tab.page.mouse.move(box["x"] + box["width"] * share, box["y"] + 30)
        tab.page.wait_for_timeout(60)
    for name in ("Trace", "Log", "New run", "Runs"):
        tab.open_tab(name)
        tab.page.wait_for_timeout(700)
    assert tab.page.evaluate("window.__hit") is None
    assert tab.page.evaluate("document.querySelectorAll('img[src=x]').length") == 0
    assert tab.page.locator("img[src=x]").count() == 0
    assert not [r for r in tab.outside if "mathjax" in r.lower()]


def test_narrow_screens_have_no_sideways_scroll_and_plots_have_words(open_tab: Open, finished: RunFolder) -> None:
    tab = open_tab(f"?run={finished.id}", width=390, height=844)
    tab.until(lambda: tab.rows() == 8)
    assert tab.page.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert tab.page.locator("h1").count() == 1
    labels = tab.page.locator("[role=img][aria-label]")
    texts = [labels.nth(i).get_attribute("aria-label") for i in range(labels.count())]
    assert len(texts) >= 4
    assert any("Dot plot of 8 prompts" in t for t in texts)
    # What each probe says lies within the screen, below its name.
    said = tab.page.locator(".sway-hook-probes tbody td:nth-child(7)")
    boxes = [box for box in (said.nth(i).bounding_box() for i in range(said.count())) if box]
    assert boxes
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)


def test_the_answer_its_pictures_and_the_probes_are_seen_together(open_tab: Open) -> None:
    tab = open_tab("?run=demo", width=1280, height=800)
    parts = [
        tab.page.locator(".sway-hook-verdict"),
        tab.page.get_by_role("img", name="Dot plot of 28 prompts"),
        tab.page.get_by_role("img", name="Running mean over the prompts"),
        tab.page.locator(".sway-hook-probes tbody tr").nth(2),
    ]

    def seen() -> bool:
        boxes = [part.bounding_box() if part.count() else None for part in parts]
        return all(box and box["y"] >= 0 and box["y"] + box["height"] <= 800 and box["height"] > 20 for box in boxes)

    assert tab.until(seen)


def test_a_run_that_is_not_there_does_not_break_the_page(open_tab: Open) -> None:
    tab = open_tab("?run=../../etc")
    tab.until(lambda: "finished" in tab.head() or "cancelled" in tab.head())
    assert "etc" not in tab.head()


def test_server_log_has_no_errors(server: Server) -> None:
    assert not went_wrong(server)
