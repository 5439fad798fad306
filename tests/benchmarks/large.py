"""What a reader does with ten thousand prompts and a hundred thousand scoring calls, each timed inside the browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

FIND = """
const all = (selector, root = document, found = []) => {
  for (const el of root.querySelectorAll('*')) {
    if (el.matches(selector)) found.push(el)
    if (el.shadowRoot) all(selector, el.shadowRoot, found)
  }
  return found
}
const text = (selector) => all(selector).map((el) => el.innerText).join(' | ')
"""
"""Finds elements in whatever shadow they are."""


def timed(page: Any, act: str, watch: str, limit_ms: int = 20_000) -> float:
    """Seconds from ``act`` until what ``watch`` says is another than before; both are JavaScript."""
    return float(
        page.evaluate(
            f"""() => new Promise((resolve) => {{ {FIND}
            const look = () => {watch}
            const before = look(), start = performance.now()
            {act}
            const wait = () => look() !== before || performance.now() - start > {limit_ms}
              ? resolve((performance.now() - start) / 1000) : requestAnimationFrame(wait)
            wait() }})"""
        )
    )


COUNT = "text('.sway-hook-count [role=status]') + text('.count')"
# Walking through all shadows takes a while: once, and not for every frame.
TABLE = "(window.swayTable ??= all('.sway-hook-table')[0].shadowRoot)"
ROWS = f"[...{TABLE}.querySelectorAll('.rows .row')].slice(0, 12).map((r) => r.dataset.item).join()"
PAGE = "['.sway-hook-table', '.sway-hook-slowest'].filter((s) => all(s).some((el) => el.offsetParent !== null)).join()"


def actions(page: Any, repeats: int = 5) -> Iterator[tuple[str, list[float]]]:
    """Name and times of every action on the Prompts and Trace pages."""
    yield "the first click, as soon as the rows are there", [_chip(page), _chip(page)][:1]
    page.wait_for_timeout(2000)
    yield "filter by tag, and back", [_chip(page) for _ in range(2 * repeats)]
    yield "search", _search(page, 4 * repeats)
    yield "sort by another column", [_sort(page, k) for k in range(2 * repeats)]
    yield "scroll to the far end of the table", [_scroll(page, k) for k in range(repeats)]
    yield "turn to another page seen before", _turns(page, repeats)


def _chip(page: Any) -> float:
    act = "all('button').find((b) => b.textContent.trim().startsWith('off-topic')).click()"
    return timed(page, act, ROWS)


def _search(page: Any, repeats: int) -> list[float]:
    box = page.get_by_label("Search prompts, tags, tokens, generations")
    out = []
    for k in range(repeats):
        box.fill("")
        page.wait_for_timeout(1500)
        # Typed as a reader would: the last letter counts.
        box.press_sequentially(f"light number {k % 9}", delay=40)
        page.wait_for_timeout(1500)
        box.focus()
        out.append(_typed(page, "7"))
    box.fill("")
    page.wait_for_timeout(1500)
    return out


def _typed(page: Any, letter: str) -> float:
    """Seconds from a key until other rows stand in the table."""
    page.evaluate(f"""() => {{ {FIND} const look = () => {ROWS}; const before = look(), start = performance.now()
        window.__took = new Promise((resolve) => {{
          const wait = () => look() !== before || performance.now() - start > 20000
            ? resolve((performance.now() - start) / 1000) : requestAnimationFrame(wait)
          wait() }}) }}""")
    page.keyboard.press(letter)
    return float(page.evaluate("window.__took"))


def _sort(page: Any, k: int) -> float:
    key = ("prompt", "kl")[k % 2]
    return timed(page, f"all('[role=columnheader] button').find((b) => b.dataset.key === '{key}').click()", ROWS)


def _scroll(page: Any, k: int) -> float:
    to = "el.scrollHeight" if k % 2 == 0 else "0"
    return timed(page, f"const el = all('[role=grid]', {TABLE})[0]; el.scrollTop = {to}", ROWS)


def _turns(page: Any, repeats: int) -> list[float]:
    out = []
    for k in range(2 * repeats + 2):
        name = ("Trace", "Prompts")[k % 2]
        act = f"all('nav[aria-label=\"Pages of the run\"] a').find((a) => a.textContent === '{name}').click()"
        out.append(timed(page, act, PAGE))
        page.wait_for_timeout(2500)
    # The first visit makes the page.
    return out[2:]
