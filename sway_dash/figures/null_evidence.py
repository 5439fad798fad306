"""What a ``null_adapter`` result holds. It may come from another program: what is not as it should be is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sway_dash.core.foreign import mapping, number
from sway_dash.figures.theme import visible


def draws_of(evidence: Mapping[str, Any], entry: str) -> dict[str, list[float]]:
    """Null draws of an entry by rank."""
    found: dict[str, list[float]] = {}
    for rank, values in mapping(mapping(evidence.get("null_draws")).get(entry)).items():
        known = [number(v) for v in values] if isinstance(values, list | tuple) else []
        if draws := [v for v in known if v is not None]:
            found[str(rank)] = draws
    return found


def kept_of(evidence: Mapping[str, Any], kind: str) -> dict[str, float] | None:
    """Mean and spread of the null draws of a kind."""
    known = mapping(mapping(evidence.get("null_stats")).get(kind))
    return {key: v for key, value in known.items() if (v := number(value)) is not None} or None


def skipped(evidence: Mapping[str, Any]) -> str:
    """What could not be calibrated and why; the public format names the kinds alone."""
    listed = evidence.get("skipped_kinds")
    told: list[str] = []
    for item in listed if isinstance(listed, list | tuple) else ():
        known = item if isinstance(item, Mapping) else {"entry": item}
        reason = known.get("reason")
        name = visible(known.get("entry") or known.get("kind") or "")
        told.append(f"{name}: {visible(reason)}" if reason else f"{name} has no null")
    return "; ".join(told)
