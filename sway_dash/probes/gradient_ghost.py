"""Was every layer of the adapter trained, and was training over? From the optimizer's memory; needs no model."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import Field, FiniteFloat

from sway_dash.core.errors import MissingTrainingStateError
from sway_dash.core.panels import Group, Groups, panels
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.stats import score_from_anchors
from sway_dash.core.training import (
    LayerGrouping,
    MatrixStat,
    ParamMappingError,
    ParamStat,
    Role,
    TrainingReader,
    TrainingStateError,
    TrainingStateSnapshot,
    map_params,
)
from sway_dash.probes.base import Probe, ProbeSpec, RunContext
from sway_dash.probes.layer_outliers import factors, standing_out

STEADY = 2.0
"""Gradients this many times as steady as noise still had somewhere to go."""

ROLES: tuple[Role, ...] = ("A", "B")


class GradientGhostSpec(ProbeSpec):
    """Settings of ``gradient_ghost``."""

    kind: Literal["gradient_ghost"] = "gradient_ghost"
    adapter_path: str = Field(
        min_length=1, description="adapter folder with training_state.pt, or a Trainer's folder with optimizer.pt"
    )
    min_steps_threshold: int = Field(default=50, ge=1, description="fewer optimizer steps are too few")
    undertrained_layer_ratio: Annotated[FiniteFloat, Field(gt=1)] = Field(
        default=2.0, description="how many times off the other layers' gradient a layer may be"
    )
    layer_failure_frac: Annotated[FiniteFloat, Field(ge=0, le=1)] = Field(
        default=0.3, description="largest share of layers that may stand out or be untrained"
    )


class GradientGhostProbe(Probe):
    """Steps, gradients and weights of every layer as training left them.

    Only Adam-like optimizers keep what is needed. Gradients of A are compared with gradients of A, and B with B: B
    begins at zero, and until it has grown A gets next to none.
    """

    kind = "gradient_ghost"
    spec_cls = GradientGhostSpec
    category = "calibration"
    needs_backend = False

    def run(self, spec: GradientGhostSpec, ctx: RunContext) -> ProbeResult:
        """Read the state and judge it."""
        # By name: what reads a pickle safely lives where torch does.
        module = importlib.import_module("sway_dash.backends.training_state")
        reader = cast(TrainingReader, module)
        try:
            folder = Path(spec.adapter_path).expanduser()
        except RuntimeError:
            message = f"adapter_path {spec.adapter_path} lies in the home folder of a user who is not known here"
            return self._short(spec, Verdict.ERROR, message)
        try:
            state = reader.load_training_state(folder)
        except MissingTrainingStateError:
            message = f"no training_state.pt and no optimizer.pt in {folder}: keep the optimizer's state when saving"
            return self._short(spec, Verdict.SKIP, message)
        except TrainingStateError as error:
            return self._short(spec, Verdict.ERROR, str(error))
        note, grouping = "", None
        matrices: tuple[MatrixStat, ...] = ()
        try:
            matrices = reader.adapter_matrices(module.state_folder(folder))
            grouping = map_params(state.per_param, matrices)
        except ParamMappingError as error:
            note = str(error)
        return judge_state(spec, state, matrices, grouping, note)

    def _short(self, spec: GradientGhostSpec, verdict: Verdict, message: str) -> ProbeResult:
        evidence = {"weight": spec.weight}
        return safe_finalize(name=spec.name, kind=spec.kind, verdict=verdict, message=message, evidence=evidence)


@dataclass(frozen=True, slots=True)
class _Layers:
    """What is known of each layer, by LoRA matrix."""

    gradient: dict[Role, dict[int, float]]
    """Root mean square gradient."""
    update: dict[Role, dict[int, float]]
    """Norm of the last Adam step over the norm of the weights."""
    b_norm: dict[int, float]
    flagged: dict[Role, dict[int, float]]

    @property
    def untrained(self) -> list[int]:
        return sorted(k for k, v in self.b_norm.items() if v == 0.0)

    @property
    def without_gradient(self) -> list[int]:
        return sorted(k for k, v in self.gradient.get("B", {}).items() if v == 0.0)

    @property
    def wrong(self) -> list[int]:
        out = {k for found in self.flagged.values() for k in found}
        return sorted(out | set(self.untrained) | set(self.without_gradient))


def judge_state(
    spec: GradientGhostSpec,
    state: TrainingStateSnapshot,
    matrices: Sequence[MatrixStat],
    grouping: LayerGrouping | None,
    note: str = "",
) -> ProbeResult:
    """Too few steps, no usable moments, untrained layers and layers that stand out, in this order."""
    broken = sum(1 for p in state.per_param if not math.isfinite(p.exp_avg_sq_mean))
    usable = [p for p in state.per_param if math.isfinite(p.exp_avg_sq_mean)]
    evidence: dict[str, Any] = {
        "global_step": state.global_step,
        "epoch": state.epoch,
        "min_steps_threshold": spec.min_steps_threshold,
        "num_params": len(state.per_param),
        "num_layers": grouping.num_layers if grouping else 0,
        "params_per_layer": _counts(grouping),
        "best_val_loss": state.best_val_loss,
        "use_qlora": state.use_qlora,
        "num_nonfinite_exp_avg_sq": broken,
        "num_without_moments": state.skipped,
        "source": state.source,
        "mapping_note": note,
        "weight": spec.weight,
    }

    def result(verdict: Verdict, score: float, raw: float, message: str, **facts: Any) -> ProbeResult:
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=score,
            raw=raw,
            message=message,
            evidence={**evidence, **facts},
        )

    if state.global_step < spec.min_steps_threshold:
        message = (
            f"severely undertrained: {state.global_step} optimizer steps (epoch {state.epoch:.3g}), at least "
            f"{spec.min_steps_threshold} are needed"
        )
        return result(
            Verdict.FAIL, 0.0, state.global_step, message, primary_signal="global_step_below_threshold", unit="steps"
        )
    if not usable and not broken and state.skipped:
        message = (
            f"{state.global_step} steps, but {state.source} keeps no Adam moments (exp_avg, exp_avg_sq) that can be "
            "read: 8-bit optimizers and those without such moments are not judged"
        )
        return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.SKIP, message=message, evidence=evidence)
    if not usable:
        what = "are all NaN or infinite" if broken else "are not there: the optimizer's state is empty"
        message = f"the optimizer's moments {what}"
        return result(Verdict.FAIL, 0.0, 0.0, message, primary_signal="all_optimizer_state_nan")
    b_norms = _b_norms(matrices)
    steadiness = _steadiness(usable)
    evidence |= {
        "global_mean_exp_avg_sq": math.fsum(p.exp_avg_sq_mean for p in usable) / len(usable),
        "steadiness": steadiness,
        "steadiness_note": "root mean square of m̂/√v̂ over what independent noise gives, √((1−β₁)/(1+β₁)); median"
        " over parameters: 1 is noise",
    }
    if grouping is None:
        untrained = sorted(k for k, v in b_norms.items() if v == 0.0)
        message = f"{state.global_step} steps, but the layers could not be told apart: {note}"
        if untrained:
            message += f"; B is zero in {len(untrained)} of {len(b_norms)} layers"
        verdict = Verdict.FAIL if untrained else Verdict.WARN
        return result(verdict, 0.0 if untrained else 0.5, len(untrained) / max(1, len(b_norms)), message)
    layers = _layers(spec, usable, matrices, grouping, b_norms)
    share = len(layers.wrong) / max(1, grouping.num_layers)
    evidence |= _layer_facts(spec, layers, usable, grouping, share)
    broken_note = f"; {broken} optimizer entries are NaN or infinite" if broken else ""
    moving = steadiness is not None and steadiness > STEADY
    fails = share > spec.layer_failure_frac
    verdict = Verdict.FAIL if fails else Verdict.WARN if layers.wrong or moving or broken else Verdict.PASS
    score = score_from_anchors(share, none=1.0, gate=min(max(spec.layer_failure_frac, 1e-6), 1 - 1e-6), target=0.0)
    if verdict is Verdict.WARN:
        score = min(score, 0.7)
    message = _sentence(spec, state, layers, grouping, share, steadiness if moving else None)
    return result(verdict, min(score, 0.3) if fails else score, share, message + broken_note)


def _layers(
    spec: GradientGhostSpec,
    usable: Iterable[ParamStat],
    matrices: Sequence[MatrixStat],
    grouping: LayerGrouping,
    b_norms: Mapping[int, float],
) -> _Layers:
    squares: dict[Role, dict[int, list[tuple[float, int]]]] = {r: {} for r in ROLES}
    steps: dict[Role, dict[int, float]] = {r: {} for r in ROLES}
    for p in usable:
        layer, role = grouping.layer_of.get(p.param_id), grouping.role_of.get(p.param_id, "")
        if layer is None or not role:
            continue
        squares[role].setdefault(layer, []).append((p.grad_ms, p.numel))
        # Adam moves a weight by lr · m̂ / √v̂; weight decay is left out.
        steps[role][layer] = steps[role].get(layer, 0.0) + p.lr**2 * p.direction_ms * p.numel
    gradient = {
        role: {k: math.sqrt(math.fsum(v * n for v, n in vs) / sum(n for _, n in vs)) for k, vs in by.items()}
        for role, by in squares.items()
    }
    weight = {role: _norms(matrices, role) for role in ROLES}
    update = {
        role: {
            k: math.sqrt(v) / weight[role][k] for k, v in by.items() if math.isfinite(v) and weight[role].get(k, 0) > 0
        }
        for role, by in steps.items()
    }
    flagged = {role: standing_out(by, ratio=spec.undertrained_layer_ratio) for role, by in gradient.items()}
    return _Layers(gradient, update, dict(b_norms), flagged)


def _layer_facts(
    spec: GradientGhostSpec, layers: _Layers, usable: Sequence[ParamStat], grouping: LayerGrouping, share: float
) -> dict[str, Any]:
    off = [
        {"layer": k, "matrix": role, "ratio": f}
        for role, found in layers.flagged.items()
        for k, f in sorted(found.items(), key=lambda item: -abs(math.log(item[1])))
    ]
    public = _public_share(spec, usable, grouping)
    shown = [_panel(role, layers) for role in ROLES if layers.gradient[role]]
    return {
        "unit": "share of layers",
        "frac_layers_undertrained": share,
        "num_layers_undertrained": len(layers.wrong),
        "frac_layers_undertrained_public": public,
        "public_note": "the public share counts layers above the ratio times the least layer, A and B together, which"
        " the ordinary growth of gradients with depth exceeds",
        "worst_layers": sorted(off, key=lambda item: -abs(math.log(float(cast(float, item["ratio"])))))[:3],
        "layers_with_zero_b": layers.untrained,
        "layers_without_gradient": layers.without_gradient,
        "rms_gradient": {role: {str(k): v for k, v in sorted(by.items())} for role, by in layers.gradient.items()},
        "update_to_weight": {role: {str(k): v for k, v in sorted(by.items())} for role, by in layers.update.items()},
        "b_norm": {str(k): v for k, v in sorted(layers.b_norm.items())},
        "panels": panels(*shown),
    }


def _panel(role: Role, layers: _Layers) -> Groups:
    usual = factors(layers.gradient[role])
    bad = set(layers.flagged[role]) | set(layers.untrained) | set(layers.without_gradient)
    return Groups(
        title=f"Gradient of {role} by layer, over what is usual at its depth",
        unit="times",
        groups=tuple(
            Group(label=f"layer {k}", value=usual.get(k), flag="bad" if k in bad else "")
            for k in sorted(layers.gradient[role])
        ),
        note="1 is usual; root mean square gradient as the optimizer remembers it",
    )


def _sentence(
    spec: GradientGhostSpec,
    state: TrainingStateSnapshot,
    layers: _Layers,
    grouping: LayerGrouping,
    share: float,
    steadiness: float | None,
) -> str:
    parts = [f"{state.global_step} steps, {len(layers.wrong)} of {grouping.num_layers} layers stand out"]
    if share > spec.layer_failure_frac:
        parts.append(f"a share of {share:.3g} is above {spec.layer_failure_frac:g}")
    if layers.untrained:
        parts.append(f"B is zero in {_listed(layers.untrained)}: never trained")
    if layers.without_gradient:
        parts.append(f"no gradient ever reached {_listed(layers.without_gradient)}")
    for role, found in layers.flagged.items():
        if found:
            k = max(found, key=lambda i: abs(math.log(found[i])))
            parts.append(f"the gradient of {role} in layer {k} is {found[k]:.3g} times what is usual at its depth")
    if steadiness is not None:
        parts.append(
            f"gradients were {steadiness:.3g} times as steady as noise: training stopped while there was more to learn"
        )
    return ", ".join(parts)


def _listed(layers: Sequence[int]) -> str:
    shown = ", ".join(str(k) for k in layers[:5])
    return f"layer{'' if len(layers) == 1 else 's'} {shown}" + (
        f" and {len(layers) - 5} more" if len(layers) > 5 else ""
    )


def _steadiness(usable: Sequence[ParamStat]) -> float | None:
    """How much steadier than noise the gradient's direction was; the median over parameters."""
    found = sorted(
        math.sqrt(p.direction_ms * (1 + p.beta1) / (1 - p.beta1)) for p in usable if math.isfinite(p.direction_ms)
    )
    return found[len(found) // 2] if found else None


def _norms(matrices: Sequence[MatrixStat], role: Role) -> dict[int, float]:
    out: dict[int, float] = {}
    for m in matrices:
        if m.role == role and m.layer is not None:
            out[m.layer] = math.hypot(out.get(m.layer, 0.0), m.norm)
    return out


def _b_norms(matrices: Sequence[MatrixStat]) -> dict[int, float]:
    return _norms(matrices, "B")


def _counts(grouping: LayerGrouping | None) -> int | dict[str, int] | None:
    """Parameters in each layer: one number where all have the same."""
    if grouping is None:
        return None
    counts = set(grouping.params_per_layer.values())
    return counts.pop() if len(counts) == 1 else {str(k): n for k, n in sorted(grouping.params_per_layer.items())}


def _public_share(spec: GradientGhostSpec, usable: Sequence[ParamStat], grouping: LayerGrouping) -> float | None:
    by_layer: dict[int, list[float]] = {}
    for p in usable:
        if p.param_id in grouping.layer_of:
            by_layer.setdefault(grouping.layer_of[p.param_id], []).append(p.exp_avg_sq_mean)
    means = [math.fsum(v) / len(v) for v in by_layer.values()]
    least = min(means, default=0.0)
    if not means:
        return None
    return sum(1 for v in means if least > 0 and v > spec.undertrained_layer_ratio * least) / grouping.num_layers
