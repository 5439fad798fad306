"""The composite score: what counts, what does not, and what is said about it."""

from datetime import UTC, datetime

import pytest

from sway_dash.core.result import DEFAULT_COMPONENT_WEIGHTS, ProbeResult, SuiteResult, Verdict
from sway_dash.suite import score as scoring

T0 = datetime(2026, 1, 1, tzinfo=UTC)

ADHERENCE = "delta_kl"
ABLATION = "adapter_ablation"
BASELINE = "null_adapter"


def probe(score, kind=ADHERENCE, verdict=Verdict.PASS, *, name="p", message="", **evidence):
    return ProbeResult(name, kind, verdict, score, message=message, evidence=evidence)


def compute(*probes, weights=None):
    return scoring.compute(SuiteResult("s", T0, T0, "b", "a", "1", probes=probes), weights=weights)


def test_one_probe_is_the_whole_score():
    score = compute(probe(0.8))
    assert score.overall == pytest.approx(0.8)
    assert score.band == "healthy"
    assert score.components == {"adherence": 0.8}
    assert score.weights == DEFAULT_COMPONENT_WEIGHTS
    assert score.weights is not DEFAULT_COMPONENT_WEIGHTS


def test_categories_are_weighted_over_those_that_have_probes():
    score = compute(probe(0.9), probe(0.3, ABLATION))
    assert score.overall == pytest.approx((0.30 * 0.9 + 0.15 * 0.3) / 0.45)
    assert score.components == {"adherence": 0.9, "ablation": 0.3}


def test_probes_are_weighted_within_their_category():
    assert compute(probe(1.0, weight=3), probe(0.0, weight=1.0)).overall == pytest.approx(0.75)


@pytest.mark.parametrize("odd", [True, "2", None, float("nan"), float("inf")])
def test_a_weight_that_is_no_number_counts_as_one(odd):
    assert compute(probe(1.0, weight=odd), probe(0.0)).overall == pytest.approx(0.5)


def test_a_negative_weight_counts_as_nothing():
    assert compute(probe(1.0, weight=-5), probe(0.4)).overall == pytest.approx(0.4)


def test_an_unknown_kind_counts_as_adherence():
    assert compute(probe(0.5, "never_heard_of")).components == {"adherence": 0.5}


@pytest.mark.parametrize(
    "unknown",
    [
        probe(0.0, verdict=Verdict.SKIP),
        probe(0.0, verdict=Verdict.ERROR),
        probe(None),
        probe(float("nan")),
    ],
)
def test_what_is_unknown_is_not_zero(unknown):
    assert compute(probe(0.8), unknown).overall == pytest.approx(0.8)


def test_a_suite_in_which_nothing_counts_scores_zero_without_components():
    score = compute(probe(None, verdict=Verdict.SKIP))
    assert (score.overall, score.band, score.components) == (0.0, "noise", {})


def test_a_category_whose_probes_weigh_nothing_is_left_out():
    score = compute(probe(0.9), probe(1.0, ABLATION, weight=0))
    assert score.overall == pytest.approx(0.9)
    assert "ablation" not in score.components


def test_an_informational_category_is_shown_but_does_not_count():
    score = compute(probe(0.4), probe(1.0, BASELINE))
    assert score.overall == pytest.approx(0.4)
    assert score.components["baseline"] == 1.0


def test_given_weights_are_used_exactly_as_passed():
    score = compute(probe(0.2), probe(0.8, ABLATION), weights={"ablation": 2.0})
    assert score.overall == pytest.approx(0.8)
    assert score.weights == {"ablation": 2.0}
    assert score.components == {"ablation": 0.8, "adherence": 0.2}


def test_weights_of_zero_only_give_zero():
    assert compute(probe(0.9), weights={"adherence": 0.0}).overall == 0.0


def test_the_first_failed_probe_is_a_finding_that_names_the_others():
    score = compute(
        probe(0.9, verdict=Verdict.FAIL, name="first", message="too little"),
        probe(0.9, verdict=Verdict.FAIL, name="second"),
        probe(0.9, verdict=Verdict.FAIL, name="third"),
    )
    (finding,) = score.findings
    assert finding.startswith("first ")
    assert ADHERENCE in finding
    assert finding.endswith("too little (and 2 more failed: second, third)")
    (alone,) = compute(probe(0.9, verdict=Verdict.FAIL, name="first")).findings
    assert "more failed" not in alone


def test_a_low_category_is_a_finding_and_a_true_zero_above_all():
    score = compute(probe(0.25), probe(0.0, ABLATION))
    assert len(score.findings) == 2
    assert "adherence" in score.findings[0]
    assert "0.25" in score.findings[0]
    assert "ablation" in score.findings[1]
    assert "0.00" in score.findings[1]
    assert compute(probe(0.3)).findings == ()


def test_probes_that_could_not_be_measured_are_counted():
    broken = [probe(None, verdict=Verdict.ERROR, name=str(i)) for i in range(3)]
    assert any("3" in finding for finding in compute(probe(0.9), *broken).findings)


def test_there_are_at_most_five_findings_and_errors_are_always_among_them(monkeypatch):
    monkeypatch.setattr(scoring, "category_of", lambda kind: kind)
    probes = [probe(0.1, f"category{i}") for i in range(9)]
    score = compute(
        probe(0.9, verdict=Verdict.FAIL, name="bad"), *probes, probe(None, verdict=Verdict.ERROR, name="broken")
    )
    assert len(score.findings) == 5
    assert "bad" in score.findings[0]
    assert "could not be measured" in score.findings[-1]
