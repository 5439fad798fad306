"""What a run is going to cost, before a model is loaded: forward passes and cache hits, entry by entry.

Of models behind a server it is answers of theirs, and requests that carry up to :data:`PROMPTS_PER_REQUEST` prompts.

Follows what probes say they will ask (:meth:`sway_dash.probes.base.Probe.asks`) through the rules of the scoring
cache: a view of a prompt is computed once, and the base's row is kept for the other views of the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from sway_dash.backends.api import PROMPTS_PER_REQUEST
from sway_dash.backends.torch_batch import VIEWS_AT_ONCE
from sway_dash.core.scoring import BASE, View
from sway_dash.probes.base import Ask, Bound, Probe, ProbeSpec, RunContext, Work
from sway_dash.probes.measure import measurement_key
from sway_dash.probes.null_cache import NullCache
from sway_dash.suite.plan import later, with_document
from sway_dash.suite.spec import SwaySpec

PREFLIGHT = 8
"""Passes of the check that a model with an adapter is fit to be measured: four prompts in both views."""
SERVED_PREFLIGHT = 2
"""Answers of the same check of two models behind servers: one prompt each."""

_Key = tuple[View, str, int, str]


@dataclass(slots=True)
class EntryForecast:
    """One entry of a suite."""

    name: str
    kind: str
    prompts: int = 0
    """Distinct prompts."""
    views: int = 0
    """Views of each prompt beside the base."""
    passes: int = 0
    hits: int = 0
    weight: float = 0.0
    """Passes, each counted by how many tokens it makes: one, and one more for every token of a continuation."""
    on_disk: int = 0
    """Draws that an earlier run has left; they are not measured again."""
    unknown: bool = False
    """The probe does not say all that it asks; passes are a rough count, from its measurements if it makes any."""
    bound: Bound = "exact"
    """Whether that is what it asks, or only the least or the most."""
    requests: int = 0
    """Of models behind a server, where it takes several prompts in one request."""


@dataclass(slots=True)
class Forecast:
    """A whole suite."""

    entries: list[EntryForecast] = field(default_factory=list)
    preflight: int = 0
    served: bool = False
    """The models are behind servers: passes are answers of theirs, and no memory of this machine is taken."""

    @property
    def passes(self) -> int:
        """Prompts that go through the model."""
        return self.preflight + sum(e.passes for e in self.entries)

    @property
    def requests(self) -> int:
        """How few requests can carry the passes; a server that takes one prompt at a time needs one for each."""
        return self.preflight + sum(e.requests for e in self.entries) if self.served else 0

    @property
    def hits(self) -> int:
        """Look-ups that the scoring cache answers."""
        return sum(e.hits for e in self.entries)

    @property
    def on_disk(self) -> int:
        """Draws that are taken from an earlier run."""
        return sum(e.on_disk for e in self.entries)

    @property
    def weight(self) -> float:
        """Passes by the tokens they make."""
        return self.preflight + sum(e.weight for e in self.entries)

    @property
    def bound(self) -> Bound | Literal["about"]:
        """How the sum is to be read: ``about`` where a probe is counted roughly, or errors of both signs meet."""
        bounds = {e.bound for e in self.entries} - {"exact"}
        if any(e.unknown for e in self.entries) or len(bounds) > 1:
            return "about"
        return bounds.pop() if bounds else "exact"

    @property
    def exact(self) -> bool:
        """Whether every probe says all that it asks and no more."""
        return self.bound == "exact"


class _Exact:
    """Stands for a backend that compares whole vocabularies, which decides what a measurement's key holds."""

    def compare(self) -> None:
        """Never called."""


