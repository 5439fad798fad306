"""What a user does on the Compare page, in a browser without a network."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sway_dash.core.events import Event, Measurement
from sway_dash.report.paired import summary
from sway_dash.suite.comparison import compare, open_side
from sway_dash.suite.loader import loads
from sway_dash.suite.runner import run
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text
from tests.fakes import FakeBackend
from tests.ui.conftest import Server, Tab, serving, went_wrong

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]

HOSTILE = (
    "<img src=x onerror=window.__hit=1> $$\\frac{1}{2}$$ @prompt {{ 1 }}\u202e </script><script>window.__hit=1</script>"
)


def record(
    runs: Path, address: str, base: str = "plain", *, name: str = "", text: str = "", adapter: str = "", **kwargs: Any
) -> tuple[RunFolder, list[Event]]:
    """A finished run under an address of its choice, and its events."""
    text = text or suite_text(base, ablation=False, **kwargs)
    folder = RunFolder.create(text, root=runs, name=name or address)
    spec = loads(text)
    events: list[Event] = []
    run(spec, FakeBackend(base_spec=spec.models.ft), on_event=lambda e: events.append(e) if _kept(e) else None)
    if adapter:
        events = [e.model_copy(update={"adapter_id": adapter}) if e.type == "run_started" else e for e in events]
    for event in events:
        folder.append(event)
    folder.close()
    folder.path.rename(runs / address)
    return RunFolder(runs / address), events


def _kept(event: Any) -> bool:
    return event.type != "cache_access"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page with runs that most tests share."""
    runs = tmp_path_factory.mktemp("compared")
    record(runs, "a", name="first try", prompts=12)
    record(runs, "b", "strong2", name="stronger", prompts=13)
    record(runs, "c", "strong0.5", name="weaker", prompts=12)
    record(runs, "again", name="again", prompts=12)
    with serving(runs) as found:
        yield found


@pytest.fixture
def open_page(same_tab: Open) -> Open:
    """Turn to the page: ``open_page("runs=a,b&base=a")``; it always says of which runs."""
    return lambda query, **options: same_tab(f"?page=compare&{query}", **options)


@pytest.fixture
def new_page(open_tab: Open) -> Open:
    """The page in a tab of its own, for what a tab keeps: a zoom, a theme, the width it was laid out for."""
    return lambda query, **options: open_tab(f"?page=compare&{query}", **options)


def search_box(tab: Tab) -> Any:
    """The search of this page; those of pages that are hidden have longer names."""
    return tab.page.get_by_label("Search prompts, tags", exact=True)


def said(tab: Tab, hook: str) -> str:
    """Text of a part of the page; every part has a shadow root of its own."""
    return str(
        tab.page.locator(f".sway-hook-{hook}").evaluate_all(
            """parts => parts.flatMap((e) => [...(e.shadowRoot ?? e).children])
            .filter((e) => !['STYLE', 'LINK'].includes(e.tagName)).map((e) => e.innerText).join(' | ')"""
        )
    )


def scrolled(tab: Tab) -> float:
    """How far the page is scrolled, whatever scrolls it."""
    above = """e => { for (; e; e = e.parentElement ?? e.getRootNode().host) if (e.scrollTop > 0) return e.scrollTop;
        return 0 }"""
    return float(tab.page.locator(".sway-hook-settings").evaluate(above))


def sentence(server: Server, *addresses: str, baseline: int = 0) -> str:
    """What the library says of the first other run."""
    found = compare([open_side(server.runs / a) for a in addresses], baseline=baseline)
    from sway_dash.figures.theme import number

    return summary(found, found.contrasts[0], "ABCDEFGH", number)


def source(tab: Tab, *columns: str) -> dict[str, list[Any]] | None:
    """Columns of the first filled source in the browser that has them all."""
    found = tab.page.evaluate(
        """(names) => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'ColumnDataSource' && names.every((n) => n in m.data) && m.data[names[0]].length)
          return Object.fromEntries(names.map((n) => [n, Array.from(m.data[n])]));
        return null }""",
        list(columns),
    )
    return dict(found) if found else None


