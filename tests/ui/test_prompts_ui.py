"""The Prompts page as a reader uses it: filter, brush, open, walk, read tokens, copy; live, hostile text, narrow."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from sway_dash.core.events import Measurement
from sway_dash.core.scoring import BASE, FINETUNED
from sway_dash.figures.theme import number
from sway_dash.suite.details import record as record_details
from sway_dash.suite.loader import loads
from sway_dash.suite.runner import run
from sway_dash.suite.store import RunFolder
from tests import fakes
from tests.dash.conftest import suite_text
from tests.ui.conftest import Server, Tab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]

HOSTILE = "<img src=x onerror=window.__hit=1></script><script>window.__hit=1</script> $$x$$ {{ 1 }} @item"
RTL = "שלום \u202e gnp.exe مرحبا"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


def recorded(server: Server, text: str, *, details: int = 24) -> RunFolder:
    """A finished run among the server's, with its most moved prompts token by token."""
    spec = loads(text)
    folder = RunFolder.create(text, root=server.runs, name="recorded")
    backend = fakes.FakeBackend(base_spec=spec.models.ft)
    events: list[Any] = []
    run(spec, backend, trace_path=folder.path / "trace.jsonl", on_event=events.append)
    for event in events:
        folder.append(event)
    folder.close()
    if details:
        own = [e for e in events if isinstance(e, Measurement) and e.role == "probe"]
        prompts = [m.prompt for m in sorted(own, key=lambda m: -m.js)]
        record_details(folder, backend, prompts, limit=details)
    return folder


def measured(folder: RunFolder) -> list[Measurement]:
    """The probe's own measurements, largest JS first."""
    own = [e for e in folder.tail().read() if isinstance(e, Measurement) and e.role == "probe"]
    return sorted(own, key=lambda m: (-m.js, m.item))


def items(tab: Tab) -> list[int]:
    """Prompts in the table, in order."""
    found = tab.page.locator(".sway-hook-table .rows .row").evaluate_all(
        "rows => rows.map(r => Number(r.dataset.item))"
    )
    return [int(i) for i in found]


def counted(tab: Tab) -> str:
    return " ".join(tab.page.locator(".sway-hook-count [role=status]").all_inner_texts())


def opened(tab: Tab) -> str:
    """Head of the open prompt's pane."""
    return " | ".join(tab.page.locator(".sway-hook-detail h2, .sway-hook-detail p").all_inner_texts())


def ready(tab: Tab, n: int) -> None:
    tab.until(lambda: f"{n:,} of {n:,} prompts shown" in counted(tab) and bool(items(tab)))
    tab.page.get_by_label("Search prompts, tags, tokens, generations").wait_for()
    still(tab)


def still(tab: Tab) -> None:
    """Wait until figures have their heights: what is clicked before may move away under the pointer."""
    places = """() => [".sway-hook-table", ".sway-hook-tags", ".sway-pane"].map((s) => {
        const find = (n) => n.querySelector(s) ?? [...n.querySelectorAll("*")].reduce(
          (found, e) => found ?? (e.shadowRoot ? find(e.shadowRoot) : null), null)
        const box = find(document)?.getBoundingClientRect(); return box ? [box.y, box.height] : null })"""
    seen = [(tab.page.evaluate(places), frame(tab))]
    while len(seen) < 4 or any(one != seen[-1] for one in seen[-4:]):
        assert len(seen) < 100
        tab.page.wait_for_timeout(250)
        seen.append((tab.page.evaluate(places), frame(tab)))


def chart(tab: Tab) -> Any:
    return tab.page.locator('[role=img][aria-label^="Dot plot"] canvas').first


def frame(tab: Tab) -> dict[str, float]:
    """Where the rows of the dot plot are, in pixels of the window."""
    return tab.page.evaluate(
        """() => {
        const walk = (view) => {
          const label = view.model.type === "Figure" ? view.model.html_attributes["aria-label"] ?? "" : ""
          if (label.startsWith("Dot plot")) return view
          for (const child of view.child_views ?? []) { const found = walk(child); if (found) return found }
        }
        for (const root of Bokeh.index.roots) {
          const view = walk(root)
          if (!view) continue
          const box = view.canvas_view.el.getBoundingClientRect(), f = view.frame.bbox
          return { x: box.x + f.left, y: box.y + f.top, w: f.width, h: f.height,
                   y0: view.model.y_range.start, y1: view.model.y_range.end }
        } }"""
    )


