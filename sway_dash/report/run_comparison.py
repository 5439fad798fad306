"""Several runs against their baselines: what is said of them, as JSON and as Markdown. Words are the Compare page's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sway_dash.core.result import Verdict, jsonable
from sway_dash.report.compare import SIGNS, change_dict, change_words, matrix_dict, render_markdown
from sway_dash.report.formats import EM_DASH
from sway_dash.report.markdown import md_table, md_text
from sway_dash.report.paired import (
    NAMES,
    contrast_dict,
    few,
    mismatch_line,
    remarks,
    signed,
    significance,
    summary,
    three_digits,
)

if TYPE_CHECKING:
    from sway_dash.suite.compare import ProbeChange
    from sway_dash.suite.comparison import Comparison
    from sway_dash.suite.run_comparison import RunComparison, Step

LISTED = 5


# -- what is said -------------------------------------------------------------------------------


def notes(found: RunComparison) -> tuple[list[str], list[str]]:
    """Warnings and remarks: what stands against the comparison, and what else a reader should know."""
    labels = found.matrix.labels
    several = len({p.probe for step in found.steps for p in step.prompts}) > 1
    warned = [
        f"{probe}: {mismatch_line(m, labels)}" if probe and several else mismatch_line(m, labels)
        for probe, m in found.warnings
    ]
    warned += [f"{few([labels[i] for i in own])} are one and the same run" for own in found.copies]
    told = remarks([r.side for r in found.runs], labels)
    if not found.matrix.chronological:
        told.append("The runs are not in the order of time.")
    if scores := [labels[i] for i in dict.fromkeys(i for step in found.steps for i in step.without)]:
        who = "No run keeps" if len(scores) == len(labels) else f"{few(scores)} keep{'s' * (len(scores) == 1)} no"
        told.append(f"{who} values of single prompts: compared by score only.")
    return warned, told


def pair_labels(found: RunComparison, step: Step) -> tuple[str, str]:
    """Names of the baseline and of the run that stands against it."""
    return found.matrix.labels[step.baseline], found.matrix.labels[step.run]


def sentence(found: RunComparison, step: Step, comparison: Comparison) -> str:
    """One run against its baseline on one probe's prompts, with test and effect size."""
    (contrast,) = comparison.contrasts
    text = summary(comparison, contrast, pair_labels(found, step))
    named = f"{comparison.probe}: {text}" if comparison.probe else text
    return f"{named} · {significance(contrast.stats)}" if contrast.stats.n else named


def movers(comparison: Comparison, limit: int) -> Iterator[tuple[float, float, float, str]]:
    """The largest differences beyond noise: difference, baseline, run (nats) and prompt."""
    (contrast,) = comparison.contrasts
    values = comparison.values
    places = np.flatnonzero(contrast.direction != 0)
    for i in places[np.argsort(-np.abs(contrast.deltas[places]), kind="stable")][:limit]:
        yield float(contrast.deltas[i]), float(values[i, 0]), float(values[i, 1]), comparison.alignment.keys[i][0]


def only_in_one(found: RunComparison, step: Step, comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    """Names of the runs that have prompts of their own, with these prompts."""
    (contrast,) = comparison.contrasts
    for label, places in zip(pair_labels(found, step), (contrast.only_baseline, contrast.only_run), strict=True):
        if places.size:
            yield label, [comparison.alignment.keys[i][0] for i in places]


def changed(step: Step) -> Iterator[ProbeChange]:
    """Probes that are not what they were, by score or by verdict."""
    return (c for c in step.changes if c.change not in ("same", "not judged") or c.verdict_changed)


def reason(found: RunComparison, step: Step, change: ProbeChange) -> str:
    """What the probe itself said where its verdict is not what it was, or it got worse; empty where nothing was said.

    Of a probe that passes again it is what it had said before.
    """
    if not (change.worse or change.verdict_changed):
        return ""
    good = change.verdict_after is Verdict.PASS
    run = found.runs[step.baseline if good and not change.worse else step.run]
    return next((p.message for p in run.result.probes if p.name == change.probe), "")


def because(found: RunComparison, step: Step, change: ProbeChange) -> str:
    """The same as the end of a line about the change."""
    said = reason(found, step, change)
    before = change.change == "improved"
    return f"; it said {'before' if before else 'now'}: {said}" if said else ""


def unchanged(step: Step) -> str:
    """All others, in one line; empty without any."""
    told = {c.probe for c in changed(step)}
    names = [c.probe for c in step.changes if c.change == "same" and c.probe not in told]
    never = [c.probe for c in step.changes if c.change == "not judged" and c.probe not in told]
    parts = (("unchanged", names), ("judged in neither", never))
    return "; ".join(f"{what}: {', '.join(own)}" for what, own in parts if own)


def listed(names: Sequence[str], most: int) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}" if most else f"{len(names):,} prompts"


