"""What a run says in one word and one sentence, with the rule and the numbers behind it. No rendering here.

Four words are possible:

- **changed**: more than noise, and the whole 95 % interval of the mean lies at or above the gate;
- **no detectable change**: both models are identical, or the whole interval lies below the gate, or the mean lies
  among those of the random adapters. "Detectable" is a change of the size asked for: the sentence says it when there is
  a smaller one;
- **inconclusive**: anything in between, and every run that was not finished;
- **broken**: there is nothing to judge, because a model gives numbers that are none or the measurement failed.

"More than noise" takes a null of at least :data:`MIN_NULLS` draws. With fewer, only an effect that is far from the
gate (:data:`FAR` times) counts, and the reasons say so: a fixed threshold is never applied silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sway_dash.core.foreign import count, mapping
from sway_dash.core.foreign import number as known
from sway_dash.core.numbers import number, p_text, said
from sway_dash.core.result import ProbeResult, SuiteResult, Verdict
from sway_dash.core.stats import MIN_ITEMS

Word = Literal["changed", "no detectable change", "inconclusive", "broken"]

MIN_NULLS = 10
"""Below this many random adapters there is no saying what noise looks like."""

ENOUGH_NULLS = 20
"""From this many on the rank alone can reach p < 0.05."""

FAR = 5.0
"""Without a usable null the whole interval must lie above this many times the gate."""

UNLIKE = 2.0
"""Random adapters whose change of the weights differs by more than this factor are pointed out."""

SIGNIFICANCE = 0.05
DEFAULT_GATE = 0.02
"""Smallest mean divergence that matters, nats; the default of ``delta_kl.assert_mean_gte``."""


@dataclass(frozen=True, slots=True)
class Headline:
    """The answer of a run: ``word``, a sentence, and the reasons in the order of the rule."""

    word: Word
    sentence: str
    reasons: tuple[str, ...] = ()
    settle: str = ""
    """What would settle it, for an inconclusive run."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """The numbers the rule looks at."""

    name: str
    kind: str
    mean: float
    lo: float | None
    hi: float | None
    n: int
    planned: int
    gate: float
    nulls: int
    p: float | None
    rank_p: float | None
    largest: float | None
    z: float | None
    identical: int
    rounding: float
    ci_note: str

    @property
    def interval(self) -> str:
        if self.lo is None or self.hi is None:
            return f"no interval ({self.ci_note or f'n = {self.n}'})"
        return f"95 % CI {number(self.lo)} to {number(self.hi)}"

    @property
    def above_null(self) -> bool:
        """Larger than nearly all draws, by rank and by the prediction interval for few draws."""
        if self.p is None or self.p > SIGNIFICANCE:
            return False
        smallest = 1.0 / (self.nulls + 1)
        return self.rank_p is None or self.rank_p <= max(SIGNIFICANCE, smallest)


def headline(result: SuiteResult, *, entries: Mapping[str, Mapping[str, Any]] | None = None) -> Headline:
    """Judge a run by its first ``delta_kl`` probe.

    Parameters
    ----------
    entries
        Raw suite entries by probe name (``PlannedProbe.entry``): where the gate is read from when the evidence does
        not hold it.
    """
    if any(p.kind == "preflight" for p in result.probes):
        reason = next(p.message for p in result.probes if p.kind == "preflight")
        sentence = "A model gives numbers that are none, so nothing was measured."
        return Headline("broken", sentence, (reason,))
    probes = [p for p in result.probes if p.kind == "delta_kl"]
    measured = [p for p in probes if p.raw is not None]
    if not measured:
        return _nothing(result, probes)
    facts = _facts(measured[0], (entries or {}).get(measured[0].name, {}))
    if result.status != "finished" or "partial" in measured[0].evidence:
        return _unfinished(result, facts)
    answer = _judge(facts)
    if facts.identical < facts.n and (caution := _unlike(result)):
        answer = replace(answer, reasons=(*answer.reasons, caution))
    return answer


def _nothing(result: SuiteResult, probes: Sequence[ProbeResult]) -> Headline:
    """No probe has a mean divergence."""
    broken = [p for p in probes if p.verdict is Verdict.ERROR]
    if broken:
        return Headline("broken", "The prompts could not be measured.", tuple(f"{p.name}: {p.message}" for p in broken))
    if result.status == "failed":
        why = tuple(p.message for p in result.probes if p.message)[:1]
        return Headline("broken", "The run failed before anything was measured.", why)
    if result.status == "running":
        return Headline("inconclusive", "Nothing has been measured yet.")
    if result.status in ("cancelled", "interrupted"):
        return Headline("inconclusive", f"The run was {result.status} before any prompt was measured.")
    skipped = tuple(f"{p.name}: {p.message}" for p in probes)
    sentence = "This run did not measure how far the adapter moves the model."
    return Headline("inconclusive", sentence, skipped, settle="Add a delta_kl probe to the suite.")


def _unfinished(result: SuiteResult, f: _Facts) -> Headline:
    state = {"running": "is still going", "finished": "is incomplete"}.get(result.status, f"was {result.status}")
    sentence = f"The run {state}: {f.n} of {f.planned} prompts, mean {f.kind} {number(f.mean)} nats so far."
    reasons = (f"Over those {f.n} prompts: {f.interval}.", "Part of the prompts cannot answer for all of them.")
    return Headline("inconclusive", sentence, reasons, settle="Let the run finish.")


def _judge(f: _Facts) -> Headline:
    if f.identical == f.n:
        alike, reason = "identical", "Every divergence is exactly 0."
        changes = "nothing"
        if f.mean > 0.0:
            alike, reason = "the same to rounding", f"No JS exceeds {number(f.rounding)}, a model's from itself."
            changes = "no more than rounding"
        sentence = f"Base and tuned are {alike} on all {f.n} prompts: the adapter changes {changes}."
        return Headline("no detectable change", sentence, (reason,))
    reasons = (_size_reason(f), _null_reason(f))
    measure = f"mean {f.kind} {number(f.mean)} nats, {f.interval}, over {f.n} prompts"
    if f.lo is None or f.hi is None:
        sentence = f"Too few prompts to tell: {measure}."
        return Headline(
            "inconclusive", sentence, reasons, settle=f"Measure {MIN_ITEMS} prompts or more; 20 are better."
        )
    if f.hi < f.gate:
        return Headline("no detectable change", _below(f, measure), reasons)
    if f.nulls < MIN_NULLS or f.p is None:
        return _without_null(f, measure, reasons)
    if not f.above_null:
        if f.largest is not None and f.mean > f.largest:
            sentence = f"More than all {f.nulls} random adapters, but not by much: {measure}."
            return Headline("inconclusive", sentence, reasons, settle=_more(f))
        sentence = f"The adapter does no more than random ones: {measure}."
        return Headline("no detectable change", sentence, reasons)
    if f.lo >= f.gate:
        return Headline("changed", f"The adapter changed the model: {measure}.", reasons)
    sentence = f"There is a change, but it may be smaller than the gate of {number(f.gate)}: {measure}."
    return Headline("inconclusive", sentence, reasons, settle="Measure more prompts: the interval narrows.")


def _without_null(f: _Facts, measure: str, reasons: tuple[str, ...]) -> Headline:
    """Too few draws to know what noise looks like: only what is far from the gate is called a change."""
    far = f.lo is not None and f.lo >= FAR * f.gate
    beaten = f.largest is None or f.mean > f.largest
    if far and beaten:
        rule = f"The whole interval lies above {FAR:g} times the gate, so it counts without a full null."
        return Headline("changed", f"The adapter changed the model: {measure}.", (*reasons, rule))
    sentence = f"It cannot be told from noise: {measure}."
    return Headline("inconclusive", sentence, reasons, settle=_more(f))


def _below(f: _Facts, measure: str) -> str:
    """The sentence for an effect that is surely below the gate; one that is more than noise is not denied."""
    if f.nulls < MIN_NULLS or not f.above_null:
        return f"No change of the size asked for: {measure}; the gate is {number(f.gate)}."
    beaten = "all" if f.largest is None or f.mean > f.largest else "nearly all"
    return (
        f"A change smaller than asked for: {measure}, lies below the gate of {number(f.gate)}, though above {beaten}"
        f" {f.nulls} random adapters."
    )


def _size_reason(f: _Facts) -> str:
    if f.lo is None or f.hi is None:
        return f"Size: an interval needs {MIN_ITEMS} prompts, there are {f.n}."
    if f.lo >= f.gate:
        where = "lies above"
    elif f.hi < f.gate:
        where = "lies below"
    else:
        where = "includes"
    return f"Size: the 95 % interval of the mean {where} the gate of {number(f.gate)} nats."


def _null_reason(f: _Facts) -> str:
    if f.nulls == 0 or f.z is None:
        return "Noise: there are no usable random adapters to compare with (a null_adapter probe makes them)."
    parts = []
    if f.largest is not None:
        where = "larger than" if f.mean > f.largest else "not larger than"
        parts.append(f"{where} all {f.nulls} random adapters (largest {number(f.largest)})")
    else:
        parts.append(f"compared with {f.nulls} random adapters")
    if f.p is not None:
        parts.append(f"{said('p', p_text(f.p))} as the next draw")
    if f.rank_p is not None:
        parts.append(f"rank {said('p', p_text(f.rank_p))}")
    few = f"; {f.nulls} are too few, {MIN_NULLS} are needed" if f.nulls < MIN_NULLS else ""
    return f"Noise: {', '.join(parts)}{few}."


def _unlike(result: SuiteResult) -> str:
    """A word of caution when all random adapters change the weights much more or much less than the trained one."""
    first = ""
    for probe in result.probes:
        norms = probe.evidence.get("update_norms") if probe.kind == "null_adapter" else None
        trained = mapping(norms).get("trained")
        null = next(iter(mapping(mapping(norms).get("null")).values()), None)
        if not (isinstance(trained, float) and isinstance(null, float) and trained > 0 and null > 0):
            continue
        ratio = trained / null
        if 1 / UNLIKE <= ratio <= UNLIKE:
            return ""
        how = f"{ratio:.2g} times less" if ratio > 1 else f"{1 / ratio:.2g} times more"
        weak = "being above them is a weak test" if ratio > 1 else "being above them is a hard test"
        size = f"‖ΔW‖ {number(null)} against {number(trained)}"
        first = first or f"Caution: random adapters change the weights {how} ({size}): {weak}."
    return first


def _more(f: _Facts) -> str:
    """More draws, and more prompts where the interval includes the gate: either alone would not settle it."""
    have = f" instead of {f.nulls}" if f.nulls else ""
    draws = f"un null_adapter with runs: {max(ENOUGH_NULLS, 2 * f.nulls)}{have}, before delta_kl."
    if f.lo is None or f.lo >= f.gate:
        return f"R{draws}"
    return f"Measure more prompts, for the interval includes the gate, and r{draws}"


def _facts(probe: ProbeResult, entry: Mapping[str, Any]) -> _Facts:
    e = probe.evidence
    null = mapping(e.get("null"))
    n = count(e.get("distinct_prompts")) or count(e.get("num_prompts"))
    bound = known(e.get("max_error_bound")) or 0.0
    ci = probe.ci_95
    planned = count(mapping(e.get("partial")).get("planned"))
    gate = known(e.get("gate", entry.get("assert_mean_gte")))
    return _Facts(
        name=probe.name,
        kind={"js": "JS", "kl": "KL"}.get(str(e.get("divergence_kind")), "divergence"),
        mean=float(probe.raw or 0.0),
        # A backend that sees only the top tokens knows each value up to a bound.
        lo=None if ci is None else max(ci[0] - bound, 0.0),
        hi=None if ci is None else ci[1] + bound,
        n=n,
        planned=planned or (count(e.get("num_prompts")) or n) + count(e.get("unmeasured_prompts")),
        gate=DEFAULT_GATE if gate is None else gate,
        nulls=count(null.get("n")),
        p=known(null.get("p_prediction")),
        rank_p=known(null.get("p_rank")),
        largest=known(null.get("largest_draw")),
        z=probe.z_score,
        identical=count(e.get("identical_prompts")),
        rounding=known(e.get("rounding")) or 0.0,
        ci_note=str(e.get("ci_note") or ""),
    )