def row_y(box: dict[str, float], place: float) -> float:
    """Height of a row, counted from 0 at the top."""
    return box["y"] + box["h"] * (box["y1"] + place) / (box["y1"] - box["y0"])


def test_filters_narrow_chart_table_and_counts_alike(same_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(prompts=12, nulls=4, ablation=False))
    order = [m.item for m in measured(folder)]
    tab = same_tab(f"?run={folder.id}&page=prompts")
    ready(tab, 12)
    assert items(tab) == order
    tab.page.get_by_role("group", name="Tags").get_by_role("button", name="odd").click()
    tab.until(lambda: items(tab) == [i for i in order if i % 2])
    assert "6 of 12 prompts shown" in counted(tab)
    tab.until(lambda: tab.rows() == 6)
    box = tab.page.get_by_label("Search prompts, tags, tokens, generations")
    box.press_sequentially("prompt 1")
    tab.until(lambda: items(tab) == [i for i in order if i in (1, 11)])
    assert tab.page.locator(".sway-hook-table mark").first.inner_text() == "Prompt 1"
    tab.page.get_by_role("button", name="remove filter: tag: odd").click()
    tab.until(lambda: items(tab) == [i for i in order if i in (1, 10, 11)])
    tab.page.get_by_label("regex").click()
    box.fill(r"prompt \d about b")
    tab.until(lambda: items(tab) == [i for i in order if i in (0, 4, 8)])
    box.fill("(")
    tab.page.get_by_text("not a regular expression").wait_for()
    tab.until(lambda: "0 of 12" in counted(tab))
    tab.page.get_by_role("button", name="remove filter: clear all").click()
    tab.until(lambda: items(tab) == order and tab.rows() == 12)
    tab.until(lambda: "tag=" not in tab.page.url)


def test_the_address_is_not_written_for_every_letter(same_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(prompts=12, nulls=4, ablation=False))
    tab = same_tab(f"?run={folder.id}&page=prompts")
    ready(tab, 12)
    tab.page.evaluate(
        """() => {
        const write = history.replaceState
        window.written = []
        history.replaceState = (...args) => { window.written.push(performance.now()); write.apply(history, args) } }"""
    )
    box, text = tab.page.get_by_label("Search prompts, tags, tokens, generations"), "prompt 1 about light"
    box.press_sequentially(text, delay=30)
    tab.until(lambda: counted(tab).startswith("1 of 12"))
    written = tab.page.evaluate("() => { delete history.replaceState; return window.written }")
    assert len(written) > 1
    assert all(later - earlier >= 299 for earlier, later in pairwise(written))
    # Another page is an entry of its own, and what was still to be written stays behind it.
    tab.page.get_by_role("link", name="Log", exact=True).first.click()
    tab.until(lambda: "page=log" in tab.page.url)
    tab.page.go_back()
    tab.until(lambda: "page=prompts" in tab.page.url)
    assert f"q={text.replace(' ', '+')}" in tab.page.url
    tab.until(lambda: box.input_value() == text)


def test_a_tag_is_chosen_in_the_table_of_tags(same_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(prompts=12, nulls=0, ablation=False), details=0)
    tab = same_tab(f"?run={folder.id}&page=prompts", height=1600)
    ready(tab, 12)
    tab.page.locator(".sway-hook-tags .scroll").focus()
    at = tab.page.locator(".sway-hook-tags .rows .row.open")
    tab.page.keyboard.press("ArrowDown")
    at.filter(has_text="even").wait_for()
    tab.page.keyboard.press("ArrowDown")
    at.filter(has_text="odd").wait_for()
    tab.page.keyboard.press("ArrowUp")
    at.filter(has_text="even").wait_for()
    tab.page.keyboard.press("Enter")
    tab.until(lambda: sorted(items(tab)) == [0, 2, 4, 6, 8, 10])
    tab.until(lambda: tab.page.locator(".sway-hook-tags .rows .row", has_text="✓").count() == 1)
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="CSV of these rows").click()
    with download.value.path().open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    assert [int(line[0]) - 1 for line in lines[1:]] == items(tab)


def heads(tab: Tab) -> list[str]:
    """Titles of the columns of prompts, from left to right."""
    found = tab.page.locator(".sway-hook-table .head .cell").all_inner_texts()
    return [text.rstrip(" ↑↓") for text in found if text]


