"""Which layers carry the change: the adapter without each layer in turn, and each layer of it alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat

from sway_dash.core.errors import ProbeError
from sway_dash.core.events import Measurement
from sway_dash.core.panels import Group, Groups, panels
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import FINETUNED, OUTSIDE, ExactComparer, LayeredBackend, View
from sway_dash.core.stats import interval, mean, ratio_ci, score_from_anchors
from sway_dash.probes.base import Ask, Bound, Probe, RunContext
from sway_dash.probes.measure import divergence_bounds, divergence_values, rounding_of
from sway_dash.probes.prompts import PromptSpec

_VIEW = re.compile(r"(without|only)_layers_([\d_-]+)$")

Side = Literal["without", "only"]
Curves = dict[tuple[Side, tuple[int, ...]], np.ndarray[Any, np.dtype[np.float64]]]


class LayerAttributionSpec(PromptSpec):
    """Settings of ``layer_attribution``."""

    kind: Literal["layer_attribution"] = "layer_attribution"
    layers_per_group: int = Field(default=1, ge=1, description="neighbouring layers switched together")
    assert_largest_share_lte: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = Field(
        default=None, description="largest share of the change one group may carry; not set: not judged"
    )


class LayerAttributionProbe(Probe):
    """Divergence from the base with single layers of the adapter left out, and with single layers left alone.

    ``alone`` says what a layer's change can do by itself, ``without`` what the rest lacks when it is gone. Where the
    two disagree, layers act together: neither number alone is "the" contribution.
    """

    kind = "layer_attribution"
    spec_cls = LayerAttributionSpec
    category = "ablation"

    def run(self, spec: LayerAttributionSpec, ctx: RunContext) -> ProbeResult:
        """Measure the whole adapter and every group of layers both ways against the base."""
        if not spec.prompts:
            return self._short(spec, Verdict.ERROR, "no prompts: add at least one")
        backend = ctx.require_backend
        if not (isinstance(backend, LayeredBackend) and isinstance(backend, ExactComparer)):
            message = f"{type(backend).__name__} cannot switch single layers of an adapter: use backend hf with a LoRA"
            return self._short(spec, Verdict.SKIP, message)
        try:
            layers = backend.adapter_layers()
        except ProbeError as error:
            return self._short(spec, Verdict.SKIP, f"the adapter cannot be switched layer by layer: {error}")
        groups = grouped(layers, spec.layers_per_group)
        views = [make(g) for g in groups for make in (View.without_layers, View.only_layers)]
        return self.judge(spec, ctx, [*spec.measure(ctx), *spec.measure(ctx, views=views, role="ablation")])

    def asks(self, spec: LayerAttributionSpec, ctx: RunContext) -> list[Ask]:
        """The whole adapter on every prompt; how many layers there are is known once it is loaded."""
        return [spec.ask()]

    def asks_bound(self, spec: LayerAttributionSpec) -> Bound:
        """Two more views of every prompt for each group of layers."""
        return "at least"

    def judge(self, spec: LayerAttributionSpec, ctx: RunContext, measurements: Sequence[Measurement]) -> ProbeResult:
        """Compare the groups over the prompts that were measured under every view."""
        prompts, whole, curves = _complete(spec, measurements)
        groups = sorted({g for side, g in curves if side == "only" and ("without", g) in curves})
        if not len(whole) or not groups:
            return self._short(spec, Verdict.ERROR, "no prompt has been measured under every view")
        full = mean(whole)
        bounds = divergence_bounds(spec.divergence)
        ci, ci_note = interval(whole, seed=ctx.seed, bounds=bounds)
        rows = [self._row(spec, ctx, g, whole, curves) for g in groups]
        total = np.sum([curves["only", g] for g in groups], axis=0)
        floor = rounding_of(ctx, spec.divergence)
        for row, g in zip(rows, groups, strict=True):
            row["share"] = row["alone"] / mean(total) if mean(total) > floor else None
            row["share_ci_95"] = (
                ratio_ci(curves["only", g], total, seed=ctx.seed, bounds=(0.0, 1.0)) if mean(total) > floor else None
            )
        evidence = {
            "groups": rows,
            "full_divergence": full,
            "full_ci_95": list(ci) if ci else None,
            "ci_note": ci_note,
            "sum_alone": mean(total),
            "sum_alone_note": "the layers' divergences alone added up; far from that of the whole adapter where layers"
            " act together",
            "divergence_kind": spec.divergence,
            "rounding": floor,
            "unit": "share of the change",
            "positions": spec.positions,
            "prompts": prompts,
            "num_prompts": len(prompts),
            "layer_update_norms": _norms(ctx),
            "weight": spec.weight,
            "z_by_rank": None,
            "panels": self._panels(spec, rows, full),
        }
        if full <= floor or mean(total) <= floor:
            if full <= floor:
                message = (
                    f"the adapter moves the prompts by {full:.3g} nats, no more than the model's own rounding"
                    f" ({floor:.3g}): there is no change that layers could carry"
                )
            else:
                message = (
                    f"the adapter moves the prompts by {full:.3g} nats, its layers alone by no more than rounding"
                    f" ({floor:.3g}): no layer carries the change by itself"
                )
            return safe_finalize(
                name=spec.name, kind=spec.kind, verdict=Verdict.WARN, message=message, evidence=evidence
            )
        return self._verdict(spec, rows, full, ci, len(prompts), evidence)

    def _verdict(
        self,
        spec: LayerAttributionSpec,
        rows: list[dict[str, Any]],
        full: float,
        ci: tuple[float, float] | None,
        n: int,
        evidence: dict[str, Any],
    ) -> ProbeResult:
        top = max(rows, key=lambda row: row["share"])
        share, share_ci = top["share"], top["share_ci_95"]
        gate = spec.assert_largest_share_lte
        passed = gate is None or share <= gate
        needed = max(rows, key=lambda row: row["drop"])
        band = f" [{ci[0]:.3g}, {ci[1]:.3g}]" if ci else ""
        share_band = f" [{share_ci[0]:.3g}, {share_ci[1]:.3g}]" if share_ci else ""
        name = "JS" if spec.divergence == "js" else "KL(tuned‖base)"
        message = (
            f"mean {name} {full:.3g}{band} nats over {n} prompts; {top['label']} alone carries the largest share, "
            f"{share:.3g}{share_band}; without {needed['label']} it falls most, to {needed['without']:.3g} nats"
        )
        if not passed:
            message += f"; a share of {share:.3g} is above the gate of {gate:g}"
        # Where nothing is judged there is nothing to score: it takes no part in the composite.
        score = None
        if gate is not None:
            # An even spread is the target, everything in one group the far end.
            even = min(1.0 / len(rows), 0.99 * gate)
            score = score_from_anchors(share, none=max(1.0, gate * 1.01), gate=gate, target=even)
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=Verdict.PASS if passed else Verdict.FAIL,
            score=score,
            raw=share,
            ci_95=share_ci,
            message=message,
            evidence={**evidence, "largest_share": share, "raw_ci_95": list(share_ci) if share_ci else None},
        )

    def _row(
        self,
        spec: LayerAttributionSpec,
        ctx: RunContext,
        group: tuple[int, ...],
        whole: np.ndarray[Any, np.dtype[np.float64]],
        curves: Curves,
    ) -> dict[str, Any]:
        bounds = divergence_bounds(spec.divergence)
        alone, without = curves["only", group], curves["without", group]
        drop = whole - without
        return {
            "layers": list(group),
            "label": label(group),
            "alone": mean(alone),
            "alone_ci_95": interval(alone, seed=ctx.seed, bounds=bounds)[0],
            "without": mean(without),
            "without_ci_95": interval(without, seed=ctx.seed, bounds=bounds)[0],
            # Of the same prompts, so what they share cancels.
            "drop": mean(drop),
            "drop_ci_95": interval(drop, seed=ctx.seed, bounds=(-bounds[1], bounds[1]))[0],
        }

    def _panels(self, spec: LayerAttributionSpec, rows: Sequence[dict[str, Any]], full: float) -> list[dict[str, Any]]:
        n = "mean over prompts, nats; 95 % bootstrap-t intervals"

        def bars(key: str) -> tuple[Group, ...]:
            return tuple(
                Group(
                    label=row["label"],
                    value=row[key],
                    lo=row[f"{key}_ci_95"][0] if row[f"{key}_ci_95"] else None,
                    hi=row[f"{key}_ci_95"][1] if row[f"{key}_ci_95"] else None,
                )
                for row in rows
            )

        return panels(
            Groups(
                title="Change by this layer alone",
                unit="nats",
                groups=bars("alone"),
                note=f"{n}; the whole adapter: {full:.3g}",
            ),
            Groups(
                title="What is lost without this layer",
                unit="nats",
                groups=bars("drop"),
                note=f"{n}; below 0 where the adapter moves the prompts more without the layer",
            ),
        )

    def _short(self, spec: LayerAttributionSpec, verdict: Verdict, message: str) -> ProbeResult:
        evidence = {"weight": spec.weight}
        return safe_finalize(name=spec.name, kind=spec.kind, verdict=verdict, message=message, evidence=evidence)


def grouped(layers: Sequence[int], size: int) -> list[tuple[int, ...]]:
    """Neighbouring layers, ``size`` at a time; modules outside the layers are a group of their own."""
    inside = [i for i in layers if i != OUTSIDE]
    groups = [tuple(inside[k : k + size]) for k in range(0, len(inside), size)]
    return ([(OUTSIDE,)] if OUTSIDE in layers else []) + groups


def label(group: Sequence[int]) -> str:
    """What a group is called."""
    if list(group) == [OUTSIDE]:
        return "embeddings and head"
    return f"layer {group[0]}" if len(group) == 1 else f"layers {group[0]} to {group[-1]}"


def _complete(
    spec: LayerAttributionSpec, measurements: Sequence[Measurement]
) -> tuple[list[str], np.ndarray[Any, np.dtype[np.float64]], Curves]:
    """Values by view over the prompts measured under all of them; a prompt listed twice counts once."""
    by_view: dict[str, dict[str, float]] = {}
    for m, value in zip(measurements, divergence_values(measurements, spec.divergence), strict=True):
        by_view.setdefault(m.view, {})[m.prompt] = value
    whole = by_view.pop(FINETUNED.id, {})
    found = {_parsed(view): values for view, values in by_view.items() if _VIEW.match(view)}
    prompts = [p for p in whole if all(p in values for values in found.values())]
    curves: Curves = {key: np.array([values[p] for p in prompts]) for key, values in found.items()}
    return prompts, np.array([whole[p] for p in prompts]), curves


def _parsed(view: str) -> tuple[Side, tuple[int, ...]]:
    match = _VIEW.match(view)
    assert match is not None
    side: Side = "only" if match[1] == "only" else "without"
    return side, tuple(int(i) for i in match[2].split("_"))


def _norms(ctx: RunContext) -> dict[str, float | None] | None:
    """Size of each layer's change of the weights, where the backend can tell: large is not the same as effective."""
    norms = getattr(ctx.backend, "layer_update_norms", None)
    return None if norms is None else {str(i): v for i, v in norms().items()}
