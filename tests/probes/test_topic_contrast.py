"""topic_contrast: a pass needs a change on topic, and quiet off topic that is shown and not only not refuted."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import yaml

from sway_dash.core.events import Measurement
from sway_dash.core.panels import read_panels
from sway_dash.core.result import Verdict
from sway_dash.core.scoring import View
from sway_dash.core.stats import null_stats
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.topic_contrast import TopicContrastProbe, least_p, welch
from tests.adapters import opened
from tests.fakes_cli import Exact

N = 8


def prompts(n_on: int = N, n_off: int = N) -> list[dict[str, Any]]:
    on = [{"text": f"on {i}", "tags": ["on-topic"]} for i in range(n_on)]
    return [*on, *({"text": f"off {i}", "tags": ["off-topic", "far" if i % 2 else "near"]} for i in range(n_off))]


def entry(**keys: Any) -> tuple[Any, Any]:
    return build_probe({"name": "contrast", "kind": "topic_contrast", "prompts": prompts(), **keys})


def judged(on: Any, off: Any, *, ctx: RunContext | None = None, **keys: Any) -> Any:
    asked = prompts(len(on), len(off))
    probe, spec = entry(prompts=asked, **keys)
    values = [*on, *off]
    found = [
        Measurement(
            probe="contrast", item=i, prompt=p["text"], tags=p["tags"], js=v, kl=2 * v, kl_reverse=v, same_top=1.0
        )
        for i, (p, v) in enumerate(zip(asked, values, strict=True))
        if v is not None
    ]
    return probe.judge(spec, ctx or RunContext(), found)


def around(centre: float, n: int = N) -> list[float]:
    return list(centre * np.linspace(0.8, 1.2, n))


@pytest.mark.parametrize(
    ("keys", "verdict", "words"),
    [
        ({"prompts": []}, Verdict.ERROR, "no prompts"),
        ({"prompts": ["a", "b"]}, Verdict.SKIP, "two prompts tagged 'on-topic', has 0"),
        ({"prompts": prompts(4, 1)}, Verdict.SKIP, "two prompts tagged 'off-topic', has 1"),
        ({"on": "x", "off": "x"}, Verdict.ERROR, "two different tags"),
        ({"prompts": [{"text": "a", "tags": ["on-topic", "off-topic"]}]}, Verdict.ERROR, "tagged both"),
        ({"prompts": [*prompts(), {"text": "on 1", "tags": ["off-topic"]}]}, Verdict.ERROR, "'on 1' is tagged both"),
    ],
)
def test_what_cannot_be_judged_is_not_measured(keys: dict[str, Any], verdict: Verdict, words: str) -> None:
    probe, spec = entry(**keys)
    backend = Exact()
    result = probe.run(spec, RunContext(backend=backend))
    assert result.verdict is verdict
    assert words in result.message
    assert backend.calls == []
    assert probe.planned(spec, RunContext()) == 0


def test_prompts_without_either_tag_are_left_alone() -> None:
    probe, spec = entry(prompts=[*prompts(), "untagged", {"text": "other", "tags": ["other"]}])
    backend = Exact()
    result = probe.run(spec, RunContext(backend=backend))
    assert {text for _, text in backend.calls} == {p["text"] for p in prompts()}
    assert result.evidence["prompts_without_tag"] == 2
    assert probe.planned(spec, RunContext()) == 2 * N


def test_much_on_topic_and_little_off_topic_passes() -> None:
    result = judged(around(0.3), around(0.003))
    assert result.verdict is Verdict.PASS
    assert result.raw == pytest.approx(0.297)
    assert result.evidence["ratio"] == pytest.approx(100.0)
    lo, hi = result.evidence["ratio_ci_95"]
    assert lo < 100.0 < hi
    assert result.ci_95[0] < result.raw < result.ci_95[1]
    assert result.evidence["p_permutation"] < 0.001
    assert result.evidence["overlap"] == 0.0
    # The number of the table is in the sentence, by its name.
    assert result.message.startswith("contrast 0.297 [")


@pytest.mark.parametrize(
    ("on", "off", "reason"),
    [
        (around(0.01), around(0.0005), "on topic is below the gate of 0.02"),
        (around(0.5), around(0.1), "off topic reaches the gate of 0.02"),
        ([0.0] * 7 + [0.3], [0.0] * 7 + [0.1], "dealt at random do as well"),
    ],
)
def test_each_gate_fails_it_alone(on: list[float], off: list[float], reason: str) -> None:
    result = judged(on, off)
    assert result.verdict is Verdict.FAIL
    assert [r for r in result.evidence["reasons"] if reason in r]
    assert reason in result.message
    assert result.score < 0.6


def test_all_reasons_are_listed() -> None:
    result = judged(around(0.0), around(0.05))
    assert len(result.evidence["reasons"]) == 3
    assert result.score == 0.0


def test_quiet_that_is_not_shown_is_inconclusive() -> None:
    noisy = [0.0, 0.0, 0.0, 0.09, 0.0, 0.0, 0.001, 0.0]
    result = judged(around(0.4), noisy)
    assert np.mean(noisy) < 0.02
    assert result.verdict is Verdict.WARN
    assert "inconclusive" in result.message
    few = judged(around(0.4), around(0.003, 3))
    assert few.verdict is Verdict.WARN
    assert "too few prompts off topic" in few.message


def test_three_of_each_are_enough_for_a_small_p_and_fewer_are_no_failure() -> None:
    assert least_p(3, 3) == pytest.approx(0.05)
    few = judged(around(0.3, 2), around(0.001, 2))
    assert few.verdict is Verdict.WARN
    assert few.evidence["reasons"] == ["2 prompts on and 2 off topic reach p=0.17 at best: three of each would do"]
    assert few.score < 0.6
    assert judged(around(0.01, 2), around(0.001, 2)).verdict is Verdict.FAIL
    lost = judged([*around(0.3, 2), None], around(0.001, 3))
    assert lost.verdict is Verdict.WARN
    assert "2 prompts on and 3 off topic reach p=0.1 at best" in lost.message


def test_off_topic_prompts_that_did_not_change_at_all_are_quiet() -> None:
    result = judged(around(0.3, 20), [0.0] * 20)
    assert result.verdict is Verdict.PASS
    assert result.evidence["collateral_upper"] == 0.0
    assert "none of 20 items changed" in result.evidence["collateral_note"]
    assert judged(around(0.3, 20), [0.0] * 3).verdict is Verdict.WARN


def test_the_overlap_counts_pairs() -> None:
    rng = np.random.default_rng(4)
    on, off = rng.integers(0, 9, 40) / 8.0, rng.integers(0, 9, 30) / 8.0
    pairs = [1.0 if b > a else 0.5 if b == a else 0.0 for a in on for b in off]
    assert judged(on, off).evidence["overlap"] == pytest.approx(np.mean(pairs))


def test_nothing_anywhere_is_a_failure_worth_nothing() -> None:
    result = judged([0.0] * N, [0.0] * N)
    assert (result.verdict, result.score, result.evidence["ratio"]) == (Verdict.FAIL, 0.0, None)
    json.dumps(result.evidence, allow_nan=False)


def test_the_gate_is_worth_six_tenths_on_either_side() -> None:
    assert judged(around(0.02), around(0.0)).score == pytest.approx(0.6)
    assert judged(around(0.4), around(0.02 - 1e-9)).score == pytest.approx(0.6, abs=1e-4)
    assert judged(around(0.4), around(0.0)).score == pytest.approx(1.0)


def test_noise_with_the_same_contrast_fails_it() -> None:
    draws = [0.25, 0.35] * 5
    ctx = RunContext(null_stats={"topic_contrast": null_stats(draws)}, null_draws={"contrast": {"rank_1.00": draws}})
    result = judged(around(0.3), around(0.003), ctx=ctx)
    assert result.verdict is Verdict.FAIL
    assert "z below 3" in result.message
    assert result.score < 0.1
    few = RunContext(null_draws={"contrast": {"rank_1.00": [0.25, 0.26]}})
    result = judged(around(0.3), around(0.003), ctx=few)
    assert result.z_score > 3.0
    assert result.evidence["reasons"] == ["random adapters do as well: p=0.065 above 0.05"]
    assert (result.verdict, result.score) == (Verdict.FAIL, 0.59)


def test_noise_is_drawn_over_the_own_prompts_with_one_reference_pass() -> None:
    probe, spec = entry()
    backend = Exact()
    views = [View.null(s) for s in (1, 2)]
    found = probe.draw_null(spec, RunContext(backend=backend), views)
    assert set(found) == set(views)
    # The fake's nulls do not know of tags: their contrast is noise about 0.
    assert max(abs(v) for v in found.values()) < 0.0005
    assert len(backend.calls) == 2 * 2 * N


def test_prompts_that_were_not_measured_are_no_pass() -> None:
    result = judged([*around(0.3, 7), None], around(0.003))
    assert result.verdict is Verdict.WARN
    assert "1 prompts not measured" in result.message


def test_the_interval_of_the_difference_is_that_of_welch() -> None:
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(0)
    on, off = rng.normal(3.0, 1.0, 9), rng.normal(1.0, 0.2, 14)
    expected = ttest_ind(on, off, equal_var=False).confidence_interval(0.95)
    assert welch(on, off) == pytest.approx((expected.low, expected.high))
    assert welch(on[:3], off) is None


def test_every_further_tag_is_drawn_on_its_side() -> None:
    (groups,) = read_panels(judged(around(0.3), around(0.003)).evidence)
    assert [g.label for g in groups.groups] == ["on-topic", "off-topic", "off-topic, near", "off-topic, far"]
    assert groups.groups[0].lo is not None


def test_the_spec_for_a_null_without_an_own_entry_can_be_run() -> None:
    spec = TopicContrastProbe.calibrate_spec(RunContext())
    assert TopicContrastProbe().run(spec, RunContext(backend=Exact())).raw is not None


# -- on the demo model ---------------------------------------------------------------------------


def on_demo(kind: str) -> Any:
    suite = yaml.safe_load((demo_dir() / "sway.yaml").read_text(encoding="utf-8"))["suite"]
    probe, spec = entry(prompts=next(e for e in suite if e["name"] == "next_token")["prompts"])
    with opened(kind) as backend:
        return probe.run(spec, RunContext(backend=backend))


def test_the_shipped_adapter_changes_its_topic_and_leaves_the_rest() -> None:
    result = on_demo("targeted")
    assert result.verdict is Verdict.PASS, result.message
    assert result.evidence["targeted"] > 0.5
    assert result.evidence["collateral_upper"] < 0.02


@pytest.mark.parametrize("kind", ["blunt", "zero"])
def test_one_that_changes_all_alike_or_nothing_fails(kind: str) -> None:
    result = on_demo(kind)
    assert result.verdict is Verdict.FAIL, result.message
