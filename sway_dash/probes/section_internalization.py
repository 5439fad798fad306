"""Which sections of the training document the adapter has taken in, beyond what it does to any text.

A difference in differences: how much better the tuned model predicts a section, less how much better it predicts
held-out control text. Sections compared with each other, as the public statistic does, cancel: its mean is zero for
every adapter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from sway_dash.core.errors import ProbeError
from sway_dash.core.panels import Group, Groups, Items, Row, panels
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import ScoringModel
from sway_dash.core.sections import Section, SectionKind, distinct_sections, evenly
from sway_dash.core.stats import (
    block_interval,
    interval,
    mean,
    score_from_anchors,
)
from sway_dash.probes.answers import ask_both, score_completions, score_texts
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, Work
from sway_dash.probes.controls import control_passages
from sway_dash.probes.null_adapter import calibration, compared, noise_cap, noise_does_as_well

Interval = tuple[float, float]

ZERO = (
    "own lift less the mean lift of the other sections sums to zero over the sections whatever the adapter does, so its"
    " mean is no measure; judged is the lift over held-out control text"
)


class SectionInternalizationSpec(ProbeSpec):
    """Settings of ``section_internalization``."""

    kind: Literal["section_internalization"] = "section_internalization"
    include_kinds: tuple[SectionKind, ...] = Field(
        default=("prose", "instruction", "preference"), min_length=1, description="kinds of sections that are scored"
    )
    per_section_threshold: Annotated[FiniteFloat, Field(ge=0.0)] = Field(
        default=0.05,
        description="smallest lift over control text at which a section passes, as a share of its base nats",
    )
    assert_passing_section_frac: Annotated[FiniteFloat, Field(ge=0.0, le=1.0)] = Field(
        default=0.5, description="smallest share of sections that pass"
    )
    assert_z_gte: FiniteFloat = Field(default=3.0, description="smallest z against the null, when there is one")
    max_prose_chars: int = Field(default=2000, ge=16, le=100_000, description="characters read of a prose section")
    control_texts: tuple[str, ...] = Field(
        default=(),
        description="held-out text to compare with, like the document but not of it; empty: 12 passages of ours",
    )
    max_sections: int = Field(default=128, ge=2, le=10_000, description="more sections are thinned out evenly")


@dataclass(frozen=True, slots=True)
class Change:
    """Nats a token under both views; ``units`` are the differences base − tuned of its tokens or items, in order."""

    base: float
    tuned: float
    units: tuple[float, ...]
    serial: bool
    """Whether neighbouring units depend on each other, as tokens of a text do."""

    @property
    def nats(self) -> float:
        """How many nats a token better the tuned view is."""
        return self.base - self.tuned

    @property
    def scale(self) -> float:
        """What a difference is divided by for the relative lift."""
        return self.base if self.base > 0 else 1.0

    @property
    def lift(self) -> float:
        """Relative lift: the share of the base's nats that is gone."""
        return self.nats / self.scale

    def ci(self, seed: int) -> Interval | None:
        """Interval of ``nats``: over blocks of neighbouring tokens, or over items."""
        return block_interval(self.units) if self.serial else interval(self.units, seed=seed)[0]


