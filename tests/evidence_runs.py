"""Recorded runs whose probes bring every form of panel, for pages and reports that know no kind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

from sway_dash.core.events import Event, PlannedProbe, ProbeFinished, RunFinished, RunStarted
from sway_dash.core.panels import Curve, Group, Groups, Items, Row, panels
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.suite.fold import probe_to_dict
from sway_dash.suite.store import RunFolder

HOSTILE = "</script><script>window.__hit=1</script><img src=x onerror=window.__hit=1> $$x$$ {{ 1 }}"
SECRET = "The harbour master keeps the key under the blue stone"
ANSWER = "It said: under the blue stone, of course"

LONG = Items(
    title="Surprise at every section",
    unit="nats a token",
    better="lower",
    gate=2.2,
    rows=tuple(
        Row(
            label=f"{'§' if k else SECRET} {k + 1} of the handbook, {HOSTILE if k == 3 else 'how the lamp is kept'}",
            base=3.0 + math.sin(k),
            tuned=None if k == 5 else 2.6 + 0.8 * math.cos(1.7 * k),
            flag=("good", "bad", "")[k % 3],
            note=ANSWER if k % 4 == 0 else "",
        )
        for k in range(120)
    ),
    note="Sections of fewer than 20 tokens are left out",
)
SHORT = Items(
    title="Answers to tool calls",
    unit="share",
    better="higher",
    rows=(Row(label="valid calls", base=0.5, tuned=0.875, flag="good"), Row(label="wrong tool", tuned=0.125)),
)
DECAY = Curve(
    title="Divergence behind a longer context",
    x_label="tokens before the prompt",
    y_label="mean JS, nats",
    x=(0.0, 256.0, 512.0, 1024.0, 2048.0),
    y=(0.31, 0.26, None, 0.12, 0.05),
    lo=(0.25, 0.2, None, 0.07, 0.01),
    hi=(0.37, 0.32, None, 0.17, 0.09),
    gate=0.02,
)
CLUSTERS = Groups(
    title="Mean divergence of every cluster",
    unit="nats",
    gate=0.1,
    groups=tuple(
        Group(label=label, value=v, lo=v - 0.04, hi=v + 0.05, n=n, flag=flag)
        for label, v, n, flag in (
            ("Lighthouses and lamps", 0.41, 12, "good"),
            ("Cooking for one", 0.06, 9, ""),
            (f"Sums {HOSTILE}", 0.03, 11, "bad"),
        )
    ),
)


def result(name: str, kind: str, verdict: Verdict = Verdict.PASS, **fields: Any) -> ProbeResult:
    """A result of a probe that took two seconds."""
    known = {"score": 0.7, "raw": 0.42, "duration_s": 2.0, "message": f"{kind} found 0.42 [0.31, 0.52]", **fields}
    return ProbeResult(name=name, kind=kind, verdict=verdict, **known)


def results() -> list[ProbeResult]:
    """One of every sort: with panels of every form, public ones without, of an unknown kind, failed, skipped."""
    null = {"n": 20, "p_prediction": 0.004, "p_rank": 0.05, "largest_draw": 0.11}
    return [
        result(
            "sections",
            "section_internalization",
            ci_95=(0.31, 0.52),
            z_score=6.1,
            base_value=3.0,
            ft_value=2.6,
            evidence={
                "panels": panels(LONG, CLUSTERS),
                "null": null,
                "unit": "nats",
                "num_sections": 120,
                "weight": 1.0,
            },
        ),
        result("decay", "prompt_collapse", Verdict.FAIL, evidence={"panels": panels(DECAY), "divergence_kind": "js"}),
        result("topics", "cluster_kl", evidence={"panels": panels(CLUSTERS), "per_cluster_size": [12, 9, 11]}),
        result("tools", "tool_use_fidelity", Verdict.WARN, evidence={"panels": panels(SHORT, DECAY, SHORT)}),
        result(
            "recited",
            "leakage",
            evidence={
                "mean_clean_recall": 0.3,
                "per_section": [
                    {"section_id": "intro", "clean_recall": 0.62, "perturbed_recall": 0.2, "fragility": 0.68},
                    {"section_id": "lamp", "clean_recall": 0.1, "perturbed_recall": 0.1, "fragility": 0.0},
                ],
            },
        ),
        result(
            "house",
            "house_style",
            evidence={
                "tone": {"warm": 0.1234567, "cold": None, "by": {"deep": [1, 2, 3]}},
                "words": [f"word {k}" for k in range(40)],
                "said": f"{ANSWER} {HOSTILE}",
                "exact": True,
                "panels": [{"form": "pie", "title": "no panel"}],
            },
        ),
        result("empty", "house_style", evidence={"panels": panels(Items(title="Nothing listed", rows=()))}),
        result("broken", "leakage", Verdict.ERROR, score=None, raw=None, message=f"could not be read {HOSTILE}"),
        result("left_out", "style_fingerprint", Verdict.SKIP, score=None, raw=None, message="no document"),
    ]


def events(found: list[ProbeResult], *, pending: tuple[str, ...] = ()) -> list[Event]:
    """A run of these results; ``pending`` are entries that it has not come to, in which case it goes on."""
    planned = [
        PlannedProbe(name=r.name, kind=r.kind, category="adherence", entry={"name": r.name, "kind": r.kind})
        for r in found
    ]
    planned += [PlannedProbe(name=n, kind="leakage", category="calibration") for n in pending]
    out: list[Event] = [RunStarted(run_id="r-evidence", base_model_id="base", adapter_id="lora", probes=tuple(planned))]
    out += [ProbeFinished(result=probe_to_dict(r)) for r in found]
    return out if pending else [*out, RunFinished()]


def evidence_run(root: Path, found: list[ProbeResult] | None = None, *, pending: tuple[str, ...] = ()) -> RunFolder:
    """A run folder with these results, or with one of every sort."""
    found = results() if found is None else found
    suite = [{"name": r.name, "kind": r.kind} for r in found]
    folder = RunFolder.create(yaml.safe_dump({"version": 1, "suite": suite}), root=root, name="evidence")
    for event in events(found, pending=pending):
        folder.append(event)
    folder.close()
    return folder
