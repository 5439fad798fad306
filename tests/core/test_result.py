"""Results: what may be in them, how they are made safe, how they become JSON."""

import json
import math
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum

import numpy as np
import pytest

from sway_dash.core.result import (
    DEFAULT_COMPONENT_WEIGHTS,
    ProbeResult,
    SuiteResult,
    SwayScore,
    Verdict,
    jsonable,
    safe_finalize,
    utcnow,
)


def final(**kwargs):
    return safe_finalize(**({"name": "n", "kind": "k", "verdict": Verdict.PASS} | kwargs))


def test_verdicts_are_five_words():
    assert [v.value for v in Verdict] == ["pass", "fail", "warn", "skip", "error"]
    assert Verdict("pass") == "pass"


def test_a_probe_result_cannot_be_changed_and_shares_nothing():
    one, two = ProbeResult("a", "k", Verdict.PASS, 1.0), ProbeResult("b", "k", Verdict.PASS, 1.0)
    with pytest.raises(FrozenInstanceError):
        one.score = 0.0
    assert one.evidence is not two.evidence


def test_wall_time_is_from_start_to_end():
    start = utcnow()
    assert start.tzinfo is UTC
    suite = SuiteResult("s", start, start + timedelta(seconds=2.5), "b", "a", "1")
    assert suite.wall_seconds == 2.5


@pytest.mark.parametrize(
    ("overall", "band"),
    [
        (0.29, "noise"),
        (0.30, "partial"),
        (0.59, "partial"),
        (0.60, "healthy"),
        (0.85, "healthy"),
        (0.851, "suspicious"),
    ],
)
def test_bands_have_these_bounds(overall, band):
    assert SwayScore.band_for(overall) == band


def test_default_weights_sum_to_one_and_are_copied():
    assert math.fsum(DEFAULT_COMPONENT_WEIGHTS.values()) == pytest.approx(1.0)
    score = SwayScore(0.5, {})
    score.weights["adherence"] = 9.0
    assert DEFAULT_COMPONENT_WEIGHTS["adherence"] == 0.30
    assert SwayScore(0.5, {}).weights["adherence"] == 0.30


# --- safe_finalize ------------------------------------------------------------------------------------------------


def test_finite_numbers_pass_through_with_their_evidence():
    result = final(score=0.5, raw=1.0, z_score=2.0, base_value=3, ft_value=-4.0, evidence={"a": 1}, ci_95=(0.9, 1.1))
    assert (result.score, result.raw, result.z_score, result.base_value, result.ft_value) == (0.5, 1.0, 2.0, 3, -4.0)
    assert result.evidence == {"a": 1}
    assert result.ci_95 == (0.9, 1.1)
    assert result.verdict is Verdict.PASS


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf")])
def test_a_critical_number_that_is_not_finite_makes_an_error_without_numbers(bad):
    result = final(score=0.5, raw=bad, z_score=2.0, evidence={"kept": 1}, message="m", duration_s=3.0, ci_95=(0.0, 1.0))
    assert result.verdict is Verdict.ERROR
    assert [result.score, result.raw, result.z_score, result.base_value, result.ft_value, result.ci_95] == [None] * 6
    assert result.evidence["kept"] == 1
    assert list(result.evidence["non_finite_inputs"]) == ["raw"]
    assert "non-finite critical" in result.message
    assert "raw" in result.message
    assert "m" in result.message
    assert result.duration_s == 3.0


def test_an_error_names_every_number_that_was_not_finite():
    result = final(raw=math.nan, z_score=math.inf, base_value=1.0)
    assert result.evidence["non_finite_inputs"].keys() == {"raw", "z_score"}
    assert "z_score" not in result.message


def test_other_numbers_that_are_not_finite_become_unknown_and_are_named():
    result = final(verdict=Verdict.FAIL, score=0.4, raw=1.0, z_score=math.nan, ft_value=math.inf, ci_95=(0.5, 1.5))
    assert result.verdict is Verdict.FAIL
    assert (result.score, result.raw, result.z_score, result.ft_value) == (0.4, 1.0, None, None)
    assert result.evidence["defensively_nulled"] == ["ft_value", "z_score"]
    assert result.ci_95 == (0.5, 1.5)


def test_names_of_nulled_numbers_are_appended_to_earlier_ones():
    result = final(raw=1.0, score=math.nan, evidence={"defensively_nulled": ["x"]})
    assert result.evidence["defensively_nulled"] == ["x", "score"]


def test_without_critical_fields_a_nan_is_only_unknown():
    result = final(raw=math.nan, ci_95=(0.0, 1.0), critical_fields=())
    assert result.verdict is Verdict.PASS
    assert result.raw is None
    assert result.ci_95 is None


def test_critical_fields_may_be_several():
    result = final(raw=1.0, score=math.nan, critical_fields=("raw", "score"))
    assert result.verdict is Verdict.ERROR
    assert "score" in result.message


def test_unknown_numbers_and_truth_values_are_left_alone():
    result = final(raw=None, score=True)
    assert result.raw is None
    assert result.score is True
    assert result.evidence == {}


def test_an_interval_needs_its_number_and_finite_bounds():
    assert final(raw=None, ci_95=(0.0, 1.0)).ci_95 is None
    assert final(raw=0.5, ci_95=(0.0, math.nan)).ci_95 is None


def test_the_callers_evidence_is_not_changed():
    mine = {"a": 1}
    final(raw=1.0, score=math.nan, evidence=mine)
    assert mine == {"a": 1}


# --- jsonable -----------------------------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"


class Number(IntEnum):
    TWO = 2


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5),
        (np.float64("nan"), None),
        (math.inf, None),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1.0, np.nan]), [1.0, None]),
        (np.array(5.0), 5.0),
        ((1, (2, 3)), [1, [2, 3]]),
        ({1: "a", (2, 3): "b", None: "c"}, {"1": "a", "(2, 3)": "b", "None": "c"}),
        ({"b", "a"}, ["a", "b"]),
        (Verdict.PASS, "pass"),
        (Number.TWO, 2),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01 00:00:00+00:00"),
        (True, True),
        ("text", "text"),
        (None, None),
    ],
)
def test_everything_becomes_what_json_holds(value, plain):
    assert jsonable(value) == plain
    assert type(jsonable(value)) is type(plain)


def test_what_was_made_safe_can_be_written_by_a_strict_encoder():
    messy = {1: [np.float32("nan"), {2: np.arange(2)}], "enum": Colour.RED, "deep": [{"x": (math.inf, Verdict.SKIP)}]}
    text = json.dumps(jsonable(messy), allow_nan=False)
    assert json.loads(text) == {"1": [None, {"2": [0, 1]}], "enum": "Colour.RED", "deep": [{"x": [None, "skip"]}]}
