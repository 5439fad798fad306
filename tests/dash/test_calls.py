"""The calls of a trace in columns: what the page shows of them, against the trace file and against plain counting."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sway_dash.demo import demo_dir
from sway_dash.figures import calls as calls_module
from sway_dash.figures import trace_columns as tc
from sway_dash.figures import trace_sums as ts
from sway_dash.figures.calls import Calls, CallTable, Cut
from sway_dash.suite.trace_analysis import build_report
from sway_dash.suite.trace_file import Trace, TraceEvent, load

ORIGIN = 1.79e9


def synthetic(n: int, *, nulls: int = 40, seed: int = 0) -> list[TraceEvent]:
    """Batches of 20 in groups of views, with hits of the base before each group, as the engine writes them."""
    rng = random.Random(seed)
    prompts = [f"{k:012x}" for k in range(200)]
    views = [f"null_{1000 + k}" for k in range(nulls)] + ["ft", "scaled_0.25", "scaled_0.5", "scaled_1.25"]
    at, out, group = ORIGIN + 4.0, [], 0
    while len(out) < n:
        probe = "noise" if len(out) < 0.6 * n else f"probe_{group % 3}"
        op = rng.choice(["next_token_dist", "logprob_of", "generate"])
        records = [("base", p, True, 0.0, 1) for p in rng.sample(prompts, 20)]
        for view in rng.sample(views, 4):
            ms = rng.lognormvariate(3.0, 0.6)
            at += ms / 1000.0
            records += [(view, p, False, ms / 20, 20) for p in rng.sample(prompts, 20)]
        at += 0.01 * rng.random()
        for view, prompt, hit, ms, batch in records:
            at += 1e-5
            out.append(TraceEvent(at, probe, view, prompt, 0, op, ms, hit, "probe", batch, len(out)))
        group += 1
    return out[:n]


def table_of(events: list[TraceEvent] | Trace, origin: float = ORIGIN) -> CallTable:
    calls = Calls()
    for event in events:
        calls.add(event)
    return calls.table(origin)


@pytest.fixture(scope="module")
def many() -> CallTable:
    return table_of(synthetic(20_000))


@pytest.fixture(scope="module")
def demo() -> Trace:
    path = demo_dir() / "run" / "trace.jsonl"
    if not Path(path).is_file():
        pytest.skip("the recorded example is not here")
    return load(path)


# --- against the file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["demo", "synthetic"])
def test_sums_are_those_of_the_trace_analysis(which: str, demo: Trace) -> None:
    events = demo if which == "demo" else Trace(synthetic(3000))
    report, table = build_report(events), table_of(events)
    probes = {s.name: s for s in ts.sums(table, Cut(), "probe")}
    assert {n: (s.lookups, s.hits) for n, s in probes.items()} == {
        p.probe: (p.n_events, p.cache_hits) for p in report.per_probe
    }
    assert {s.name: (s.lookups, pytest.approx(1000 * s.seconds)) for s in ts.sums(table, Cut(), "view")} == {
        v.view_id: (v.n_events, v.total_ms) for v in report.per_view
    }
    saved_s, unpriced = ts.saved(table, Cut())
    assert saved_s == pytest.approx(report.saved_s, rel=1e-9)
    assert unpriced == report.hits_without_price
    assert sum(s.saved_s for s in probes.values()) == pytest.approx(report.saved_s, rel=1e-9)


def test_passes_hold_every_miss_once_and_all_of_its_time(demo: Trace) -> None:
    table = table_of(demo)
    misses = [e for e in demo if not e.hit]
    assert int(table.pass_n.sum()) == len(misses)
    assert float((table.pass_end - table.pass_start).sum()) == pytest.approx(sum(e.wall_ms for e in misses) / 1000)
    assert (table.pass_start[1:] >= table.pass_end[:-1] - 1e-6).all()
    assert (table.of_pass[table.hit] == -1).all()
    whole = {(e.view_id, e.batch) for e in misses if (e.batch or 1) > 1}
    assert {(table.names[table.view[f]], int(n)) for f, n in zip(table.pass_first, table.pass_n, strict=True)} >= whole


def test_bins_and_rates_count_what_the_file_counts(demo: Trace) -> None:
    table = table_of(demo)
    for axis in ("time", "calls"):
        bars, rate = tc.lookups(table, Cut(), axis)  # type: ignore[arg-type]
        assert sum(bars["all"]) == len(demo)
        assert sum(bars["hits"]) == sum(e.hit for e in demo)
        assert rate["so_far"][-1] == pytest.approx(sum(e.hit for e in demo) / len(demo))
        last = [e.hit for e in demo][-tc.RECENT :]
        assert rate["recent"][-1] == pytest.approx(sum(last) / tc.RECENT)


# --- cuts ---------------------------------------------------------------------------------------------------------


CUTS = [Cut(), Cut(10.0, 12.0), Cut(view="ft"), Cut(5.0, 60.0, "noise", "null_1003"), Cut(op="generate"), Cut(view="x")]


@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_holds_the_calls_that_a_loop_finds(cut: Cut, many: CallTable) -> None:
    def fits(k: int) -> bool:
        names = (many.probe[k], many.view[k], many.op[k])
        wanted = (cut.probe, cut.view, cut.op)
        return (
            many.at[k] >= cut.start
            and many.begin[k] <= cut.end
            and all(not want or many.names[name] == want for name, want in zip(names, wanted, strict=True))
        )

    calls = [k for k in range(len(many)) if fits(k)]
    assert many.calls(cut).tolist() == calls
    assert many.passes(cut).tolist() == sorted({int(many.of_pass[k]) for k in calls if not many.hit[k]})


def test_every_call_has_its_moment_in_order(many: CallTable, demo: Trace) -> None:
    for table in (many, table_of(demo)):
        assert (np.diff(table.at) >= 0).all()
        assert (np.diff(table.begin) >= 0).all()
        assert (table.begin <= table.at).all()
        missed = np.flatnonzero(~table.hit)
        assert table.at[missed].tolist() == table.pass_end[table.of_pass[missed]].tolist()
        # The cache was asked before the pass that follows.
        for k in np.flatnonzero(table.hit)[:200].tolist():
            after = [p for p, first in enumerate(table.pass_first.tolist()) if first > k][:1]
            assert all(table.at[k] <= table.pass_start[p] for p in after)


def test_what_only_touches_a_window_is_not_in_it() -> None:
    events = [e for e in synthetic(200) if not e.hit]
    table = table_of(events)
    second = table.pass_start[1], table.pass_end[1]
    assert table.passes(Cut(*second)).tolist() == [1]
    assert len(table.calls(Cut(*second))) == int(table.pass_n[1])


@pytest.mark.parametrize("cut", CUTS)
def test_what_is_drawn_is_bounded_and_adds_up(cut: Cut, many: CallTable) -> None:
    span = (max(cut.start, 0.0), min(cut.end, float(many.at[-1])))
    _, lane_of = tc.lanes(many.used(many.view))
    drawn = tc.timeline(many, cut, span, lane_of)
    lanes = len(set(lane_of.values()))
    limit = tc.TIME_BINS * lanes * 3 if drawn.binned else tc.MAX_BARS
    assert len(drawn.bars["left"]) <= limit
    assert len(drawn.gaps["left"]) <= tc.MAX_BARS
    assert len(drawn.hits["x"]) <= tc.HIT_BINS * lanes
    assert 0 <= drawn.traced_s <= drawn.span_s
    chosen = many.passes(cut)
    inside = np.clip(many.pass_end[chosen], *span) - np.clip(many.pass_start[chosen], *span)
    boxes = ts.icicle(many, Cut(*span, cut.probe, cut.view, cut.op))
    rows = [
        sum(r - a for r, a, bottom in zip(boxes["right"], boxes["left"], boxes["bottom"], strict=True) if bottom == row)
        for row in (0.0, 1.0, 2.0)
    ]
    # Boxes too thin to be seen are left out.
    assert rows[2] == pytest.approx(float(inside.sum()), rel=0.01)
    assert rows[0] <= rows[1] + 1e-9 <= rows[2] + 2e-9


def test_shares_of_time_are_the_time_in_passes(many: CallTable) -> None:
    _, lane_of = tc.lanes(many.used(many.view))
    span = (0.0, float(many.at[-1]))
    row = np.array([-lane_of.get(name, 0) for name in many.names], dtype=np.float64)
    shares = tc._shares(many, many.passes(Cut()), span, row)
    width = span[1] / tc.TIME_BINS
    assert len(set(zip(shares["left"], shares["bottom"], shares["op"], strict=True))) == len(shares["left"])
    busy = dict.fromkeys(range(tc.TIME_BINS), 0.0)
    for start, end in zip(many.pass_start.tolist(), many.pass_end.tolist(), strict=True):
        for k in range(int(start / width), min(int(end / width), tc.TIME_BINS - 1) + 1):
            busy[k] += max(0.0, min(end, (k + 1) * width) - max(start, k * width))
    counted = tc._busy_until(np.linspace(*span, tc.TIME_BINS + 1), many.pass_start, many.pass_end)
    assert np.diff(counted) == pytest.approx([busy[k] for k in range(tc.TIME_BINS)], abs=1e-9)


def test_bars_and_pauses_fill_the_time(demo: Trace) -> None:
    table = table_of(demo, demo[0].ts - 4.0)
    span = (0.0, float(table.at[-1]))
    drawn = tc.timeline(table, Cut(), span, tc.lanes(table.used(table.view))[1])
    assert not drawn.binned
    assert drawn.passes == len(drawn.bars["left"]) == len(table.pass_start)
    pauses = sum(r - a for a, r in zip(drawn.gaps["left"], drawn.gaps["right"], strict=True))
    assert drawn.traced_s + pauses == pytest.approx(drawn.span_s, rel=0.01)


def test_the_slowest_follow_the_window(many: CallTable) -> None:
    everything = ts.slowest(many, Cut(), k=5)
    assert [p.ms for p in everything] == sorted((p.ms for p in ts.slowest(many, Cut(), k=10**6)), reverse=True)[:5]
    window = ts.slowest(many, Cut(10.0, 12.0), k=5)
    assert window != everything
    assert all(p.ms <= everything[0].ms for p in window)
    assert all(len(p.prompts) == 20 for p in window)
    noise = ts.slowest(many, Cut(probe="noise", op="generate"))
    assert {(p.probe, p.op) for p in noise} == {("noise", "generate")}


def test_steps_are_named_where_they_begin_in_the_window(many: CallTable) -> None:
    steps = [("noise", 0.0, 50.0), ("a_very_long_name", 50.0, 60.0)]
    shown = tc.step_columns(steps, many, "time", (20.0, 60.0), 40.0)
    assert shown["x"] == pytest.approx([20.5, 50.5])
    assert shown["label"] == ["noise", "a_very_l…"]
    assert tc.step_columns(steps, many, "time", (20.0, 60.0), 10.0)["label"][1] == ""
    numbers = tc.step_columns(steps, many, "calls", (0.0, 100.0), 40.0)
    before = sum(at < 50.0 for at in many.at.tolist())
    assert (numbers["left"], numbers["right"][0]) == ([0.5, before + 0.5], before + 0.5)


def test_only_the_first_pass_of_a_view_is_a_warm_up(many: CallTable) -> None:
    found = ts.slowest(many, Cut(), k=10**6)
    assert sum(p.first_of_view for p in found) == len({p.view for p in found})


def test_rates_are_hidden_below_twenty_look_ups() -> None:
    events = synthetic(60)[:19]
    table = table_of(events)
    assert tc.lookups(table, Cut(), "calls")[1]["x"] == []
    assert [s.rate for s in ts.sums(table, Cut(), "view")] == [None]
    table = table_of(synthetic(60)[:20])
    assert tc.lookups(table, Cut(), "calls")[1]["so_far"] == [1.0]
    assert math.isnan(tc.lookups(table, Cut(), "calls")[1]["recent"][0])
    assert [s.rate for s in ts.sums(table, Cut(), "view")] == [1.0]


def test_a_rate_so_far_counts_from_the_start_wherever_one_looks(many: CallTable) -> None:
    _, rate = tc.lookups(many, Cut(10.0, 12.0), "calls")
    k = int(rate["x"][-1])
    assert rate["so_far"][-1] == pytest.approx(many.hit[:k].mean())


# --- lanes --------------------------------------------------------------------------------------------------------


def test_lanes_are_in_the_order_of_strength_and_seed() -> None:
    names, of = tc.lanes(["null_1001", "ft", "scaled_1.25", "null_1000", "base", "scaled_0.5"])
    assert names == ["base", "tuned", "λ 0.5", "λ 1.25", "random 1000", "random 1001"]
    assert of["null_1000"] == 4


def test_many_views_of_a_kind_share_a_lane() -> None:
    views = ["base", "ft", *(f"null_{k}" for k in range(100)), "scaled_0.5"]
    names, of = tc.lanes(views)
    assert names == ["base", "tuned", "λ 0.5", "100 random"]
    assert set(of) == set(views)
    assert {of[f"null_{k}"] for k in range(100)} == {3}


@pytest.mark.parametrize(
    ("view", "name"),
    [
        ("ft", "tuned"),
        ("null_7_scale0.1_rank2.0", "random 7, scale 0.1, rank ×2.0"),
        ("scaled_0.25", "λ 0.25"),
        ("<b>\u202e", "<b>‹202E›"),
    ],
)
def test_views_are_named_in_words(view: str, name: str) -> None:
    assert tc.view_name(view) == name


# --- growing and odd traces ---------------------------------------------------------------------------------------


def test_one_at_a_time_gives_what_all_at_once_gives() -> None:
    events = synthetic(500)
    slowly, at_once = Calls(), Calls()
    for event in events:
        slowly.add(event)
        slowly.table(ORIGIN)
        at_once.add(event)
    a, b = slowly.table(ORIGIN), at_once.table(ORIGIN)
    assert a is slowly.table(ORIGIN)
    for name in ("at", "ms", "hit", "view", "of_pass", "pass_start", "pass_end", "pass_n"):
        assert getattr(a, name).tolist() == getattr(b, name).tolist()


def test_calls_beyond_the_limit_are_counted_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_module, "MAX_KEPT", 100)
    calls = Calls()
    for event in synthetic(150):
        calls.add(event)
    assert (calls.n, calls.left_out, len(calls.table(ORIGIN))) == (150, 50, 100)
    assert calls.hits == sum(e.hit for e in synthetic(150))


def test_a_new_trace_starts_anew() -> None:
    calls = Calls()
    for event in synthetic(50):
        calls.add(event)
    epoch = calls.epoch
    calls.clear()
    assert (calls.n, calls.epoch, len(calls.table(ORIGIN)), calls.hit_rate) == (0, epoch + 1, 0, None)


def test_a_clock_that_is_set_back_does_not_break_the_axis() -> None:
    events = synthetic(200)
    back = [TraceEvent(*(e.ts - 3.0, *_rest(e))) if k > 120 else e for k, e in enumerate(events)]
    table = table_of(back)
    assert (np.diff(table.at) >= 0).all()
    assert len(table.calls(Cut())) == 200


def _rest(e: TraceEvent) -> tuple[Any, ...]:
    return (e.probe, e.view_id, e.prompt_hash, e.top_k, e.op, e.wall_ms, e.hit, e.phase, e.batch, e.seq)


@pytest.mark.parametrize(
    "look",
    [
        lambda t: tc.lookups(t, Cut(), "time"),
        lambda t: ts.sums(t, Cut(), "view"),
        lambda t: ts.saved(t, Cut()),
        lambda t: ts.slowest(t, Cut()),
        lambda t: ts.icicle(t, Cut()),
        lambda t: tc.timeline(t, Cut(), (0.0, 1.0), {}),
        lambda t: tc.step_columns([("a", 0.0, 1.0)], t, "calls", (0.0, 1.0), 50.0),
    ],
)
def test_a_trace_without_calls_has_nothing_to_show(look: Callable[[CallTable], Any]) -> None:
    assert look(table_of([])) is not None


def test_a_trace_of_hits_only_has_no_passes() -> None:
    table = table_of([e for e in synthetic(200) if e.hit])
    drawn = tc.timeline(table, Cut(), (0.0, 10.0), tc.lanes(table.used(table.view))[1])
    assert (drawn.passes, drawn.traced_s, len(drawn.gaps["left"])) == (0, 0.0, 1)
    assert ts.saved(table, Cut()) == (0.0, len(table))
