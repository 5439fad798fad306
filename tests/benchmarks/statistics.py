"""How often the statistics keep their word. Prints tables; asserts nothing.

    python -m tests.benchmarks.statistics              # some minutes
    python -m tests.benchmarks.statistics --trials 300 # rougher

Everything is simulated with fixed seeds. With 600 trials a coverage of 95 % is known to ± 1.8 points.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sway_dash.core.bands import sup_t
from sway_dash.core.bootstrap import bootstrap_t
from sway_dash.core.divergence import LN2
from sway_dash.core.grouped import gravest, harm_ci, independent_worth, mcnemar_groups, net_ci
from sway_dash.core.margins import RESAMPLES, fallen_rate, non_inferior
from sway_dash.core.rates import wilson
from sway_dash.core.sequences import CAP, HORIZONS, START, WEIGHTS, confidence_sequence
from sway_dash.core.stats import bootstrap_ci, cluster_ci, next_draw_p

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]

ALPHA = 0.05
SKEWED: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, n: rng.normal(0.0, 1.0, n), 0.0),
    "exponential": (lambda rng, n: rng.exponential(1.0, n), 1.0),
    "gamma 1/2": (lambda rng, n: rng.gamma(0.5, 1.0, n), 0.5),
}
ONE_SIDED: dict[str, tuple[Draw, float]] = SKEWED | {
    "exponential, tail below": (lambda rng, n: -rng.exponential(1.0, n), -1.0),
}
BOUNDED: dict[str, tuple[Draw, float]] = {
    "uniform": (lambda rng, n: LN2 * rng.uniform(size=n), LN2 / 2),
    "beta(2, 5)": (lambda rng, n: LN2 * rng.beta(2, 5, n), LN2 * 2 / 7),
    "beta(1, 6)": (lambda rng, n: LN2 * rng.beta(1, 6, n), LN2 / 7),
    "beta(1/2, 6)": (lambda rng, n: LN2 * rng.beta(0.5, 6, n), LN2 * 0.5 / 6.5),
    "beta(1/2, 20)": (lambda rng, n: LN2 * rng.beta(0.5, 20, n), LN2 * 0.5 / 20.5),
    "rate 0.1": (lambda rng, n: LN2 * (rng.uniform(size=n) < 0.1), LN2 * 0.1),
}


def table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print columns under a title."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    print(f"\n{title}")
    for row in [header, *rows]:
        print(
            "  "
            + "  ".join(
                cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def means(trials: int) -> None:
    """Coverage of the interval of a mean, and what it costs in width."""
    from scipy.stats import t

    sizes = (4, 5, 6, 7, 8, 12, 16, 32, 64)
    rows, widths = [], []
    for name, (draw, truth) in SKEWED.items():
        rng = np.random.default_rng(1)
        row, width = [name], [name]
        for n in sizes:
            hits, ratios = 0, []
            for k in range(trials):
                x = draw(rng, n)
                lo, hi = bootstrap_ci(x, seed=k) or (0.0, 0.0)
                hits += lo <= truth <= hi
                ratios.append((hi - lo) / (2 * t.ppf(0.975, n - 1) * x.std(ddof=1) / np.sqrt(n)))
            row.append(percent(hits / trials))
            width.append(f"{np.mean(ratios):.2f}")
        rows.append(row)
        widths.append(width)
    error = 100 * np.sqrt(0.95 * 0.05 / trials)
    table(f"bootstrap-t, coverage at a nominal 95 % (± {error:.1f})", ["items", *map(str, sizes)], rows)
    table("its mean width over that of Student's interval", ["items", *map(str, sizes)], widths)


def rates() -> None:
    """Coverage of Wilson's interval, exact, over a grid of rates."""
    from scipy.stats import binom

    grid = np.linspace(0.005, 0.995, 199)
    rows = []
    for n in (5, 10, 20, 50, 100):
        ends = np.array([wilson(k, n) for k in range(n + 1)])
        holds = (ends[:, 0, None] <= grid) & (grid <= ends[:, 1, None])
        coverage = (binom.pmf(np.arange(n + 1)[:, None], n, grid) * holds).sum(axis=0)
        rows.append([str(n), percent(coverage.mean()), percent(coverage.min()), f"{grid[coverage.argmin()]:.3f}"])
    table("Wilson, exact coverage over rates 0.005 to 0.995", ["items", "mean", "least", "at rate"], rows)


