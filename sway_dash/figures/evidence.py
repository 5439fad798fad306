"""What is shown of one probe's result, whatever its kind: panels, the judgement in numbers, the rest as a list."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sway_dash.core.numbers import p_text, said, z_text
from sway_dash.core.panels import Curve, Groups, Items, read_panels
from sway_dash.core.result import ProbeResult, SuiteResult, Verdict, jsonable
from sway_dash.figures.markup import table
from sway_dash.figures.public_evidence import from_public
from sway_dash.figures.theme import DASH, count, duration, esc, interval, number, visible
from sway_dash.report.formats import effect_rows
from sway_dash.suite.multiplicity import RULE, unit_of

OWN_PAGE = {"delta_kl": "prompts", "adapter_ablation": "ablation", "null_adapter": "null"}
"""Kinds that a page of their own shows in full."""

SIGNS = {
    Verdict.PASS: ("▲", "good", "pass"),
    Verdict.FAIL: ("▽", "bad", "fail"),
    Verdict.WARN: ("◇", "warn", "warn"),
    Verdict.SKIP: ("–", "muted", "skipped"),
    Verdict.ERROR: ("✕", "bad", "error"),
}
"""How a probe ended: sign, colour and word."""

FEW = 6
"""Items of a list that the plain list shows."""

MOST = 120
"""Characters of a text that the plain list shows."""

DEEP = 3
"""How deep mappings are taken apart; below it they are told by their size."""

TOLD = frozenset(["panels", "weight", "raw_ci_95", "unit", "null", "z_by_rank"])
"""Evidence that is shown elsewhere."""


def panels_of(result: ProbeResult) -> list[Items | Curve | Groups]:
    """What the probe wants shown; of public results without panels what their evidence can be drawn as."""
    return read_panels(result.evidence) or from_public(result.kind, result.evidence)


SHORT = 14
"""Characters of a unit that has room beside its number in a table."""


def _beside(unit: str) -> bool:
    """Whether a unit reads well after a number: ``0.2 nats``, but not ``0.2 share of items``."""
    return len(unit) <= SHORT and not unit.startswith("share")


def value_text(result: ProbeResult) -> str:
    """The value for a table: with its unit where that is short."""
    unit = value_unit(result)
    return number(result.raw, unit if _beside(unit) else "")


def value_unit(result: ProbeResult) -> str:
    """Unit of the value, safe to be shown."""
    return visible(unit_of(result))


def judgement(result: ProbeResult) -> list[tuple[str, str]]:
    """The numbers of a result by name; those that are not known are left out. Plain text."""
    unit = value_unit(result)
    value = number(result.raw)
    if unit and result.raw is not None:
        # "0.2 nats", but "0.2 (share of items)"
        value = f"{value} {unit}" if _beside(unit) else f"{value} ({unit})"
    weight = _float(result.evidence.get("weight"))
    found = [
        ("Score", number(result.score)),
        ("Value", value),
        ("95 % interval", interval(result.ci_95)),
        ("Base", number(result.base_value)),
        ("Tuned", number(result.ft_value)),
        ("Against random adapters", against_null(result)),
        ("By rank of the random adapters", _by_rank(result.evidence.get("z_by_rank"))),
        ("Weight", "" if weight == 1 else number(weight)),
        ("Time", duration(result.duration_s) if result.duration_s else DASH),
    ]
    return [(name, text) for name, text in found if text not in (DASH, "")]


def against_null(result: ProbeResult) -> str:
    """Where the value stands among random adapters, in a sentence; empty without any."""
    if result.z_score is None:
        return ""
    null = result.evidence.get("null")
    null = null if isinstance(null, Mapping) else {}
    parts = [said("z", z_text(result.z_score))]
    if (n := _float(null.get("n"))) is not None:
        parts.append(f"n = {n:.0f}")
    if (p := _float(null.get("p_prediction"))) is not None:
        parts.append(f"{said('p', p_text(p))} as the next draw")
    if (p := _float(null.get("p_rank"))) is not None:
        parts.append(f"{said('p', p_text(p))} by rank")
    if (largest := _float(null.get("largest_draw"))) is not None:
        parts.append(f"the largest of them {number(largest)}")
    return ", ".join(parts)


def _by_rank(z_by_rank: Any) -> str:
    if not isinstance(z_by_rank, Mapping) or len(z_by_rank) < 2:
        return ""
    return ", ".join(f"{visible(rank)}: {said('z', z_text(_float(z)))}" for rank, z in z_by_rank.items())


def _float(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def facts(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Everything else a probe left, as names and shortened values. Plain text; keys and values are untrusted."""
    found: list[tuple[str, str]] = []
    for key, value in evidence.items():
        if key not in TOLD:
            _collect(plain_name(key), value, 1, found)
    return found


