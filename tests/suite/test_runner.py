"""The runner: order, fences, preflight, labels, cancelling, the event stream."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.backends.instrumentation import TraceWriter
from sway_dash.core import events as ev
from sway_dash.core.determinism import DeterminismSummary
from sway_dash.core.errors import BackendNotAvailableError, ProbeError, SpecValidationError
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import NoiseFloor, TokenDist
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, ViewPair
from sway_dash.suite import runner
from sway_dash.suite.fold import fold
from sway_dash.suite.headline import headline
from sway_dash.suite.runner import run, run_opening
from sway_dash.suite.trace_analysis import load
from tests.fakes_cli import UNMEASURABLE, Exact, Unfit

NULL = {"name": "noise", "kind": "null_adapter", "runs": 4, "cache": False}
DELTA = {"name": "moved", "kind": "delta_kl", "prompts": ["one", "two", "three", "four", "five"]}
SHAPE = {"name": "shape", "kind": "adapter_ablation", "prompts": ["one", "two"]}


class _Probe(Probe):
    """Calls ``act`` of the test that uses it."""

    kind = "test_act"
    spec_cls: ClassVar[type[ProbeSpec]] = ProbeSpec
    act: ClassVar[Any] = None

    def run(self, spec: ProbeSpec, ctx: RunContext) -> ProbeResult:
        return type(self).act(spec, ctx)


class _NoBackend(_Probe):
    """Needs no model."""

    kind = "test_no_backend"
    needs_backend = False


def acting(monkeypatch, act, cls=_Probe):
    monkeypatch.setattr(cls, "act", staticmethod(act))


def entry(name="p", kind="test_act", **keys):
    return {"name": name, "kind": kind, **keys}


def passed(spec, ctx, **fields):
    return ProbeResult(spec.name, spec.kind, Verdict.PASS, 1.0, **fields)


def listening(spec, backend, **options):
    seen: list[Any] = []
    return run(spec, backend, on_event=seen.append, **options), seen


# -- order and fences -----------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_file_and_carry_their_time(dummy_spec):
    result = run(dummy_spec(SHAPE, NULL, DELTA), Exact())
    assert [p.name for p in result.probes] == ["shape", "noise", "moved"]
    assert all(p.duration_s > 0 for p in result.probes)
    assert result.status == "finished"
    assert result.wall_seconds >= max(p.duration_s for p in result.probes)
    assert result.started_at.tzinfo is not None


def test_the_seed_is_set_before_the_backend_is_called_and_reported(dummy_spec, monkeypatch):
    order = []

    def seeding(seed, *, strict):
        order.append("seed")
        return DeterminismSummary("loose", seed, ("as told",))

    monkeypatch.setattr(runner, "seed_everything", seeding)
    backend = DummyDifferentialBackend()
    monkeypatch.setattr(backend, "preflight_finite_check", lambda: (order.append("preflight"), (True, ""))[1])
    result = run(dummy_spec(DELTA, seed=7), backend)
    assert order[:2] == ["seed", "preflight"]
    assert (result.determinism.class_, result.determinism.seed) == ("loose", 7)
    assert result.determinism.notes == ("as told",)


def test_a_disabled_probe_is_skipped_and_not_run(dummy_spec, monkeypatch):
    acting(monkeypatch, lambda *_: pytest.fail("was run"))
    (row,) = run(dummy_spec(entry(enabled=False)), Exact()).probes
    assert row.verdict is Verdict.SKIP
    assert row.score is None
    assert "disabled" in row.message


@pytest.mark.parametrize(
    ("error", "says"),
    [(ProbeError("p", "kaboom"), "p: kaboom"), (ValueError("odd"), "ValueError: odd"), (KeyError("k"), "KeyError")],
)
def test_a_failing_probe_is_a_row_of_its_own_and_the_others_go_on(dummy_spec, monkeypatch, error, says):
    def act(spec, ctx):
        raise error

    acting(monkeypatch, act)
    result = run(dummy_spec(entry(), DELTA), Exact())
    assert [p.verdict for p in result.probes] == [Verdict.ERROR, Verdict.PASS]
    assert says in result.probes[0].message
    assert result.probes[0].score is None
    assert result.status == "finished"


def test_an_unexpected_error_keeps_its_traceback(dummy_spec, monkeypatch):
    def act(spec, ctx):
        raise ValueError("odd")

    acting(monkeypatch, act)
    (row,) = run(dummy_spec(entry()), Exact()).probes
    assert "in act" in row.evidence["traceback"]


def test_every_field_of_a_result_survives_the_stamp_of_its_duration(dummy_spec, monkeypatch):
    fields = {
        "raw": 0.25,
        "z_score": 3.5,
        "base_value": 1.0,
        "ft_value": 2.0,
        "evidence": {"a": [1, 2]},
        "message": "m",
        "ci_95": (0.1, 0.4),
    }
    acting(monkeypatch, lambda spec, ctx: passed(spec, ctx, duration_s=99.0, **fields))
    (row,) = run(dummy_spec(entry()), Exact()).probes
    assert {k: getattr(row, k) for k in fields} == fields
    assert row.duration_s < 99.0


def test_numpy_numbers_and_nan_in_evidence_do_not_break_the_record(dummy_spec, monkeypatch):
    evidence = {"a": np.float32(0.5), "b": float("nan"), 3: np.arange(2)}
    acting(monkeypatch, lambda spec, ctx: passed(spec, ctx, evidence=evidence))
    (row,) = run(dummy_spec(entry()), Exact()).probes
    assert row.evidence == {"a": 0.5, "b": None, "3": [0, 1]}


def test_a_wrong_entry_stops_everything_before_the_backend_is_touched(dummy_spec):
    backend = Exact()
    with pytest.raises(SpecValidationError, match="unknown probe kind"):
        run(dummy_spec(DELTA, entry(kind="nope")), backend)
    assert backend.calls == []


# -- preflight ------------------------------------------------------------------------------------


def test_an_unfit_model_gives_one_row_and_no_measurement(dummy_spec):
    backend = Unfit()
    result = run(dummy_spec(NULL, DELTA), backend)
    (row,) = result.probes
    assert (row.name, row.kind, row.verdict, row.score) == ("__preflight__", "preflight", Verdict.ERROR, None)
    assert "preflight failed" in row.message
    assert "ft view" in row.message
    assert row.evidence == {"preflight_reason": "ft view gives 3 non-finite log-probabilities of 8"}
    assert result.null_stats == {}
    assert backend.calls == []


def test_the_dummy_names_the_view_that_is_broken(dummy_spec):
    broken = TokenDist(np.arange(2), np.array([np.nan, -1.0], dtype=np.float32), 10)
    backend = DummyDifferentialBackend(ft=DummyResponses(token_dists={"preflight": broken}))
    (row,) = run(dummy_spec(DELTA), backend).probes
    assert "preflight failed: ft view gives 1 non-finite" in row.message


def test_preflight_can_be_skipped(dummy_spec):
    result = run(dummy_spec(DELTA), Unfit(), skip_preflight=True)
    assert result.probes[0].verdict is Verdict.PASS


def test_identical_views_are_a_warning_with_causes(dummy_spec, monkeypatch):
    backend = Exact()
    monkeypatch.setattr(backend, "identical_views", lambda: ["lora_B is all zero"], raising=False)
    result, seen = listening(dummy_spec(DELTA), backend)
    (warning,) = [e for e in seen if isinstance(e, ev.Warned)]
    assert warning.causes == ("lora_B is all zero",)
    assert result.warnings == (f"{warning.message}. Most likely: (1) lora_B is all zero",)


# -- nulls ----------------------------------------------------------------------------------------


def test_the_same_model_twice_is_measured_before_the_probes(dummy_spec):
    asked = []

    class Twice(DummyDifferentialBackend):
        def noise_floor(self, prompts):
            asked.append(list(prompts))
            return NoiseFloor(prompts=2, js=1e-5, kl=4e-5)

    off = entry("off", "delta_kl", prompts=["z"], enabled=False)
    spec = dummy_spec(entry("a", "delta_kl", prompts=["x", "y"]), off)
    result, events = listening(spec, Twice())
    assert asked == [["x", "y"]]
    kinds = [e.type for e in events]
    assert kinds.index("noise") < kinds.index("measurement")
    assert result.environment["noise_floor"] == {"prompts": 2, "js": 1e-5, "kl": 4e-5}


def test_what_is_no_more_than_the_models_own_rounding_is_the_same_to_every_probe(dummy_spec):
    class Rough(Exact):
        def noise_floor(self, prompts):
            return NoiseFloor(prompts=2, js=0.6, kl=9.0)

    prompts = ["x", "y", "z", "w"]
    spec = dummy_spec(entry("a", "delta_kl", prompts=prompts), entry("b", "adapter_ablation", prompts=prompts))
    result, events = listening(spec, Rough())
    moved, shape = result.probes
    assert "the same to rounding" in moved.message
    assert moved.evidence["identical_prompts"] == 4
    word = headline(result)
    assert (word.word, "the same to rounding on all 4 prompts" in word.sentence) == ("no detectable change", True)
    assert word.reasons == ("No JS exceeds 0.6, a model's from itself.",)
    assert "the curve is flat" in shape.message
    # Judged from what was kept of a run that broke off, with the floor of the model that was measured.
    for told in fold(e for e in events if e.type != "probe_finished").probes:
        assert "the same to rounding" in told.message or "the curve is flat" in told.message
    fine, coarse = listening(spec, Exact())[0].probes
    assert (fine.evidence["identical_prompts"], fine.evidence["rounding"]) == (0, 0.0)
    assert "the curve is flat" not in coarse.message


def test_a_noise_floor_that_cannot_be_measured_costs_only_itself(dummy_spec):
    class Full(DummyDifferentialBackend):
        def noise_floor(self, prompts):
            raise RuntimeError("out of memory")

    result, events = listening(dummy_spec(entry("a", "delta_kl", prompts=["x", "y"])), Full())
    assert result.status == "finished"
    assert result.warnings == ("the noise floor was not measured: RuntimeError: out of memory",)
    assert sum(e.type == "measurement" for e in events) == 2


def test_null_stats_reach_later_probes_read_only(dummy_spec, monkeypatch):
    seen: list[RunContext] = []

    def act(spec, ctx):
        seen.append(ctx)
        return passed(spec, ctx)

    acting(monkeypatch, act)
    result = run(dummy_spec(entry("before"), NULL, DELTA, entry("after")), Exact())
    before, after = seen
    assert dict(before.null_stats) == {}
    assert isinstance(after.null_stats, MappingProxyType)
    assert isinstance(after.null_stats_by_rank, MappingProxyType)
    with pytest.raises(TypeError):
        after.null_stats["delta_kl"] = {}  # type: ignore[index]
    assert after.null_stats["delta_kl"]["n"] == 4.0
    assert (
        result.null_stats["delta_kl"]
        == after.null_stats["delta_kl"]
        == after.null_stats_by_rank["rank_1.00"]["delta_kl"]
    )


def test_a_probe_knows_which_kinds_come_after_it(dummy_spec, monkeypatch):
    seen = []

    def act(spec, ctx):
        seen.append(ctx.downstream_kinds)
        return passed(spec, ctx)

    acting(monkeypatch, act)
    run(dummy_spec(entry("a"), DELTA, {**SHAPE, "enabled": False}, entry("b")), Exact())
    assert seen == [("delta_kl", "test_act"), ()]


def test_a_plug_in_is_calibrated_through_the_generic_path(dummy_spec):
    """A probe that only knows ``as_base`` and ``as_finetuned`` gets its null by being run on (base, null)."""
    backends: list[Any] = []

    class Gap(Probe):
        """Difference of the first log-probability."""

        kind = "test_gap"
        spec_cls = ProbeSpec

        def run(self, spec: ProbeSpec, ctx: RunContext) -> ProbeResult:
            backends.append(ctx.backend)
            with ctx.require_backend.as_base() as base:
                p = base.next_token_dist("x").logprobs[0]
            with ctx.require_backend.as_finetuned() as tuned:
                q = tuned.next_token_dist("x").logprobs[0]
            return ProbeResult(spec.name, spec.kind, Verdict.PASS, 1.0, raw=abs(float(p - q)))

        @classmethod
        def calibrate_spec(cls, ctx: RunContext) -> ProbeSpec:
            return ProbeSpec(name="calibration", kind=cls.kind)

    result = run(dummy_spec(NULL, entry("g", "test_gap")), DummyDifferentialBackend())
    assert [isinstance(b, ViewPair) for b in backends] == [True] * 4 + [False]
    stats = result.null_stats["test_gap"]
    assert stats["n"] == 4.0
    # The dummy's noise has a standard deviation of 0.02, its tuned side is 2 nats away.
    assert 0.0 < stats["mean"] < 0.1
    assert result.probes[1].raw == pytest.approx(np.log(8) - 0.1, abs=1e-3)


# -- tracing and counting -------------------------------------------------------------------------


def test_every_scoring_call_is_labelled_with_its_probe_and_phase(dummy_spec, tmp_path):
    path = tmp_path / "t.jsonl"
    run(dummy_spec(NULL, DELTA, SHAPE), DummyDifferentialBackend(), trace_path=path)
    events = load(path)
    labels = [(e.probe, e.phase) for e in events]
    assert [label for label, _ in itertools.groupby(labels)] == [
        (None, "preflight"),
        ("noise", "calibration"),
        ("moved", "probe"),
        ("shape", "probe"),
    ]
    assert {e.op for e in events} == {"next_token_dist"}


def test_counters_belong_to_one_run_also_on_a_shared_backend(dummy_spec):
    backend = DummyDifferentialBackend()
    first = run(dummy_spec(DELTA), backend).backend_stats
    second = run(dummy_spec(DELTA), backend).backend_stats
    # Five prompts and the preflight's one, two views each.
    assert (first["cache_hits"], first["cache_misses"], first["forward_passes"]) == (0, 12, 12)
    assert (second["cache_hits"], second["cache_misses"], second["hit_rate"]) == (12, 0, 1.0)
    assert first["by_phase"]["preflight"] == {"cache_hits": 0, "cache_misses": 2}


def test_a_second_identical_probe_is_served_from_the_cache(dummy_spec):
    result, seen = listening(dummy_spec(DELTA, {**DELTA, "name": "again"}), DummyDifferentialBackend())
    accesses = [e for e in seen if isinstance(e, ev.CacheAccess) and e.probe == "again"]
    assert len(accesses) == 10
    assert all(e.hit for e in accesses)
    assert result.probes[0].raw == result.probes[1].raw


def test_evictions_are_counted_per_run(dummy_spec):
    backend = DummyDifferentialBackend()
    backend.instrumentation.cache.max_bytes = 600
    stats = run(dummy_spec(DELTA), backend).backend_stats
    assert stats["evictions"] > 0


def test_a_trace_belongs_to_one_run(dummy_spec, tmp_path):
    path = tmp_path / "deep" / "t.jsonl"
    backend = DummyDifferentialBackend()
    for _ in range(2):
        run(dummy_spec(DELTA), backend, trace_path=path)
    assert len(load(path)) == len(load(path.with_name("t.1.jsonl"))) == 12


def test_a_backend_without_a_record_of_its_calls_says_so_when_a_trace_is_wanted(dummy_spec, tmp_path):
    pair = ViewPair(DummyDifferentialBackend(), *RunContext().pair)
    result = run(dummy_spec(DELTA), pair, trace_path=tmp_path / "t.jsonl")
    assert result.warnings == ("no trace is written: ViewPair keeps no record of its calls",)
    assert result.backend_stats == {}
    assert result.probes[0].verdict is Verdict.PASS


def test_a_full_disk_costs_the_trace_and_not_the_run(dummy_spec):
    result = run(dummy_spec(DELTA), DummyDifferentialBackend(), trace_path=Path("/dev/full"))
    assert result.status == "finished"
    assert result.probes[0].verdict is Verdict.PASS
    (warning,) = result.warnings
    assert warning.startswith("no more trace is written to /dev/full: No space left on device")


def test_a_disk_that_fills_up_in_the_middle_is_said_once(dummy_spec, tmp_path, monkeypatch):
    class Full:
        lines = 0

        def write(self, text):
            Full.lines += 1
            if Full.lines > 3:
                raise OSError(28, "No space left on device")

        def flush(self):
            pass

        def close(self):
            pass

    make = TraceWriter.__init__

    def opening(self, path):
        make(self, path)
        self._file.close()
        self._file = Full()

    monkeypatch.setattr(TraceWriter, "__init__", opening)
    result, seen = listening(dummy_spec(DELTA), DummyDifferentialBackend(), trace_path=tmp_path / "t.jsonl")
    assert len(result.warnings) == 1
    assert result.probes[0].verdict is Verdict.PASS
    assert [e.seq for e in seen] == list(range(1, len(seen) + 1))


def test_a_trace_path_that_cannot_be_made_is_said_and_the_run_goes_on(dummy_spec, tmp_path):
    (tmp_path / "file").write_text("x")
    result = run(dummy_spec(DELTA), DummyDifferentialBackend(), trace_path=tmp_path / "file" / "t.jsonl")
    assert "no more trace is written" in result.warnings[0]
    assert result.status == "finished"


# -- without a backend ----------------------------------------------------------------------------


def test_without_a_backend_the_kinds_that_need_one_are_named(dummy_spec):
    with pytest.raises(BackendNotAvailableError, match="delta_kl") as caught:
        run(dummy_spec(DELTA, {**SHAPE, "enabled": False}), None)
    assert "adapter_ablation" not in str(caught.value)


def test_without_a_backend_probes_that_need_none_run(dummy_spec, monkeypatch):
    acting(monkeypatch, passed, _NoBackend)
    result = run(dummy_spec(entry(kind="test_no_backend"), {**DELTA, "enabled": False}), None)
    assert [p.verdict for p in result.probes] == [Verdict.PASS, Verdict.SKIP]
    assert result.backend_stats == {}


def test_no_model_is_loaded_for_a_suite_that_needs_none(dummy_spec, monkeypatch):
    acting(monkeypatch, passed, _NoBackend)
    result = run_opening(dummy_spec(entry(kind="test_no_backend")), lambda: pytest.fail("was loaded"))
    assert result.probes[0].verdict is Verdict.PASS


def test_a_model_that_cannot_be_loaded_is_an_event_and_an_error(dummy_spec):
    seen: list[Any] = []

    def opening():
        raise BackendNotAvailableError("hf", extra="hf")

    with pytest.raises(BackendNotAvailableError):
        run_opening(dummy_spec(DELTA), opening, on_event=seen.append)
    assert [e.type for e in seen] == ["run_started", "phase", "run_failed"]
    assert "hf" in seen[-1].message
    assert seen[-1].traceback == ""


# -- cancelling -----------------------------------------------------------------------------------


def stop_after(n):
    count = itertools.count(1)
    return lambda: next(count) > n


def test_cancelling_keeps_what_is_finished_and_marks_the_rest(dummy_spec):
    backend = Exact()
    # Asked before every probe and every batch of two prompts: the third batch of "moved" is the fifth question.
    result = run(dummy_spec(DELTA, SHAPE), backend, cancel=stop_after(3))
    assert result.status == "cancelled"
    moved, shape = result.probes
    assert moved.verdict is Verdict.WARN
    assert moved.evidence["partial"] == {"done": 4, "planned": 5}
    assert moved.message.startswith("partial: 4 of 5 measurements; ")
    assert moved.evidence["num_prompts"] == 4
    assert shape.verdict is Verdict.SKIP
    assert shape.message == "not run: the run was cancelled (stopped)"


def test_a_run_cancelled_before_it_begins_measures_nothing(dummy_spec):
    backend = Exact()
    result = run(dummy_spec(DELTA), backend, cancel=lambda: True)
    assert result.status == "cancelled"
    assert backend.calls == []


def test_an_interruption_is_passed_on_after_the_partial_result(dummy_spec, monkeypatch):
    def act(spec, ctx):
        raise KeyboardInterrupt

    acting(monkeypatch, act)
    seen: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        run(dummy_spec(DELTA, entry()), Exact(), on_event=seen.append)
    assert isinstance(seen[-1], ev.RunCancelledEvent)
    assert seen[-1].reason == "interrupted"


# -- the stream -----------------------------------------------------------------------------------


def test_events_are_numbered_without_gaps_and_times_do_not_run_backwards(dummy_spec):
    started = time.time()
    _, seen = listening(dummy_spec(NULL, DELTA, SHAPE), DummyDifferentialBackend())
    assert [e.seq for e in seen] == list(range(1, len(seen) + 1))
    times = [e.ts for e in seen if not isinstance(e, ev.CacheAccess)]
    assert times == sorted(times)
    assert started <= times[0] <= times[-1] <= time.time()
    assert isinstance(seen[0], ev.RunStarted)
    assert isinstance(seen[-1], ev.RunFinished)
    assert sum(isinstance(e, ev.TERMINAL) for e in seen) == 1


def test_the_plan_says_how_many_measurements_will_come(dummy_spec):
    _, seen = listening(dummy_spec(NULL, DELTA, SHAPE), Exact())
    planned = {p.name: p.measurements for p in seen[0].probes}
    assert planned == {"noise": 20, "moved": 5, "shape": 12}
    # The null of "moved" carries its name: it is the same entry with noise in the adapter's place.
    measured = [e for e in seen if isinstance(e, ev.Measurement)]
    assert len(measured) == sum(planned.values())
    assert sum(e.role == "null" for e in measured) == planned["noise"]


def test_a_prompt_that_cannot_be_measured_is_told_and_the_others_go_on(dummy_spec):
    prompts = [*(f"p{i}" for i in range(12)), UNMEASURABLE]
    result, seen = listening(dummy_spec({**DELTA, "prompts": prompts}), Exact())
    (failed,) = [e for e in seen if isinstance(e, ev.ItemFailed)]
    assert (failed.item, failed.prompt) == (12, UNMEASURABLE)
    assert result.probes[0].verdict is Verdict.WARN
    assert result.probes[0].evidence["unmeasured_prompts"] == 1


@pytest.mark.parametrize("backend", [Exact, DummyDifferentialBackend])
def test_the_same_seed_gives_the_same_numbers(dummy_spec, backend):
    def numbers():
        result = run(dummy_spec(NULL, DELTA, SHAPE, seed=11), backend())
        return [(p.raw, p.ci_95, p.z_score, p.score, p.evidence) for p in result.probes]

    assert numbers() == numbers()
