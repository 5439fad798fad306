"""From draws of random adapters to the columns and the words of the Null page: pure functions. No Bokeh, no Panel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sway_dash.core.divergence import LN2
from sway_dash.core.numbers import MAX_Z, p_text, said, z_text
from sway_dash.figures.derive import ProbeSeries, RunData
from sway_dash.figures.derive_null import FEW, MANY, SOME, Metric, NullSet, OwnNull, Standing, stand
from sway_dash.figures.null_evidence import draws_of, kept_of, skipped
from sway_dash.figures.theme import canvas_text, count, interval, number, percent, visible
from sway_dash.probes.null_adapter import primary_rank, rank_key
from sway_dash.suite.multiplicity import unit_of

Columns = dict[str, list[Any]]

ACROSS = 60
"""Dots that fit beside each other; closer ones are stacked."""

FAR = 3.0
"""The axis leaves out how far the next draw may reach where that is so many times all else: dots would be one."""

UNLIKE = 2.0
"""Random adapters whose change of the weights differs by more than this factor are pointed out."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One entry of the suite beside one set of random adapters."""

    entry: str
    null: str
    metric: Metric
    standing: Standing
    by_rank: dict[str, Standing]
    series: ProbeSeries
    draws: NullSet
    final: bool
    """The value and the draws are those of the result."""
    counts: bool = True
    """These are the draws that the entry is judged by."""

    kind: str = "delta_kl"

    @property
    def name(self) -> str:
        """``divergence`` in letters."""
        return self.metric.upper()

    @property
    def what(self) -> str:
        """The quantity that is compared, in words."""
        return f"Mean {self.name}" if self.kind == "delta_kl" else f"Value of {visible(self.entry)}"

    @property
    def axis(self) -> str:
        """The same with its unit, for an axis: names are never taken for TeX."""
        if self.kind == "delta_kl":
            return f"mean {self.name} divergence, nats"
        unit = canvas_text(self.standing.unit, 60)
        return f"{canvas_text(self.entry)} ({canvas_text(self.kind)})" + (f", {unit}" if unit else "")


def calibrated(data: RunData) -> list[Calibrated]:
    """Every ``delta_kl`` entry that has draws, in suite order, once for each set of draws."""
    return [f for f in every(data) if f.kind == "delta_kl"]


def every(data: RunData) -> list[Calibrated]:
    """Every entry of any kind that has draws, in suite order, once for each set of draws.

    Divergences are followed while they are measured; of other kinds only the result says what was compared.
    """
    kinds = {p.name: p.kind for p in data.fold.planned}
    found: list[Calibrated] = []
    for name in dict.fromkeys([*kinds, *data.series]):
        if kinds.get(name, "delta_kl") != "delta_kl":
            found += _of_result(data, name)
        elif name in data.series:
            found += _of_series(data, data.series[name])
    last = {f.entry: f for f in found if f.draws is f.series.null or f.draws.distribution == f.series.judged}
    last = {f.entry: f for f in found} | last
    return [replace(f, counts=last[f.entry] is f) for f in found]


def _of_series(data: RunData, series: ProbeSeries) -> Iterator[Calibrated]:
    result = data.finished.get(series.name)
    metric: Metric = "kl" if data.entries().get(series.name, {}).get("divergence") == "kl" else "js"
    points = series.running(metric)
    raw = result.raw if result is not None else points[-1].mean if points else None
    for null in _sets(data, series):
        made = data.finished.get(null.entry)
        evidence = made.evidence if made else {}
        known = draws_of(evidence, series.name)
        ranks = known or {rank: null.draws(metric, series.planned, rank) for rank in null.by_rank}
        # A result that was judged otherwise keeps the p it has told.
        told = result.evidence.get("null") if result is not None else None
        positive = not isinstance(told, Mapping) or told.get("positive") is True
        most = LN2 if metric == "js" else math.inf
        by_rank = {rank: stand(raw, values, positive=positive, most=most) for rank, values in ranks.items()}
        kept = kept_of(evidence, result.kind if result else "delta_kl")
        standing = by_rank.get(null.primary) or next(iter(by_rank.values()), stand(raw, (), kept))
        final = result is not None and bool(known or kept)
        yield Calibrated(series.name, null.entry, metric, standing, by_rank, series, null, final)


