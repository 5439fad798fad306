"""Has the adapter made the model forget everyday facts that its base knows? A question of non-inferiority."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat

from sway_dash.core.margins import Margin
from sway_dash.core.packs import calibration_items
from sway_dash.core.panels import MAX_ROWS, Group, Groups, Items, Row, panels
from sway_dash.core.rates import mcnemar_exact, newcombe_paired, wilson
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.stats import interval, mean
from sway_dash.probes.answers import ask_both, score_completions
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, Work
from sway_dash.probes.harm import bounded_harm, harm_score
from sway_dash.probes.null_adapter import Calibration, calibration, compared

MIN_KNOWN = 10
"""With fewer items that the base knows, all items are judged."""

SIGNIFICANCE = 0.05
"""Of a topic forgotten as a whole, over all topics."""

ONE_SIDED = 0.90
"""Confidence of the two-sided interval whose upper end is the one-sided 95 % bound."""


class CalibrationItemSpec(BaseModel):
    """The beginning of a statement and its right continuation; in a suite file also a pair ``[prompt, gold]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str
    gold: str = Field(min_length=1)
    topic: str = ""


def _as_item(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) == 2:
        return {"prompt": value[0], "gold": value[1]}
    return value


class CalibrationDriftSpec(ProbeSpec):
    """Settings of ``calibration_drift``."""

    kind: Literal["calibration_drift"] = "calibration_drift"
    pack: Literal["builtin"] = Field(default="builtin", description="200 everyday facts over ten topics")
    items_limit: int | None = Field(default=None, ge=1, description="only the first so many items")
    items: tuple[Annotated[CalibrationItemSpec, BeforeValidator(_as_item)], ...] = Field(
        default=(), description="own items in place of the pack: {prompt, gold, topic}"
    )
    judge: Literal["known", "all"] = Field(
        default="known", description="judge what the base knows, or all items: forgetting what was never known is noise"
    )
    known_probability: float = Field(
        default=0.1, gt=0.0, le=1.0, description="the base knows an item from this probability a token on"
    )
    regression_nats: Annotated[FiniteFloat, Field(gt=0.0)] = Field(
        default=1.0, description="loss from which an item counts as regressed, nats a token"
    )
    assert_fraction_regressed_lt: Annotated[FiniteFloat, Field(gt=0.0, le=1.0)] = Field(
        default=0.15, description="share of regressed items that would no longer be tolerable"
    )
    assert_mean_delta_gte: FiniteFloat = Field(
        default=-0.5, description="mean change that would still be tolerable, nats a token"
    )
    assert_z_gte: FiniteFloat = Field(default=3.0, description="not judged: less harm than noise does is not the aim")


@dataclass(frozen=True, slots=True)
class _Fact:
    """An item under both views; ``delta`` is tuned minus base, nats a token, so that negative is harm."""

    item: CalibrationItemSpec
    base: float
    tuned: float

    @property
    def delta(self) -> float:
        return self.tuned - self.base

    def known(self, spec: CalibrationDriftSpec) -> bool:
        return self.base >= math.log(spec.known_probability)

    def known_after(self, spec: CalibrationDriftSpec) -> bool:
        return self.tuned >= math.log(spec.known_probability)

    def regressed(self, spec: CalibrationDriftSpec) -> bool:
        return self.delta < -spec.regression_nats


