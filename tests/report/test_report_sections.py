"""The words of a report agree with its run: random adapters of every kind, tests told together, odd evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sway_dash.core.result import ProbeResult
from sway_dash.demo import demo_dir
from sway_dash.figures.opened import open_run
from sway_dash.figures.theme import esc, number
from sway_dash.report.formats import effect_rows
from sway_dash.report.html import report_html
from sway_dash.report.html.page import unpacked
from sway_dash.suite.multiplicity import RULE
from sway_dash.suite.report import load_result
from tests.evidence_runs import evidence_run, result

DRAWS = [0.001 * k - 0.006 for k in range(12)]


def against_noise() -> list[ProbeResult]:
    """Harm to general text beside twelve random adapters; no divergence was measured."""
    noise = result("noise", "null_adapter", evidence={"null_draws": {"harm": {"rank_1.00": DRAWS}}})
    told = {"null": {"n": 12, "sign": 1}, "unit": "nats per token"}
    return [noise, result("harm", "external_perplexity", raw=-0.25, z_score=-60.0, evidence=told)]


def test_random_adapters_of_every_kind_of_probe_are_drawn_in_its_own_unit(tmp_path: Path) -> None:
    page = report_html(evidence_run(tmp_path, against_noise()))
    assert "Nothing comes after" not in page
    figures = {name for group in unpacked(page)["figures"] for name in group["roots"]}
    assert {"null", "null-ecdf"} <= figures
    words = unpacked(page)["data"]["words"]
    assert "Value of harm -0.25 nats per token" in words["null"]["0/all"].replace("−", "-")
    assert all(f'data-value="{v!r}"' in words["null-draws"]["0/all"] for v in DRAWS)
    # Prompts are compared one by one only where their divergences are recorded.
    assert "Prompt by prompt" not in page
    assert "Prompt by prompt" in report_html(demo_dir() / "run")


def test_tests_of_one_suite_are_told_together(tmp_path: Path) -> None:
    folder = evidence_run(
        tmp_path,
        [
            result("recited", "leakage", evidence={"p_harm": 0.012, "unit": "share"}),
            result("topics", "cluster_kl", evidence={"p_permutation": 0.04}),
        ],
    )
    page = report_html(folder)
    assert RULE in page
    assert "p (Holm)" in page
    rows = list(effect_rows(open_run(folder).result))
    assert [row[3:] for row in rows] == [("0.012", "0.024", "0.024"), ("0.04", "0.04", "0.04")]
    for row in rows:
        assert all(f">{esc(cell)}<" in page for cell in row)
    assert "no correction" not in page


def test_one_test_needs_no_adjusting(tmp_path: Path) -> None:
    page = report_html(evidence_run(tmp_path, [result("topics", "cluster_kl", evidence={"p_permutation": 0.04})]))
    assert RULE not in page
    assert "no p-value needs to be adjusted" in page


@pytest.mark.parametrize("null", [["x"], "x", 3, None])
def test_a_null_that_is_no_mapping_does_not_stop_the_report(tmp_path: Path, null: object) -> None:
    found = result("topics", "cluster_kl", z_score=2.5, evidence={"null": null})
    assert "z=+2.50σ, n = ?" in report_html(evidence_run(tmp_path, [found]))


def test_the_strip_shows_the_random_adapters_that_the_result_is_judged_by() -> None:
    told, _ = load_result(demo_dir() / "run" / "result.json")
    noise, own, *rest = told.probes
    draws = noise.evidence["null_draws"]
    wide = {name: {rank: [50 * v for v in values] for rank, values in of.items()} for name, of in draws.items()}
    other = replace(noise, name="other", evidence={**noise.evidence, "null_draws": wide, "distribution": "permuted"})
    judged = {**own.evidence, "null": {**own.evidence["null"], "distribution": "gaussian"}}
    page = report_html(replace(told, probes=(noise, other, replace(own, evidence=judged), *rest)))
    strip = unpacked(page)["data"]["words"]["strip"]["0/js"]
    (values,) = draws[own.name].values()
    assert f"to {number(max(values))} nats" in strip
    assert f"to {number(50 * max(values))} nats" not in strip
