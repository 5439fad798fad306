"""The Ablation, Null, Trace and Log pages of a run, in a browser without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from sway_dash.core.events import Event, ItemFailed, Warned
from sway_dash.dash import jobs, runs
from sway_dash.suite.loader import loads
from sway_dash.suite.runner import run as run_suite
from sway_dash.suite.store import RunFolder
from sway_dash.suite.trace_file import load
from tests.dash.conftest import suite_text
from tests.fakes import FakeBackend
from tests.ui.conftest import ROOT, Server, Tab, went_wrong

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]

HOSTILE = "<img src=x onerror=window.__hit=1> $$\\frac{1}{2}$$ {{ 1 }} </script><script>window.__hit=1</script>"
PAGES = ("ablation", "null", "trace", "log")
READY = {
    "ablation": ".sway-hook-ablation p",
    "null": ".sway-hook-null p",
    "trace": ".sway-hook-trace p",
    "log": ".sway-hook-log li",
}


@pytest.fixture
def demo() -> RunFolder:
    found = runs.demo_folder()
    if found is None:
        pytest.skip("the recorded example is not here")
    return found


def recorded(server: Server, text: str, keep: Callable[[list[Event]], list[Event]] = list) -> RunFolder:
    """A finished run of the fake backend among those of the server."""
    folder, spec = RunFolder.create(text, root=server.runs, name="recorded"), loads(text)
    events: list[Event] = []
    run_suite(
        spec, FakeBackend(base_spec=spec.models.ft), trace_path=folder.path / "trace.jsonl", on_event=events.append
    )
    for event in keep(events):
        folder.append(event)
    folder.close()
    return folder


def said(tab: Tab, hook: str) -> str:
    return " ".join(tab.page.locator(f"{hook} p, {hook} li").all_inner_texts())


def figure(tab: Tab, label: str) -> Any:
    return tab.page.locator(f'[role=img][aria-label^="{label}"]').first


def place(tab: Tab, label: str) -> dict[str, float]:
    """Where a figure lies once it lies still: while others of the page are drawn it moves."""
    seen: list[Any] = [None, None, None]

    def still() -> bool:
        seen[:] = [*seen[1:], figure(tab, label).bounding_box()]
        return bool(seen[0]) and seen[0] == seen[1] == seen[2] and seen[0]["width"] > 200

    tab.until(still)
    return seen[0]


def zoom(tab: Tab, label: str, start: float, end: float) -> None:
    """Box zoom over a part of a figure's width, until the page says that a part is shown."""

    def shown() -> bool:
        return "Shown: " in said(tab, ".sway-hook-cut")

    for _ in range(3):
        box = place(tab, label)
        y = box["y"] + 0.5 * box["height"]
        tab.page.mouse.move(box["x"] + start * box["width"], y)
        tab.page.mouse.down()
        tab.page.mouse.move(box["x"] + 0.5 * (start + end) * box["width"], y)
        tab.page.mouse.move(box["x"] + end * box["width"], y)
        tab.page.mouse.up()
        # A figure drawn anew under the pointer takes no drag; one does it again, as one would by hand.
        for _ in range(100):
            if shown():
                return
            tab.page.wait_for_timeout(150)
    tab.until(shown)


def first_row(tab: Tab, hook: str) -> str:
    rows = tab.page.locator(f"{hook} .tabulator-row")
    return rows.first.inner_text() if rows.count() else ""


# --- ablation -----------------------------------------------------------------------------------------------------


