"""Evidence in the report: every panel drawn and listed, and at every level of redaction only what may leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sway_dash.core.events import PlannedProbe, ProbeFinished, RunFinished, RunStarted
from sway_dash.core.panels import Group, Groups, Items, Row, panels, read_panels
from sway_dash.figures.panel_columns import AT_ONCE
from sway_dash.report.html import report_html
from sway_dash.report.html.page import unpacked
from sway_dash.report.html.redact import LEVELS, redacted
from sway_dash.report.html.source import Source
from sway_dash.suite.fold import probe_to_dict
from tests.evidence_runs import ANSWER, CLUSTERS, DECAY, HOSTILE, LONG, SECRET, evidence_run, result

CASES = [
    {
        "prompt": "Who keeps the lamp at night",
        "gold": "Anna Berg",
        "paraphrases": ["Name the keeper of the night lamp"],
    },
    {"prompt": "Where is the boat", "gold": "at the pier", "paraphrases": [" the"]},
]
REFERENCE = "A document of the harbour with many words in it."


def carried(text: str) -> str:
    """Everything a report says: its HTML and what is compressed in it."""
    return text + json.dumps(unpacked(text), ensure_ascii=False)


def test_every_panel_is_drawn_and_listed(tmp_path: Path) -> None:
    page = report_html(evidence_run(tmp_path))
    tables = unpacked(page)["data"]["evidence"]
    figures = {name for group in unpacked(page)["figures"] for name in group["roots"]}
    wanted = {"0-0", "0-1", "1-0", "2-0", "3-0", "3-1", "3-2", "4-0"}
    assert {f"evidence-{w}" for w in wanted} <= figures
    assert {f"evidence-{w}" for w in wanted} <= set(tables)
    for title in (LONG.title, DECAY.title, CLUSTERS.title):
        assert title in page
    rows = tables["evidence-0-0"]["rows"]
    assert len(rows) == len(LONG.rows)
    told = dict(zip(tables["evidence-0-0"]["head"], rows[0], strict=True))
    # Numbers of a table have all their digits.
    assert (told["Base"], told["Tuned"]) == (LONG.rows[0].base, LONG.rows[0].tuned)
    assert [row[1] for row in tables["evidence-1-0"]["rows"]] == list(DECAY.y)
    assert f"{AT_ONCE} of 120 rows, largest change first" in page
    for k in range(9):
        assert f'id="evidence-{k}"' in page
        assert f'href="#evidence-{k}"' in page


def test_nothing_of_it_is_markup_and_the_page_stays_small(tmp_path: Path) -> None:
    folder = evidence_run(tmp_path)
    page = report_html(folder)
    assert HOSTILE not in page
    assert "<img src=x" not in page
    bare = report_html(evidence_run(tmp_path, [result("bare", "leakage")]))
    # Eight figures and 400 rows.
    assert len(page) - len(bare) < 90_000
    assert report_html(folder) == page


def own_run() -> Source:
    """A run of which the reader's texts are in cases, labels, notes and evidence."""
    shown = Items(
        title="Valid tool calls",
        unit="nats",
        rows=(
            Row(label=CASES[0]["prompt"], base=1.0, tuned=0.5, note=ANSWER),
            Row(label=SECRET, base=1.0, tuned=0.25, flag="bad"),
            Row(label="chunk 3", tuned=0.1),
        ),
        note=f"{SECRET} went worst",
    )
    layers = Groups(title="Layers", groups=(Group(label="layer 3", value=0.5), Group(label="harbour news", value=0.1)))
    evidence: dict[str, Any] = {
        "panels": panels(shown, layers),
        "per_case": [{"prompt": CASES[0]["prompt"][:20], "answer": "Ja", "lift": 0.25, "kind": "prose"}],
        "worst": {SECRET: 0.25, "rank_1.00": 2.0},
        "dropped_reasons": [f"no answer to {CASES[1]['prompt']}"],
        "fit_status": "ok",
        "unit": "nats",
        "weight": 1.0,
        "free": "whatever a probe writes somewhere",
    }
    found = result("cases", "paraphrase_invariance", message=f"worst: {SECRET}", evidence=evidence)
    entry = {"name": "cases", "kind": "paraphrase_invariance", "cases": CASES, "doc_reference": REFERENCE}
    planned = PlannedProbe(name="cases", kind="paraphrase_invariance", category="attribution", entry=entry)
    suite = json.dumps({"suite": [entry]})
    started = RunStarted(run_id="r-1", probes=(planned,))
    events = (started, ProbeFinished(result=probe_to_dict(found)), RunFinished())
    return Source("r-1", "run", events, spec=suite)


