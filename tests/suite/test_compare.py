"""Scores of several results: the public matrix, and what became better, worse, lost or new."""

import io
import json
import math
import re

import pytest
from rich.console import Console

from sway_dash.core.result import ProbeResult, SwayScore, Verdict
from sway_dash.suite.compare import COMPOSITE, build_matrix, change_of, render_json, render_markdown, render_terminal
from tests.suite.test_report import suite


def probe(name, score=0.9, verdict=Verdict.PASS):
    return ProbeResult(name, "delta_kl", verdict, score)


def run(overall, *probes, **kwargs):
    return suite(*probes, **kwargs), SwayScore(overall, {})


FIRST = run(0.8, probe("moved", 0.9), probe("shape", 0.5), probe("gone", 0.7))
SECOND = run(0.7, probe("moved", 0.73), probe("shape", 0.55), probe("fresh", 0.4))
MATRIX = build_matrix([FIRST, SECOND], labels=["v1", "v2"])


def terminal(matrix, **kwargs):
    out = io.StringIO()
    render_terminal(matrix, console=Console(file=out, width=160), **kwargs)
    return out.getvalue()


# --- matrix ---------------------------------------------------------------------------------------------------------


def test_rows_are_the_union_of_all_probes_and_unknown_scores_are_none():
    assert MATRIX.probe_names == ("fresh", "gone", "moved", "shape")
    assert MATRIX.n_runs == 2
    assert MATRIX.scores["gone"] == [0.7, None]
    assert MATRIX.deltas["gone"] == [None]
    assert MATRIX.deltas["moved"] == [pytest.approx(-0.17)]
    assert MATRIX.composite_series == [0.8, 0.7]


@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_a_score_that_is_no_number_is_none(bad):
    matrix = build_matrix([run(bad if bad is not None else math.nan, probe("p", bad))])
    assert matrix.scores["p"] == [None]
    assert matrix.composite_series == [None]


def test_labels_default_to_when_the_runs_ended():
    matrix = build_matrix([FIRST])
    assert matrix.labels == matrix.timestamps == ("2026-01-01T12:00:02.500000+00:00",)


def test_nothing_to_compare_and_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least one run"):
        build_matrix([])
    with pytest.raises(ValueError, match="labels length"):
        build_matrix([FIRST], labels=["a", "b"])


def test_nothing_is_dropped_when_names_come_twice():
    twice = run(0.5, probe("p", 0.2), probe("p", 0.8))
    matrix = build_matrix([twice, twice, twice], labels=["run", "run", "run (2)"])
    assert matrix.probe_names == ("p", "p (2)")
    assert matrix.scores["p (2)"] == [0.8, 0.8, 0.8]
    assert len(set(matrix.labels)) == 3


def test_order_of_time_is_noticed():
    from datetime import timedelta

    later = suite(finished_at=FIRST[0].finished_at + timedelta(hours=1)), SwayScore(0.5, {})
    assert build_matrix([FIRST, later]).chronological
    assert not build_matrix([later, FIRST]).chronological
    assert "not in the order of time" in terminal(build_matrix([later, FIRST]))


# --- regressions ----------------------------------------------------------------------------------------------------


def test_regressions_of_the_last_step_are_sorted_by_their_size():
    a = run(1, probe("a", 0.9), probe("b", 0.9), probe("c", 0.9))
    b = run(1, probe("a", 0.7), probe("b", 0.5), probe("c", 0.85))
    assert build_matrix([a, b]).latest_regressions(0.1) == [("b", pytest.approx(-0.4)), ("a", pytest.approx(-0.2))]
    assert build_matrix([a, b]).latest_regressions(0.0) == []
    assert build_matrix([a]).latest_regressions(0.1) == []
    assert build_matrix([a, b, b]).latest_regressions(0.1) == []


def test_a_fall_by_just_the_threshold_counts():
    matrix = build_matrix([run(1, probe("p", 0.9)), run(1, probe("p", 0.8))])
    assert [name for name, _ in matrix.latest_regressions(0.10)] == ["p"]
    assert next(c for c in matrix.changes() if c.probe == "p").change == "regressed"


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (probe("p", 0.9), probe("p", 0.7), "regressed"),
        (probe("p", 0.7), probe("p", 0.9), "improved"),
        (probe("p", 0.9), probe("p", 0.85), "same"),
        (probe("p", 0.9), probe("p", 0.9, Verdict.FAIL), "regressed"),
        (probe("p", 0.5, Verdict.FAIL), probe("p", 0.55), "improved"),
        (probe("p", 0.9), probe("p", None, Verdict.ERROR), "lost"),
        (probe("p", 0.9), probe("p", None, Verdict.SKIP), "lost"),
        (probe("p", 0.9), None, "lost"),
        (probe("p", 0.9), probe("p", None), "lost"),
        (probe("p", None, Verdict.SKIP), probe("p", 0.2), "new"),
        (None, probe("p", 0.2), "new"),
        (probe("p", None), probe("p", None), "same"),
        (probe("p", None), probe("p", None, Verdict.ERROR), "lost"),
        (None, probe("p", None, Verdict.SKIP), "not judged"),
    ],
)
def test_what_became_of_a_probe(before, after, change):
    found = change_of("p", before, after)
    assert found.change == change
    assert found.worse == (change in ("regressed", "lost"))


