"""What is said above the numbers when a run is not simply finished. Pure: state in, HTML out."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator

from sway_dash.core.events import EVENT_SCHEMA
from sway_dash.core.result import Verdict
from sway_dash.core.stats import MIN_ITEMS
from sway_dash.dash.failures import OutOfMemory, out_of_memory
from sway_dash.dash.progress import Loaded
from sway_dash.dash.state import RunState
from sway_dash.figures.derive import RunData
from sway_dash.figures.markup import toned
from sway_dash.figures.theme import count, duration, esc, size
from sway_dash.suite.queue import Standing

IDENTICAL = "identical logits"


def banner(run: RunState, *, skipped: int = 0, worker_log: str = "", imported: str = "", now: float = 0.0) -> str:
    """HTML of the banner of a run's state; empty when there is nothing to say.

    ``skipped`` counts unreadable lines of the run's files, ``imported`` names the report a run was made of, ``now`` is
    the time in Unix seconds (the present one when it is 0).
    """
    parts = [_state(run, worker_log, now or time.time()), _memory(run), _identical(run.data)]
    if imported:
        text = f"From {imported}: a result without its run. Of each prompt there is what the report holds."
        parts.append(_box("accent", "Imported report", text))
    if (started := run.data.started) and started.schema_version > EVENT_SCHEMA:
        text = f"Version {started.sway_version or 'unknown'} wrote this run; what this version knows of it is shown."
        parts.append(_box("warn", "Made by a newer version", text))
    if skipped:
        text = f"{count(skipped, 'line')} of the run's files could not be read; the rest is shown."
        parts.append(_box("warn", "Incomplete files", text))
    return "".join(parts)


def preflight_failed(data: RunData) -> bool:
    """Whether a model was not fit to be measured: then no score is shown anywhere."""
    return any(p.kind == "preflight" for p in data.result().probes) if data.started else False


def ordinal(n: int) -> str:
    """``2nd``, ``3rd``, ``11th``."""
    tail = "th" if n % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{tail}"


def in_line(standing: Standing) -> str:
    """Where a run waits, in words."""
    has, *others = standing.before or (None,)
    place = f"{ordinal(standing.position)} in line for {standing.device}"
    if has is None:
        return place
    name = has.name or "an open inspector"
    rest = "".join(f", then {p.name or 'an open inspector'}" for p in others[:3])
    more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
    return f"{place}, behind {name}{rest}{more}"


def _state(run: RunState, worker_log: str, now: float) -> str:
    data, feed = run.data, run.feed
    fold = data.fold
    if run.status == "queued":
        place = in_line(feed.standing) if feed and feed.standing else "in line"
        return _box(
            "accent",
            "Waiting",
            f"{place[:1].upper()}{place[1:]}. One run at a time has a device; this starts by itself.",
        )
    if run.status == "starting":
        return _box("accent", "Starting", "The worker process is starting; loading its packages takes a few seconds.")
    if run.status == "running":
        return _running(run, now)
    if run.status == "cancelled":
        if not fold.done:
            return _box("warn", "Stopped", "Nothing was measured.", _reason(fold.reason))
        text = f"Measured until then: {fold.done:,} of {fold.total:,}. The numbers below use these."
        return _box("warn", "Stopped", text, _reason(fold.reason))
    if run.status == "interrupted":
        how = (
            f"exited ({feed.exit})"
            if feed and feed.exit
            else "has ended without saying so, likely killed or out of memory"
        )
        safe = f"{count(fold.done, 'measurement is', 'measurements are')} safe" if fold.done else "Nothing was measured"
        return _box("warn", "Interrupted", f"The worker {how}. {safe}.", more=worker_log)
    if run.status == "failed":
        text = fold.reason or "The run ended with an error."
        return _box("bad", "Failed", text, more=data.traceback or worker_log)
    if run.status == "finished" and preflight_failed(data):
        # What it found is the verdict's reason.
        return _box("bad", "Not measured", "The check before measuring failed, so no score was computed.")
    return ""


def _reason(reason: str) -> str:
    return "" if reason == "stopped" else reason


def _running(run: RunState, now: float) -> str:
    if run.stopping:
        return _box("warn", "Stopping", "It ends after its current batch; a worker that does not answer is killed.")
    phase = run.data.fold.phase
    steps = run.feed.progress.steps(now) if run.feed else []
    if phase is not None and phase.phase == "loading":
        text = phase.name + (f" with adapter {phase.detail}" if phase.detail else "")
        return _box("accent", "Loading the model", f"{text}.", _steps(steps), role="")
    if phase is not None and phase.phase == "preflight":
        text = "Both views must give finite numbers before anything is measured."
        return _box("accent", "Checking the model", text, _steps(steps), role="")
    if not run.done:
        return _box("accent", "Measuring", "The first result is on its way.", _steps(steps), role="")
    rows = max((len(s.rows) for s in run.data.series.values()), default=0)
    if 0 < rows < MIN_ITEMS:
        text = f"{count(rows, 'prompt')} measured; a mean has an interval from {MIN_ITEMS} prompts."
        return _box("accent", "First results", text)
    return ""


def _steps(steps: list[Loaded]) -> str:
    """The steps of loading with their seconds, in order."""
    return " → ".join(f"{s.name} {duration(s.seconds)}{'' if s.over else ' so far'}" for s in steps)


def _memory(run: RunState) -> str:
    found = next((oom for text in _messages(run) if (oom := out_of_memory(text))), None)
    if found is None:
        return ""
    tips = "".join(f"<li>{esc(tip)}</li>" for tip in _tips(found))
    phase = run.data.fold.phase
    if phase is not None and phase.phase == "probe":
        why = "Batches get smaller by themselves, so a single prompt did not fit."
    else:
        why = "The models themselves did not fit."
    text = f"{_shortage(found)} {why} What to try:"
    inner = f"<b>Out of memory.</b> {esc(text)}<ul>{tips}</ul>"
    return toned("bad", "sway-banner", inner, role="status")


def _messages(run: RunState) -> Iterator[str]:
    """Where running out of memory is told: how the run failed, and probes that failed by themselves."""
    if run.live:
        return
    fold = run.data.fold
    yield fold.reason
    yield from (p.message for p in run.data.finished.values() if p.verdict is Verdict.ERROR)
    yield from (f.message for f in fold.failed_items[:20])


def _shortage(oom: OutOfMemory) -> str:
    if oom.needed is not None and oom.free is not None:
        return f"{size(oom.needed)} more was needed and {size(oom.free)} was free on {oom.device}."
    if oom.needed is not None:
        return f"{size(oom.needed)} more was needed than there is on {oom.device}."
    return f"The model or a batch did not fit into {oom.device}."


def _tips(oom: OutOfMemory) -> list[str]:
    half = "dtype: bf16 for both models, which takes half the memory of fp32"
    if oom.device == "main memory":
        return [half, "a smaller base model, or a machine with more memory", "closing what else runs here"]
    return [half, "device: cpu, which is slower and has more room", "closing what else uses the GPU"]


def _identical(data: RunData) -> str:
    found = next((w for w in data.fold.warnings if IDENTICAL in w.message), None)
    if found is None:
        return ""
    causes = "".join(f"<li>{esc(c)}</li>" for c in found.causes)
    likely = f"<p>Likely causes, most likely first:</p><ul>{causes}</ul>" if causes else ""
    text = "The two models are identical: the adapter changes nothing."
    return toned("warn", "sway-banner", f"<b>Identical models.</b> {text}{likely}", role="status")


def _box(tone: str, title: str, text: str, detail: str = "", *, more: str = "", role: str = "status") -> str:
    """A box; what changes every second has no role, or a screen reader would read it every second."""
    inner = f"<b>{esc(title)}.</b> {esc(text)}"
    if detail:
        inner += f"<p>{esc(detail)}</p>"
    if more:
        inner += f"<details><summary>What the worker printed</summary><pre>{html.escape(more[-4000:])}</pre></details>"
    return toned(tone, "sway-banner", inner, role=role)
