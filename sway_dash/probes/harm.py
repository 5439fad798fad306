"""Questions of harm, for the probes that ask them: is it below a margin at the bad end of what the data allow?"""

from __future__ import annotations

from collections.abc import Sequence

from sway_dash.core.margins import Margin, non_inferior
from sway_dash.core.stats import MIN_CLUSTERS, score_from_anchors


def bounded_harm(
    harms: Sequence[float], margin: float, *, seed: int = 0, clusters: Sequence[object] | None = None
) -> Margin:
    """:func:`~sway_dash.core.margins.non_inferior` for measured, continuous harms.

    Harms that are all exactly 0 mean that nothing changed, not that an event happened to 0 of so many items; they
    have no spread to bootstrap and pass unless ``margin`` asks for an improvement. With too few clusters for an
    interval the items stand for themselves, and the note says so.
    """
    if harms and not any(harms):
        return Margin(0.0, 0.0, margin >= 0.0, None, f"none of {len(harms)} items changed at all")
    few = clusters is not None and len(set(clusters)) < MIN_CLUSTERS
    found = non_inferior(harms, margin, seed=seed, clusters=None if few else clusters)
    if not few or found.upper is None:
        return found
    return Margin(found.mean, found.upper, found.passed, found.p, f"{found.note}; it holds for these items alone")


def harm_score(upper: float | None, margin: float) -> float:
    """No harm → 1, an upper bound at the margin → 0.6, at twice the margin → 0. Without a bound 0.6 at most."""
    width = abs(margin) or 0.1
    if upper is None:
        return 0.6
    return score_from_anchors(upper, none=margin + width, gate=margin, target=margin - width)