def test_the_baseline_can_be_chosen_and_the_composite_counts():
    runs = [run(0.9, probe("p", 0.9)), run(0.4, probe("p", 0.4)), run(0.5, probe("p", 0.5))]
    matrix = build_matrix(runs)

    def changes(**kwargs):
        return {c.probe: c.change for c in matrix.changes(**kwargs)}

    assert changes() == {"p": "improved", COMPOSITE: "improved"}
    assert changes(baseline="best") == {"p": "regressed", COMPOSITE: "regressed"}
    assert changes(baseline=0, run=1) == {"p": "regressed", COMPOSITE: "regressed"}
    assert changes(baseline=0, run=1, threshold=0.6) == {"p": "same", COMPOSITE: "same"}
    with pytest.raises(IndexError):
        matrix.changes(run=0)
    with pytest.raises(IndexError):
        matrix.changes(baseline=7)


# --- rendering ------------------------------------------------------------------------------------------------------


def test_the_public_markdown_layout():
    stamp = "2026-01-01T12:00:02.500000+00:00"
    assert render_markdown(MATRIX).splitlines() == [
        "# sway compare — 2 runs",
        "",
        "## Runs",
        "",
        "| label | finished_at |",
        "|---|---|",
        f"| v1 | {stamp} |",
        f"| v2 | {stamp} |",
        "",
        "## Scores",
        "",
        "| probe | v1 | v2 | Δ v1→v2 |",
        "|---|---|---|---|",
        "| fresh | — | 0.40 | — |",
        "| gone | 0.70 | — | — |",
        "| moved | 0.90 | 0.73 | -0.17 |",
        "| shape | 0.50 | 0.55 | +0.05 |",
        "| **composite** | 0.80 | 0.70 | -0.10 |",
        "",
        "## Regressions (≥0.10 drop vs previous run)",
        "",
        "- **moved** — `-0.170`",
    ]


def test_a_difference_too_small_to_see_has_no_sign():
    matrix = build_matrix([run(1, probe("p", 0.5)), run(1, probe("p", 0.50004))])
    assert "| p | 0.50 | 0.50 | 0.00 |" in render_markdown(matrix)


def test_the_public_json_keys_in_their_order():
    document = json.loads(render_json(MATRIX))
    assert list(document) == [
        "labels",
        "timestamps",
        "probe_names",
        "scores",
        "deltas",
        "composite_series",
        "regression_threshold",
        "latest_regressions",
    ]
    assert document["latest_regressions"] == [{"probe": "moved", "delta": pytest.approx(-0.17)}]


def test_changes_are_told_when_asked_for():
    changes = MATRIX.changes()
    assert {c["probe"]: c["change"] for c in json.loads(render_json(MATRIX, changes=changes))["changes"]} == {
        "fresh": "new",
        "gone": "lost",
        "moved": "regressed",
        "shape": "same",
        "composite": "regressed",
    }
    text = render_markdown(MATRIX, changes=changes)
    assert "- ✕ **gone** — lost: 0.70 → —, pass → not there" in text
    assert "✕ gone  lost: 0.70 → —, pass → not there" in terminal(MATRIX, changes=changes)


def test_the_terminal_speaks_of_regressions_only_when_there_are_some():
    assert "regressions" in terminal(MATRIX)
    calm = terminal(build_matrix([FIRST, FIRST]))
    assert "regressions" not in calm
    assert "sway compare" in calm
    assert any(line.startswith("composite") for line in calm.splitlines())


def test_only_a_step_as_large_as_the_threshold_is_coloured():
    out = io.StringIO()
    matrix = build_matrix([run(0.5, probe("p", 0.5)), run(0.5, probe("p", 0.5))])
    render_terminal(matrix, console=Console(file=out, width=120, force_terminal=True, color_system="standard"))
    assert "\x1b[31m" not in out.getvalue()
    out = io.StringIO()
    render_terminal(MATRIX, console=Console(file=out, width=120, force_terminal=True, color_system="standard"))
    assert re.search(r"\x1b\[31m *-0.17", out.getvalue())


def test_untrusted_names_are_inert():
    hostile = "a|b <b>[red]x[/red]</b>\n\x1b[2J"
    matrix = build_matrix([run(0.9, probe(hostile, 0.9)), run(0.1, probe(hostile, 0.1))], labels=[hostile, "b"])
    changes = matrix.changes()
    table = [line for line in render_markdown(matrix, changes=changes).splitlines() if line.startswith("| a")]
    assert len(table) == 2
    assert all(r"a\|b \<b>" in line for line in table)
    shown = terminal(matrix, changes=changes)
    assert "\x1b" not in shown
    assert "[red]x[/red]" in shown
