"""Trace analysis: sums, percentiles, savings and warm-up of look-ups whose times are known by hand."""

import io
import json
import tracemalloc

import numpy as np
import pytest
from rich.console import Console

from sway_dash.suite import trace_analysis as ta

PUBLIC = {
    "ts": 1.0,
    "probe": "dk",
    "view_id": "base",
    "prompt_hash": "0123456789ab",
    "top_k": 256,
    "op": "next_token_dist",
    "wall_ms": 10.0,
    "hit": False,
}


def event(wall_ms=10.0, *, hit=False, **kwargs):
    return ta.TraceEvent(**(PUBLIC | {"wall_ms": wall_ms, "hit": hit} | kwargs))


def written(tmp_path, *lines):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines))
    return path


FOUR = [
    event(180.5),
    event(175.2, view_id="ft"),
    event(0.1, hit=True),
    event(172.8, probe=None, view_id="ft"),
]


# --- reading ------------------------------------------------------------------------------------------------------


def test_a_line_is_an_event(tmp_path):
    trace = ta.load(written(tmp_path, PUBLIC))
    assert trace == [event()]
    assert isinstance(trace, list)
    assert trace.skipped == 0


def test_missing_keys_take_defaults(tmp_path):
    (found,) = ta.load(written(tmp_path, {}))
    assert found == ta.TraceEvent(0.0, None, "", "", 0, "", 0.0, False)
    assert (found.phase, found.batch, found.seq) == (None, None, None)


def test_the_extra_fields_of_our_own_traces_are_read(tmp_path):
    (found,) = ta.load(written(tmp_path, PUBLIC | {"phase": "preflight", "batch": 8, "seq": 41, "future": []}))
    assert (found.phase, found.batch, found.seq) == ("preflight", 8, 41)


def test_numbers_written_as_text_are_numbers(tmp_path):
    (found,) = ta.load(written(tmp_path, PUBLIC | {"wall_ms": "2.5", "hit": 1}))
    assert (found.wall_ms, found.hit) == (2.5, True)


BAD = [
    b'{"ts": 1.0, "pro',
    b"[1, 2]",
    b"3",
    b"null",
    b'{"wall_ms": "slow"}',
    b'{"wall_ms": NaN}',
    b'{"wall_ms": []}',
    b'{"top_k": "x"}',
    b'{"top_k": 1e999}',
    b'{"hit": "no"}',
    b'{"probe": {}}',
    b"\xff\xfe",
    b"[" * 100_000,
]


@pytest.mark.parametrize("bad", BAD, ids=lambda b: repr(b[:20]))
def test_an_unreadable_line_is_passed_over_and_counted(tmp_path, bad):
    trace = ta.load(written(tmp_path, PUBLIC, bad, b"", b"   ", PUBLIC))
    assert len(trace) == 2
    assert trace.skipped == 1


def test_the_torn_last_line_of_a_killed_run_is_counted(tmp_path):
    path = written(tmp_path, PUBLIC, PUBLIC)
    path.write_bytes(path.read_bytes()[:-10])
    trace = ta.load(path)
    assert (len(trace), trace.skipped) == (1, 1)


@pytest.mark.parametrize("how", [ta.load, lambda path: list(ta.read(path))])
def test_a_file_that_cannot_be_opened_is_an_os_error(tmp_path, how):
    with pytest.raises(FileNotFoundError):
        how(tmp_path / "none.jsonl")


def test_reading_event_by_event_counts_what_it_passed_so_far(tmp_path):
    reader = ta.read(written(tmp_path, PUBLIC, b"[]", PUBLIC, b"{"))
    assert reader.skipped == 0
    assert next(reader) == event()
    next(reader)
    assert reader.skipped == 1
    assert list(reader) == []
    assert reader.skipped == 2


# --- sums ---------------------------------------------------------------------------------------------------------


def test_probes_are_summed_and_ordered_by_time():
    assert ta.per_probe_summary(FOUR) == [
        ta.ProbeSummary("dk", 3, 180.5 + 175.2 + 0.1, 1, 2),
        ta.ProbeSummary("<unassigned>", 1, 172.8, 0, 1),
    ]
    assert ta.per_probe_summary(FOUR)[0].hit_rate == pytest.approx(1 / 3)
    assert ta.ProbeSummary("x", 0, 0.0, 0, 0).hit_rate == 0.0


