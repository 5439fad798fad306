"""Does the tuned model write more like the document than its base does?

Style is not sense: what is counted are rates, and text that has fallen apart may come nearer to a document in some of
them. Read the result beside ``external_perplexity``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat

from sway_dash.core.errors import BackendNotAvailableError
from sway_dash.core.panels import Group, Groups, Items, Row, panels
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.stats import (
    MIN_ITEMS,
    interval,
    mean,
    score_from_anchors,
)
from sway_dash.probes.answers import CONTINUED, ask_both, continuations
from sway_dash.probes.base import (
    SENTINEL_DOC,
    SENTINEL_PROMPTS,
    Probe,
    ProbeSpec,
    Prompt,
    PromptField,
    RunContext,
    Work,
)
from sway_dash.probes.fingerprint import FINGERPRINT_SCHEMA_VERSION, extended_available, fingerprint
from sway_dash.probes.null_adapter import Calibration, calibration, compared, noise_cap, noise_does_as_well
from sway_dash.probes.style_features import Array, Space, clean, count_words, function_share, space_of, windows

__all__ = ["FINGERPRINT_SCHEMA_VERSION", "StyleFingerprintProbe", "StyleFingerprintSpec", "fingerprint"]

MIN_WINDOW = 10
"""Words; windows are not cut shorter only to have more of them."""

USUAL_GROUPS = 8
"""Groups of continuations that are aimed at: with fewer the interval is wide."""

WEAK_GAP = 1.5
"""Up to this many times what counting noise alone gives, document and base are hardly to be told apart."""

LEAST_FUNCTION_WORDS = 0.6
"""Times the document's share of function words: a text with fewer is a heap of words. In the shipped texts the share
goes from 0.44 to 0.61, so prose against prose is above 0.7."""

ENOUGH_WORDS = 50
"""From so many words on a share of them says something."""

SHOWN_FEATURES = 24


class StyleFingerprintSpec(ProbeSpec):
    """Settings of ``style_fingerprint``."""

    kind: Literal["style_fingerprint"] = "style_fingerprint"
    prompts: tuple[PromptField, ...] = Field(default=(), description="beginnings that both views continue")
    doc_reference: str = Field(default="", description="text whose style is the aim; empty: the training document")
    max_new_tokens: int = Field(default=128, ge=1, le=4096, description="length of every continuation")
    window_words: int = Field(
        default=50, ge=5, le=1000, description="all texts are compared in windows of so many words"
    )
    assert_shift_gte: FiniteFloat = Field(default=0.25, description="smallest share of the way to the document's style")
    assert_z_gte: FiniteFloat = Field(default=3.0, description="smallest z against the null, when there is one")
    extended: Literal["auto", "on", "off"] = Field(
        default="auto", description="three more numbers as evidence, with spaCy and textstat"
    )


class StyleFingerprintProbe(Probe):
    """How far the continuations moved from the base's style towards the document's, as a share of the way."""

    kind = "style_fingerprint"
    spec_cls = StyleFingerprintSpec
    category = "calibration"

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> StyleFingerprintSpec:
        """The sentinel prompts against the sentinel document."""
        prompts = tuple(Prompt(text=p) for p in SENTINEL_PROMPTS)
        return StyleFingerprintSpec(name="calibration", prompts=prompts, doc_reference=SENTINEL_DOC, max_new_tokens=64)

    def work(self, spec: StyleFingerprintSpec, ctx: RunContext) -> Work:
        """A text for every prompt, where there is a document to compare with."""
        texts = len({p.text for p in spec.prompts}) if spec.doc_reference or ctx.doc_text else 0
        return Work(texts, texts * spec.max_new_tokens)

    def run(self, spec: StyleFingerprintSpec, ctx: RunContext) -> ProbeResult:
        """Let both views write and compare how."""
        if not spec.prompts:
            return _without(spec, Verdict.ERROR, "no prompts: add at least one")
        document = spec.doc_reference or ctx.doc_text or ""
        if not count_words(clean(document)):
            return _without(spec, Verdict.SKIP, "no document to compare with: give doc_reference or a document")
        if spec.extended == "on" and not extended_available():
            hint = "and the language model: python -m spacy download en_core_web_sm; or set extended to auto"
            error = BackendNotAvailableError("extended style", extra="style", hint=hint)
            return _without(spec, Verdict.SKIP, str(error))
        texts = list(dict.fromkeys(p.text for p in spec.prompts))
        said = continuations(spec.max_new_tokens, ctx.seed)
        told = ask_both(ctx, texts, said, portion=CONTINUED).required(spec.name)
        # One dimensionality a run, whatever the single texts are.
        extended = spec.extended != "off" and extended_available()
        prints = _prints(told.base, told.tuned, document, extended)
        if not any(map(count_words, told.tuned)):
            message = "the tuned model's texts are empty: a degenerate output has no style"
            blank = not any(t.strip() for t in told.tuned)
            return _without(spec, Verdict.ERROR, message, {**prints, "ft_text_is_empty": blank, "ft_fp_is_zero": True})
        if not any(map(count_words, told.base)):
            return _without(spec, Verdict.WARN, "the base's texts are empty: there is no style to move from", prints)
        prompts = [texts[i] for i in told.kept]
        move = _Move(clean(document), told.base, told.tuned, prompts, spec.window_words)
        return _judge(spec, ctx, move, prints, told.reasons)


def _without(
    spec: StyleFingerprintSpec, verdict: Verdict, message: str, evidence: dict[str, Any] | None = None
) -> ProbeResult:
    facts = {**(evidence or {}), "weight": spec.weight}
    return safe_finalize(name=spec.name, kind=spec.kind, verdict=verdict, message=message, evidence=facts)


def _prints(base: Sequence[str], tuned: Sequence[str], document: str, extended: bool) -> dict[str, Any]:
    """The public fingerprints and their shift."""
    b, t, d = (fingerprint(text, extended=extended) for text in ("\n".join(base), "\n".join(tuned), document))
    return {
        "base_fp": b.tolist(),
        "ft_fp": t.tolist(),
        "doc_fp": d.tolist(),
        "extended": extended,
        "schema_version": FINGERPRINT_SCHEMA_VERSION,
        "public_style_shift": _projection(t - b, d - b),
        "public_note": "the fingerprints and public_style_shift are those of the public probe: their dimensions depend"
        " on the length of the texts and are not scaled, so they are no gate",
    }


def _projection(move: Array, gap: Array) -> float:
    """Share of ``gap`` that ``move`` covers in its direction; 0 without a gap."""
    square = float(gap @ gap)
    return float(move @ gap) / square if square > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class _Group:
    """Continuations of neighbouring prompts that are long enough together, as vectors of both views."""

    prompts: tuple[str, ...]
    base: Array
    tuned: Array


class _Move:
    """Where base and tuned texts stand in the space of style, and how far the way to the document is covered."""

    def __init__(
        self, document: str, base: Sequence[str], tuned: Sequence[str], prompts: Sequence[str], window_words: int
    ) -> None:
        base, tuned = [clean(t) for t in base], [clean(t) for t in tuned]
        words = [(count_words(b), count_words(t)) for b, t in zip(base, tuned, strict=True)]
        shorter = min(map(sum, zip(*words, strict=True)))
        # Every text must fill a window.
        longest = max(1, min(window_words, count_words(document), shorter))
        n = 0
        # Enough groups for a useful interval come before long windows; of these windows the longest.
        for groups in (USUAL_GROUPS, MIN_ITEMS):
            lengths = (n for n in range(longest, MIN_WINDOW - 1, -1))
            fitting = (n for n in lengths if len(_neighbours(words, n)) >= groups)
            if n := next(fitting, 0):
                break
        n = n or longest
        joined = [(tuple(prompts[at]), "\n\n".join(base[at]), "\n\n".join(tuned[at])) for at in _neighbours(words, n)]
        everything = "\n\n".join(b for _, b, _ in joined)
        self.space: Space = space_of(document, everything, n)
        self.document = self.space.of(document)
        self.groups = [_Group(p, self.space.of(b), self.space.of(t)) for p, b, t in joined]
        self.base = np.mean([g.base for g in self.groups], axis=0)
        self.tuned = np.mean([g.tuned for g in self.groups], axis=0)
        self.gap, self.moved = self.document - self.base, self.tuned - self.base
        self.shares = self._shares()
        self.raw = mean(self.shares)
        self.doc_windows = len(windows(document, n))
        self.base_windows = sum(len(windows(b, n)) for _, b, _ in joined)
        self.tuned_windows = sum(len(windows(t, n)) for _, _, t in joined)
        self.tuned_words = sum(map(count_words, tuned))
        self.function_shares = [
            function_share(text, self.space.language) for text in (everything, "\n".join(tuned), document)
        ]
        noise = len(self.space.kinds) * (1.0 / self.doc_windows + 1.0 / self.base_windows)
        self.gap_over_noise = float(self.gap @ self.gap) / noise

    def _shares(self) -> list[float]:
        """Share of the way each group covers, on the way from the *other* groups to the document.

        A group's own base text must not lie at both ends: its chance deviations would make any other text look like a
        step towards the document. Left out, a change without direction covers 0 on average.
        """
        if len(self.groups) < 2:
            return [_projection(self.moved, self.gap)]
        total = sum(g.base for g in self.groups)
        others = len(self.groups) - 1
        return [_projection(g.tuned - g.base, self.document - (total - g.base) / others) for g in self.groups]

    def left(self) -> list[dict[str, Any]]:
        """Squared distance to the document before and after, by kind of feature, less what counting noise adds."""
        rows = []
        for name, at in self.space.kinds:
            sides = ((self.gap, self.base_windows), (self.gap - self.moved, self.tuned_windows))
            before, after = (float(v[at] @ v[at]) - 1.0 / self.doc_windows - 1.0 / count for v, count in sides)
            noise = 1.0 / self.doc_windows + 1.0 / self.base_windows + 1.0 / self.tuned_windows
            rows.append({"kind": name, "before": before, "after": after, "farther": after - before > noise})
        return rows

    @property
    def evidence(self) -> dict[str, Any]:
        """Direction and size of the move beside the share."""
        length, way = float(np.linalg.norm(self.moved)), float(np.linalg.norm(self.gap))
        along = _projection(self.moved, self.gap)
        words = dict(self.space.kinds).get("function words")
        return {
            "style_shift": self.raw,
            "plain_projection": along,
            "cosine": float(self.moved @ self.gap) / (length * way) if length > 0 and way > 0 else None,
            "residual": float(np.linalg.norm(self.moved - along * self.gap)) / way if way > 0 else None,
            "distance_before": way,
            "distance_after": float(np.linalg.norm(self.document - self.tuned)),
            "burrows_delta_before": _burrows(self.base, self.document, words),
            "burrows_delta_after": _burrows(self.tuned, self.document, words),
            "gap_over_noise": self.gap_over_noise,
            "shift_by_kind": {name: _projection(self.moved[at], self.gap[at]) for name, at in self.space.kinds},
            "distance_by_kind": self.left(),
            "function_word_share": dict(zip(("base", "ft", "doc"), self.function_shares, strict=True)),
            "per_group": [
                {"prompts": list(g.prompts), "shift": share} for g, share in zip(self.groups, self.shares, strict=True)
            ],
            "window_words": self.space.n,
            "doc_windows": self.doc_windows,
            "base_windows": self.base_windows,
            "tuned_windows": self.tuned_windows,
            "language": self.space.language or None,
            "num_features": len(self.space.names),
            "ft_text_is_empty": False,
            "ft_fp_is_zero": False,
        }


def _burrows(a: Array, b: Array, at: slice | None) -> float | None:
    """Burrows's Delta: mean absolute difference of the standardised rates of function words."""
    if at is None:
        return None
    difference = np.abs(a[at] - b[at])
    # The kinds' weight 1/√k is taken out again.
    return float(difference.mean()) * float(np.sqrt(len(difference)))


