"""What the commands take. Prints figures; asserts nothing.

python -m tests.benchmarks.commands              # the names
python -m tests.benchmarks.commands NAME [ARGS]  # one figure
"""

from __future__ import annotations

import json
import os
import resource
import shutil
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
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        took = [
            seconds(
                *("check", DEMO / "adapter"),
                env={"SWAY_RUNS_DIR": f"{folder}/{i}/runs", "SWAY_NULL_CACHE_DIR": f"{folder}/{i}/null"},
            )
            for i in range(5)
        ]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(took)
    print(f"check of the demo's adapter: {spread(took)}, {cpu:.3g} s of them on a processor")


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
        "took, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)\n"
        "peak, cpu = used.ru_maxrss, used.ru_utime + used.ru_stime\n"
        "print(f'{report.total_events:>12,} lines  {took:7.1f} s  {1e6 * took / report.total_events:.2f} s a million'\n"
        "      f' ({1e6 * cpu / report.total_events:.2f} s of them on a processor)'\n"
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


@figure
def compare(args: list[str]) -> None:
    """Compare 50 finished runs of 1,000 prompts and 20 null adapters, or so many runs, prompts and nulls as asked."""
    from sway_dash.suite.comparison import open_side
    from sway_dash.suite.execute import execute
    from sway_dash.suite.store import RunFolder

    runs, prompts, nulls = (*map(int, args), *(50, 1000, 20)[len(args) :])
    with tempfile.TemporaryDirectory() as root:
        texts = json.dumps([f"Prompt {i}: the keeper of light {i % 97} says what is {i}" for i in range(prompts)])
        made = []
        for strong in range(1, 6):
            side = f'{{kind: custom, base: strong{strong}, entry_point: "tests.fakes:FakeBackend"}}'
            noise = f"{{name: noise, kind: null_adapter, runs: {nulls}, cache: false}}"
            entries = f"[{noise}, {{name: moved, kind: delta_kl, prompts: {texts}}}]"
            made.append(RunFolder.create(f"models: {{base: {side}, ft: {side}}}\nsuite: {entries}\n", root=Path(root)))
            execute(made[-1], details=0)
        folders = [made[0].path.with_name(f"r-{i:06d}") for i in range(runs)]
        for i, folder in enumerate(folders):
            source = made[i % len(made)]
            folder.mkdir()
            for file in source.path.glob("*.*"):
                shutil.copyfile(file, folder / file.name)
        size = sum((folder / "events.jsonl").stat().st_size for folder in folders) / 2**20
        print(f"{runs} runs, {prompts:,} prompts, {nulls} nulls, {size:.0f} MiB of events")
        for form in ("terminal", "json"):
            took = [seconds("compare", *folders, "--format", form) for _ in range(5)]
            print(f"compare --format {form:<9} {spread(took)}")
        ways: dict[str, Callable[[Path], object]] = {
            "its columns": lambda path: open_side(path, whole=False).series("moved"),
            "null draws as columns, the rest as events": lambda path: open_side(path).series("moved"),
            "all as events": lambda path: RunFolder(path).fold(),
        }
        for what, way in ways.items():
            took = []
            for folder in folders[:5]:
                began = time.process_time()
                way(folder)
                took.append(1000 * (time.process_time() - began))
            print(f"opening a run, {what}: {spread(took, 'ms of a core')}")


@figure
def sweep(args: list[str]) -> None:
    """Eight adapters, or so many, over one base against single runs: on the demo, or with smollm2 on that model."""
    import shutil

    from safetensors.torch import load_file, save_file

    from sway_dash.core.events import ModelReady
    from sway_dash.suite.adapted import SuiteText
    from sway_dash.suite.store import list_runs

    with tempfile.TemporaryDirectory() as root:
        base, adapter, text = DEMO / "model", DEMO / "adapter", (DEMO / "sway.yaml").read_text()
        if "smollm2" in args:
            from tests.pretrained.conftest import cached_adapter, cached_model

            base = cached_model()
            adapter = cached_adapter(base)
            # Less is asked of a model so much larger.
            text = text[: text.index("  # The adapter from off")].replace("runs: 10", "runs: 3")
        text = text.replace("./model", str(base))
        many = next((int(a) for a in args if a.isdigit()), 8)
        folders, made = [], []
        for k in range(1, many + 1):
            folders.append(Path(shutil.copytree(adapter, Path(root) / f"checkpoint-{k}")))
            weights = load_file(adapter / "adapter_model.safetensors")
            weaker = {n: w * (k / many) if "lora_B" in n else w for n, w in weights.items()}
            save_file(weaker, folders[-1] / "adapter_model.safetensors")
        spec = Path(root) / "sway.yaml"
        spec.write_text(text)
        for k, folder in enumerate(folders):
            made.append(Path(root) / f"sway-{k}.yaml")
            made[-1].write_text(SuiteText.read(spec).with_adapter(folder))
        took: dict[str, float] = {}
        inner: dict[str, float] = {}
        commands: dict[str, list[list[object]]] = {
            "single runs": [["run", own, "--details", 0] for own in made],
            "a sweep": [["sweep", spec, *folders, "--fail-on", "never"]],
        }
        for name, calls in commands.items():
            runs = Path(root) / name
            env = {"SWAY_RUNS_DIR": str(runs), "SWAY_DISABLE_NULL_CACHE": "1"}
            took[name] = sum(seconds(*call, env=env) for call in calls)
            every = [run.tail().read() for run in list_runs(runs)]
            ready = [next(e.ts for e in events if isinstance(e, ModelReady)) for events in every]
            each = [events[-1].ts - since for events, since in zip(every, ready, strict=True)]
            inner[name] = sum(each)
            print(
                f"{many} adapters as {name}: {took[name]:.1f} s; without start and loading {inner[name]:.1f} s,",
                spread(each),
            )
        print(f"sweep / single runs: {took['a sweep'] / took['single runs']:.0%}", end="; ")
        print(f"without start and loading: {inner['a sweep'] / inner['single runs']:.0%}")


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
