"""Does the adapter's effect hold when a long context stands before the prompt?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat

from sway_dash.core.bands import simultaneous
from sway_dash.core.events import Measurement
from sway_dash.core.panels import Curve, panels
from sway_dash.core.ratio import fieller_paired
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.stats import MIN_ITEMS, interval, mean, score_from_anchors, too_few
from sway_dash.probes.base import Ask, Probe, Prompt, RunContext
from sway_dash.probes.fillers import SEPARATOR, Filler, legacy, prefixes, token_counter
from sway_dash.probes.measure import divergence_bounds, divergence_values
from sway_dash.probes.null_adapter import calibration, compared, noise_cap, noise_does_as_well
from sway_dash.probes.prompts import ListedPromptSpec

TAG = "context "
"""Measurements carry the length of their filler as a tag: it depends on the tokenizer, which judging has not got."""

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float]


class PromptCollapseSpec(ListedPromptSpec):
    """Settings of ``prompt_collapse``."""

    kind: Literal["prompt_collapse"] = "prompt_collapse"
    positions: Literal["next", "continuation"] = Field(default="next", description="next token, or along an answer")
    context_lengths: tuple[Annotated[int, Field(ge=0, le=1_000_000)], ...] = Field(
        default=(0, 256, 512, 1024), min_length=2, description="tokens of unrelated text before each prompt"
    )
    filler: Filler = Field(default="text", description="running text, or the same words in random order")
    legacy_stuffing: bool = Field(default=False, description="one sentence over and over, nominal lengths")
    assert_half_life_tokens: Annotated[FiniteFloat, Field(gt=0.0)] = Field(
        default=512, description="shortest half-life of the effect, in tokens"
    )
    assert_mean_gte: Annotated[FiniteFloat, Field(ge=0.0)] = Field(
        default=0.005, description="smallest mean divergence at the shortest context, nats; below it nothing can fade"
    )
    assert_z_gte: FiniteFloat = Field(default=3.0, description="smallest z against the null, when there is one")


class PromptCollapseProbe(Probe):
    """Half-life of the divergence in tokens of unrelated context."""

    kind = "prompt_collapse"
    spec_cls = PromptCollapseSpec
    category = "adherence"
    batch_score = True

    def planned(self, spec: PromptCollapseSpec, ctx: RunContext) -> int:
        """One measurement per different prompt and length."""
        return len({p.text for p in spec.prompts}) * len(spec.context_lengths)

    def asks(self, spec: PromptCollapseSpec, ctx: RunContext) -> list[Ask]:
        """The tuned view on every prompt after every filler; lengths are nominal, four characters a token."""
        return [spec.ask([p.text for p in stuffed(spec, None, ctx.seed)])]

    def run(self, spec: PromptCollapseSpec, ctx: RunContext) -> ProbeResult:
        """Measure every prompt after every filler, all in one go, and judge how the effect fades."""
        if not spec.prompts:
            return _ended(spec, "no prompts: add at least one")
        prompts = stuffed(spec, ctx.require_backend, ctx.seed)
        return self.judge(spec, ctx, spec.measure(ctx, prompts))

    def judge(self, spec: PromptCollapseSpec, ctx: RunContext, measurements: Sequence[Measurement]) -> ProbeResult:
        """A pass needs an effect to begin with, and a half-life that is shown to reach the gate."""
        lengths, matrix, texts = _curves(spec, measurements)
        if not len(matrix):
            return _ended(spec, f"no prompt was measured at all {len(spec.context_lengths)} lengths")
        if lengths.min() == lengths.max():
            return _ended(spec, "all contexts are equally long; the model's own may hold no more")
        order = np.argsort(lengths, kind="stable")
        lengths, matrix = lengths[order], matrix[:, order]
        bounds = divergence_bounds(spec.divergence)
        means = [mean(column) for column in matrix.T]
        points = [interval(column, seed=ctx.seed, bounds=bounds)[0] for column in matrix.T]
        bands, band_note = simultaneous(matrix, points, seed=ctx.seed, bounds=bounds)
        fit = fade(lengths, matrix)
        raw = fit.half_life
        null = calibration(ctx, spec, raw) if raw is not None else None
        kept = _retention(lengths, matrix)
        against = _against(spec, fit, means[0], kept)
        if noise := noise_does_as_well(null, spec.assert_z_gte):
            against.append(noise)
        score = min(_score(spec, fit, means[0]), noise_cap(null, spec.assert_z_gte))
        unsure = []
        if not against and fit.shortest is not None and fit.shortest < spec.assert_half_life_tokens:
            unsure.append(f"inconclusive: it may be as short as {fit.shortest:.3g}")
        unmeasured = len({p.text for p in spec.prompts}) - len(matrix)
        verdict = Verdict.FAIL if against else Verdict.WARN if unsure or unmeasured > 0 else Verdict.PASS
        truncated = sum(1 for m in measurements if m.truncated_tokens)
        ends = f"{means[0]:.3g} nats at the shortest, {means[-1]:.3g} at the longest over {len(matrix)} prompts"
        notes = [*against, *unsure]
        if few := too_few(len(matrix), "prompts"):
            notes.append(few)
        if unmeasured > 0:
            notes.append(f"{unmeasured} prompts not measured at every length")
        if truncated:
            notes.append(f"{truncated} contexts were cut to what the model takes")
        return safe_finalize(
            name=spec.name,
            kind=spec.kind,
            verdict=verdict,
            score=min(score, 0.59) if against else score,
            raw=raw,
            z_score=null.z if null else None,
            ci_95=(fit.shortest, fit.longest) if fit.shortest is not None and fit.longest is not None else None,
            message=compared([fit.sentence, ends, *notes], null, spec.kind),
            evidence={
                "context_lengths": list(spec.context_lengths),
                "measured_lengths": lengths.tolist(),
                "mean_divergence_per_length": means,
                "ci_95_per_length": [list(b) if b else None for b in points],
                "band_95_per_length": [list(b) if b else None for b in bands],
                "band_note": band_note,
                "per_prompt_curves": matrix.tolist(),
                "prompts": texts,
                "divergence_kind": spec.divergence,
                "positions": spec.positions,
                "unit": "tokens",
                "gate": spec.assert_half_life_tokens,
                "half_life_tokens": raw,
                "half_life_above": fit.above,
                "rate_per_token": fit.rate,
                "rate_ci_95": list(fit.rate_ci) if fit.rate_ci else None,
                "fit": "exponential fading of the mean, Poisson pseudo-likelihood; every point weighs as much as it"
                " holds, zeros included",
                "fit_explained": fit.explained,
                "retention": [
                    {"tokens": x, "share": share, "ci_95": list(ci) if ci else None} for x, share, ci in kept
                ],
                "filler": "legacy" if spec.legacy_stuffing else spec.filler,
                "truncated": truncated,
                "reasons": [*against, *unsure],
                "weight": spec.weight,
                "z_by_rank": null.z_by_rank if null else None,
                "raw_ci_95": [fit.shortest, fit.longest] if fit.shortest is not None else None,
                "panels": _panel(lengths, means, bands, f"{fit.sentence}; {band_note}"),
            },
        )


def stuffed(spec: PromptCollapseSpec, backend: Any, seed: int) -> list[Prompt]:
    """Every prompt after every filler, length by length, tagged with the filler's length in tokens."""
    different = list({p.text: p for p in reversed(spec.prompts)}.values())[::-1]
    count = token_counter(backend) if backend is not None and not spec.legacy_stuffing else None
    if spec.legacy_stuffing:
        before = [legacy(n) for n in spec.context_lengths]
    else:
        before = [text + SEPARATOR for text in prefixes(spec.context_lengths, spec.filler, count, seed=seed)]
    found = []
    for nominal, text in zip(spec.context_lengths, before, strict=True):
        size = nominal
        if count is not None:
            # With the prompt: where the two meet, tokens may differ from those of either alone.
            size = round(mean(count(text + p.text) - count(SEPARATOR + p.text) for p in different))
        found += [Prompt(text=text + p.text, tags=(*p.tags, f"{TAG}{size}")) for p in different]
    return found