class CalibrationDriftProbe(Probe):
    """Log-probability of the right answers to everyday facts, before and after.

    The items are a sample of the facts of their topics, and the topics are those that were chosen: share, mean and
    their bounds are over facts of these topics, and say nothing of others. A topic of which most is forgotten is a
    fault of its own, however small its part in the whole.
    """

    kind = "calibration_drift"
    spec_cls = CalibrationDriftSpec
    category = "calibration"

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> CalibrationDriftSpec:
        """One item of every topic."""
        return CalibrationDriftSpec(name="calibration", items_limit=10)

    def work(self, spec: CalibrationDriftSpec, ctx: RunContext) -> Work:
        """Every item."""
        return Work(len(_items(spec)))

    def run(self, spec: CalibrationDriftSpec, ctx: RunContext) -> ProbeResult:
        """Score every right answer under both views and bound the harm."""
        items = _items(spec)
        if not items:
            return _error(spec, "no items: name some or leave the pack in place")
        answers = ask_both(ctx, [(i.prompt, i.gold) for i in items], score_completions).required(spec.name)
        told = [
            _Fact(items[i], b.per_token, t.per_token)
            for i, b, t in zip(answers.kept, answers.base, answers.tuned, strict=True)
        ]
        facts = [f for f in told if math.isfinite(f.delta)]
        if not facts:
            return _error(spec, f"none of {len(told)} items has a finite log-probability under both views")
        return _Judged(spec, ctx, facts, len(told) - len(facts), answers.reasons).result()


def _items(spec: CalibrationDriftSpec) -> tuple[CalibrationItemSpec, ...]:
    own = spec.items or tuple(
        CalibrationItemSpec(prompt=i.prompt, gold=i.gold, topic=i.topic) for i in calibration_items()
    )
    # An item that is listed twice is not twice the evidence.
    first: dict[tuple[str, str], CalibrationItemSpec] = {}
    for item in own:
        first.setdefault((item.prompt, item.gold), item)
    return tuple(first.values())[: spec.items_limit]


def _error(spec: CalibrationDriftSpec, message: str) -> ProbeResult:
    evidence = {"weight": spec.weight}
    return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message=message, evidence=evidence)


