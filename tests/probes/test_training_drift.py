"""training_drift: a falling loss passes, a rising or broken one fails, a noisy or stuck one is warned of."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sway_dash.core.panels import read_panels
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.training_curve import compute_metrics, downsampled_curve, spike_positions, trend
from sway_dash.probes.training_log import LossLog, TrainingDriftError, collect_steps, read_jsonl


def falling(n: int = 60, *, noise: float = 0.05, first: float = 5.0, last: float = 1.5, seed: int = 0) -> list[float]:
    t = np.linspace(0.0, 1.0, n)
    curve = last + (first - last) * np.exp(-4 * t)
    return list(curve + np.random.default_rng(seed).normal(0.0, noise, n))


def written(folder: Path, losses: list[float], *, name: str = "train-1.jsonl", start: int = 1) -> Path:
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"type": "step", "step": start + i, "loss": v}) for i, v in enumerate(losses)]
    (folder / "logs" / name).write_text("\n".join(lines) + "\n")
    return folder


def judged(store: Path | None, **keys: Any) -> ProbeResult:
    entry = {"name": "training", "kind": "training_drift", **keys}
    if store is not None:
        entry["store_path"] = str(store)
    probe, spec = build_probe(entry)
    result = probe.run(spec, RunContext())
    json.dumps(result.evidence, allow_nan=False)
    return result


def test_a_falling_loss_passes_and_shows_its_curve(tmp_path):
    result = judged(written(tmp_path, falling()))
    assert result.verdict is Verdict.PASS
    assert result.score > 0.6
    assert result.evidence["instability_events"] == 0
    assert result.evidence["convergence_ratio"] == pytest.approx(1.55 / 4.5, abs=0.1)
    assert result.evidence["trend_p"] < 1e-6
    (curve,) = read_panels(result.evidence)
    assert len(curve.x) == len(curve.y) == 60
    assert result.evidence["weight"] == 1.0


def test_a_short_monotone_run_passes_a_tighter_convergence_gate(tmp_path):
    losses = list(np.geomspace(5.234, 1.911, 30))
    result = judged(written(tmp_path, losses), assert_convergence_ratio_lte=0.5)
    assert (result.verdict, result.evidence["instability_events"]) == (Verdict.PASS, 0.0)
    assert "smoothness=" in result.message
    assert "warnings:" not in result.message


def test_a_rising_loss_fails(tmp_path):
    result = judged(written(tmp_path, falling()[::-1]))
    assert result.verdict is Verdict.FAIL
    assert "rises" in result.message


def test_a_loss_that_ends_non_finite_fails_and_no_infinity_is_stored(tmp_path):
    result = judged(written(tmp_path, [*falling(), math.nan, math.inf]))
    assert result.verdict is Verdict.FAIL
    assert "diverged" in result.message
    assert result.evidence["instability_events"] == 2
    assert [v for _, v in result.evidence["curve_sampled"]][-2:] == [None, None]


def test_nothing_finite_fails(tmp_path):
    result = judged(written(tmp_path, [math.nan] * 12))
    assert (result.verdict, result.evidence["instability_events"]) == (Verdict.FAIL, 12.0)


def test_a_stuck_run_is_warned_of_whatever_its_noise(tmp_path):
    for at, noise in enumerate((0.01, 0.3)):
        stuck = list(2.0 + np.random.default_rng(3).normal(0.0, noise, 200))
        result = judged(written(tmp_path / str(at), stuck))
        assert result.verdict is Verdict.WARN
        assert "no falling trend" in result.message
        assert "convergence_ratio=" in result.message
        assert "warnings:" in result.message


def test_a_jump_is_found_where_it_is_and_warned_of(tmp_path):
    losses = falling(200)
    losses[120] += 3.0
    losses[121] += 2.0
    result = judged(written(tmp_path, losses))
    assert result.verdict is Verdict.WARN
    assert result.evidence["spike_steps"] == [121]
    assert "instability_events=1" in result.message
    assert judged(written(tmp_path, losses), assert_instability_events_lte=1).verdict is Verdict.PASS


def test_batch_noise_alone_is_no_spike_however_long_the_run():
    rng = np.random.default_rng(5)
    found = [len(spike_positions(2.0 + rng.normal(0, 0.3, 1000), window=10, sigma=3.0)) for _ in range(20)]
    assert sum(found) <= 2


def test_smoothness_does_not_depend_on_how_many_points_were_logged():
    ours, public = [], []
    for n in (100, 400, 1600):
        m = compute_metrics(falling(n, noise=0.3), rolling_window=10, spike_sigma=3.0)
        ours.append(m["smoothness"])
        public.append(m["smoothness_public"])
    assert max(ours) - min(ours) < 0.05
    assert min(ours) > 0.9
    assert max(public) < 0.9  # batch noise alone drags it down


def test_trend_and_slope_are_those_of_the_published_procedures():
    # Sen's slope of a line with an outlier is the line's; Kendall's tau of a permutation counts its inversions.
    x = np.arange(10)
    y = 3.0 - 0.5 * x
    y[4] = 40.0
    found = trend(x, y)
    assert found["slope"] == pytest.approx(-0.5)
    assert trend(np.arange(4), np.array([1.0, 3.0, 2.0, 4.0]))["tau"] == pytest.approx(4 / 6)
    # 10 falling values: P(S = -45) = 1 / 10!
    assert trend(x, 3.0 - 0.5 * x)["trend_p"] == pytest.approx(1 / math.factorial(10), rel=1e-6)


def test_the_size_of_a_false_alarm_of_the_trend_test_is_as_promised():
    rng = np.random.default_rng(11)
    hits = sum(trend(np.arange(40), rng.normal(size=40))["rising_p"] < 0.05 for _ in range(400))
    assert 8 <= hits <= 33  # 20 expected


def test_a_resumed_run_leaves_out_what_the_given_up_attempt_logged(tmp_path):
    store = written(tmp_path, falling(40))
    given_up = [9.0] * 20
    written(store, [*falling(40)[:20], *given_up], name="train-1.jsonl")
    written(store, falling(40)[20:], name="train-2.jsonl", start=21)
    result = judged(store)
    assert result.verdict is Verdict.PASS
    assert (result.evidence["restarts"], result.evidence["dropped_steps"]) == (1, 20)
    assert result.evidence["num_steps"] == 40
    assert "left out" in result.message


def test_files_are_read_in_the_order_of_their_numbers(tmp_path):
    losses = falling(40)
    written(tmp_path, losses[:20], name="train-9.jsonl")
    written(tmp_path, losses[20:], name="train-10.jsonl", start=21)
    assert judged(tmp_path).evidence["restarts"] == 0


def test_the_state_file_of_a_trainer_is_read_too(tmp_path):
    history: list[dict[str, Any]] = [
        {"step": 10 * (i + 1), "loss": v, "learning_rate": 1e-4} for i, v in enumerate(falling(30))
    ]
    history.insert(15, {"step": 150, "eval_loss": 1.6})
    history += [{"step": 300, "eval_loss": 2.4}, {"step": 300, "train_runtime": 1.0, "train_loss": 2.0}]
    (tmp_path / "checkpoint-90").mkdir()
    (tmp_path / "checkpoint-90" / "trainer_state.json").write_text(json.dumps({"log_history": history[:9]}))
    (tmp_path / "checkpoint-300").mkdir()
    (tmp_path / "checkpoint-300" / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    for store in (tmp_path, tmp_path / "checkpoint-300", tmp_path / "checkpoint-300" / "trainer_state.json"):
        result = judged(store)
        assert result.verdict is Verdict.PASS
        assert result.evidence["num_steps"] == 30
        assert "validation loss rose from 1.6 at step 150 to 2.4" in result.message


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: None, "no store_path"),
        (lambda p: p / "nowhere", "no logs/"),
        (lambda p: p, "no logs/"),
        (lambda p: (p / "logs").mkdir() or p, "no train-*.jsonl"),
        (lambda p: written(p, [1.0, 0.9, 0.8]), "too short"),
    ],
)
def test_what_is_missing_is_a_skip_that_says_so(tmp_path, make, words):
    result = judged(make(tmp_path))
    assert result.verdict is Verdict.SKIP
    assert words in result.message


def test_a_log_that_is_no_log_is_an_error_and_a_torn_last_line_is_not(tmp_path):
    store = written(tmp_path, falling())
    log = store / "logs" / "train-1.jsonl"
    log.write_text(log.read_text() + '{"type": "step", "st')
    assert judged(store).verdict is Verdict.PASS
    log.write_text("hello\n")
    result = judged(store)
    assert result.verdict is Verdict.ERROR
    assert "not valid JSON" in result.message
    with pytest.raises(TrainingDriftError, match="failed to read"):
        read_jsonl([tmp_path / "none.jsonl"])
    (tmp_path / "logs" / "train-1.jsonl").unlink()
    (tmp_path / "trainer_state.json").write_text("[]")
    assert "log_history" in judged(tmp_path).message


def test_records_of_other_kinds_are_left_out_and_the_last_of_a_step_counts(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"type":"run"}\n{"type":"step","step":1,"loss":2}\n{"type":"step","step":"2","loss":"1.5"}\n'
                    '{"type":"step","step":2,"loss":null}\n[1]\n{"type":"step","step":2,"loss":1.25}\n')  # fmt: skip
    assert collect_steps([path]) == {1: 2.0, 2: 1.25}


@pytest.mark.parametrize("n", [1, 2, 512, 513, 1024, 1500])
def test_a_sampled_curve_keeps_its_ends_and_its_bound(n):
    curve = downsampled_curve(list(range(n)), [float(i) for i in range(n)], cap=512)
    assert len(curve) == min(n, 512)
    assert (curve[0], curve[-1]) == ((0, 0.0), (n - 1, float(n - 1)))


def test_a_constant_loss_has_no_smoothness_and_no_trend(tmp_path):
    result = judged(written(tmp_path, [2.0] * 30))
    assert (result.verdict, result.raw) == (Verdict.WARN, 0.0)
    assert result.evidence["smoothness_public"] == 0.0


def test_a_folder_beside_the_suite_file_is_found_wherever_the_run_is_started_from(tmp_path):
    from sway_dash.suite.loader import load_spec

    written(tmp_path / "run", falling())
    text = (
        "models:\n  base: {kind: dummy, base: d}\n  ft: {kind: dummy, base: d}\nsuite:\n"
        "  - {name: training, kind: training_drift, store_path: run}\n"
        "  - {name: ghost, kind: gradient_ghost, adapter_path: ./run}\n"
    )
    (tmp_path / "sway.yaml").write_text(text)
    entries = load_spec(tmp_path / "sway.yaml").suite
    probe, spec = build_probe(entries[0])
    assert probe.run(spec, RunContext()).verdict is Verdict.PASS
    assert Path(entries[1]["adapter_path"]) == tmp_path / "run"


def test_a_step_that_is_logged_again_does_not_search_the_whole_log():
    class Unsearched(dict[int, float]):
        def __iter__(self):
            raise AssertionError("every step of the log was looked at")

    log = LossLog(losses=Unsearched())
    for step, loss in ((1, 4.0), (2, 3.0), (2, 2.5), (3, 2.0), (4, 1.0), (3, 1.9)):
        log.add(step, loss)
    assert dict(log.losses.items()) == {1: 4.0, 2: 2.5, 3: 1.9}
    assert (log.restarts, log.dropped_steps) == (1, 2)


def test_a_folder_in_the_home_of_nobody_is_one_sentence():
    result = judged(Path("~no-such-user-here/run"))
    assert result.verdict is Verdict.ERROR
    assert "home folder of a user who is not known" in result.message
