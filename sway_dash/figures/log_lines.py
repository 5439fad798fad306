"""The story of a run in lines, and which of them a reader asks for. Plain Python: no param, no Panel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sway_dash.core.events import (
    Event,
    ItemFailed,
    ModelReady,
    NoiseMeasured,
    Phase,
    ProbeFinished,
    RunCancelledEvent,
    RunFailed,
    RunFinished,
    RunStarted,
    Warned,
)

Level = Literal["info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the run's story; ``probe`` and ``item`` where it is about one prompt."""

    ts: float
    level: Level
    text: str
    probe: str = ""
    item: int | None = None


def chosen(lines: Sequence[LogLine], least: Level = "info", query: str = "") -> list[LogLine]:
    """Lines of at least this level that hold ``query`` (any case), in order."""
    rank = LEVELS.index(least)
    wanted = query.strip().casefold()
    return [
        line for line in lines if LEVELS.index(line.level) >= rank and (not wanted or wanted in line.text.casefold())
    ]


def log_line(event: Event) -> LogLine | None:
    """What an event adds to the story; most say nothing."""
    if isinstance(event, RunStarted):
        again = " again" if event.resumed else ""
        return LogLine(event.ts, "info", f"run {event.run_id} started{again}, seed {event.seed}")
    if isinstance(event, Phase):
        if event.step:
            return LogLine(event.ts, "info", f"{event.phase}: {event.step}")
        detail = f" with adapter {event.detail}" if event.phase == "loading" and event.detail else ""
        return LogLine(event.ts, "info", f"{event.phase} {event.name}{detail}".strip())
    if isinstance(event, ModelReady):
        return LogLine(event.ts, "info", "model ready")
    if isinstance(event, NoiseMeasured):
        text = f"the same model twice, {event.prompts} prompts: at most {event.js:.2g} nats JS, {event.kl:.2g} nats KL"
        return LogLine(event.ts, "info", text)
    if isinstance(event, Warned):
        causes = f" Possible causes: {'; '.join(event.causes)}" if event.causes else ""
        return LogLine(event.ts, "warning", f"{event.message}{causes}")
    if isinstance(event, ItemFailed):
        text = f"{event.probe}: prompt {event.item + 1} in {event.view}: {event.message}"
        return LogLine(event.ts, "error", text, event.probe, event.item)
    if isinstance(event, ProbeFinished):
        verdict = str(event.result.get("verdict"))
        level: Level = "error" if verdict == "error" else "warning" if verdict == "warn" else "info"
        return LogLine(event.ts, level, f"{event.result.get('name')}: {verdict}. {event.result.get('message')}")
    if isinstance(event, RunFinished):
        return LogLine(event.ts, "info", "run finished")
    if isinstance(event, RunCancelledEvent):
        return LogLine(event.ts, "warning", f"run cancelled: {event.reason}")
    if isinstance(event, RunFailed):
        return LogLine(event.ts, "error", event.message)
    return None