def _of_result(data: RunData, name: str) -> Iterator[Calibrated]:
    result = data.finished.get(name)
    told = result.evidence.get("null") if result is not None else None
    if result is None or not isinstance(told, Mapping):
        return
    series = ProbeSeries(name, judged=str(told.get("distribution") or ""))
    options: dict[str, Any] = {
        "sign": -1 if told.get("sign") == -1 else 1,
        "unit": visible(unit_of(result)),
    }
    for null in _sets(data, series):
        draws = draws_of(data.finished[null.entry].evidence, name)
        by_rank = {rank: stand(result.raw, values, **options) for rank, values in draws.items()}
        if standing := by_rank.get(null.primary):
            yield Calibrated(name, null.entry, "js", standing, by_rank, series, null, True, kind=result.kind)


def _sets(data: RunData, series: ProbeSeries) -> list[NullSet]:
    """Draws of a series by ``null_adapter`` entry, also those of which only the result is here."""
    sets = dict(series.null_sets)
    result = data.finished.get(series.name)
    for made in data.finished.values():
        if made.kind == "null_adapter" and made.name not in sets:
            own = draws_of(made.evidence, series.name)
            judged = result is not None and result.z_score is not None
            if own or (judged and kept_of(made.evidence, result.kind if result else "")):
                primary = primary_rank(own) if own else rank_key(1.0)
                sets[made.name] = NullSet(made.name, str(made.evidence.get("distribution") or "gaussian"), primary)
    return list(sets.values())


def why_none(data: RunData, live: bool) -> str:
    """Why there are no draws, and what would bring some."""
    entries = [p for p in data.fold.planned if p.kind == "null_adapter"]
    how = "Put a null_adapter entry with runs: 20 before the probes that are to be compared with noise."
    if not entries:
        return f"The suite has no null_adapter entry: a fixed threshold is all there is to compare with. {how}"
    if not any(p.enabled for p in entries):
        return "The null_adapter entry is turned off (enabled: false). Turn it on and run the suite again."
    if live and not any(p.name in data.finished for p in entries):
        return "The random adapters have not been drawn yet."
    for planned in entries:
        result = data.finished.get(planned.name)
        if result is None:
            continue
        if result.verdict in ("skip", "error"):
            return f"{visible(planned.name)} drew nothing: {visible(result.message)}"
        if reasons := skipped(result.evidence):
            return f"Nothing in this suite could be calibrated. {reasons}."
    return f"Nothing comes after the null_adapter entry that could be calibrated. {how}"


# -- columns ------------------------------------------------------------------------------------


def reach(standing: Standing, *, all_of_it: bool, gate: float | None = None) -> tuple[float, float]:
    """Ends of the axis: everything that is compared, or the draws alone."""
    values = list(standing.draws)
    if all_of_it:
        values += [0.0, *([standing.raw] if standing.raw is not None else []), *([gate] if gate else [])]
    edges: tuple[float, ...] = standing.expected or ()
    values += edges[:1] if boundless(standing, values) else edges
    lo, hi = min(values, default=0.0), max(values, default=1.0)
    pad = 0.05 * (hi - lo) or 0.05 * abs(hi) or 1.0
    return (lo - pad if not all_of_it or lo < 0 else -pad, hi + pad)


def boundless(standing: Standing, values: Sequence[float]) -> bool:
    """Whether a few draws, on the scale of logarithms, leave the next one an upper end far above all ``values``."""
    far = FAR * max(values, default=math.inf)
    return standing.positive and standing.expected is not None and standing.expected[1] > far


def shaded(standing: Standing, ends: tuple[float, float]) -> tuple[float, float] | None:
    """What is shaded as the range of the next draw, cut at the end of the axis; ``None`` where nothing is."""
    if not standing.calibrates or standing.expected is None:
        return None
    return (standing.expected[0], min(standing.expected[1], ends[1]))


def stacked(draws: Sequence[float], ends: tuple[float, float], names: Sequence[str], unit: str = "nats") -> Columns:
    """One dot a draw; from :data:`SOME` draws on dots that would overlap are stacked."""
    width = (ends[1] - ends[0]) / ACROSS
    height: dict[int, int] = {}
    out: Columns = {"x": [], "y": [], "text": []}
    for value, name in sorted(zip(draws, names, strict=True)):
        place = math.floor((value - ends[0]) / width) if len(draws) >= SOME else 0
        level = height.get(place, 0) if len(draws) >= SOME else 0
        height[place] = level + 1
        out["x"].append(value)
        out["y"].append(float(level))
        out["text"].append(f"{name}: {number(value, unit)}")
    return out


