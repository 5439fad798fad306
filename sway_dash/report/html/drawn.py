"""The figures of a run with the words below them, in every state a reader can ask for.

Columns come from ``figures``, as on the dashboard; a state is a probe and a divergence, an entry and a scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from sway_dash.core.divergence import LN2
from sway_dash.core.numbers import said, z_text
from sway_dash.core.stats import MIN_ITEMS
from sway_dash.figures import ablation_columns as ac
from sway_dash.figures import columns, plots
from sway_dash.figures import null_columns as nc
from sway_dash.figures.derive import AblationSeries, Metric, ProbeSeries, RunData, bounds_of, value_of
from sway_dash.figures.derive_ablation import shape
from sway_dash.figures.derive_mean import SETTLED
from sway_dash.figures.derive_null import SOME, norms, own_null
from sway_dash.figures.markup import table
from sway_dash.figures.plots import Plot, set_noise
from sway_dash.figures.plots.null import name_rows, norm_bars, null_draws, null_ecdf
from sway_dash.figures.plots.scale import LINEAR, ROOT, set_ticks
from sway_dash.figures.plots.strength import set_lambdas, strength_curve
from sway_dash.figures.theme import count, esc, interval, number, visible
from sway_dash.figures.trace_columns import view_name
from sway_dash.report.html.contents import METRICS, gate_of
from sway_dash.report.html.drawing import Drawing
from sway_dash.report.html.parts import caption, exact, folded, heading

NAMES = {"js": "JS divergence", "kl": "KL(tuned‖base)"}
Words = dict[str, dict[str, str]]


@dataclass
class Drawn:
    """Figures by name, and by the name of a place in the page the HTML it holds in each state."""

    figures: dict[str, Plot | Drawing] = field(default_factory=dict)
    words: Words = field(default_factory=dict)

    def first(self, name: str) -> str:
        """What a place holds at first."""
        return next(iter(self.words.get(name, {}).values()), "")

    def tell(self, name: str, state: str, html: str) -> None:
        """Let a place hold this in a state."""
        self.words.setdefault(name, {})[state] = html


def prompts(data: RunData, out: Drawn) -> None:
    """Verdict strip, running mean, and the frames that the page's scripts fill with prompts."""
    strip, trend = plots.null_strip(), plots.running_mean()
    frames = {"dots": plots.prompt_dots(), "ecdf": plots.prompt_ecdf()}
    states: dict[str, dict[str, Callable[[], None]]] = {name: {} for name in ("strip", "mean", *frames)}
    plots.set_rows(frames["dots"], {}, 1)
    for k, series in enumerate(data.series.values()):
        for metric in METRICS:
            if any(value_of(m, metric) != value_of(m, metric) for m in series.rows):
                continue  # of a result alone only the judged divergence is known
            state = f"{k}/{metric}"
            states["strip"][state] = partial(_strip, strip, data, series, metric)
            states["mean"][state] = partial(_mean, trend, data, series, metric)
            for name, plot in frames.items():
                states[name][state] = partial(_span, plot, data, series, metric)
            out.tell("strip", state, caption(_strip_words(data, series, metric)))
            out.tell("mean", state, caption(_mean_words(series, metric)))
    for name, plot in {"strip": strip, "mean": trend, **frames}.items():
        out.figures[name] = Drawing(plot, states[name])
    tokens, terms = plots.next_tokens(), plots.kl_bars()
    out.figures |= {"tokens": tokens, "terms": terms}
    plots.set_tokens(tokens, _nothing(tokens, "tokens"))
    plots.set_terms(terms, _nothing(terms, "terms"), 0.0)


def _nothing(plot: Plot, source: str) -> columns.Columns:
    """The columns of a source, empty."""
    return {name: [] for name in plot.sources[source].column_names}


def _null_means(data: RunData, series: ProbeSeries, metric: Metric) -> list[float]:
    """Means of the random adapters; of a result alone those that its evidence holds."""
    if series.null_sets:
        return series.null_means(metric)
    kept = [f for f in nc.calibrated(data) if f.entry == series.name and f.metric == metric]
    return next((list(f.standing.draws) for f in kept if f.counts), [])


def _strip(plot: Plot, data: RunData, series: ProbeSeries, metric: Metric) -> None:
    _, tuned = columns.strip(series, metric)
    draws = _null_means(data, series, metric)
    nulls: columns.Columns = {"x": draws, "y": [0.0] * len(draws), "text": [number(v, "nats") for v in draws]}
    plot.sources["nulls"].data, plot.sources["tuned"].data = nulls, tuned
    gate = gate_of(data, series.name, metric)
    plot.parts["gate"].update(location=gate or 0.0, visible=gate is not None)
    largest = max([*nulls["x"], *tuned["hi"], 1.2 * (gate or 0.0)], default=0.0)
    plot.reach("x", largest, bound=bounds_of(metric)[1], anew=True)
    plot.describe(_strip_words(data, series, metric))


