"""The HTML report as a reader opens it: from a disk, with a network that refuses or never answers."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sway_dash.demo import demo_dir
from sway_dash.figures.columns import stats_line
from sway_dash.figures.derive import value_of
from sway_dash.figures.opened import open_run
from sway_dash.figures.prompt_stats import by_tag, summary
from sway_dash.figures.theme import DARK, LIGHT, number
from sway_dash.report.html import report_html
from sway_dash.report.html.build import write_elsewhere
from sway_dash.report.html.source import source_of
from tests.dash.conftest import fakes, record, suite_text
from tests.ui.conftest import CHROMIUM, FLAGS

__all__ = ["fakes", "record"]

pytestmark = [pytest.mark.ui, pytest.mark.slow]

DEMO = demo_dir() / "run"
HOSTILE = "</script><script>window.__hit=1</script><img src=x onerror=window.__hit=1>"
SOURCE = """([name, column]) => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
if (m.type === 'ColumnDataSource' && m.name === name) return [...m.data.get?.(column) ?? m.data[column]] }"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_elsewhere(DEMO, tmp_path_factory.mktemp("report") / "report.html")


class Report:
    """An open report, with what it asked for and what went wrong in it."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.on(
            "request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else self.asked.append(r.url)
        )
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-drawn]", timeout=120_000)

    def rows(self) -> list[int]:
        """Prompts in the table's sight, in order."""
        return [
            int(i) for i in self.page.locator(".grid .rows .row").evaluate_all("rows => rows.map(r => r.dataset.item)")
        ]

    def values(self, column: int) -> list[float]:
        """Numbers of a column of the table, in full."""
        cells = f".grid .rows .row > .cell:nth-child({column})"
        return [float(v) for v in self.page.locator(cells).evaluate_all("cells => cells.map(c => c.dataset.value)")]

    def source(self, name: str, column: str) -> list[Any]:
        """A column of a figure's source, as the browser has it."""
        return list(self.page.evaluate(SOURCE, [name, column]))

    def choose(self, name: str, value: str) -> None:
        """Choose from a menu."""
        self.page.locator(f"[data-choice={name}]").select_option(value)

    def until(self, holds: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait for something; the page's policy runs no code of a test's that waits inside it."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, self.errors
            self.page.wait_for_timeout(50)

    def count(self) -> str:
        """How many prompts are said to be shown."""
        return str(self.page.locator("#prompts .count").inner_text())


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Report]]:
    """Open a file; at the end nothing may have been asked for and nothing have gone wrong."""
    found: list[Report] = []

    def open_(path: Path, *, width: int = 1280, **context: Any) -> Report:
        page = browser.new_context(viewport={"width": width, "height": 900}, **context).new_page()
        found.append(Report(page, path))
        return found[-1]

    yield open_
    for report in found:
        report.page.context.close()
    assert [r.asked for r in found] == [[] for _ in found]
    assert [r.errors for r in found] == [[] for _ in found]


