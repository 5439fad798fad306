"""Asked in other words, does the tuned model fall back to what the base would say?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, FiniteFloat

from sway_dash.core.embedding import DEFAULT_MODEL, Embedder, cosine, embedder
from sway_dash.core.errors import BackendNotAvailableError
from sway_dash.core.grouped import gravest, harm_ci, independent_items
from sway_dash.core.panels import MAX_ROWS, Items, Row, panels
from sway_dash.core.rates import wilson
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.stats import mean, percentiles, score_from_anchors
from sway_dash.probes.answers import CONTINUED, ask_both, continuations, finite, score_completions
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, Work
from sway_dash.probes.null_adapter import calibration, compared
from sway_dash.probes.prompts import ParaphrasedCase, distinct_cases, left_out, without_paraphrase

CONFIDENCE = 0.95
"""Of the one-sided bounds of the rate."""

LIKE_NEITHER = 0.02
"""Below this cosine to the gold and to the base's answer, an answer has nothing to do with either."""

MOST_LOST = 0.1
"""Share of answers that are none from which there is no pass, whatever the gate."""


class AdapterRevertSpec(ProbeSpec):
    """Settings of ``adapter_revert``."""

    kind: Literal["adapter_revert"] = "adapter_revert"
    cases: tuple[ParaphrasedCase, ...] = Field(default=(), description="prompt, gold and paraphrases of each")
    max_new_tokens: int = Field(default=64, ge=1, le=2048, description="length of each answer, in tokens")
    embedding_model: str = Field(default=DEFAULT_MODEL, min_length=1, description="sentence model, if it is here")
    base_gold_similarity_cap: FiniteFloat = Field(
        default=0.75, ge=-1.0, le=1.0, description="a base answer more like the gold than this has nothing to revert to"
    )
    assert_revert_rate_lt: FiniteFloat = Field(
        default=0.25, gt=0.0, le=1.0, description="largest revert rate; its upper bound has to stay below"
    )
    assert_z_gte: FiniteFloat = Field(default=3.0, description="not used: the rate's bound decides, a null is context")


@dataclass(frozen=True, slots=True)
class Answered:
    """One paraphrase with both answers and how alike they are; cosines in [−1, 1]."""

    case: int
    paraphrase: str
    base: str
    tuned: str
    base_gold: float
    tuned_base: float
    tuned_gold: float

    @property
    def margin(self) -> float:
        """How much more the tuned answer is like the gold than like the base's."""
        return self.tuned_gold - self.tuned_base

    @property
    def reverted(self) -> bool:
        """Whether the tuned answer is more like the base's."""
        return self.tuned_base > self.tuned_gold

    @property
    def lost(self) -> bool:
        """Whether the tuned answer is none: blank, or like neither."""
        return not self.tuned.strip() or max(abs(self.tuned_base), abs(self.tuned_gold)) < LIKE_NEITHER

    @property
    def kept(self) -> bool:
        """Whether the gold is held on to."""
        return not (self.reverted or self.lost)