def test_two_runs_are_compared_prompt_by_prompt(open_page: Open, server: Server) -> None:
    tab = open_page("runs=a,b")
    told = sentence(server, "a", "b")
    tab.until(lambda: told in said(tab, "summary"))
    tab.until(lambda: source(tab, "place", "y", "a", "b") is not None)
    shown = source(tab, "place", "y", "a", "b", "way")
    assert shown is not None
    found = compare([open_side(server.runs / a) for a in ("a", "b")])
    assert len(shown["place"]) == 12
    for place, a, b in zip(shown["place"], shown["a"], shown["b"], strict=True):
        assert (a, b) == pytest.approx(tuple(found.values[place]), abs=1e-9)
    assert "1 prompt not in every run" in said(tab, "unpaired")
    tab.until(lambda: "A: not in its suite" in said(tab, "unpaired-table"))
    rows = tab.page.locator(".sway-hook-compare-table .rows .row")
    assert "about light" in rows.first.inner_text()
    labels = tab.page.locator("[role=img][aria-label]")
    texts = [labels.nth(i).get_attribute("aria-label") for i in range(labels.count())]
    assert any("12 prompts in both" in t for t in texts)
    assert any(t.startswith("Mean difference of JS") for t in texts)


def test_another_baseline_flips_the_signs_and_stays(open_page: Open, new_page: Open, server: Server) -> None:
    tab = open_page("runs=a,b")
    tab.until(lambda: "mean ΔJS = +" in said(tab, "summary"))
    star = tab.page.get_by_role("button", name="Make B the baseline")
    star.focus()
    tab.page.keyboard.press("Enter")
    turned = sentence(server, "a", "b", baseline=1)
    tab.until(lambda: turned in said(tab, "summary"))
    assert "mean ΔJS = −" in said(tab, "summary")
    # The button keeps the focus: the next key goes where the reader is.
    tab.until(lambda: tab.page.get_by_role("button", name="B is the baseline").evaluate("e => e.matches(':focus')"))
    other = new_page("runs=a,b")
    other.until(lambda: "mean ΔJS = −" in said(other, "summary"))
    tab.page.get_by_role("button", name="Make A the baseline").click()
    tab.until(lambda: "mean ΔJS = +" in said(tab, "summary"))


def test_a_click_before_the_page_has_reported_itself_is_answered_whole(browser: Any, server: Server) -> None:
    held: list[tuple[Any, list[str | bytes]]] = []

    def route(ws: Any) -> None:
        to = ws.connect_to_server()
        parts: list[str | bytes] = []

        def pass_on(part: str | bytes) -> None:
            parts.append(part)
            if len(parts) == 3:  # header, metadata, content
                message = list(parts)
                parts.clear()
                if '"document_ready"' in str(part):
                    held.append((to, message))
                else:
                    for each in message:
                        to.send(each)

        ws.on_message(pass_on)

    page = browser.new_page()
    page.route_web_socket(re.compile("/ws"), route)
    tab = Tab(page)
    page.goto(server.url + "?page=compare&runs=a,b&base=a")
    tab.until(lambda: "mean ΔJS = +" in said(tab, "summary"))
    page.get_by_role("button", name="Make B the baseline").click()
    page.wait_for_timeout(1000)
    [(to, ready)] = held
    for each in ready:
        to.send(each)
    tab.until(lambda: "mean ΔJS = −" in said(tab, "summary"))
    assert tab.until(page.get_by_role("button", name="B is the baseline").is_visible)
    page.close()


def test_identical_runs_say_that_nothing_changed(open_page: Open) -> None:
    tab = open_page("runs=a,again&base=a")
    tab.until(lambda: "Nothing changed: all 12 prompts have the same JS in B and A." in said(tab, "summary"))
    assert "Nothing: the same suite in the same environment." in said(tab, "settings")
    assert not said(tab, "mismatches").strip()


def test_runs_that_cannot_quite_be_compared_warn(open_page: Open, server: Server) -> None:
    record(server.runs, "other", name="other", prompts=12, nulls=3, divergence="kl")
    tab = open_page("runs=a,other&base=a")
    tab.until(lambda: "Not quite comparable: different random adapters, judged divergence" in said(tab, "mismatches"))
    tab.page.get_by_text("2 differences in detail").click()
    tab.until(lambda: "A: 10, B: 3" in said(tab, "mismatches"))
    assert tab.until(lambda: "suite.noise.runs" in said(tab, "settings"))


