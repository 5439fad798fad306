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

from sway_dash.core.numbers import p_text, said
from sway_dash.core.panels import Group, Groups, Items, Row, panels
from sway_dash.core.rates import wilson
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import CompletionScore, ScoringModel
from sway_dash.core.stats import mean, score_from_anchors
from sway_dash.probes.answers import ask_both, score_completions
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, Work
from sway_dash.probes.measure import MAX_FAILED_SHARE
from sway_dash.probes.null_adapter import calibration, compared, noise_does_as_well
from sway_dash.probes.preference_table import Table
from sway_dash.probes.prompts import few_prompts, spread

SIGNIFICANCE = 0.05

SETTLES = "more triples that the base has wrong, or answers of as many tokens, would settle it"

FEWEST_CHANGES = 6
"""Below this many prompts that turned no split of them reaches p = 0.05 in McNemar's exact test."""


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
    same_length: bool
    """Whether both answers have as many tokens."""

    @property
    def finite(self) -> bool:
        """Whether both are numbers to compare."""
        return math.isfinite(self.total) and math.isfinite(self.per_token)


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
        return Work(2 * len(_triples(spec, ctx)))

    def answers(self, spec: PreferenceFlipSpec, ctx: RunContext) -> int:
        """A margin of every triple from both views."""
        return 2 * len(_triples(spec, ctx))

    def run(self, spec: PreferenceFlipSpec, ctx: RunContext) -> ProbeResult:
        """Score both answers of every triple under both views and judge the table."""
        triples = _triples(spec, ctx)
        if not triples:
            message = "no triples: give some, or a document with preference sections in dlm_source"
            return safe_finalize(
                name=spec.name, kind=spec.kind, verdict=Verdict.SKIP, message=message, evidence={"weight": spec.weight}
            )
        # A margin that is no number is neither right nor wrong, and no tie.
        told = ask_both(ctx, triples, _margins).keeping(lambda margins: margins.finite)
        reasons = [f"{triples[i].prompt[:40]!r}: {reason}" for i, reason in told.dropped]
        if not told.kept:
            return safe_finalize(
                name=spec.name,
                kind=spec.kind,
                verdict=Verdict.ERROR,
                message=f"none of the {len(triples)} triples could be scored: {reasons[0]}",
                evidence={"dropped_triples": len(reasons), "dropped_reasons": reasons[:5], "weight": spec.weight},
            )
        return _Judged(spec, ctx, [triples[i] for i in told.kept], told.base, told.tuned, reasons).result()


def _triples(spec: PreferenceFlipSpec, ctx: RunContext) -> tuple[PreferenceTriple, ...]:
    """Those that were given, else those of the document; one that is listed twice is not twice the evidence."""
    pairs = [p for s in ctx.sections or () if s.kind == "preference" for p in s.preferences]
    found = (PreferenceTriple(prompt=p.prompt, chosen=p.chosen, rejected=p.rejected) for p in pairs)
    return tuple(dict.fromkeys(spec.triples or found))


def _margins(view: ScoringModel, triples: Sequence[PreferenceTriple]) -> list[Margins]:
    scores = score_completions(view, [(t.prompt, answer) for t in triples for answer in (t.chosen, t.rejected)])
    return [_margin(chosen, rejected) for chosen, rejected in zip(scores[::2], scores[1::2], strict=True)]


