"""Does the adapter move some topics and leave others alone?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat

from sway_dash.core.anova import FloatArray, IntArray, OneWay, between_groups, one_way
from sway_dash.core.divergence import Divergence
from sway_dash.core.embedding import DEFAULT_MODEL, embedder, kmeans
from sway_dash.core.errors import BackendNotAvailableError
from sway_dash.core.events import Measurement
from sway_dash.core.numbers import p_text, said
from sway_dash.core.panels import Group, Groups, panels
from sway_dash.core.permutation import permutation_p
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import View
from sway_dash.core.specificity import between, intervals, specificity, within
from sway_dash.core.stats import interval, mean, score_from_anchors
from sway_dash.probes.base import Ask, Probe, Prompt, PromptField, RunContext
from sway_dash.probes.measure import distinct, divergence_bounds, divergence_values, rounding_of
from sway_dash.probes.null_adapter import Calibration, calibration, compared, noise_cap, noise_does_as_well
from sway_dash.probes.prompts import ListedPromptSpec

SIGNIFICANCE = 0.05
"""Largest permutation p-value at which topics count as moved differently."""

FIRST_TAG = "the first tag of each prompt"


class ClusterKLSpec(ListedPromptSpec):
    """Settings of ``cluster_kl``."""

    kind: Literal["cluster_kl"] = "cluster_kl"
    prompts: tuple[PromptField, ...] = Field(default=(), description="texts to continue, of several topics")
    topics: Literal["auto", "tags"] = Field(default="auto", description="found by clustering, or the first tag of each")
    num_clusters: int = Field(default=5, ge=2, le=32, description="how many topics to look for")
    embedding_model: str = Field(default=DEFAULT_MODEL, min_length=1, description="sentence model, if it is here")
    min_prompts: int = Field(default=20, ge=4, description="with fewer prompts nothing is measured")
    assert_specificity_gte: FiniteFloat = Field(
        default=0.6, ge=-1.0, le=1.0, description="smallest share of the spread between topics, corrected for chance"
    )
    assert_moved_gte: Annotated[FiniteFloat, Field(ge=0.0)] = Field(
        default=0.005, description="smallest mean divergence of the topic that moved most, nats"
    )
    assert_z_gte: FiniteFloat = Field(default=3.0, description="smallest z against the null, when there is one")


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of the topics, where they come from, and the prompts, each with its topic among its tags."""

    names: tuple[str, ...]
    source: str
    prompts: tuple[Prompt, ...]

    def of(self, tagged: Sequence[Sequence[str]], by_tag: bool) -> list[int]:
        """Place of each prompt's topic, −1 for none: its first tag, or the cluster it was given as its last."""
        places: dict[str | None, int] = {name: i for i, name in enumerate(self.names)}
        return [places.get(next(iter(tags if by_tag else tags[::-1]), None), -1) for tags in tagged]