def test_views_are_summed_and_ordered_by_time():
    assert ta.per_view_summary(FOUR) == [
        ta.ViewSummary("ft", 2, 175.2 + 172.8),
        ta.ViewSummary("base", 2, 180.5 + 0.1),
    ]


def test_a_preflight_is_not_unassigned():
    found = ta.per_probe_summary([event(probe=None, phase="preflight"), event(probe=None, phase="probe", wall_ms=1.0)])
    assert [p.probe for p in found] == ["<preflight>", "<unassigned>"]


def test_the_slowest_come_first_and_equal_ones_in_file_order():
    events = [event(1.0, seq=0), event(5.0, seq=1), event(5.0, seq=2), event(2.0, seq=3)]
    assert [e.seq for e in ta.slowest_events(events, k=3)] == [1, 2, 3]
    assert [e.seq for e in ta.slowest_events(iter(events))] == [1, 2, 3, 0]
    assert ta.slowest_events(events, k=0) == []
    assert ta.slowest_events(events, k=-1) == []


def test_a_report_sums_everything_up():
    found = ta.build_report(FOUR, slowest_k=2)
    assert found.total_events == 4
    assert found.total_wall_ms == round(180.5 + 175.2 + 0.1 + 172.8, 1)
    assert found.overall_hit_rate == 0.25
    assert found.per_probe == ta.per_probe_summary(FOUR)
    assert found.per_view == ta.per_view_summary(FOUR)
    assert found.slowest == FOUR[:2]
    assert (found.first_ts, found.last_ts) == (1.0, 1.0)


@pytest.mark.parametrize("k", [0, -3])
def test_a_report_without_slowest_events_still_counts(k):
    found = ta.build_report(iter(FOUR), slowest_k=k)
    assert found.total_events == 4
    assert found.slowest == []


def test_an_empty_trace_is_zeros_and_empty_lists():
    found = ta.build_report([])
    assert (found.total_events, found.total_wall_ms, found.overall_hit_rate) == (0, 0.0, 0.0)
    assert (found.per_probe, found.per_view, found.slowest, found.warm_ups, found.per_op) == ([], [], [], [], [])
    assert found.first_ts is None


def test_phases_are_told_apart():
    found = ta.build_report(
        [event(5.0, phase="preflight"), event(7.0, phase="probe"), event(1.0, phase="probe", hit=True)]
    )
    assert found.per_phase == [
        ta.PhaseSummary("probe", 2, 8.0, 1, 1),
        ta.PhaseSummary("preflight", 1, 5.0, 0, 1),
    ]
    assert ta.build_report(FOUR).per_phase == []


# --- percentiles, savings, warm-up --------------------------------------------------------------------------------


def test_misses_and_hits_of_a_probe_in_a_view_have_percentiles_of_their_own():
    events = [event(float(ms)) for ms in range(1, 102)] + [event(0.5, hit=True), event(1.5, hit=True)]
    events.append(event(3.0, hit=True, view_id="ft"))
    found = ta.build_report(events)
    base, ft = found.probe_by_view
    assert (base.probe, base.view_id, base.n_events, base.cache_hits, base.cache_misses) == ("dk", "base", 103, 2, 101)
    assert (base.miss_p50_ms, base.miss_p95_ms, base.hit_p50_ms) == (51.0, 96.0, 1.0)
    assert base.hit_p95_ms == pytest.approx(1.45)
    assert (ft.view_id, ft.miss_p50_ms, ft.miss_p95_ms, ft.hit_p50_ms) == ("ft", None, None, 3.0)
    assert not found.approximate


def test_long_traces_say_that_their_percentiles_are_approximate_and_are_within_one_percent():
    times = np.random.default_rng(0).lognormal(2.0, 1.0, 20_000)
    found = ta.build_report(event(float(t)) for t in times)
    assert found.approximate
    (cell,) = found.probe_by_view
    assert cell.miss_p50_ms == pytest.approx(np.quantile(times, 0.5), rel=0.0101)
    assert cell.miss_p95_ms == pytest.approx(np.quantile(times, 0.95), rel=0.0101)