def test_nothing_to_compare_yet_offers_the_recent_runs(open_page: Open) -> None:
    tab = open_page("runs=")
    tab.page.get_by_role("button", name=re.compile("^first try")).click()
    tab.until(lambda: tab.page.get_by_text("One more run is needed").is_visible())
    tab.page.get_by_role("button", name=re.compile("^stronger")).click()
    tab.until(lambda: "13 only" not in said(tab, "summary") and "mean ΔJS" in said(tab, "summary"))
    tab.page.get_by_role("button", name="Do not compare B").click()
    assert tab.until(lambda: tab.page.get_by_text("One more run is needed").is_visible())


def test_a_prompt_opens_here_and_in_its_run(open_page: Open) -> None:
    tab = open_page("runs=a,b,c&base=a")
    tab.until(lambda: tab.page.locator(".sway-hook-compare-table .rows .row").count() > 5)
    tab.page.locator(".sway-hook-compare-table .rows .row").nth(1).click()
    tab.until(lambda: "One prompt in every run" in said(tab, "compare-prompt"))
    assert "more changed" in said(tab, "compare-prompt")
    # Keys of the page: the other run's prompts.
    tab.page.keyboard.press("]")
    tab.until(lambda: "C against A" in said(tab, "pair"))
    tab.page.keyboard.press("[")
    tab.until(lambda: "B against A" in said(tab, "pair"))
    tab.page.get_by_role("button", name=re.compile("^Open in C")).click()
    assert tab.until(lambda: "page=prompts" in tab.page.url and "run=c" in tab.page.url and "p=" in tab.page.url)


def test_a_key_right_after_typing_is_answered_whole(open_page: Open) -> None:
    tab = open_page("runs=a,b,c&base=a")
    tab.until(lambda: "B against A" in said(tab, "pair"))
    search = search_box(tab).element_handle()
    for text, key, pair in (("P", "]", "C against A"), ("Pr", "[", "B against A"), ("", "]", "C against A")):
        # In one turn of the browser, so that the key reaches the server while the text waits for its turn there.
        search.evaluate(
            """(input, [text, key]) => {
            Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(input, text);
            input.dispatchEvent(new Event("input", { bubbles: true }));
            document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, composed: true })) }""",
            [text, key],
        )
        assert tab.until(lambda pair=pair: pair in said(tab, "pair"))


def test_filters_leave_prompts_out(open_page: Open) -> None:
    tab = open_page("runs=a,b&base=a")
    tab.until(lambda: "13 of 13 prompts listed" in said(tab, "compare-count"))
    tab.page.get_by_role("button", name=re.compile("odd")).click()
    tab.until(lambda: "n = 6" in said(tab, "summary"))
    search_box(tab).fill("Prompt 1 ")
    assert tab.until(lambda: "1 of 13 prompts listed" in said(tab, "compare-count"))


def test_checkpoints_are_drawn_over_steps_also_on_a_telephone(new_page: Open, server: Server) -> None:
    for step, strong in ((50, 0.3), (400, 0.7), (1000, 1)):
        record(server.runs, f"k{step}", f"strong{strong}", adapter=f"/out/checkpoint-{step}", prompts=8, nulls=3)
    tab = new_page("runs=k1000,k50,k400&base=k50", width=390, height=844)
    tab.until(lambda: "step 50 (B)" in said(tab, "course"))
    shown = source(tab, "step", "mean", "run")
    assert shown is not None
    assert shown["step"] == [50, 400, 1000]
    assert shown["mean"] == sorted(shown["mean"])
    tab.page.locator("[role=img] canvas:visible").first.wait_for()
    assert tab.page.evaluate("document.scrollingElement.scrollWidth") <= 390