def width(tab: Tab, title: str) -> float:
    """Width of a column of prompts, pixels."""
    box = tab.page.locator(".sway-hook-table .head .cell", has_text=title).first.bounding_box()
    assert box is not None
    return box["width"]


def row_height(tab: Tab) -> float:
    """Height of a row of the table of prompts, pixels."""
    box = tab.page.locator(".sway-hook-table .rows .row").first.bounding_box()
    assert box is not None
    return box["height"]


def drag(tab: Tab, what: str, by: float) -> None:
    box = tab.page.locator(f".sway-hook-table .head {what}").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + by, y, steps=4)
    tab.page.mouse.up()


def test_columns_are_put_and_sized_by_hand_and_by_key_and_stay_so(same_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(prompts=12, nulls=4, ablation=False), details=0)
    tab = same_tab(f"?run={folder.id}&page=prompts", height=1600)
    ready(tab, 12)
    usual, order, before = heads(tab), items(tab), width(tab, "Prompt")
    assert usual[:4] == ["#", "Prompt", "JS, nats", "KL, nats"]
    drag(tab, "[data-grip=prompt]", 60)
    wide = width(tab, "Prompt")
    assert wide == pytest.approx(before + 60, abs=1)
    tab.page.locator(".sway-hook-table .head button", has_text="Prompt").focus()
    tab.page.keyboard.press("Shift+ArrowRight")
    assert width(tab, "Prompt") == pytest.approx(wide + 16, abs=1)
    drag(tab, "[data-column=kl]", -160)
    first = heads(tab)
    assert first.index("KL, nats") < first.index("JS, nats")
    menu, button = tab.page.locator(".sway-hook-table details"), tab.page.locator(".sway-hook-table summary")
    for close in ("press elsewhere", "Escape"):
        button.click()
        assert menu.get_attribute("open") is not None
        menu.get_by_role("checkbox", name="Tags").focus()
        if close == "Escape":
            tab.page.keyboard.press(close)
            assert button.evaluate("el => el === el.getRootNode().activeElement")
        else:
            tab.page.locator(".sway-hook-count").click()
        assert menu.get_attribute("open") is None
    button.click()
    flat = row_height(tab)
    tab.page.get_by_label("Rows of up to three lines").check()
    tab.until(lambda: row_height(tab) > 2 * flat)
    assert items(tab) == order
    tab.page.get_by_role("button", name="Move JS, nats later").press("Enter")
    tab.page.keyboard.press("Enter")
    moved = heads(tab)
    assert moved[-1] != "JS, nats"
    assert moved.index("JS, nats") == first.index("JS, nats") + 2
    assert sorted(moved) == sorted(usual)
    # A press that is let go elsewhere moves nothing, whatever the pointer does afterwards.
    box = tab.page.locator(".sway-hook-table .head [data-column]").nth(2).bounding_box()
    tab.page.mouse.move(box["x"] + 6, box["y"] + 6)
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 6, box["y"] + 200, steps=4)
    tab.page.mouse.up()
    tab.page.mouse.move(box["x"] + 6, box["y"] + 6, steps=4)
    tab.page.mouse.move(box["x"] + 300, box["y"] + 6, steps=8)
    assert heads(tab) == moved
    tab.page.mouse.move(box["x"], box["y"] + 200)
    # A drag orders no rows, and cells go with their heads.
    assert items(tab) == order
    cells = tab.page.locator(".sway-hook-table .rows .row").first.locator(".cell").all_inner_texts()
    shown = [head for head in moved if head != "#"]
    assert cells[-len(shown) :][shown.index("KL, nats")] == number(measured(folder)[0].kl)
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="CSV of these rows").click()
    titles = download.value.path().read_text(encoding="utf-8").splitlines()[0].split(",")
    assert titles.index("kl") < titles.index("null") < titles.index("js")
    tab.page.reload()
    ready(tab, 12)
    tab.until(lambda: heads(tab) == moved)
    assert width(tab, "Prompt") == pytest.approx(wide + 16, abs=1)
    assert row_height(tab) > 2 * flat, "kept by the browser"
    tab.page.locator(".sway-hook-table summary").click()
    tab.page.get_by_label("Rows of up to three lines").uncheck()
    tab.until(lambda: row_height(tab) == flat)
    tab.page.get_by_role("button", name="Usual order and widths").click()
    assert heads(tab) == usual
    assert width(tab, "Prompt") == pytest.approx(before, abs=1)
    assert tab.page.locator(".sway-hook-tags .rows .row").count() == 2