class ClusterKLProbe(Probe):
    """Share of the divergences' spread that lies between topics rather than within them."""

    kind = "cluster_kl"
    spec_cls = ClusterKLSpec
    category = "adherence"
    batch_score = True

    def planned(self, spec: ClusterKLSpec, ctx: RunContext) -> int:
        """One measurement per prompt."""
        return 0 if self._refused(spec) else len(spec.prompts)

    def asks(self, spec: ClusterKLSpec, ctx: RunContext) -> list[Ask]:
        """The tuned view on every prompt."""
        return [spec.ask()]

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> ClusterKLSpec:
        """Eight prompts of two topics."""
        prompts = tuple(Prompt(text=p) for p in _SENTINELS)
        return ClusterKLSpec(name="calibration", prompts=prompts, num_clusters=2, min_prompts=8, top_k=ctx.top_k)

    def run(self, spec: ClusterKLSpec, ctx: RunContext) -> ProbeResult:
        """Find the topics, measure every prompt, and compare the spread between topics with that within."""
        refused = self._refused(spec)
        if refused is not None:
            return refused
        try:
            topics = find_topics(spec, ctx.seed)
        except (BackendNotAvailableError, ImportError) as error:
            return _ended(spec, Verdict.SKIP, str(error))
        return self._judge(spec, ctx, spec.measure(ctx, topics.prompts), topics)

    def judge(self, spec: ClusterKLSpec, ctx: RunContext, measurements: Sequence[Measurement]) -> ProbeResult:
        """Judge measurements taken earlier, with the topics they were measured with: no model is loaded for it."""
        refused = self._refused(spec)
        if refused is not None:
            return refused
        source = FIRST_TAG if spec.topics == "tags" else "k-means over the texts, when they were measured"
        return self._judge(spec, ctx, measurements, Topics(_names(spec), source, spec.prompts))

    def draw_null(self, spec: ClusterKLSpec, ctx: RunContext, views: Sequence[View]) -> dict[View, float]:
        """Specificity of every null view over the same topics, all views over one reference pass."""
        if self._refused(spec) is not None:
            return {}
        topics = find_topics(spec, ctx.seed)
        by_id: dict[str, list[Measurement]] = {}
        for m in spec.measure(ctx, topics.prompts, views=views, role="null"):
            by_id.setdefault(m.view, []).append(m)
        found: dict[View, float] = {}
        for view in views:
            values, labels, _ = _sorted(spec, by_id.get(view.id, ()), topics)
            share = specificity(values, labels)
            if share is not None:
                found[view] = share
        return found

    def _refused(self, spec: ClusterKLSpec) -> ProbeResult | None:
        """The result that needs no measurement, if there is one."""
        n = len({p.text for p in spec.prompts})
        if not spec.prompts:
            return _ended(spec, Verdict.ERROR, "no prompts: add at least one")
        if n < spec.min_prompts:
            return _ended(spec, Verdict.SKIP, f"needs ≥{spec.min_prompts} different prompts, has {n}")
        if spec.topics == "tags":
            named = {p.tags[0] for p in spec.prompts if p.tags}
            if len(named) < 2:
                return _ended(spec, Verdict.SKIP, "topics: tags needs prompts of at least two tags")
            if len({p.text for p in spec.prompts if p.tags}) <= len(named):
                return _ended(spec, Verdict.SKIP, "topics: tags needs two prompts of one tag at least")
        elif 2 * spec.num_clusters > n:
            message = f"num_clusters={spec.num_clusters} is too many for {n} prompts: at least two a cluster"
            return _ended(spec, Verdict.SKIP, message)
        return None

    def _judge(
        self, spec: ClusterKLSpec, ctx: RunContext, measurements: Sequence[Measurement], topics: Topics
    ) -> ProbeResult:
        values, labels, kept = _sorted(spec, measurements, topics)
        if not len(values):
            return _ended(spec, Verdict.ERROR, "no prompt with a topic could be measured")
        table = one_way(values, labels)
        if table is None:
            verdict = Verdict.ERROR if len(measurements) < len(spec.prompts) else Verdict.SKIP
            one = len(set(labels.tolist())) < 2
            what = "all of one topic, so there is none to compare it with" if one else "each of another topic"
            return _ended(spec, verdict, f"the {len(values)} prompts that were measured are {what}")
        raw = specificity(values, labels)
        rows = _rows(values, labels, kept, topics, spec.divergence, ctx.seed)
        facts: dict[str, Any] = {
            "num_clusters": len(topics.names),
            "num_prompts": len(values),
            "unmeasured_prompts": len(spec.prompts) - len(measurements),
            "prompts_without_topic": len({p.text for p in spec.prompts if not p.tags}) * (spec.topics == "tags"),
            "divergence_kind": spec.divergence,
            "positions": spec.positions,
            "unit": "share of the spread",
            "topics": list(topics.names),
            "topics_from": topics.source,
            "mean_kl": mean(values),
            "within_cluster_variance": within(values, labels),
            "between_cluster_variance": between(values, labels),
            "per_cluster_size": [row["n"] for row in rows],
            "per_cluster_mean_kl": [row["mean"] for row in rows],
            "per_cluster_ci_95": [row["ci"] for row in rows],
            "cluster_exemplars": [row["exemplars"] for row in rows],
            "labels": labels.tolist(),
            "prompts": [m.prompt for m in kept],
            "per_prompt": values.tolist(),
            "gate": spec.assert_specificity_gte,
            "weight": spec.weight,
            "panels": _panels(rows, mean(values)),
        }
        still = bool((values <= rounding_of(ctx, spec.divergence)).all())
        if raw is None or table.icc is None or still:
            what = "no prompt is changed" if still else "all prompts are changed alike"
            return safe_finalize(
                name=spec.name,
                kind=spec.kind,
                verdict=Verdict.WARN,
                score=0.0,
                raw=0.5,
                message=f"degenerate: {what}, so there is no spread to divide among topics",
                evidence={**facts, "degenerate_zero_variance": True, "icc": None, "raw_ci_95": None},
            )
        p = permutation_p(values, labels, between_groups, seed=ctx.seed)
        null = calibration(ctx, spec, raw)
        top = max((r for r in rows if r["mean"] is not None), key=lambda r: float(r["mean"]))
        reasons = _reasons(spec, table.icc, p, null, top["mean"])
        verdict = Verdict.FAIL if reasons else Verdict.PASS
        if verdict is Verdict.PASS and len(measurements) < len(spec.prompts):
            verdict = Verdict.WARN
        score = _score(spec, table.icc, p, null, top["mean"])
        ci, icc_ci = intervals(values, labels)
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=min(score, 0.59) if reasons else score,
            raw=raw,
            z_score=null.z if null else None,
            ci_95=ci,
            message=_message(spec, table, raw, icc_ci, p, null, top, reasons, len(measurements)),
            evidence={
                **facts,
                "icc": table.icc,
                "icc_ci_95": list(icc_ci) if icc_ci else None,
                "omega_squared": table.omega_squared,
                "p_permutation": p,
                "moved_most": top["name"],
                "raw_note": "the public specificity; by chance alone it is not 0, how large depends on the number and"
                " size of the topics, so the verdict reads ICC(1), which scatters about 0 then",
                "reasons": reasons,
                "z_by_rank": null.z_by_rank if null else None,
                "null": null.evidence if null else None,
                "raw_ci_95": list(ci) if ci else None,
            },
        )


