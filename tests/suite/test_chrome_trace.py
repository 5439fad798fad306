"""A run's trace as Perfetto reads it: the structure of the format, and that nothing of the run is lost."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.suite.chrome_trace import chrome_trace
from sway_dash.suite.passes import continues, lay_out
from sway_dash.suite.trace_file import TraceEvent


def call(ts, view="base", *, ms=10.0, hit=False, batch=1, probe="moved", prompt="p", op="next_token_dist"):
    return TraceEvent(ts, probe, view, prompt, 0, op, 0.0 if hit else ms, hit, "probe", batch, None)


def batch(ts, view, n, *, ms=10.0, **more):
    return [call(ts + 1e-5 * k, view, ms=ms, batch=n, prompt=f"p{k}", **more) for k in range(n)]


# --- passes -------------------------------------------------------------------------------------------------------


def test_misses_of_one_batch_are_one_pass():
    calls = [*batch(10.0, "base", 3), *batch(10.1, "ft", 3)]
    sizes = []
    for before, one in zip([None, *calls], calls, strict=False):
        if sizes and continues(one, before, sizes[-1]):
            sizes[-1] += 1
        else:
            sizes.append(1)
    assert sizes == [3, 3]


@pytest.mark.parametrize(
    "other",
    [
        call(1.1, "ft", batch=3),
        call(1.1, batch=3, hit=True),
        call(1.1, batch=3, ms=11.0),
        call(1.1, batch=3, probe="other"),
        call(1.1, batch=3, op="generate"),
        call(1.1, batch=2),
    ],
)
def test_what_differs_is_another_pass(other):
    assert not continues(other, call(1.0, batch=3), 1)
    assert continues(call(1.1, batch=3), call(1.0, batch=3), 1)


def test_a_batch_is_not_continued_beyond_its_size():
    assert not continues(call(1.1, batch=3), call(1.0, batch=3), 3)
    assert not continues(call(1.1), call(1.0), 1)


def test_passes_written_together_are_laid_one_after_another():
    starts = lay_out(np.array([10.0, 10.001, 10.002]), np.array([1.0, 2.0, 3.0]))
    assert starts == pytest.approx([4.002, 5.002, 7.002])


def test_passes_written_as_they_end_stay_where_they_were():
    starts = lay_out(np.array([1.0, 5.0, 9.0]), np.array([0.5, 1.0, 2.0]))
    assert starts == pytest.approx([0.5, 4.0, 7.0])


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 3)), max_size=30))
def test_laid_out_passes_keep_their_order_never_overlap_and_had_ended_when_written(steps):
    written = np.cumsum([pause for pause, _ in steps]) if steps else np.zeros(0)
    seconds = np.array([s for _, s in steps])
    starts = lay_out(written, seconds)
    ends = starts + seconds
    assert (starts[1:] >= ends[:-1] - 1e-9).all()
    assert (ends <= written + 1e-9).all()


# --- the format ---------------------------------------------------------------------------------------------------


@pytest.fixture
def trace():
    calls = [
        *batch(100.05, "base", 2, ms=20.0),
        *batch(100.06, "ft", 2, ms=5.0),
        call(100.2, "base", hit=True, prompt="p0"),
        call(100.4, "null_1000", ms=50.0, prompt="p9", op="generate"),
    ]
    return chrome_trace(calls, [("loading", 99.0, 100.0), ("moved", 100.0, 100.5)], name="sway-dash run")


def test_every_event_has_what_the_format_asks_for(trace):
    assert json.loads(json.dumps(trace)) == trace
    assert set(trace) >= {"traceEvents", "displayTimeUnit"}
    for event in trace["traceEvents"]:
        assert {"ph", "name", "pid", "tid"} <= set(event)
        if event["ph"] == "X":
            assert event["ts"] >= 0
            assert event["dur"] >= 0
        elif event["ph"] == "i":
            assert event["s"] == "t"
        else:
            assert event["ph"] == "M"
            assert event["args"]["name"]


def test_a_view_is_a_thread_and_a_pass_a_slice_in_microseconds(trace):
    threads = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["cat"] != "step"]
    assert [(threads[e["tid"]], e["name"], e["args"]["prompts"]) for e in slices] == [
        ("base", "next_token_dist", 2),
        ("ft", "next_token_dist", 2),
        ("null_1000", "generate", 1),
    ]
    assert [e["dur"] for e in slices] == [40_000, 10_000, 50_000]
    # Both batches were written after the second: it ended at 100.06, the first 10 ms before.
    assert slices[1]["ts"] + slices[1]["dur"] == pytest.approx(1_060_010, abs=1)
    assert slices[0]["ts"] + slices[0]["dur"] == pytest.approx(1_050_010, abs=1)
    assert slices[0]["args"]["prompt_hashes"] == ["p0", "p1"]
    hits = [e for e in trace["traceEvents"] if e["ph"] == "i"]
    assert [(threads[e["tid"]], e["args"]["prompt_hash"]) for e in hits] == [("base", "p0")]


def test_steps_of_the_run_have_a_thread_of_their_own(trace):
    steps = [e for e in trace["traceEvents"] if e.get("cat") == "step"]
    assert [(e["name"], e["ts"], e["dur"]) for e in steps] == [
        ("loading", 0.0, 1_000_000.0),
        ("moved", 1_000_000.0, 500_000.0),
    ]
    assert len({e["tid"] for e in steps}) == 1
    assert trace["otherData"]["start_unix_s"] == pytest.approx(99.0)


def test_slices_of_a_thread_never_overlap_on_the_clock_of_the_file():
    rng = np.random.default_rng(0)
    at, calls = 1.79e9, []
    for k in range(300):
        at += float(rng.random()) * 1e-3
        calls += batch(at, f"null_{k % 3}", int(rng.integers(1, 4)), ms=float(rng.random()))
    slices = [e for e in chrome_trace(calls)["traceEvents"] if e["ph"] == "X"]
    assert len(slices) >= 300
    for before, after in pairwise(sorted(slices, key=lambda e: e["ts"])):
        assert round(1000 * (before["ts"] + before["dur"])) <= round(1000 * after["ts"])


def test_a_run_without_calls_is_a_trace_too():
    trace = chrome_trace([])
    assert [e["ph"] for e in trace["traceEvents"]] == ["M", "M"]