@dataclass(frozen=True, slots=True)
class Fade:
    """How the effect fades: ``mean(L) = mean(0) · exp(-rate · L)``, lengths in tokens.

    ``half_life`` is ``None`` when no fading is shown up to the longest context ``above``. ``shortest`` and ``longest``
    are the ends of its 95 % interval, ``longest`` ``None`` when there may be no fading at all.
    """

    rate: float
    rate_ci: Interval | None
    above: float
    explained: float | None
    half_life: float | None
    shortest: float | None
    longest: float | None

    @property
    def sentence(self) -> str:
        """The half-life in words."""
        if self.half_life is None:
            reach = ""
            if self.shortest is not None:
                # Beyond the longest context nothing was measured.
                evenly = ", if it fades evenly" if self.shortest > self.above else ""
                reach = f" (at least {self.shortest:.3g} with 95 % confidence{evenly})"
            return f"half-life > {self.above:.0f} tokens, the longest context: no fading shown{reach}"
        band = ""
        if self.shortest is not None:
            band = f" [{self.shortest:.3g}, {'∞' if self.longest is None else f'{self.longest:.3g}'}]"
        return f"half-life {self.half_life:.3g}{band} tokens"


def fade(lengths: FloatArray, matrix: FloatArray) -> Fade:
    """Fit exponential fading to curves ``(prompts, lengths)``; see :func:`fading_rate`.

    The interval is ``rate ± t·se`` over whole prompts left out one at a time (jackknife, ``n - 1`` degrees of freedom;
    Miller 1974). In simulation it covers 93 to 95 % from four prompts on, where percentiles of a bootstrap cover 78 to
    88 % and a studentised bootstrap is as good and up to half as wide again. None below four prompts.
    """
    rate = float(fading_rate(lengths, matrix.mean(axis=0)[None, :])[0])
    n, longest = len(matrix), float(lengths.max())
    ci: Interval | None = None
    if n >= MIN_ITEMS and matrix.any():
        from scipy.special import stdtrit

        without = fading_rate(lengths, (matrix.sum(axis=0) - matrix) / (n - 1))
        error = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
        half_width = float(stdtrit(n - 1, 0.975)) * error
        ci = (rate - half_width, rate + half_width)
    half = _half_life(rate)
    shown = half is not None and (ci[0] > 0 if ci else half <= 10 * longest)
    return Fade(
        rate=rate,
        rate_ci=ci,
        above=longest,
        explained=_explained(lengths, matrix.mean(axis=0), rate),
        half_life=half if half is not None and (shown or half <= longest) else None,
        shortest=None if ci is None else _half_life(ci[1]),
        longest=None if ci is None else _half_life(ci[0]),
    )


