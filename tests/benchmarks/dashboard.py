"""How fast the dashboard is and what it costs. Prints one table; asserts nothing.

    python -m tests.benchmarks.dashboard                  # everything but the long watch
    python -m tests.benchmarks.dashboard --only live      # one part: first, live, large, sessions, soak

Needs playwright and a Chromium. Times are of this machine with software rendering.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from sway_dash.suite.store import RunFolder
from tests.benchmarks import synthetic
from tests.benchmarks.large import FIND
from tests.benchmarks.scoring import Table
from tests.ui.conftest import CHROMIUM, ROOT, serving

PARTS = ("first", "live", "large", "sessions", "soak")
FORGOTTEN_S = 25.0
"""Bokeh keeps a session 15 s after its tab has gone and looks every 2 s; then the program lets go."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser that finds nothing but this machine."""
    from playwright.sync_api import sync_playwright

    rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", rules])
        yield browser
        browser.close()


def seconds_until(holds: Callable[[], bool], page: Any, limit: float = 60.0) -> float:
    """Seconds until something holds; the browser's events go on meanwhile."""
    start = time.perf_counter()
    while not holds():
        if time.perf_counter() - start > limit:
            return float("nan")
        page.wait_for_timeout(5)
    return time.perf_counter() - start


def first(table: Table, repeats: int = 3) -> None:
    """From the address to the answer and to the first plot that can be used."""
    words, plots, torch = [], [], False
    with chromium() as browser:
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as runs, serving(Path(runs)) as server:
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                start = time.perf_counter()
                page.goto(server.url, wait_until="commit")
                page.locator("#sway-first h1, .sway-hook-verdict p").first.wait_for()
                words.append(time.perf_counter() - start)
                page.locator("[role=img] canvas").first.wait_for()
                plots.append(time.perf_counter() - start)
                maps = Path(f"/proc/{server.pid}/maps").read_text(encoding="utf-8")
                torch = torch or "libtorch" in maps
                page.close()
    table.add("answer and picture of the example on screen", _spread(words, "{:.2f} s"), "< 2 s")
    table.add("first interactive plot", _spread(plots, "{:.2f} s"), "< 5 s")
    table.add("torch in the server process", "yes" if torch else "no", "no")


def live(table: Table, *, rate: float = 1000.0, seconds: float = 60.0, prompts: int = 2000) -> None:
    """A thousand measurements a second: messages, latency of a click, the server's share of a core, nothing lost."""
    with tempfile.TemporaryDirectory() as runs, serving(Path(runs)) as server, chromium() as browser:
        folder = RunFolder.create(synthetic.suite_text(prompts), root=Path(runs), name="live")
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        patches: list[float] = []

        def framed(payload: Any) -> None:
            if isinstance(payload, str) and '"PATCH-DOC"' in payload[:400]:
                patches.append(time.perf_counter())

        page.on("websocket", lambda ws: ws.on("framereceived", framed))
        writer = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.synthetic",
                str(folder.path),
                str(prompts),
                str(rate),
                str(seconds),
            ],
            cwd=ROOT,
        )
        while folder.fold().started is None:
            time.sleep(0.05)
        page.goto(f"{server.url}?run={folder.id}")
        page.locator(".sway-hook-verdict p").first.wait_for()
        page.wait_for_timeout(3000)
        process = psutil.Process(server.pid)
        begin, cpu = time.perf_counter(), sum(process.cpu_times()[:2])
        page.wait_for_timeout(1000 * seconds / 3)
        got, quiet = len(patches), time.perf_counter() - begin
        got -= sum(t < begin for t in patches)
        delays = []
        while writer.poll() is None and time.perf_counter() - begin < 2 * seconds:
            delays.append(_click(page))
            page.wait_for_timeout(700)
        spent, used = time.perf_counter() - begin, sum(process.cpu_times()[:2]) - cpu
        clicks = len(delays)
        total = int(rate * seconds)
        head = page.locator(".sway-hook-head p").first
        waited = seconds_until(lambda: f"{total:,} of {total:,}" in head.inner_text(), page)
        shown = head.inner_text()
    what = f"{rate:.0f} measurements a second for {seconds:.0f} s: messages to the browser"
    table.add(what, f"{got / quiet:.1f} a second", "<= 5")
    marked, shown_at = zip(*delays, strict=True)
    table.add(
        "  a click until the frame that shows it, p95", f"{1000 * _p95(marked):.0f} ms (n = {clicks})", "< 200 ms"
    )
    there = f"{1000 * statistics.median(shown_at):.0f} ms, p95 {1000 * _p95(shown_at):.0f} ms"
    table.add("  until its page of 2,000 prompts is on screen, median", there)
    table.add("  the server's share of one core", f"{used / spent:.0%}", "< 50 %")
    lost = "none" if waited == waited else f"shown at the end: {shown}"
    table.add("  events lost", lost, "none")


