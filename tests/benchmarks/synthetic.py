"""Run folders without a model behind them: as many measurements and scoring calls as a benchmark asks for."""

from __future__ import annotations

import json
import math
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from sway_dash.core.events import Event, Measurement, ModelReady, Phase, PlannedProbe, RunFinished, RunStarted
from sway_dash.suite.store import TRACE, RunFolder

TAGS = ("on-topic", "off-topic", "code", "question", "list")
VIEWS = ("base", "ft", *(f"null_{1000 + k}" for k in range(20)))


def prompt_text(i: int) -> str:
    """Prompt ``i``: some sixty characters, no two alike."""
    return f"Prompt {i}: the keeper of light number {i % 97} says that the sea is {i % 13} fathoms deep"


def suite_text(prompts: int) -> str:
    """A suite with so many prompts."""
    texts = [{"text": prompt_text(i), "tags": [TAGS[i % len(TAGS)]]} for i in range(prompts)]
    side = {"kind": "custom", "base": "plain", "entry_point": "tests.fakes:FakeBackend"}
    suite = [
        {"name": "noise", "kind": "null_adapter", "runs": 20},
        {"name": "moved", "kind": "delta_kl", "prompts": texts},
    ]
    return yaml.safe_dump({"version": 1, "models": {"base": side, "ft": side}, "suite": suite}, sort_keys=False)


def measurement(rng: random.Random, i: int, prompts: int) -> Measurement:
    """Measurement ``i``: the tuned view of every prompt, then null after null."""
    item, draw = i % prompts, i // prompts
    js = min(0.69, rng.lognormvariate(-3.0 if draw else -1.8, 0.7))
    top = tuple((f" word{k}", k, 0.3 / (k + 1)) for k in range(5))
    return Measurement(
        probe="moved",
        item=item,
        prompt=prompt_text(item),
        tags=(TAGS[item % len(TAGS)],),
        view="ft" if not draw else f"null_{999 + draw}",
        role="probe" if not draw else "null",
        js=js,
        kl=2.1 * js,
        kl_reverse=1.9 * js,
        same_top=float(rng.random() < 0.5),
        base_top=() if draw else top,
        tuned_top=() if draw else top[::-1],
    )


def opening(folder: RunFolder, prompts: int, total: int) -> list[Event]:
    """What a run says before it measures."""
    entry = yaml.safe_load(folder.spec_text())["suite"]
    planned = (
        PlannedProbe(
            name="noise", kind="null_adapter", category="baseline", entry=entry[0], measurements=total - prompts
        ),
        PlannedProbe(name="moved", kind="delta_kl", category="adherence", entry=entry[1], measurements=prompts),
    )
    return [
        RunStarted(run_id=folder.id, base_model_id="synthetic", adapter_id="none", probes=planned),
        ModelReady(environment={"device": "cpu", "dtype": "fp32"}),
        Phase(phase="probe", name="moved"),
    ]


def finished(root: Path, prompts: int, calls: int, *, nulls: int = 3, seed: int = 0) -> RunFolder:
    """A run that is over."""
    rng = random.Random(seed)
    folder = RunFolder.create(suite_text(prompts), root=root, name=f"{prompts} prompts")
    total = prompts * (1 + nulls)
    events = [*opening(folder, prompts, total), *(measurement(rng, i, prompts) for i in range(total)), RunFinished()]
    for seq, event in enumerate(events):
        folder.append(event.model_copy(update={"seq": seq, "ts": 1.7e9 + seq * 1e-3}))
    folder.close()
    with (folder.path / TRACE).open("w", encoding="utf-8") as file:
        file.writelines(trace_line(rng, i, prompts) for i in range(calls))
    return folder


def trace_line(rng: random.Random, i: int, prompts: int) -> str:
    """Scoring call ``i`` in the public format."""
    hit = rng.random() < 0.4
    record = {
        "ts": 1.7e9 + i * 4e-3,
        "probe": "moved" if i % 3 else "noise",
        "view_id": VIEWS[(i // 64) % len(VIEWS)],
        "prompt_hash": f"{i % prompts:012x}",
        "top_k": 0,
        "op": "compare",
        "wall_ms": 0.0 if hit else 1.0 + 3.0 * rng.random() + (80.0 if rng.random() < 1e-3 else 0.0),
        "hit": hit,
        "phase": "probe",
        "batch": 1 if hit else 16,
        "seq": i,
    }
    return json.dumps(record) + "\n"


def write_live(folder: RunFolder, prompts: int, rate: float, seconds: float) -> int:
    """Append measurements and scoring calls at ``rate`` a second, then end the run; returns how many were written."""
    rng, total = random.Random(1), int(rate * seconds)
    folder.claim()
    seq = 0
    for event in opening(folder, prompts, total):
        folder.append(event.model_copy(update={"seq": seq, "ts": time.time()}))
        seq += 1
    start = time.monotonic()
    with (folder.path / TRACE).open("a", encoding="utf-8") as trace:
        for wanted in _due(start, rate, total):
            while seq - 3 < wanted:
                i = seq - 3
                folder.append(measurement(rng, i, prompts).model_copy(update={"seq": seq, "ts": time.time()}))
                trace.write(trace_line(rng, i, prompts))
                seq += 1
            trace.flush()
    folder.append(RunFinished(seq=seq, ts=time.time()))
    folder.close()
    folder.release()
    return seq - 3


def _due(start: float, rate: float, total: int) -> Iterator[int]:
    """How many should be written by now, again and again until all are."""
    while True:
        due = min(total, math.floor((time.monotonic() - start) * rate))
        yield due
        if due >= total:
            return
        time.sleep(0.02)


if __name__ == "__main__":
    path, prompts_given, rate_given, seconds_given = sys.argv[1:]
    write_live(RunFolder(Path(path)), int(prompts_given), float(rate_given), float(seconds_given))
