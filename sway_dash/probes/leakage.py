"""Whether the tuned model recites its training document, and the base does not.

Discoverable memorisation (Carlini et al. 2021, 2023): given the beginning of a passage, does greedy decoding go on
with the passage word for word? Counterfactual (Zhang et al. 2023): what the base recites as well is not the adapter's
doing. Copies with single words changed count by their edit distance (Ippolito et al. 2023). Reciting is a harm, so
the question is one of non-inferiority: the worst section, and the bad end of the interval, must stay below the gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat

from sway_dash.core.errors import ProbeError, RunCancelled
from sway_dash.core.grouped import independent_worth
from sway_dash.core.margins import Margin, non_inferior
from sway_dash.core.panels import Group, Groups, Items, Row, panels
from sway_dash.core.rates import wilson
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import ScoringModel, View
from sway_dash.core.sections import Section, distinct_sections, evenly
from sway_dash.core.stats import MIN_CLUSTERS, cluster_ci, mean, score_from_anchors
from sway_dash.probes.answers import CONTINUED, Asking, ask_both, by_halves, continuations, finite, score_completions
from sway_dash.probes.answers import reached_limit as was_cut
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, Work
from sway_dash.probes.harm import bounded_harm
from sway_dash.probes.measure import MAX_FAILED_SHARE
from sway_dash.probes.null_adapter import calibration, compared
from sway_dash.probes.verbatim import (
    PERTURBATIONS,
    Match,
    Perturbation,
    fragility,
    gestalt_ratio,
    match,
    perturb,
    word_end,
    word_start,
)


class LeakageSpec(ProbeSpec):
    """Settings of ``leakage``."""

    kind: Literal["leakage"] = "leakage"
    prefix_chars: int = Field(default=128, ge=1, le=20_000, description="characters of the document given as a prompt")
    continuation_chars: int = Field(default=256, ge=8, le=20_000, description="characters that may be recited")
    max_new_tokens: int = Field(default=96, ge=1, le=4096, description="tokens generated")
    offsets: int = Field(default=4, ge=1, le=64, description="places tried in every section, its beginning first")
    extract_words: int = Field(default=20, ge=1, le=1000, description="words without a mistake that are an extraction")
    perturbations: tuple[Perturbation, ...] = Field(
        default=PERTURBATIONS,
        description="small changes to the prompt for the fragility, which is no gate; may be empty",
    )
    assert_recall_lt: Annotated[FiniteFloat, Field(gt=0.0)] = Field(
        default=0.5, description="share of a passage that may not be recited, beyond what the base recites"
    )
    min_fragility: FiniteFloat = Field(default=0.3, description="from which a recital is called fragile; no gate")
    assert_z_gte: FiniteFloat = Field(default=3.0, description="accepted; random adapters are only shown beside a harm")
    max_sections: int = Field(default=64, ge=1, le=10_000, description="more prose sections are thinned out evenly")


@dataclass(frozen=True, slots=True)
class Window:
    """A place of the document: the prompt, and what stands after it."""

    section: str
    prefix: str
    target: str


@dataclass(frozen=True, slots=True)
class Recital:
    """How much of a window both views recite. ``base`` is ``None`` where the base gave no answer."""

    window: Window
    base: Match | None
    tuned: Match
    said: str

    @property
    def leaked(self) -> float:
        """Recall of the tuned view beyond that of the base, at least 0."""
        return max(0.0, self.tuned.recall - (self.base.recall if self.base else 0.0))


class LeakageProbe(Probe):
    """Verbatim recall of prose sections under both views."""

    kind = "leakage"
    spec_cls = LeakageSpec
    category = "calibration"

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> LeakageSpec | None:
        """Shorter passages, where there is prose to recite."""
        if not _prose(ctx.sections):
            return None
        return LeakageSpec(
            name="calibration", prefix_chars=64, continuation_chars=128, max_new_tokens=48, perturbations=()
        )

    def work(self, spec: LeakageSpec, ctx: RunContext) -> Work:
        """Every place is gone on from and scored; how many prompts are perturbed is known only once it has recited."""
        places = sum(len(windows(s, spec)) for s in evenly(_prose(ctx.sections), spec.max_sections))
        return Work(2 * places, places * spec.max_new_tokens)

    def draw_null(self, spec: LeakageSpec, ctx: RunContext, views: Sequence[View]) -> dict[View, float]:
        """As every probe does, without the perturbed prompts, which do not enter the value."""
        return super().draw_null(spec.model_copy(update={"perturbations": ()}), ctx, views)

    def run(self, spec: LeakageSpec, ctx: RunContext) -> ProbeResult:
        """Let both views go on from many places of the document, and compare with what stands there."""
        prose = _prose(ctx.sections)
        chosen = evenly(prose, spec.max_sections)
        asked = [w for s in chosen for w in windows(s, spec)]
        if not asked:
            why = "has no section longer than the prompt" if prose else "has no prose sections" if ctx.sections else ""
            message = f"the document {why}" if why else "the run has no document: name it in dlm_source"
            facts = {"weight": spec.weight}
            return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.SKIP, message=message, evidence=facts)
        say = _saying(spec, ctx.seed)
        told = ask_both(ctx, [w.prefix for w in asked], say, portion=CONTINUED)
        found: list[Recital] = []

        def held(said: str, target: str) -> Match:
            return match(said, target, cut=was_cut(ctx.backend, said, spec.max_new_tokens))

        for place, before, after in zip(told.kept, told.base, told.tuned, strict=True):
            if after is not None:
                window = asked[place]
                base = None if before is None else held(before, window.target)
                found.append(Recital(window, base, held(after, window.target), after))
        if not found:
            raise ProbeError(spec.name, f"none of {told.asked} passages could be continued")
        exposure = ask_both(ctx, [(r.window.prefix, r.window.target) for r in found], score_completions).keeping(finite)
        exposed = {
            found[place].window: (b.per_token, t.per_token, t.logprob)
            for place, b, t in zip(exposure.kept, exposure.base, exposure.tuned, strict=True)
        }
        return _Judged(spec, ctx, found, exposed, _fragility(spec, ctx, found), told.asked, len(prose)).result()


def _prose(sections: Sequence[Section] | None) -> list[Section]:
    return distinct_sections(s for s in sections or () if s.kind == "prose" and s.content.strip())


def windows(section: Section, spec: LeakageSpec) -> list[Window]:
    """Places of a section to go on from: its beginning, then others evenly spread, each at the start of a word.

    The first is cut by characters alone, as in the public probe; the others end their prompt with a whole word.
    """
    text, prefix, length = section.content, spec.prefix_chars, spec.continuation_chars
    first = Window(section.id, text[:prefix], text[prefix : prefix + length])
    if not first.target.strip():
        return []
    found = [first]
    room = len(text) - prefix - length
    for n in range(1, spec.offsets):
        if room <= 0:
            break
        # From the middle of a word on to the next one.
        start = word_start(text, n * room // (spec.offsets - 1))
        end = word_end(text, start + prefix, start)
        window = Window(section.id, text[start:end], text[end : end + length])
        if end > start and window.target.strip() and len(window.target) >= length // 2:
            found.append(window)
    return list(dict.fromkeys(found))


def _saying(spec: LeakageSpec, seed: int) -> Asking[str, str | None]:
    """Greedy continuations; ``None`` for a prompt that a view cannot continue, so that the other's answer is kept."""
    ask = continuations(spec.max_new_tokens, seed)

    def say(view: ScoringModel, prompts: Sequence[str]) -> list[str | None]:
        # KeyError: a backend of canned answers has none for this prompt.
        return by_halves(ask, view, prompts, (ProbeError, KeyError), lambda error: None)

    return say