SHOWN = {"Overview": ".sway-hook-verdict", "Prompts": ".sway-hook-table"}


def _click(page: Any) -> tuple[float, float]:
    """Seconds from a click on a tab until the next frame (event timing), and until its page is on the screen."""
    name = next(n for n in SHOWN if n != page.locator("nav[aria-label='Pages of the run'] [aria-current]").inner_text())
    page.evaluate(
        f"""([name, on]) => {{ {FIND}
        window.swayClick = new Promise((resolve) => {{
          // Walking through all shadows takes a while: once, but for a page that is still to be made.
          let part = all(on)[0], start = null, painted = null, shown = null
          const seen = new PerformanceObserver((list) => {{
            const click = list.getEntries().find((e) => e.name === 'click')
            if (click) {{ painted = click.duration / 1000; seen.disconnect() }}
          }})
          seen.observe({{ type: 'event', durationThreshold: 16 }})
          const link = [...all('nav[aria-label="Pages of the run"]')[0].querySelectorAll('a')]
            .find((a) => a.textContent === name)
          link.addEventListener('click', (e) => {{ start = e.timeStamp }}, {{ once: true, capture: true }})
          const look = () => {{
            const since = start === null ? 0 : (performance.now() - start) / 1000
            if (start !== null) part ??= all(on)[0]
            if (start !== null && part && part.offsetParent !== null) shown ??= since
            // A click whose frame came within the threshold has no entry.
            if (shown !== null && (painted !== null || since > shown + 0.5)) resolve([painted ?? 0.016, shown])
            else requestAnimationFrame(look)
          }}
          look()
        }}) }}""",
        [name, SHOWN[name]],
    )
    page.locator("nav[aria-label='Pages of the run'] a", has_text=re.compile(f"^{name}$")).click()
    painted, shown = page.evaluate("window.swayClick")
    return float(painted), float(shown)


def large(table: Table, *, prompts: int = 10_000, calls: int = 100_000) -> None:
    """Filter, sort, page and zoom with ten thousand prompts and a hundred thousand scoring calls."""
    from tests.benchmarks.large import actions

    with tempfile.TemporaryDirectory() as runs, serving(Path(runs)) as server, chromium() as browser:
        folder = synthetic.finished(Path(runs), prompts, calls)
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        start = time.perf_counter()
        page.goto(f"{server.url}?run={folder.id}&page=prompts", timeout=120_000)
        page.locator(".sway-hook-table .rows .row").first.wait_for(timeout=120_000)
        table.add(f"{prompts:,} prompts, {calls:,} scoring calls: opened", f"{time.perf_counter() - start:.1f} s")
        for name, times in actions(page):
            # The first click waits until the page has reported itself ready.
            target = "" if name.startswith("the first") else "< 300 ms"
            middle, worst = 1000 * statistics.median(times), 1000 * max(times)
            told = f"{middle:.0f} ms, worst of {len(times)} {worst:.0f} ms" if len(times) > 1 else f"{worst:.0f} ms"
            table.add(f"  {name}", told, target)