def find_topics(spec: ClusterKLSpec, seed: int) -> Topics:
    """Topic of every prompt: its first tag, or the k-means cluster of its text.

    Raises
    ------
    BackendNotAvailableError
        If texts cannot be clustered here.
    """
    names = _names(spec)
    if spec.topics == "tags":
        return Topics(names, FIRST_TAG, spec.prompts)
    # A text that is listed twice must not pull a cluster towards itself.
    texts = list(dict.fromkeys(p.text for p in spec.prompts))
    found = embedder(spec.embedding_model, texts)
    cluster = dict(zip(texts, kmeans(found.encode(texts), spec.num_clusters, seed=seed), strict=True))
    prompts = tuple(Prompt(text=p.text, tags=(*p.tags, names[cluster[p.text]])) for p in spec.prompts)
    return Topics(names, f"k-means over {found.name}", prompts)


def _names(spec: ClusterKLSpec) -> tuple[str, ...]:
    if spec.topics == "tags":
        return tuple(dict.fromkeys(p.tags[0] for p in spec.prompts if p.tags))
    return tuple(f"cluster {i + 1}" for i in range(spec.num_clusters))


def _sorted(
    spec: ClusterKLSpec, measurements: Sequence[Measurement], topics: Topics
) -> tuple[FloatArray, IntArray, list[Measurement]]:
    """Divergence and topic of every different prompt that has a topic."""
    once = distinct(measurements)
    found = list(zip(once, topics.of([m.tags for m in once], spec.topics == "tags"), strict=True))
    kept = [m for m, topic in found if topic >= 0]
    labels = np.array([topic for _, topic in found if topic >= 0], dtype=np.intp)
    return np.array(divergence_values(kept, spec.divergence), dtype=np.float64), labels, kept


