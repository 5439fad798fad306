"""The rule of the gate: what fails it at which level, what is said, and that nothing unmeasured passes."""

from datetime import UTC, datetime

import pytest

from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore, Verdict
from sway_dash.suite.fold import PREFLIGHT
from sway_dash.suite.gate import FailOn, judge
from sway_dash.suite.score import compute

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def probe(verdict="pass", score=0.8, *, name="p", kind="delta_kl", message="", **evidence):
    return ProbeResult(name, kind, Verdict(verdict), score, message=message, evidence=evidence)


def gate(*probes, weights=None, status="finished", warnings=(), **how):
    result = SuiteResult("s", T0, T0, "b", "a", "1", probes=probes, status=status, warnings=warnings)
    return judge(result, compute(result, weights=weights), **how)


def test_a_good_result_passes_without_a_reason():
    passed = gate(probe(), threshold=0.6)
    assert passed.passed
    assert passed.reasons == ()


@pytest.mark.parametrize("verdict", ["error", "fail", "warn"])
@pytest.mark.parametrize("fail_on", list(FailOn))
def test_a_verdict_fails_the_levels_from_its_own_on(verdict, fail_on):
    order = [FailOn.ERROR, FailOn.FAIL, FailOn.WARN]
    bad = probe(verdict, None if verdict == "error" else 0.5, name="bad")
    fails = fail_on is not FailOn.NEVER and order.index(FailOn(verdict)) <= order.index(fail_on)
    judged = gate(probe(), bad, fail_on=fail_on)
    assert judged.passed is not fails
    assert len(judged.reasons) == fails


def test_every_reason_is_said_with_the_name_the_kind_and_what_the_probe_said():
    judged = gate(
        probe("fail", 0.0, name="moved", message="mean 0.001 is below the gate"),
        probe("error", None, name="shape", kind="adapter_ablation", message="no logits"),
        threshold=0.5,
    )
    assert judged.reasons == (
        "moved (delta_kl) failed: mean 0.001 is below the gate",
        "shape (adapter_ablation) could not be measured: no logits",
        "overall 0.00 is below the threshold 0.50",
    )


def test_empty_categories_that_other_programs_list_as_zero_are_no_score():
    result = SuiteResult("s", T0, T0, "b", "a", "1", probes=(probe("skip", None), probe(kind="null_adapter")))
    listed = SwayScore(0.0, {"adherence": 0.0, "ablation": 0.0, "baseline": 1.0})
    assert not judge(result, listed, threshold=0.0).passed


def test_errors_may_be_allowed_but_not_alone():
    assert gate(probe(), probe("error", None), allow_errors=True).passed
    assert gate(probe("error", None), allow_errors=True).reasons == (
        "nothing was scored: no probe that counts was measured",
    )


def test_a_failed_pre_flight_fails_with_a_threshold_of_zero():
    broken = probe("error", None, name=PREFLIGHT, kind="preflight", message="preflight failed: ft view is nan")
    judged = gate(broken, threshold=0.0)
    assert judged.reasons[0] == "preflight failed: ft view is nan"
    assert not gate(broken, threshold=0.0, allow_errors=True).passed


@pytest.mark.parametrize(
    "probes",
    [
        (),
        (probe("skip", None), probe("skip", None)),
        (probe("pass", None),),
        (probe("pass", 0.9, weight=0),),
        (probe("pass", 1.0, kind="null_adapter"),),
    ],
)
def test_what_was_not_scored_does_not_pass(probes):
    for how in ({"threshold": 0.0}, {"fail_on": FailOn.ERROR}, {"threshold": 0.0, "fail_on": FailOn.NEVER}):
        assert not gate(*probes, **how).passed
    assert gate(*probes, fail_on=FailOn.NEVER).passed


@pytest.mark.parametrize("status", ["running", "cancelled", "failed", "interrupted", "something new"])
def test_a_run_without_its_end_does_not_pass_however_good_it_looks(status):
    judged = gate(probe(), status=status, warnings=("the disk is full",))
    assert len(judged.reasons) == 1
    assert judged.reasons[0].endswith("; the disk is full")
    assert gate(probe(), status=status, fail_on=FailOn.NEVER).passed


def test_the_threshold_holds_alone_too_and_is_met_by_an_equal_score():
    assert not gate(probe(score=0.4), threshold=0.5, fail_on=FailOn.NEVER).passed
    assert gate(probe(score=0.5), threshold=0.5).passed
    # 0.3 · 0.1 + 0.3 · 0.2, say, is not exact.
    assert gate(probe(score=0.1 + 0.2 - 1e-12), threshold=0.3).passed


def test_two_numbers_that_differ_are_shown_as_different():
    assert gate(probe(score=0.59996), threshold=0.6).reasons == ("overall 0.59996 is below the threshold 0.60000",)
    assert gate(probe(score=0.65), threshold=0.8).reasons == ("overall 0.65 is below the threshold 0.80",)


def test_weights_of_zero_leave_nothing_to_judge():
    zero = {"adherence": 0.0, "ablation": 1.0}
    assert not gate(probe(), weights=zero).passed
    assert gate(probe(), probe(kind="adapter_ablation"), weights=zero).passed


@pytest.mark.parametrize("odd", [{"threshold": float("nan")}, {"threshold": 1.5}])
def test_what_cannot_be_reached_does_not_pass(odd):
    assert not gate(probe(score=1.0), **odd).passed


def test_the_decision_as_data():
    assert gate(probe(), threshold=0.5, fail_on=FailOn.WARN).to_dict() == {
        "passed": True, "reasons": [], "threshold": 0.5, "fail_on": "warn", "allow_errors": False,
    }  # fmt: skip