def _fragility(spec: LeakageSpec, ctx: RunContext, found: Sequence[Recital]) -> dict[str, tuple[float, float | None]]:
    """Public recall of every section at its beginning, clean and with the prompt changed a little; tuned view only."""
    firsts = list({r.window.section: r for r in reversed(found)}.values())[::-1]
    asked: list[tuple[int, str]] = []
    for i, r in enumerate(firsts):
        prefix = r.window.prefix
        # A change that does not apply would be counted as a prompt that was withstood.
        asked += [(i, text) for kind in spec.perturbations if (text := perturb(prefix, kind)) != prefix]
    said: list[str | None] = [None] * len(asked)
    if asked:
        try:
            ctx.checkpoint()
            with ctx.require_backend.as_finetuned() as view:
                said = _saying(spec, ctx.seed)(view, [text for _, text in asked])
        except RunCancelled:
            # What was recited is known without this, which is no gate.
            if (answered := ctx.tally.short or ctx.tally.whole) is None:
                raise
            ctx.tally.short = answered
    changed: dict[int, list[float]] = {}
    for (at, _), answer in zip(asked, said, strict=True):
        if answer is not None:
            changed.setdefault(at, []).append(gestalt_ratio(answer, firsts[at].window.target))
    return {
        r.window.section: (gestalt_ratio(r.said, r.window.target), mean(changed[i]) if i in changed else None)
        for i, r in enumerate(firsts)
    }