def _neighbours(words: Sequence[tuple[int, int]], n: int) -> list[slice]:
    """Join neighbouring continuations until both sides have ``n`` words; what is left joins the last ones."""
    found, start, base, tuned = list[slice](), 0, 0, 0
    for end, (of_base, of_tuned) in enumerate(words, 1):
        base, tuned = base + of_base, tuned + of_tuned
        if min(base, tuned) >= n:
            found.append(slice(start, end))
            start, base, tuned = end, 0, 0
    if start < len(words):
        first = found.pop().start if found else start
        found.append(slice(first, len(words)))
    return found


def _judge(
    spec: StyleFingerprintSpec, ctx: RunContext, move: _Move, prints: dict[str, Any], unanswered: Sequence[str]
) -> ProbeResult:
    """A shift counts when it is large enough, points to the document beyond doubt, and noise does not do the same."""
    raw = move.raw
    ci, ci_note = interval(move.shares, seed=ctx.seed)
    null = calibration(ctx, spec, raw)
    faults = []
    if raw < spec.assert_shift_gte:
        faults.append(f"below the gate of {spec.assert_shift_gte:g}")
    if ci is not None and ci[0] <= 0.0:
        faults.append("its interval reaches 0")
    # What falls apart moves, too: a step nearer in one kind of feature that leads away in another is no step there.
    if farther := [row["kind"] for row in move.left() if row["farther"]]:
        faults.append(f"farther from the document than the base is in {' and '.join(farther)}")
    _, of_tuned, of_document = (share or 0.0 for share in move.function_shares)
    if move.tuned_words >= ENOUGH_WORDS and of_tuned < LEAST_FUNCTION_WORDS * of_document:
        faults.append(f"{of_tuned:.2g} of the words are function words, {of_document:.2g} of the document's: no prose")
    if noise := noise_does_as_well(null, spec.assert_z_gte):
        faults.append(noise)
    doubts = []
    if len(move.groups) < MIN_ITEMS:
        # A group alone has its own chance deviations at both ends: any other text covers most of such a way.
        doubts.append(f"below {MIN_ITEMS} groups chance alone can do as much: give more prompts or longer answers")
    if ci is not None and move.gap_over_noise < WEAK_GAP:
        doubts.append("the document's style can hardly be told from the base's")
    if unanswered:
        doubts.append(f"{len(unanswered)} or more prompts were not continued: {unanswered[0]}")
    score = _score(spec, raw, null)
    return safe_finalize(
        name=spec.name,
        kind=spec.kind,
        verdict=Verdict.FAIL if faults else Verdict.WARN if doubts else Verdict.PASS,
        score=min(score, 0.59) if faults or doubts else score,
        raw=raw,
        z_score=null.z if null else None,
        ci_95=ci,
        message=_message(spec, move, ci, [*faults, *doubts], null),
        evidence={
            **prints,
            **move.evidence,
            "gate": spec.assert_shift_gte,
            "unit": "share of the way to the document's style",
            "num_prompts": sum(len(g.prompts) for g in move.groups),
            "unanswered_prompts": list(unanswered),
            "weight": spec.weight,
            "z_by_rank": null.z_by_rank if null else None,
            "null": null.evidence if null else None,
            "raw_ci_95": list(ci) if ci else None,
            "ci_note": ci_note,
            "panels": _panels(spec, move, ci),
        },
    )


