"""Many probes, many tests: the p-values of a suite, adjusted for how many of them there are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sway_dash.core.families import benjamini_hochberg, holm
from sway_dash.core.result import ProbeResult, SuiteResult, Verdict

OWN = ("p", "p_permutation", "p_harm", "p_reaches_gate", "trend_p")
"""Evidence keys under which a probe gives the p-value of its own test; the first one there is counts."""

HARMS = ("adapter_revert", "calibration_drift", "external_perplexity", "leakage", "tool_use_fidelity")
"""Kinds that show harmlessness: where random adapters stand is context there and no test."""

ONCE_NATS = ("adapter_ablation", "cluster_kl", "kl_trajectory", "layer_attribution", "multi_turn_coherence_decay")
"""Kinds whose value is not in nats, while older results name the unit of the divergences behind it."""

RULE = (
    "Of claims with p (Holm) up to 0.05 even one is false with at most 5 %; of those with q up to 0.05 an expected 5 %"
    " are false."
)


@dataclass(frozen=True, slots=True)
class Adjusted:
    """A probe's p-value beside its effect.

    ``p`` is of the probe's own test where it has one, else that of the adapter as the next null draw. ``p_holm`` and
    ``q_value`` are adjusted over all tests of the suite (Holm 1979; Benjamini and Hochberg 1995); probes of one suite
    share model and prompts, so their tests depend on each other, which Holm allows for in any case and the q-value
    where the dependence is positive. ``effect`` is the raw value with its 95 % interval, in ``unit``.
    """

    name: str
    kind: str
    effect: float | None
    ci: tuple[float, float] | None
    unit: str
    p: float
    p_holm: float
    q_value: float


def adjusted(suite: SuiteResult) -> tuple[Adjusted, ...]:
    """Every probe that was judged and has a p-value, in suite order; nothing below two, where nothing is adjusted."""
    found = [
        (probe, p)
        for probe in suite.probes
        if probe.verdict not in (Verdict.SKIP, Verdict.ERROR) and (p := p_value(probe)) is not None
    ]
    if len(found) < 2:
        return ()
    ps = [p for _, p in found]
    families = zip(found, holm(ps), benjamini_hochberg(ps), strict=True)
    return tuple(
        Adjusted(probe.name, probe.kind, probe.raw, probe.ci_95, unit_of(probe), p, h, q)
        for (probe, p), h, q in families
        if h is not None and q is not None
    )


def unit_of(probe: ProbeResult) -> str:
    """Unit of a probe's raw value; empty where it is not known or there is none. Untrusted text."""
    unit = probe.evidence.get("unit")
    if not isinstance(unit, str) or (probe.kind in ONCE_NATS and unit == "nats"):
        return ""
    return unit


def p_value(probe: ProbeResult) -> float | None:
    """The p-value of a probe's test, ``None`` without one."""
    null = probe.evidence.get("null") if probe.kind not in HARMS else None
    given = [probe.evidence.get(key) for key in OWN]
    given.append(null.get("p_prediction") if isinstance(null, Mapping) else None)
    return next((p for value in given if (p := _as_p(value)) is not None), None)


def as_dict(suite: SuiteResult) -> dict[str, Any]:
    """JSON-ready, probe name → its p-values and effect; empty below two tests."""
    return {
        t.name: {
            "p": t.p,
            "p_holm": t.p_holm,
            "q_value": t.q_value,
            "effect": t.effect,
            "effect_ci_95": list(t.ci) if t.ci else None,
            "unit": t.unit,
        }
        for t in adjusted(suite)
    }


def _as_p(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if 0.0 <= value <= 1.0 else None
