"""How far the adapter moves the model's next-token distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from sway_dash.core.divergence import LN2
from sway_dash.core.events import Measurement
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import View
from sway_dash.core.stats import (
    interval,
    mean,
    percentiles,
    score_from_anchors,
    too_few,
)
from sway_dash.probes.base import SENTINEL_PROMPTS, Ask, Bound, Probe, Prompt, RunContext
from sway_dash.probes.measure import distinct, divergence_bounds, divergence_values
from sway_dash.probes.null_adapter import Calibration, calibration, compared, noise_cap, noise_does_as_well
from sway_dash.probes.prompts import ListedPromptSpec
from sway_dash.probes.stopping import Decision, decide, measure_until_decided


class DeltaKLSpec(ListedPromptSpec):
    """Settings of ``delta_kl``."""

    kind: Literal["delta_kl"] = "delta_kl"
    assert_mean_gte: Annotated[FiniteFloat, Field(ge=0.0)] = Field(default=0.02, description="smallest mean, nats")
    assert_z_gte: FiniteFloat = Field(default=3.0, description="smallest z against the null, when there is one")
    stop_when_decided: bool = Field(default=False, description="stop once the mean is surely above or below its gate")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.stop_when_decided and self.divergence != "js":
            msg = "stop_when_decided needs divergence: js, since no interval of an unbounded mean holds at every look"
            raise ValueError(msg)
        return self


class DeltaKLProbe(Probe):
    """Divergence between base and tuned next-token distributions, per prompt and on average."""

    kind = "delta_kl"
    spec_cls = DeltaKLSpec
    category = "adherence"
    batch_score = True

    def run(self, spec: DeltaKLSpec, ctx: RunContext) -> ProbeResult:
        """Measure every prompt under both views and judge the mean."""
        if not spec.prompts:
            return safe_finalize(
                name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message="no prompts: add at least one"
            )
        if not spec.stop_when_decided:
            return self.judge(spec, ctx, spec.measure(ctx))
        found = measure_until_decided(
            spec.name,
            spec.prompts,
            spec.assert_mean_gte,
            ctx.seed,
            lambda items: spec.measure(ctx, items=items),
        )
        return self.judge(spec, ctx, found)

    def planned(self, spec: DeltaKLSpec, ctx: RunContext) -> int:
        """One measurement per prompt."""
        return len(spec.prompts)

    def asks(self, spec: DeltaKLSpec, ctx: RunContext) -> list[Ask]:
        """The tuned view on every prompt."""
        return [spec.ask()]

    def asks_bound(self, spec: DeltaKLSpec) -> Bound:
        """Where it stops once it is decided, nobody knows when that will be."""
        return "at most" if spec.stop_when_decided else "exact"

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> DeltaKLSpec:
        """The sentinel prompts."""
        prompts = tuple(Prompt(text=p) for p in SENTINEL_PROMPTS)
        return DeltaKLSpec(name="calibration", prompts=prompts, top_k=ctx.top_k)

    def draw_null(self, spec: DeltaKLSpec, ctx: RunContext, views: Sequence[View]) -> dict[View, float]:
        """Mean divergence of every null view on this entry's own prompts, all views over one reference pass."""
        measured = spec.measure(ctx, views=views, role="null")
        by_id: dict[str, list[Measurement]] = {}
        for m in measured:
            by_id.setdefault(m.view, []).append(m)
        return {v: mean(divergence_values(distinct(by_id[v.id]), spec.divergence)) for v in views if v.id in by_id}

    def judge(self, spec: DeltaKLSpec, ctx: RunContext, measurements: Sequence[Measurement]) -> ProbeResult:
        """A change needs both: more than noise (against the null, if there is one) and large enough to matter."""
        values = divergence_values(measurements, spec.divergence)
        texts = distinct(measurements)
        once = divergence_values(texts, spec.divergence)
        if not values:
            return safe_finalize(
                name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message="no prompt could be measured"
            )
        raw = mean(once)
        ci, ci_note = interval(once, seed=ctx.seed, bounds=divergence_bounds(spec.divergence))
        if spec.divergence == "kl" and not all(m.exact for m in measurements):
            ci, ci_note = None, "no interval: from the top tokens alone a KL divergence is not known within any bound"
        decision = None
        if spec.stop_when_decided:
            decision = decide(spec.prompts, measurements, spec.assert_mean_gte, ctx.seed)
            # The number of prompts was not chosen beforehand: only an interval that holds at every look does.
            ci, ci_note = decision.ci, f"95% confidence sequence over {len(once)} items, valid at every look"
        null = calibration(ctx, spec, raw, positive=True)
        stopped = decision is not None and decision.side is not None
        large = decision.side == "above" if decision and stopped else raw >= spec.assert_mean_gte
        reasons = [] if large else [f"below the gate of {spec.assert_mean_gte:g}"]
        if noise := noise_does_as_well(null, spec.assert_z_gte):
            reasons.append(noise)
        verdict = Verdict.FAIL if reasons else Verdict.PASS
        unmeasured = decision.failed if decision and stopped else len(spec.prompts) - len(measurements)
        if unmeasured and verdict is Verdict.PASS:
            verdict = Verdict.WARN
        drawn_on = ""
        if null and decision and len(measurements) < len(spec.prompts):
            drawn_on = f"the random adapters' means are over all {len(spec.prompts)} prompts"
        score = self._score(spec, raw, null)
        floor = ctx.noise.js if ctx.noise else 0.0
        same = [m.js for m in texts if m.exact and m.js <= floor]
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=min(score, 0.59) if reasons else score,
            raw=raw,
            z_score=null.z if null else None,
            ci_95=ci,
            message=self._message(
                spec, raw, ci, null, reasons, same, len(measurements), len(once), unmeasured, decision, drawn_on
            ),
            evidence={
                "divergence_kind": spec.divergence,
                "gate": spec.assert_mean_gte,
                "positions": spec.positions,
                "unit": "nats",
                "per_prompt": values,
                "per_prompt_ci_95": [m.ci for m in measurements],
                "prompts": [m.prompt for m in measurements],
                "tags": [list(m.tags) for m in measurements],
                "max": max(values),
                "num_prompts": len(measurements),
                "distinct_prompts": len(once),
                "unmeasured_prompts": unmeasured,
                "identical_prompts": len(same),
                "rounding": floor,
                "percentiles": percentiles(values),
                "mean_js": mean(m.js for m in measurements),
                "mean_kl": mean(m.kl for m in measurements),
                "mean_kl_reverse": mean(m.kl_reverse for m in measurements),
                "same_top_token_rate": mean(m.same_top for m in measurements),
                "exact": all(m.exact for m in measurements),
                "max_error_bound": max(m.error_bound for m in measurements),
                **_listed(measurements),
                "truncated_prompts": sum(1 for m in measurements if m.truncated_tokens),
                "reasons": reasons,
                "weight": spec.weight,
                "z_by_rank": null.z_by_rank if null else None,
                "null": null.evidence if null else None,
                "raw_ci_95": list(ci) if ci else None,
                "ci_note": ci_note,
                **({"null_note": drawn_on} if drawn_on else {}),
                **({"stopping": decision.evidence} if decision else {}),
            },
        )

    def _score(self, spec: DeltaKLSpec, raw: float, null: Calibration | None) -> float:
        gate = max(spec.assert_mean_gte, 1e-6)
        target = min(LN2, 10.0 * gate) if spec.divergence == "js" else 10.0 * gate
        effect = score_from_anchors(raw, none=0.0, gate=gate, target=max(target, gate * 1.01))
        # However large, what noise of the same kind does as well is not evidence for this adapter.
        return min(effect, noise_cap(null, spec.assert_z_gte))

    def _message(
        self,
        spec: DeltaKLSpec,
        raw: float,
        ci: tuple[float, float] | None,
        null: Calibration | None,
        reasons: Sequence[str],
        same: Sequence[float],
        n: int,
        n_distinct: int,
        unmeasured: int,
        decision: Decision | None,
        drawn_on: str,
    ) -> str:
        name = "JS" if spec.divergence == "js" else "KL(tuned‖base)"
        band = f" [{ci[0]:.3g}, {ci[1]:.3g}]" if ci else ""
        parts = [f"mean {name} {raw:.3g}{band} nats over {n_distinct} prompts"]
        if n_distinct < n:
            parts.append(f"{n - n_distinct} of {n} are repeats and count once")
        if same:
            alike = "identical" if max(same) == 0.0 else f"the same to rounding (JS up to {max(same):.2g})"
            parts.append(f"base and tuned are {alike} on {len(same)} of {n_distinct}")
        parts += reasons
        if few := too_few(n_distinct, "prompts"):
            parts.append(few)
        if decision:
            parts.append(f"{decision.measured} of {decision.planned} prompts measured, {decision.reason}")
        if unmeasured:
            parts.append(f"{unmeasured} prompts not measured")
        return compared([*parts, drawn_on] if drawn_on else parts, null, spec.kind)


def _listed(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """How much of the distributions was known, where it was not all."""
    if not (cut := [m for m in measurements if m.top_k]):
        return {}
    return {"effective_top_k": min(m.top_k for m in cut), "least_covered": min(m.covered for m in cut)}
