"""What is said above the numbers when a run is not simply finished. Pure: state in, HTML out."""

from __future__ import annotations

from sway_dash.core.stats import MIN_ITEMS
from sway_dash.dash.components import toned
from sway_dash.dash.derive import RunData
from sway_dash.dash.state import RunState
from sway_dash.dash.theme import count, duration, esc

IDENTICAL = "identical logits"


def banner(run: RunState, *, skipped: int = 0, worker_log: str = "") -> str:
    """HTML of the banner of a run's state; empty when there is nothing to say."""
    parts = [_state(run, worker_log), _identical(run.data)]
    if skipped:
        text = f"{count(skipped, 'line')} of the run's files could not be read; the rest is shown."
        parts.append(_box("warn", "Incomplete files", text))
    return "".join(parts)


def preflight_failed(data: RunData) -> bool:
    """Whether a model was not fit to be measured: then no score is shown anywhere."""
    return any(p.kind == "preflight" for p in data.result().probes) if data.started else False


def _state(run: RunState, worker_log: str) -> str:
    data = run.data
    fold = data.fold
    measured = count(fold.done, "measurement")
    if run.status == "starting":
        return _box("accent", "Starting", "The worker process is starting; loading its packages takes a few seconds.")
    if run.status == "running":
        return _running(run)
    if run.status == "cancelled":
        text = f"Stopped after {measured} of {fold.total:,}. The numbers below use what was measured until then."
        return _box("warn", "Cancelled", text, fold.reason if fold.reason != "stopped" else "")
    if run.status == "interrupted":
        text = f"The worker has ended without saying so, likely killed or out of memory. {measured} are safe."
        return _box("warn", "Interrupted", text, more=worker_log)
    if run.status == "failed":
        return _box("bad", "Failed", fold.reason or "The run ended with an error.", more=data.traceback or worker_log)
    if run.status == "finished" and preflight_failed(data):
        row = next(p for p in data.result().probes if p.kind == "preflight")
        text = "The check before measuring failed, so no score was computed."
        return _box("bad", "Not measured", text, row.message)
    return ""


def _running(run: RunState) -> str:
    if run.stopping:
        return _box(
            "warn", "Stopping", "The run ends after its current batch; a worker that does not answer is killed."
        )
    phase = run.data.fold.phase
    if phase is not None and phase.phase == "loading":
        text = f"Loading {phase.name}" + (f" with adapter {phase.detail}" if phase.detail else "")
        return _box("accent", "Loading the model", f"{text}. {duration(run.seconds)} so far.")
    if phase is not None and phase.phase == "preflight":
        return _box("accent", "Checking the model", "Both views must give finite numbers before anything is measured.")
    rows = max((len(s.rows) for s in run.data.series.values()), default=0)
    if 0 < rows < MIN_ITEMS:
        text = f"{count(rows, 'prompt')} measured; a mean has an interval from {MIN_ITEMS} prompts."
        return _box("accent", "First results", text)
    return ""


def _identical(data: RunData) -> str:
    found = next((w for w in data.fold.warnings if IDENTICAL in w.message), None)
    if found is None:
        return ""
    causes = "".join(f"<li>{esc(c)}</li>" for c in found.causes)
    likely = f"<p>Likely causes, most likely first:</p><ul>{causes}</ul>" if causes else ""
    text = "The two models are identical: the adapter changes nothing."
    return toned("warn", "sway-banner", f"<b>Identical models.</b> {text}{likely}", role="status")


def _box(tone: str, title: str, text: str, detail: str = "", *, more: str = "") -> str:
    inner = f"<b>{esc(title)}.</b> {esc(text)}"
    if detail:
        inner += f"<p>{esc(detail)}</p>"
    if more:
        inner += f"<details><summary>What the worker printed</summary><pre>{_pre(more)}</pre></details>"
    return toned(tone, "sway-banner", inner, role="status")


def _pre(text: str) -> str:
    import html

    return html.escape(text[-4000:])
