"""Did the adapter learn what was said, or only the words it was said in?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, FiniteFloat

from sway_dash.core.panels import MAX_ROWS, Items, Row, panels
from sway_dash.core.ratio import fieller_paired
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.stats import mean, score_from_anchors, too_few
from sway_dash.probes.answers import ask_both, finite, score_completions
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, Work
from sway_dash.probes.null_adapter import Calibration, calibration, compared, noise_cap, noise_does_as_well
from sway_dash.probes.prompts import (
    ParaphrasedCase,
    distinct_cases,
    few_prompts,
    left_out,
    spread,
    totals,
    without_paraphrase,
)

Intent = Literal["generalize", "memorize", "both"]
Interval = tuple[float, float]


class ParaphraseInvarianceSpec(ProbeSpec):
    """Settings of ``paraphrase_invariance``."""

    kind: Literal["paraphrase_invariance"] = "paraphrase_invariance"
    cases: tuple[ParaphrasedCase, ...] = Field(default=(), description="prompt, gold and paraphrases of each")
    intent: Intent = Field(default="generalize", description="what the adapter is for: meaning, wording, or both")
    min_verbatim_lift: FiniteFloat = Field(default=0.2, ge=0.0, description="smallest lift on the prompt, nats a token")
    min_generalization_ratio: FiniteFloat = Field(
        default=0.5, ge=0.0, le=1.0, description="smallest share of the lift that paraphrases keep"
    )
    max_generalization_ratio_if_memorize: FiniteFloat = Field(
        default=0.5, ge=0.0, le=1.0, description="largest share they keep when only the wording is meant"
    )
    assert_z_gte: FiniteFloat = Field(default=3.0, description="smallest z against the null, when there is one")


@dataclass(frozen=True, slots=True)
class Lifts:
    """One case: log-probability of its gold, nats a token, as (text, base, tuned), after prompt and paraphrases."""

    case: ParaphrasedCase
    prompt: tuple[str, float, float]
    paraphrased: tuple[tuple[str, float, float], ...]

    @property
    def verbatim(self) -> float:
        """Lift after the case's own prompt."""
        return self.prompt[2] - self.prompt[1]

    @property
    def kept(self) -> float:
        """Mean lift over the paraphrases."""
        return mean(tuned - base for _, base, tuned in self.paraphrased)

    @property
    def worst(self) -> tuple[str, float]:
        """The paraphrase with the smallest lift, and that lift."""
        return min(((text, tuned - base) for text, base, tuned in self.paraphrased), key=lambda found: found[1])


class ParaphraseInvarianceProbe(Probe):
    """Lift of the gold answer after the trained prompt against that after paraphrases of it."""

    kind = "paraphrase_invariance"
    spec_cls = ParaphraseInvarianceSpec
    category = "attribution"

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> ParaphraseInvarianceSpec:
        """Two everyday cases."""
        return ParaphraseInvarianceSpec(name="calibration", cases=_SENTINELS)

    def work(self, spec: ParaphraseInvarianceSpec, ctx: RunContext) -> Work:
        """The gold after every prompt and every paraphrase."""
        return Work(sum(1 + len(case.paraphrases) for case in distinct_cases(spec.cases) if case.paraphrases))

    def run(self, spec: ParaphraseInvarianceSpec, ctx: RunContext) -> ProbeResult:
        """Score every gold after its prompt and its paraphrases under both views and compare the lifts."""
        if not spec.cases:
            message = "no cases: add at least one with prompt, gold and paraphrases"
            return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message=message)
        cases = distinct_cases(spec.cases)
        worded = [case for case in cases if case.paraphrases]
        bare = without_paraphrase(cases)
        if not worded:
            message = "every paraphrase is the prompt itself: add other wordings"
            return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message=message)
        lifts, asked, dropped = self._measure(spec, worded, ctx)
        if not lifts:
            message = "no case could be scored after its prompt and a paraphrase"
            return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message=message)
        return _judged(spec, ctx, lifts, asked, dropped, bare)

    def _measure(
        self, spec: ParaphraseInvarianceSpec, cases: Sequence[ParaphrasedCase], ctx: RunContext
    ) -> tuple[list[Lifts], int, list[str]]:
        """Lifts of the cases that could be scored, of how many that were asked, and why questions were dropped."""
        places = [(i, text) for i, c in enumerate(cases) for text in (c.prompt, *c.paraphrases)]
        told = ask_both(ctx, [(text, cases[i].gold) for i, text in places], score_completions)
        told = told.keeping(finite).required(spec.name)
        own: dict[int, tuple[str, float, float]] = {}
        others: dict[int, list[tuple[str, float, float]]] = {}
        first = {i: at for at, (i, _) in reversed(list(enumerate(places)))}
        for at, base, tuned in zip(told.kept, told.base, told.tuned, strict=True):
            i, text = places[at]
            scored = (text, base.per_token, tuned.per_token)
            if at == first[i]:
                own[i] = scored
            else:
                others.setdefault(i, []).append(scored)
        whole = [i for i in range(len(cases)) if i in own and i in others]
        reached = {*told.kept, *(at for at, _ in told.dropped)}
        rest = {i for at, (i, _) in enumerate(places) if at in reached and at != first[i]}
        asked = sum(first[i] in reached for i in rest)
        return [Lifts(cases[i], own[i], tuple(others[i])) for i in whole], asked, told.reasons


