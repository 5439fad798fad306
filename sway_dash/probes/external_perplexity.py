"""Does the tuned model still predict ordinary text as well as its base? A question of non-inferiority."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field, FiniteFloat, field_validator

from sway_dash.core.errors import did_you_mean
from sway_dash.core.margins import Margin
from sway_dash.core.packs import PART_BREAK, available_corpora, chunks, load_corpus, part_titles
from sway_dash.core.panels import Group, Groups, Items, Row, panels
from sway_dash.core.result import ProbeResult, Verdict, safe_finalize
from sway_dash.core.scoring import RollingLogprob
from sway_dash.core.stats import MIN_CLUSTERS, cluster_ci, interval, mean
from sway_dash.probes.answers import ask_both, score_texts
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, Work
from sway_dash.probes.harm import bounded_harm, harm_score
from sway_dash.probes.null_adapter import Calibration, calibration, compared

STRETCH = 32
"""Tokens that stand together for one item where there are too few texts to compare."""

OWN = "own texts"

LN2 = math.log(2.0)


class ExternalPerplexitySpec(ProbeSpec):
    """Settings of ``external_perplexity``."""

    kind: Literal["external_perplexity"] = "external_perplexity"
    corpus: str = Field(default="public_domain_en", description="a shipped corpus; empty: only what is named below")
    corpora: tuple[str, ...] = Field(default=(), description="further shipped corpora; each must pass on its own")
    texts: tuple[str, ...] = Field(default=(), description="own texts, one corpus together; each a text of its own")
    chunk_chars: int = Field(default=2048, ge=128, le=16384, description="largest length of a piece, in characters")
    max_chunks: int = Field(default=16, ge=1, le=128, description="pieces of each corpus at most")
    assert_mean_delta_gte: FiniteFloat = Field(
        default=-0.1, description="change that would still be tolerable, nats a token; -0.1 is a perplexity 11 % higher"
    )
    assert_z_gte: FiniteFloat = Field(default=3.0, description="not judged: less harm than noise does is not the aim")

    @field_validator("corpus", "corpora")
    @classmethod
    def _known(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in (value,) if isinstance(value, str) else value:
            if name and name not in available_corpora():
                raise ValueError(_unknown(name))
        return value

    @property
    def names(self) -> tuple[str, ...]:
        """Every corpus once; own texts come last, under :data:`OWN`."""
        return tuple(dict.fromkeys(n for n in (self.corpus, *self.corpora, OWN if self.texts else "") if n))


def _unknown(name: str) -> str:
    known = ", ".join(available_corpora())
    return f"unknown corpus {name!r}.{did_you_mean(name, available_corpora())} Known corpora: {known}"


@dataclass(frozen=True, slots=True)
class _Piece:
    corpus: str
    part: int
    text: str


@dataclass(frozen=True, slots=True)
class _Scored:
    """A piece under both views; ``delta`` is tuned minus base, nats a token, so that negative is harm."""

    piece: _Piece
    base: RollingLogprob
    tuned: RollingLogprob

    @property
    def delta(self) -> float:
        return self.tuned.mean_logprob - self.base.mean_logprob

    @property
    def text_of(self) -> tuple[str, int]:
        return self.piece.corpus, self.piece.part

    @property
    def stretches(self) -> list[float]:
        """Mean change over each :data:`STRETCH` tokens; the whole piece where the views cut it differently."""
        base, tuned = (np.asarray(side.logprobs, dtype=np.float64) for side in (self.base, self.tuned))
        if len(base) != len(tuned) or not len(base):
            return [self.delta]
        return [float(p.mean()) for p in np.array_split(tuned - base, max(1, len(base) // STRETCH))]


class ExternalPerplexityProbe(Probe):
    """Change of the log-probability of text from outside, in nats a token and bits a byte."""

    kind = "external_perplexity"
    spec_cls = ExternalPerplexitySpec
    category = "calibration"

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> ExternalPerplexitySpec:
        """A few pieces of the usual corpus."""
        return ExternalPerplexitySpec(name="calibration", max_chunks=4)

    def work(self, spec: ExternalPerplexitySpec, ctx: RunContext) -> Work:
        """Every piece; none where a corpus cannot be read."""
        try:
            return Work(len(_pieces(spec)))
        except (OSError, KeyError):
            return Work()

    def run(self, spec: ExternalPerplexitySpec, ctx: RunContext) -> ProbeResult:
        """Score every piece under both views and bound the mean change."""
        try:
            pieces = _pieces(spec)
        except (OSError, KeyError) as error:
            return _error(spec, str(error.args[0]) if isinstance(error, KeyError) else str(error))
        if not pieces:
            named = ", ".join(spec.names) or "nothing: name a corpus or give texts"
            return _error(spec, f"no piece is long enough to be scored; asked for: {named}")
        answers = ask_both(ctx, [p.text for p in pieces], score_texts).required(spec.name)
        told = [_Scored(pieces[i], b, t) for i, b, t in zip(answers.kept, answers.base, answers.tuned, strict=True)]
        finite = [s for s in told if math.isfinite(s.delta)]
        if not finite:
            return _error(spec, f"none of {len(told)} pieces has a finite log-probability under both views")
        return _judge(spec, ctx, finite, broken=len(told) - len(finite), unanswered=answers.reasons)


def _error(spec: ExternalPerplexitySpec, message: str) -> ProbeResult:
    evidence = {"weight": spec.weight}
    return safe_finalize(name=spec.name, kind=spec.kind, verdict=Verdict.ERROR, message=message, evidence=evidence)


def _pieces(spec: ExternalPerplexitySpec) -> list[_Piece]:
    found = []
    for name in spec.names:
        if name != OWN and name not in available_corpora():
            raise KeyError(_unknown(name))
        # An own text may hold empty lines of any number; only what divides the texts may divide parts. One that is
        # listed twice is not twice the evidence.
        own = (re.sub(r"\n{3,}", "\n\n", t) for t in dict.fromkeys(spec.texts))
        text = PART_BREAK.join(own) if name == OWN else load_corpus(name)
        cut = chunks(text, chunk_chars=spec.chunk_chars, max_chunks=spec.max_chunks)
        found += [_Piece(name, c.part, c.text) for c in cut]
    return found


@dataclass(frozen=True, slots=True)
class _Row:
    """One corpus, or all of them: the mean change of its pieces, its interval and what it may be at worst."""

    label: str
    found: Sequence[_Scored]
    mean: float
    ci: tuple[float, float] | None
    harm: Margin
    note: str

    @property
    def texts(self) -> int:
        return len({s.text_of for s in self.found})

    @property
    def blind(self) -> bool:
        """Whether the base predicts this text no better than the frequencies of its own bytes would.

        Such a base does not know the language of the text: a change of its guesses, for better or worse, says nothing
        of what the adapter did to what it knows.
        """
        return _bits(self.found)[0] >= _byte_entropy(self.found)

    @property
    def doubt(self) -> str:
        """Why this corpus proves nothing; empty if it does."""
        if self.harm.passed is None:
            return f"{self.label}: {self.harm.note}"
        before, plain = _bits(self.found)[0], _byte_entropy(self.found)
        known = f"with {before:.3g} bits a byte no better than the frequencies of its bytes ({plain:.3g})"
        return f"{self.label} proves nothing: the base predicts it {known}" * self.blind

    def fault(self, gate: float) -> str:
        """Why this corpus does not pass; empty if it does or nothing can be said."""
        upper = self.harm.upper
        if self.harm.passed is False and upper is not None:
            shown = "is beyond" if self.mean < gate else "may be beyond"
            return f"on {self.label} the change {shown} {gate:g} nats a token: {0.0 - upper:.3g} at worst"
        return f"on {self.label} the change is beyond {gate:g} nats a token" * (upper is None and self.mean < gate)

    def evidence(self) -> dict[str, Any]:
        before, after = _bits(self.found)
        return {
            "corpus": self.label,
            "num_chunks": len(self.found),
            "num_texts": self.texts,
            "mean_delta": self.mean,
            "ci_95": list(self.ci) if self.ci else None,
            "worst_delta": None if self.harm.upper is None else 0.0 - self.harm.upper,
            "p_harm": self.harm.p,
            "passed": self.harm.passed,
            "note": self.note,
            "base_bits_per_byte": before,
            "ft_bits_per_byte": after,
            "byte_entropy": _byte_entropy(self.found),
            "proves_nothing": self.blind,
        }


def _row(label: str, found: Sequence[_Scored], spec: ExternalPerplexitySpec, seed: int) -> _Row:
    """Bound the mean change: over texts where there are enough of them, else over stretches of the few there are."""
    gate = spec.assert_mean_delta_gte
    deltas, texts = [s.delta for s in found], [s.text_of for s in found]
    if len(set(texts)) >= MIN_CLUSTERS:
        harm = bounded_harm([-d for d in deltas], -gate, seed=seed, clusters=texts)
        return _Row(label, found, mean(deltas), cluster_ci(deltas, texts, seed=seed), harm, harm.note)
    parts = [v for s in found for v in s.stretches]
    harm = bounded_harm([-v for v in parts], -gate, seed=seed)
    note = f"{harm.note}; of {STRETCH} tokens each: it holds for these texts, not for others like them"
    return _Row(label, found, mean(deltas), interval(parts, seed=seed)[0], harm, note)


def _bits(found: Sequence[_Scored]) -> tuple[float, float]:
    """Bits a byte of UTF-8 under base and tuned: comparable between tokenizers and languages."""
    size = sum(len(s.piece.text.encode("utf-8")) for s in found)
    base, tuned = (
        sum(side.total_logprob for side in sides) for sides in zip(*((s.base, s.tuned) for s in found), strict=True)
    )
    return -base / LN2 / size, -tuned / LN2 / size


def _byte_entropy(found: Sequence[_Scored]) -> float:
    """Entropy of single bytes of the texts, bits: what knowing nothing but their frequencies would cost."""
    counts = Counter(b for s in found for b in s.piece.text.encode("utf-8"))
    total = counts.total()
    return -sum(n / total * math.log2(n / total) for n in counts.values())


def _per_token(sides: Sequence[RollingLogprob]) -> float:
    return sum(s.total_logprob for s in sides) / max(1, sum(len(s.logprobs) for s in sides))


def _judge(
    spec: ExternalPerplexitySpec, ctx: RunContext, found: Sequence[_Scored], *, broken: int, unanswered: Sequence[str]
) -> ProbeResult:
    gate = spec.assert_mean_delta_gte
    rows = [
        _row(name, own, spec, ctx.seed) for name in spec.names if (own := [s for s in found if s.piece.corpus == name])
    ]
    whole = rows[0] if len(rows) == 1 else _row("all corpora", found, spec, ctx.seed)
    faults = [text for row in rows if (text := row.fault(gate))]
    if broken:
        faults.append(f"{broken} of {broken + len(found)} pieces have no finite log-probability under one view")
    scored = {s.piece.corpus for s in found}
    doubts = [f"{name} could not be scored" for name in spec.names if name not in scored]
    doubts += [text for row in rows if (text := row.doubt)]
    null = calibration(ctx, spec, whole.mean)
    score = min(harm_score(row.harm.upper, -gate) for row in rows)
    base, tuned = _bits(found)
    return safe_finalize(
        name=spec.name,
        kind=spec.kind,
        verdict=Verdict.FAIL if faults else Verdict.WARN if doubts else Verdict.PASS,
        score=min(score, 0.59) if faults or doubts else score,
        raw=whole.mean,
        z_score=null.z if null else None,
        base_value=_per_token([s.base for s in found]),
        ft_value=_per_token([s.tuned for s in found]),
        ci_95=whole.ci,
        message=_message(spec, whole, [*faults, *doubts], (base, tuned), null),
        evidence={
            "corpus": spec.corpus,
            "corpora": list(spec.names),
            "chunk_chars": spec.chunk_chars,
            "num_chunks": len(found),
            "num_texts": whole.texts,
            "per_chunk_delta": [s.delta for s in found],
            "per_chunk_corpus": [s.piece.corpus for s in found],
            "per_chunk_text": [_title(s.piece) for s in found],
            "per_chunk_tokens": [len(s.tuned.logprobs) for s in found],
            "base_mean_logprob_per_tok": _per_token([s.base for s in found]),
            "ft_mean_logprob_per_tok": _per_token([s.tuned for s in found]),
            "base_bits_per_byte": base,
            "ft_bits_per_byte": tuned,
            "per_corpus": [row.evidence() for row in rows],
            "gate": gate,
            "unit": "nats a token",
            "worst_delta": None if whole.harm.upper is None else 0.0 - whole.harm.upper,
            "p_harm": whole.harm.p,
            "non_finite_chunks": broken,
            "unanswered_chunks": list(unanswered),
            "weight": spec.weight,
            "z_by_rank": null.z_by_rank if null else None,
            "null": null.evidence if null else None,
            "raw_ci_95": list(whole.ci) if whole.ci else None,
            "ci_note": whole.note,
            "panels": _panels(gate, rows, found),
        },
    )


def _title(piece: _Piece) -> str:
    if piece.corpus == OWN:
        return f"own text {piece.part + 1}"
    titles = part_titles(piece.corpus)
    return titles[piece.part] if piece.part < len(titles) else piece.corpus


def _message(
    spec: ExternalPerplexitySpec,
    whole: _Row,
    words: Sequence[str],
    bits: tuple[float, float],
    null: Calibration | None,
) -> str:
    band = f" [{whole.ci[0]:.3g}, {whole.ci[1]:.3g}]" if whole.ci else ""
    parts = [f"mean change {whole.mean:.3g}{band} nats a token over {len(whole.found)} pieces of {whole.texts} texts"]
    if whole.harm.upper is not None:
        parts.append(f"{0.0 - whole.harm.upper:.3g} at worst against {spec.assert_mean_delta_gte:g} allowed")
    parts.append(f"{bits[0]:.3g} → {bits[1]:.3g} bits a byte")
    parts += words
    return compared(parts, null, spec.kind, context=True)


def _panels(gate: float, rows: Sequence[_Row], found: Sequence[_Scored]) -> list[dict[str, Any]]:
    """Corpora side by side, and every piece under both views."""
    groups = tuple(
        Group(
            label=row.label,
            value=row.mean,
            lo=row.ci[0] if row.ci else None,
            hi=row.ci[1] if row.ci else None,
            n=len(row.found),
            flag="" if row.harm.passed is None or row.blind else "good" if row.harm.passed else "bad",
        )
        for row in rows
    )
    items = tuple(
        Row(
            label=f"{_title(s.piece)}: {s.piece.text[:48]}",
            base=-s.base.mean_logprob,
            tuned=-s.tuned.mean_logprob,
            flag="bad" if s.delta < gate else "",
            note=f"{s.delta:+.3g} nats a token over {len(s.tuned.logprobs)} tokens",
        )
        for s in found
    )
    note = "below the gate is harm; a corpus passes when the bad end of its one-sided 95 % interval is above it"
    return panels(
        Groups(title="Change of log-probability by corpus", unit="nats a token", gate=gate, groups=groups, note=note),
        Items(title="Loss of every piece of text", unit="nats a token", better="lower", rows=items),
    )
