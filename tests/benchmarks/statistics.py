"""How often the statistics keep their word. Prints tables; asserts nothing.

    python -m tests.benchmarks.statistics              # about a minute
    python -m tests.benchmarks.statistics --trials 300 # rougher

Everything is simulated with fixed seeds. With 600 trials a coverage of 95 % is known to ± 1.8 points.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from sway_dash.core.divergence import LN2
from sway_dash.core.margins import non_inferior
from sway_dash.core.rates import wilson
from sway_dash.core.sequences import confidence_sequence
from sway_dash.core.stats import bootstrap_ci, cluster_ci, null_stats, prediction_p

Array = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Array]

ALPHA = 0.05
SKEWED: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, n: rng.normal(0.0, 1.0, n), 0.0),
    "exponential": (lambda rng, n: rng.exponential(1.0, n), 1.0),
    "gamma 1/2": (lambda rng, n: rng.gamma(0.5, 1.0, n), 0.5),
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
    """Coverage of the interval of a mean."""
    sizes = (4, 8, 16, 32, 64)
    rows = []
    for name, (draw, truth) in SKEWED.items():
        rng = np.random.default_rng(1)
        row = [name]
        for n in sizes:
            found = (bootstrap_ci(draw(rng, n), seed=k) for k in range(trials))
            row.append(percent(np.mean([ci is not None and ci[0] <= truth <= ci[1] for ci in found])))
        rows.append(row)
    table("bootstrap-t, coverage at a nominal 95 %", ["items", *map(str, sizes)], rows)


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
    for g in (4, 6, 10, 20):
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


def sequences(trials: int) -> None:
    """How often a band is missed by the mean at any of 1,000 looks, and its width against a fixed-n interval."""
    looks = (50, 200, 1000)
    rows = []
    for name, (draw, truth) in BOUNDED.items():
        rng = np.random.default_rng(3)
        missed = fixed = 0
        widths = []
        for _ in range(trials):
            x = draw(rng, looks[-1])
            lower, upper = confidence_sequence(x, bounds=(0.0, LN2))
            missed += bool(((lower > truth) | (upper < truth)).any())
            n = np.arange(1, x.size + 1)
            centre = np.cumsum(x) / n
            half = 1.96 * np.sqrt(np.maximum(np.cumsum(x**2) / n - centre**2, 0.0) / n)
            fixed += bool((np.abs(centre - truth) > half)[19:].any())
            widths.append([(upper[k - 1] - lower[k - 1]) / (2 * half[k - 1]) if half[k - 1] else np.nan for k in looks])
        ratio = [f"{r:.2f}" for r in np.nanmedian(widths, axis=0)]
        rows.append([name, percent(missed / trials), percent(fixed / trials), *ratio])
    header = ["values on [0, ln 2]", "missed, %", "pointwise", *(f"width at {n}" for n in looks)]
    table("confidence sequence: runs of 1,000 looks that ever miss; width over that of mean ± 1.96 se", header, rows)
    x = BOUNDED["beta(1, 6)"][0](np.random.default_rng(0), 10_000)
    start = time.perf_counter()
    confidence_sequence(x, bounds=(0.0, LN2))
    print(f"  10,000 items: {1000 * (time.perf_counter() - start):.0f} ms")


def margins(trials: int) -> None:
    """How often a change exactly as harmful as the margin passes."""
    sizes = (8, 16, 32, 64)
    rows = []
    for name, (draw, truth) in SKEWED.items():
        rng = np.random.default_rng(4)
        row = [name]
        for n in sizes:
            passed = [non_inferior(draw(rng, n), truth, seed=k).passed for k in range(trials)]
            row.append(percent(np.mean([bool(p) for p in passed])))
        rows.append(row)
    row = ["rate 0.1"]
    rng = np.random.default_rng(5)
    for n in sizes:
        passed = [non_inferior((rng.uniform(size=n) < 0.1).astype(float), 0.1).passed for _ in range(trials)]
        row.append(percent(np.mean([bool(p) for p in passed])))
    table("non-inferiority: harm equal to the margin passes, % (nominal 5)", ["items", *map(str, sizes)], [*rows, row])


def nulls(trials: int) -> None:
    """How often one more null draw is called real."""
    from scipy.stats import norm

    counts = (3, 5, 10, 20)
    draws: dict[str, Draw] = {
        "normal": lambda rng, n: rng.normal(0.0, 1.0, n),
        "log-normal, σ = 0.5": lambda rng, n: rng.lognormal(0.0, 0.5, n),
    }
    rows = []
    for name, draw in draws.items():
        rng = np.random.default_rng(6)
        gate, tail = [f"{name}, prediction p"], [f"{name}, normal tail"]
        for n in counts:
            found = [(draw(rng, n).tolist(), float(draw(rng, 1)[0])) for _ in range(20 * trials)]
            ps = [prediction_p(raw, null_stats(null)) for null, raw in found]
            z = [(raw - np.mean(null)) / np.std(null) for null, raw in found]
            gate.append(percent(np.mean([p is not None and p <= ALPHA for p in ps])))
            tail.append(percent(np.mean(norm.sf(z) <= ALPHA)))
        rows += [gate, tail]
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
    sequences(max(50, trials // 2))
    margins(max(50, trials // 2))
    nulls(max(10, trials // 4))
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