def test_a_brush_fills_the_table_and_a_click_opens(same_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(prompts=12, nulls=4, ablation=False))
    order = [m.item for m in measured(folder)]
    tab = same_tab(f"?run={folder.id}&page=prompts")
    ready(tab, 12)
    tab.until(lambda: tab.rows() == 12)
    chart(tab).scroll_into_view_if_needed()
    still(tab)
    box = frame(tab)
    mouse = tab.page.mouse
    mouse.move(box["x"] + 2, row_y(box, 1.5))
    mouse.down()
    mouse.move(box["x"] + box["w"] / 2, row_y(box, 3), steps=4)
    mouse.move(box["x"] + box["w"] - 3, row_y(box, 4.5), steps=4)
    mouse.up()
    tab.until(lambda: items(tab) == order[2:5])
    assert tab.rows() == 12
    tab.page.get_by_role("button", name="remove filter: 3 brushed").click()
    tab.until(lambda: items(tab) == order)
    box = frame(tab)
    mouse.click(box["x"] + box["w"] * 0.6, row_y(box, 3))
    tab.until(lambda: f"Prompt {order[3] + 1} |" in opened(tab) and "4 of 12" in opened(tab))
    tab.page.locator(".sway-hook-table .rows .row").nth(5).click()
    tab.until(lambda: "6 of 12" in opened(tab))
    tab.page.keyboard.press("j")
    tab.until(lambda: "7 of 12" in opened(tab))
    tab.page.keyboard.press("k")
    tab.page.keyboard.press("k")
    tab.until(lambda: "5 of 12" in opened(tab) and f"p={order[4] + 1}" in tab.page.url)
    assert tab.page.locator(".sway-hook-table .row[aria-selected=true]").get_attribute("data-item") == str(order[4])
    tab.page.keyboard.press("Escape")
    tab.until(lambda: not tab.page.locator(".sway-hook-detail").is_visible())


def twin(tab: Tab) -> dict[str, list[str]]:
    """Table below the distribution: token to its other cells."""
    rows = tab.page.locator(".sway-hook-distribution tbody tr")
    cells = rows.evaluate_all("rows => rows.map(r => [...r.cells].map(c => c.textContent.trim()))")
    return {c[0]: c[1:] for c in cells}


def test_tokens_are_chosen_and_their_distribution_is_the_recorded_one(open_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(prompts=12, nulls=4, ablation=False))
    file = folder.details()
    recorded_details = [d for m in measured(folder) if (d := file.find(m.prompt))]
    detail = next(d for d in recorded_details if d.first_difference not in (None, 0))
    item = next(m.item for m in measured(folder) if m.prompt == detail.prompt)
    tab = open_tab(f"?run={folder.id}&page=prompts&p={item + 1}", height=1300)
    tokens = tab.page.locator(".sway-hook-tokens [role=option]")
    tab.until(lambda: tokens.count() == len(detail.tokens))
    assert tokens.all_text_contents() == [t.text for t in detail.tokens]
    first = next(i for i, t in enumerate(detail.tokens) if t.part == "continuation")

    def agrees(index: int) -> bool:
        prediction = detail.tokens[index].prediction
        assert prediction is not None
        shown = twin(tab)
        want = {c.id: [number(c.base), number(c.tuned)] for c in prediction.choices}
        found = {int(c[0]): c[1:3] for c in shown.values() if c[0]}
        return len(found) >= 6 and all(cells == want[i] for i, cells in found.items())

    tab.until(lambda: agrees(first))
    still(tab)
    tokens.nth(2).click()
    tab.until(lambda: agrees(2) and "t=2" in tab.page.url)
    head = " ".join(tab.page.locator(".sway-hook-position h2, .sway-hook-position p").all_inner_texts())
    assert "Token 3 of" in head
    assert number(detail.tokens[2].prediction.js, "nats") in head  # type: ignore[union-attr]
    tab.page.keyboard.press("ArrowRight")
    tab.until(lambda: agrees(3))
    assert tokens.nth(3).evaluate("el => el === el.getRootNode().activeElement")
    assert tab.page.locator(".sway-hook-tokens [role=option][tabindex='0']").count() == 1
    label = tokens.nth(3).get_attribute("aria-label") or ""
    assert label.startswith("token 4 '")
    assert "base expected" in label
    tab.page.keyboard.press("Home")
    tab.page.get_by_text("there is no prediction of it").wait_for()
    marks = tab.page.locator(".sway-hook-generations mark").all_text_contents()
    at = detail.first_difference
    assert at is not None
    want = [(says[at].replace("\n", "⏎") if at < len(says) else "▮") for says in (detail.base_says, detail.tuned_says)]
    assert [m.replace("\n", "⏎") for m in marks] == want
    assert f"The same until token {at}" in " ".join(tab.page.locator(".sway-hook-generations p").all_inner_texts())


