"""calibration_drift: forgetting is bounded over the facts that the base knows; what it never knew is noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.errors import SpecValidationError
from sway_dash.core.packs import calibration_items
from sway_dash.core.rates import wilson
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.stats import null_stats
from sway_dash.probes import build_probe, calibration_drift
from sway_dash.probes.base import RunContext
from sway_dash.probes.calibration_drift import BUILT_IN_PACK, CalibrationDriftProbe, CalibrationDriftSpec

KIND = "calibration_drift"
TOPIC = {i.prompt: i.topic for i in calibration_items()}

KNOWN, UNKNOWN = -0.3, -5.0
"""Log-probability a token of a right answer that the base knows (0.74), and of one it does not (0.007)."""


def heuristic(gold: str) -> int:
    return max(1, len(gold) // 4)


def measured(
    delta: float | Callable[[int], float] = 0.0,
    *,
    base: float | Callable[[int], float] = KNOWN,
    null: Any = None,
    **keys: Any,
) -> ProbeResult:
    """The pack, or its first ``items_limit``, with log-probabilities a token of item ``i``: base, and base + delta."""
    items = [tuple(i) for i in keys.get("items", ())] or BUILT_IN_PACK
    sides: tuple[dict[tuple[str, str], float], ...] = ({}, {})
    for i, (prompt, gold) in enumerate(items):
        before = base(i) if callable(base) else base
        after = before + (delta(i) if callable(delta) else delta)
        for side, value in zip(sides, (before, after), strict=True):
            side[prompt, gold] = value * heuristic(gold)
    made = DummyDifferentialBackend(base=DummyResponses(logprobs=sides[0]), ft=DummyResponses(logprobs=sides[1]))
    probe, spec = build_probe({"name": "facts", "kind": KIND, **keys})
    return probe.run(spec, RunContext(backend=made, null_stats={} if null is None else {KIND: null}))


def test_the_pack_is_there_under_its_public_name():
    assert len(BUILT_IN_PACK) == 200
    assert all(isinstance(p, str) and isinstance(g, str) and p and g for p, g in BUILT_IN_PACK)


@pytest.mark.parametrize("base", [KNOWN, UNKNOWN])
@pytest.mark.parametrize("limit", [10, 40, None])
def test_an_even_change_is_all_or_nothing(limit, base):
    lost = measured(-2.0, base=base, items_limit=limit)
    assert (lost.raw, lost.verdict) == (1.0, Verdict.FAIL)
    assert lost.score == 0.0
    slight = measured(-0.3, base=base, items_limit=limit)
    assert (slight.raw, slight.verdict) == (0.0, Verdict.PASS)
    assert slight.ft_value == pytest.approx(-0.3)
    assert slight.evidence["total_items"] == (limit or 200)


def test_nothing_regressed_of_two_hundred_passes_although_noise_does_no_worse():
    # A null with mean 0.02 and spread 0.01: two standard deviations better is all that can be had.
    result = measured(0.0, null=null_stats([0.01, 0.03] * 10))
    assert result.z_score == pytest.approx(2.0)
    assert result.verdict is Verdict.PASS
    assert "for context: z=" in result.message


def test_harm_far_from_noise_fails_all_the_same():
    result = measured(-2.0, null=null_stats([1.0, 0.98, 0.99, 0.97] * 5))
    assert result.verdict is Verdict.FAIL


def test_the_share_has_wilsons_interval_and_its_bad_end_decides():
    result = measured(lambda i: -1.2 if i % 9 == 0 else 0.05)
    assert result.evidence["regressed_count"] == 23
    assert result.raw == 23 / 200 < 0.15
    assert result.ci_95 == pytest.approx(wilson(23, 200))
    assert result.verdict is Verdict.FAIL
    assert "the regressed share may reach 0.15" in result.message
    fewer = measured(lambda i: -1.2 if i % 19 == 0 else 0.05)
    assert fewer.verdict is Verdict.PASS
    assert fewer.evidence["fraction_regressed_upper"] < 0.15


def test_what_the_base_never_knew_cannot_be_forgotten():
    def base(i: int) -> float:
        return UNKNOWN if i % 2 else KNOWN

    result = measured(lambda i: -3.0 if i % 2 else 0.0, base=base)
    assert (result.raw, result.verdict) == (0.0, Verdict.PASS)
    assert (result.evidence["judged_items"], result.evidence["known_items"]) == (100, 100)
    assert result.evidence["fraction_regressed_all"] == 0.5
    everything = measured(lambda i: -3.0 if i % 2 else 0.0, base=base, judge="all")
    assert (everything.raw, everything.verdict) == (0.5, Verdict.FAIL)


def test_noise_on_unknown_items_does_not_hide_what_is_forgotten():
    # Of 60 known items 30 are lost; among 140 unknown ones chance gains make the plain mean look harmless.
    result = measured(
        lambda i: (-2.5 if i % 2 else 0.0) if i < 60 else 0.6, base=lambda i: KNOWN if i < 60 else UNKNOWN
    )
    assert result.evidence["mean_delta_nats_all"] > 0.0
    assert result.evidence["mean_delta_nats"] == pytest.approx(-1.25)
    assert result.verdict is Verdict.FAIL


def test_with_hardly_anything_known_all_items_are_judged_and_the_message_says_so():
    result = measured(-0.2, base=lambda i: KNOWN if i < 4 else UNKNOWN)
    assert result.evidence["judged"] == "all"
    assert "the base knows 4 of 200, too few, so all are judged" in result.message


def test_one_forgotten_topic_fails_although_the_mean_over_all_is_inside_the_margin():
    result = measured(lambda i: -4.0 if calibration_items()[i].topic == "german" else 0.0)
    assert result.evidence["mean_delta_nats"] == pytest.approx(-0.4)
    assert result.verdict is Verdict.FAIL
    assert "the mean change may be beyond -0.5" in result.message
    rows = {row["topic"]: row for row in result.evidence["per_topic"]}
    assert rows["german"] == {
        "topic": "german", "items": 20, "known": 20, "judged": 20, "regressed": 20, "mean_delta": -4.0,
        "ci_95": [-4.0, -4.0],
    }  # fmt: skip
    assert sum(row["regressed"] for row in rows.values()) == 20
    bad = [g["label"] for g in result.evidence["panels"][0]["groups"] if g["flag"] == "bad"]
    assert bad == ["german"]


def test_the_worst_offenders_are_the_five_largest_losses():
    result = measured(lambda i: -0.01 * i)
    worst = result.evidence["worst_offenders"]
    assert [w["prompt"] for w in worst] == [p for p, _ in BUILT_IN_PACK[:-6:-1]]
    assert worst[0]["gold"] == BUILT_IN_PACK[-1][1]
    assert worst[0]["delta"] == pytest.approx(-1.99)


def test_lost_and_gained_knowledge_are_both_counted():
    # Six lost (0.74 → 0.03), three gained (0.007 → 0.7); the rest stays.
    result = measured(
        lambda i: -3.2 if i < 6 else 4.7 if i >= 197 else 0.0, base=lambda i: UNKNOWN if i >= 190 else KNOWN
    )
    found = result.evidence
    assert (found["known_items"], found["known_after"], found["forgotten"], found["newly_known"]) == (190, 187, 6, 3)
    # Two-sided binomial of 3 in 9: 2 · (1 + 9 + 36 + 84) / 512.
    assert found["p_known_change"] == pytest.approx(2 * 130 / 512)
    lo, hi = found["known_change_ci_95"]
    assert lo < -3 / 200 < hi


def test_a_share_that_cannot_be_bounded_is_no_pass_once_something_regressed():
    few = measured(lambda i: -1.2 if i == 3 else 0.0, items_limit=12)
    assert few.verdict is Verdict.WARN
    assert "12 items are too few to bound the regressed share" in few.message
    assert measured(lambda i: -1.2 if i < 3 else 0.0, items_limit=12).verdict is Verdict.FAIL
    # One large loss of twelve: the mean could be harmless, or not. Who has so few items cannot know.
    wide = measured(lambda i: -4.0 if i == 3 else 0.0, items_limit=12)
    assert wide.verdict is Verdict.WARN
    assert "12 items are too few to rule out a mean change beyond -0.5" in wide.message
    assert wide.score < 0.6
    # Three items bound no mean at all.
    assert measured(-0.1, items_limit=3).verdict is Verdict.WARN
    assert measured(-2.0, items_limit=3).verdict is Verdict.FAIL


def test_more_harm_never_scores_higher():
    scores = [measured(-0.1 * k).score for k in range(0, 13)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.9
    assert scores[-1] == 0.0


def forgotten(topic: str, how_many: int, elsewhere: int = 0) -> ProbeResult:
    """So many items of a topic lost, and so many of the others."""
    of = [i for i, item in enumerate(calibration_items()) if item.topic == topic][:how_many]
    rest = [i for i, item in enumerate(calibration_items()) if item.topic != topic][:elsewhere]
    return measured(lambda i: -1.5 if i in of or i in rest else 0.0)


def test_a_topic_forgotten_as_a_whole_is_a_fault_of_its_own() -> None:
    found = forgotten("german", 14)
    assert found.evidence["fraction_regressed_upper"] < 0.15
    assert found.evidence["mean_delta_worst"] > -0.5
    assert (found.verdict, found.evidence["forgotten_topics"]) == (Verdict.FAIL, ["german"])
    assert "of 'german' 14 of 20 items regressed" in found.message
    # As many spread over all topics are a small share of each.
    spread = measured(lambda i: -1.5 if i < 14 else 0.0)
    assert (spread.raw, spread.verdict, spread.evidence["forgotten_topics"]) == (found.raw, Verdict.PASS, [])
    # Half of a topic is not most of it.
    assert forgotten("german", 10).verdict is Verdict.PASS


def test_more_losses_never_mend_a_verdict() -> None:
    order = [Verdict.PASS, Verdict.WARN, Verdict.FAIL]
    for topic, step in (("german", 0), ("german", 2)):
        found = [order.index(forgotten(topic, k, step * k).verdict) for k in range(21)]
        assert found == sorted(found)
        assert found[0] == 0
        assert found[-1] == 2


def test_two_lost_items_of_a_topic_of_two_may_be_chance() -> None:
    items = [{"prompt": f"fact {i} is", "gold": " true", "topic": f"topic {i // 2}"} for i in range(60)]
    sides: tuple[dict[tuple[str, str], float], ...] = ({}, {})
    for i, item in enumerate(items):
        for side, value in zip(sides, (KNOWN, KNOWN - 1.5 * (i < 2)), strict=True):
            side[item["prompt"], item["gold"]] = value * heuristic(item["gold"])
    backend = DummyDifferentialBackend(base=DummyResponses(logprobs=sides[0]), ft=DummyResponses(logprobs=sides[1]))
    probe, spec = build_probe({"name": "facts", "kind": KIND, "items": items})
    found = probe.run(spec, RunContext(backend=backend))
    assert (found.verdict, found.evidence["forgotten_topics"]) == (Verdict.PASS, [])
    assert found.ci_95 == wilson(2, 60)


def test_own_items_come_as_pairs_or_with_topics():
    pairs = [(f"a {i}", " c") for i in range(12)]
    assert measured(0.0, items=pairs).evidence["total_items"] == 12
    spec = CalibrationDriftSpec(name="x", items=[{"prompt": "a", "gold": " b", "topic": "mine"}, ["c", " d"]])
    assert [i.topic for i in spec.items] == ["mine", ""]
    with pytest.raises(SpecValidationError, match=r"items.*is empty"):
        build_probe({"name": "facts", "kind": KIND, "items": [["a", ""]]})
    with pytest.raises(SpecValidationError, match="unknown key"):
        build_probe({"name": "facts", "kind": KIND, "items": [{"prompt": "a", "gold": "b", "subject": "c"}]})


def test_an_answer_that_became_impossible_fails():
    result = measured(lambda i: float("-inf") if i == 5 else 0.0)
    assert result.verdict is Verdict.FAIL
    assert "1 items have no finite log-probability" in result.message
    assert measured(float("nan")).verdict is Verdict.ERROR


def test_the_settings_for_a_null_run_have_one_item_of_every_topic():
    spec = CalibrationDriftProbe.calibrate_spec(RunContext())
    assert spec.items_limit == 10
    assert len({TOPIC[p] for p, _ in BUILT_IN_PACK[: spec.items_limit]}) == 10


def test_the_evidence_is_json_and_draws_every_judged_item():
    result = measured(lambda i: -0.01 * i, base=lambda i: UNKNOWN if i < 20 else KNOWN)
    json.dumps(result.evidence, allow_nan=False)
    groups, items = result.evidence["panels"]
    assert len(groups["groups"]) == 10
    assert len(items["rows"]) == result.evidence["judged_items"] == 180
    assert items["rows"][0]["flag"] == "bad"


def test_topics_are_looked_at_once(monkeypatch):
    seen = []
    found = calibration_drift._Judged._topics
    monkeypatch.setattr(calibration_drift._Judged, "_topics", lambda self: seen.append(1) or found(self))
    result = measured()
    assert len(seen) == 1
    rows = result.evidence["per_topic"]
    assert sum(row["items"] for row in rows) == len(BUILT_IN_PACK)
    assert all(row["judged"] == row["items"] for row in rows)


def test_an_item_listed_twice_counts_once():
    items = [(f"fact {i} is", " true") for i in range(30)]
    once, twice = (measured(lambda i: -1.2 if i % 30 == 0 else 0.0, items=listed) for listed in (items, items * 2))
    assert once.ci_95 == wilson(1, 30)
    assert (twice.ci_95, twice.verdict, twice.evidence["total_items"]) == (once.ci_95, once.verdict, 30)


def test_of_items_listed_twice_the_first_counts() -> None:
    items = [{"prompt": p, "gold": " g", "topic": "t"} for p in ("a", "b", "a")]
    said = {"name": "c", "kind": "calibration_drift", "items": items, "items_limit": 1}
    spec = CalibrationDriftSpec.model_validate(said)
    assert [i.prompt for i in calibration_drift._items(spec)] == ["a"]