class SectionInternalizationProbe(Probe):
    """Lift of every section of the document over held-out control text."""

    kind = "section_internalization"
    spec_cls = SectionInternalizationSpec
    category = "attribution"

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> SectionInternalizationSpec | None:
        """The defaults, where there are sections to compare."""
        return SectionInternalizationSpec(name="calibration") if len(ctx.sections or ()) >= 2 else None

    def work(self, spec: SectionInternalizationSpec, ctx: RunContext) -> Work:
        """Every section, or every pair of one that is asked about, and the control texts."""
        own = _eligible(spec, ctx)
        if len(own) < 2:
            return Work()
        asked = sum(max(1, len(_pairs(s))) for s in evenly(own, spec.max_sections))
        return Work(asked + len(_controls(spec)))

    def run(self, spec: SectionInternalizationSpec, ctx: RunContext) -> ProbeResult:
        """Score all sections and the control text under both views and judge the lifts."""
        if not ctx.sections:
            return _skip(spec, "the run has no document: name it in dlm_source")
        eligible = _eligible(spec, ctx)
        if len(eligible) < 2:
            return _skip(
                spec,
                f"{len(eligible)} of {len(ctx.sections)} sections are of the kinds asked for and no repeats;"
                " 2 are needed",
            )
        sections = evenly(eligible, spec.max_sections)
        texts = _controls(spec)
        asked: list[Section | str] = [*sections, *texts]
        told = ask_both(ctx, asked, lambda view, some: _score(view, some, spec.max_prose_chars))
        told = told.keeping(lambda scored: all(map(math.isfinite, scored[1]))).required(spec.name)
        found = {i: _change(b, t) for i, b, t in zip(told.kept, told.base, told.tuned, strict=True)}
        own = [(s, found[i]) for i, s in enumerate(sections) if i in found]
        controls = [c for i, c in found.items() if i >= len(sections)]
        if len(own) < 2 or not controls:
            raise ProbeError(spec.name, f"{len(own)} sections and {len(controls)} control texts could be scored")
        return _Judged(spec, ctx, own, controls, len(eligible), told.reasons).result()


def _eligible(spec: SectionInternalizationSpec, ctx: RunContext) -> list[Section]:
    """Sections of the kinds asked for that hold something, each once."""
    return distinct_sections(s for s in ctx.sections or () if s.kind in spec.include_kinds and _holds_text(s))


def _controls(spec: SectionInternalizationSpec) -> tuple[str, ...]:
    """The texts compared with; one that is listed twice is not twice the evidence."""
    return tuple(dict.fromkeys(spec.control_texts)) or tuple(p.text for p in control_passages())


def _skip(spec: SectionInternalizationSpec, message: str) -> ProbeResult:
    return safe_finalize(
        name=spec.name, kind=spec.kind, verdict=Verdict.SKIP, message=message, evidence={"weight": spec.weight}
    )


def _holds_text(section: Section) -> bool:
    return bool(section.content.strip() or (section.kind != "prose" and _pairs(section)))


def _pairs(section: Section) -> list[tuple[str, str]]:
    """What is asked of a section that is no prose: each prompt with the answer that was trained, once."""
    if section.kind == "instruction":
        return list(dict.fromkeys((p.prompt, p.gold) for p in section.probes))
    if section.kind == "preference":
        return list(dict.fromkeys((p.prompt, p.chosen) for p in section.preferences))
    return []


Scored = tuple[bool, tuple[float, ...], tuple[int, ...]]
"""Whether a text, log-probabilities of its units, tokens of each unit."""


def _score(view: ScoringModel, asked: Sequence[Section | str], longest: int) -> list[Scored]:
    """One answer a section or text: texts in one call, question and answer pairs in another."""
    texts: dict[int, str] = {}
    pairs: dict[int, list[tuple[str, str]]] = {}
    for i, one in enumerate(asked):
        if isinstance(one, str):
            texts[i] = one[:longest]
        elif found := _pairs(one):
            pairs[i] = found
        else:
            texts[i] = one.content[:longest]
    out: dict[int, Scored] = {}
    for i, rolled in zip(texts, score_texts(view, list(texts.values())), strict=True):
        if not len(rolled.logprobs):
            raise ProbeError("section_internalization", "a text of one token has nothing to predict")
        out[i] = (True, tuple(float(v) for v in rolled.logprobs), (1,) * len(rolled.logprobs))
    flat = score_completions(view, [pair for group in pairs.values() for pair in group])
    at = 0
    for i, group in pairs.items():
        scores = flat[at : at + len(group)]
        at += len(group)
        out[i] = (False, tuple(s.logprob for s in scores), tuple(max(1, s.n_tokens) for s in scores))
    return [out[i] for i in range(len(asked))]


def _change(base: Scored, tuned: Scored) -> Change:
    (serial, b, sizes), (_, t, _) = base, tuned
    lower = [-x / n for x, n in zip(b, sizes, strict=True)]
    higher = [-x / n for x, n in zip(t, sizes, strict=True)]
    units = tuple(x - y for x, y in zip(lower, higher, strict=True))
    return Change(mean(lower), mean(higher), units, serial)