def _strip_words(data: RunData, series: ProbeSeries, metric: Metric) -> str:
    draws = _null_means(data, series, metric)
    noise = "No random adapters: nothing to compare with"
    if draws:
        noise = f"{count(len(draws), 'random adapter')}: mean {metric.upper()} {number(min(draws))} to"
        noise += f" {number(max(draws))} nats"
    points = series.running(metric)
    if not points:
        return f"{noise}."
    band = f" (95 % CI {interval(points[-1].interval)})" if points[-1].interval else ""
    return f"{noise}. Tuned: {number(points[-1].mean)} nats{band}."


def _mean(plot: Plot, data: RunData, series: ProbeSeries, metric: Metric) -> None:
    points = series.running(metric)
    line, band = columns.running(points)
    plot.sources["line"].data, plot.sources["band"].data = line, band
    draws, gate = _null_means(data, series, metric), gate_of(data, series.name, metric)
    plot.parts["null"].update(bottom=min(draws, default=0.0), top=max(draws, default=0.0), visible=bool(draws))
    plot.parts["gate"].update(location=gate or 0.0, visible=gate is not None)
    wide = [hi for n, hi in zip(band["n"], band["hi"], strict=True) if n >= SETTLED]
    largest = max([*line["value"], *line["mean"], *wide, 1.2 * (gate or 0.0)], default=0.0)
    plot.reach("y", largest, bound=bounds_of(metric)[1], anew=True)
    set_noise(plot, "y", getattr(data.noise, metric) if data.noise else None)
    plot.figure.x_range.update(start=0.5, end=max(series.planned, len(points), 2) + 0.5)
    plot.describe(f"Running mean over the prompts. {_mean_words(series, metric)}")


def _mean_words(series: ProbeSeries, metric: Metric) -> str:
    points = series.running(metric)
    if not points:
        return "No prompt was measured."
    last = points[-1]
    # Nothing comes to a page that is written.
    ci = last.unsure(over=True) or f"95 % CI {interval(last.interval)}"
    note = f" {last.note} {last.order}" if last.note else ""
    return f"Mean {metric.upper()} {number(last.mean)} nats, {ci}, n = {last.distinct}.{note}"


def _span(plot: Plot, data: RunData, series: ProbeSeries, metric: Metric) -> None:
    """An axis that holds every prompt of the probe, so that a filter does not move it; KL on square roots."""
    scale = LINEAR if metric == "js" else ROOT
    ranges = [series.null_range(m.item, metric) for m in series.rows]
    largest = max([*(value_of(m, metric) for m in series.rows), *(r.hi for r in ranges if r)], default=1.0)
    plot.reach("x", scale.to(largest), bound=bounds_of(metric)[1] if metric == "js" else None, anew=True)
    plot.parts["bound"].update(visible=metric == "js" and plot.figure.x_range.end >= LN2)
    root = ", square-root axis" if scale is ROOT else ""
    plot.figure.xaxis[0].axis_label = f"{NAMES[metric]}, nats{root}"
    set_ticks(plot.figure.xaxis[0], plot.figure.x_range, scale)
    noise = getattr(data.noise, metric) if data.noise else None
    set_noise(plot, "x", None if noise is None else scale.to(noise))


# -- strength -----------------------------------------------------------------------------------


def strength(data: RunData, out: Drawn) -> None:
    """The λ curves."""
    if not data.ablations:
        return
    plot = strength_curve()
    states: dict[str, Callable[[], None]] = {}
    for k, series in enumerate(data.ablations.values()):
        for relative in (False, True):
            if relative and not series.relative():
                continue
            state = f"{k}/{'relative' if relative else 'nats'}"
            states[state] = partial(_curve, plot, data, series, relative)
            out.tell("strength", state, caption(_curve_words(series, relative)))
    out.figures["strength"] = Drawing(plot, states)
    for k, series in enumerate(data.ablations.values()):
        rows = [
            (exact(f"{lam:g}", lam), exact(number(mean), mean), esc(interval(ci)), f"{n:,}")
            for lam, mean, ci, n in series.points()
        ]
        twin = table(("λ", f"Mean {series.metric.upper()}, nats", "95 % interval", "Prompts"), rows, right=(0, 1, 2, 3))
        for scale in ("nats", "relative"):
            out.tell("strength-table", f"{k}/{scale}", folded("Every strength as a table", twin))


