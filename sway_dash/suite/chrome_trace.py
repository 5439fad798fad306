"""A run's trace in the Chrome trace event format, which Perfetto and ``chrome://tracing`` open.

One process; one thread a view with a complete event (``ph: X``) for every forward pass and an instant (``ph: i``) for
every answer of the cache; one thread with the steps of the run. Times in microseconds since the first of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sway_dash.suite.passes import continues, lay_out
from sway_dash.suite.trace_file import TraceEvent, load

PROCESS = 1
STEPS = 1
"""Thread of the steps; views follow."""

Step = tuple[str, float, float]


def chrome_trace(calls: Iterable[TraceEvent], steps: Sequence[Step] = (), *, name: str = "sway-dash") -> dict[str, Any]:
    """Convert look-ups to a JSON-ready trace.

    Parameters
    ----------
    calls
        Look-ups in file order.
    steps
        ``(name, start, end)`` of the steps of the run, Unix seconds.
    name
        What the process is called in the viewer.
    """
    passes: list[list[TraceEvent]] = []
    hits: list[TraceEvent] = []
    for call in calls:
        if call.hit:
            hits.append(call)
        elif passes and continues(call, passes[-1][-1], len(passes[-1])):
            passes[-1].append(call)
        else:
            passes.append([call])
    # Relative to one of them: Unix seconds have room for quarters of a microsecond only.
    origin = min((c.ts for c in (*hits[:1], *(g[-1] for g in passes[:1]))), default=0.0)
    seconds = np.array([sum(c.wall_ms for c in group) / 1000.0 for group in passes])
    starts = lay_out(np.array([group[-1].ts - origin for group in passes]), seconds)
    begun = [*starts[:1].tolist(), *(h.ts - origin for h in hits[:1]), *(start - origin for _, start, _ in steps)]
    first = min(begun, default=0.0)

    threads: dict[str, int] = {}
    events = [
        _event("X", step, "step", STEPS, _ns(start - origin - first), dur=_ns(max(end - start, 0.0)))
        for step, start, end in steps
    ]
    done = 0
    for group, start, length in zip(passes, starts.tolist(), seconds.tolist(), strict=True):
        head = group[0]
        # Two slices of a thread that overlap by a nanosecond are one too many for the viewer.
        begin = max(_ns(start - first), done)
        done = max(_ns(start + length - first), begin)
        about = {
            "view": head.view_id,
            "probe": head.owner,
            "prompts": len(group),
            "prompt_hashes": [c.prompt_hash for c in group],
            "top_k": head.top_k,
        }
        thread = threads.setdefault(head.view_id, STEPS + 1 + len(threads))
        events.append(_event("X", head.op, head.owner, thread, begin, dur=done - begin, args=about))
    for hit in hits:
        thread = threads.setdefault(hit.view_id, STEPS + 1 + len(threads))
        about = {"view": hit.view_id, "probe": hit.owner, "prompt_hash": hit.prompt_hash}
        events.append(_event("i", "cache hit", hit.owner, thread, _ns(hit.ts - origin - first), s="t", args=about))
    events.sort(key=lambda e: (e["ts"], -e.get("dur", 0.0)))
    names = [("process_name", 0, name), ("thread_name", STEPS, "run")]
    names += [("thread_name", thread, view) for view, thread in threads.items()]
    about_threads = [{"ph": "M", "name": key, "pid": PROCESS, "tid": tid, "args": {"name": n}} for key, tid, n in names]
    start_s = origin + first
    return {"traceEvents": [*about_threads, *events], "displayTimeUnit": "ms", "otherData": {"start_unix_s": start_s}}


def convert(path: Path | None, steps: Sequence[Step] = (), *, name: str = "sway-dash") -> bytes:
    """A trace file as a Chrome trace, JSON; without the file the steps alone."""
    calls = load(path) if path is not None and path.is_file() else ()
    return json.dumps(chrome_trace(calls, steps, name=name), separators=(",", ":")).encode()


def _event(phase: str, name: str, category: str, thread: int, ns: int, **more: Any) -> dict[str, Any]:
    if "dur" in more:
        more["dur"] = more["dur"] / 1000
    return {"ph": phase, "name": name, "cat": category, "pid": PROCESS, "tid": thread, "ts": ns / 1000, **more}


def _ns(seconds: float) -> int:
    """Whole nanoseconds, never below zero; the format wants them divided by 1000."""
    return max(round(1e9 * seconds), 0)
