"""How large the HTML report is and how soon it can be used. Prints one table; asserts nothing.

    python -m tests.benchmarks.report                  # everything
    python -m tests.benchmarks.report --only demo      # one part: demo, tokens, many

Needs playwright and a Chromium. Files are opened from the disk; times are of this machine with software rendering.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from sway_dash.core.detail import Choice, Prediction, PromptDetail, TokenDetail
from sway_dash.demo import demo_dir
from sway_dash.report.html.build import write_elsewhere
from sway_dash.suite.details import detail_key
from tests.benchmarks import synthetic
from tests.benchmarks.dashboard import chromium
from tests.benchmarks.scoring import Table

PARTS = ("demo", "tokens", "many")

USABLE = """() => document.querySelectorAll('#prompts .grid .rows .row').length > 0 &&
[...document.querySelectorAll('#figure-dots, #figure-ecdf')].some((e) => e.firstElementChild?.offsetHeight > 60)"""
"""The prompts can be sorted, filtered and opened, and their plot is there."""


def wordy(rng: random.Random, prompt: str, tokens: int, top: int) -> PromptDetail:
    """A prompt token by token with ``top`` likely tokens of each model, no two models alike."""

    def position() -> Prediction:
        ids = rng.sample(range(50_000), 2 * top - rng.randrange(top // 2))
        base, tuned = ([rng.lognormvariate(0, 2) for _ in ids] for _ in range(2))
        chosen = tuple(
            Choice(f" w{i}", i, b / sum(base), t / sum(tuned)) for i, b, t in zip(ids, base, tuned, strict=True)
        )
        return Prediction(0.6 * rng.random(), 3 * rng.random(), 3 * rng.random(), chosen)

    found = [TokenDetail("<s>", 1, special=True)]
    for k in range(1, tokens):
        number = rng.randrange(50_000)
        part = "prompt" if k < tokens - 24 else "continuation"
        found.append(TokenDetail(f" w{number}", number, part, False, position(), -9 * rng.random(), -9 * rng.random()))
    said = tuple(t.text for t in found if t.part == "continuation")
    return PromptDetail(prompt, tokens=tuple(found), base_says=said[::-1], tuned_says=said)


def measured(table: Table, what: str, run: Path, size: str, soon: str, repeats: int = 3) -> None:
    """Build a report, weigh it, open it."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        path = Path(folder) / "report.html"
        start = time.perf_counter()
        write_elsewhere(run, path)
        table.add(f"{what}: built in a process of its own", f"{time.perf_counter() - start:.1f} s", "")
        table.add(f"{what}: size", f"{path.stat().st_size / 1e6:.2f} MB", size)
        times: dict[str, list[float]] = {"answer on screen": [], "prompts usable": [], "everything drawn": []}
        for _ in range(repeats):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            page.goto(path.as_uri(), wait_until="commit")
            for name, holds in (
                ("answer on screen", "() => document.querySelector('#answer .sway-sentence')?.offsetHeight > 0"),
                ("prompts usable", USABLE),
                ("everything drawn", "() => document.documentElement.dataset.drawn === 'true'"),
            ):
                _until(page, holds)
                times[name].append(time.perf_counter() - start)
            page.close()
        for name, found in times.items():
            table.add(f"{what}: {name}", f"{statistics.median(found):.2f} s", soon if name == "prompts usable" else "")
        table.add(f"{what}: filter by a tag", f"{1000 * _filtered(browser, path):.0f} ms", "")


def _until(page: Any, holds: str, limit: float = 60.0) -> None:
    end = time.perf_counter() + limit
    while not page.evaluate(holds) and time.perf_counter() < end:
        page.wait_for_timeout(5)


def _filtered(browser: Any, path: Path) -> float:
    """Seconds from a click on a tag until the page has drawn what passes."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]", timeout=120_000)
    took = page.evaluate(
        """() => new Promise((resolve) => { const start = performance.now()
        document.querySelector('[data-chips=tags] button').click()
        requestAnimationFrame(() => requestAnimationFrame(() => resolve((performance.now() - start) / 1000))) })"""
    )
    page.close()
    return float(took)


def demo(table: Table) -> None:
    """The recorded example."""
    measured(table, "demo", demo_dir() / "run", "≤ 2.5 MB", "< 2 s")


def tokens(table: Table) -> None:
    """200 prompts of 60 tokens with the ten likeliest of both models at each."""
    with tempfile.TemporaryDirectory() as root:
        folder = synthetic.finished(Path(root), 200, 2_000)
        rng = random.Random(0)
        with folder.details().path.open("w", encoding="utf-8") as file:
            for i in range(200):
                detail = wordy(rng, synthetic.prompt_text(i), 60, 10)
                file.write(json.dumps({"key": detail_key(detail.prompt), **detail.to_dict()}, separators=(",", ":")))
                file.write("\n")
        measured(table, "200 prompts × 60 tokens", folder.path, "≤ 4 MB", "< 2 s")


def many(table: Table) -> None:
    """10,000 prompts and 100,000 scoring calls."""
    with tempfile.TemporaryDirectory() as root:
        folder = synthetic.finished(Path(root), 10_000, 100_000)
        measured(table, "10,000 prompts", folder.path, "≤ 8 MB", "< 4 s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append")
    args = parser.parse_args()
    table = Table()
    for part in args.only or PARTS:
        {"demo": demo, "tokens": tokens, "many": many}[part](table)


if __name__ == "__main__":
    main()