def fading_rate(lengths: FloatArray, means: FloatArray) -> FloatArray:
    """Rate ``λ`` per token of ``means ≈ a · exp(-λ · lengths)``, for every row of ``means`` ``(rows, lengths)``.

    Poisson pseudo-maximum likelihood with log link: the root of ``Σ m·x / Σ m = Σ x·e^(-λx) / Σ e^(-λx)``. It needs the
    form of the mean alone (Gourieroux, Monfort and Trognon 1984), takes zeros, and over curves with an intercept per
    prompt is the same as over their mean (fixed-effects Poisson; Hausman, Hall and Griliches 1984). Negative when the
    effect grows; cut at ±50 per longest length.
    """
    x = (lengths - lengths.min()) / np.ptp(lengths)
    total = means.sum(axis=1)
    target = np.divide(means @ x, total, out=np.full(len(means), x.mean()), where=total > 0)
    low, high = np.full(len(means), -50.0), np.full(len(means), 50.0)
    for _ in range(60):
        middle = 0.5 * (low + high)
        weights = np.exp(-middle[:, None] * x - np.maximum(-middle, 0.0)[:, None])
        # The weighted mean of x falls as the rate grows.
        above = (weights @ x) / weights.sum(axis=1) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    rates: FloatArray = 0.5 * (low + high) / np.ptp(lengths)
    # What halving leaves of a rate of 0 is rounding.
    return np.where(np.abs(rates * np.ptp(lengths)) < 1e-12, 0.0, rates)


def _half_life(rate: float) -> float | None:
    return math.log(2.0) / rate if rate > 0 else None