class AdapterRevertProbe(Probe):
    """Share of paraphrases on which the tuned answer is more like the base's than like the gold, or is none."""

    kind = "adapter_revert"
    spec_cls = AdapterRevertSpec
    category = "adherence"

    def work(self, spec: AdapterRevertSpec, ctx: RunContext) -> Work:
        """Every paraphrase is answered, and then the gold and the base's answer to it are scored."""
        texts = sum(len(case.paraphrases) for case in distinct_cases(spec.cases))
        return Work(3 * texts, texts * spec.max_new_tokens)

    def run(self, spec: AdapterRevertSpec, ctx: RunContext) -> ProbeResult:
        """Let both views answer every paraphrase, and see which of gold and base answer the tuned one is closer to."""
        if not spec.cases:
            return _ended(spec, Verdict.ERROR, "no cases: add at least one with prompt, gold and paraphrases")
        spec = spec.model_copy(update={"cases": tuple(distinct_cases(spec.cases))})
        bare = without_paraphrase(spec.cases)
        asked = [(i, text) for i, case in enumerate(spec.cases) for text in case.paraphrases]
        if not asked:
            return _ended(spec, Verdict.ERROR, "every paraphrase is the prompt itself: add other wordings")
        try:
            # Before anything is generated: without a similarity there is no use for it.
            embedder(spec.embedding_model, [text for _, text in asked])
        except BackendNotAvailableError as error:
            return _ended(spec, Verdict.SKIP, str(error))
        texts = [text for _, text in asked]
        told = ask_both(ctx, texts, continuations(spec.max_new_tokens, ctx.seed), portion=CONTINUED)
        told = told.required(spec.name)
        places = [asked[at] for at in told.kept]
        texts = [*told.base, *told.tuned, *(case.gold for case in spec.cases)]
        found = embedder(spec.embedding_model, texts)
        answered = _compared(spec, places, told.base, told.tuned, found)
        kept = [a for a in answered if a.base_gold <= spec.base_gold_similarity_cap]
        facts: dict[str, Any] = {
            "dropped_trivial": len(answered) - len(kept),
            "dropped_failed": len(told.dropped),
            "dropped_cases": len(bare),
            "dropped_reasons": [*bare[:5], *told.reasons],
            "embedder": found.name,
            "semantic": found.semantic,
            "weight": spec.weight,
        }
        if not kept:
            nothing = f"the base already answers all {len(answered)} paraphrases like the gold: nothing to revert to"
            message = ", ".join([nothing, *_left_out(facts)])
            return safe_finalize(
                name=spec.name, kind=spec.kind, verdict=Verdict.WARN, score=0.5, message=message, evidence=facts
            )
        return _judged(spec, ctx, kept, facts, _likelihood(spec, ctx, kept))


def _compared(
    spec: AdapterRevertSpec,
    places: Sequence[tuple[int, str]],
    base: Sequence[str],
    tuned: Sequence[str],
    found: Embedder,
) -> list[Answered]:
    from_base, from_tuned = found.encode(base), found.encode(tuned)
    golds = found.encode([case.gold for case in spec.cases])
    return [
        Answered(
            case=case,
            paraphrase=text,
            base=base[at],
            tuned=tuned[at],
            base_gold=cosine(from_base[at], golds[case]),
            tuned_base=cosine(from_tuned[at], from_base[at]),
            tuned_gold=cosine(from_tuned[at], golds[case]),
        )
        for at, (case, text) in enumerate(places)
    ]


def _likelihood(spec: AdapterRevertSpec, ctx: RunContext, kept: Sequence[Answered]) -> list[tuple[float, float] | None]:
    """Margin of the gold over the base's own answer under base and tuned, nats a token; no judge of likeness needed.

    Both completions begin alike, with a space where the prompt ends without one, and the base's answer is cut to the
    gold's length at a word's end: the later tokens of a long answer are easier, and would win for that alone.
    """
    pairs: list[tuple[str, str]] = []
    held: list[int] = []
    for at, answer in enumerate(kept):
        gold = spec.cases[answer.case].gold.strip()
        own = _cut(answer.base.strip(), len(gold))
        if own and own != gold:
            lead = "" if answer.paraphrase[-1:].isspace() else " "
            pairs += [(answer.paraphrase, lead + gold), (answer.paraphrase, lead + own)]
            held.append(at)
    told = ask_both(ctx, pairs, score_completions).keeping(finite)
    scored = {at: i for i, at in enumerate(told.kept)}
    found: list[tuple[float, float] | None] = [None] * len(kept)
    for n, at in enumerate(held):
        if {2 * n, 2 * n + 1} <= scored.keys():
            gold_at, own_at = scored[2 * n], scored[2 * n + 1]
            found[at] = (
                told.base[gold_at].per_token - told.base[own_at].per_token,
                told.tuned[gold_at].per_token - told.tuned[own_at].per_token,
            )
    return found