def test_a_hit_saves_the_median_miss_of_its_operation_and_view():
    events = [event(ms) for ms in (100.0, 200.0, 900.0)]
    events += [event(0.1, hit=True)] * 4
    events += [event(50.0, op="logprob_of"), event(0.1, op="logprob_of", hit=True)]
    events += [event(0.1, view_id="ft", hit=True)] * 7
    found = ta.build_report(events)
    assert found.saved_s == pytest.approx(4 * 0.200 + 1 * 0.050)
    assert found.hits_without_price == 7
    saved = {(op.op, op.view_id): op.saved_s for op in found.per_op}
    assert saved == {
        ("next_token_dist", "base"): pytest.approx(0.8),
        ("logprob_of", "base"): pytest.approx(0.05),
        ("next_token_dist", "ft"): None,
    }


def test_the_first_miss_in_a_view_is_its_warm_up():
    events = [event(0.1, hit=True), event(90.0, ts=2.0), event(80.0), event(70.0, view_id="ft", ts=3.0)]
    found = ta.build_report(events)
    assert [(w.view_id, w.n_events, w.wall_ms, w.ts) for w in found.warm_ups] == [
        ("base", 1, 90.0, 2.0),
        ("ft", 1, 70.0, 3.0),
    ]
    assert [found.slowest[i].wall_ms for i in found.slowest_warm_up] == [90.0, 70.0]


def test_the_whole_first_batch_shares_its_warm_up():
    found = ta.build_report([event(10.0, batch=3, seq=i) for i in range(6)])
    (warm,) = found.warm_ups
    assert (warm.n_events, warm.wall_ms) == (3, 30.0)
    assert [found.slowest[i].seq for i in found.slowest_warm_up] == [0, 1, 2]


def test_memory_does_not_grow_with_the_length_of_the_trace():
    def peak(n):
        tracemalloc.start()
        ta.build_report(event(float(i % 97 + 1)) for i in range(n))
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(100)
    assert peak(30_000) < 1.5 * peak(6_000)


# --- rendering ----------------------------------------------------------------------------------------------------


def terminal(found):
    out = io.StringIO()
    ta.render_terminal(found, console=Console(file=out, width=160))
    return out.getvalue()


RENDERERS = [ta.render_json, ta.render_markdown, terminal]


def test_json_begins_with_the_public_keys_in_order():
    document = json.loads(ta.render_json(ta.build_report(FOUR, slowest_k=1)))
    assert list(document)[:6] == [
        *("total_events", "total_wall_ms", "overall_hit_rate", "per_probe", "per_view", "slowest"),
    ]
    assert document["per_probe"][1] == {
        "probe": "<unassigned>",
        "n_events": 1,
        "total_ms": 172.8,
        "cache_hits": 0,
        "cache_misses": 1,
        "hit_rate": 0.0,
    }
    assert document["per_view"][0] == {"view_id": "ft", "n_events": 2, "total_ms": 348.0}
    assert document["slowest"] == [PUBLIC | {"wall_ms": 180.5, "phase": None, "batch": None, "seq": None}]


def test_markdown_has_its_sections_and_numbers():
    text = ta.render_markdown(ta.build_report(FOUR))
    assert text.startswith("# sway trace: 4 events, 0.53 s, 25% hits\n")
    assert "\n## per-probe\n\n| probe | events | total ms | hits | misses | hit rate |\n" in text
    assert "\n| dk | 3 | 355.8 | 1 | 2 | 33% |\n" in text
    assert "\n## per-view\n\n| view | events | total ms |\n" in text
    assert "\n| `ft` | 2 | 348.0 |\n" in text
    assert "## slowest events" in text
    assert "## slowest" not in ta.render_markdown(ta.build_report(FOUR, slowest_k=0))