def _margin(chosen: CompletionScore, rejected: CompletionScore) -> Margins:
    same_length = chosen.n_tokens == rejected.n_tokens
    return Margins(chosen.logprob - rejected.logprob, chosen.per_token - rejected.per_token, same_length)


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
        prompts = [t.prompt for t in triples]
        self.table = Table.of([m.total for m in base], [m.total for m in tuned], prompts)
        self.few = few_prompts(prompts, "triples")
        self.shifts = [t.total - b.total for b, t in zip(base, tuned, strict=True)]
        self.shift_ci, self.shift_note = spread(self.shifts, prompts, seed=ctx.seed)
        self.token_shifts = [t.per_token - b.per_token for b, t in zip(base, tuned, strict=True)]
        self.token_ci, _ = spread(self.token_shifts, prompts, seed=ctx.seed)
        self.least = max(1, spec.min_triples_for_decision)
        self.decides = self.table.base_wrong >= self.least
        self.raw = self.table.fixed / self.table.base_wrong if self.decides else mean(self.shifts)
        self.ci = wilson(*self.table.fixing) if self.decides else self.shift_ci
        self.null = calibration(ctx, spec, self.raw)
        self.faults, self.doubt = self._judged() if self.decides else (self._harm(), list[str]())

    def _harm(self) -> list[str]:
        """Nothing much to set right is no licence to set wrong."""
        table = self.table
        # A few changes cannot be significant by their count; the margins of all triples can.
        worse = self.shift_ci is not None and self.shift_ci[1] < 0
        harmful = _damaging(self.spec, table) and table.damaged > table.fixed and (table.p <= SIGNIFICANCE or worse)
        return [_damage(self.spec, table)] if harmful else []

    def _by_length(self) -> tuple[str, bool]:
        """Why what was set right may be due to the lengths of the answers, empty if it is not; whether tokens lost.

        Where every token of any answer loses or gains alike, sums turn over as lengths differ; per token nothing does.
        What was right before needs no such move: only the triples that the base has wrong are looked at. Without any
        move 2 % of 4 to 20 such triples get by. A true one of one standard deviation is refused in 82 % of 4, 44 % of
        8, 12 % of 12 and 1 % of 20; one of four in 24, 8 and 3 % of 4, 5 and 6 (normal moves, simulated).
        """
        wrong = [i for i, m in enumerate(self.base) if m.total < 0]
        if all(self.base[i].same_length for i in wrong):
            return "", False
        moved = [self.token_shifts[i] for i in wrong]
        ci, _ = spread(moved, [self.triples[i].prompt for i in wrong], seed=self.ctx.seed)
        if (mean(moved) if ci is None else ci[0]) > 0:
            return "", False
        shift = f"a token the margins of what was wrong moved by {mean(moved):.3g}{_band(ci)} nats"
        why = f"{shift}: the lengths of the answers may have turned them over"
        # A gain that may be none is a question of how many triples there are; a loss is not.
        lost = mean(moved) <= 0
        return why if lost else f"{why}; {SETTLES}", lost

    def _judged(self) -> tuple[list[str], list[str]]:
        faults, doubt = _faults(self.spec, self.table, self.shift_ci)
        by_length, lost = self._by_length()
        if by_length:
            (faults if lost else doubt).append(by_length)
        if noise := noise_does_as_well(self.null, self.spec.assert_z_gte):
            faults.append(noise)
        if self.few:
            doubt.append(self.few)
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
            verdict = Verdict.WARN if incomplete or self.few else Verdict.PASS
            wrong, independent = self.table.base_wrong, self.table.fixing[1]
            worth = f", worth {independent} independent ones" if independent < wrong else ""
            note = f"95% Wilson, {self.table.fixed} of {wrong} triples the base has wrong{worth}"
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
        prompts = [t.prompt for t in self.triples]
        per_token = Table.of([m.per_token for m in self.base], [m.per_token for m in self.tuned], prompts)
        return {
            **self.table.facts(),
            "p": self.table.p if self.decides else None,
            "total": self.total,
            "ties": len(self.triples) - self.table.n,
            "dropped_triples": len(self.reasons),
            "dropped_reasons": list(self.reasons[:5]),
            "mean_margin_delta": mean(self.shifts),
            "mean_margin_delta_ci_95": self.shift_ci,
            "mean_margin_delta_per_token": mean(self.token_shifts),
            "mean_margin_delta_per_token_ci_95": self.token_ci,
            "per_token": per_token.facts(),
            "unit": "share of wrong preferences" if self.decides else "nats",
            "weight": self.spec.weight,
            "panels": _panels(self.spec, self.table, self.triples, self.base, self.tuned),
        }

    def _message(self) -> str:
        table, n = self.table, len(self.triples)
        shift = f"mean margin shift {mean(self.shifts):.3g}{_band(self.shift_ci)} nats"
        if self.decides:
            fixed = f"{table.fixed} of {table.base_wrong} wrong preferences set right"
            parts = [
                f"{fixed} ({self.raw:.0%}{_band(self.ci, percent=True)})",
                f"{table.damaged} of {table.base_right} right ones set wrong",
                f"net {(table.fixed - table.damaged) / table.n:+.0%}{_band(table.net_ci, percent=True)}",
                shift,
                *self.doubt,
            ]
        else:
            few = f"the base has {table.base_wrong} of {n} preferences wrong, too few for a flip rate"
            parts = [f"{few} (need {self.least})", shift, f"{table.damaged} of {table.base_right} right ones set wrong"]
            parts += [self.few] if self.few else []
        if self.reasons:
            parts.append(f"{len(self.reasons)} of {self.total} triples could not be scored")
        parts = ["; ".join([", ".join(parts), *self.faults])]
        return compared(parts, self.null, self.spec.kind)


def _faults(
    spec: PreferenceFlipSpec, table: Table, shift_ci: tuple[float, float] | None
) -> tuple[list[str], list[str]]:
    """Every reason not to pass, and what is not known for want of triples."""
    faults, doubt = list[str](), list[str]()
    if table.fixed / table.base_wrong < spec.assert_flip_rate_gte:
        faults.append(f"the flip rate is below {spec.assert_flip_rate_gte:.0%}")
    if _damaging(spec, table):
        faults.append(_damage(spec, table))
    p, changes = table.p, table.fixed + table.damaged
    few = table.turned < FEWEST_CHANGES
    if few and not table.damaged:
        # So few changes cannot be significant by their count; the margins of all triples can.
        if shift_ci is None:
            doubt.append(f"too few triples to tell this from chance (McNemar {said('p', p_text(p))})")
        elif shift_ci[0] <= 0:
            # Without damage no two changes of a prompt cancel.
            shared = table.turned < changes
            by = f" in {table.turned} prompts" if shared else ""
            why = f"{changes} changes{by} are too few to count and the mean margin shift cannot be told from 0"
            faults.append(f"{why}: add triples{' of other prompts' if shared else ''}")
        return faults, doubt
    balance = f", on balance of {table.turned} prompts," if table.turned < changes else ""
    both = f"{table.fixed} set right against {table.damaged} set wrong{balance}"
    if table.fixed <= table.damaged:
        faults.append(f"{both} is no gain (McNemar {said('p', p_text(p))})")
    elif p > SIGNIFICANCE:
        faults.append(f"{both} may be chance (McNemar {said('p', p_text(p))}, above {SIGNIFICANCE:g})")
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