def _score(spec: StyleFingerprintSpec, raw: float, null: Calibration | None) -> float:
    gate = max(spec.assert_shift_gte, 1e-6)
    effect = score_from_anchors(raw, none=0.0, gate=gate, target=max(1.0, gate * 1.01))
    return min(effect, noise_cap(null, spec.assert_z_gte))


def _message(
    spec: StyleFingerprintSpec,
    move: _Move,
    ci: tuple[float, float] | None,
    words: Sequence[str],
    null: Calibration | None,
) -> str:
    band = f" [{ci[0]:.3g}, {ci[1]:.3g}]" if ci else ""
    parts = [f"style moved {move.raw:.3g}{band} of the way to the document's"]
    cosine = move.evidence["cosine"]
    parts.append("the texts are the same" if cosine is None else f"cosine {cosine:.2f}")
    groups = f"{len(move.groups)} group{'s' * (len(move.groups) != 1)} of continuations"
    parts.append(f"{groups} in windows of {move.space.n} words")
    parts += words
    return compared(parts, null, spec.kind)


def _panels(spec: StyleFingerprintSpec, move: _Move, ci: tuple[float, float] | None) -> list[dict[str, Any]]:
    """The share by kind of feature, and the features that tell document and base apart most."""
    whole = Group(
        label="all features", value=move.raw, lo=ci[0] if ci else None, hi=ci[1] if ci else None, n=len(move.groups)
    )
    kinds = [
        Group(label=name, value=_projection(move.moved[at], move.gap[at]), n=at.stop - at.start)
        for name, at in move.space.kinds
    ]
    # In plain standard deviations between windows, the document at 0.
    base, tuned = ((side - move.document) / move.space.weight for side in (move.base, move.tuned))
    most = np.argsort(-np.abs(base), kind="stable")[:SHOWN_FEATURES]
    rows = tuple(
        Row(
            label=move.space.names[i],
            base=float(base[i]),
            tuned=float(tuned[i]),
            flag="good" if abs(tuned[i]) < abs(base[i]) else "bad" if abs(tuned[i]) > abs(base[i]) else "",
        )
        for i in most
    )
    return panels(
        Groups(
            title="Share of the way to the document's style",
            gate=spec.assert_shift_gte,
            groups=(whole, *kinds),
            note="0: as the base, 1: as the document; single kinds have no interval",
        ),
        Items(
            title="Features in which document and base differ most",
            unit="standard deviations between windows, the document at 0",
            rows=rows,
            note=f"{len(rows)} of {len(move.space.names)} features",
        ),
    )
