"""Numbers over the prompts that are shown: mean with interval, median, and the same for every tag. Plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from sway_dash.core.events import Measurement
from sway_dash.core.paired import mean_interval
from sway_dash.core.stats import mean
from sway_dash.figures.derive import Metric, bounds_of
from sway_dash.probes.measure import distinct


@dataclass(frozen=True, slots=True)
class Summary:
    """Mean of some prompts with its 95 % interval (or the reason there is none), and their median; nats."""

    n: int
    mean: float
    median: float
    ci: tuple[float, float] | None
    method: str


def summary(rows: Sequence[Measurement], metric: Metric, seed: int, *, repeats: bool = True) -> Summary | None:
    """Numbers over measurements in suite order, a text that is listed twice once; ``None`` without any.

    Up to a few hundred prompts the interval is the one of the final result; beyond, see
    :func:`~sway_dash.core.paired.mean_interval`. Without ``repeats`` every text is known to be listed once.
    """
    values = list(map(attrgetter(metric), distinct(rows) if repeats else rows))
    if not values:
        return None
    ci, method = mean_interval(np.asarray(values), seed=seed, bounds=bounds_of(metric))
    return Summary(len(values), mean(values), float(np.median(values)), ci, method)


def by_tag(rows: Sequence[Measurement], metric: Metric, seed: int, *, repeats: bool = True) -> dict[str, Summary]:
    """The same for the prompts of every tag, tags in the order they first appear."""
    found: dict[str, list[Measurement]] = {}
    for m in rows:
        for tag in dict.fromkeys(m.tags):
            found.setdefault(tag, []).append(m)
    return {tag: s for tag, own in found.items() if (s := summary(own, metric, seed, repeats=repeats))}
