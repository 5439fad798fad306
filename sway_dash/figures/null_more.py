"""What more random adapters would take: time, and which of them would have to be measured again."""

from __future__ import annotations

from dataclasses import dataclass

from sway_dash.core.events import PlannedProbe
from sway_dash.figures.derive import RunData
from sway_dash.probes.null_adapter import NullAdapterSpec


@dataclass(frozen=True, slots=True)
class More:
    """What more random adapters would take."""

    have: int
    seconds_each: float | None
    again: bool
    """Those there are have to be measured again, too."""
    kept: str
    """Whether they have to, in words."""

    def seconds(self, n: int) -> float | None:
        """What ``n`` random adapters would take from here."""
        return None if self.seconds_each is None else self.seconds_each * (n if self.again else max(n - self.have, 0))


def more(data: RunData, planned: PlannedProbe) -> More:
    """What is known of the draws of a ``null_adapter`` entry that helps to ask for more."""
    fields = NullAdapterSpec.model_fields
    have = planned.entry.get("runs", fields["runs"].default)
    made = data.finished.get(planned.name)
    evidence = made.evidence if made else {}
    measured, reused = int(evidence.get("measured") or 0), int(evidence.get("reused") or 0)
    each = None
    if made is not None and measured and isinstance(have, int):
        each = made.duration_s * (measured + reused) / measured / max(have, 1)
    cached, known = planned.entry.get("cache", fields["cache"].default), data.fold.environment.get("fingerprint")
    if not cached:
        kept = "The entry says cache: false, so all of them are measured again."
    elif not known:
        kept = "What exactly the model is was not known, so no draw was kept: all of them are measured again."
    else:
        kept = "Draws made on this machine are kept by content and used again; only the others are measured."
    return More(int(have) if isinstance(have, int) else 0, each, not (cached and known), kept)