def test_the_curve_is_looked_at_relative_to_lambda_one_and_its_prompts_open(open_tab: Open, demo: RunFolder) -> None:
    tab = open_tab("?page=ablation&run=demo", height=1600)
    tab.until(lambda: figure(tab, "Mean JS by adapter strength, nats").count() == 1)
    assert "passes" in said(tab, ".sway-hook-shape")
    tab.page.get_by_role("button", name="Relative to λ = 1").click()
    tab.until(lambda: figure(tab, "Mean JS by adapter strength, times the mean at λ = 1").count() == 1)
    assert "λ = 1: 1;" in figure(tab, "Mean JS").get_attribute("aria-label")
    tab.until(lambda: first_row(tab, ".sway-hook-ablation-prompts") != "")
    tab.page.locator(".sway-hook-ablation-prompts .tabulator-tableholder").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowUp", "Enter"):
        tab.page.keyboard.press(key)
    assert tab.until(lambda: "page=prompts" in tab.page.url and "&p=" in tab.page.url)


def test_a_run_without_an_ablation_says_how_to_add_one(same_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(ablation=False, nulls=0))
    tab = same_tab(f"?page=ablation&run={folder.id}")
    tab.until(lambda: "adapter_ablation" in said(tab, ".sway-hook-no-ablation"))
    assert not tab.page.locator(".sway-hook-ablation").is_visible()


# --- null ---------------------------------------------------------------------------------------------------------


def test_the_null_of_the_example_says_n_and_rank(same_tab: Open, demo: RunFolder) -> None:
    n = demo.result().probes[1].evidence["null"]["n"]
    tab = same_tab("?page=null&run=demo", height=1300)
    tab.until(lambda: f"above all {n} random adapters" in said(tab, ".sway-hook-null"))
    assert f"n = {n}, the smallest that {n} draws can give (1 in {n + 1})" in said(tab, ".sway-hook-null")
    assert "prompts above their own null 95 %" in said(tab, ".sway-hook-own-null")
    assert "‖ΔW‖" in said(tab, ".sway-hook-norms")
    tab.until(tab.page.get_by_role("button", name="Prepare 40 random adapters").is_visible)
    tab.page.locator(".sway-hook-draws summary").click()
    assert tab.page.locator(".sway-hook-draws tbody tr").count() == n


def test_two_draws_cannot_calibrate_and_no_draws_say_why(same_tab: Open, server: Server) -> None:
    few = recorded(server, suite_text(ablation=False, nulls=2))
    tab = same_tab(f"?page=null&run={few.id}")
    tab.until(lambda: "cannot calibrate" in said(tab, ".sway-hook-null"))
    none = recorded(server, suite_text(ablation=False, nulls=0))
    tab = same_tab(f"?page=null&run={none.id}")
    assert tab.until(lambda: "no null_adapter entry" in said(tab, ".sway-hook-no-null"))


# --- trace --------------------------------------------------------------------------------------------------------


def test_the_trace_counts_what_its_file_counts(same_tab: Open, demo: RunFolder) -> None:
    events = load(demo.path / "trace.jsonl")
    hits = sum(e.hit for e in events)
    tab = same_tab("?page=trace&run=demo", height=2000)
    tab.until(lambda: f"{len(events):,} scoring calls" in said(tab, ".sway-hook-trace"))
    assert f"{hits:,} of {len(events):,} answered by the cache" in said(tab, ".sway-hook-trace")
    cells = tab.page.locator(".sway-hook-by-probe tbody td:nth-child(2)").all_inner_texts()
    counts = [tuple(map(int, cell.replace(",", "").split("/"))) for cell in cells]
    assert (sum(h for h, _ in counts), sum(n for _, n in counts)) == (hits, len(events))
    # So does what is downloaded for Perfetto.
    with tab.page.expect_download() as waiting:
        tab.page.get_by_text("Trace for Perfetto").click()
    trace = json.loads(waiting.value.path().read_text(encoding="utf-8"))
    passes = (e["args"] for e in trace["traceEvents"] if e["ph"] == "X" and "args" in e)
    assert sum(args.get("prompts", 0) for args in passes) == len(events) - hits


