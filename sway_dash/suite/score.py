"""From probe results to one number: weighted means by category and overall. Knows no backend and no report."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sway_dash.core.foreign import number
from sway_dash.core.result import DEFAULT_COMPONENT_WEIGHTS, ProbeResult, SuiteResult, SwayScore, Verdict

LOW_COMPONENT = 0.3
"""A category below this is a finding: the band "noise" of a composite score."""

MAX_FINDINGS = 5


def compute(suite: SuiteResult, *, weights: Mapping[str, float] | None = None) -> SwayScore:
    """Compute the composite score of a suite.

    A category's score is the mean of its probes' scores, weighted by ``evidence["weight"]``; the composite is the mean
    of the categories, weighted by ``weights``. Skipped probes, probes that ended in an error and probes without a score
    are unknown, not zero: they do not count. A category in which nothing counts (no such probe, or all their weights
    are 0) is absent from ``components`` and from the composite.

    Parameters
    ----------
    weights
        Weight of each category, used exactly as given; the default weights when ``None``. A category that is not
        named is shown in ``components`` but weighs nothing.

    Returns
    -------
    Composite in [0, 1], 0.0 when nothing counts; its band; at most five findings.
    """
    used = dict(DEFAULT_COMPONENT_WEIGHTS if weights is None else weights)
    components = _components(suite, used)
    counted = {c: used[c] for c in components if c in used}
    total = math.fsum(counted.values()) or 1.0
    overall = math.fsum(weight * components[c] for c, weight in counted.items()) / total
    return SwayScore(
        overall=overall,
        components=components,
        weights=used,
        band=SwayScore.band_for(overall),
        findings=_findings(suite, components),
    )


def category_of(kind: str) -> str:
    """Category of a registered probe kind; ``"adherence"`` for an unknown one."""
    # Inside: registering the probes imports them all.
    from sway_dash.probes.base import registry

    return str(getattr(registry().get(kind), "category", "adherence"))


def _components(suite: SuiteResult, order: Mapping[str, float]) -> dict[str, float]:
    """Weighted mean score by category, categories of ``order`` first."""
    buckets: dict[str, list[tuple[float, float]]] = {}
    for probe in suite.probes:
        weight = probe_weight(probe)
        if counts(probe) and probe.score is not None and weight > 0:
            buckets.setdefault(category_of(probe.kind), []).append((weight, probe.score))
    names = [*(c for c in order if c in buckets), *(c for c in buckets if c not in order)]
    return {c: math.fsum(w * s for w, s in buckets[c]) / math.fsum(w for w, _ in buckets[c]) for c in names}


def counts(probe: ProbeResult) -> bool:
    """Whether a probe has a score that can take part in a mean."""
    return probe.verdict not in (Verdict.SKIP, Verdict.ERROR) and probe.score is not None and math.isfinite(probe.score)


def probe_weight(probe: ProbeResult) -> float:
    """Weight of a probe in its category: ``evidence["weight"]``, at least 0; 1.0 when that is no finite number."""
    weight = number(probe.evidence.get("weight"))
    return 1.0 if weight is None else max(0.0, weight)


def _findings(suite: SuiteResult, components: Mapping[str, float]) -> tuple[str, ...]:
    first = []
    failed = [p for p in suite.probes if p.verdict == Verdict.FAIL]
    if failed:
        text = f"{failed[0].name} ({failed[0].kind}) did not reach its threshold"
        text = f"{text}: {failed[0].message}" if failed[0].message else text
        # One finding for all of them: low categories and errors keep their room.
        others = ", ".join(p.name for p in failed[1:])
        first.append(f"{text} (and {len(failed) - 1} more failed: {others})" if others else text)
    # A true zero is the worst case, not a missing value: missing categories are absent from the components.
    low = [f"{c} is low: {value:.2f}" for c, value in components.items() if value < LOW_COMPONENT]
    n_errors = sum(p.verdict == Verdict.ERROR for p in suite.probes)
    last = [f"{n_errors} {'probe' if n_errors == 1 else 'probes'} could not be measured"] if n_errors else []
    # What could not be measured is always said; of many low categories the first ones are.
    room = MAX_FINDINGS - len(first) - len(last)
    return (*first, *low[:room], *last)