def clusters(trials: int) -> None:
    """Coverage of the interval over clusters of unequal size, and of one that takes the items as independent."""
    rows = []
    for g in (4, 6, 8, 10, 20, 30):
        for name, (draw, truth) in SKEWED.items():
            rng = np.random.default_rng(2)
            hits = plain = 0
            for k in range(trials):
                sizes = rng.integers(2, 12, g)
                of = np.repeat(np.arange(g), sizes)
                x = draw(rng, g)[of] + 0.5 * rng.normal(size=of.size)
                ci, naive = cluster_ci(x, of.tolist(), seed=k), bootstrap_ci(x, seed=k, n_bootstrap=300)
                hits += ci is not None and ci[0] <= truth <= ci[1]
                plain += naive is not None and naive[0] <= truth <= naive[1]
            rows.append([f"{g} clusters, {name}", percent(hits / trials), percent(plain / trials)])
    table("cluster bootstrap-t, coverage at a nominal 95 %", ["2 to 11 items each", "clusters", "as independent"], rows)


def grouped_rates(trials: int) -> None:
    """Coverage of Wilson's interval of items in groups: of what they are worth, and taken as independent."""
    rows = []
    for g, m in ((8, 10), (10, 20), (20, 5)):
        of = np.repeat(np.arange(g), m).tolist()
        for rate in (0.05, 0.3):
            row = [f"{g} groups of {m}, rate {rate}"]
            for icc in (0.0, 0.1, 0.3, 1.0):
                rng = np.random.default_rng(7)
                hits = plain = 0
                for _ in range(trials):
                    a = 1.0 / icc - 1.0 if icc else 0.0
                    own = rng.beta(rate * a, (1.0 - rate) * a, g) if a else np.full(g, rate)
                    if icc == 1.0:
                        own = rng.uniform(size=g) < rate
                    flags = (rng.uniform(size=g * m) < np.repeat(own, m)).tolist()
                    lo, hi = wilson(*independent_worth(flags, of)) or (0.0, 0.0)
                    hits += lo <= rate <= hi
                    lo, hi = wilson(sum(flags), g * m) or (0.0, 0.0)
                    plain += lo <= rate <= hi
                row.append(f"{percent(hits / trials)} ({percent(plain / trials)})")
            rows.append(row)
    header = ["correlation inside a group", "0", "0.1", "0.3", "1"]
    table("Wilson of what groups are worth (as independent), coverage at a nominal 95 %", header, rows)


def grouped_changes(trials: int) -> None:
    """Net rates of items in groups, as often set right as wrong: how often interval and test see a change."""
    rows, tests = [], []
    for g, m in ((5, 2), (10, 5), (20, 5), (40, 2)):
        of = np.repeat(np.arange(g), m)
        for moving in (0.1, 0.8):
            of_kinds = np.array([0.0, moving / 2, moving / 2, 1.0 - moving])
            row, test = [f"{g} groups of {m}, {moving:.0%} move"], [f"{g} groups of {m}, {moving:.0%} move"]
            for icc in (0.0, 0.1, 0.3, 1.0):
                rng = np.random.default_rng(9)
                missed, rejected = np.zeros(2), np.zeros(2)
                for _ in range(trials):
                    kind = kinds_in_groups(rng, of_kinds, of, icc)
                    before, after = ((kind == 2) | (kind == 0)).tolist(), ((kind == 1) | (kind == 0)).tolist()
                    for i, groups in enumerate((of.tolist(), range(g * m))):
                        lo, hi = net_ci(before, after, groups) or (1.0, 1.0)
                        missed[i] += not lo <= 0.0 <= hi
                        rejected[i] += mcnemar_groups(before, after, list(groups))[0] <= ALPHA
                row.append("{} ({})".format(*map(percent, 1.0 - missed / trials)))
                test.append("{} ({})".format(*map(percent, rejected / trials)))
            rows.append(row)
            tests.append(test)
    header = ["correlation inside a group", "0", "0.1", "0.3", "1"]
    table("Newcombe of what groups are worth (as independent), coverage at a nominal 95 %", header, rows)
    table("McNemar of whole groups (of items as independent), rejected at 5 %", header, tests)