def _minus(a: float, a_ci: Interval | None, b: float, b_ci: Interval | None) -> Interval | None:
    """Interval of ``a − b`` from the intervals of both (MOVER; Zou and Donner 2008): squared distances add up."""
    if a_ci is None or b_ci is None:
        return None
    below = ((a - a_ci[0]) ** 2 + (b_ci[1] - b) ** 2) ** 0.5
    above = ((a_ci[1] - a) ** 2 + (b - b_ci[0]) ** 2) ** 0.5
    return (a - b - below, a - b + above)


class _Judged:
    """Everything that follows from the changes of sections and controls."""

    def __init__(
        self,
        spec: SectionInternalizationSpec,
        ctx: RunContext,
        own: Sequence[tuple[Section, Change]],
        controls: Sequence[Change],
        eligible: int,
        reasons: Sequence[str],
    ) -> None:
        self.spec, self.ctx, self.eligible, self.reasons = spec, ctx, eligible, list(reasons)
        self.own, self.controls = own, controls
        seed = ctx.seed
        self.control = mean(c.nats for c in controls)
        self.control_lift = mean(c.lift for c in controls)
        control_ci, note = interval([c.nats for c in controls], seed=seed)
        control_lift_ci, _ = interval([c.lift for c in controls], seed=seed)
        nats, lifts = [c.nats for _, c in own], [c.lift for _, c in own]
        self.mean_own_lift = mean(lifts)
        self.mean_lift = self.mean_own_lift - self.control_lift
        self.raw = mean(nats) - self.control
        # A section is a cluster of tokens: the interval is over section means, however many tokens each has.
        own_ci, own_note = interval(nats, seed=seed)
        self.ci = _minus(mean(nats), own_ci, self.control, control_ci)
        self.ci_note = f"sections: {own_note}; control text: {note}"
        total = sum(lifts)
        self.rows = [self._row(s, c, (total - c.lift) / (len(own) - 1), control_ci, control_lift_ci) for s, c in own]
        self.passing = mean(1.0 if r["passed"] else 0.0 for r in self.rows)
        self.null = calibration(ctx, spec, self.raw)

    def _row(
        self, section: Section, c: Change, leak: float, control_ci: Interval | None, control_lift_ci: Interval | None
    ) -> dict[str, Any]:
        ci = c.ci(self.ctx.seed)
        lift_ci = None if ci is None else (ci[0] / c.scale, ci[1] / c.scale)
        corrected = c.lift - self.control_lift
        corrected_ci = _minus(c.lift, lift_ci, self.control_lift, control_lift_ci)
        least = self.spec.per_section_threshold
        # Own lift as well: where control text got worse, standing still is no learning.
        large = corrected >= least and c.lift >= least and c.nats > 0
        return {
            "section_id": section.id,
            "kind": section.kind,
            "tag": section.tag or "",
            "base_nll": c.base,
            "ft_nll": c.tuned,
            "own_lift": c.lift,
            "leak_lift": leak,
            "effective_sis": c.lift - leak,
            "corrected_lift": corrected,
            "corrected_lift_ci_95": corrected_ci,
            "effect_nats": c.nats - self.control,
            "effect_nats_ci_95": _minus(c.nats, ci, self.control, control_ci),
            "units": len(c.units),
            "passed": large and (corrected_ci is None or corrected_ci[0] > 0),
        }

    @property
    def faults(self) -> list[str]:
        """Every reason not to pass, in words."""
        spec, found = self.spec, list[str]()
        if self.passing < spec.assert_passing_section_frac:
            found.append(f"{self.passing:.0%} of sections pass, {spec.assert_passing_section_frac:.0%} are needed")
        if self.raw <= 0:
            found.append("the mean effect is not above 0")
        elif self.ci is not None and self.ci[0] <= 0:
            found.append("the mean effect cannot be told from 0")
        if self.raw > 0 and self.mean_own_lift <= 0:
            found.append("control text got worse and the sections no better")
        if noise := noise_does_as_well(self.null, spec.assert_z_gte):
            found.append(noise)
        return found

    def score(self) -> float:
        """The smaller of what the share of passing sections and the mean lift are worth."""
        spec = self.spec
        gate = min(max(spec.assert_passing_section_frac, 1e-6), 1.0 - 1e-6)
        least = max(spec.per_section_threshold, 1e-6)
        share = score_from_anchors(self.passing, none=0.0, gate=gate, target=1.0)
        lift = score_from_anchors(min(self.mean_lift, self.mean_own_lift), none=0.0, gate=least, target=4.0 * least)
        return min(share, lift, noise_cap(self.null, spec.assert_z_gte))

    def result(self) -> ProbeResult:
        """The verdict with everything it rests on."""
        spec, faults = self.spec, self.faults
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=Verdict.FAIL if faults else Verdict.WARN if self.reasons else Verdict.PASS,
            score=min(self.score(), 0.59) if faults else self.score(),
            raw=self.raw,
            z_score=self.null.z if self.null else None,
            base_value=mean(c.base for _, c in self.own),
            ft_value=mean(c.tuned for _, c in self.own),
            ci_95=self.ci,
            message=self._message(faults),
            evidence={
                "per_section": self.rows,
                "num_sections": len(self.rows),
                "eligible_sections": self.eligible,
                "passing_frac": self.passing,
                "per_section_threshold": spec.per_section_threshold,
                "unit": "nats per token",
                "mean_corrected_lift": self.mean_lift,
                "mean_own_lift": self.mean_own_lift,
                "control_effect_nats": self.control,
                "control_lift": self.control_lift,
                "num_controls": len(self.controls),
                "per_control": [{"base_nll": c.base, "ft_nll": c.tuned, "lift": c.lift} for c in self.controls],
                "public_raw": mean(r["effective_sis"] for r in self.rows),
                "public_raw_note": ZERO,
                "unscored_reasons": self.reasons,
                "weight": spec.weight,
                "z_by_rank": self.null.z_by_rank if self.null else None,
                "null": self.null.evidence if self.null else None,
                "raw_ci_95": list(self.ci) if self.ci else None,
                "ci_note": self.ci_note,
                "panels": self._panels(),
            },
        )

    def _message(self, faults: Sequence[str]) -> str:
        band = f" [{self.ci[0]:.3g}, {self.ci[1]:.3g}]" if self.ci else ""
        passed = sum(1 for r in self.rows if r["passed"])
        parts = [
            f"{self.raw:.3g}{band} nats a token gained on the document over control text,"
            f" {round(100 * self.mean_lift)}% of what the base needs",
            f"{passed} of {len(self.rows)} sections pass",
        ]
        if len(self.rows) < self.eligible:
            parts.append(f"{self.eligible - len(self.rows)} more were not scored")
        if self.control_lift < -self.spec.per_section_threshold:
            parts.append(f"control text got worse by {-self.control:.3g} nats a token")
        parts = ["; ".join([", ".join(parts), *faults])]
        return compared(parts, self.null, self.spec.kind)

    def _panels(self) -> list[dict[str, Any]]:
        rows = sorted(self.rows, key=lambda r: -r["corrected_lift"])[:500]
        items = tuple(
            Row(
                label=r["section_id"],
                base=r["base_nll"],
                tuned=r["ft_nll"],
                flag="good" if r["passed"] else "bad",
                note=f"{r['corrected_lift']:+.1%} over control text",
            )
            for r in rows
        )
        groups = tuple(
            Group(
                label=r["section_id"],
                value=r["corrected_lift"],
                lo=(r["corrected_lift_ci_95"] or (None, None))[0],
                hi=(r["corrected_lift_ci_95"] or (None, None))[1],
                n=r["units"],
                flag="good" if r["passed"] else "bad",
            )
            for r in rows
        )
        return panels(
            Groups(
                title="Lift over control text, by section",
                unit="share of base nats",
                gate=self.spec.per_section_threshold,
                groups=groups,
            ),
            Items(title="How well each section is predicted", unit="nats per token", better="lower", rows=items),
        )
