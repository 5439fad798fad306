"""What a run is going to do, known from the suite alone: which entries, in which order, how many measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sway_dash.core.errors import SwayError
from sway_dash.core.events import PlannedProbe
from sway_dash.core.result import jsonable
from sway_dash.probes.base import Probe, ProbeSpec, RunContext
from sway_dash.suite.document import document_of
from sway_dash.suite.spec import SwaySpec


def plan(spec: SwaySpec, entries: Sequence[tuple[Probe, ProbeSpec]]) -> tuple[PlannedProbe, ...]:
    """What a run of these entries is going to measure; needs no model."""
    planned = []
    document = with_document(spec)
    for index, (probe, settings) in enumerate(entries):
        ctx = replace(document, **later(entries, index))
        # Of two models none has an adapter that random ones could stand in for.
        asks = settings.enabled and not (spec.separate and settings.kind == "null_adapter")
        planned.append(
            PlannedProbe(
                name=settings.name,
                kind=settings.kind,
                category=probe.category,
                enabled=settings.enabled,
                entry=jsonable(spec.suite[index]),
                measurements=probe.planned(settings, ctx) if asks else 0,
                answers=probe.answers(settings, ctx) if asks else 0,
                open_ended=asks and probe.open_ended(settings, ctx),
            )
        )
    return tuple(planned)


def with_document(spec: SwaySpec) -> RunContext:
    """What probes are told of the document before anything runs; one that cannot be read is an error of its own."""
    try:
        found = document_of(spec)
    except SwayError:
        found = None
    return RunContext(sections=found.sections, doc_text=found.text) if found else RunContext()


def later(entries: Sequence[tuple[Probe, ProbeSpec]], index: int) -> dict[str, Any]:
    """Context fields that name the enabled entries after one."""
    later = tuple((p, s) for p, s in entries[index + 1 :] if s.enabled)
    return {"downstream": later, "downstream_kinds": tuple(s.kind for _, s in later)}