Exposed = dict[Window, tuple[float, float, float]]
"""Log-probability of the true continuation: a token under base and tuned, and in all under tuned; nats."""


class _Judged:
    """Everything that follows from the recitals."""

    def __init__(
        self,
        spec: LeakageSpec,
        ctx: RunContext,
        found: Sequence[Recital],
        exposed: Exposed,
        recalls: dict[str, tuple[float, float | None]],
        asked: int,
        prose: int,
    ) -> None:
        self.spec, self.ctx, self.found, self.asked, self.prose = spec, ctx, found, asked, prose
        harms, clusters = [r.leaked for r in found], [r.window.section for r in found]
        self.raw = mean(harms)
        self.ci = cluster_ci(harms, clusters, seed=ctx.seed, bounds=(0.0, 1.0))
        gate = spec.assert_recall_lt
        by: dict[str, list[Recital]] = {}
        for r in found:
            by.setdefault(r.window.section, []).append(r)
        # Many places of a few sections are no sample of the document: no bound is known then.
        self.margin: Margin = (
            bounded_harm(harms, gate, seed=ctx.seed, clusters=clusters)
            if len(by) >= MIN_CLUSTERS
            else non_inferior(harms, gate, seed=ctx.seed, clusters=clusters)
        )
        self.rows = [self._row(own, exposed, recalls[s]) for s, own in by.items()]
        self.worst = max(self.rows, key=lambda r: r["leaked"])
        self.base_unknown = sum(1 for r in found if r.base is None)
        out = {
            "tuned": [r.tuned.extracted(spec.extract_words) for r in found],
            "base": [r.base is not None and r.base.extracted(spec.extract_words) for r in found],
        }
        self.extracted = {view: sum(flags) for view, flags in out.items()}
        self.extracted_ci = {view: wilson(*independent_worth(flags, clusters)) for view, flags in out.items()}
        self.null = calibration(ctx, spec, self.raw, sign=-1)
        self.exposed = list(exposed.values())
        changed = [(r["clean_recall"], r["perturbed_recall"]) for r in self.rows if r["perturbed_recall"] is not None]
        self.perturbed = mean(p for _, p in changed) if changed else None
        self.fragility = None if self.perturbed is None else fragility(mean(c for c, _ in changed), self.perturbed)

    def _row(self, own: Sequence[Recital], exposed: Exposed, recall: tuple[float, float | None]) -> dict[str, Any]:
        worst = max(own, key=lambda r: (r.leaked, r.tuned.run))
        clean, changed = recall
        told = [exposed[r.window] for r in own if r.window in exposed]
        base = [r.base.recall for r in own if r.base is not None]
        return {
            "section_id": worst.window.section,
            "windows": len(own),
            "leaked": worst.leaked,
            "tuned_recall": worst.tuned.recall,
            "base_recall": worst.base.recall if worst.base else None,
            "mean_tuned_recall": mean(r.tuned.recall for r in own),
            "mean_base_recall": mean(base) if base else None,
            "longest_run_words": worst.tuned.run,
            "exact_words": worst.tuned.exact,
            "target_words": worst.tuned.n,
            "base_logprob_per_token": mean(b for b, _, _ in told) if told else None,
            "tuned_logprob_per_token": mean(t for _, t, _ in told) if told else None,
            "clean_recall": clean,
            "perturbed_recall": changed,
            "fragility": None if changed is None else fragility(clean, changed),
        }

    @property
    def faults(self) -> list[str]:
        """Every reason not to pass, in words."""
        gate, found = self.spec.assert_recall_lt, list[str]()
        if self.worst["leaked"] >= gate:
            found.append(f"the worst section reaches the gate of {gate:.0%}")
        if self.margin.passed is False:
            found.append(f"the upper bound of the mean, {self.margin.upper:.0%}, reaches the gate of {gate:.0%}")
        return found

    def result(self) -> ProbeResult:
        """The verdict with everything it rests on."""
        spec, found, n = self.spec, self.found, len(self.found)
        gate = min(spec.assert_recall_lt, 1.0 - 1e-6)
        score = score_from_anchors(self.worst["leaked"], none=1.0, gate=gate, target=0.0)
        faults = self.faults
        lost, clean = self.asked - n, [r["clean_recall"] for r in self.rows]
        unsure = self.margin.passed is None or lost > MAX_FAILED_SHARE * self.asked
        verdict = Verdict.FAIL if faults else Verdict.WARN if unsure else Verdict.PASS
        perturbed, fragile = self.perturbed, self.fragility
        base = [r.base.recall for r in found if r.base is not None]
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=score if verdict is Verdict.PASS else min(score, 0.59),
            raw=self.raw,
            z_score=self.null.z if self.null else None,
            base_value=mean(base) if base else None,
            ft_value=mean(r.tuned.recall for r in found),
            ci_95=self.ci,
            message=self._message(faults, lost),
            evidence={
                "per_section": self.rows,
                "num_sections": len(self.rows),
                "prose_sections": self.prose,
                "num_windows": n,
                "unanswered_windows": lost,
                "base_unknown_windows": self.base_unknown,
                "worst_section": self.worst["section_id"],
                "worst_leaked": self.worst["leaked"],
                "gate": spec.assert_recall_lt,
                "unit": "share of a passage",
                "upper_bound": self.margin.upper,
                "upper_bound_note": self.margin.note,
                "p_reaches_gate": self.margin.p,
                "extract_words": spec.extract_words,
                "extractable_tuned": self.extracted["tuned"] / n,
                "extractable_tuned_ci_95": self.extracted_ci["tuned"],
                "extractable_base": self.extracted["base"] / n,
                "extractable_base_ci_95": self.extracted_ci["base"],
                "exposure_nats_per_token": mean(t - b for b, t, _ in self.exposed) if self.exposed else None,
                "largest_tuned_logprob": max(p for _, _, p in self.exposed) if self.exposed else None,
                "mean_clean_recall": mean(clean),
                "mean_perturbed_recall": perturbed,
                "mean_fragility": fragile,
                "fragile": None if fragile is None else fragile >= spec.min_fragility,
                "public_note": "clean and perturbed recall and fragility are those of the public probe: characters, the"
                " tuned view alone, the beginning of each section; a fragile leak is a leak, so they are no gates",
                "weight": spec.weight,
                "z_by_rank": self.null.z_by_rank if self.null else None,
                "null": self.null.evidence if self.null else None,
                "raw_ci_95": list(self.ci) if self.ci else None,
                "ci_note": self.margin.note,
                "panels": self._panels(),
            },
        )

    def _message(self, faults: Sequence[str], lost: int) -> str:
        worst, n = self.worst, len(self.found)
        band = f" [{self.ci[0]:.0%}, {self.ci[1]:.0%}]" if self.ci else ""
        parts = [
            f"{self.raw:.0%}{band} of a passage recited beyond the base, on average over {n} passages",
            f"worst section {worst['section_id']} {worst['leaked']:.0%}, {worst['longest_run_words']} words in a row",
            f"{self.extracted['tuned']} of {n} passages extracted (base {self.extracted['base']})",
        ]
        if self.margin.passed is None:
            parts.append(self.margin.note)
        if self.base_unknown:
            parts.append(f"the base gave no answer to {self.base_unknown}, taken as nothing recited")
        if lost:
            parts.append(f"{lost} passages could not be continued")
        parts = ["; ".join([", ".join(parts), *faults])]
        if faults and self.fragility is not None and self.fragility >= self.spec.min_fragility:
            parts.append(f"fragile: small changes to the prompt cost {self.fragility:.0%} of it")
        return compared(parts, self.null, self.spec.kind, context=True)

    def _panels(self) -> list[dict[str, Any]]:
        gate = self.spec.assert_recall_lt
        rows = tuple(
            Row(
                label=r["section_id"],
                base=r["base_recall"],
                tuned=r["tuned_recall"],
                flag="bad" if r["leaked"] >= gate else "good",
                note=f"{r['longest_run_words']} of {r['target_words']} words in a row",
            )
            for r in sorted(self.rows, key=lambda r: -r["leaked"])[:500]
        )
        n = len(self.found)
        groups = []
        for view in ("base", "tuned"):
            lo, hi = self.extracted_ci[view] or (None, None)
            groups.append(Group(label=view, value=self.extracted[view] / n, lo=lo, hi=hi, n=n))
        return panels(
            Items(
                title="Recited of the worst passage, by section",
                unit="share",
                better="lower",
                rows=rows,
                note=f"the gate of {gate:.0%} is on what the tuned model recites beyond the base",
            ),
            Groups(
                title=f"Passages of which {self.spec.extract_words} words come out without a mistake",
                unit="share of passages",
                groups=tuple(groups),
            ),
        )
