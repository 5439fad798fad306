"""Adjusted p-values of a suite, and where reports show them."""

import io
import json

import pytest
from rich.console import Console

from sway_dash.core.result import SwayScore, Verdict
from sway_dash.report.formats import effect_rows
from sway_dash.suite import report
from sway_dash.suite.multiplicity import adjusted, unit_of
from sway_dash.suite.runner import run
from tests.fakes_cli import Exact
from tests.suite.test_report import probe, suite

SCORE = SwayScore(0.6, {"adherence": 0.6}, band="healthy")


def with_p(name, p, **fields):
    null = {"n": 10, "p_prediction": p}
    return probe(name, raw=0.12, ci_95=(0.1, 0.14), evidence={"null": null, "unit": "nats"}, **fields)


THREE = suite(with_p("a", 0.01), with_p("b", 0.04), with_p("c", 0.03, verdict=Verdict.FAIL), probe("without"))


def test_ps_are_adjusted_over_the_suite():
    found = {t.name: t for t in adjusted(THREE)}
    assert [found[n].p_holm for n in "abc"] == pytest.approx([0.03, 0.06, 0.06])
    assert [found[n].q_value for n in "abc"] == pytest.approx([0.03, 0.04, 0.04])
    assert (found["a"].effect, found["a"].ci, found["a"].unit) == (0.12, (0.1, 0.14), "nats")


def test_the_test_of_the_probe_itself_counts_before_the_null():
    own = probe("own", raw=1.0, evidence={"p_permutation": 0.5, "null": {"p_prediction": 0.001}})
    assert [t.p for t in adjusted(suite(own, with_p("b", 0.2)))] == [0.5, 0.2]


def test_the_trend_of_a_training_counts_among_the_tests():
    training = probe("curve", "training_drift", raw=0.5, evidence={"trend_p": 0.03, "rising_p": 0.97})
    assert [t.p for t in adjusted(suite(with_p("a", 0.1), training))] == [0.1, 0.03]


def test_for_a_harm_the_null_is_context_and_no_test():
    harm = {"p_harm": 0.02, "null": {"p_prediction": 0.9}}
    shown = probe("drift", "calibration_drift", evidence=harm)
    unknown = probe("leak", "leakage", evidence={"p_reaches_gate": None, "null": {"p_prediction": 0.9}})
    assert [t.p for t in adjusted(suite(with_p("a", 0.1), shown, unknown))] == [0.1, 0.02]
    calls = probe("calls", "tool_use_fidelity", evidence={"null": {"p_prediction": 0.9}})
    assert [t.name for t in adjusted(suite(with_p("a", 0.1), with_p("b", 0.2), calls))] == ["a", "b"]


@pytest.mark.parametrize(
    "probes",
    [
        (),
        (with_p("a", 0.01),),
        (with_p("a", 0.01), with_p("b", None)),
        (with_p("a", 0.01), with_p("b", 0.02, verdict=Verdict.SKIP)),
        (with_p("a", 0.01), with_p("b", 1.5)),
        (with_p("a", 0.01), with_p("b", True)),
        (with_p("a", 0.01), probe("b", evidence={"null": "none", "p": "0.01"})),
    ],
)
def test_below_two_tests_nothing_is_adjusted_and_nothing_said(probes):
    result = suite(*probes)
    assert adjusted(result) == ()
    assert "multiplicity" not in json.loads(report.to_json(result, SCORE))
    assert "Holm" not in report.to_markdown(result, SCORE)


def test_json_holds_effect_and_ps_of_every_test_and_is_read_back():
    document = json.loads(report.to_json(THREE, SCORE))
    assert document["multiplicity"]["a"] == {
        "p": 0.01,
        "p_holm": pytest.approx(0.03),
        "q_value": pytest.approx(0.03),
        "effect": 0.12,
        "effect_ci_95": [0.1, 0.14],
        "unit": "nats",
    }
    assert report.from_json(document)[0] == THREE


def test_a_share_is_never_given_in_nats():
    share = probe("topics", "cluster_kl", raw=0.7, evidence={"p": 0.01, "unit": "share of the spread"})
    older = probe("older", "cluster_kl", raw=0.7, evidence={"p": 0.01, "unit": "nats"})
    layers = probe("layers", "layer_attribution", raw=0.7, evidence={"p": 0.01, "unit": "share of the change"})
    foreign = probe("foreign", "delta_kl", raw=0.7, evidence={"p": 0.01, "unit": ["nats"]})
    found = {t.name: t.unit for t in adjusted(suite(share, older, layers, foreign, with_p("a", 0.2)))}
    told = {"topics": "share of the spread", "older": "", "layers": "share of the change", "foreign": "", "a": "nats"}
    assert found == told
    rows = {row[0]: row[1] for row in effect_rows(suite(share, older, with_p("a", 0.2)))}
    assert rows == {"topics": "0.700 share of the spread", "older": "0.700", "a": "0.120 nats"}


def test_probes_give_the_unit_of_their_value(dummy_spec):
    prompts = [{"text": f"prompt {i}", "tags": ["odd" if i % 2 else "even"]} for i in range(24)]
    entries = (
        {"name": "strength", "kind": "adapter_ablation", "prompts": ["one", "two", "three"]},
        {"name": "topics", "kind": "cluster_kl", "prompts": prompts, "topics": "tags"},
    )
    found = run(dummy_spec(*entries), Exact()).probes
    assert all(p.raw is not None for p in found)
    assert [unit_of(p) for p in found] == ["R²", "share of the spread"]


def test_markdown_shows_effect_interval_and_ps_side_by_side():
    text = report.to_markdown(THREE, SCORE)
    assert "| a | 0.120 nats | [0.100, 0.140] | 0.01 | 0.03 | 0.03 |" in text
    assert "3 probes were tested together" in text


def test_untrusted_names_stay_in_their_cell():
    text = report.to_markdown(suite(with_p("a|b", 0.01), with_p("c\n# d", 0.2)), SCORE)
    assert r"| a\|b | 0.120 nats" in text
    assert "\n# d" not in text


def test_the_terminal_shows_them_too():
    out = io.StringIO()
    report.to_terminal(THREE, SCORE, console=Console(file=out, width=120))
    text = out.getvalue()
    assert "p (Holm)" in text
    assert "3 probes were tested together" in text


def test_a_tiny_p_is_not_shown_as_zero():
    text = report.to_markdown(suite(with_p("a", 1e-9), with_p("b", 0.5)), SCORE)
    assert "| < 0.0001 |" in text
