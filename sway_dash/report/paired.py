"""What a comparison of runs says, in sentences and as data: the same words on a screen, on a terminal and in a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from sway_dash.core.numbers import p_text, said
from sway_dash.core.paired import Paired
from sway_dash.core.result import jsonable
from sway_dash.report.formats import EM_DASH
from sway_dash.suite.status import LIVE

if TYPE_CHECKING:
    from sway_dash.suite.comparable import Mismatch
    from sway_dash.suite.comparison import Comparison, Contrast, Side

Number = Callable[[float], str]

FEW = 8
"""So many runs are named one by one."""

MINUS = "−"
NAMES = {"js": "JS", "kl": "KL"}


def three_digits(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}"


def letters(n: int) -> list[str]:
    """Short names of the runs of a comparison: A, B, C …"""
    return list(ascii_uppercase[:n])


def signed(value: float | None, number: Number = three_digits) -> str:
    """A difference with its sign: ``+0.03``, ``−0.01``, ``0``; a dash for what is not known."""
    if value is None or not math.isfinite(value):
        return EM_DASH
    text = number(abs(value))
    return text if value == 0 else f"{'+' if value > 0 else MINUS}{text}"


def summary(comparison: Comparison, contrast: Contrast, labels: Sequence[str], number: Number = three_digits) -> str:
    """One run against the baseline in one sentence."""
    stats, run, base = contrast.stats, labels[contrast.run], labels[comparison.baseline]
    name = NAMES[comparison.metric]
    pair = (contrast.run, comparison.baseline)
    if without := [i for i in pair if comparison.probe not in comparison.sides[i].probes]:
        own = ", ".join(comparison.sides[without[0]].probes) or "none"
        named = f" named {comparison.probe}" if comparison.probe else ""
        return (
            f"{labels[without[0]]} has no probe{named} with values of single prompts (its own: {own}): nothing can be"
            " paired. Entries of the same name are compared."
        )
    if not stats.n:
        return f"{run} has no prompt in common with {base}{_unpaired(contrast, run, base)}."
    if stats.identical:
        every = "the one prompt has" if stats.n == 1 else f"all {stats.n:,} prompts have"
        return f"Nothing changed: {every} the same {name} in {run} and {base}{_unpaired(contrast, run, base)}."
    ci = f"95 % CI {signed(stats.ci[0], number)} to {signed(stats.ci[1], number)}" if stats.ci else stats.ci_note
    how = f" ({_method(stats)}, n = {stats.n:,})" if stats.ci else ""
    counts = f"{stats.up:,} more changed, {stats.same:,} same, {stats.down:,} less changed"
    plain = "Nothing changed beyond noise: " if stats.same == stats.n else ""
    text = f"{plain}mean Δ{name} = {signed(stats.mean, number)} nats, {ci}{how} · {counts}"
    return text + _unpaired(contrast, run, base) + (f" · {_repeats(contrast)}" if contrast.repeats else "")


def significance(stats: Paired, number: Number = three_digits) -> str:
    """Test and effect size, with their names, for places that are looked up and not read first."""
    if stats.p is None:
        p = stats.p_note
    else:
        p = f"{said('p', p_text(stats.p))} ({stats.p_note})"
        if stats.tests > 1:
            p += f"; adjusted for {stats.tests} tests (Holm): {said('p', p_text(stats.p_holm or 0.0))}"
    d = stats.d_z_note if stats.d_z is None else f"d_z = {signed(stats.d_z, number)}"
    return f"{p}; {d}"


def mismatch_line(mismatch: Mismatch, labels: Sequence[str]) -> str:
    """``different dtype, A B: fp32, C: bf16 (rounding differs)``; runs with the same value together."""
    groups: dict[str, list[str]] = {}
    for label, value in zip(labels, mismatch.values, strict=True):
        groups.setdefault(value or "not known", []).append(label)
    # Names of several letters may hold blanks and commas themselves.
    within, between = (" ", ", ") if all(len(label) == 1 for label in labels) else (", ", "; ")
    told = between.join(f"{few(names, within)}: {value}" for value, names in groups.items())
    return f"different {mismatch.what}, {told} ({mismatch.why})"


def few(names: Sequence[str], between: str = ", ") -> str:
    """Names of runs; of many only the first."""
    return (
        between.join(names)
        if len(names) <= FEW
        else f"{between.join(names[: FEW - 2])} and {len(names) - FEW + 2} more"
    )


def remarks(sides: Sequence[Side], labels: Sequence[str]) -> list[str]:
    """What a reader should know of the runs, though nothing is wrong with it."""
    out = []
    for side, label in zip(sides, labels, strict=True):
        if side.status in LIVE:
            out.append(f"{label} is still being measured; prompts it has not reached yet are not paired.")
        elif side.status != "finished":
            done = f" after {side.fold.done:,} of {side.fold.total:,} measurements" if side.fold is not None else ""
            out.append(f"{label} was {_ended(side.status)}{done}; it is compared on the prompts it has.")
    adapters: dict[str, list[str]] = {}
    for side, label in zip(sides, labels, strict=True):
        if digest := side.environment.get("adapter_sha256"):
            adapters.setdefault(str(digest), []).append(label)
    out += [
        f"{_and(same)} measured the same adapter file: what differs between them is no difference of adapters."
        for same in adapters.values()
        if len(same) > 1
    ]
    return out


def to_dict(comparison: Comparison, labels: Sequence[str] | None = None) -> dict[str, Any]:
    """The whole comparison, JSON-ready: every prompt with its values and differences."""
    named = list(labels or letters(len(comparison.sides)))
    values = comparison.values
    return {
        "probe": comparison.probe,
        "divergence": comparison.metric,
        "baseline": named[comparison.baseline],
        "runs": [
            {"label": label, "id": side.id, "name": side.name, "status": side.status}
            for label, side in zip(named, comparison.sides, strict=True)
        ],
        "contrasts": [contrast_dict(comparison, c, named) for c in comparison.contrasts],
        "prompts": [
            {
                "prompt": text,
                "occurrence": occurrence + 1,
                "tags": list(comparison.alignment.tags[i]),
                "values": jsonable(dict(zip(named, values[i], strict=True))),
                "deltas": jsonable({named[c.run]: c.deltas[i] for c in comparison.contrasts}),
            }
            for i, (text, occurrence) in enumerate(comparison.alignment.keys)
            if comparison.admitted[i]
        ],
    }


def contrast_dict(comparison: Comparison, contrast: Contrast, labels: Sequence[str]) -> dict[str, Any]:
    """One run against the baseline, JSON-ready, without the values of its prompts."""
    stats, keys = contrast.stats, comparison.alignment.keys
    found = {
        "run": labels[contrast.run],
        "n": stats.n,
        "mean_delta": stats.mean,
        "ci_95": stats.ci,
        "ci_note": stats.ci_note,
        "more_changed": stats.up,
        "same": stats.same,
        "less_changed": stats.down,
        "d_z": stats.d_z,
        "p": stats.p,
        "p_holm": stats.p_holm,
        "tests": stats.tests,
        "p_note": stats.p_note,
        "noise_floor_of_mean": contrast.mean_floor,
        "only_in_run": [keys[i][0] for i in contrast.only_run],
        "only_in_baseline": [keys[i][0] for i in contrast.only_baseline],
        "summary": summary(comparison, contrast, labels),
    }
    return dict(jsonable(found))


def _method(stats: Paired) -> str:
    return "paired bootstrap-t" if "bootstrap" in stats.ci_note else "paired skewness-corrected t"


def _unpaired(contrast: Contrast, run: str, base: str) -> str:
    parts: list[str] = []
    for only, label in ((contrast.only_baseline, base), (contrast.only_run, run)):
        if only.size:
            what = ("prompt" if only.size == 1 else "prompts") if not parts else ""
            parts.append(f"{only.size:,} {what} only in {label}".replace("  ", " "))
    return f" · {', '.join(parts)}" if parts else ""


def _repeats(contrast: Contrast) -> str:
    n = contrast.repeats
    return "1 repeated prompt counts once" if n == 1 else f"{n:,} repeats count once"


def _ended(status: str) -> str:
    return {"failed": "ended by an error"}.get(status, status)


def _and(names: Sequence[str]) -> str:
    if len(names) > FEW:
        return few(names)
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"