NAMES = {
    "ci_note": "On the interval",
    "divergence_kind": "Divergence that is judged",
    "null_stats": "Random adapters",
    "null_stats_by_rank": "Random adapters by size",
    "null_draws": "Every random adapter",
    "per_kind_raw_samples": "Random adapters by kind",
    "calibrated_kinds": "Kinds compared with random adapters",
    "calibrated_entries": "Probes compared with random adapters",
    "skipped_kinds": "Kinds not compared with random adapters",
    "runs": "Random adapters that were drawn",
    "update_norms": "Size of the change of the weights",
    "from_cache": "Taken from an earlier run",
    "raw_note": "On the value",
}
"""Keys whose words alone would not say what they hold."""

WORDS = {
    "num": "number of", "per": "by", "ft": "tuned", "fp": "fingerprint", "doc": "document", "js": "JS", "kl": "KL",
    "icc": "ICC(1)", "r2": "R²", "lambda": "λ", "lambdas": "strengths λ", "init": "initial", "max": "largest",
    "p": "p-value", "mcnemar": "McNemar", "ci": "interval", "95": "95 %",
}  # fmt: skip
"""Short forms in keys, in words."""


def plain_name(key: object) -> str:
    """A key of the evidence in words: ``per_prompt_ci_95`` → ``By prompt, 95 % interval``; any other text as it is."""
    text = visible(key)
    if text in NAMES:
        return NAMES[text]
    if not re.fullmatch(r"[a-z][a-z0-9_]*", text):
        return text
    head = text.removesuffix("_ci_95")
    words = " ".join(WORDS.get(word, word) for word in head.split("_") if word)
    return f"{words[:1].upper()}{words[1:]}{', 95 % interval' if head != text else ''}"


def _collect(name: str, value: Any, depth: int, found: list[tuple[str, str]]) -> None:
    if isinstance(value, Mapping) and value and depth < DEEP:
        for key, inner in value.items():
            _collect(f"{name}: {visible(key)}", inner, depth + 1, found)
    else:
        found.append((name, brief(value)))


def brief(value: Any) -> str:
    """A value in a few words."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, Mapping):
        return count(len(value), "key") if value else "none"
    if isinstance(value, list | tuple):
        if not value:
            return "none"
        shown = [_inner(item) for item in value[:FEW]]
        more = f" … {len(value):,} in all" if len(value) > FEW else ""
        return ", ".join(shown) + more
    return _cut(visible(value), MOST)


def _inner(value: Any) -> str:
    if isinstance(value, Mapping):
        return _cut(" ".join(f"{visible(k)} {_inner(v)}" for k, v in value.items()), 80)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_inner(v) for v in value[:3])}{', …' if len(value) > 3 else ''}]"
    return _cut(brief(value), 60)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def full_json(result: ProbeResult) -> str:
    """The whole evidence, as in the result file."""
    return json.dumps(jsonable(result.evidence), indent=2, ensure_ascii=False)


def about(kind: str) -> str:
    """What a kind asks, in its own words; empty for a kind that is not installed."""
    from sway_dash.probes import registry

    probe = registry().get(kind)
    text = (probe.__doc__ or "").strip().split("\n")[0] if probe is not None else ""
    return visible(text)


def tests_of(result: SuiteResult) -> tuple[str, str]:
    """Table of the p-values of a suite, adjusted for how many there are, and its caption; empty below two tests."""
    rows = [tuple(map(esc, row)) for row in effect_rows(result)]
    if not rows:
        return "", ""
    head = ("Probe", "Effect", "95 % interval", "p", "p (Holm)", "q")
    shown = table(head, rows, right=(1, 2, 3, 4, 5), css_class="sway-tests")
    return shown, f"{len(rows)} probes were tested together. {RULE}"