def _cut(text: str, length: int) -> str:
    """The first words of ``text`` up to about so many characters, at least one."""
    held = ""
    for word in text.split():
        if held and len(held) + 1 + len(word) > length:
            break
        held = f"{held} {word}".strip()
    return held


def _judged(
    spec: AdapterRevertSpec,
    ctx: RunContext,
    kept: Sequence[Answered],
    facts: dict[str, Any],
    margins: Sequence[tuple[float, float] | None],
) -> ProbeResult:
    """A pass has to show that the rate is below the gate; too few paraphrases show nothing."""
    n, reverts, lost = len(kept), sum(a.reverted for a in kept), sum(a.lost for a in kept)
    # Saying nothing is no way to hold on to an answer.
    rate = sum(not a.kept for a in kept) / n
    # Paraphrases of one prompt tend to fall together: so many independent ones they are worth.
    cases = [spec.cases[a.case].prompt for a in kept]
    counts = gravest([not a.kept for a in kept], cases)
    worth = counts[0][1]
    low, high = harm_ci(counts, confidence=2.0 * CONFIDENCE - 1.0) or (0.0, 1.0)
    ci = harm_ci(counts)
    gate = spec.assert_revert_rate_lt
    needed = _needed(gate)
    null = calibration(ctx, spec, rate, sign=-1)
    likely = [m for m in margins if m is not None]
    turned = sum(1 for _, tuned in likely if tuned < 0)
    likely_cases = [case for case, m in zip(cases, margins, strict=True) if m is not None]
    likely_ci = harm_ci(gravest([tuned < 0 for _, tuned in likely], likely_cases))
    share = f"{rate:.0%} [{ci[0]:.0%}, {ci[1]:.0%}]" if ci else f"{rate:.0%}"
    parts = [f"{reverts} of {n} paraphrases fall back to the base answer"]
    if lost:
        parts.append(f"{lost} are answered with nothing, or like neither, together {share}")
    else:
        parts[0] += f", {share}"
    if rate >= gate:
        verdict = Verdict.FAIL
        sure = "" if low >= gate else f", though it may be as low as {low:.0%}"
        parts.append(f"reaches the gate of {gate:.0%}{sure}")
    elif n > 1 and len(set(cases)) == 1:
        # How far paraphrases of one case fall together cannot be known from one case.
        verdict = Verdict.WARN
        parts.append("all are of one case, which says nothing of others: add cases")
    elif high < gate:
        verdict = Verdict.WARN if lost > MOST_LOST * n else Verdict.PASS
    else:
        verdict = Verdict.WARN
        parts.append(f"inconclusive: it may be as high as {high:.0%}, gate {gate:.0%}")
        # No rate shows less than none at all does, and that is worth a piece of evidence a case.
        least = independent_items([0.0] * n, cases)
        if least < needed:
            few = f"to show less takes at least {needed} paraphrases"
            alike = f"{few} of cases of their own: these {n} of {len(set(cases))} cases count as {least}"
            parts[-1] += f"; {few if least == n else alike}"
    if likely:
        parts.append(f"by likelihood {turned} of {len(likely)} prefer the base's answer to the gold")
    if not facts["semantic"]:
        parts.append("likeness is that of wording")
    if facts["dropped_trivial"]:
        parts.append(f"{facts['dropped_trivial']} paraphrases left out, the base knows the gold")
    parts += _left_out(facts)
    spread = [a.margin for a in kept]
    score = score_from_anchors(rate, none=1.0, gate=min(gate, 1.0 - 1e-6), target=0.0)
    return safe_finalize(
        name=spec.name,
        kind=spec.kind,
        verdict=verdict,
        score=score if verdict is Verdict.PASS else min(score, 0.59),
        raw=rate,
        z_score=null.z if null else None,
        ci_95=ci,
        message=compared(parts, null, spec.kind),
        evidence={
            **facts,
            "revert_rate": reverts / n,
            "not_kept_rate": rate,
            "answers_lost": lost,
            "reverts": reverts,
            "total": n,
            "revert_rate_upper": high,
            "revert_rate_lower": low,
            "bounds": f"one-sided {CONFIDENCE:.0%} Wilson, the largest of all and of the cases hit hardest alone",
            "p_harm": max(_p_harm(k, independent, gate) for k, independent in counts),
            "independent_paraphrases": worth,
            "needed": needed,
            "gate": gate,
            "margins": spread,
            "margin_mean": mean(spread),
            "margin_percentiles": percentiles(spread),
            "likelihood_margins": [None if m is None else m[1] for m in margins],
            "likelihood_margins_base": [None if m is None else m[0] for m in margins],
            "likelihood_reverts": turned,
            "likelihood_total": len(likely),
            "likelihood_revert_rate": turned / len(likely) if likely else None,
            "likelihood_ci_95": list(likely_ci) if likely_ci else None,
            "per_case": [
                {
                    "prompt": a.paraphrase[:80],
                    "cos_ft_base": a.tuned_base,
                    "cos_ft_gold": a.tuned_gold,
                    "reverted": a.reverted,
                    "lost": a.lost,
                }
                for a in kept[:8]
            ],
            "z_by_rank": null.z_by_rank if null else None,
            "raw_ci_95": list(ci) if ci else None,
            "panels": _panels(spec, kept, margins),
        },
    )