# -- JSON ---------------------------------------------------------------------------------------


def to_json(found: RunComparison, *, regression_threshold: float, gate: Sequence[str] | None = None) -> str:
    """The public matrix, and under further keys all that was compared, every prompt with its values.

    ``gate`` holds why it failed (empty: it passed), ``None`` where none was asked for.
    """
    labels = found.matrix.labels
    warned, told = notes(found)
    document = {
        **matrix_dict(found.matrix, regression_threshold),
        "verdicts": found.matrix.verdicts,
        "chronological": found.matrix.chronological,
        "runs": [
            {
                "label": run.label,
                "id": run.side.id,
                "name": run.side.name,
                "status": run.side.status,
                "base": run.side.base,
                "adapter": run.adapter,
            }
            for run in found.runs
        ],
        "warnings": warned,
        "remarks": told,
        "steps": [
            {
                "run": labels[step.run],
                "baseline": labels[step.baseline],
                "changes": [
                    {**change_dict(c), "delta": c.delta, "reason": reason(found, step, c) or None} for c in step.changes
                ],
                "prompts": [_paired_dict(found, step, c) for c in step.prompts],
            }
            for step in found.steps
        ],
        "prompts": _values(found),
        "gate": None if gate is None else {"passed": not gate, "reasons": list(gate)},
    }
    return json.dumps(jsonable(document), indent=2, allow_nan=False)


def _paired_dict(found: RunComparison, step: Step, comparison: Comparison) -> dict[str, Any]:
    told = contrast_dict(comparison, comparison.contrasts[0], pair_labels(found, step))
    return {"probe": comparison.probe, "divergence": comparison.metric, **told}


def _values(found: RunComparison) -> list[dict[str, Any]]:
    """Every prompt of every paired probe with its value in each run."""
    from sway_dash.suite.comparison import values_of
    from sway_dash.suite.pairing import align

    metrics = {c.probe: c.metric for step in found.steps for c in step.prompts if c.probe}
    out = []
    for probe, metric in metrics.items():
        series = [run.side.series(probe) for run in found.runs]
        lined = align(series)
        columns = np.stack([lined.column(i, values_of(s, metric)) for i, s in enumerate(series)], axis=1)
        for (text, occurrence), tags, row in zip(lined.keys, lined.tags, columns.tolist(), strict=True):
            values = dict(zip(found.matrix.labels, row, strict=True))
            known = {"probe": probe, "divergence": metric, "prompt": text, "occurrence": occurrence + 1}
            out.append({**known, "tags": list(tags), "values": values})
    return out


# -- Markdown -----------------------------------------------------------------------------------


def to_markdown(
    found: RunComparison, *, regression_threshold: float, gate: Sequence[str] | None = None, top: int = LISTED
) -> str:
    """The public tables, then verdicts, what changed, prompts, and what stands against the comparison."""
    matrix = found.matrix
    lines = [render_markdown(matrix, regression_threshold=regression_threshold).rstrip("\n")]
    lines += ["", "## Verdicts", ""]
    head = ["probe", *map(md_text, matrix.labels)]
    rows = [[md_text(name), *map(_verdict_text, matrix.verdicts[name])] for name in matrix.probe_names]
    lines += md_table(head, ["---"] * len(head), rows)
    warned, told = notes(found)
    for title, texts in (("Warnings", warned), ("Remarks", told)):
        if texts:
            lines += ["", f"## {title}", "", *(f"- {md_text(text)}" for text in texts)]
    for step in found.steps:
        base, run = map(md_text, pair_labels(found, step))
        lines += ["", f"## {run} against {base}", ""]
        lines += [
            f"- {SIGNS[c.change]} **{md_text(c.probe)}** — {md_text(change_words(c) + because(found, step, c))}"
            for c in changed(step)
        ]
        if same := unchanged(step):
            lines.append(f"- {SIGNS['same']} {md_text(same)}")
        for comparison in step.prompts:
            lines += ["", md_text(sentence(found, step, comparison))]
            if largest := list(movers(comparison, top)):
                name = NAMES[comparison.metric]
                cells = [(signed(d), three_digits(a), three_digits(b), md_text(p)) for d, a, b, p in largest]
                lines += ["", *md_table((f"Δ{name}", base, run, "prompt"), ("---:", "---:", "---:", "---"), cells)]
            for label, prompts in only_in_one(found, step, comparison):
                lines += ["", f"Only in {md_text(label)}: {listed(list(map(md_text, prompts)), top)}"]
    if gate is not None:
        lines += ["", "## Gate", "", *([f"- {md_text(reason)}" for reason in gate] or ["passed"])]
    return "\n".join(lines) + "\n"


def _verdict_text(verdict: Verdict | None) -> str:
    return EM_DASH if verdict is None else verdict.value
