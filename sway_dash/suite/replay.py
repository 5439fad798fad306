"""A result as events again: what can be shown of a run of which only the result file is here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sway_dash.core.divergence import LN2
from sway_dash.core.events import (
    Event,
    Measurement,
    ModelReady,
    PlannedProbe,
    ProbeFinished,
    RunCancelledEvent,
    RunFailed,
    RunFinished,
    RunStarted,
    Warned,
)
from sway_dash.core.result import ProbeResult, SuiteResult
from sway_dash.probes import registry
from sway_dash.suite.fold import PREFLIGHT, probe_to_dict


def events_of(result: SuiteResult) -> list[Event]:
    """Events whose fold is ``result``. Of prompts there is what the evidence holds: a divergence, maybe the text.

    What of a prompt is not known is NaN, which is never written anywhere and shown as a dash.
    """
    began, ended = result.started_at.timestamp(), result.finished_at.timestamp()
    det = result.determinism
    summary = None if det is None else {"class": det.class_, "seed": det.seed, "notes": list(det.notes)}
    measured = {p.name: _measurements(p, ended) for p in result.probes if p.kind == "delta_kl"}
    found: list[Event] = [
        RunStarted(
            ts=began,
            run_id=result.run_id,
            spec_path=result.spec_path,
            base_model_id=result.base_model_id,
            adapter_id=result.adapter_id,
            sway_version=result.sway_version,
            seed=det.seed if det else 0,
            determinism=summary,
            probes=tuple(_planned(p, len(measured.get(p.name, ()))) for p in result.probes if p.name != PREFLIGHT),
        ),
        ModelReady(ts=began, environment=result.environment, determinism=summary),
        *(Warned(ts=began, message=text) for text in result.warnings),
    ]
    for probe in result.probes:
        found += measured.get(probe.name, ())
        found.append(ProbeFinished(ts=ended, result=probe_to_dict(probe)))
    if (last := _end(result, ended)) is not None:
        found.append(last)
    return [event.model_copy(update={"seq": seq}) for seq, event in enumerate(found, 1)]


def _planned(probe: ProbeResult, measurements: int) -> PlannedProbe:
    known = registry().get(probe.kind)
    e = probe.evidence
    entry: dict[str, Any] = {"name": probe.name, "kind": probe.kind}
    if isinstance(e.get("divergence_kind"), str):
        entry["divergence"] = e["divergence_kind"]
    if prompts := _strings(e.get("prompts")):
        tags = _lists(e.get("tags"), len(prompts))
        entry["prompts"] = [{"text": text, "tags": tags[i]} for i, text in enumerate(prompts)]
    return PlannedProbe(
        name=probe.name,
        kind=probe.kind,
        category=known.category if known else "",
        entry=entry,
        measurements=measurements,
    )


def _measurements(probe: ProbeResult, ts: float) -> list[Measurement]:
    """The probe's prompts; none when a divergence is no number or lies outside its range."""
    e = probe.evidence
    values = e.get("per_prompt")
    if not isinstance(values, list) or not all(isinstance(v, int | float) and v >= 0 for v in values):
        return []
    of_js = str(e.get("divergence_kind") or "js") == "js"
    if of_js and any(v > LN2 + 1e-6 for v in values):
        return []
    texts = _strings(e.get("prompts"))
    tags = _lists(e.get("tags"), len(values))
    named = texts if len(texts) == len(values) else [f"prompt {i + 1}" for i in range(len(values))]
    # Not checked by the model: it takes no NaN, and a file never may.
    return [
        Measurement.model_construct(
            ts=ts,
            probe=probe.name,
            item=i,
            prompt=named[i],
            tags=tuple(tags[i]),
            js=min(float(value), LN2) if of_js else math.nan,
            kl=math.nan if of_js else float(value),
            kl_reverse=math.nan,
            same_top=math.nan,
            exact=bool(e.get("exact", False)),
        )
        for i, value in enumerate(values)
    ]


def _end(result: SuiteResult, ts: float) -> Event | None:
    if result.status == "cancelled":
        return RunCancelledEvent(ts=ts, backend_stats=result.backend_stats)
    if result.status == "failed":
        return RunFailed(ts=ts, message="", backend_stats=result.backend_stats)
    if result.status in ("running", "interrupted"):
        return None
    return RunFinished(ts=ts, backend_stats=result.backend_stats)


def _strings(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, Sequence) and not isinstance(value, str) else []


def _lists(value: Any, n: int) -> list[list[str]]:
    rows = [_strings(v) for v in value] if isinstance(value, list) and len(value) == n else []
    return rows or [[] for _ in range(n)]
