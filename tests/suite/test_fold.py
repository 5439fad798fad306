"""A result is a fold over what is on disk, however the run ended."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from sway_dash.core import events as ev
from sway_dash.core.errors import SwayError
from sway_dash.core.result import ProbeResult, SuiteResult, Verdict
from sway_dash.figures.derive import RunData
from sway_dash.probes.base import Probe, ProbeSpec, RunContext
from sway_dash.suite.fold import Fold, fold, probe_from_dict, probe_to_dict, with_null
from sway_dash.suite.runner import run, run_opening
from sway_dash.suite.store import RunFolder
from tests.fakes_cli import Exact, Unfit

ENTRIES = (
    {"name": "noise", "kind": "null_adapter", "runs": 3, "cache": False},
    {"name": "moved", "kind": "delta_kl", "prompts": ["one", "two", "three", "four", "five"]},
    {"name": "off", "kind": "delta_kl", "prompts": ["x"], "enabled": False},
    {"name": "shape", "kind": "adapter_ablation", "prompts": ["one", "two", "three"]},
)


class Stop:
    """Says stop at the n-th question."""

    def __init__(self, at: int) -> None:
        self.at, self.asked = at, 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked >= self.at


def recorded(spec, backend, **options) -> tuple[SuiteResult, RunFolder]:
    folder = RunFolder.create("x: 1\n")
    result = run(spec, backend, run_id=folder.id, on_event=folder.append, **options)
    folder.close()
    return result, folder


def numbers(result: SuiteResult) -> list[Any]:
    """What a result says, without times and without where each null draw came from."""
    rows = []
    for p in result.probes:
        evidence = {k: v for k, v in p.evidence.items() if k not in ("measured", "reused", "from_cache")}
        rows.append(replace(p, duration_s=0.0, evidence=evidence))
    return [rows, result.null_stats, result.status, result.warnings]


def checkpoints(spec) -> int:
    never = Stop(10**9)
    run(spec, Exact(), cancel=never)
    return never.asked


def test_a_finished_run_is_the_fold_of_its_folder(dummy_spec):
    result, folder = recorded(dummy_spec(*ENTRIES), Exact())
    assert result.status == "finished"
    assert fold(folder.tail().read()) == result
    assert folder.result() == result


def test_a_run_cancelled_at_any_checkpoint_is_the_fold_of_its_folder(dummy_spec):
    spec = dummy_spec(*ENTRIES)
    total = checkpoints(spec)
    assert total > 20
    for at in range(1, total + 1):
        result, folder = recorded(spec, Exact(), cancel=Stop(at))
        assert result.status == "cancelled", at
        assert folder.result() == result, at
        assert [p.name for p in result.probes] == ["noise", "moved", "off", "shape"]


def test_a_run_that_was_unfit_is_the_fold_of_its_folder(dummy_spec):
    result, folder = recorded(dummy_spec(*ENTRIES), Unfit())
    assert [p.name for p in result.probes] == ["__preflight__"]
    assert folder.result() == result


def test_a_failed_run_names_the_reason_in_every_row(dummy_spec):
    folder = RunFolder.create("x: 1\n")

    def opening():
        raise SwayError("no such adapter")

    with pytest.raises(SwayError):
        run_opening(dummy_spec(*ENTRIES), opening, on_event=folder.append)
    result = folder.result()
    assert result.status == "failed"
    assert {p.message for p in result.probes} == {"not run: the run was failed (no such adapter)"}
    assert fold(folder.tail().read()) == result


def test_a_run_resumed_from_any_checkpoint_gives_the_result_of_an_uninterrupted_one(dummy_spec):
    spec = dummy_spec(*ENTRIES)
    whole = run(spec, Exact())
    for at in range(1, checkpoints(spec) + 1, 3):
        first = Exact()
        _, folder = recorded(spec, first, cancel=Stop(at))
        second = Exact()
        result = run(spec, second, run_id=folder.id, on_event=folder.append, recall=folder.measurements())
        folder.close()
        assert numbers(result) == numbers(whole), at
        assert folder.result() == result, at
        # λ = 1 of "shape" is the same pair of views as "moved": a first attempt may have had either.
        again = set(first.calls) & set(second.calls)
        assert again <= {("ft", p) for p in ("one", "two", "three")}, at


def test_a_resumed_run_measures_only_what_is_missing(dummy_spec):
    spec = dummy_spec(ENTRIES[1])
    first, second = Exact(), Exact()
    _, folder = recorded(spec, first, cancel=Stop(3))
    assert first.calls == [("ft", "one"), ("ft", "two")]
    seen: list[Any] = []
    run(spec, second, on_event=seen.append, recall=folder.measurements())
    assert sorted(second.calls) == [("ft", "five"), ("ft", "four"), ("ft", "three")]
    assert [m.reused for m in seen if isinstance(m, ev.Measurement)] == [True, True, False, False, False]
    assert seen[0].resumed


def test_another_adapter_shares_nothing_with_the_first_attempt(dummy_spec):
    spec = dummy_spec(ENTRIES[1])
    _, folder = recorded(spec, Exact(), cancel=Stop(3))
    other = Exact(fingerprint="f-2")
    run(spec, other, recall=folder.measurements())
    assert len(other.calls) == 5


def test_a_backend_without_a_fingerprint_is_measured_again(dummy_spec):
    spec = dummy_spec(ENTRIES[1])
    _, folder = recorded(spec, Exact(fingerprint=""), cancel=Stop(3))
    assert folder.measurements() == {}


def test_a_probe_that_is_resumed_keeps_its_tokens_although_an_ablation_measured_the_same_pair(dummy_spec):
    spec = dummy_spec(ENTRIES[1], ENTRIES[3])
    _, folder = recorded(spec, Exact(), cancel=Stop(checkpoints(spec)))
    seen: list[Any] = []
    run(spec, Exact(), on_event=seen.append, recall=folder.measurements())
    moved = [e for e in seen if isinstance(e, ev.Measurement) and e.probe == "moved"]
    assert all(m.reused for m in moved)
    assert all(m.tuned_top for m in moved)


def test_tokens_are_measured_when_only_an_ablation_has_seen_the_pair(dummy_spec):
    spec = dummy_spec(ENTRIES[3], {**ENTRIES[1], "prompts": ["one", "two", "three"]})
    _, folder = recorded(spec, Exact(), cancel=Stop(checkpoints(dummy_spec(ENTRIES[3])) + 1))
    seen: list[Any] = []
    run(spec, Exact(), on_event=seen.append, recall=folder.measurements())
    assert all(e.tuned_top for e in seen if isinstance(e, ev.Measurement) and e.probe == "moved")


def test_the_fold_is_the_same_in_one_go_and_event_by_event(dummy_spec):
    seen: list[Any] = []
    result = run(dummy_spec(*ENTRIES), Exact(), on_event=seen.append)
    state = Fold()
    for event in seen:
        state.add(event)
        state.result()  # looking early changes nothing
    assert state.result() == result == fold(seen)
    assert state.done == state.total == 15 + 5 + 18


def test_measurements_that_nobody_announced_count_as_they_come(dummy_spec):
    seen: list[Any] = []
    run(dummy_spec(ENTRIES[1]), Exact(), on_event=seen.append)
    state = Fold()
    for event in seen:
        if isinstance(event, ev.RunStarted):
            event = event.model_copy(
                update={"probes": tuple(p.model_copy(update={"measurements": 0}) for p in event.probes)}
            )
        state.add(event)
        assert state.done <= state.total
    assert state.done == 5


def test_a_running_probe_shows_a_partial_result(dummy_spec):
    seen: list[Any] = []
    run(dummy_spec(ENTRIES[1]), Exact(), on_event=seen.append)
    upto = list(itertools.takewhile(lambda e: not isinstance(e, ev.ProbeFinished), seen))
    result = fold(upto[:-2])
    assert result.status == "running"
    (row,) = result.probes
    assert row.evidence["partial"] == {"done": 3, "planned": 5}


def test_a_partial_interval_does_not_depend_on_the_order_of_measuring(dummy_spec):
    seen: list[Any] = []
    run(dummy_spec(ENTRIES[1]), Exact(), on_event=seen.append)
    upto = list(itertools.takewhile(lambda e: not isinstance(e, ev.ProbeFinished), seen))
    at = [i for i, e in enumerate(upto) if isinstance(e, ev.Measurement)]
    turned = list(upto)
    for i, j in zip(at, reversed(at), strict=True):
        turned[i] = upto[j].model_copy(update={"seq": upto[i].seq})
    assert len(at) > 4
    assert fold(turned).probes[0].ci_95 == fold(upto).probes[0].ci_95 is not None


def test_a_probe_not_yet_begun_has_no_row_while_the_run_goes_on(dummy_spec):
    seen: list[Any] = []
    run(dummy_spec(*ENTRIES), Exact(), on_event=seen.append)
    first = next(i for i, e in enumerate(seen) if isinstance(e, ev.ProbeFinished))
    assert [p.name for p in fold(seen[: first + 1]).probes] == ["noise"]


def test_partial_results_are_judged_against_the_null(dummy_spec):
    spec = dummy_spec(ENTRIES[0], ENTRIES[1])
    # All checkpoints but the last batch of "moved".
    result = run(spec, Exact(), cancel=Stop(checkpoints(spec)))
    assert result.probes[1].evidence["partial"]["done"] == 4
    assert result.probes[1].z_score is not None


def test_the_interrupted_judge_of_a_defective_plug_in_does_not_take_the_others_along(dummy_spec):
    class Defective(Probe):
        """Measures like delta_kl and cannot judge."""

        kind = "test_defective_judge"
        spec_cls = ProbeSpec

        def run(self, spec, ctx):
            ctx.emit(ev.Measurement(probe=spec.name, item=0, prompt="x", js=0.1, kl=0.1, kl_reverse=0.1, same_top=1.0))
            ctx.checkpoint()
            pytest.fail("was not stopped")

        def judge(self, spec, ctx, measurements):
            raise ZeroDivisionError("oops")

    spec = dummy_spec({"name": "moved", "kind": "delta_kl", "prompts": ["a"]}, {"name": "d", "kind": Defective.kind})
    result = run(spec, Exact(), cancel=Stop(4))
    assert [p.verdict for p in result.probes] == [Verdict.PASS, Verdict.SKIP]
    assert "ZeroDivisionError: oops" in result.probes[1].message


def _attempts(dummy_spec, *, nulls=2):
    """A finished run's events, and the same again as a resumed attempt."""
    entry = {"name": "moved", "kind": "delta_kl", "prompts": ["a", "b", "c", "d"]}
    shape = {"name": "shape", "kind": "adapter_ablation", "prompts": ["a"]}
    spec = dummy_spec({"name": "noise", "kind": "null_adapter", "runs": nulls, "cache": False}, entry, shape)
    seen: list[ev.Event] = []
    run(spec, Exact(), on_event=seen.append, run_id="a")
    seen = [e for e in seen if e.type != "cache_access"]
    again = [seen[0].model_copy(update={"resumed": True}), *seen[1:]]
    return seen, again