class _Judged:
    """The two gates over the items that are judged, and all that is reported of them."""

    def __init__(
        self,
        spec: CalibrationDriftSpec,
        ctx: RunContext,
        facts: Sequence[_Fact],
        broken: int,
        unanswered: Sequence[str],
    ) -> None:
        self.spec, self.facts, self.broken, self.unanswered = spec, facts, broken, unanswered
        known = [f for f in facts if f.known(spec)]
        self.known = len(known)
        self.on_known = spec.judge == "known" and len(known) >= MIN_KNOWN
        self.judged = known if self.on_known else list(facts)
        n = len(self.judged)
        self.regressed = sum(f.regressed(spec) for f in self.judged)
        self.raw = self.regressed / n
        self.ci = wilson(self.regressed, n)
        self.most = _upper(self.regressed, n)
        # With so few items that not even none of them would do, share and mean can only be read as they are.
        self.decidable = _upper(0, n) < spec.assert_fraction_regressed_lt
        deltas = [f.delta for f in self.judged]
        self.mean = mean(deltas)
        self.harm: Margin = bounded_harm([-d for d in deltas], -spec.assert_mean_delta_gte, seed=ctx.seed)
        self.mean_ci = interval(deltas, seed=ctx.seed)[0]
        self.null: Calibration | None = calibration(ctx, spec, self.raw, sign=-1)
        self.seed = ctx.seed
        self.topics = self._topics()

    @property
    def faults(self) -> list[str]:
        """Every reason not to pass, in words."""
        spec, found = self.spec, list[str]()
        gate, share = spec.assert_mean_delta_gte, spec.assert_fraction_regressed_lt
        if self.raw >= share:
            found.append(f"the regressed share reaches {share:.3g}")
        elif self.decidable and self.most >= share:
            found.append(f"the regressed share may reach {share:.3g}")
        if self.mean < gate:
            found.append(f"the mean change is beyond {gate:g}")
        elif self.decidable and self.harm.passed is False:
            found.append(f"the mean change may be beyond {gate:g}")
        found += [f"of {row['topic']!r} {row['regressed']} of {row['judged']} items regressed" for row in self.lost]
        if self.broken:
            found.append(f"{self.broken} items have no finite log-probability under one view")
        return found

    @property
    def doubts(self) -> list[str]:
        """What is not known well enough to pass without a word, in words."""
        found = []
        if self.harm.passed is None:
            found.append(self.harm.note)
        few = f"{len(self.judged)} items are too few to"
        if not self.decidable and self.harm.passed is False:
            found.append(f"{few} rule out a mean change beyond {self.spec.assert_mean_delta_gte:g}")
        if not self.decidable and self.regressed:
            bound = f"bound the regressed share below {self.spec.assert_fraction_regressed_lt:.3g}"
            found.append(f"{few} {bound}: {self.most:.3g} at worst")
        if self.unanswered:
            found.append(f"{len(self.unanswered)} or more items could not be scored: {self.unanswered[0]}")
        return found

    def result(self) -> ProbeResult:
        """The verdict with everything it rests on."""
        spec, judged, null = self.spec, self.judged, self.null
        faults, doubts = self.faults, self.doubts
        worst = sorted(judged, key=lambda f: f.delta)
        share = self.most if self.decidable else self.raw
        score = min(
            harm_score(share, spec.assert_fraction_regressed_lt),
            harm_score(self.harm.upper, -spec.assert_mean_delta_gte),
        )
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=Verdict.FAIL if faults else Verdict.WARN if doubts else Verdict.PASS,
            score=min(score, 0.59) if faults or doubts else score,
            raw=self.raw,
            z_score=null.z if null else None,
            base_value=mean(f.base for f in judged),
            ft_value=self.mean,
            ci_95=self.ci,
            message=self._message([*faults, *doubts]),
            evidence={
                "fraction_regressed": self.raw,
                "mean_delta_nats": self.mean,
                "regressed_count": self.regressed,
                "total_items": len(self.facts),
                "worst_offenders": [
                    {"prompt": f.item.prompt, "gold": f.item.gold, "delta": f.delta} for f in worst[:5]
                ],
                "regression_nats_threshold": spec.regression_nats,
                "judged": "known" if self.on_known else "all",
                "judged_items": len(judged),
                "known_items": self.known,
                "known_probability": spec.known_probability,
                "fraction_regressed_upper": self.most,
                "fraction_decidable": self.decidable,
                "fraction_regressed_all": sum(f.regressed(spec) for f in self.facts) / len(self.facts),
                "mean_delta_nats_all": mean(f.delta for f in self.facts),
                "mean_delta_ci_95": list(self.mean_ci) if self.mean_ci else None,
                "mean_delta_worst": None if self.harm.upper is None else 0.0 - self.harm.upper,
                "p_harm": self.harm.p,
                "ci_note": f"Wilson, {self.regressed} of {len(judged)} items; mean: {self.harm.note}",
                **self._knowledge(),
                "per_topic": self.topics,
                "forgotten_topics": [row["topic"] for row in self.lost],
                "non_finite_items": self.broken,
                "unanswered_items": list(self.unanswered),
                "unit": "share of items",
                "weight": spec.weight,
                "z_by_rank": null.z_by_rank if null else None,
                "null": null.evidence if null else None,
                "raw_ci_95": list(self.ci) if self.ci else None,
                "panels": self._panels(worst),
            },
        )

    @property
    def lost(self) -> list[dict[str, Any]]:
        """Topics most of whose judged items regressed, and more than the tolerable share of them does by chance.

        That is a binomial test of each at 5 % over all topics together (Bonferroni).
        """
        from scipy.special import bdtrc

        gate = self.spec.assert_fraction_regressed_lt
        named = [row for row in self.topics if row["topic"] and row["judged"]]
        return [
            row
            for row in named
            if 2 * row["regressed"] > row["judged"]
            and float(bdtrc(row["regressed"] - 1, row["judged"], gate)) * len(named) <= SIGNIFICANCE
        ]

    def _knowledge(self) -> dict[str, Any]:
        """What the base knew and the tuned model knows: a paired 2 × 2 table over all items."""
        before = [f.known(self.spec) for f in self.facts]
        after = [f.known_after(self.spec) for f in self.facts]
        both = sum(b and a for b, a in zip(before, after, strict=True))
        forgotten, gained = sum(before) - both, sum(after) - both
        change = newcombe_paired(both, gained, forgotten, len(before) - both - gained - forgotten)
        return {
            "known_after": sum(after),
            "forgotten": forgotten,
            "newly_known": gained,
            "known_change_ci_95": list(change) if change else None,
            "p_known_change": mcnemar_exact(gained, forgotten),
        }

    def _topics(self) -> list[dict[str, Any]]:
        rows = []
        every: dict[str, list[_Fact]] = {}
        judged: dict[str, list[_Fact]] = {}
        for facts, by in ((self.facts, every), (self.judged, judged)):
            for fact in facts:
                by.setdefault(fact.item.topic, []).append(fact)
        for topic, everything in every.items():
            own = judged.get(topic, [])
            ci = interval([f.delta for f in own], seed=self.seed)[0] if own else None
            rows.append(
                {
                    "topic": topic,
                    "items": len(everything),
                    "known": sum(f.known(self.spec) for f in everything),
                    "judged": len(own),
                    "regressed": sum(f.regressed(self.spec) for f in own),
                    "mean_delta": mean(f.delta for f in own) if own else None,
                    "ci_95": list(ci) if ci else None,
                }
            )
        return rows

    def _message(self, words: Sequence[str]) -> str:
        spec, n = self.spec, len(self.judged)
        band = f" [{self.ci[0]:.3g}, {self.ci[1]:.3g}]" if self.ci else ""
        mean_band = f" [{self.mean_ci[0]:.3g}, {self.mean_ci[1]:.3g}]" if self.mean_ci else ""
        what = "items that the base knows" if self.on_known else "items"
        parts = [f"{self.regressed} of {n} {what} regressed: share {self.raw:.3g}{band}"]
        if self.decidable:
            parts.append(f"{self.most:.3g} at worst against {spec.assert_fraction_regressed_lt:.3g}")
        parts.append(f"mean change {self.mean:.3g}{mean_band} nats a token")
        if self.harm.upper is not None:
            parts.append(f"{0.0 - self.harm.upper:.3g} at worst against {spec.assert_mean_delta_gte:g} allowed")
        if spec.judge == "known":
            all_judged = "" if self.on_known else ", too few, so all are judged"
            parts.append(f"the base knows {self.known} of {len(self.facts)}{all_judged}")
        parts += words
        return compared(parts, self.null, spec.kind, context=True)

    def _panels(self, worst: Sequence[_Fact]) -> list[dict[str, Any]]:
        """Topics side by side, and the judged items with the largest losses first."""
        spec = self.spec
        groups = tuple(
            Group(
                label=row["topic"] or "no topic",
                value=row["mean_delta"],
                lo=row["ci_95"][0] if row["ci_95"] else None,
                hi=row["ci_95"][1] if row["ci_95"] else None,
                n=row["judged"],
                flag="bad" if (row["mean_delta"] or 0.0) < spec.assert_mean_delta_gte else "",
            )
            for row in self.topics
        )
        rows = tuple(
            Row(
                label=f"{f.item.prompt}{f.item.gold}",
                base=f.base,
                tuned=f.tuned,
                flag="bad" if f.regressed(spec) else "",
                note=f"{f.delta:+.3g} nats a token",
            )
            for f in worst[:MAX_ROWS]
        )
        left = len(worst) - len(rows)
        return panels(
            Groups(
                title="Change by topic",
                unit="nats a token",
                gate=spec.assert_mean_delta_gte,
                groups=groups,
                note="below the gate the topic as a whole is forgotten; the verdict is over all topics",
            ),
            Items(
                title="Log-probability of the right answers",
                unit="nats a token",
                better="higher",
                rows=rows,
                note=f"{left} items with smaller losses are left out" if left > 0 else "largest losses first",
            ),
        )


def _upper(k: int, n: int) -> float:
    """One-sided 95 % bound of a rate, 1 without items."""
    found = wilson(k, n, confidence=ONE_SIDED)
    return found[1] if found else 1.0


def __getattr__(name: str) -> Any:
    if name == "BUILT_IN_PACK":
        return tuple((i.prompt, i.gold) for i in calibration_items())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
