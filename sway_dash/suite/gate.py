"""Whether a result may pass: the one rule of ``gate``, ``run --fail-on``, ``check --fail-on``, tests and watching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sway_dash.core.foreign import number
from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore, Verdict
from sway_dash.suite.fold import PREFLIGHT
from sway_dash.suite.score import compute

TOLERANCE = 1e-9
"""A composite this little below the threshold is on it: weighted means of decimals are not exact."""

_STATUS = {
    "running": "the run has not ended yet",
    "interrupted": "the run ended without saying why: its process was killed or crashed",
    "cancelled": "the run was stopped before its end",
    "failed": "the run failed before its end",
}


class FailOn(StrEnum):
    """The mildest verdict that fails a gate; each fails on those before it, too."""

    NEVER = "never"
    ERROR = "error"
    FAIL = "fail"
    WARN = "warn"


_FAILING: dict[FailOn, tuple[Verdict, ...]] = {
    FailOn.NEVER: (),
    FailOn.ERROR: (Verdict.ERROR,),
    FailOn.FAIL: (Verdict.ERROR, Verdict.FAIL),
    FailOn.WARN: (Verdict.ERROR, Verdict.FAIL, Verdict.WARN),
}
_SAID = {Verdict.ERROR: "could not be measured", Verdict.FAIL: "failed", Verdict.WARN: "ended with a warning"}


@dataclass(frozen=True, slots=True)
class Gate:
    """A decision and why: ``reasons`` holds one sentence for each thing that fails it, and nothing when it passed."""

    reasons: tuple[str, ...] = ()
    threshold: float | None = None
    fail_on: FailOn = FailOn.FAIL
    allow_errors: bool = False

    @property
    def passed(self) -> bool:
        """Nothing speaks against it."""
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        """The decision as it stands under the key ``gate`` of a result file."""
        return {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "threshold": self.threshold,
            "fail_on": self.fail_on.value,
            "allow_errors": self.allow_errors,
        }

    @classmethod
    def from_dict(cls, raw: object) -> Gate | None:
        """The decision that a result file holds; ``None`` for what is none."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("passed"), bool):
            return None
        reasons = raw.get("reasons")
        told = tuple(map(str, reasons)) if isinstance(reasons, list) else ()
        known = [level for level in FailOn if level == raw.get("fail_on")]
        return cls(
            () if raw["passed"] else told or ("the file does not say why",),
            number(raw.get("threshold")),
            known[0] if known else FailOn.FAIL,
            raw.get("allow_errors") is True,
        )


def judge(
    result: SuiteResult,
    score: SwayScore,
    *,
    threshold: float | None = None,
    fail_on: FailOn = FailOn.FAIL,
    allow_errors: bool = False,
) -> Gate:
    """Decide whether a result passes.

    From ``FailOn.ERROR`` on a run that did not reach its end fails, and so does one in which nothing was scored: what
    was not measured must not look good. A failed pre-flight is such a run.

    Parameters
    ----------
    threshold
        Smallest composite score that passes, in [0, 1]; ``None`` leaves it out. It holds with ``FailOn.NEVER``, too.
    allow_errors
        Probes that could not be measured do not fail the gate, as long as something else was.
    """
    reasons: list[str] = []
    if fail_on is not FailOn.NEVER:
        reasons += _unfinished(result)
        failing = [v for v in _FAILING[fail_on] if v is not Verdict.ERROR or not allow_errors]
        reasons += (_of_probe(p) for p in result.probes if p.verdict in failing)
    if fail_on is not FailOn.NEVER or threshold is not None:
        if not scored(result, score):
            reasons.append("nothing was scored: no probe that counts was measured")
        elif threshold is not None and not score.overall >= threshold - TOLERANCE:  # NaN reaches nothing
            overall, asked = _told_apart(score.overall, threshold)
            reasons.append(f"overall {overall} is below the threshold {asked}")
    return Gate(tuple(reasons), threshold, fail_on, allow_errors)


def scored(result: SuiteResult, score: SwayScore) -> bool:
    """Whether any probe has a part in the composite; without one it is 0.0 and says nothing."""
    # Not by the components of the score: other programs list empty categories there, as 0.0.
    return any(score.weights.get(category, 0.0) > 0.0 for category in compute(result).components)


def _unfinished(result: SuiteResult) -> Iterator[str]:
    if result.status != "finished":
        yield "; ".join((_STATUS.get(result.status, f"the run is {result.status}"), *result.warnings))


def _of_probe(probe: ProbeResult) -> str:
    if probe.name == PREFLIGHT:
        return probe.message or "the pre-flight check of the model failed"
    said = f"{probe.name} ({probe.kind}) {_SAID[probe.verdict]}"
    return f"{said}: {probe.message}" if probe.message else said


def _told_apart(value: float, threshold: float) -> tuple[str, str]:
    """Both numbers with two decimals, or as many as it takes to see which is smaller."""
    for decimals in range(2, 12):
        pair = f"{value:.{decimals}f}", f"{threshold:.{decimals}f}"
        if pair[0] != pair[1]:
            break
    return pair