@pytest.mark.parametrize("told", [True, False], ids=["stopped", "killed"])
def test_a_resumed_attempt_that_ends_too_soon_keeps_what_was_measured(dummy_spec, told):
    seen, again = _attempts(dummy_spec)
    whole = fold(seen)
    for upto in range(1, len(again) - 1):
        end = [ev.RunCancelledEvent(ts=9e9)] if told else []
        found = Fold().extend([*seen, *again[:upto], *end])
        found.settle()
        assert found.done == Fold().extend(seen).done
        result = found.result()
        assert [(p.name, p.verdict, p.raw) for p in result.probes] == [(p.name, p.verdict, p.raw) for p in whole.probes]
        data = RunData()
        for event in [*seen, *again[:upto], *end]:
            data.add(event)
        data.settle()
        assert sorted(m.item for m in data.series["moved"].rows) == [0, 1, 2, 3]
        assert [len(v) for v in data.series["moved"].null_sets["noise"].by_rank["rank_1.00"].values()] == [4, 4]
        assert data.ablations["shape"].size == run_data(seen).ablations["shape"].size


def test_measurements_of_another_model_are_not_mixed_in(dummy_spec):
    seen, again = _attempts(dummy_spec)
    at = next(i for i, e in enumerate(again) if e.type == "measurement")
    other = again[at].model_copy(update={"key": "of another adapter"})
    found = Fold().extend([*seen, *again[:at], other, ev.RunCancelledEvent(ts=9e9)])
    assert found.done == 1