def grouped_harms(trials: int) -> None:
    """One-sided bounds where some groups are lost as a whole and of the others a few items."""
    rows = []
    for g, m in ((8, 5), (10, 20), (16, 5), (20, 10), (40, 4)):
        of = np.repeat(np.arange(g), m)
        row = [f"{g} groups of {m}"]
        for whole, single in ((0.0, 0.05), (0.05, 0.0), (0.1, 0.02), (0.15, 0.02), (0.25, 0.05)):
            rng = np.random.default_rng(11)
            truth = whole + (1.0 - whole) * single
            held, one_correlation, items = np.zeros(3)
            for _ in range(trials):
                flags = ((rng.uniform(size=g) < whole)[of] | (rng.uniform(size=g * m) < single)).tolist()
                counts = gravest(flags, of.tolist())
                held += truth <= (harm_ci(counts, confidence=0.9) or (0.0, 0.0))[1]
                one_correlation += truth <= (wilson(*counts[0], confidence=0.9) or (0.0, 0.0))[1]
                items += truth <= (wilson(sum(flags), g * m, confidence=0.9) or (0.0, 0.0))[1]
            row.append("{} ({}, {})".format(*(percent(h / trials) for h in (held, one_correlation, items))))
        rows.append(row)
    header = ["lost as a whole + singly", "0 + 5 %", "5 % + 0", "10 % + 2 %", "15 % + 2 %", "25 % + 5 %"]
    title = "bound of a harm in groups (with one correlation, of items as independent), coverage at a one-sided 95 %"
    table(title, header, rows)


def kinds_in_groups(
    rng: np.random.Generator, shares: Array, of: npt.NDArray[np.intp], icc: float
) -> npt.NDArray[np.intp]:
    """A kind an item, of which those of a group are alike to the degree ``icc``."""
    g = int(of.max()) + 1
    if icc == 0.0:
        own = np.tile(shares, (g, 1))
    elif icc == 1.0:
        own = np.eye(len(shares))[rng.choice(len(shares), size=g, p=shares)]
    else:
        own = rng.dirichlet(np.maximum(shares, 1e-9) * (1.0 / icc - 1.0), g)
    return np.minimum((rng.uniform(size=(of.size, 1)) > own.cumsum(axis=1)[of]).sum(axis=1), len(shares) - 1)


