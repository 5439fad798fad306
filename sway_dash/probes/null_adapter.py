"""What noise looks like: the same probes with random adapters in the trained adapter's place.

A random adapter may keep nothing of the trained one (``gaussian``), the size of its change in every module
(``norm_matched``) or the singular values of the change (``spectrum``). Each is a hypothesis of its own of what noise
does. Entries of several distributions in one suite are drawn, kept and compared apart, and the draws are never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from sway_dash.core.errors import ProbeError
from sway_dash.core.events import Measurement, Warned
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import FINETUNED, NullCalibratedBackend, NullStyle, View, null_styles
from sway_dash.core.stats import null_stats
from sway_dash.probes.base import Ask, Probe, ProbeSpec, RunContext, Work, registry
from sway_dash.probes.null_cache import NullCache
from sway_dash.probes.null_comparison import MAX_Z as MAX_Z
from sway_dash.probes.null_comparison import SIGNIFICANCE as SIGNIFICANCE
from sway_dash.probes.null_comparison import Calibration as Calibration
from sway_dash.probes.null_comparison import calibration as calibration
from sway_dash.probes.null_comparison import compared as compared
from sway_dash.probes.null_comparison import get_null_stats as get_null_stats
from sway_dash.probes.null_comparison import get_null_stats_by_rank as get_null_stats_by_rank
from sway_dash.probes.null_comparison import noise_cap as noise_cap
from sway_dash.probes.null_comparison import noise_does_as_well as noise_does_as_well
from sway_dash.probes.null_comparison import null_name as null_name
from sway_dash.probes.null_comparison import primary_rank as primary_rank


class NullAdapterSpec(ProbeSpec):
    """Settings of ``null_adapter``."""

    kind: Literal["null_adapter"] = "null_adapter"
    runs: int = Field(default=3, ge=1, le=100, description="random adapters; 20 or more make a usable rank test")
    distribution: NullStyle = Field(
        default="gaussian",
        description="what noise keeps of the trained change: nothing, its size, or its singular values",
    )
    init_scale: Annotated[FiniteFloat, Field(gt=0)] = Field(
        default=0.02, description="std of the noise in A and B; of gaussian alone"
    )
    seed_base: int = Field(default=1000, ge=0, description="seed of the first random adapter")
    calibrate_kinds: tuple[str, ...] = Field(default=(), description="kinds to calibrate; empty: all later entries")
    cache: bool = Field(default=True, description="keep draws on disk for the next run of the same model and prompts")
    rank_multipliers: tuple[float, ...] = Field(default=(1.0,), description="noise as if of rank m·r")


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def rank_key(multiplier: float) -> str:
    """``rank_1.00``; more digits only where two would collide."""
    short = f"{multiplier:.2f}"
    return f"rank_{short}" if float(short) == multiplier else f"rank_{multiplier!r}"


class NullAdapterProbe(Probe):
    """Random adapters in place of the trained one: what the later probes would report for noise."""

    kind = "null_adapter"
    spec_cls = NullAdapterSpec
    category = "baseline"

    def planned(self, spec: NullAdapterSpec, ctx: RunContext) -> int:
        """Every draw measures every prompt of every calibrated entry."""
        draws = spec.runs * max(1, len(spec.rank_multipliers))
        targets, _ = self._targets(spec, ctx)
        return sum(probe.planned(entry, ctx) * draws for probe, entry in targets)

    def asks(self, spec: NullAdapterSpec, ctx: RunContext) -> list[Ask]:
        """What every calibrated entry asks, with all random adapters in the tuned view's place."""
        multipliers = [m for m in spec.rank_multipliers or (1.0,) if math.isfinite(m) and m > 0]
        views = tuple(v for m in multipliers for v in self._views(spec, m))
        targets, _ = self._targets(spec, ctx)
        return [replace(ask, views=views) for probe, entry in targets for ask in probe.asks(entry, ctx)]

    def work(self, spec: NullAdapterSpec, ctx: RunContext) -> Work:
        """What every draw puts before its random adapter for entries that cannot say what they ask."""
        draws = spec.runs * max(1, len(spec.rank_multipliers))
        silent = [(p, e) for p, e in self._targets(spec, ctx)[0] if not p.asks(e, ctx)]
        found = [(probe.work(entry, ctx), probe.planned(entry, ctx)) for probe, entry in silent]
        texts = sum(work.texts or planned for work, planned in found)
        return Work(draws * texts, draws * sum(work.tokens for work, _ in found))

    def answers(self, spec: NullAdapterSpec, ctx: RunContext) -> int:
        """What every calibrated entry asks, once a draw."""
        draws = spec.runs * max(1, len(spec.rank_multipliers))
        return draws * sum(probe.draw_answers(entry, ctx) for probe, entry in self._targets(spec, ctx)[0])

    def open_ended(self, spec: NullAdapterSpec, ctx: RunContext) -> bool:
        """Draws for an entry without measurements are none themselves."""
        return any(probe.open_ended(entry, ctx) for probe, entry in self._targets(spec, ctx)[0])

    def run(self, spec: NullAdapterSpec, ctx: RunContext) -> ProbeResult:
        """Draw nulls for every later entry that can be calibrated, with that entry's own prompts and settings."""
        if not isinstance(ctx.require_backend, NullCalibratedBackend):
            message = f"{type(ctx.backend).__name__} is no NullCalibratedBackend: it cannot put noise in the adapter"
            return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.SKIP, message=message)
        if spec.distribution not in null_styles(ctx.require_backend):
            message = f"{type(ctx.backend).__name__} has no such random adapters: use distribution: gaussian"
            return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.SKIP, message=message)
        multipliers = list(spec.rank_multipliers) or [1.0]
        if any(not math.isfinite(m) or m <= 0 for m in multipliers):
            message = f"rank_multipliers must be positive finite numbers, got {multipliers}"
            return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message=message)

        targets, skipped = self._targets(spec, ctx)
        if not targets:
            message = f"{spec.name} calibrates nothing: put it before the probes that are to be compared with noise"
            ctx.emit(Warned(message=message, probe=spec.name))
        draws: dict[str, dict[str, list[float]]] = {}
        kinds: dict[str, str] = {}
        counted = {"measured": 0, "from_cache": 0}
        views = {m: self._views(spec, m) for m in multipliers}
        # Closing, so that the draws of a stopped run reach the disk, too.
        with closing(NullCache(ctx.fingerprint if spec.cache else "")) as cache:
            drawing = replace(
                ctx,
                null_stats={},
                null_stats_by_rank={},
                null_draws={},
                null_distributions={},
                downstream=(),
                keeps_part=False,
                recall=self._recall(ctx, cache),
                emit=self._emit(ctx, cache, counted),
            )
            for probe, entry in targets:
                own, reason = self._draw(probe, entry, drawing, views)
                if own:
                    draws[entry.name], kinds[entry.name] = own, entry.kind
                else:
                    skipped.append({"entry": entry.name, "kind": entry.kind, "reason": reason})
        return self._result(spec, ctx, multipliers, draws, kinds, skipped, counted)

    def _draw(
        self, probe: Probe, entry: ProbeSpec, ctx: RunContext, views: Mapping[float, Sequence[View]]
    ) -> tuple[dict[str, list[float]], str]:
        """Finite draws of one entry by rank, or none and the reason."""
        try:
            values = probe.draw_null(entry, ctx, [v for group in views.values() for v in group])
        except Exception as error:
            return {}, f"{type(error).__name__}: {error}"
        own = {
            rank_key(m): [values[v] for v in group if v in values and math.isfinite(values[v])]
            for m, group in views.items()
        }
        return {rank: found for rank, found in own.items() if found}, "no draw gave a finite value"

    def _result(
        self,
        spec: NullAdapterSpec,
        ctx: RunContext,
        multipliers: Sequence[float],
        draws: Mapping[str, Mapping[str, list[float]]],
        kinds: Mapping[str, str],
        skipped: Sequence[Mapping[str, str]],
        counted: Mapping[str, int],
    ) -> ProbeResult:
        by_rank: dict[str, dict[str, dict[str, float]]] = {}
        samples: dict[str, list[float]] = {}
        for entry, own in draws.items():
            for rank, values in own.items():
                # The public format has one null per kind: that of its first entry.
                by_rank.setdefault(rank, {}).setdefault(kinds[entry], null_stats(values))
            samples.setdefault(kinds[entry], own[primary_rank(own)])
        primary = by_rank[primary_rank(by_rank)] if by_rank else {}
        total = counted["measured"] + counted["from_cache"]
        opted_out = f"; {_counted(len(skipped), 'kind')} of probe not compared with them" if skipped else ""
        ranks = f" at {len(multipliers)} ranks" if len(multipliers) > 1 else ""
        nulls = _counted(spec.runs, "random adapter")
        if spec.distribution != "gaussian":
            nulls += f" {null_name(spec.distribution)}"
        left_out = self._left_out(spec, ctx)
        without = f"; without {', '.join(left_out)}, which stay the base's" if left_out else ""
        few = "; 20 or more runs make a usable rank test" if spec.runs < 20 else ""
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=Verdict.PASS,
            score=1.0,
            message=f"{nulls}{ranks} for {_counted(len(draws), 'probe')}{opted_out}{without}{few}",
            evidence={
                "null_stats": primary,
                "null_stats_by_rank": by_rank,
                "null_draws": draws,
                "per_kind_raw_samples": samples,
                "calibrated_kinds": sorted(set(kinds.values())),
                "calibrated_entries": list(draws),
                "skipped_kinds": list(skipped),
                "runs": spec.runs,
                "distribution": spec.distribution,
                "init_scale": spec.init_scale,
                "seed_base": spec.seed_base,
                "rank_multipliers": list(multipliers),
                "update_norms": self._norms(spec, ctx, multipliers),
                "left_out": left_out,
                "weight": spec.weight,
                "from_cache": total > 0 and counted["measured"] == 0,
                "measured": counted["measured"],
                "reused": counted["from_cache"],
            },
        )

    def _targets(
        self, spec: NullAdapterSpec, ctx: RunContext
    ) -> tuple[list[tuple[Probe, ProbeSpec]], list[dict[str, str]]]:
        """Entries to calibrate, and those that opt out with the reason."""
        kinds = list(dict.fromkeys(spec.calibrate_kinds or [e.kind for _, e in ctx.downstream] or ctx.downstream_kinds))
        known = registry()
        targets: list[tuple[Probe, ProbeSpec]] = []
        skipped: list[dict[str, str]] = []
        for kind in kinds:
            if kind == spec.kind or kind not in known:
                continue
            own = [(p, e) for p, e in ctx.downstream if e.kind == kind]
            try:
                fallback = known[kind].calibrate_spec(ctx)
            except Exception as error:
                skipped.append({"entry": kind, "kind": kind, "reason": f"{type(error).__name__}: {error}"})
                continue
            if fallback is None:
                skipped.append({"entry": kind, "kind": kind, "reason": "this kind has no null"})
                continue
            targets += own or [(known[kind](), fallback)]
        return targets, skipped

    def _views(self, spec: NullAdapterSpec, multiplier: float) -> list[View]:
        options: dict[str, Any] = {"init_scale": spec.init_scale, "rank_scale": multiplier, "style": spec.distribution}
        return [View.null(spec.seed_base + i, **options) for i in range(spec.runs)]

    def _recall(self, ctx: RunContext, cache: NullCache) -> Any:
        return lambda key: ctx.recall(key) or cache.get(key)

    def _emit(self, ctx: RunContext, cache: NullCache, counted: dict[str, int]) -> Any:
        def emit(event: Any) -> None:
            if isinstance(event, Measurement):
                counted["from_cache" if event.reused else "measured"] += 1
                cache.put(event)
            ctx.emit(event)

        return emit

    def _left_out(self, spec: NullAdapterSpec, ctx: RunContext) -> list[str]:
        """What was trained beside the matrices and is no part of this noise, where the backend can tell."""
        tell = getattr(ctx.backend, "null_leaves_out", None)
        return list(tell(spec.distribution)) if tell is not None else []

    def _norms(self, spec: NullAdapterSpec, ctx: RunContext, multipliers: Sequence[float]) -> dict[str, Any]:
        """Frobenius norm of the weight change, trained and random, where the backend can tell."""
        norm = getattr(ctx.backend, "update_norm", None)
        if norm is None:
            return {}
        try:
            return {
                "trained": norm(FINETUNED),
                "null": {rank_key(m): norm(self._views(spec, m)[0]) for m in multipliers},
            }
        except ProbeError as error:
            return {"note": str(error)}