def _curve(plot: Plot, data: RunData, series: AblationSeries, relative: bool) -> None:
    result = data.finished.get(series.name)
    numbers = shape(series, data.entries().get(series.name, {}), result.evidence if result else {})
    line, band = ac.curve(series, relative=relative)
    each, _ = ac.each(series, relative=relative)
    straight, fit = ac.references(series, relative=relative)
    passed, found = ac.judged(series, numbers, relative=relative)
    whole = ac.whole(series, relative=relative)
    filled = {"line": line, "band": band, "whole": whole, "each": each, "straight": straight, "fit": fit}
    filled["pass"] = passed
    for name, found_columns in {**filled, "found": found}.items():
        plot.sources[name].data = found_columns
    set_lambdas(plot, series.lambdas())
    unit = "divergence / that at λ = 1" if relative else f"{series.metric.upper()} divergence, nats"
    plot.figure.yaxis[0].axis_label = unit
    largest = [*line["mean"], *band["hi"], *whole["hi"], *passed["y1"], *straight["y"]]
    largest += [1.5 * max(line["mean"], default=1.0)] if relative else [max(ys) for ys in each["ys"]]
    bounded = series.metric == "js" and not relative
    plot.parts["bound"].visible = bounded
    plot.reach("y", max(largest, default=0.0), bound=LN2 if bounded else None, anew=True)
    shapes = "; ".join(f"{n.name.lower()} {number(n.value)}, {n.verdict}" for n in numbers)
    plot.describe(f"Divergence by adapter strength. {_curve_words(series, relative)} {shapes}.")


def _curve_words(series: AblationSeries, relative: bool) -> str:
    points = series.relative() if relative else series.points()
    unit = "times the mean at λ = 1" if relative else "nats"
    told = "; ".join(f"λ = {lam:g}: {number(mean)}" for lam, mean, _, _ in points)
    n = max((p[3] for p in points), default=0)
    parts = [f"Mean {series.metric.upper()} over {count(n, 'prompt')}, {unit}: {told}."]
    how = "percentile" if relative else "bootstrap-t"
    parts.append(
        f"Band: {how}, the same resampled prompts at every λ, each λ by itself."
        if n >= MIN_ITEMS
        else f"No band below {MIN_ITEMS} prompts."
    )
    parts += filter(None, [ac.whole_words(ac.whole(series, relative=relative))])
    if max(series.lambdas(), default=0.0) > 1:
        parts.append("Beyond λ = 1 the adapter is stronger than it was trained: extrapolation.")
    return " ".join(parts)


# -- null ---------------------------------------------------------------------------------------


def null(data: RunData, out: Drawn) -> list[str]:
    """Draws, their cumulative distribution, ‖ΔW‖; names of the entries that can be chosen."""
    known = nc.every(data)
    if not known:
        return []
    draws, bars = null_draws(), norm_bars()
    steps = null_ecdf(draws)
    states: dict[str, dict[str, Callable[[], None]]] = {"null": {}, "null-ecdf": {}, "norms": {}}
    for k, found in enumerate(known):
        for whole in (True, False):
            state = f"{k}/{'all' if whole else 'random'}"
            states["null"][state] = partial(_draws, draws, data, found, whole)
            states["null-ecdf"][state] = partial(_steps, steps, data, found, whole)
            states["norms"][state] = partial(_norms, bars, data, found)
            _tell_null(data, found, state, out)
    for name, plot in (("null", draws), ("null-ecdf", steps), ("norms", bars)):
        out.figures[name] = Drawing(plot, states[name])
    many = len({f.null for f in known}) > 1
    return [visible(f.entry) + (f", against {visible(f.null)}" if many else "") for f in known]


def _draws(plot: Plot, data: RunData, found: nc.Calibrated, whole: bool) -> None:
    s = found.standing
    gate = _gate(data, found)
    ends = nc.reach(s, all_of_it=whole, gate=gate)
    plot.figure.x_range.update(start=ends[0], end=ends[1], reset_start=ends[0], reset_end=ends[1])
    dots = nc.stacked(s.draws, ends, _draw_names(found), s.unit)
    top = max(dots["y"], default=0.0) + 1.0
    inside = s.raw is not None and ends[0] <= s.raw <= ends[1]
    text = number(s.raw, s.unit)
    plot.sources["draws"].data = dots
    plot.sources["tuned"].data = (
        {"x": [s.raw], "y": [0.5 * top - 0.5], "text": [text]} if inside else {"x": [], "y": [], "text": []}
    )
    arrow = f"tuned ◆ {text} →" if (s.raw or 0.0) > ends[1] else f"← ◆ tuned {text}"
    right = ends[1] - 0.01 * (ends[1] - ends[0])
    beyond = s.raw is not None and not inside
    plot.sources["beyond"].data = {"x": [right], "text": [arrow]} if beyond else {"x": [], "text": []}
    plot.figure.y_range.update(start=-0.7 - 0.04 * top, end=1.04 * top + 0.3)
    plot.parts["dots"].glyph.size = min(9, max(3, 150 / (top + 1)))
    band = nc.shaded(s, ends)
    lo, hi = band or (0.0, 0.0)
    plot.parts["expected"].update(left=lo, right=hi, visible=band is not None)
    noise = data.noise if found.kind == "delta_kl" else None
    set_noise(plot, "x", getattr(noise, found.metric) if noise else None)
    plot.parts["gate"].update(location=gate or 0.0, visible=gate is not None)
    plot.figure.xaxis[0].axis_label = found.axis
    plot.describe(f"{visible(found.entry)} against {visible(found.null)}. {nc.verdict(found)[0]}")