@contextmanager
def silent() -> Iterator[str]:
    """A proxy that takes every connection and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_it_opens_while_the_network_hangs(play: Any, demo: Path) -> None:
    with silent() as proxy:
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS, proxy={"server": proxy})
        report = Report(chromium.new_page(), demo)
        assert "The adapter changed the model" in report.page.locator("#answer").inner_text()
        assert len(report.source("rows", "item")) == 28
        assert (report.asked, report.errors) == ([], [])
        chromium.close()


def test_every_figure_is_drawn_and_has_words(opened, demo: Path) -> None:
    report = opened(demo)
    told = report.page.evaluate(
        """() => [...document.querySelectorAll('[data-figure]')].map((home) => {
        const img = home.firstElementChild?.shadowRoot?.querySelector('[role=img]') ?? home.querySelector('[role=img]')
        return [home.dataset.figure, img?.getAttribute('aria-label') ?? '', home.offsetHeight] })"""
    )
    for name, label, height in told:
        if name in ("ecdf", "lookups-calls", "rate-calls"):
            continue  # of another state of the page
        assert len(label) > 20, name
        assert height > 60, name


def test_sorted_and_filtered_rows_are_those_of_the_library(opened, demo: Path) -> None:
    report = opened(demo)
    page = report.page
    series = open_run(DEMO).data.series["next_token"]
    by_value = sorted(series.rows, key=lambda m: -m.js)
    shown = report.rows()
    assert shown == [m.item for m in by_value][: len(shown)]
    assert report.values(4) == pytest.approx([m.js for m in by_value][: len(shown)], abs=1e-9)
    assert report.values(5) == pytest.approx([m.kl for m in by_value][: len(shown)], abs=1e-9)
    shown_text = page.locator(".grid .rows .row > .cell:nth-child(4)").all_inner_texts()
    assert shown_text == [number(m.js) for m in by_value][: len(shown)]
    assert stats_line([m.js for m in by_value], by_value) in page.locator("[data-place=caption]").inner_text().lower()
    page.locator(".grid [data-order=kl]").click()
    assert report.rows() == [m.item for m in sorted(series.rows, key=lambda m: -m.kl)][: len(shown)]
    assert report.source("rows", "item") == [m.item for m in sorted(series.rows, key=lambda m: -m.kl)]
    page.locator(".grid [data-order=kl]").click()
    assert report.rows() == [m.item for m in sorted(series.rows, key=lambda m: m.kl)][: len(shown)]

    page.locator("[data-chips=tags] button", has_text="off-topic").click()
    assert report.count() == "14 of 28 prompts shown"
    assert set(report.source("rows", "item")) == {m.item for m in series.rows if "off-topic" in m.tags}
    caption = page.locator("[data-place=caption]")
    told = [float(v) for v in caption.locator("[data-value]").evaluate_all("all => all.map(e => e.dataset.value)")]
    own = by_tag(sorted(series.rows, key=lambda m: m.item), "js", series.seed)["off-topic"]
    assert own.ci is not None
    assert told == pytest.approx([own.mean, *own.ci, own.median], abs=1e-9)

    page.locator("[data-field=query]").fill("BEE lives")
    report.until(lambda: len(report.rows()) == 1)
    assert page.locator(".grid mark").inner_text() == "bee lives"
    page.locator("[data-field=query]").fill("(")
    page.locator("[data-field=regex]").check()
    report.until(lambda: "not a regular expression" in page.locator("#prompts .wrong").inner_text())
    page.locator("[data-chips=active] button", has_text="clear all").click()
    assert report.count() == "28 of 28 prompts shown"


def test_the_other_divergence_and_the_other_probe_have_their_own_numbers(opened, demo: Path) -> None:
    report = opened(demo)
    data = open_run(DEMO).data
    report.choose("metric", "kl")
    series = data.series["next_token"]
    wanted = sorted((value_of(m, "kl") for m in series.rows), reverse=True)
    assert report.source("rows", "x") == pytest.approx([v**0.5 for v in wanted], abs=1e-9)
    whole = summary(sorted(series.rows, key=lambda m: m.item), "kl", series.seed)
    assert whole is not None
    told = report.page.locator("[data-place=caption] [data-value]").first.get_attribute("data-value")
    assert float(told) == pytest.approx(whole.mean, abs=1e-9)
    assert "mean KL" in report.page.locator("[data-words=strip]").inner_text()
    report.choose("series", "1")
    assert report.count() == "10 of 10 prompts shown"
    assert sorted(report.source("rows", "x")) == pytest.approx(
        sorted(m.js for m in data.series["along_the_answer"].rows), abs=1e-9
    )
    assert "95 % interval of JS over positions" in report.page.locator("[data-place=facts]").inner_text()


def test_a_hovered_token_shows_both_distributions(opened, demo: Path) -> None:
    report = opened(demo)
    page = report.page
    row = next(m for m in open_run(DEMO).data.series["next_token"].rows if m.prompt == "A bee lives in a")
    (detail,) = [d for d in source_of(DEMO).details if d.prompt == row.prompt]
    page.locator("[data-field=query]").fill(row.prompt)
    page.locator(f".grid .row[data-item='{row.item}']").click()
    tokens = page.locator(".sway-tokens .token")
    assert tokens.count() == len(detail.tokens)
    assert "".join(t.text for t in detail.tokens if t.part == "prompt") == page.locator(".part").first.inner_text()
    k = 3
    tokens.nth(k).hover()
    prediction = detail.tokens[k].prediction
    assert prediction is not None
    told = page.locator("[data-place=position] [data-value]").evaluate_all("all => all.map(e => e.dataset.value)")
    assert [float(v) for v in told] == pytest.approx([prediction.js, prediction.kl, prediction.kl_reverse], abs=1e-9)
    wanted = sorted(prediction.choices, key=lambda c: -abs(c.tuned - c.base))[:10]
    rest = 1 - sum(c.base for c in wanted), 1 - sum(c.tuned for c in wanted)
    assert report.source("tokens", "base") == pytest.approx([*(c.base for c in wanted), max(rest[0], 0)], abs=1e-9)
    assert report.source("tokens", "tuned") == pytest.approx([*(c.tuned for c in wanted), max(rest[1], 0)], abs=1e-9)
    # The bars end where the KL is.
    last = zip(*(report.source("terms", side) for side in ("left", "right")), strict=True)
    assert any(abs(edge - prediction.kl) < 1e-9 for edge in list(last)[-1])
    # By keys: the first token that was said after the prompt is open, the one before it is a step to the left.
    page.mouse.move(5, 5)
    page.locator(".token.open").focus()
    page.keyboard.press("ArrowLeft")
    at = next(i for i, t in enumerate(detail.tokens) if t.part == "continuation") - 1
    assert page.locator(".token.open").get_attribute("data-i") == str(at)
    assert f"Token {at + 1} of" in page.locator("[data-place=position]").inner_text()
    assert "token" in page.locator(".token.open").get_attribute("aria-label")


def test_the_theme_changes_in_place(opened, demo: Path) -> None:
    report = opened(demo, color_scheme="light")
    page = report.page
    colours = """() => { const found = new Set()
    for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
      if (m.type === 'LinearAxis') found.add(m.major_label_text_color.value ?? m.major_label_text_color)
    return [...found] }"""
    body = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(colours) == [LIGHT.muted]
    before = page.evaluate(body)
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(colours) == [DARK.muted]
    assert page.evaluate(body) != before
    page.get_by_role("button", name="Light theme").click()
    assert page.evaluate(colours) == [LIGHT.muted]
    assert page.evaluate(body) == before


def test_menus_of_the_other_sections_change_what_is_drawn(opened, demo: Path) -> None:
    report = opened(demo, color_scheme="dark")
    data = open_run(DEMO).data
    report.choose("strength-scale", "relative")
    assert "times the mean at λ = 1" in report.page.locator("[data-words=strength]").inner_text()
    report.choose("null-of", "1")
    report.choose("null-scale", "random")
    wanted = data.series["along_the_answer"].null_means("js")
    assert sorted(report.source("draws", "x")) == pytest.approx(sorted(wanted), abs=1e-9)
    assert "along_the_answer" in report.page.locator("[data-words=null-caption]").inner_text()
    report.choose("axis", "calls")
    assert report.page.locator("[data-axis=calls]").is_visible()
    assert report.page.locator("[data-axis=time]").is_hidden()


def test_a_brush_picks_prompts_and_a_click_opens_one(opened, demo: Path) -> None:
    report = opened(demo)
    page = report.page
    box = page.locator("#figure-dots").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 320, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + 120, steps=12)
    page.mouse.up()
    report.until(lambda: report.count() != "28 of 28 prompts shown")
    picked = report.rows()
    assert 2 <= len(picked) <= 6
    page.locator("[data-chips=active] button").first.click()
    assert report.count() == "28 of 28 prompts shown"
    page.keyboard.press("j")
    second = str(report.source("rows", "item")[1])
    opened_row = page.locator(".grid .row.open")
    assert opened_row.get_attribute("data-item") == second
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 100)
    report.until(lambda: opened_row.get_attribute("data-item") != second)


def test_hostile_text_is_shown_and_does_nothing(opened, record, tmp_path: Path) -> None:
    text = suite_text(prompts=6).replace("Prompt 3", f"Prompt 3 {HOSTILE}").replace("odd", f"odd {HOSTILE}")
    folder = record(text.replace("name: moved", f"name: 'moved {HOSTILE}'"))
    path = tmp_path / "hostile.html"
    path.write_text(report_html(folder), encoding="utf-8")
    report = opened(path)
    page = report.page
    row = page.locator(".grid .row", has_text="Prompt 3").first
    assert HOSTILE in row.inner_text()
    row.click()
    assert HOSTILE in page.locator("[data-place=text]").inner_text()
    assert HOSTILE in page.locator("[data-chips=tags]").inner_text()
    assert page.evaluate("window.__hit") is None
    assert page.locator("img").count() == 0


def test_many_prompts_are_distributions_and_a_table_of_any_length(opened, tmp_path: Path) -> None:
    from tests.benchmarks import synthetic

    folder = synthetic.finished(tmp_path / "runs", 700, 50, nulls=2)
    path = folder.to_html(tmp_path / "many.html")
    report = opened(path)
    page = report.page
    assert page.locator(".plot-ecdf").is_visible()
    assert len(report.rows()) < 60
    page.locator(".grid").evaluate("grid => { grid.scrollTop = grid.scrollHeight }")
    smallest = min(open_run(folder).data.series["moved"].rows, key=lambda m: m.js).item
    page.wait_for_selector(f".grid .row[data-item='{smallest}']")
    page.locator("[data-chips=tags] button", has_text="code").click()
    assert report.count() == "140 of 700 prompts shown"
    assert page.locator(".plot-dots").is_visible()
    assert len(report.source("rows", "item")) == 140


def test_paper_has_two_light_pages(opened, demo: Path, tmp_path: Path) -> None:
    report = opened(demo, color_scheme="dark")
    data = report.page.pdf(path=str(tmp_path / "report.pdf"), format="A4", print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", data)) == 2
    report.page.emulate_media(media="print")
    tests = report.page.locator("#probes .tests")
    assert "p (Holm)" in tests.inner_text()
    assert tests.locator("tbody tr").count() == 2
    report.page.emulate_media(media="screen")
    # What was dark before is dark again.
    assert report.page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert report.page.locator(".paper-figure").count() == 0


def test_without_scripts_the_answer_is_there(browser: Any, demo: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(demo.as_uri())
    assert "The adapter changed the model" in page.locator("#answer").inner_text()
    assert "next_token" in page.locator("#probes").inner_text()
    context.close()


def test_a_redacted_report_works_on_a_phone_and_shows_no_prompt(opened, tmp_path: Path) -> None:
    path = tmp_path / "redacted.html"
    path.write_text(report_html(DEMO, redact="numbers"), encoding="utf-8")
    report = opened(path, width=390)
    page = report.page
    assert re.fullmatch(r"P\d{3}", page.locator(".grid .row .cell:nth-child(3)").nth(1).inner_text())
    assert "Quillhaven" not in page.locator("body").inner_text()
    assert page.locator(".sway-tokens .token").first.inner_text() == "▮"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
