"""The Trace page in words and tables: pure functions, columns in, text or HTML out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from sway_dash.figures import trace_columns as tc
from sway_dash.figures import trace_sums as ts
from sway_dash.figures.calls import Calls, CallTable, Cut
from sway_dash.figures.derive import Place
from sway_dash.figures.markup import table
from sway_dash.figures.theme import DASH, count, duration, esc, number, percent, visible

LOADING = "loading"
ROWS_SHOWN, ROWS_MOST = 12, 200

SLOW = {
    "ms": "Time, ms",
    "n": "Prompts",
    "each": "ms a prompt",
    "view": "View",
    "op": "Operation",
    "probe": "Probe",
    "prompt": "Longest prompt",
    "note": "",
}
"""Columns of the slowest passes, with their titles."""

SLOW_CAPTION = (
    "A pass is one batch of prompts in one view. A click or Enter opens its longest prompt: a batch is as slow as that."
)


def summary(calls: Calls, known: CallTable, evicted: object) -> str:
    """HTML: how many calls, how many the cache answered, what that saved, what is missing."""
    saved_s, unpriced = ts.saved(known, Cut())
    rate = percent(calls.hit_rate) if calls.n >= tc.MIN_LOOKUPS else f"no rate below {tc.MIN_LOOKUPS}"
    text = (
        f"{count(calls.n, 'scoring call')} in {count(len(known.pass_start), 'pass', 'passes')}:"
        f" {calls.hits:,} of {calls.n:,} answered by the cache ({rate}), which saved about {duration(saved_s)}."
    )
    notes = ["Saved is hits times the median time of a miss of the same operation in the same view."]
    if unpriced:
        notes.append(f"{count(unpriced, 'hit')} left out: nothing like them missed.")
    if isinstance(evicted, int):
        full = f"The cache was full: {count(evicted, 'answer')} had to be dropped."
        notes.append(full if evicted else "The cache was never full.")
    untimed = int((~known.hit & (known.ms == 0)).sum())
    if untimed:
        notes.append(f"{count(untimed, 'call')} without a time of their own, such as those of the check before.")
    if calls.left_out:
        notes.append(f"Only the first {len(known):,} calls are drawn.")
    return f'<p class="sway-sentence sway-num">{esc(text)}</p><p class="sway-caption">{esc(" ".join(notes))}</p>'


def cut(window: tuple[float, float] | None, names: Sequence[str], calls: int, passes: int) -> str:
    """What part of the trace is shown; empty for all of it."""
    parts = [f"{number(window[0], 's')} to {number(window[1], 's')}"] if window else []
    parts += [name for name in names if name]
    if not parts:
        return ""
    return f"Shown: {' · '.join(parts)}: {count(calls, 'call')}, {count(passes, 'pass', 'passes')}."


def gaps(drawn: tc.Timeline, loading_s: float, *, whole: bool) -> str:
    """How much of the time was not spent in a traced call."""
    if drawn.span_s <= 0:
        return ""
    gap = max(drawn.span_s - drawn.traced_s, 0.0)
    text = f"{percent(gap / drawn.span_s)} of {'wall time' if whole else 'this stretch'} is not in a traced call"
    text += f" ({number(gap, 's')}"
    text += f", {number(loading_s, 's')} of it {LOADING})" if loading_s > 0 else ")"
    return f"{text}. Passes written together are laid one after another: a pause among them is drawn before them."


def hits(found: int, n: int) -> str:
    """Hits of look-ups, with a rate where there are enough."""
    told = f"{found:,} of {n:,} look-ups were answered by the cache"
    return f"{told} ({percent(found / n)})." if n >= tc.MIN_LOOKUPS else f"{told}; a rate needs {tc.MIN_LOOKUPS}."


def sums(head: tuple[str, str], found: Sequence[tuple[str, ts.Sum, str]]) -> str:
    """HTML table of look-ups by name with a note each, the first few in sight."""

    def rows(part: Sequence[tuple[str, ts.Sum, str]]) -> str:
        cells = [
            (
                esc(name),
                f"{s.hits:,}/{s.lookups:,}",
                percent(s.rate) if s.rate is not None else f"{DASH} (n &lt; {tc.MIN_LOOKUPS})",
                number(s.seconds, "s"),
                number(s.saved_s, "s") if s.hits else DASH,
                esc(note),
            )
            for name, s, note in part
        ]
        return table((head[0], "Hits", "Rate", "Time", "Saved", head[1]), cells, right=(1, 2, 3, 4))

    more = found[ROWS_SHOWN:ROWS_MOST]
    if not more:
        return rows(found)
    return (
        f"{rows(found[:ROWS_SHOWN])}<details><summary>{len(more):,} more with less time</summary>{rows(more)}</details>"
    )


def slow_passes(
    passes: Sequence[ts.SlowPass], place_of: Callable[[str], Place | None]
) -> tuple[pd.DataFrame, list[Place | None]]:
    """The slowest passes as a table, and where the longest prompt of each can be opened."""
    rows, places = [], []
    for p in passes:
        known = [place for digest in p.prompts if (place := place_of(digest)) is not None]
        place = max(known, key=lambda found: len(found.text), default=None)
        places.append(place)
        rows.append(
            {
                "ms": p.ms,
                "n": len(p.prompts),
                "each": p.ms / len(p.prompts),
                "view": tc.view_name(p.view),
                "op": visible(p.op),
                "probe": tc.owner_name(p.probe),
                "prompt": visible(place.text)[:120] if place else p.prompts[0],
                "note": "first of its view" if p.first_of_view else "",
            }
        )
    kinds = {"ms": "float64", "n": "int64", "each": "float64"}
    return pd.DataFrame({k: pd.Series([r[k] for r in rows], dtype=kinds.get(k, "object")) for k in SLOW}), places