def test_a_run_that_goes_on_is_followed_and_moves_nothing(new_page: Open, server: Server) -> None:
    folder, events = record(server.runs, "live", "strong2", name="going on", prompts=12)
    own = [i for i, e in enumerate(events) if isinstance(e, Measurement) and e.role == "probe"]
    path = folder.path / "events.jsonl"
    path.unlink()
    for event in events[: own[5] + 1]:
        folder.append(event)
    folder.close()
    folder.claim()
    tab = new_page("runs=a,live&base=a", height=700)
    tab.until(lambda: "n = 6" in said(tab, "summary"))
    assert "B is still being measured" in said(tab, "summary")
    search = search_box(tab)
    search.focus()
    zoom = """(ends) => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'Figure' && String(m.below[0].axis_label).startsWith('mean Δ')) {
          if (ends) [m.x_range.start, m.x_range.end] = ends; return [m.x_range.start, m.x_range.end] } }"""
    mine = tab.page.evaluate(zoom, [0.0, 0.01])
    mark = tab.page.evaluate("window.__mark = 1")
    tab.page.mouse.move(640, 400)
    tab.page.mouse.wheel(0, 200)
    tab.until(lambda: scrolled(tab) > 100)
    tab.page.wait_for_timeout(500)
    before = scrolled(tab)
    for event in events[own[5] + 1 :]:
        folder.append(event.model_copy(update={"ts": time.time()}))
        if isinstance(event, Measurement):
            tab.page.wait_for_timeout(200)
    folder.close()
    tab.until(lambda: "n = 12" in said(tab, "summary") and "still being measured" not in said(tab, "summary"))
    assert search.evaluate("e => e === e.getRootNode().activeElement")
    assert scrolled(tab) == before
    assert tab.page.evaluate(zoom, None) == mine == [0.0, 0.01]
    assert tab.page.evaluate("window.__mark") == mark == 1


def test_dark_changes_the_plots_without_a_reload(new_page: Open) -> None:
    tab = new_page("runs=a,b")
    palette = """() => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'CategoricalColorMapper') return m.palette[0] }"""
    tab.until(lambda: tab.page.evaluate(palette) == "#C44E00")
    # Figures are known before the page that holds them is painted, and its buttons with it.
    tab.until(lambda: "mean ΔJS" in said(tab, "summary"))
    tab.page.evaluate("window.__mark = 1")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(colour)

    def dark() -> bool:
        # A busy page may not have heard the first click.
        if tab.page.evaluate(colour) == light:
            tab.page.get_by_label("Toggle theme").click()
            tab.page.wait_for_timeout(2000)
        return bool(tab.page.evaluate(palette) == "#FF9E5E")

    tab.until(dark)
    assert tab.page.evaluate("window.__mark") == 1


def test_hostile_names_and_prompts_are_inert(open_page: Open, server: Server) -> None:
    data = yaml.safe_load(suite_text(nulls=2, ablation=False, prompts=5))
    data["suite"][1]["prompts"] = [{"text": f"{HOSTILE} {i} light", "tags": [HOSTILE]} for i in range(5)]
    data["suite"][1]["name"] = HOSTILE
    for address, n in (("h1", 5), ("h2", 4)):
        data["suite"][1]["prompts"] = data["suite"][1]["prompts"][:n]
        record(server.runs, address, name=f"{HOSTILE} {address}", text=yaml.safe_dump(data))
    tab = open_page("runs=h1,h2,<img src=x>&base=h1", height=2600)
    tab.until(lambda: "Nothing changed: all 4 prompts" in said(tab, "summary"))
    tab.page.locator(".sway-hook-compare-table .rows .row").first.click()
    tab.until(lambda: "One prompt in every run" in said(tab, "compare-prompt"))
    box = tab.page.locator('[role=img][aria-label^="Slopes"] canvas').first.bounding_box()
    for share in (0.1, 0.3, 0.5, 0.6):  # across the marks, for the hover
        tab.page.mouse.move(box["x"] + box["width"] * share, box["y"] + 60)
        tab.page.wait_for_timeout(80)
    tab.page.get_by_label("Add a run").click()
    tab.page.wait_for_timeout(500)
    assert tab.page.evaluate("window.__hit") is None
    assert tab.page.locator("img[src=x]").count() == 0
    assert not [r for r in tab.outside if "mathjax" in r.lower()]


def test_server_log_has_no_errors(server: Server) -> None:
    assert not went_wrong(server)