MOVING = """() => { const found = [], walk = (root) => { for (const el of root.querySelectorAll('*')) {
    if (el.shadowRoot) walk(el.shadowRoot)
    const s = getComputedStyle(el)
    const lasts = s.transitionDuration.split(',').some((t) => parseFloat(t) > 0.01)
    if (lasts || s.animationName !== 'none') found.push(el.tagName)
  } }; walk(document); return found }"""


def test_colour_layers_and_what_is_copied(open_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(prompts=8, nulls=2, ablation=False))
    m = measured(folder)[0]
    tab = open_tab(f"?run={folder.id}&page=prompts&p={m.item + 1}", height=1300)
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tokens = tab.page.locator(".sway-hook-tokens [role=option]")
    tab.until(lambda: tokens.count() > 4)
    colours = lambda: tokens.evaluate_all("els => els.map(el => getComputedStyle(el).backgroundColor)")  # noqa: E731
    before = colours()
    assert len(set(before)) > 2
    tab.page.get_by_role("button", name="Δ log-prob").click()
    tab.until(lambda: colours() != before)
    tab.until(lambda: tab.page.locator(".sway-hook-tokens .token.down, .sway-hook-tokens .token.up").count() > 2)
    tab.page.get_by_role("button", name="Copy as JSON").click()
    tab.page.get_by_text("copied", exact=True).wait_for()
    data = json.loads(tab.page.evaluate("navigator.clipboard.readText()"))
    assert (data["measurement"]["prompt"], data["measurement"]["js"]) == (m.prompt, m.js)
    tab.page.get_by_role("button", name="Copy as Python").click()
    tab.until(lambda: "open_backend" in tab.page.evaluate("navigator.clipboard.readText()"))
    compile(tab.page.evaluate("navigator.clipboard.readText()"), "copied", "exec")
    # Who wants no motion sees none, and colours that the system chooses leave the bars and what is chosen.
    assert tab.page.evaluate(MOVING)
    tab.page.emulate_media(reduced_motion="reduce", forced_colors="active")
    assert tab.page.evaluate(MOVING) == []
    bars = tokens.evaluate_all("els => els.map(el => getComputedStyle(el).backgroundImage)")
    assert any("gradient" in bar for bar in bars)
    chosen = tab.page.get_by_role("button", name="Δ log-prob")
    assert chosen.evaluate("el => getComputedStyle(el).outlineStyle") == "solid"
    links = "els => els.map(el => getComputedStyle(el).borderBottomColor)"
    assert len(set(tab.page.locator("nav[aria-label='Pages of the run'] a").evaluate_all(links))) == 2


def test_marked_text_is_the_real_text(open_tab: Open, server: Server) -> None:
    data = yaml.safe_load(suite_text(prompts=4, nulls=0, ablation=False))
    prompt = "light  on\n\tthe sea " + RTL + FAMILY + "\x00 end"
    data["suite"][0]["prompts"] = [prompt, "light b", "light c", "light d"]
    folder = recorded(server, yaml.safe_dump(data))
    tab = open_tab(f"?run={folder.id}&page=prompts&p=1", height=1300)
    tab.until(lambda: tab.page.locator(".sway-hook-tokens .part").count() == 2)
    text = tab.page.locator(".sway-hook-tokens .part").first.evaluate(
        """el => { const s = getSelection(), r = document.createRange()
        r.selectNodeContents(el); s.removeAllRanges(); s.addRange(r); return r.toString() }"""
    )
    # Characters that turn text around or have no shape are shown by their code and are not copied.
    want = fakes.detail(prompt, BASE, FINETUNED)
    plain = "".join(t.text for t in want.tokens if t.part == "prompt")
    assert text == plain.replace("\u202e", "").replace("\x00", "")
    assert FAMILY in text
    signs = tab.page.locator(".sway-hook-tokens .sign").evaluate_all("els => els.map(el => el.dataset.sign)")
    assert {"⏎", "⇥", "··", "‹202E›", "‹0›"} <= set(signs)


