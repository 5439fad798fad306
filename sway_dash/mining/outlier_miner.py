"""The prompts an adapter moves most and least, out of a pool: a probe run once over all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sway_dash.core.divergence import Divergence
from sway_dash.core.errors import ProbeError, SwayError
from sway_dash.core.events import Measurement
from sway_dash.core.packs import chunk_corpus, load_corpus
from sway_dash.core.scoring import DifferentialBackend
from sway_dash.probes import RunContext, build_probe, registry
from sway_dash.probes.measure import divergence_values


@dataclass(frozen=True, slots=True)
class OutlierCandidate:
    """A prompt, how far it moved (in the probe's unit), and its place in the pool."""

    prompt: str
    raw: float
    index: int


@dataclass(frozen=True, slots=True)
class OutlierResult:
    """The most and the least moved prompts, most extreme first; no prompt is in both lists."""

    probe_kind: str
    top: list[OutlierCandidate]
    bottom: list[OutlierCandidate]
    scored: int = 0
    """Different prompts that could be measured."""
    unmeasured: int = 0
    note: str = ""
    """What to keep in mind when reading the extremes."""


def mine_outliers(
    *,
    probe_kind: str,
    candidate_prompts: Sequence[str],
    backend: DifferentialBackend,
    top_k: int = 10,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> OutlierResult:
    """Measure every candidate with one run of a probe and rank them.

    Works for every kind that takes ``prompts`` and leaves a measurement, or a value in ``per_prompt`` of its evidence,
    for each; other kinds give an empty result. Candidates that cannot be measured are left out and counted.

    Parameters
    ----------
    probe_kind
        A registered kind.
    candidate_prompts
        The pool; repeated prompts count once.
    top_k
        Prompts a list.
    settings
        Further settings of the probe, such as ``{"positions": "continuation"}``.

    Raises
    ------
    ValueError
        If ``top_k`` is not positive.
    SwayError
        If fewer than ``2 · top_k`` different prompts were measured: the lists would overlap.
    ProbeError
        If no candidate at all could be measured.
    """
    if top_k <= 0:
        msg = f"top_k must be positive, got {top_k}"
        raise ValueError(msg)
    if not candidate_prompts:
        return OutlierResult(probe_kind, [], [])
    first: dict[str, int] = {}
    for index, prompt in enumerate(candidate_prompts):
        if prompt:
            first.setdefault(prompt, index)
    values, said = _measured(probe_kind, list(first), backend, seed, settings or {})
    if not values:
        note = f"{probe_kind} leaves no value for single prompts" + (f": {said}" if said else "")
        return OutlierResult(probe_kind, [], [], note=note)
    if len(values) < 2 * top_k:
        fitting = max(1, len(values) // 2)
        msg = f"{len(values)} different prompts are below the 2·top_k = {2 * top_k} needed. Pass --top-k {fitting}"
        raise SwayError(msg)
    found = [OutlierCandidate(prompt, raw, first[prompt]) for prompt, raw in values.items()]
    # One order for both lists: with ties at both ends no prompt is most and least at once.
    ordered = sorted(found, key=lambda c: (-c.raw, c.index))
    bottom = sorted(ordered[-top_k:], key=lambda c: (c.raw, c.index))
    note = (
        f"the extremes of {len(found)} prompts are extreme in part by the wording of each: measured with other wordings"
        " they lie nearer to the middle"
    )
    return OutlierResult(probe_kind, ordered[:top_k], bottom, len(found), len(first) - len(found), note)


def corpus_prompts(name: str, *, chunk_chars: int = 256, max_chunks: int = 64) -> list[str]:
    """Pieces of a corpus that ships, as candidates; ``KeyError`` when there is none of that name."""
    return list(chunk_corpus(load_corpus(name), chunk_chars=chunk_chars, max_chunks=max_chunks))


@dataclass
class _Kept:
    """Receiver of events that keeps the measurements of the probe itself."""

    measurements: list[Measurement] = field(default_factory=list)

    def __call__(self, event: Any) -> None:
        if isinstance(event, Measurement) and event.role == "probe":
            self.measurements.append(event)


def _measured(
    kind: str, prompts: list[str], backend: DifferentialBackend, seed: int, settings: Mapping[str, Any]
) -> tuple[dict[str, float], str]:
    """Value of every prompt that has one, in the order of the pool; and what the probe said."""
    cls = registry().get(kind)
    if cls is None or "prompts" not in cls.spec_cls.model_fields:
        return {}, ""
    probe, spec = build_probe({"name": "mining", "kind": kind, "prompts": prompts, **settings})
    kept = _Kept()
    error: ProbeError | None = None
    evidence: dict[str, Any] = {}
    said = ""
    try:
        result = probe.run(spec, RunContext(backend=backend, seed=seed, emit=kept))
        evidence, said = result.evidence, result.message
    except ProbeError as failure:
        # Too many prompts failed for a verdict; those that did not can be ranked all the same.
        error = failure
    by_text: dict[str, list[float]] = {}
    unit: Divergence = getattr(spec, "divergence", "js")
    for m, value in zip(kept.measurements, divergence_values(kept.measurements, unit), strict=True):
        by_text.setdefault(m.prompt, []).append(value)
    values = {text: by_text[text][0] for text in prompts if text in by_text}
    if not values:
        values = _from_evidence(evidence, prompts)
    if not values and error is not None:
        raise error
    return values, said


def _from_evidence(evidence: Mapping[str, Any], prompts: Sequence[str]) -> dict[str, float]:
    """Values a probe lists for its prompts, if the list belongs to them."""
    values, texts = evidence.get("per_prompt"), evidence.get("prompts", list(prompts))
    if not isinstance(values, list) or not isinstance(texts, list) or len(values) != len(texts):
        return {}
    pairs = zip(texts, values, strict=True)
    return {t: float(v) for t, v in pairs if isinstance(t, str) and isinstance(v, int | float)}
