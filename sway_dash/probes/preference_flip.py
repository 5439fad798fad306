"""Whether the adapter prefers the chosen answers: what it sets right, and what it sets wrong.

The same pairs are asked of both views, so the result is a paired 2×2 table: right or wrong before, right or wrong
after. Looking only at what was wrong before, as a flip rate does, counts chance as success: noise turns margins over
in both directions (regression to the mean).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from sway_dash.core.panels import Group, Groups, Items, Row, panels
from sway_dash.core.rates import mcnemar_exact, newcombe_paired, wilson
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import CompletionScore, ScoringModel
from sway_dash.core.stats import format_z_profile, interval, mean, no_calibration_note, score_from_anchors
from sway_dash.probes.answers import ask_both, score_completions
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, Work
from sway_dash.probes.measure import MAX_FAILED_SHARE
from sway_dash.probes.null_adapter import calibration, noise_does_as_well

SIGNIFICANCE = 0.05

FEWEST_CHANGES = 6
"""Below this many changes no split of them reaches p = 0.05 in McNemar's exact test."""


NOT_FINITE = "a log-probability that is not finite under one of the views"


class PreferenceTriple(BaseModel):
    """A prompt with a preferred and a rejected answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    chosen: str = Field(min_length=1)
    rejected: str = Field(min_length=1)


SENTINELS = (
    PreferenceTriple(prompt="Is the sea salty?", chosen=" Yes, it is.", rejected=" No, it is sweet."),
    PreferenceTriple(prompt="Please close the door.", chosen=" Of course.", rejected=" Do it yourself."),
    PreferenceTriple(prompt="What is two and two?", chosen=" Four.", rejected=" Five."),
)


class PreferenceFlipSpec(ProbeSpec):
    """Settings of ``preference_flip``."""

    kind: Literal["preference_flip"] = "preference_flip"
    triples: tuple[PreferenceTriple, ...] = Field(
        default=(), description="prompts with a chosen and a rejected answer; empty: those of the document"
    )
    assert_flip_rate_gte: Annotated[FiniteFloat, Field(ge=0.0, le=1.0)] = Field(
        default=0.7, description="smallest share of wrong preferences set right"
    )
    assert_damage_rate_lte: Annotated[FiniteFloat, Field(ge=0.0, le=1.0)] = Field(
        default=0.1, description="largest share of right preferences set wrong"
    )
    assert_z_gte: FiniteFloat = Field(default=3.0, description="smallest z against the null, when there is one")
    min_triples_for_decision: int = Field(
        default=3, ge=0, description="with fewer wrong preferences to set right there is no flip rate, only a warning"
    )


@dataclass(frozen=True, slots=True)
class Margins:
    """Chosen less rejected log-probability of one triple, summed and per token, nats."""

    total: float
    per_token: float

    @property
    def finite(self) -> bool:
        """Whether both are numbers to compare."""
        return math.isfinite(self.total) and math.isfinite(self.per_token)


@dataclass(frozen=True, slots=True)
class Table:
    """Paired counts of one way to take the margin; ties at the base are in none of them."""

    kept_right: int
    fixed: int
    damaged: int
    kept_wrong: int

    @staticmethod
    def of(base: Sequence[float], tuned: Sequence[float]) -> Table:
        """Count margins: right above 0, wrong below; a tie of the tuned view is not right."""
        pairs = list(zip(base, tuned, strict=True))
        right = [t > 0 for b, t in pairs if b > 0]
        wrong = [t > 0 for b, t in pairs if b < 0]
        return Table(sum(right), sum(wrong), len(right) - sum(right), len(wrong) - sum(wrong))

    @property
    def base_wrong(self) -> int:
        """Triples the base has wrong."""
        return self.fixed + self.kept_wrong

    @property
    def base_right(self) -> int:
        """Triples the base has right."""
        return self.damaged + self.kept_right

    @property
    def n(self) -> int:
        """All triples in the table."""
        return self.base_wrong + self.base_right

    def facts(self) -> dict[str, Any]:
        """Counts, rates and their intervals, JSON-ready."""
        return {
            "base_right": self.base_right,
            "base_wrong": self.base_wrong,
            "kept_right": self.kept_right,
            "flipped": self.fixed,
            "damaged": self.damaged,
            "kept_wrong": self.kept_wrong,
            "flip_rate": rate(self.fixed, self.base_wrong),
            "flip_rate_ci_95": wilson(self.fixed, self.base_wrong),
            "damage_rate": rate(self.damaged, self.base_right),
            "damage_rate_ci_95": wilson(self.damaged, self.base_right),
            "net_flip_rate": rate(self.fixed - self.damaged, self.n),
            "net_flip_rate_ci_95": newcombe_paired(self.kept_right, self.fixed, self.damaged, self.kept_wrong),
            "mcnemar_p": mcnemar_exact(self.fixed, self.damaged),
        }


def rate(k: int, n: int) -> float | None:
    """``k / n``; ``None`` of nothing."""
    return k / n if n else None


class PreferenceFlipProbe(Probe):
    """Margins of chosen over rejected answers, before and after."""

    kind = "preference_flip"
    spec_cls = PreferenceFlipSpec
    category = "attribution"

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> PreferenceFlipSpec:
        """Three sentinel triples."""
        return PreferenceFlipSpec(name="calibration", triples=SENTINELS, min_triples_for_decision=2)

    def work(self, spec: PreferenceFlipSpec, ctx: RunContext) -> Work:
        """Both answers of every triple."""
        return Work(2 * len(spec.triples or _of_document(ctx)))

    def answers(self, spec: PreferenceFlipSpec, ctx: RunContext) -> int:
        """A margin of every triple from both views."""
        return 2 * len(spec.triples or _of_document(ctx))

    def run(self, spec: PreferenceFlipSpec, ctx: RunContext) -> ProbeResult:
        """Score both answers of every triple under both views and judge the table."""
        triples = spec.triples or _of_document(ctx)
        if not triples:
            message = "no triples: give some, or a document with preference sections in dlm_source"
            return safe_finalize(
                name=spec.name, kind=spec.kind, verdict=Verdict.SKIP, message=message, evidence={"weight": spec.weight}
            )
        told = ask_both(ctx, triples, _margins)
        answered = list(zip(told.kept, told.base, told.tuned, strict=True))
        # A margin that is no number is neither right nor wrong, and no tie.
        scored = [found for found in answered if found[1].finite and found[2].finite]
        broken = [(i, NOT_FINITE) for i, b, t in answered if not (b.finite and t.finite)]
        reasons = [f"{triples[i].prompt[:40]!r}: {reason}" for i, reason in sorted([*told.dropped, *broken])]
        if not scored:
            return safe_finalize(
                name=spec.name,
                kind=spec.kind,
                verdict=Verdict.ERROR,
                message=f"none of the {len(triples)} triples could be scored: {reasons[0]}",
                evidence={"dropped_triples": len(reasons), "dropped_reasons": reasons[:5], "weight": spec.weight},
            )
        kept, base, tuned = zip(*scored, strict=True)
        return _Judged(spec, ctx, [triples[i] for i in kept], base, tuned, reasons).result()


def _of_document(ctx: RunContext) -> tuple[PreferenceTriple, ...]:
    sections = [s for s in ctx.sections or () if s.kind == "preference"]
    return tuple(
        PreferenceTriple(prompt=p.prompt, chosen=p.chosen, rejected=p.rejected) for s in sections for p in s.preferences
    )


def _margins(view: ScoringModel, triples: Sequence[PreferenceTriple]) -> list[Margins]:
    scores = score_completions(view, [(t.prompt, answer) for t in triples for answer in (t.chosen, t.rejected)])
    return [_margin(chosen, rejected) for chosen, rejected in zip(scores[::2], scores[1::2], strict=True)]


def _margin(chosen: CompletionScore, rejected: CompletionScore) -> Margins:
    return Margins(chosen.logprob - rejected.logprob, chosen.per_token - rejected.per_token)


class _Judged:
    """Everything that follows from the margins of the triples that could be scored."""

    def __init__(
        self,
        spec: PreferenceFlipSpec,
        ctx: RunContext,
        triples: Sequence[PreferenceTriple],
        base: Sequence[Margins],
        tuned: Sequence[Margins],
        reasons: Sequence[str],
    ) -> None:
        self.spec, self.ctx, self.triples, self.base, self.tuned = spec, ctx, triples, base, tuned
        self.reasons, self.total = reasons, len(triples) + len(reasons)
        self.table = Table.of([m.total for m in base], [m.total for m in tuned])
        self.shifts = [t.total - b.total for b, t in zip(base, tuned, strict=True)]
        self.shift_ci, self.shift_note = interval(self.shifts, seed=ctx.seed)
        self.least = max(1, spec.min_triples_for_decision)
        self.decides = self.table.base_wrong >= self.least
        self.raw = self.table.fixed / self.table.base_wrong if self.decides else mean(self.shifts)
        self.ci = wilson(self.table.fixed, self.table.base_wrong) if self.decides else self.shift_ci
        self.null = calibration(ctx, spec, self.raw)
        self.faults, self.doubt = self._judged() if self.decides else (self._harm(), list[str]())

    def _harm(self) -> list[str]:
        """Nothing much to set right is no licence to set wrong."""
        table = self.table
        p = mcnemar_exact(table.fixed, table.damaged)
        harmful = _damaging(self.spec, table) and table.damaged > table.fixed and p <= SIGNIFICANCE
        return [_damage(self.spec, table)] if harmful else []

    def _judged(self) -> tuple[list[str], list[str]]:
        faults, doubt = _faults(self.spec, self.table, self.shift_ci)
        if noise := noise_does_as_well(self.null, self.spec.assert_z_gte):
            faults.append(noise)
        return faults, doubt

    def result(self) -> ProbeResult:
        """The verdict with everything it rests on."""
        spec, faults = self.spec, self.faults
        if self.decides:
            gate = min(max(spec.assert_flip_rate_gte, 1e-6), 1.0 - 1e-6)
            # Net of what was set wrong: turning over as much both ways is no effect.
            net = (self.table.fixed - self.table.damaged) / self.table.base_wrong
            score = score_from_anchors(net, none=0.0, gate=gate, target=1.0)
            incomplete = len(self.reasons) > MAX_FAILED_SHARE * self.total
            verdict = Verdict.WARN if incomplete else Verdict.PASS
            note = f"95% Wilson, {self.table.fixed} of {self.table.base_wrong} triples the base has wrong"
        else:
            # Too few to have a flip rate: the public warning, with the margins in its place.
            score, verdict, note = min(max(0.5 + self.raw / 4.0, 0.0), 1.0), Verdict.WARN, self.shift_note
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=Verdict.FAIL if faults else verdict,
            score=min(score, 0.59) if faults or (self.decides and verdict is Verdict.WARN) else score,
            raw=self.raw,
            z_score=self.null.z if self.null else None,
            base_value=mean(m.total for m in self.base),
            ft_value=mean(m.total for m in self.tuned),
            ci_95=self.ci,
            message=self._message(),
            evidence={
                **self._facts(),
                "z_by_rank": self.null.z_by_rank if self.null else None,
                "null": self.null.evidence if self.null else None,
                "raw_ci_95": list(self.ci) if self.ci else None,
                "ci_note": note,
            },
        )

    def _facts(self) -> dict[str, Any]:
        token_shifts = [t.per_token - b.per_token for b, t in zip(self.base, self.tuned, strict=True)]
        per_token = Table.of([m.per_token for m in self.base], [m.per_token for m in self.tuned])
        return {
            **self.table.facts(),
            "p": mcnemar_exact(self.table.fixed, self.table.damaged) if self.decides else None,
            "total": self.total,
            "ties": len(self.triples) - self.table.n,
            "dropped_triples": len(self.reasons),
            "dropped_reasons": list(self.reasons[:5]),
            "mean_margin_delta": mean(self.shifts),
            "mean_margin_delta_ci_95": self.shift_ci,
            "mean_margin_delta_per_token": mean(token_shifts),
            "mean_margin_delta_per_token_ci_95": interval(token_shifts, seed=self.ctx.seed)[0],
            "per_token": per_token.facts(),
            "unit": "share of wrong preferences" if self.decides else "nats",
            "weight": self.spec.weight,
            "panels": _panels(self.spec, self.table, self.triples, self.base, self.tuned),
        }

    def _message(self) -> str:
        table, n = self.table, len(self.triples)
        shift = f"mean margin shift {mean(self.shifts):.3g}{_band(self.shift_ci)} nats"
        if self.decides:
            net = newcombe_paired(table.kept_right, table.fixed, table.damaged, table.kept_wrong)
            fixed = f"{table.fixed} of {table.base_wrong} wrong preferences set right"
            parts = [
                f"{fixed} ({self.raw:.0%}{_band(self.ci, percent=True)})",
                f"{table.damaged} of {table.base_right} right ones set wrong",
                f"net {(table.fixed - table.damaged) / table.n:+.0%}{_band(net, percent=True)}",
                shift,
                *self.doubt,
            ]
        else:
            few = f"the base has {table.base_wrong} of {n} preferences wrong, too few for a flip rate"
            parts = [f"{few} (need {self.least})", shift, f"{table.damaged} of {table.base_right} right ones set wrong"]
        if self.reasons:
            parts.append(f"{len(self.reasons)} of {self.total} triples could not be scored")
        parts = ["; ".join([", ".join(parts), *self.faults])]
        if self.null:
            parts.append(self.null.sentence)
            if self.null.z_by_rank and len(self.null.z_by_rank) > 1:
                parts.append(format_z_profile(self.null.z_by_rank))
        text = ", ".join(parts)
        return text if self.null else f"{text} {no_calibration_note(self.spec.kind)}"


def _faults(
    spec: PreferenceFlipSpec, table: Table, shift_ci: tuple[float, float] | None
) -> tuple[list[str], list[str]]:
    """Every reason not to pass, and what is not known for want of triples."""
    faults, doubt = list[str](), list[str]()
    if table.fixed / table.base_wrong < spec.assert_flip_rate_gte:
        faults.append(f"the flip rate is below {spec.assert_flip_rate_gte:.0%}")
    if _damaging(spec, table):
        faults.append(_damage(spec, table))
    p = mcnemar_exact(table.fixed, table.damaged)
    changes = table.fixed + table.damaged
    if changes >= FEWEST_CHANGES:
        if p > SIGNIFICANCE or table.fixed <= table.damaged:
            faults.append(f"as many set wrong as right, for all that can be told (McNemar p={p:.2g})")
    elif shift_ci is not None and shift_ci[0] <= 0:
        # So few changes cannot be significant by their count; the margins of all triples can.
        faults.append(f"{changes} changes are too few to count and the mean margin shift cannot be told from 0")
    elif shift_ci is None:
        doubt.append(f"too few triples to tell this from chance (McNemar p={p:.2g})")
    return faults, doubt


def _damaging(spec: PreferenceFlipSpec, table: Table) -> bool:
    return bool(table.base_right) and table.damaged / table.base_right > spec.assert_damage_rate_lte


def _damage(spec: PreferenceFlipSpec, table: Table) -> str:
    share = table.damaged / table.base_right
    return f"{share:.0%} of right preferences set wrong, at most {spec.assert_damage_rate_lte:.0%} may be"


def _band(ci: tuple[float, float] | None, *, percent: bool = False) -> str:
    if ci is None:
        return ""
    return f" [{ci[0]:.0%}, {ci[1]:.0%}]" if percent else f" [{ci[0]:.3g}, {ci[1]:.3g}]"


def _panels(
    spec: PreferenceFlipSpec,
    table: Table,
    triples: Sequence[PreferenceTriple],
    base: Sequence[Margins],
    tuned: Sequence[Margins],
) -> list[dict[str, Any]]:
    order = sorted(range(len(triples)), key=lambda i: tuned[i].total - base[i].total)
    # The ends of the order: what moved most, either way.
    shown = order if len(order) <= 500 else [*order[:250], *order[-250:]]
    rows = tuple(
        Row(
            label=triples[i].prompt[:120],
            base=base[i].total,
            tuned=tuned[i].total,
            flag="good" if base[i].total < 0 < tuned[i].total else "bad" if base[i].total > 0 >= tuned[i].total else "",
            note=f"per token {base[i].per_token:.3g} → {tuned[i].per_token:.3g}",
        )
        for i in shown
    )
    facts = table.facts()

    def group(label: str, name: str, n: int, flag: Literal["", "good", "bad"]) -> Group:
        lo, hi = facts[f"{name}_ci_95"] or (None, None)
        return Group(label=label, value=facts[name], lo=lo, hi=hi, n=n, flag=flag)

    groups = (
        group("wrong set right", "flip_rate", table.base_wrong, ""),
        group("right set wrong", "damage_rate", table.base_right, "bad" if _damaging(spec, table) else ""),
        group("net", "net_flip_rate", table.n, ""),
    )
    return panels(
        Items(
            title="Margin of the chosen over the rejected answer",
            unit="nats",
            better="higher",
            gate=0.0,
            rows=rows,
            note="" if len(shown) == len(order) else f"the {len(shown)} of {len(order)} triples that moved most",
        ),
        Groups(title="What the adapter turned over", unit="share of triples", groups=groups),
    )
