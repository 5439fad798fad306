"""How numbers and names are written in every report, and what a report gathers from many probes. No rendering here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sway_dash.core.foreign import count, number
from sway_dash.core.numbers import DASH, p_text, z_text
from sway_dash.core.numbers import number as significant
from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore, Verdict
from sway_dash.core.stats import format_z_profile
from sway_dash.suite import multiplicity

if TYPE_CHECKING:
    from sway_dash.suite.gate import Gate

EM_DASH = DASH
NULL_PROBE = "null_adapter"
NO_NULL = "this kind has no null"
"""A reason that says no more than that there is none."""
_EXTRA = re.compile(r"install the \[([^\[\]]+)\] extra", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def format_score(value: float | None) -> str:
    """Two decimals; an em dash for what is not known."""
    return f"{value:.2f}" if _known(value) else EM_DASH


def format_raw(value: float | None) -> str:
    """Three decimals with thousands commas, what they would round to zero as it is; an em dash for the unknown."""
    if value is None or not math.isfinite(value):
        return EM_DASH
    return significant(value) if 0 < abs(value) < 0.0005 else f"{value + 0.0:,.3f}"


def format_z(value: float | None) -> str:
    """Signed, in null standard deviations: ``+1,234.56σ``, ``≥ +99σ`` where it is cut; an em dash for the unknown."""
    return z_text(value)


def format_ci(ci: tuple[float, float] | None) -> str:
    """Both bounds with three decimals: ``[0.100, 0.250]``; an em dash when one is not known."""
    if ci is None or not all(map(_known, ci)):
        return EM_DASH
    return f"[{format_raw(ci[0])}, {format_raw(ci[1])}]"


def effect_rows(suite: SuiteResult) -> Iterator[tuple[str, ...]]:
    """Name, effect with its unit, 95 % interval, p, p by Holm and q of every test, where there are at least two."""
    for t in multiplicity.adjusted(suite):
        effect = f"{format_raw(t.effect)} {t.unit}".strip()
        yield t.name, effect, format_ci(t.ci), p_text(t.p), p_text(t.p_holm), p_text(t.q_value)


def format_duration_s(value: float | None) -> str:
    """Seconds: two decimals below 10, one below 100, then whole with thousands commas (``12,346s``)."""
    if value is None or not math.isfinite(value):
        return EM_DASH
    if value < 10:
        return f"{value:.2f}s"
    return f"{value:.1f}s" if value < 100 else f"{value:,.0f}s"


BANDS: Mapping[str, tuple[str, str]] = {
    "noise": ("below 0.3", "what was asked of the adapter was hardly found, if at all"),
    "partial": ("0.3 to 0.6", "part of what was asked of the adapter was found"),
    "healthy": ("0.6 to 0.85", "most of what was asked of the adapter was found"),
    "suspicious": (
        "above 0.85",
        "nearly all that was asked of the adapter was found; the word is the public format's hint to look for"
        " overfitting, not a fault that was seen",
    ),
}
"""Band of the public format → its range, and what it means."""

REPEATS: Mapping[str, str] = {
    "strict": "measured again, the numbers are the same to the last bit",
    "best_effort": "measured again, the numbers may differ in their last digits",
    "loose": "measured again, the numbers may differ",
}
"""What the classes of repeatability say, in our words."""

NOT_COUNTED = "(informational, weight=0): not part of the overall score"
"""Beside a category that has no weight."""


def band_words(band: str) -> str:
    """Range and meaning of a band of the public format; empty for one that it does not have."""
    return ": ".join(BANDS.get(band, ()))


def printable(text: object) -> str:
    """Text with control characters and lone surrogates replaced: untrusted text must not steer a terminal."""
    return _CONTROL.sub("\ufffd", str(text))


def one_line(text: object) -> str:
    """Printable text on one line, trimmed."""
    return printable(re.sub(r"\r\n|\r|\n", " ", str(text))).strip()


def adapter_label(adapter_id: str) -> str:
    """Short name of an adapter: its last three path parts, quoted when it holds white space."""
    if not adapter_id:
        return "(base only)"
    parts = adapter_id.rstrip("/").split("/")
    label = "/".join(parts[-3:]) if len(parts) > 3 else adapter_id
    return f'"{label}"' if re.search(r"\s", label) else label


def cache_line(suite: SuiteResult) -> str | None:
    """``cache: 5/15 = 33%``, with batches when there were some; ``None`` when nothing was looked up."""
    stats = suite.backend_stats
    hits, misses = count(stats.get("cache_hits")), count(stats.get("cache_misses"))
    if hits + misses == 0:
        return None
    line = f"cache: {hits}/{hits + misses} = {100 * hits / (hits + misses):.0f}%"
    if n := count(stats.get("batches_sent")):
        line += f" | batches: {n} (avg={number(stats.get('avg_batch_size')) or 0.0:.1f})"
    return line


def gate_words(gate: Gate) -> str:
    """``passed``, or ``FAILED`` and every reason, on one line."""
    return "passed" if gate.passed else f"FAILED: {one_line('; '.join(gate.reasons))}"


def note(probe: ProbeResult) -> str:
    """A probe's message, followed by its z at every null strength when there are several."""
    z_by_rank = probe.evidence.get("z_by_rank")
    if not isinstance(z_by_rank, Mapping) or len(z_by_rank) < 2:
        return probe.message
    profile = f"rank profile: {format_z_profile(z_by_rank)}"
    return f"{probe.message} | {profile}" if probe.message else profile