def _judged(
    spec: ParaphraseInvarianceSpec,
    ctx: RunContext,
    lifts: Sequence[Lifts],
    asked: int,
    dropped: Sequence[str],
    bare: Sequence[str],
) -> ProbeResult:
    """The lift comes first: without one there is nothing that paraphrases could keep."""
    verbatim, kept = [c.verbatim for c in lifts], [c.kept for c in lifts]
    raw, paraphrased = mean(verbatim), mean(kept)
    # Several golds of one prompt tend to be lifted together.
    prompts = [c.case.prompt for c in lifts]
    few = few_prompts(prompts, "cases")
    ci, ci_note = spread(verbatim, prompts, seed=ctx.seed)
    kept_ci, _ = spread(kept, prompts, seed=ctx.seed)
    lost_ci, _ = spread([v - k for v, k in zip(verbatim, kept, strict=True)], prompts, seed=ctx.seed)
    ratio = paraphrased / raw if abs(raw) > 1e-9 else 0.0
    # The ratio of the totals of prompts is that of the means, and prompts are independent.
    ratio_ci = fieller_paired(*(totals(values, prompts) for values in (kept, verbatim)))
    lifted = raw > 0 and (ci is None or ci[0] > 0)
    null = calibration(ctx, spec, raw)
    against = _against(spec, raw, ci, ratio if lifted else None, kept_ci, null)
    lost = asked - len(lifts)
    verdict = Verdict.FAIL if against else Verdict.WARN if lost or few else Verdict.PASS
    score = _score(spec, raw, ci, ratio if lifted else None, null)
    worst_case = min(lifts, key=lambda c: c.worst[1])
    worst = {
        "prompt": worst_case.case.prompt,
        "paraphrase": worst_case.worst[0],
        "lift": worst_case.worst[1],
        "verbatim_lift": worst_case.verbatim,
    }
    return safe_finalize(
        name=spec.name,
        kind=spec.kind,
        verdict=verdict,
        score=min(score, 0.59) if against or few else score,
        raw=raw,
        z_score=null.z if null else None,
        base_value=raw,
        ft_value=paraphrased,
        ci_95=ci,
        message=_message(
            spec,
            lifts,
            (ci, kept_ci),
            (ratio, ratio_ci) if lifted else None,
            null,
            [*against, *([f"{lost} cases not scored"] if lost else []), *([few] if few else []), *left_out(len(bare))],
        ),
        evidence={
            "verbatim_lift_mean": raw,
            "paraphrase_lift_mean": paraphrased,
            "paraphrase_lift_ci_95": list(kept_ci) if kept_ci else None,
            "lift_lost": raw - paraphrased,
            "lift_lost_ci_95": list(lost_ci) if lost_ci else None,
            "generalization_ratio": ratio,
            "generalization_ratio_ci_95": list(ratio_ci) if ratio_ci else None,
            "ratio_interpreted": lifted,
            "intent": spec.intent,
            "unit": "nats a token",
            "num_cases": len(lifts),
            "worst_paraphrase": worst,
            "per_case": [
                {
                    "prompt": c.case.prompt[:120],
                    "gold": c.case.gold[:120],
                    "verbatim_lift": c.verbatim,
                    "paraphrase_lift": c.kept,
                    "worst_paraphrase": c.worst[0][:120],
                    "worst_lift": c.worst[1],
                }
                for c in lifts[:8]
            ],
            "dropped_cases": len(bare),
            "dropped_reasons": [*bare[:5], *dropped],
            "reasons": against,
            "ci_note": ci_note,
            "weight": spec.weight,
            "z_by_rank": null.z_by_rank if null else None,
            "null": null.evidence if null else None,
            "raw_ci_95": list(ci) if ci else None,
            "panels": _panels(lifts),
        },
    )