def sessions(table: Table, n: int = 8, rounds: int = 3) -> None:
    """Memory of the server with many tabs on one run, and after they have gone, again and again.

    Python's own allocator hands memory back by the whole mebibyte, and a few small objects that stay hold many of
    them. Under the C library's, which frees by the page, one sees what the program itself keeps.
    """
    for allocator in ("pymalloc", "malloc"):
        opened, closed = _rounds(n, rounds, PYTHONMALLOC=allocator)
        named = f"{n} sessions on one run, {allocator}"
        table.add(f"{named}: memory each", f"{(opened[0] - closed[0]) / n:.1f} MiB", "< 30 MB")
        shown = ", ".join(f"{o:.0f} and {c:.0f}" for o, c in zip(opened, closed[1:], strict=True))
        table.add(f"  with none {closed[0]:.0f} MiB; open and after they have closed", f"{shown} MiB", "returns")
        growth = (closed[-1] - closed[1]) / (n * (rounds - 1))
        table.add("  growth for each session after the first round", f"{growth:.2f} MiB", "~ 0")


def _rounds(n: int, rounds: int, **env: str) -> tuple[list[float], list[float]]:
    """Resident MiB with ``n`` sessions in each round, and with none: before the first round and after each."""
    with tempfile.TemporaryDirectory() as runs, serving(Path(runs), **env) as server, chromium() as browser:
        folder = synthetic.finished(Path(runs), 500, 5000)
        process = psutil.Process(server.pid)

        def resident() -> float:
            return float(process.memory_info().rss / 2**20)

        def open_page() -> Any:
            page = browser.new_page()
            page.goto(f"{server.url}?run={folder.id}", timeout=120_000)
            page.locator(".sway-hook-verdict p").first.wait_for(timeout=120_000)
            page.wait_for_timeout(1500)
            return page

        # What only the first visit loads is no memory of a session.
        open_page().close()
        time.sleep(FORGOTTEN_S)
        opened, closed = [], [resident()]
        for _ in range(rounds):
            pages = [open_page() for _ in range(n)]
            opened.append(resident())
            for page in pages:
                page.close()
            time.sleep(FORGOTTEN_S)
            closed.append(resident())
    return opened, closed


def soak(table: Table, *, minutes: float = 10.0, rate: float = 50.0, prompts: int = 500) -> None:
    """Memory of the browser's page over minutes of live updates."""
    with tempfile.TemporaryDirectory() as runs, serving(Path(runs)) as server, chromium() as browser:
        folder = RunFolder.create(synthetic.suite_text(prompts), root=Path(runs), name="soak")
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        client = page.context.new_cdp_session(page)
        seconds = 60 * minutes + 60
        writer = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.benchmarks.synthetic",
                str(folder.path),
                str(prompts),
                str(rate),
                str(seconds),
            ],
            cwd=ROOT,
        )
        while folder.fold().started is None:
            time.sleep(0.05)
        page.goto(f"{server.url}?run={folder.id}")
        page.locator(".sway-hook-verdict p").first.wait_for()
        heap = []
        for _ in range(int(minutes) + 1):
            page.wait_for_timeout(60_000 if heap else 20_000)
            client.send("HeapProfiler.collectGarbage")
            heap.append(client.send("Runtime.getHeapUsage")["usedSize"] / 2**20)
        writer.kill()
        writer.wait()
    table.add(f"{minutes:.0f} minutes live: heap of the page after 1 minute", f"{heap[1]:.0f} MiB")
    table.add("  at the end", f"{heap[-1]:.0f} MiB", "flat")


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)] if values else float("nan")


def _spread(values: list[float], form: str) -> str:
    low, middle, high = (form.format(v) for v in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    table = Table()
    for part in args.only or PARTS[:-1]:
        {"first": first, "live": live, "large": large, "sessions": sessions, "soak": soak}[part](table)


if __name__ == "__main__":
    main()