def forecast(
    spec: SwaySpec, entries: Sequence[tuple[Probe, ProbeSpec]], *, fingerprint: str = "", most: int = 500_000
) -> Forecast:
    """Follow a suite through the cache.

    ``fingerprint`` is that of an earlier run of the same model; the draws it left on disk are counted then. Above
    ``most`` single look-ups the cache is not followed any more and every one counts as a pass.
    """
    kind = spec.models.ft.kind
    one = not spec.separate
    out = Forecast(preflight={"hf": PREFLIGHT, "api": SERVED_PREFLIGHT}.get(kind, 0), served=kind == "api")
    cache = _Cache(most)
    document = with_document(spec)
    for index, (probe, settings) in enumerate(entries):
        ctx = replace(document, seed=spec.defaults.seed, top_k=spec.defaults.top_k, **later(entries, index))
        line = EntryForecast(settings.name, settings.kind)
        out.entries.append(line)
        if not settings.enabled:
            continue
        asks = list(probe.asks(settings, ctx))
        null = settings.kind == "null_adapter"
        work = probe.work(settings, ctx) if one or not null else Work()
        # The base's side of a draw is known from the entry it is made for.
        sides = 1 if null else 2
        measured = 0 if asks or null else probe.planned(settings, ctx)
        line.passes = sides * (work.texts or measured)
        line.weight = float(sides * (work.texts + work.tokens or measured))
        line.requests = sides * _requests(work.texts or measured)
        if asks:
            line.bound = probe.asks_bound(settings)
        if null:
            line.unknown = one and probe.open_ended(settings, ctx)
        elif not asks:
            # A probe of its own making may ask without saying what.
            line.unknown = bool(measured or work.texts) or (probe.needs_backend and type(probe).asks is Probe.asks)
        known = (
            _known(ctx, fingerprint) if settings.kind == "null_adapter" and getattr(settings, "cache", False) else None
        )
        for ask in asks:
            if not one and any(v.kind in ("null", "scaled") for v in ask.views):
                continue  # two models have no adapter to scale or to replace
            cache.follow(ask, line, known and known(ask))
    return out


class _Cache:
    """What the scoring cache knows after everything asked so far."""

    def __init__(self, most: int) -> None:
        self._compared: set[_Key] = set()
        self._rows: set[str] = set()
        self._left = most

    def follow(self, ask: Ask, line: EntryForecast, known: Callable[[View, str], bool] | None) -> None:
        """Count what an ask costs."""
        texts = list(dict.fromkeys(ask.prompts))
        views = list(dict.fromkeys(ask.views))
        length = ask.continuation_tokens if ask.positions == "continuation" else 0
        line.prompts, line.views = line.prompts + len(texts), max(line.views, len(views))
        self._left -= len(texts) * len(views)
        if self._left < 0:
            passes = len(texts) * (len(views) + 1)
            line.requests += (len(views) + 1) * _requests(len(texts))
            line.passes, line.weight = line.passes + passes, line.weight + passes * (1 + length)
            return
        asked_of_base = 0
        asked_of = dict.fromkeys(views, 0)
        for text in texts:
            asked = [v for v in views if known is None or not known(v, text)]
            line.on_disk += len(views) - len(asked)
            if not asked:
                continue
            fresh = [v for v in asked if (v, ask.positions, length, text) not in self._compared]
            self._compared.update((v, ask.positions, length, text) for v in fresh)
            line.hits += len(asked) - len(fresh)
            if not fresh:
                line.hits += 1
                continue
            base = math.ceil(len(fresh) / VIEWS_AT_ONCE)
            if ask.positions == "next":
                # The base's row of a prompt is kept on the device.
                first = 0 if text in self._rows else 1
                self._rows.add(text)
                line.hits, base = line.hits + base - first, first
            line.passes += len(fresh) + base
            line.weight += (len(fresh) + base) * (1 + length)
            asked_of_base += base
            for view in fresh:
                asked_of[view] += 1
        line.requests += _requests(asked_of_base) + sum(map(_requests, asked_of.values()))


def _requests(prompts: int) -> int:
    return math.ceil(prompts / PROMPTS_PER_REQUEST)


def _known(ctx: RunContext, fingerprint: str) -> Callable[[Ask], Callable[[View, str], bool]] | None:
    """Tells which draws an earlier run of the same model has left on disk."""
    if not fingerprint:
        return None
    cache = NullCache(fingerprint)
    ctx = replace(ctx, fingerprint=fingerprint, backend=_Exact())  # type: ignore[arg-type]

    def of(ask: Ask) -> Callable[[View, str], bool]:
        def is_known(view: View, text: str) -> bool:
            key = measurement_key(ctx, BASE, view, text, ask.positions, ask.continuation_tokens, ask.top_k or ctx.top_k)
            return cache.get(key) is not None

        return is_known

    return of