def bands(trials: int) -> None:
    """Coverage of a band over a whole mean curve of skewed values, also where curves end early."""
    rows = []
    for n, k, short in ((8, 16, False), (24, 32, False), (64, 32, False), (24, 32, True), (64, 32, True)):
        rng = np.random.default_rng(8)
        held = 0
        for seed in range(trials):
            x = 0.5 * rng.exponential(1.0, (n, 1)) + 0.5 * rng.exponential(1.0, (n, k))
            if short:
                x[np.arange(k) >= rng.integers(k // 3, k + 1, n)[:, None]] = np.nan
            lo, hi = sup_t(x, seed=seed) or (x[0], x[0])
            held += not (lo > 1.0).any() and not (hi < 1.0).any()
        rows.append([f"{n} curves of {k}" + ", ending early" * short, percent(held / trials)])
    table("sup-t band, all points held, % (nominal 95)", ["mean curves", "held"], rows)


def fallen(sizes: tuple[int, ...] = (10, 20)) -> None:
    """How often a rate that fell by the margin passes: exact, a fifth of the items wrong on both sides."""
    from scipy.stats import binom, multinomial

    rows = []
    for n in sizes:
        for margin in (0.05, 0.1, 0.2, 0.3):
            row = [f"{n} items, margin {margin}"]
            for gained in (0.0, 0.05, 0.15):
                lost, total = margin + gained, 0.0
                for c in range(n + 1):
                    for b in range(n + 1 - c):
                        chance = multinomial.pmf([c, b, n - c - b], n, [lost, gained, 1 - lost - gained])
                        if chance < 1e-7:
                            continue
                        shares = binom.pmf(np.arange(n - c - b + 1), n - c - b, 0.2 / (1 - lost - gained))
                        for d in np.flatnonzero(shares > 1e-5):
                            total += chance * shares[d] * bool(fallen_rate(n - c - b - d, b, c, d, margin).passed)
                row.append(percent(total))
            rows.append(row)
    table("paired rate that fell by the margin passes, % (nominal 5)", ["gained", "0", "0.05", "0.15"], rows)


def sequences(trials: int) -> None:
    """How often a band is missed by the mean at any of 1,000 looks, and its width against fixed-n intervals."""
    looks = (50, 200, 1000)
    runs = 40 * trials
    rows = []
    for name, (draw, truth) in BOUNDED.items():
        rng = np.random.default_rng(3)
        missed = fixed = 0
        for start in range(0, runs, 2000):
            x = draw(rng, looks[-1] * min(2000, runs - start)).reshape(-1, looks[-1]) / LN2
            missed += int(ever_excluded(x, truth / LN2).sum())
            n = np.arange(1, looks[-1] + 1)
            centre = np.cumsum(x, axis=1) / n
            half = 1.96 * np.sqrt(np.maximum(np.cumsum(x**2, axis=1) / n - centre**2, 0.0) / n)
            fixed += int((np.abs(centre - truth / LN2) > half)[:, 19:].any(axis=1).sum())
        widths, betting, least = [], [], []
        for _ in range(max(10, trials // 6)):
            x = draw(rng, looks[-1])
            lower, upper = confidence_sequence(x, bounds=(0.0, LN2))
            of = [upper[k - 1] - lower[k - 1] for k in looks]
            normal = [2 * 1.96 * x[:k].std() / np.sqrt(k) for k in looks]
            widths.append([w / v if v else np.nan for w, v in zip(of, normal, strict=True)])
            known = fixed_betting(x[:200] / LN2) * LN2
            betting.append(of[1] / known)
            least.append((np.log(1 / ALPHA) / 200 * (LN2 - truth)) / normal[1] if normal[1] else np.nan)
        ratio = [f"{r:.2f}" for r in np.nanmedian(widths, axis=0)]
        ends = [f"{np.median(betting):.2f}", f"{np.nanmedian(least):.2f}"]
        rows.append([name, percent(missed / runs), percent(fixed / runs), *ratio, *ends])
    header = ["values on [0, ln 2]", "missed, %", "pointwise", *(f"n = {n}" for n in looks), "betting", "bound"]
    error = 100 * np.sqrt(ALPHA * (1 - ALPHA) / runs)
    table(f"confidence sequence: runs of 1,000 looks that ever miss (± {error:.2f}), and widths", header, rows)
    print("  n = ...: width over that of mean ± 1.96 se; betting: at n = 200 over that of the fixed-n betting interval")
    print("  bound: how far above the mean any valid interval reaches at n = 200, over the width of mean ± 1.96 se")
    x = BOUNDED["beta(1, 6)"][0](np.random.default_rng(0), 10_000)
    start = time.perf_counter()
    confidence_sequence(x, bounds=(0.0, LN2))
    print(f"  10,000 items: {1000 * (time.perf_counter() - start):.0f} ms")


def ever_excluded(x: Array, mean: float) -> npt.NDArray[np.bool_]:
    """Whether the confidence sequence of each row ever excludes ``mean``: by its definition, without its grid."""
    bets = plug_in(x, np.maximum(HORIZONS[:, None, None], np.arange(1, x.shape[1] + 1)))
    apart = x - mean
    up = np.cumsum(np.log1p(np.minimum(bets, CAP / mean) * apart), axis=2)
    down = np.cumsum(np.log1p(-np.minimum(bets, CAP / (1 - mean)) * apart), axis=2)
    won = [np.log(np.tensordot(WEIGHTS, np.exp(np.minimum(c, 600.0)), axes=1)) for c in (up, down)]
    return (np.maximum(*won) >= np.log(2 / ALPHA)).any(axis=1)


def plug_in(x: Array, h: Array) -> Array:
    """Predictable bets for ``h`` items of every row."""
    t = np.arange(1, x.shape[-1] + 1)
    means = (0.5 + np.cumsum(x, axis=-1)) / (t + 1)
    squares = np.cumsum((x - means) ** 2, axis=-1)
    spread = (START + np.concatenate([np.zeros_like(squares[..., :1]), squares[..., :-1]], axis=-1)) / t
    return np.sqrt(2 * np.log(2 / ALPHA) / (spread * h))


def fixed_betting(x: Array) -> float:
    """Width of the hedged betting interval for a number of items fixed beforehand (Waudby-Smith and Ramdas 2024)."""
    bets = plug_in(x, np.array(float(x.size)))[:, None]
    m = np.linspace(0, 1, 2001)[1:-1]
    apart = x[:, None] - m
    up = np.cumsum(np.log1p(np.minimum(bets, CAP / m) * apart), axis=0).max(axis=0)
    down = np.cumsum(np.log1p(-np.minimum(bets, CAP / (1 - m)) * apart), axis=0).max(axis=0)
    left = m[(up < np.log(2 / ALPHA)) & (down < np.log(2 / ALPHA))]
    return float(left[-1] - left[0]) if left.size else 1 / 2000


def margins(trials: int) -> None:
    """How often a change exactly as harmful as the margin passes, and how often one without harm does."""
    sizes = (4, 6, 8, 12, 16, 32, 64)
    for title, away in (
        ("harm equal to the margin passes, % (nominal 5)", 0.0),
        ("no harm passes, %: margin one standard deviation", 1.0),
    ):
        rows = []
        for name, (draw, truth) in ONE_SIDED.items():
            rng = np.random.default_rng(4)
            margin = truth + away * float(draw(np.random.default_rng(0), 100_000).std())
            row, plain = [name], [f"{name}, end of the 90 % interval"]
            for n in sizes:
                passed = ends = 0
                for k in range(trials):
                    # What non_inferior decides by, without the p-value, which takes ten times as long.
                    drawn = bootstrap_t(draw(rng, n), n_bootstrap=RESAMPLES, seed=k)
                    passed += drawn is not None and (drawn.safe_above(0.9) or (0.0, margin))[1] < margin
                    ends += drawn is not None and (drawn.interval(0.9) or (0.0, margin))[1] < margin
                row.append(percent(passed / trials))
                plain.append(percent(ends / trials))
            rows += [row, plain]
        row = ["rate 0.1" if not away else "rate 0.1, margin 0.4"]
        rng = np.random.default_rng(5)
        for n in sizes:
            flags = [(rng.uniform(size=n) < 0.1).astype(float) for _ in range(trials)]
            row.append(percent(np.mean([bool(non_inferior(x, 0.1 + 0.3 * away).passed) for x in flags])))
        table(f"non-inferiority: {title}", ["items", *map(str, sizes)], [*rows, row])
    error = 100 * np.sqrt(ALPHA * (1 - ALPHA) / trials)
    print(f"  a share of 5 % is known to ± {error:.1f}")


def nulls(trials: int) -> None:
    """How often one more null draw is called real."""
    from scipy.stats import norm

    counts = (3, 5, 10, 20)
    draws: dict[str, Draw] = {
        "normal, spread a fifth of the mean": lambda rng, n: rng.normal(1.0, 0.2, n),
        "gamma(8)": lambda rng, n: rng.gamma(8.0, 1.0, n),
        "log-normal, σ = 0.25": lambda rng, n: rng.lognormal(0.0, 0.25, n),
        "log-normal, σ = 0.5": lambda rng, n: rng.lognormal(0.0, 0.5, n),
    }
    rows = []
    for name, draw in draws.items():
        rng = np.random.default_rng(6)
        kinds = ("p of a positive statistic", "p of any other", "normal tail of z")
        found: list[list[str]] = [[f"{name}, {kind}"] for kind in kinds]
        for n in counts:
            hits = np.zeros(3)
            for _ in range(20 * trials):
                null, raw = draw(rng, n).tolist(), float(draw(rng, 1)[0])
                ps = (
                    next_draw_p(raw, null, positive=True),
                    next_draw_p(raw, null),
                    norm.sf((raw - np.mean(null)) / np.std(null)),
                )
                hits += [p is not None and p <= ALPHA for p in ps]
            for row, share in zip(found, hits / (20 * trials), strict=True):
                row.append(percent(share))
        rows += found
    table("null gate at p ≤ 0.05: false alarms, %", ["null draws", *map(str, counts)], rows)


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=600)
    trials = parser.parse_args().trials
    start = time.perf_counter()
    means(trials)
    rates()
    clusters(max(50, trials // 2))
    grouped_rates(max(50, trials // 2))
    grouped_changes(max(50, trials // 2))
    grouped_harms(max(50, trials // 2))
    bands(max(50, trials // 2))
    fallen()
    sequences(max(50, trials // 2))
    margins(max(50, trials // 2))
    nulls(max(10, trials // 4))
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
