"""A result as named numbers, for whatever draws a number over steps or over runs."""

from __future__ import annotations

import math
import re

from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore, Verdict
from sway_dash.suite.fold import PREFLIGHT
from sway_dash.suite.gate import scored

PREFIX = "sway/"
_UNSAFE = re.compile(r"[^\w.-]+")


def scalars(result: SuiteResult, score: SwayScore) -> dict[str, float]:
    """Numbers of a result by name; what is not known is not there.

    ``sway/mean_js`` (``mean_kl`` where the suite judges by it; nats), ``sway/ci_low`` and ``sway/ci_high`` are the
    mean of the first ``delta_kl`` and its 95 % interval, ``sway/null_high`` the largest mean of the random adapters;
    ``sway/score`` is the composite, ``sway/errors`` how many probes could not be measured, and every probe has
    ``sway/<name>/raw``, ``/score`` and ``/z``.
    """
    found: dict[str, float | None] = {}
    main = next((p for p in result.probes if p.kind == "delta_kl" and p.raw is not None), None)
    if main is not None:
        found[f"mean_{'kl' if main.evidence.get('divergence_kind') == 'kl' else 'js'}"] = main.raw
        found["ci_low"], found["ci_high"] = main.ci_95 or (None, None)
        found["null_high"] = (main.evidence.get("null") or {}).get("largest_draw")
    found["score"] = score.overall if scored(result, score) else None
    found["errors"] = sum(p.verdict is Verdict.ERROR for p in result.probes)
    for probe in result.probes:
        if probe.name != PREFLIGHT and probe.kind != "null_adapter":
            name = _UNSAFE.sub("_", probe.name)
            found |= {f"{name}/raw": probe.raw, f"{name}/score": probe.score, f"{name}/z": probe.z_score}
    known = {name: value for name, value in found.items() if value is not None and math.isfinite(value)}
    return {f"{PREFIX}{name}": float(value) for name, value in known.items()}


def broken(result: SuiteResult) -> ProbeResult | None:
    """The check of the model that found numbers which are none, if it did."""
    return next((p for p in result.probes if p.kind == "preflight" and p.verdict is Verdict.ERROR), None)