def test_where_a_model_was_never_loaded_says_nothing_of_the_numbers_of_the_attempt_before():
    def started(version, **more):
        return ev.RunStarted(run_id="a", environment={"packages": {"torch": version}, "host": version}, **more)

    ready = ev.ModelReady(environment={"packages": {"torch": "1"}, "adapter_sha256": "of the first"})
    failed = ev.RunFailed(message="out of memory")
    attempts = [started("1"), ready, failed, started("2", resumed=True)]
    found = fold([*attempts, failed]).environment
    assert found["packages"] == {"torch": "1"}
    assert found["adapter_sha256"] == "of the first"
    again = ev.ModelReady(environment={"packages": {"torch": "2"}})
    found = fold([*attempts, again, failed]).environment
    assert (found["packages"], found["adapter_sha256"]) == ({"torch": "2"}, "of the first")


def run_data(events):
    data = RunData()
    for event in events:
        data.add(event)
    return data


def test_another_attempt_clears_what_the_first_one_left():
    first = ev.RunStarted(seq=1, ts=1.0, run_id="a")
    warned = ev.Warned(seq=2, ts=2.0, message="careful")
    second = ev.RunStarted(seq=1, ts=5.0, run_id="a", resumed=True)
    result = fold([first, warned, second])
    assert result.warnings == ()
    assert result.started_at.timestamp() == 5.0