def _steps(plot: Plot, data: RunData, found: nc.Calibrated, whole: bool) -> None:
    s = found.standing
    ends = nc.reach(s, all_of_it=whole, gate=_gate(data, found))
    steps, mark = nc.ecdf(s, ends) if len(s.draws) >= SOME else ({"x": [], "share": []}, {})
    plot.sources["steps"].data = steps
    plot.sources["tuned"].data = mark or {"x": [], "share": [], "text": []}
    plot.describe(f"Cumulative distribution of {count(s.n, 'random adapter')}. {nc.verdict(found)[0]}")


def _norms(plot: Plot, data: RunData, found: nc.Calibrated) -> None:
    made = data.finished.get(found.null)
    trained, random = norms(made.evidence if made else {})
    tuned, nulls, names = nc.norm_rows(trained, random)
    plot.sources["tuned"].data, plot.sources["nulls"].data = tuned, nulls
    name_rows(plot, names)
    plot.reach("x", max([*tuned["x"], *nulls["x"]], default=0.0), anew=True)
    plot.describe(f"Size of the change of the weights. {nc.norms_text(trained, random, found.draws.primary)}")


def _tell_null(data: RunData, found: nc.Calibrated, state: str, out: Drawn) -> None:
    sentence, facts = nc.verdict(found)
    lines = "".join(f"<li>{esc(fact)}</li>" for fact in facts)
    more = f'<ul class="sway-reasons">{lines}</ul>' if lines else ""
    out.tell("null", state, f'<p class="sway-sentence sway-num">{esc(sentence)}</p>{more}')
    how = "one dot a random adapter" if found.standing.draws else "shaded where the next random adapter would fall"
    if len(found.standing.draws) >= SOME:
        how += ", stacked where they would overlap; below, the share of them at or below a value"
    out.tell("null-caption", state, caption(f"{visible(found.entry)}, drawn by {visible(found.null)}: {how}."))
    rows = [
        (esc(name), exact(number(value, found.standing.unit), value))
        for name, value in zip(_draw_names(found), found.standing.draws, strict=True)
    ]
    twin = table(("Random adapter", found.what), rows, right=(1,), css_class="draws")
    out.tell("null-draws", state, folded("Every draw as a table", twin) if rows else "")
    made = data.finished.get(found.null)
    trained, random = norms(made.evidence if made else {})
    out.tell("norms", state, caption(nc.norms_text(trained, random, found.draws.primary)))
    out.tell("own-null", state, _by_prompt(found))
    ranks = sorted(found.by_rank.items())
    told = "; ".join(f"{nc.rank_name(r)}: {said('z', z_text(s.z))}, above {s.above} of {s.n}" for r, s in ranks)
    out.tell("ranks", state, f"<p>By rank: {esc(told)}.</p>" if len(ranks) > 1 else "")


def _by_prompt(found: nc.Calibrated) -> str:
    """Prompts among their own random adapters; of other kinds than ``delta_kl`` none are recorded."""
    if found.kind != "delta_kl":
        return ""
    own = own_null(found.series.rows, found.draws, found.metric)
    how = "The 95 % are those of the next draw on the prompt (t of logarithms, one-sided)." if own.judged else ""
    return f"<div>{heading('Prompt by prompt')}<p>{esc(nc.own_null_text(own))}</p>{caption(how)}</div>"


def _gate(data: RunData, found: nc.Calibrated) -> float | None:
    return gate_of(data, found.entry, found.metric) if found.kind == "delta_kl" else None


def _draw_names(found: nc.Calibrated) -> list[str]:
    """Names of the draws, by their seeds where those are known."""
    views = sorted(found.draws.by_rank.get(found.draws.primary, {}), key=_seed)
    n = len(found.standing.draws)
    return [view_name(view) for view in views] if len(views) == n else [f"random {k + 1}" for k in range(n)]


def _seed(view: str) -> tuple[int, str]:
    seed = view.partition("_")[2].partition("_")[0]
    return (int(seed) if seed.isdecimal() else 0, view)
