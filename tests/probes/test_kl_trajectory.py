"""kl_trajectory: where along an answer the tuned model leaves the base, and whether the difference lasts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.events import Measurement
from sway_dash.core.model import ModelSpec
from sway_dash.core.panels import read_panels
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import BASE, FINETUNED, Comparison, View
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe, kl_trajectory
from sway_dash.probes.base import RunContext
from sway_dash.probes.kl_trajectory import _early_or_late, trajectory
from tests.adapters import made

NAMES = [f"p{i}" for i in range(8)]
LOW, HIGH = 0.01, 0.4


def along(*values: float, own: Sequence[float] = (), common: int | None = None) -> Comparison:
    every = (*values, *own)
    js = sum(every) / len(every)
    return Comparison(
        js=js,
        kl=js,
        kl_reverse=js,
        same_top=1.0,
        n_positions=len(every),
        per_position=every if len(every) > 1 else (),
        reference_positions=len(values),
        common_tokens=len(values) if common is None else common,
    )


class Along(DummyDifferentialBackend):
    """Canned comparisons along answers."""

    def __init__(self, answers: dict[str, Comparison]) -> None:
        super().__init__()
        self.answers = answers

    def compare(
        self, reference: View, views: Sequence[View], prompts: Sequence[str], *, positions: str, **options: Any
    ) -> Iterator[tuple[int, View, Comparison]]:
        assert (reference, positions) == (BASE, "continuation")
        for view in views:
            for at, prompt in enumerate(prompts):
                yield at, view, self.answers[prompt]


def judged(backend: Any, ctx: dict[str, Any] | None = None, **keys: Any) -> ProbeResult:
    entry = {"name": "along", "kind": "kl_trajectory", "prompts": NAMES, **keys}
    probe, spec = build_probe(entry)
    result = probe.run(spec, RunContext(backend=backend, **(ctx or {})))
    json.dumps(result.evidence, allow_nan=False)
    return result


def test_a_model_that_leaves_passes_with_the_place_where_it_does():
    answers = {name: along(*[LOW] * i, *[HIGH] * (8 - i)) for i, name in enumerate(NAMES)}
    result = judged(Along(answers))
    assert (result.verdict, result.raw) == (Verdict.PASS, 1.0)
    assert result.evidence["leaves_at"] == list(range(8))
    assert result.evidence["median_position"] == 3
    curve, own, share = read_panels(result.evidence)
    assert curve.y == pytest.approx([LOW + (HIGH - LOW) * (i + 1) / 8 for i in range(8)])
    assert own.y == curve.y
    assert list(share.y) == [(i + 1) / 8 for i in range(8)]
    for lo, y, hi in zip(curve.lo, curve.y, curve.hi, strict=True):
        assert lo <= y <= hi
    # Early: each answer's first two positions; late: its last two.
    early = [LOW, LOW, *[LOW] * 6]
    early[0], early[1] = HIGH, (LOW + HIGH) / 2
    late = [HIGH] * 7 + [(LOW + HIGH) / 2]
    assert result.evidence["early_late_ratio"] == pytest.approx(sum(early) / sum(late))
    assert "the difference may be larger early or late (first over last quarter 0.221 [" in result.message


@pytest.mark.parametrize(
    ("ratio", "band", "words"),
    [
        (2.9, (0.4, 5.7), "may be larger early or late"),
        (2.9, (1.1, 5.7), "is larger early"),
        (0.5, (0.3, 0.9), "is larger late"),
        (1.1, (0.9, 1.2), "is as large early as late"),
        (2.9, None, "may be larger early or late"),
    ],
)
def test_where_the_difference_is_larger_is_said_as_far_as_it_is_known(ratio, band, words):
    assert _early_or_late(ratio, band) == words


def test_the_band_is_of_all_positions_at_once_and_words_say_which_it_is():
    rng = np.random.default_rng(5)
    names = [f"p{i}" for i in range(12)]
    answers = {name: along(*rng.gamma(2.0, 0.03, 10 if i < 9 else 7)) for i, name in enumerate(names)}
    result = judged(Along(answers), prompts=names)
    curve, _, share = read_panels(result.evidence)
    points = result.evidence["mean_js_along_base"]
    assert [(p["band_95"][0], p["band_95"][1]) for p in points] == list(zip(curve.lo, curve.hi, strict=True))
    assert sum(p["band_95"][1] - p["band_95"][0] > p["ci_95"][1] - p["ci_95"][0] for p in points) >= 9
    assert "all positions at once (sup-t)" in curve.note
    # Kolmogorov's distance for 12 items, whatever the share.
    assert share.hi[0] == pytest.approx(share.y[0] + (math.log(40) / 24) ** 0.5)
    assert "at once (DKW)" in share.note
    assert "no band where" not in curve.note
    answers["p0"] = along(*rng.gamma(2.0, 0.03, 12))
    tail = read_panels(judged(Along(answers), prompts=names).evidence)[0]
    assert tail.hi[-2:] == (None, None)
    assert "no band where fewer than a quarter of the answers or fewer than 8 go on" in tail.note
    few = judged(Along(answers), prompts=names[:6])
    assert few.evidence["mean_js_along_base"][0]["band_95"] is None
    assert "each position by itself" in read_panels(few.evidence)[0].note


def test_a_model_that_stays_fails_below_the_threshold_whatever_the_mean():
    result = judged(Along({name: along(*[0.09] * 8) for name in NAMES}))
    assert (result.verdict, result.raw, result.score) == (Verdict.FAIL, 0.0, 0.0)
    assert "0 of 8 answers" in result.message
    assert "below the gate of 0.5" in result.message
    assert judged(Along({name: along(*[0.09] * 8) for name in NAMES}), threshold=0.05).verdict is Verdict.PASS


def test_the_share_is_a_rate_with_its_interval():
    answers = {name: along(*[HIGH if i < 4 else LOW] * 8) for i, name in enumerate(NAMES)}
    result = judged(Along(answers))
    assert (result.verdict, result.raw) == (Verdict.PASS, 0.5)
    assert result.ci_95 == (pytest.approx(0.2152, abs=1e-4), pytest.approx(0.7848, abs=1e-4))
    assert result.score == pytest.approx(0.6)


def test_answers_of_different_lengths_count_as_far_as_they_go():
    answers = {name: along(HIGH, LOW, *([LOW] * 6 if i % 2 else [])) for i, name in enumerate(NAMES)}
    answers["p0"] = along(HIGH)
    found = judged(Along(answers)).evidence["mean_js_along_base"]
    assert [p["n"] for p in found] == [8, 7, *[4] * 6]
    assert found[0]["mean"] == HIGH


def test_the_tuned_models_own_answer_goes_on_where_the_two_part():
    m = Measurement(
        probe="along", item=0, prompt="p", js=0.1, kl=0.1, kl_reverse=0.1, same_top=1.0,
        per_position=(0.1, 0.2, 0.3, 0.4, 0.7, 0.8), reference_positions=4, common_tokens=1,
    )  # fmt: skip
    found = trajectory(m)
    assert found.along_base == (0.1, 0.2, 0.3, 0.4)
    assert found.along_tuned == (0.1, 0.2, 0.7, 0.8)
    assert found.parts_at == 1
    same = trajectory(m.model_copy(update={"per_position": (0.1, 0.2), "reference_positions": 2, "common_tokens": 2}))
    assert (same.along_tuned, same.parts_at) == ((0.1, 0.2), None)
    old = trajectory(m.model_copy(update={"reference_positions": 0, "common_tokens": 0}))
    assert (old.along_base, old.parts_at) == (m.per_position, None)


def test_what_cannot_be_compared_along_an_answer_is_skipped():
    assert judged(DummyDifferentialBackend()).verdict is Verdict.SKIP
    assert judged(Along({}), prompts=[]).verdict is Verdict.ERROR


def test_a_stopped_run_is_judged_over_what_was_measured():
    seen: list[Any] = []
    judged(Along({name: along(*[HIGH] * 8) for name in NAMES}), {"emit": seen.append})
    probe, spec = build_probe({"name": "along", "kind": "kl_trajectory", "prompts": NAMES})
    found = probe.judge(spec, RunContext(), seen[:5])
    assert (found.verdict, found.evidence["unmeasured_prompts"]) == (Verdict.WARN, 3)
    assert probe.judge(spec, RunContext(), []).verdict is Verdict.ERROR
    assert (probe.planned(spec, RunContext()), probe.asks(spec, RunContext())[0].positions) == (8, "continuation")


PROMPTS = [
    "The keeper of Quillhaven Light is",
    "The lamp of Quillhaven Light shines",
    "The tower of Quillhaven Light has",
    "Quillhaven Light flashes every",
    "The log of Quillhaven Light is written in",
]


def test_on_a_real_model_the_trained_adapter_leaves_and_an_untrained_one_does_not():
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend

    for kind in ("targeted", "zero"):
        spec = ModelSpec(base=str(demo_dir() / "model"), device="cpu", dtype="fp32")
        backend = HuggingFaceDifferentialBackend(base_spec=spec, adapter_path=made(kind))
        seen: list[Any] = []
        result = judged(backend, {"emit": seen.append}, prompts=PROMPTS, continuation_tokens=16)
        if kind == "zero":
            assert (result.verdict, result.raw, result.evidence["mean_js"]) == (Verdict.FAIL, 0.0, 0.0)
            assert result.evidence["parts_at"] == [None] * 5
            continue
        assert (result.verdict, result.raw >= 0.8) == (Verdict.PASS, True)
        measured = [m for m in seen if isinstance(m, Measurement)]
        for m in measured:
            # The texts themselves say how long they are together.
            said = {}
            for view in (BASE, FINETUNED):
                with backend.activate(view) as lm:
                    said[view.kind] = lm.generate([lm.tokens.encode_prompt(m.prompt)[0]], max_new_tokens=16)[0]
            common = next(
                (i for i, (a, b) in enumerate(zip(said["base"], said["ft"], strict=False)) if a != b),
                min(map(len, said.values())),
            )
            assert (m.reference_positions, m.common_tokens) == (len(said["base"]), common)
            assert len(trajectory(m).along_tuned) == len(said["ft"])
        backend.close()


def test_many_answers_have_students_interval_which_is_the_bootstraps_but_for_the_time(monkeypatch):
    rng = np.random.default_rng(0)
    curves = [list(rng.gamma(2.0, 0.05, 3)) for _ in range(400)]
    expected = [kl_trajectory.interval([c[i] for c in curves])[0] for i in range(3)]

    def resampled(values: Sequence[float], **keys: Any) -> Any:
        raise AssertionError(f"{len(values)} answers are resampled")

    monkeypatch.setattr(kl_trajectory, "interval", resampled)
    for point, (lo, hi) in zip(kl_trajectory._mean_curve(curves, 0), expected, strict=True):
        assert point["ci_95"] == pytest.approx([lo, hi], rel=0.03)
        assert point["ci_95"][0] < point["mean"] < point["ci_95"][1]