def test_nothing_at_all_folds_to_an_empty_running_result():
    result = fold([])
    assert (result.probes, result.status) == ((), "running")


@pytest.mark.parametrize("ci", [None, (0.1, 0.2)])
def test_a_probe_result_is_read_back_as_it_was(ci):
    row = ProbeResult("n", "k", Verdict.WARN, 0.5, raw=1.0, evidence={"a": [1]}, message="m", ci_95=ci)
    assert probe_from_dict(probe_to_dict(row)) == row
    assert probe_from_dict({**probe_to_dict(row), "from_the_future": 1}) == row


def test_a_warning_reaches_the_result_with_its_causes_in_order() -> None:
    warned = ev.Warned(message="base and tuned give identical logits", causes=("never trained", "scaled by 0"))
    (text,) = fold([ev.RunStarted(), warned]).warnings
    assert text == "base and tuned give identical logits. Most likely: (1) never trained; (2) scaled by 0"


def null_row(name: str, style: str, value: float) -> ProbeResult:
    stats = {"delta_kl": {"mean": value, "std": 1.0, "n": 3.0}}
    evidence = {
        "distribution": style,
        "null_stats": stats,
        "null_stats_by_rank": {"rank_1.00": stats},
        "null_draws": {"a": {"rank_1.00": [value] * 3}},
    }
    return ProbeResult(name, "null_adapter", Verdict.PASS, 1.0, evidence=evidence)


@pytest.mark.parametrize(
    ("drawn", "counts"),
    [
        ([("gaussian", 1.0), ("gaussian", 2.0)], 2.0),
        ([("norm_matched", 1.0), ("norm_matched", 2.0)], 2.0),
        ([("norm_matched", 1.0), ("spectrum", 2.0)], 1.0),
        ([("norm_matched", 1.0), ("gaussian", 2.0), ("norm_matched", 3.0)], 2.0),
        ([("norm_matched", 1.0), ("spectrum", 2.0), ("norm_matched", 3.0)], 3.0),
    ],
)
def test_of_two_nulls_of_a_distribution_the_later_counts(drawn, counts):
    ctx = RunContext()
    for i, (style, value) in enumerate(drawn):
        ctx = with_null(ctx, null_row(f"n{i}", style, value))
    assert ctx.null_stats["delta_kl"]["mean"] == counts
    assert ctx.null_stats_by_rank["rank_1.00"]["delta_kl"]["mean"] == counts
    assert ctx.null_draws["a"]["rank_1.00"] == [counts] * 3
    last = dict(drawn)
    assert {d: own["a"]["rank_1.00"][0] for d, own in ctx.null_distributions.items()} == last