def test_hostile_text_is_inert_everywhere(same_tab: Open, server: Server) -> None:
    data = yaml.safe_load(suite_text(prompts=6, nulls=2, ablation=False))
    entry = next(e for e in data["suite"] if e["kind"] == "delta_kl")
    huge = "light " + ("long" * 11 + " ") * 2_250 + HOSTILE
    texts = [f"{HOSTILE} light", f"{RTL} light", f"{FAMILY} light", "nul \x00 light", "light" + "x" * 3000, huge]
    entry["prompts"] = [{"text": t, "tags": [HOSTILE, RTL]} for t in texts]
    folder = recorded(server, yaml.safe_dump(data))
    assert len(huge) > 99_000
    tab = same_tab(f"?run={folder.id}&page=prompts", height=1400)
    ready(tab, 6)
    tab.until(lambda: tab.rows() == 6)
    chart(tab).scroll_into_view_if_needed()
    tab.page.wait_for_timeout(600)
    box = frame(tab)
    for place in range(6):
        for share in (0.2, 0.5, 0.8):
            tab.page.mouse.move(box["x"] + box["w"] * share, row_y(box, place))
            tab.page.wait_for_timeout(40)
    assert tab.page.locator(".sway-hook-table .row", has_text="<img src=x").count() >= 1
    tab.page.get_by_role("group", name="Tags").get_by_role("button", name="<img").click()
    tab.until(lambda: tab.page.get_by_role("button", name="remove filter: tag: <img").count() == 1)
    tab.page.get_by_label("Search prompts, tags, tokens, generations").fill("onerror")
    tab.until(lambda: tab.page.locator(".sway-hook-table mark").count() >= 1)
    tab.page.get_by_role("button", name="remove filter: clear all").click()
    ready(tab, 6)
    for item in range(6):
        tab.page.locator(f".sway-hook-table .row[data-item='{item}']").click()
        tab.until(lambda item=item: f"Prompt {item + 1} |" in opened(tab))
        tab.page.locator(".sway-hook-tokens [role=option]").first.hover()
        tab.page.wait_for_timeout(250)
        # Nothing is wider than the pane it stands in.
        pane = tab.page.locator(".sway-pane")
        assert pane.evaluate("el => el.scrollWidth - el.clientWidth") <= 1
    words = tab.page.locator(".sway-hook-tokens .pager").inner_text()
    assert re.search(r"of [\d,]{5,}", words)
    assert tab.page.evaluate("window.__hit") is None
    assert tab.page.locator("img[src=x]").count() == 0
    assert tab.page.evaluate("document.scrollingElement.scrollWidth") <= 1280


class Growing:
    """A recorded run whose prompts are written one by one, as by a worker."""

    def __init__(self, server: Server, prompts: int, shown: int) -> None:
        folder = recorded(server, suite_text(prompts=prompts, nulls=1, ablation=False), details=0)
        self.path: Path = folder.path / "events.jsonl"
        self.folder = folder
        self.lines = self.path.read_bytes().splitlines(keepends=True)
        self.own = [i for i, line in enumerate(self.lines) if b'"role":"probe"' in line]
        self.at = self.own[shown]
        self.path.write_bytes(b"".join(self.lines[: self.at]))
        folder.claim()
        folder.write_meta(claimed_at=json.loads(self.lines[0])["ts"])

    def step(self) -> None:
        with self.path.open("ab") as file:
            file.write(self.lines[self.at])
        self.at += 1

    def end(self) -> None:
        with self.path.open("ab") as file:
            file.write(b"".join(self.lines[self.at :]))
        self.folder.release()