def _against(
    spec: ParaphraseInvarianceSpec,
    raw: float,
    ci: Interval | None,
    ratio: float | None,
    kept_ci: Interval | None,
    null: Calibration | None,
) -> list[str]:
    """Everything that speaks against a pass; ``ratio`` is ``None`` where there is no lift to keep."""
    found = []
    if raw < spec.min_verbatim_lift:
        found.append(f"below the gate of {spec.min_verbatim_lift:g}")
    if ci is not None and ci[0] <= 0:
        found.append("the interval of the lift reaches 0, so the share that paraphrases keep says nothing")
    if noise := noise_does_as_well(null, spec.assert_z_gte):
        found.append(noise)
    if ratio is None:
        return found
    if spec.intent == "memorize":
        if ratio > spec.max_generalization_ratio_if_memorize:
            found.append(f"paraphrases keep more than {spec.max_generalization_ratio_if_memorize:.0%}")
        return found
    if ratio < spec.min_generalization_ratio:
        found.append(f"paraphrases keep less than {spec.min_generalization_ratio:.0%}")
    elif kept_ci is not None and kept_ci[0] <= 0:
        found.append("the interval of the lift after paraphrases reaches 0")
    return found


def _score(
    spec: ParaphraseInvarianceSpec, raw: float, ci: Interval | None, ratio: float | None, null: Calibration | None
) -> float:
    """The smaller of what the lift and the ratio are worth; what may be nothing stays below the gate."""
    gate = max(spec.min_verbatim_lift, 1e-6)
    score = score_from_anchors(raw, none=0.0, gate=gate, target=5.0 * gate)
    if ratio is None:
        # At a lower end of 0 this is the gate's 0.6, and less the further the interval reaches below.
        reach = raw / (raw - ci[0]) if ci is not None and raw > ci[0] and raw > 0 else 0.0
        return min(score, 0.6 * min(1.0, reach))
    if spec.intent == "memorize":
        limit = _inside(spec.max_generalization_ratio_if_memorize)
        score = min(score, score_from_anchors(ratio, none=1.0, gate=limit, target=0.0))
    else:
        least = _inside(spec.min_generalization_ratio)
        score = min(score, score_from_anchors(ratio, none=0.0, gate=least, target=1.0))
    return min(score, noise_cap(null, spec.assert_z_gte))


def _inside(share: float) -> float:
    """A gate strictly between the two other anchors of the score."""
    return min(max(share, 1e-6), 1.0 - 1e-6)


def _message(
    spec: ParaphraseInvarianceSpec,
    lifts: Sequence[Lifts],
    bands: tuple[Interval | None, Interval | None],
    ratio: tuple[float, Interval | None] | None,
    null: Calibration | None,
    words: Sequence[str],
) -> str:
    def band(found: Interval | None) -> str:
        return f" [{found[0]:.3g}, {found[1]:.3g}]" if found else ""

    raw, kept = mean(c.verbatim for c in lifts), mean(c.kept for c in lifts)
    count, prompts = sum(len(c.paraphrased) for c in lifts), len({c.case.prompt for c in lifts})
    asked = f"{len(lifts)} cases of {prompts}" if prompts < len(lifts) else f"{prompts}"
    parts = [
        f"lift {raw:.3g}{band(bands[0])} nats a token on {asked} prompts",
        f"{kept:.3g}{band(bands[1])} on {count} paraphrases",
    ]
    if ratio is not None:
        parts.append(f"share kept {ratio[0]:.3g}{band(ratio[1])}")
    parts += words
    if few := too_few(len(lifts), "cases"):
        parts.append(few)
    return compared(parts, null, spec.kind)


def _panels(lifts: Sequence[Lifts]) -> list[dict[str, Any]]:
    """Cases with the worst paraphrase first, each prompt before its paraphrases."""
    rows = []
    for c in sorted(lifts, key=lambda c: c.worst[1]):
        for text, base, tuned in (c.prompt, *c.paraphrased):
            what = "prompt" if text == c.prompt[0] else "paraphrase"
            note = f"{what}, lift {tuned - base:.3g}; gold: {c.case.gold.strip()[:60]}"
            rows.append(Row(label=text, base=base, tuned=tuned, note=note))
    title = "Gold answer after each prompt and its paraphrases"
    cut = f"the first {MAX_ROWS} of {len(rows)}" if len(rows) > MAX_ROWS else ""
    shown = tuple(rows[:MAX_ROWS])
    return panels(Items(title=title, unit="log-probability, nats a token", better="higher", rows=shown, note=cut))


_SENTINELS = (
    ParaphrasedCase(
        prompt="The day after Monday is",
        gold=" Tuesday",
        paraphrases=("Monday is followed by", "The day that comes after Monday is called"),
    ),
    ParaphrasedCase(
        prompt="The opposite of hot is",
        gold=" cold",
        paraphrases=("What is not hot at all is", "Hot is the contrary of"),
    ),
)