def _left_out(facts: dict[str, Any]) -> list[str]:
    """What was not asked, or not answered, in words."""
    found = left_out(facts["dropped_cases"])
    if failed := facts["dropped_failed"]:
        found.append(f"{failed} paraphrases could not be answered: {facts['dropped_reasons'][-1]}")
    return found


def _p_harm(hits: float, n: int, gate: float) -> float:
    """One-sided p-value of "the rate reaches the gate": the score test whose bound is Wilson's."""
    from scipy.special import ndtr

    gate = min(gate, 1.0 - 1e-9)
    return float(ndtr((hits / n - gate) / (gate * (1.0 - gate) / n) ** 0.5))


def _needed(gate: float) -> int:
    """Paraphrases from which a rate of 0 is shown to be below the gate."""
    n = 1
    while n < 100_000 and (wilson(0, n, confidence=2.0 * CONFIDENCE - 1.0) or (0.0, 1.0))[1] >= gate:
        n += 1
    return n


def _panels(
    spec: AdapterRevertSpec, kept: Sequence[Answered], margins: Sequence[tuple[float, float] | None]
) -> list[dict[str, Any]]:
    """Likeness to the gold of both answers; and how much likelier the gold is than the base's own answer."""
    ordered = sorted(zip(kept, margins, strict=True), key=lambda found: found[0].margin)[:MAX_ROWS]
    likeness = tuple(
        Row(
            label=a.paraphrase,
            base=a.base_gold,
            tuned=a.tuned_gold,
            flag="good" if a.kept else "bad",
            note=f"base: {a.base.strip()[:80]} | tuned: {a.tuned.strip()[:80]}",
        )
        for a, _ in ordered
    )
    parts = [Items(title="Likeness of the answers to the gold", unit="cosine", better="higher", rows=likeness)]
    likely = tuple(
        Row(
            label=a.paraphrase,
            base=m[0],
            tuned=m[1],
            flag="bad" if m[1] < 0 else "good",
            note=f"gold: {spec.cases[a.case].gold.strip()[:80]}",
        )
        for a, m in ordered
        if m is not None
    )
    if likely:
        title = "Gold against the base's own answer, by likelihood"
        parts.append(Items(title=title, unit="nats a token", better="higher", gate=0.0, rows=likely))
    return panels(*parts)


def _ended(spec: AdapterRevertSpec, verdict: Verdict, message: str) -> ProbeResult:
    return safe_finalize(
        name=spec.name, kind=spec.kind, verdict=verdict, message=message, evidence={"weight": spec.weight}
    )