def _rows(
    values: FloatArray, labels: IntArray, kept: Sequence[Measurement], topics: Topics, kind: Divergence, seed: int
) -> list[dict[str, Any]]:
    """Size, mean and interval of every topic."""
    rows = []
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(len(topics.names) + 1))
    for c, name in enumerate(topics.names):
        places = order[ends[c] : ends[c + 1]]
        own = values[places]
        ci, _ = interval(own, seed=seed, bounds=divergence_bounds(kind)) if len(own) else (None, "")
        texts = [kept[at].prompt[:120] for at in places[:2].tolist()]
        row = {"name": name, "n": len(own), "mean": mean(own) if len(own) else None, "ci": list(ci) if ci else None}
        rows.append({**row, "exemplars": texts})
    return rows


def _reasons(spec: ClusterKLSpec, icc: float, p: float, null: Calibration | None, top: float) -> list[str]:
    """Everything that speaks against a pass."""
    found = []
    if p > SIGNIFICANCE:
        found.append(f"topics dealt at random do as well (p={p:.2g})")
    if icc < spec.assert_specificity_gte:
        found.append(f"below the gate of {spec.assert_specificity_gte:g}")
    if top < spec.assert_moved_gte:
        found.append(f"no topic moved by {spec.assert_moved_gte:g} nats (most: {top:.3g})")
    if noise := noise_does_as_well(null, spec.assert_z_gte):
        found.append(noise)
    return found


def _score(spec: ClusterKLSpec, icc: float, p: float, null: Calibration | None, top: float) -> float:
    """The least of what the share between topics and the largest change are worth; noise is worth nothing."""
    gate = min(max(spec.assert_specificity_gte, 1e-6), 1.0 - 1e-6)
    score = score_from_anchors(icc, none=0.0, gate=gate, target=1.0)
    if (least := spec.assert_moved_gte) > 0:
        score = min(score, score_from_anchors(top, none=0.0, gate=least, target=2.0 * least))
    if p > SIGNIFICANCE:
        score = min(score, 0.6 * SIGNIFICANCE / p)
    return min(score, noise_cap(null, spec.assert_z_gte))


def _message(
    spec: ClusterKLSpec,
    table: OneWay,
    raw: float,
    ci: tuple[float, float] | None,
    p: float,
    null: Calibration | None,
    top: dict[str, Any],
    reasons: Sequence[str],
    measured: int,
) -> str:
    band = f" [{ci[0]:.3g}, {ci[1]:.3g}]" if ci else ""
    parts = [
        f"a share of {raw:.3g} of the spread lies between {table.k} topics; judged is ICC(1) {table.icc:.3g}{band},"
        f" which is 0 by chance, {said('p', p_text(p))} by permutation of {table.n} prompts",
        f"{top['name']} moved most, mean {top['mean']:.3g} nats",
        *reasons,
    ]
    if measured < len(spec.prompts):
        parts.append(f"{len(spec.prompts) - measured} prompts not measured")
    return compared(parts, null, spec.kind)


def _panels(rows: Sequence[dict[str, Any]], overall: float) -> list[dict[str, Any]]:
    groups = tuple(
        Group(
            label=row["name"] if not row["exemplars"] else f"{row['name']}: {row['exemplars'][0][:60]}",
            value=row["mean"],
            lo=row["ci"][0] if row["ci"] else None,
            hi=row["ci"][1] if row["ci"] else None,
            n=row["n"],
        )
        for row in rows
    )
    note = f"mean over all prompts {overall:.3g} nats; intervals 95 %, from four prompts on"
    return panels(Groups(title="Mean divergence by topic", unit="nats", groups=groups, note=note))


def _ended(spec: ClusterKLSpec, verdict: Verdict, message: str) -> ProbeResult:
    return safe_finalize(
        name=spec.name, kind=spec.kind, verdict=verdict, message=message, evidence={"weight": spec.weight}
    )


_SENTINELS = (
    "To bake a loaf of bread, first mix the flour with",
    "A good bread dough needs flour, water and",
    "Before it is baked, the loaf of bread has to",
    "The baker takes the bread out of the oven when",
    "The small boat left the harbour with",
    "At sea the captain of the boat watched",
    "The harbour was full of boats and",
    "When the wind rose, the sailors on the boat",
)
