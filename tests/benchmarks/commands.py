"""What the commands take. Prints figures; asserts nothing.

python -m tests.benchmarks.commands              # the names
python -m tests.benchmarks.commands NAME [ARGS]  # one figure
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo"
FIGURES: dict[str, Callable[[list[str]], None]] = {}
"""Figure by name; each takes what follows its name on the command line."""


def figure(take: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Give a figure its name."""
    FIGURES[take.__name__] = take
    return take


def spread(values: Sequence[float], unit: str = "s") -> str:
    """Median and range of several takes."""
    return f"{statistics.median(values):.3g} {unit} ({min(values):.3g} to {max(values):.3g}, n = {len(values)})"


def seconds(*args: object, env: dict[str, str] | None = None) -> float:
    """Wall time of the command line in a process of its own, from its start to its end."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "sway_dash", *map(str, args)],
        cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(env or {})},
    )  # fmt: skip
    return time.perf_counter() - began


@figure
def starts(_: list[str]) -> None:
    """What needs no model: ten process starts each."""
    for args in (["--help"], ["--version"], ["doctor"], ["gate", "--help"], ["list-probes"], ["gate", DEMO / "run"]):
        took = [seconds(*args) for _ in range(10)]
        print(f"{' '.join(map(str, args)).replace(str(ROOT), '.'):<24} {spread(took)}")


@figure
def check(_: list[str]) -> None:
    """An adapter without a suite file, start to end of the process; nothing is remembered between takes."""
    with tempfile.TemporaryDirectory() as folder:
        took = [
            seconds(
                *("check", DEMO / "adapter"),
                env={"SWAY_RUNS_DIR": f"{folder}/{i}/runs", "SWAY_NULL_CACHE_DIR": f"{folder}/{i}/null"},
            )
            for i in range(5)
        ]
    print(f"check of the demo's adapter: {spread(took)}")


@figure
def trace(args: list[str]) -> None:
    """Traces of 0.2 and of 2 million lines, or as many millions as asked for: time a line, most memory held."""
    millions = float(args[0]) if args else 2.0
    line = '{"seq":%d,"ts":%d.5,"probe":"p%d","view_id":"null_%d","prompt_hash":"%012x","top_k":256,"op":"divergence",'
    rest = '"wall_ms":%d.%d,"hit":%s,"phase":"probe","batch":8}\n'
    inner = (
        "import resource, sys, time\n"
        "from sway_dash.suite import trace_analysis as a\n"
        "before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()\n"
        "report = a.build_report(a.read(sys.argv[1]))\n"
        "took, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(f'{report.total_events:>12,} lines  {took:7.1f} s  {1e6 * took / report.total_events:.2f} s a million'\n"
        "      f'  {(peak - before) / 1024:.1f} MiB more than before, {peak / 1024:.0f} MiB in all')\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        for n in (int(millions * 1e5), int(millions * 1e6)):
            path = Path(folder) / "trace.jsonl"
            with path.open("w") as file:
                for i in range(n):
                    file.write(line % (i, i, i % 5, i % 24, i))
                    file.write(rest % (i % 97, i % 10, "true" if i % 4 == 0 else "false"))
            subprocess.run([sys.executable, "-c", inner, str(path)], cwd=ROOT, check=True)


def main(argv: list[str]) -> int:
    """Take the figure named on the command line."""
    if not argv or argv[0] not in FIGURES:
        for name, take in FIGURES.items():
            print(f"{name:<12} {(take.__doc__ or '').splitlines()[0]}")
        return 2 if argv else 0
    FIGURES[argv[0]](argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