def component_rows(score: SwayScore) -> Iterator[tuple[str, float, float]]:
    """Category, score and weight of every component: default categories first, in their usual order."""
    from sway_dash.core.result import DEFAULT_COMPONENT_WEIGHTS

    names = [*(c for c in DEFAULT_COMPONENT_WEIGHTS if c in score.components)]
    names += [c for c in score.components if c not in DEFAULT_COMPONENT_WEIGHTS]
    for name in names:
        yield name, score.components[name], score.weights.get(name, 0.0)


def n_skipped(suite: SuiteResult) -> int:
    """How many probes were skipped, for whatever reason."""
    return sum(p.verdict == Verdict.SKIP for p in suite.probes)


def missing_extras_of(probe: ProbeResult) -> set[str]:
    """Optional dependencies a skipped probe asked for: ``evidence["missing_extra"]``, or named in its message."""
    if probe.verdict != Verdict.SKIP:
        return set()
    field = probe.evidence.get("missing_extra")
    named = {field} if isinstance(field, str) else {str(x) for x in field} if isinstance(field, list | tuple) else set()
    return {x for x in named if x} | set(_EXTRA.findall(probe.message))


def collect_missing_extras(suite: SuiteResult) -> list[str]:
    """Names of the optional dependencies that skipped probes asked for, sorted."""
    return sorted(set().union(*map(missing_extras_of, suite.probes)))


def collect_null_opt_outs(suite: SuiteResult) -> list[str]:
    """Probe kinds that have no null calibration, sorted."""
    return sorted(null_opt_out_reasons(suite))


def null_opt_out_reasons(suite: SuiteResult) -> dict[str, str]:
    """Probe kind → why it has no null calibration; an empty reason when none was given."""
    reasons: dict[str, str] = {}
    for probe in suite.probes:
        skipped = probe.evidence.get("skipped_kinds") if probe.kind == NULL_PROBE else None
        for entry in skipped if isinstance(skipped, list | tuple | set | frozenset) else ():
            kind, reason = (entry.get("kind"), entry.get("reason")) if isinstance(entry, Mapping) else (entry, None)
            if isinstance(kind, str):
                reasons[kind] = reasons.get(kind) or ("" if reason == NO_NULL else str(reason or ""))
    return reasons


def collect_degenerate_null_kinds(suite: SuiteResult) -> list[str]:
    """Kinds whose null draws do not vary, so that no z can be formed, sorted. Empty without a null probe."""
    if not any(p.kind == NULL_PROBE for p in suite.probes):
        return []
    return sorted(k for k, stats in suite.null_stats.items() if _is_degenerate(stats))


def _is_degenerate(stats: Any) -> bool:
    flag = stats.get("degenerate") if isinstance(stats, Mapping) else None
    return isinstance(flag, bool | int | float) and float(flag) >= 0.5


def install_line(extras: list[str]) -> str:
    """Command that installs optional dependencies."""
    from sway_dash.core.errors import DISTRIBUTION

    return f"pip install '{DISTRIBUTION}[{','.join(extras)}]'"


def skipped_sentence(suite: SuiteResult) -> str:
    """How many probes were skipped, and how many of them for want of a package."""
    total, wanting = n_skipped(suite), sum(bool(missing_extras_of(p)) for p in suite.probes)
    skipped = f"{total} {'probe was' if total == 1 else 'probes were'} skipped"
    return f"{skipped}, {wanting} for want of a package that can be installed:"
