"""What comes out: verdicts, probe results, suite results, the composite score."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np


class Verdict(StrEnum):
    """How a probe ended."""

    PASS = "pass"
    FAIL = "fail"
    WARN = "warn"
    SKIP = "skip"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe found.

    ``raw`` is the measured quantity in the probe's own unit, ``ci_95`` its interval, ``z_score`` its distance from the
    null in null standard deviations, ``score`` in [0, 1]. ``None`` means unknown, never zero.
    """

    name: str
    kind: str
    verdict: Verdict
    score: float | None
    raw: float | None = None
    z_score: float | None = None
    base_value: float | None = None
    ft_value: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    duration_s: float = 0.0
    ci_95: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class DeterminismReport:
    """Class of repeatability of a run, its seed, and what limits it."""

    class_: str
    seed: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """What a run found. ``status`` is finished, cancelled, failed or running; see ``suite.fold``."""

    spec_path: str
    started_at: datetime
    finished_at: datetime
    base_model_id: str
    adapter_id: str
    sway_version: str
    probes: tuple[ProbeResult, ...] = ()
    null_stats: dict[str, Any] = field(default_factory=dict)
    determinism: DeterminismReport | None = None
    backend_stats: dict[str, Any] = field(default_factory=dict)
    # Beyond the public format:
    run_id: str = ""
    status: str = "finished"
    warnings: tuple[str, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    null_stats_by_rank: dict[str, Any] = field(default_factory=dict)
    """Like ``null_stats``, for noise of each rank asked for: ``{"rank_0.50": {kind: {mean, std, n, degenerate}}}``."""

    @property
    def wall_seconds(self) -> float:
        """Seconds from start to end."""
        return (self.finished_at - self.started_at).total_seconds()

    def to_html(self, path: Path | str, *, redact: str = "full", paths: bool = False) -> Path:
        """Write the result as one HTML file that needs neither Python nor a network; return its path.

        ``redact`` is one of ``report.html.redact.LEVELS``; ``paths`` keeps paths and the name of the user. A run
        folder's report has more: scoring calls and prompts token by token are not part of a result.
        """
        # By name: what a result is does not depend on how it is drawn.
        write = importlib.import_module("sway_dash.report.html.build").write
        return Path(write(self, path, redact=redact, paths=paths))


DEFAULT_COMPONENT_WEIGHTS: dict[str, float] = {
    "adherence": 0.30,
    "attribution": 0.35,
    "calibration": 0.20,
    "ablation": 0.15,
    "baseline": 0.0,
}


@dataclass(frozen=True, slots=True)
class SwayScore:
    """Weighted mean of probe scores, by category and overall."""

    overall: float
    components: dict[str, float]
    weights: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_COMPONENT_WEIGHTS))
    band: str = ""
    findings: tuple[str, ...] = ()

    @staticmethod
    def band_for(overall: float) -> str:
        """Word for a composite score: noise < 0.3 ≤ partial < 0.6 ≤ healthy ≤ 0.85 < suspicious."""
        if overall < 0.3:
            return "noise"
        if overall < 0.6:
            return "partial"
        return "healthy" if overall <= 0.85 else "suspicious"


def utcnow() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


def jsonable(value: Any) -> Any:
    """Copy ``value`` into what JSON holds: numpy → Python, tuples → lists, keys → str, NaN and infinity → None."""
    if value is None or isinstance(value, str | bool | int):
        return value if type(value) in (str, bool, int, type(None)) else _plain(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return [jsonable(v) for v in sorted(value, key=str)]  # a set has no order, a file must have one
    if isinstance(value, Sequence):
        return [jsonable(v) for v in value]
    return str(value)


def _plain(value: Any) -> Any:
    """A str, int or bool subclass (an enum, say) as its plain base type."""
    for kind in (bool, int, str):
        if isinstance(value, kind):
            return kind(value)
    return value


_NUMBERS = ("score", "raw", "z_score", "base_value", "ft_value")


def safe_finalize(
    *,
    name: str,
    kind: str,
    verdict: Verdict,
    score: float | None = None,
    raw: float | None = None,
    z_score: float | None = None,
    base_value: float | None = None,
    ft_value: float | None = None,
    evidence: Mapping[str, Any] | None = None,
    message: str = "",
    duration_s: float = 0.0,
    ci_95: tuple[float, float] | None = None,
    critical_fields: Sequence[str] = ("raw",),
) -> ProbeResult:
    """Build a :class:`ProbeResult` that holds no NaN and no infinity.

    A non-finite critical number makes the whole result an ERROR without numbers: a wrong number is worse than none.
    Other non-finite numbers become ``None`` and are named in ``evidence["defensively_nulled"]``.
    """
    numbers: dict[str, Any] = {
        "score": score,
        "raw": raw,
        "z_score": z_score,
        "base_value": base_value,
        "ft_value": ft_value,
    }
    bad = {k: v for k, v in numbers.items() if _non_finite(v)}
    facts = dict(evidence or {})
    if broken := [k for k in _NUMBERS if k in bad and k in critical_fields]:
        facts["non_finite_inputs"] = dict(bad)
        text = f"non-finite critical value in {', '.join(broken)}"
        return ProbeResult(
            name=name,
            kind=kind,
            verdict=Verdict.ERROR,
            score=None,
            evidence=facts,
            message=f"{text}; {message}" if message else text,
            duration_s=duration_s,
        )
    if bad:
        facts["defensively_nulled"] = [*facts.get("defensively_nulled", ()), *sorted(bad)]
        numbers.update(dict.fromkeys(bad))
    if ci_95 is not None and (numbers["raw"] is None or any(_non_finite(b) for b in ci_95)):
        ci_95 = None
    return ProbeResult(
        name=name,
        kind=kind,
        verdict=verdict,
        evidence=facts,
        message=message,
        duration_s=duration_s,
        ci_95=ci_95,
        **numbers,
    )


def _non_finite(value: Any) -> bool:
    # float32 and float16 of numpy are no Python floats, and just as often NaN
    return isinstance(value, float | np.floating) and not math.isfinite(value)