def _explained(lengths: FloatArray, means: FloatArray, rate: float) -> float | None:
    """Share of the Poisson deviance that fading explains; ``None`` where there is none to explain."""
    if not means.any():
        return None
    shape = np.exp(-rate * (lengths - lengths[0]))

    def deviance(fitted: FloatArray) -> float:
        held = means > 0
        return float(2.0 * (means[held] * np.log(means[held] / fitted[held])).sum())

    flat = deviance(np.full(len(means), means.mean()))
    return None if flat <= 1e-12 else 1.0 - deviance(shape * means.sum() / shape.sum()) / flat


def _curves(spec: PromptCollapseSpec, measurements: Sequence[Measurement]) -> tuple[FloatArray, FloatArray, list[str]]:
    """Mean length per context, curves of the prompts measured at every one, and their texts."""
    different = list(dict.fromkeys(p.text for p in spec.prompts))
    n, count = len(different), len(spec.context_lengths)
    found: dict[int, dict[int, tuple[float, float]]] = {}
    for m, value in zip(measurements, divergence_values(measurements, spec.divergence), strict=True):
        at = m.item // n
        tag = next((t for t in reversed(m.tags) if t.startswith(TAG)), f"{TAG}{spec.context_lengths[at]}")
        found.setdefault(m.item % n, {})[at] = (float(tag.removeprefix(TAG)) - m.truncated_tokens, value)
    whole = [i for i in sorted(found) if len(found[i]) == count]
    cells = np.array([[found[i][at] for at in range(count)] for i in whole], dtype=np.float64)
    if not whole:
        return np.zeros(count), np.zeros((0, count)), []
    return np.maximum(cells[:, :, 0].mean(axis=0), 0.0), cells[:, :, 1], [different[i] for i in whole]


def _retention(lengths: FloatArray, matrix: FloatArray) -> list[tuple[float, float, Interval | None]]:
    """What is left of the effect at every longer context: tokens, share, interval; whatever the shape of the curve."""
    start = mean(matrix[:, 0])
    if start <= 0:
        return []
    return [
        (float(x), mean(matrix[:, i]) / start, fieller_paired(matrix[:, i], matrix[:, 0]))
        for i, x in enumerate(lengths)
        if i
    ]


def _against(
    spec: PromptCollapseSpec, fit: Fade, start: float, kept: Sequence[tuple[float, float, Interval | None]]
) -> list[str]:
    """Everything that speaks against a pass."""
    found = []
    if start <= 0 or start < spec.assert_mean_gte:
        found.append(f"the effect without a context is below {spec.assert_mean_gte:g} nats: there is nothing to fade")
    half = _half_life(fit.rate)
    if half is not None and half < spec.assert_half_life_tokens:
        found.append(f"below the gate of {spec.assert_half_life_tokens:g}")
    else:
        # A curve that falls at once and then stays has a long half-life as an exponential.
        lost = [(x, s) for x, s, ci in kept if x <= spec.assert_half_life_tokens and (ci[1] if ci else s) < 0.5]
        if lost:
            found.append(f"only {lost[0][1]:.0%} is left after {lost[0][0]:.0f} tokens")
    return found


def _score(spec: PromptCollapseSpec, fit: Fade, start: float) -> float:
    gate = spec.assert_half_life_tokens
    half = _half_life(fit.rate)
    score = 1.0 if half is None else score_from_anchors(half, none=0.0, gate=gate, target=2.0 * gate)
    if spec.assert_mean_gte > 0:
        score = min(
            score, score_from_anchors(start, none=0.0, gate=spec.assert_mean_gte, target=2 * spec.assert_mean_gte)
        )
    return score if start > 0 else 0.0


def _panel(
    lengths: FloatArray, means: Sequence[float], bands: Sequence[Interval | None], note: str
) -> list[dict[str, Any]]:
    whole = all(b is not None for b in bands)
    return panels(
        Curve(
            title="Effect after unrelated context",
            x_label="context (tokens)",
            y_label="mean divergence (nats)",
            x=tuple(lengths.tolist()),
            y=tuple(means),
            lo=tuple(b[0] for b in bands if b) if whole else (),
            hi=tuple(b[1] for b in bands if b) if whole else (),
            note=note,
        )
    )


def _ended(spec: PromptCollapseSpec, message: str) -> ProbeResult:
    return safe_finalize(
        name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message=message, evidence={"weight": spec.weight}
    )
