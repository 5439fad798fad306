"""Did training go well? The loss curve a training run logged: how far it fell, how surely, and whether it jumped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from sway_dash.core.panels import Curve, panels
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.stats import score_from_anchors
from sway_dash.probes.base import Probe, ProbeSpec, RunContext
from sway_dash.probes.training_curve import compute_metrics, downsampled_curve
from sway_dash.probes.training_log import LossLog, TrainingDriftError, find_log

CURVE_CAP = 512
SIGNIFICANCE = 0.05


class TrainingDriftSpec(ProbeSpec):
    """Settings of ``training_drift``."""

    kind: Literal["training_drift"] = "training_drift"
    store_path: str | None = Field(
        default=None, description="folder of the training run: logs/train-*.jsonl or a trainer_state.json"
    )
    assert_convergence_ratio_lte: Annotated[FiniteFloat, Field(gt=0)] = Field(
        default=0.7, description="largest last loss over first loss, medians of a few steps each"
    )
    assert_smoothness_gte: Annotated[FiniteFloat, Field(ge=0, le=1)] = Field(
        default=0.7, description="smallest share of the fall in the fall plus its own error"
    )
    assert_instability_events_lte: int = Field(default=0, ge=0, description="most jumps and non-finite losses")
    min_steps: int = Field(default=10, ge=2, description="shorter logs are not judged")
    rolling_window: int = Field(default=10, ge=2, description="steps in a window of the running median")
    spike_sigma: Annotated[FiniteFloat, Field(gt=0)] = Field(
        default=3.0, description="smallest jump, in standard deviations of the noise; more on long curves"
    )


class TrainingDriftProbe(Probe):
    """Trend, size of the fall and jumps of the training loss; needs no model."""

    kind = "training_drift"
    spec_cls = TrainingDriftSpec
    category = "calibration"
    needs_backend = False

    def run(self, spec: TrainingDriftSpec, ctx: RunContext) -> ProbeResult:
        """Read the log and judge the curve."""
        if not spec.store_path:
            return self._without(spec, Verdict.SKIP, "no store_path: give the folder the training run wrote to")
        try:
            log, missing = find_log(Path(spec.store_path).expanduser())
        except TrainingDriftError as error:
            return self._without(spec, Verdict.ERROR, str(error))
        except RuntimeError:
            message = f"store_path {spec.store_path} lies in the home folder of a user who is not known here"
            return self._without(spec, Verdict.ERROR, message)
        if log is None:
            return self._without(spec, Verdict.SKIP, missing)
        if len(log.losses) < spec.min_steps:
            message = f"the log is too short: {len(log.losses)} steps, {spec.min_steps} are needed"
            return self._without(spec, Verdict.SKIP, message, num_steps=len(log.losses))
        metrics = compute_metrics(
            list(log.losses.values()), rolling_window=spec.rolling_window, spike_sigma=spec.spike_sigma
        )
        verdict, score, message = verdict_from_metrics(metrics, spec)
        if log.restarts:
            message += f"; {log.dropped_steps} steps of {log.restarts} earlier attempt(s) left out"
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=score,
            raw=metrics["smoothness"],
            base_value=metrics["initial_median"],
            ft_value=metrics["final_median"],
            message=message + _validation_note(log),
            evidence=self._evidence(spec, log, metrics),
            critical_fields=(),
        )

    def _without(self, spec: TrainingDriftSpec, verdict: Verdict, message: str, **facts: Any) -> ProbeResult:
        evidence = {**facts, "weight": spec.weight}
        return safe_finalize(name=spec.name, kind=spec.kind, verdict=verdict, message=message, evidence=evidence)

    def _evidence(self, spec: TrainingDriftSpec, log: LossLog, metrics: dict[str, Any]) -> dict[str, Any]:
        steps, losses = list(log.losses), list(log.losses.values())
        curve = [(s, v if math.isfinite(v) else None) for s, v in downsampled_curve(steps, losses, cap=CURVE_CAP)]
        shown = [
            Curve(
                title="Training loss",
                x_label="step",
                y_label="loss (nats a token)",
                x=tuple(float(s) for s, _ in curve),
                y=tuple(v for _, v in curve),
                note=f"{len(steps)} logged steps" + (f", {len(curve)} shown" if len(curve) < len(steps) else ""),
            )
        ]
        if len(log.validation) > 1:
            held = downsampled_curve(list(log.validation), list(log.validation.values()), cap=CURVE_CAP)
            shown.append(
                Curve(
                    title="Validation loss",
                    x_label="step",
                    y_label="loss (nats a token)",
                    x=tuple(float(s) for s, _ in held),
                    y=tuple(v for _, v in held),
                )
            )
        positions = metrics.pop("spike_positions")
        return {
            **metrics,
            "spike_steps": [steps[i] for i in positions],
            "num_steps": len(steps),
            "num_log_files": len(log.files),
            "restarts": log.restarts,
            "dropped_steps": log.dropped_steps,
            "curve_sampled": [list(point) for point in curve],
            "validation": [[s, v] for s, v in log.validation.items()],
            "thresholds": {
                "min_steps": spec.min_steps,
                "rolling_window": spec.rolling_window,
                "spike_sigma": spec.spike_sigma,
                "assert_smoothness_gte": spec.assert_smoothness_gte,
                "assert_convergence_ratio_lte": spec.assert_convergence_ratio_lte,
                "assert_instability_events_lte": spec.assert_instability_events_lte,
            },
            "smoothness_note": "fall between the medians of the first and last windows over itself plus its standard"
            " error; the public smoothness depends on how many points were logged",
            "weight": spec.weight,
            "panels": panels(*shown),
        }


def verdict_from_metrics(metrics: dict[str, Any], spec: TrainingDriftSpec) -> tuple[Verdict, float, str]:
    """FAIL for a run that ended broken or rose; WARN for one that misses a gate; else PASS."""
    smoothness, ratio = metrics["smoothness"], metrics["convergence_ratio"]
    events = int(metrics["instability_events"])
    shown = "n/a" if ratio is None else f"{ratio:.2f}"
    numbers = [f"smoothness={smoothness:.2f}", f"convergence_ratio={shown}", f"instability_events={events}"]
    first, last = metrics["initial_median"], metrics["final_median"]
    if first is None:
        return Verdict.FAIL, 0.0, f"no logged loss is finite ({events} steps)"
    head = f"loss {first:.3g} → {last:.3g} nats"
    if metrics["ends_non_finite"]:
        return Verdict.FAIL, 0.0, f"{head}, but the last logged loss is not finite: training diverged"
    rising = metrics["rising_p"] is not None and metrics["rising_p"] < SIGNIFICANCE and last > first
    if rising:
        return Verdict.FAIL, 0.0, f"{head}: the loss rises (Mann-Kendall p={metrics['rising_p']:.2g}); {numbers[1]}"
    wrong = []
    if smoothness < spec.assert_smoothness_gte:
        wrong.append(f"{numbers[0]} is below {spec.assert_smoothness_gte:g}")
    if ratio is None or ratio > spec.assert_convergence_ratio_lte:
        wrong.append(f"{numbers[1]} is above {spec.assert_convergence_ratio_lte:g}")
    if events > spec.assert_instability_events_lte:
        wrong.append(f"{numbers[2]} is above {spec.assert_instability_events_lte}")
    if (p := metrics["trend_p"]) is None or p >= SIGNIFICANCE:
        wrong.append("no falling trend" + ("" if p is None else f" (Mann-Kendall p={p:.2g})"))
    score = _score(smoothness, ratio, events, spec)
    if wrong:
        return Verdict.WARN, min(score, 0.59), f"{head}; warnings: {'; '.join(wrong)}"
    return Verdict.PASS, score, f"{head}, {', '.join(numbers)}, falling trend (Mann-Kendall p={p:.2g})"


def _score(smoothness: float, ratio: float | None, events: int, spec: TrainingDriftSpec) -> float:
    """The worst of the three gates, each on the common scale: gate → 0.6."""
    gate = min(max(spec.assert_smoothness_gte, 1e-6), 1.0 - 1e-6)
    smooth = score_from_anchors(smoothness, none=0.0, gate=gate, target=1.0)
    most = spec.assert_convergence_ratio_lte
    fell = 0.0
    if ratio is not None:
        fell = score_from_anchors(ratio, none=max(1.0, 1.5 * most), gate=most, target=0.5 * most)
    calm = 1.0 if events <= spec.assert_instability_events_lte else 0.6 / (1 + events)
    return min(smooth, fell, calm)


def _validation_note(log: LossLog) -> str:
    """Whether held-out loss rose again after its best."""
    if len(log.validation) < 2:
        return ""
    best = min(log.validation, key=lambda s: log.validation[s])
    last = max(log.validation)
    low, end = log.validation[best], log.validation[last]
    if end <= low * 1.02:
        return f"; validation loss ends at {end:.3g}"
    return f"; validation loss rose from {low:.3g} at step {best} to {end:.3g} at step {last}: a sign of overfitting"
