"""Golden comparison: masks, tolerances, and exact reasons."""

import math

import pytest

from sway_dash.core.golden import DEFAULT_VARIABLE_FIELDS, Diff, comparable, compare_goldens, mask_variable_fields


def only(actual, expected, **kwargs) -> Diff:
    (diff,) = compare_goldens(actual, expected, **kwargs)
    return diff


def test_what_varies_from_run_to_run_is_masked_at_any_depth():
    assert {
        *("started_at", "finished_at", "wall_seconds", "duration_s", "sway_version", "backend_stats"),
        *("adapter_id", "base_model_id", "run_id", "environment"),
    } <= DEFAULT_VARIABLE_FIELDS
    payload = {"run_id": "x", "probes": [{"duration_s": 1.0, "raw": 2.0}], "keep": [3, "started_at"]}
    assert mask_variable_fields(payload) == {"probes": [{"raw": 2.0}], "keep": [3, "started_at"]}
    assert payload["run_id"] == "x"


def test_the_mask_can_be_chosen():
    assert mask_variable_fields({"a": 1, "run_id": 2}, fields={"a"}) == {"run_id": 2}
    assert mask_variable_fields(5) == 5


def test_equal_documents_have_no_differences():
    document = {"a": [1, 2.0, None, "x", True], "b": {"c": math.nan}}
    assert compare_goldens(document, document) == []


def test_whole_and_other_numbers_are_of_one_type():
    assert compare_goldens({"a": 1}, {"a": 1.0}) == []


@pytest.mark.parametrize(
    ("actual", "expected"), [(True, 1), (0, False), (1.0, True), ("1", 1), (None, 0), ([], {}), ({}, None)]
)
def test_other_types_do_not_match(actual, expected):
    assert only({"a": actual}, {"a": expected}) == Diff("$.a", actual, expected, "type mismatch")


def test_keys_on_one_side_only_are_told_apart_in_order():
    diffs = compare_goldens({"z": 1, "b": 1}, {"a": 1, "z": 1})
    assert [(d.path, d.reason) for d in diffs] == [
        ("$.a", "missing key in actual"),
        ("$.b", "unexpected key in actual"),
    ]


def test_lists_of_other_length_are_one_difference():
    diff = only({"a": [1, 2]}, {"a": [9]})
    assert diff.path == "$.a"
    assert "list length mismatch" in diff.reason


def test_a_drift_is_found_where_it_is():
    assert only({"p": [{"raw": 1.0}, {"raw": 2.0}]}, {"p": [{"raw": 1.0}, {"raw": 3.0}]}).path == "$.p[1].raw"


def test_small_drifts_are_accepted_and_larger_ones_are_not():
    assert compare_goldens({"raw": 1.0 + 5e-5}, {"raw": 1.0}) == []
    assert "Δ" in only({"raw": 1.0 + 2e-4}, {"raw": 1.0}).reason


@pytest.mark.parametrize("key", ["score", "overall"])
def test_scores_have_a_tolerance_of_their_own(key):
    assert only({key: 0.52}, {key: 0.5}, logprob_tol=1.0).path == f"$.{key}"
    assert compare_goldens({key: 0.52}, {key: 0.5}, score_tol=0.1) == []
    assert compare_goldens({"raw": 0.52}, {"raw": 0.5}, logprob_tol=0.1) == []


def test_a_relative_tolerance_widens_with_the_expected_number():
    assert compare_goldens({"raw": 1001.0}, {"raw": 1000.0}, rel_tol=1e-2) == []
    assert compare_goldens({"raw": 0.1}, {"raw": 0.0}, rel_tol=1e-2) != []


@pytest.mark.parametrize(
    ("actual", "expected", "equal"),
    [
        (math.nan, math.nan, True),
        (math.nan, 1.0, False),
        (1.0, math.nan, False),
        (math.inf, math.inf, True),
        (math.inf, -math.inf, False),
        (math.inf, 1e308, False),
    ],
)
def test_numbers_that_are_not_finite_match_only_themselves(actual, expected, equal):
    assert (compare_goldens([actual], [expected]) == []) is equal


@pytest.mark.parametrize(("actual", "expected"), [("a", "b"), (True, False)])
def test_other_values_must_be_equal(actual, expected):
    assert only(actual, expected) == Diff("$", actual, expected, "value mismatch")


def test_a_difference_reads_as_one_line():
    text = str(Diff("$.a", 1, 2, "value mismatch"))
    assert "$.a" in text
    assert "value mismatch" in text
    assert "1" in text
    assert "2" in text


def test_results_of_one_suite_are_compared_by_their_numbers_and_verdicts():
    def result(**about):
        null = {"kind": "null_adapter", "evidence": {"from_cache": about["cached"], "measured": 3, "runs": 2}}
        probe = {"kind": "delta_kl", "verdict": "pass", "raw": about["raw"], "message": f"mean {about['raw']:.3f}"}
        stop = {"kind": "delta_kl", "evidence": {"measured": about.get("measured", 7)}}
        return {"spec_path": about["at"], "score": {"findings": [about["at"]]}, "probes": [null, probe, stop]}

    first = comparable(result(at="/a", cached=False, raw=0.1234))
    assert compare_goldens(comparable(result(at="/b", cached=True, raw=0.12341)), first) == []
    assert only(comparable(result(at="/b", cached=True, raw=0.2)), first).path == "$.probes[1].raw"
    # How many prompts were measured before stopping is a result, not a state of the disk.
    other = comparable(result(at="/a", cached=False, raw=0.1234, measured=9))
    assert only(other, first).path == "$.probes[2].evidence.measured"