def ecdf(standing: Standing, ends: tuple[float, float]) -> tuple[Columns, Columns]:
    """Share of the draws at or below a value, and where the tuned value reads it off."""
    values, n = sorted(standing.draws), len(standing.draws)
    steps: Columns = {"x": [ends[0], *values, ends[1]], "share": [0.0, *((k + 1) / n for k in range(n)), 1.0]}
    if standing.raw is None or not ends[0] <= standing.raw <= ends[1]:
        return steps, {"x": [], "share": [], "text": []}
    share = sum(1 for v in values if v <= standing.raw) / n
    text = f"{number(standing.raw, standing.unit)}, {percent(1 - share)} of the draws above"
    return steps, {"x": [standing.raw], "share": [share], "text": [text]}


def rank_name(rank: str) -> str:
    """``rank_0.50`` → ``rank × 0.5``."""
    try:
        return f"rank × {float(rank.removeprefix('rank_')):g}"
    except ValueError:
        return visible(rank)


def ranks(by_rank: Mapping[str, Standing]) -> tuple[Columns, Columns, list[str]]:
    """One row a rank: its draws and the tuned value; and the names of the rows."""
    return rows([(rank_name(rank), s) for rank, s in sorted(by_rank.items(), key=lambda item: _multiple(item[0]))])


def rows(named: Sequence[tuple[str, Standing]]) -> tuple[Columns, Columns, list[str]]:
    """One row a set of draws, with the tuned value in each; and the names of the rows."""
    draws: Columns = {"x": [], "y": [], "text": []}
    tuned: Columns = {"x": [], "y": [], "text": []}
    for row, (_, standing) in enumerate(named):
        draws["x"] += standing.draws
        draws["y"] += [-float(row)] * len(standing.draws)
        draws["text"] += [number(v, standing.unit) for v in standing.draws]
        if standing.raw is not None:
            tuned["x"].append(standing.raw)
            tuned["y"].append(-float(row))
            tuned["text"].append(f"{number(standing.raw, standing.unit)}, {said('z', z_text(standing.z))}")
    return draws, tuned, [name for name, _ in named]


def _multiple(rank: str) -> float:
    try:
        return float(rank.removeprefix("rank_"))
    except ValueError:
        return math.inf


def norm_rows(trained: float | None, null: Mapping[str, float]) -> tuple[Columns, Columns, list[str]]:
    """Bars of ‖ΔW‖: the tuned adapter, then random ones by rank."""
    names = ["tuned"] if trained is not None else []
    tuned: Columns = {"y": [0.0] * len(names), "x": [], "text": []}
    if trained is not None:
        tuned["x"], tuned["text"] = [trained], [number(trained)]
    nulls: Columns = {"y": [], "x": [], "text": []}
    for rank, value in sorted(null.items(), key=lambda item: _multiple(item[0])):
        nulls["y"].append(-float(len(names)))
        nulls["x"].append(value)
        nulls["text"].append(number(value))
        names.append("random" if len(null) == 1 else f"random, {rank_name(rank)}")
    return tuned, nulls, names


# -- words --------------------------------------------------------------------------------------


def verdict(found: Calibrated) -> tuple[str, list[str]]:
    """Where the value stands, in one sentence, and the numbers behind it."""
    s = found.standing
    if not s.n:
        return "The random adapters have not been drawn yet.", []
    drawn = count(s.n, "random adapter")
    if not s.draws:
        return _kept(found, drawn)
    far = number(max(s.draws), s.unit)
    if min(s.draws) != max(s.draws):
        far = f"{number(min(s.draws))} to {far}"
    if s.raw is None:
        return f"{drawn}: {found.what[0].lower()}{found.what[1:]} {far}. Nothing tuned to compare with yet.", _few(s)
    so_far = "" if found.final else " so far"
    value = f"{found.what} {number(s.raw, s.unit)}{so_far}"
    if s.n < FEW:
        return f"{value}. {drawn} ({far}) cannot calibrate it: a spread takes at least {FEW}.", _few(s)
    if s.expected is None:
        return f"{value}. The {drawn} hardly differ from each other ({far}), so they cannot calibrate it.", _few(s)
    if s.above == s.n:
        where = f"above all {s.n} random adapters"
    elif not s.above:
        where = f"below all {s.n} random adapters"
    else:
        where = f"above {s.above} of {s.n} random adapters"
    return f"{value}: {where} ({far}).", [*_rank(s), *_tail(s), *_few(s)]