def test_a_hundred_updates_move_nothing(same_tab: Open, server: Server) -> None:
    going = Growing(server, 180, 70)
    tab = same_tab(f"?run={going.folder.id}&page=prompts&sort=-js", height=900)
    tab.until(lambda: "70 of 70 prompts shown" in counted(tab))
    scroll = tab.page.locator(".sway-hook-table .scroll")
    scroll.scroll_into_view_if_needed()
    tab.page.locator(".sway-hook-table .rows .row").nth(3).click()
    tab.until(lambda: "of 70" in opened(tab))
    scroll.focus()
    scroll.evaluate("el => { el.scrollTop = 615 }")
    tab.until(lambda: len(items(tab)) > 20)
    tab.page.wait_for_timeout(1500)
    zoom = """(x) => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'Figure' && (m.html_attributes['aria-label'] ?? '').startsWith('Dot plot')) {
          if (x) m.x_range.setv({start: 0.05, end: 0.25}); return [m.x_range.start, m.x_range.end] } }"""
    tab.page.evaluate(zoom, True)
    tab.page.wait_for_timeout(500)

    def where() -> dict[str, Any]:
        return {
            "scroll": scroll.evaluate("el => el.scrollTop"),
            "row": scroll.evaluate(
                """el => { const top = el.getBoundingClientRect().top + 45
                const rows = [...el.querySelectorAll('.rows .row')]
                return rows.find(r => r.getBoundingClientRect().bottom > top).dataset.item }"""
            ),
            "sort": tab.page.locator(".sway-hook-table [aria-sort=descending]").inner_text(),
            "focus": scroll.evaluate("el => el === el.getRootNode().activeElement"),
            "open": tab.page.locator(".sway-hook-table .row[aria-selected=true]").count(),
            "prompt": tab.page.locator(".sway-hook-detail h2").inner_text(),
            "zoom": tab.page.evaluate(zoom, False),
        }

    def top() -> float:
        return float(scroll.evaluate("el => el.getBoundingClientRect().top"))

    before, at = where(), top()
    assert before["scroll"] == 615
    assert before["focus"]
    for n in range(1, 101):
        going.step()
        tab.until(lambda n=n: f"{70 + n} of {70 + n} prompts shown" in counted(tab))
        if n % 10 == 0:
            assert where() == before, n
            # What grows above moves the page's scroll along, by whole pixels, and nothing on the screen.
            assert top() == pytest.approx(at, abs=1.0), n
    assert where() == before
    tab.page.get_by_role("button", name="New order available").click()
    own = [json.loads(line) for line in going.lines[: going.at] if b'"role":"probe"' in line]
    order = [e["item"] for e in sorted(own, key=lambda e: (-e["js"], e["item"]))]
    scroll.evaluate("el => { el.scrollTop = 0 }")
    tab.until(lambda: items(tab)[:10] == order[:10])
    going.end()
    tab.until(lambda: "180 of 180 prompts shown" in counted(tab) and "finished" in tab.head())


def test_the_axis_of_a_growing_run_has_ticks_up_to_its_end(same_tab: Open, server: Server) -> None:
    going = Growing(server, 30, 2)
    tab = same_tab(f"?run={going.folder.id}&page=prompts&x=kl")
    tab.until(lambda: "2 of 2 prompts shown" in counted(tab))
    for _ in range(20):
        going.step()
        tab.page.wait_for_timeout(60)
    tab.until(lambda: "22 of 22 prompts shown" in counted(tab))
    axis = """() => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'Figure' && (m.html_attributes['aria-label'] ?? '').startsWith('Dot plot'))
          return [m.x_range.end, Math.max(...m.below[0].ticker.ticks)] }"""
    end, last = tab.page.evaluate(axis)
    assert 0.7 * end < last <= end
    going.end()


def test_an_unrecorded_prompt_offers_to_look(open_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(prompts=6, nulls=0, ablation=False), details=1)
    last = measured(folder)[-1]
    tab = open_tab(f"?run={folder.id}&page=prompts&p={last.item + 1}", height=1200)
    tab.page.get_by_role("button", name="Look at every token").wait_for()
    assert tab.until(tab.page.get_by_text("Likeliest next token").is_visible)


@pytest.mark.parametrize("width", [390, 800])
def test_a_narrow_page_is_stacked(open_tab: Open, server: Server, width: int) -> None:
    folder = recorded(server, suite_text(prompts=8, nulls=2, ablation=False))
    tab = open_tab(f"?run={folder.id}&page=prompts", width=width, height=844)
    ready(tab, 8)
    tab.page.locator(".sway-hook-table .rows .row").nth(1).click()
    tab.until(lambda: "2 of 8" in opened(tab))
    pane_at = tab.page.locator(".sway-pane")
    tab.until(lambda: (pane_at.bounding_box() or {"y": 1e9})["y"] < 400)
    table, pane = tab.page.locator(".sway-hook-table").bounding_box(), pane_at.bounding_box()
    assert pane["y"] > table["y"] + table["height"] - 1
    assert pane["width"] <= width
    assert tab.page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert tab.page.locator("h1").count() == 1