def test_a_zoom_moves_the_slowest_table_and_a_click_opens_a_prompt(open_tab: Open, demo: RunFolder) -> None:
    tab = open_tab("?page=trace&run=demo", height=2400)
    tab.until(lambda: first_row(tab, ".sway-hook-slowest") != "" and figure(tab, "Timeline").count() == 1)
    before = first_row(tab, ".sway-hook-slowest")
    # Those calls, before or after the middle one, among which the slowest is not; the axis begins right of its words.
    events = load(demo.path / "trace.jsonl")
    ended = sorted(e.ts for e in events)
    middle, late = ended[len(ended) // 2], max(events, key=lambda e: e.wall_ms).ts > ended[len(ended) // 2]
    began = demo.fold().started.ts
    stretch = (ended[0], middle - 0.2) if late else (middle + 0.2, ended[-1])
    zoom(tab, "Timeline", *(0.06 + 0.93 * (ts - began) / (ended[-1] - began) for ts in stretch))
    tab.until(lambda: first_row(tab, ".sway-hook-slowest") not in ("", before))
    tab.page.get_by_role("button", name="Whole run").click()
    tab.until(lambda: "Shown: " not in said(tab, ".sway-hook-cut"))
    tab.until(lambda: first_row(tab, ".sway-hook-slowest") == before)
    zoom(tab, "Cache over wall time", 0.4, 0.8)
    prompt = tab.page.locator(".sway-hook-slowest .tabulator-row").first
    prompt.click()
    assert tab.until(lambda: "page=prompts" in tab.page.url and "&p=" in tab.page.url)


def test_a_box_of_the_icicle_filters(open_tab: Open, demo: RunFolder) -> None:
    tab = open_tab("?page=trace&run=demo", height=2000)
    tab.until(lambda: figure(tab, "Time in passes").count() == 1)

    def chosen() -> bool:
        # The page may still be moving under the pointer while its figures are drawn.
        if "Shown: noise" in said(tab, ".sway-hook-cut"):
            return True
        box = figure(tab, "Time in passes").bounding_box()
        if box and box["width"] > 500:
            # The middle row stands for views; the left end for the slowest of the slowest probe.
            tab.page.mouse.click(box["x"] + 0.12 * box["width"], box["y"] + 0.4 * box["height"])
            tab.page.wait_for_timeout(2000)
        return False

    tab.until(chosen)
    assert tab.page.locator(".sway-hook-by-probe tbody tr").count() == 1


def test_calls_that_arrive_do_not_move_a_zoom(open_tab: Open, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FAKE_DELAY_S", "0.25")
    text = suite_text("slow", prompts=40, nulls=0, ablation=False)
    folder = jobs.start(text, base_dir=server.runs, name="job", root=server.runs)
    tab = open_tab(f"?page=trace&run={folder.id}", height=1400)
    tab.until(lambda: figure(tab, "Timeline").count() == 1 and "scoring calls" in said(tab, ".sway-hook-trace"))
    tab.page.wait_for_timeout(1500)
    zoom(tab, "Timeline", 0.5, 0.9)
    shown = said(tab, ".sway-hook-cut").partition(":")[2].partition(":")[0]
    tab.page.evaluate("window.__mark = document.querySelectorAll('canvas').length")
    tab.until(lambda: "finished" in tab.head() and "80 scoring calls" in said(tab, ".sway-hook-trace"), seconds=120)
    assert said(tab, ".sway-hook-cut").partition(":")[2].partition(":")[0] == shown


# --- log ----------------------------------------------------------------------------------------------------------


def troubled(events: list[Event]) -> list[Event]:
    extra: list[Event] = [
        Warned(ts=events[-1].ts, message="odd logits", causes=("first cause", "second cause")),
        ItemFailed(ts=events[-1].ts, probe="moved", item=2, prompt="x", message=f"too long {HOSTILE}"),
    ]
    return [*events[:-1], *extra, events[-1]]


def test_the_log_is_filtered_and_its_errors_lead_to_their_prompt(open_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(nulls=0), troubled)
    tab = open_tab(f"?page=log&run={folder.id}", height=1400)
    lines = tab.page.locator(".sway-hook-log li")
    tab.until(lambda: lines.count() > 5)
    everything = lines.count()
    tab.page.get_by_role("button", name="Errors", exact=True).click()
    tab.until(lambda: lines.count() == 1)
    assert "too long <img" in lines.first.inner_text()
    tab.page.get_by_role("button", name="All", exact=True).click()
    tab.until(lambda: lines.count() == everything)
    tab.page.get_by_label("Filter lines").fill("ODD LOG")
    tab.until(lambda: lines.count() == 1)
    assert tab.page.locator(".sway-hook-warnings ol li").all_inner_texts() == ["first cause", "second cause"]
    tab.page.get_by_label("Filter lines").fill("")
    tab.until(lambda: lines.count() == everything)
    lines.get_by_role("button", name="Open prompt").click()
    tab.until(lambda: "page=prompts" in tab.page.url and "&p=3" in tab.page.url)
    assert tab.page.evaluate("window.__hit") is None


def test_the_newest_line_is_followed_until_the_reader_scrolls(open_tab: Open, server: Server) -> None:
    def many(events: list[Event]) -> list[Event]:
        failed = [ItemFailed(ts=events[-1].ts, probe="moved", item=2, prompt="x", message=str(k)) for k in range(90)]
        return [*events[:-1], *failed, events[-1]]

    folder = recorded(server, suite_text(nulls=0), many)
    tab = open_tab(f"?page=log&run={folder.id}")
    log = tab.page.locator(".sway-hook-log ol")
    tab.until(lambda: tab.page.locator(".sway-hook-log li").count() > 90)
    left = "(e) => e.scrollHeight - e.clientHeight - e.scrollTop"
    assert log.evaluate(left) > 500
    follow = tab.page.get_by_label("Follow the newest")
    follow.check()
    tab.until(lambda: log.evaluate(left) < 2)
    log.hover()
    tab.page.mouse.wheel(0, -300)
    tab.until(lambda: not follow.is_checked())
    assert log.evaluate(left) > 100


def test_the_suite_can_be_copied(open_tab: Open, demo: RunFolder) -> None:
    tab = open_tab("?page=log&run=demo", height=1400)
    tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.until(lambda: tab.page.get_by_role("button", name="Copy the suite").count() == 1)
    tab.page.get_by_role("button", name="Copy the suite").click()
    tab.until(lambda: tab.page.evaluate("navigator.clipboard.readText()") == demo.spec_text())
    assert "Adapter SHA-256" in tab.page.locator(".sway-hook-environment td").all_inner_texts()


# --- all of them --------------------------------------------------------------------------------------------------


def test_hostile_text_is_inert_on_every_page(same_tab: Open, server: Server) -> None:
    spec = yaml.safe_load(suite_text(nulls=3))
    for entry in spec["suite"]:
        entry["name"] = f"{entry['name']} {HOSTILE}"
    spec["suite"][1]["prompts"] = [{"text": f"{HOSTILE} {k} light", "tags": [HOSTILE]} for k in range(4)]
    spec["suite"][2]["prompts"] = [f"{HOSTILE} {k} light" for k in range(4)]
    folder = recorded(server, yaml.safe_dump(spec))
    tab = same_tab(f"?page={PAGES[0]}&run={folder.id}", height=2400)
    for page in PAGES:
        tab.open_tab(page.title())
        tab.page.locator(f"{READY[page]}:visible").first.wait_for()
        for box in [e.bounding_box() for e in tab.page.locator("[role=img] canvas:visible").all()][:6]:
            for share in (0.2, 0.5, 0.8) if box else ():
                tab.page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.4 * box["height"])
                tab.page.wait_for_timeout(60)
        tab.page.wait_for_timeout(500)
        assert tab.page.evaluate("window.__hit") is None
        assert tab.page.locator("img[src=x]").count() == 0


def test_server_log_has_no_errors(server: Server) -> None:
    assert not went_wrong(server)