def texts(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def left(level: str) -> tuple[str, dict[str, Any], list[Any]]:
    """Everything that leaves at a level, the evidence in it, and its panels."""
    source = redacted(own_run(), level)  # type: ignore[arg-type]
    found = next(e.result for e in source.events if isinstance(e, ProbeFinished))
    everything = texts([e.model_dump(mode="json") for e in source.events]) + source.spec
    return everything, found["evidence"], read_panels(found["evidence"])


def test_full_leaves_as_it_is() -> None:
    everything, evidence, shown = left("full")
    for text in (SECRET, ANSWER, CASES[0]["gold"], REFERENCE):
        assert text in everything
    assert len(shown) == 2
    assert evidence["free"]


def test_what_was_said_stays_and_prompts_leave_without_generations() -> None:
    everything, evidence, shown = left("no-generations")
    assert ANSWER not in everything
    assert evidence["per_case"][0]["answer"] == "▮"
    assert evidence["per_case"][0]["prompt"] == CASES[0]["prompt"][:20]
    assert [row.label for row in shown[0].rows] == [CASES[0]["prompt"], SECRET, "chunk 3"]
    assert CASES[0]["gold"] in everything


@pytest.mark.parametrize("level", ["no-prompts", "numbers"])
def test_no_text_of_the_reader_leaves_without_prompts(level: str) -> None:
    everything, evidence, shown = left(level)
    own = [SECRET, ANSWER, REFERENCE, "harbour news", "whatever a probe writes", CASES[0]["prompt"][:20]]
    own += [text for case in CASES for text in (case["prompt"], case["gold"], *case["paraphrases"]) if text != " the"]
    assert [text for text in own if text in everything] == []
    items, groups = shown
    # A short answer is no reason to rewrite the program's own words.
    assert items.title == "Valid tool calls"
    # The same text has the same name in the suite, in labels and in keys.
    first, second, chunk = (row.label for row in items.rows)
    assert first == "P001"
    assert second.startswith("P")
    assert chunk == "chunk 3"
    assert groups.groups[0].label == "layer 3"
    assert [(r.base, r.tuned, r.flag, r.note) for r in items.rows] == [
        (1.0, 0.5, "", ""),
        (1.0, 0.25, "bad", ""),
        (None, 0.1, "", ""),
    ]
    assert evidence["per_case"][0]["lift"] == 0.25
    assert evidence["weight"] == 1.0
    if level == "no-prompts":
        assert evidence["worst"] == {second: 0.25, "rank_1.00": 2.0}
        assert second in items.note
        assert evidence["fit_status"] == "ok"


@pytest.mark.parametrize("level", LEVELS)
def test_a_redacted_report_is_drawn_all_the_same(level: str, tmp_path: Path) -> None:
    page = report_html(evidence_run(tmp_path), redact=level)  # type: ignore[arg-type]
    figures = {name for group in unpacked(page)["figures"] for name in group["roots"]}
    assert "evidence-0-0" in figures
    assert "evidence-1-0" in figures
    everything = carried(page)
    assert (ANSWER in everything) == (level == "full")
    assert (SECRET in everything) == (level in ("full", "no-generations"))