def test_the_terminal_shows_the_same_tables():
    text = terminal(ta.build_report(FOUR))
    for part in (
        "sway trace",
        "per-probe",
        "per-view",
        "probe x view",
        "slowest events",
        "dk",
        "<unassigned>",
        "355.8",
    ):
        assert part in text


@pytest.mark.parametrize("render", RENDERERS)
@pytest.mark.parametrize("how", [ta.load, ta.read])
def test_every_rendering_says_how_many_lines_were_unreadable(tmp_path, render, how):
    path = written(tmp_path, PUBLIC, *[b"[]"] * 37, PUBLIC)
    found = ta.build_report(how(path))
    assert found.total_events == 2
    assert found.skipped_lines == 37
    assert "37" in render(found)


@pytest.mark.parametrize("render", [ta.render_markdown, terminal])
def test_an_empty_trace_says_so(render):
    assert "no events" in render(ta.build_report([]))


def test_untrusted_names_stay_names():
    odd = ta.build_report([event(probe="[red]a|b", view_id="x|y`z", op="<b>\x1b[0m")])
    text = terminal(odd)
    assert "[red]a|b" in text
    assert "\x1b[0m" not in text
    markdown = ta.render_markdown(odd)
    assert "| [red]a\\|b | 1 |" in markdown
    assert "| ``x\\|y`z`` | 1 |" in markdown
    assert "\x1b" not in markdown


# --- long traces ----------------------------------------------------------------------------------------------------


def long_trace(path, n, *, views=20):
    """A trace of ``n`` lines of this program's shape."""
    line = '{"seq":%d,"ts":%d.5,"probe":"p%d","view_id":"null_%d","prompt_hash":"%012x","top_k":256,"op":"divergence",'
    rest = '"wall_ms":%d.25,"hit":%s,"phase":"probe","batch":8}\n'
    with path.open("w") as file:
        for i in range(n):
            file.write(line % (i, i, i % 3, i % views, i) + rest % (i % 97, "true" if i % 5 == 0 else "false"))
    return path


def test_a_file_of_any_length_is_read_in_the_same_memory(tmp_path):
    def peak(n):
        path = long_trace(tmp_path / f"{n}.jsonl", n, views=2)
        tracemalloc.start()
        found = ta.build_report(ta.read(path), slowest_k=50)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert (found.total_events, len(found.slowest), len(found.probe_by_view)) == (n, 50, 6)
        return size

    short, long = peak(25_000), peak(100_000)
    assert long < 1.1 * short
    assert long < 4e6


def test_views_without_number_stand_together_from_some_on(tmp_path):
    n = 3 * ta.MAX_GROUPS
    found = ta.build_report(ta.read(long_trace(tmp_path / "t.jsonl", n, views=n)))
    assert len(found.probe_by_view) == len(found.per_view) == ta.MAX_GROUPS + 1
    assert len(found.warm_ups) <= ta.MAX_GROUPS
    (other,) = (v for v in found.per_view if v.view_id == ta.OTHER)
    assert other.n_events == 2 * ta.MAX_GROUPS
    assert sum(p.n_events for p in found.per_probe) == sum(v.n_events for v in found.per_view) == n


def test_a_line_without_end_is_one_unreadable_line_and_is_not_held(tmp_path):
    from sway_dash.suite.trace_file import MAX_LINE

    good = json.dumps(PUBLIC).encode()
    path = tmp_path / "t.jsonl"
    path.write_bytes(
        good + b"\n" + b"x" * (5 * MAX_LINE + 3) + b"\n" + good + b"\n" + b'{"a": "' + b"y" * (9 * MAX_LINE)
    )
    tracemalloc.start()
    reader = ta.read(path)
    assert [e.probe for e in reader] == ["dk", "dk"]
    assert tracemalloc.get_traced_memory()[1] < 5 * MAX_LINE
    tracemalloc.stop()
    assert reader.skipped == 2


def test_odd_text_that_json_allows_is_read(tmp_path):
    (found,) = ta.load(written(tmp_path, b'{"probe": "\\ud800", "top_k": 3.0, "wall_ms": 2, "hit": 1}'))
    assert (found.probe, found.top_k, found.wall_ms, found.hit) == ("\ud800", 3, 2.0, True)
