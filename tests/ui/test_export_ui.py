"""What a user takes along from the dashboard: files as the browser saves them, read back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest
from PIL import Image

from sway_dash.demo import demo_dir
from sway_dash.report import frames
from sway_dash.report.html.compare_elsewhere import Asked
from sway_dash.report.html.page import unpacked
from sway_dash.suite.comparison import compare, open_side
from sway_dash.suite.trace_file import load
from tests.dash.conftest import suite_text
from tests.ui.conftest import Tab
from tests.ui.test_compare_ui import HOSTILE, record

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]
DEMO = demo_dir() / "run"
SVG = "{http://www.w3.org/2000/svg}"


def opened(tab: Tab) -> Any:
    """The dialog, opened over the page."""
    tab.page.get_by_role("button", name="Export", exact=True).click()
    tab.page.get_by_role("dialog", name="Export").wait_for()
    return tab.page.locator(".sway-hook-preview pre")


def saved(tab: Tab, button: str, folder: Path, within: str = "[role=dialog]") -> Path:
    """Press a button of the dialog and keep what the browser saves."""
    with tab.page.expect_download(timeout=120_000) as found:
        tab.page.locator(within).get_by_role("button", name=button, exact=True).click()
    path = folder / found.value.suggested_filename
    found.value.save_as(path)
    return path


def test_tables_trace_and_report_leave_as_the_dialog_says(open_tab: Open, tmp_path: Path) -> None:
    tab = open_tab("?run=demo&page=log")
    preview = opened(tab)
    csv = saved(tab, "CSV", tmp_path, ".sway-hook-prompts")
    assert csv.name == "demo-prompts.csv"
    whole = frames.measurements(DEMO)
    assert frames.read_csv(csv).equals(whole)
    rows = saved(tab, "JSONL", tmp_path, ".sway-hook-draws").read_text().splitlines()
    assert [json.loads(row)["js"] for row in rows] == frames.draws(DEMO)["js"].tolist()
    parquet = saved(tab, "Parquet", tmp_path, ".sway-hook-prompts")
    assert pd.read_parquet(parquet)["kl"].tolist() == whole["kl"].tolist()
    trace = json.loads(saved(tab, "Trace for Perfetto", tmp_path).read_text())
    passes = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["tid"] > 1]
    misses = sum(not call.hit for call in load(DEMO / "trace.jsonl"))
    assert sum(e["args"]["prompts"] for e in passes) == misses
    prompt = whole.loc[0, "prompt"]
    tab.until(lambda: prompt in preview.inner_text())
    tab.page.get_by_role("button", name="No prompts", exact=True).click()
    tab.until(lambda: "P001" in preview.inner_text())
    assert prompt not in preview.inner_text()
    report = saved(tab, "HTML report", tmp_path)
    text = report.read_text(encoding="utf-8")
    assert prompt not in text
    assert prompt not in json.dumps(unpacked(text), ensure_ascii=False)
    said = tab.page.locator(".sway-hook-export p")
    tab.until(lambda: report.name in said.inner_text())


def test_pictures_are_on_white_with_title_n_and_run_in_both_themes(open_tab: Open, tmp_path: Path) -> None:
    tab = open_tab("?run=demo&page=overview")
    tab.page.locator("[role=img] canvas").first.wait_for()
    opened(tab)
    _check_picture(tab, tmp_path)
    tab.page.keyboard.press("Escape")
    tab.page.get_by_role("dialog", name="Export").wait_for(state="hidden")
    tab.page.get_by_label("Toggle theme").click()
    tab.until(lambda: tab.page.evaluate(TUNED_IS_DARK))
    tab.open_tab("Null")
    tab.page.locator("[role=img] canvas:visible").first.wait_for()
    tab.open_tab("Overview")
    opened(tab)
    _check_picture(tab, tmp_path)
    # What is on another page is not offered.
    names = tab.page.locator(".sway-hook-pictures li span").all_inner_texts()
    assert "Tuned model against random adapters" in names
    assert "Random adapters and the tuned one" not in names


TUNED_IS_DARK = """() => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
  if (m.type === 'CategoricalColorMapper' && m.palette.includes('#FF9E5E')) return true; return false }"""


def _check_picture(tab: Tab, folder: Path) -> None:
    name = "Divergence of every prompt"
    svg = saved(tab, f"{name} as SVG", folder)
    assert svg.name == "demo-overview-divergence-of-every-prompt.svg"
    root = ET.parse(svg).getroot()
    texts = ["".join(t.itertext()) for t in root.iter(f"{SVG}text")]
    assert texts[0] == name
    below = " · ".join(texts[1:])
    for part in ("Recorded example", "run demo", "n = 28 prompts", "2026-"):
        assert part in below
    # Vectors; only the tile of a hatch is a picture, and it is inside.
    tiles = [image for pattern in root.iter(f"{SVG}pattern") for image in pattern.iter(f"{SVG}image")]
    assert list(root.iter(f"{SVG}image")) == tiles
    assert all(value.startswith("data:") for tile in tiles for key, value in tile.items() if key.endswith("href"))
    assert len(list(root.iter(f"{SVG}path"))) > 28
    colours = {e.get(a, "").lower().replace(" ", "") for e in root.iter() for a in ("fill", "stroke")}
    assert any("196,78,0" in c or "#c44e00" in c for c in colours), colours
    assert not any("255,158,94" in c or "#ff9e5e" in c for c in colours)
    png = saved(tab, f"{name} as PNG", folder)
    picture = Image.open(png).convert("RGB")
    assert picture.size == (2 * float(root.get("width") or 0), 2 * float(root.get("height") or 0))
    assert picture.getpixel((1, 1)) == (255, 255, 255)
    dark = sum(n for n, (r, g, b) in picture.getcolors(maxcolors=1 << 24) if r + g + b < 120)
    assert 0 < dark < 0.1 * picture.width * picture.height


def test_the_comparison_leaves_as_one_file(open_tab: Open, server: Any, tmp_path: Path) -> None:
    folders = [
        record(server.runs, address, base, prompts=9)[0] for address, base in (("xa", "plain"), ("xb", "strong2"))
    ]
    tab = open_tab("?page=compare&runs=xa,xb")
    preview = opened(tab)
    tab.until(lambda: "B: xb" in preview.inner_text())
    report = saved(tab, "HTML report", tmp_path)
    known = compare([open_side(folder.path) for folder in folders])
    data = unpacked(report.read_text(encoding="utf-8"))["data"]
    assert data["values"] == known.values.T.tolist()
    assert data["contrasts"][0]["deltas"] == known.contrasts[0].deltas.tolist()
    table = frames.read_csv(saved(tab, "CSV", tmp_path, within=".sway-hook-differences"))
    assert table["delta"].equals(pd.Series(known.contrasts[0].deltas))


def test_the_comparison_file_is_used_without_a_network(browser: Any, tmp_path: Path) -> None:
    folders = []
    for address, base, n in (("first", "plain", 12), ("second", "strong2", 13), ("third", "strong0.5", 12)):
        text = suite_text(base, prompts=n, ablation=False).replace("Prompt 3 ", f"{json.dumps(HOSTILE)[1:-1]} ")
        folders.append(record(tmp_path, address, text=text, name=f"{address} {HOSTILE}")[0])
    path = Asked([folder.path for folder in folders]).write(tmp_path / "comparison.html")
    known = compare([open_side(folder.path) for folder in folders])
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if not r.url.startswith(("file:", "data:", "blob:")) else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]")
    rows = page.locator(".compared-row")
    assert page.locator("[data-count]").inner_text() == "13 prompts"

    def column(k: int) -> list[float]:
        cells = rows.locator(f"[role=cell]:nth-child({k}) [data-value]")
        return [float(v) for v in cells.evaluate_all("cells => cells.map((c) => c.dataset.value)")]

    # Largest difference first; what is on the screen is the library's to the last digit.
    first = known.contrasts[0].deltas
    paired = sorted((v for v in first.tolist() if v == v), key=abs, reverse=True)
    assert column(3) == pytest.approx(paired, abs=1e-12)
    page.locator("[data-choice=contrast]").select_option("1")
    second = sorted((v for v in known.contrasts[1].deltas.tolist() if v == v), key=abs, reverse=True)
    assert column(3) == pytest.approx(second, abs=1e-12)
    # Sorted by the baseline, falling, then rising.
    page.get_by_role("button", name="A ★").click()
    assert column(4) == sorted(column(4), reverse=True)
    page.get_by_role("button", name="A ★").click()
    assert column(4) == sorted(column(4))
    page.get_by_label("Search").fill("bread")
    assert all("bread" in text for text in rows.locator("bdi").all_inner_texts())
    assert 0 < rows.count() < 12
    page.get_by_label("Search").fill("")
    page.get_by_role("button", name="odd").click()
    assert page.locator("[data-count]").inner_text() == "6 of 13 prompts"
    drawn = page.locator("[data-figure=differences] canvas").first
    before = drawn.screenshot()
    page.get_by_role("button", name="Dark theme").click()
    page.wait_for_timeout(500)
    assert drawn.screenshot() != before
    assert page.evaluate("window.__hit") is None
    assert any("onerror=window.__hit=1" in text for text in page.locator("body").all_inner_texts())
    page.close()
    assert (asked, wrong) == ([], [])