def _kept(found: Calibrated, drawn: str) -> tuple[str, list[str]]:
    """Of the draws only mean and spread are known."""
    s = found.standing
    value = f"{found.what} {number(s.raw, s.unit)}" if s.raw is not None else "Nothing tuned to compare with"
    middle = number((s.stats or {}).get("mean"), s.unit)
    text = f"{value}. {drawn} with a mean of {middle}; the single ones were not stored, so there is no rank."
    return text, [*_tail(s), *_few(s)]


def _rank(s: Standing) -> list[str]:
    smallest = 1 / (s.n + 1)
    text = f"Rank: {said('p', p_text(s.rank_p))}, n = {s.n}"
    if s.rank_p is not None and math.isclose(s.rank_p, smallest):
        text += f", the smallest that {s.n} draws can give (1 in {s.n + 1})"
    return [f"{text}."]


def _tail(s: Standing) -> list[str]:
    if s.z is None or s.p is None:
        return []
    normal = 0.5 * math.erfc(s.z / math.sqrt(2))
    of = " of the logarithms" if s.positive else ""
    p, z = said("p", p_text(s.p)), said("z", z_text(s.z))
    text = f"As the next draw: {p} (Student's t{of}, {s.n - 1} degrees of freedom); {z}"
    if s.n < MANY and abs(s.z) < MAX_Z:
        text += f", for which a normal tail would say {said('p', p_text(normal))}"
    lines = [f"{text}."]
    if s.expected is not None and boundless(s, s.draws):
        lines.append(
            f"The next random adapter would lie above {number(s.expected[0], s.unit)} with 97.5 %; {s.n} that differ so"
            " much do not say how far above."
        )
    elif s.expected is not None:
        lines.append(f"The next random adapter would fall within {interval(s.expected)}{_space(s.unit)} with 95 %.")
    return lines


def _space(unit: str) -> str:
    return f" {unit}" if unit else ""


def _few(s: Standing) -> list[str]:
    return [] if s.n >= 20 else ["From 20 random adapters on, the rank alone can reach p < 0.05."]


def own_null_text(own: OwnNull) -> str:
    """How many prompts stand above their own random adapters."""
    if not own.drawn:
        return "No prompt has been measured under both the tuned and a random adapter yet."
    parts = []
    if own.judged:
        chance = 0.05 * own.judged
        parts.append(
            f"{own.above} of {own.judged} prompts above their own null 95 % (by chance about {number(chance)} would be)"
        )
    parts.append(f"{own.above_all} of {own.drawn} above every draw on the same prompt (n = {own.draws})")
    if own.drawn > own.judged:
        left = own.drawn - own.judged
        parts.append(f"{count(left, 'prompt')} with draws too few or too much alike to judge")
    return "; ".join(parts) + "."


def norms_text(trained: float | None, null: Mapping[str, float], primary: str) -> str:
    """Whether the random adapters are as large as the tuned one."""
    size = null.get(primary, next(iter(null.values()), None))
    if trained is None or size is None or trained <= 0 or size <= 0:
        return "The backend does not tell how much the adapters change the weights."
    ratio = trained / size
    text = f"‖ΔW‖: tuned {number(trained)}, random {number(size)}"
    if 1 / UNLIKE <= ratio <= UNLIKE:
        return f"{text}: of like size."
    if ratio > 1:
        return f"{text}, {number(ratio)} times less: being above them is a weak test, because size alone would do it."
    return f"{text}, {number(1 / ratio)} times more: being above them is a hard test."


def same_twice(data: RunData) -> str:
    """What the same model twice differs by: measured before the probes, else where an ablation has measured λ = 0."""
    if (noise := data.noise) is not None:
        return (
            f"{count(noise.prompts, 'prompt')} in one batch and each alone, under base and tuned:"
            f" at most {number(noise.js, 'nats')} JS, {number(noise.kl, 'nats')} KL. Up to that everything is rounding."
        )
    for series in data.ablations.values():
        at_zero = [v for _, v in sorted(series.curves.get(0.0, {}).items())]
        if at_zero:
            most = max(at_zero)
            told = (
                f"at most {number(most, 'nats')}. Below that everything is rounding"
                if most
                else "equal to the last bit"
            )
            return (
                f"The base against itself (λ = 0 of {visible(series.name)}, {count(len(at_zero), 'prompt')}): {told}."
            )
    return ""
