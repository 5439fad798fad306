"""The same measurements under other thresholds and weights: what a probe would have said, without measuring again.

Nothing is judged here: a probe's own ``judge`` does, over the measurements that were stored.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sway_dash.core.errors import SwayError
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import noise_floor
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, build_probe, registry
from sway_dash.suite.fold import Fold, probe_from_dict, probe_to_dict, with_null

PREFIX = "assert_"
"""Fields of a probe's settings that begin like this are thresholds: they judge and do not change what is measured."""


@dataclass(frozen=True, slots=True)
class Rejudged:
    """A probe's result under other settings; ``reason`` says why its verdict stayed that of the run."""

    result: ProbeResult
    reason: str = ""


def thresholds(kind: str) -> tuple[str, ...]:
    """Names of the thresholds of a registered kind; none for an unknown one."""
    probe = registry().get(kind)
    return tuple(n for n in probe.spec_cls.model_fields if n.startswith(PREFIX)) if probe is not None else ()


def rejudge(fold: Fold, result: ProbeResult, changes: Mapping[str, Any], *, reason: str | None = None) -> Rejudged:
    """What ``result``, a result of this fold, would be with these thresholds and this ``weight``.

    ``reason`` is what :func:`cannot` says of it, when that is known already: finding out takes a judgement of its own.

    Raises
    ------
    SpecValidationError
        If a value is not allowed.
    """
    planned = next((p for p in fold.planned if p.name == result.name), None)
    if planned is None:
        return Rejudged(result, "the run does not hold its settings")
    probe, spec = build_probe({**planned.entry, "name": result.name, "kind": result.kind, **changes})
    weighed = _weighed(result, changes, spec)
    if not set(changes) - {"weight"}:
        return Rejudged(weighed)
    if reason := cannot(fold, result) if reason is None else reason:
        return Rejudged(weighed, reason)
    return Rejudged(_judge(fold, result, probe, spec))


def cannot(fold: Fold, result: ProbeResult) -> str:
    """Why the verdict of a result cannot be given anew from what was stored; empty when it can."""
    probe = registry().get(result.kind)
    if result.verdict is Verdict.SKIP:
        return "it was skipped"
    if result.verdict is Verdict.ERROR:
        return "it ended in an error"
    if probe is None:
        return "no probe of this kind is installed"
    if not thresholds(result.kind):
        return "it has no threshold"
    if probe.judge is Probe.judge:
        return "probes of this kind measure and judge in one step: this takes a new run"
    planned = next((p for p in fold.planned if p.name == result.name), None)
    if planned is None or not fold.own(result.name):
        return "its measurements were not stored"
    try:
        again = _judge(fold, result, *build_probe(planned.entry))
    except SwayError as error:
        return f"its settings cannot be read: {error}"
    except Exception as error:  # a probe's defect is no reason to lose the page
        return f"judging it again failed: {type(error).__name__}: {error}"
    # What does not give the verdict of the run would not give that of a new one either.
    if again.verdict is not result.verdict or not (_same(again.raw, result.raw) and _same(again.score, result.score)):
        return "its stored measurements do not give the recorded verdict: another version of the program judged them"
    return ""


def _judge(fold: Fold, result: ProbeResult, probe: Probe, spec: ProbeSpec) -> ProbeResult:
    if "partial" in result.evidence:
        # Over part of the prompts nothing is asserted: the fold knows what is said then.
        changed = {result.name: spec.model_dump(mode="json")}
        return next(p for p in _with_entries(fold, changed).result().probes if p.name == result.name)
    # In the order of the suite, as the run judged them; they were stored as they were measured.
    own = sorted(fold.own(result.name), key=lambda m: m.item)
    judged = probe.judge(spec, _context(fold, result.name), own)
    if judged is None:
        msg = f"{result.kind} gives no judgement"
        raise RuntimeError(msg)
    return replace(probe_from_dict(probe_to_dict(judged)), duration_s=result.duration_s)


def _context(fold: Fold, name: str) -> RunContext:
    """What the run handed the probe: its seed, and the random adapters of the entries before it."""
    ctx = RunContext(seed=fold.started.seed if fold.started else 0, noise=noise_floor(fold.environment))
    results = {p.name: p for p in fold.result().probes}
    for planned in fold.planned:
        if planned.name == name:
            break
        if planned.kind == "null_adapter" and planned.name in results:
            ctx = with_null(ctx, results[planned.name])
    return ctx


def _with_entries(fold: Fold, entries: Mapping[str, Mapping[str, Any]]) -> Fold:
    changed = copy.copy(fold)
    if fold.started is not None:
        probes = tuple(p.model_copy(update={"entry": {**p.entry, **entries.get(p.name, {})}}) for p in fold.planned)
        changed.started = fold.started.model_copy(update={"probes": probes})
    return changed


def _weighed(result: ProbeResult, changes: Mapping[str, Any], spec: ProbeSpec) -> ProbeResult:
    if "weight" not in changes:
        return result
    return replace(result, evidence={**result.evidence, "weight": spec.weight})


def _same(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12))
