from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from sway_dash.backends.instrumentation import (
    MISS,
    BackendInstrumentation,
    BackendStats,
    ForwardCache,
    TraceWriter,
    pair_name,
    prompt_digest,
)
from sway_dash.core.events import CacheAccess


def test_fresh_counters_and_rates() -> None:
    stats = BackendStats()
    assert (stats.hit_rate, stats.avg_batch_size, stats.total_lookups) == (0.0, 0.0, 0)
    stats.cache_hits, stats.cache_misses, stats.batches_sent, stats.batched_prompts = 1, 3, 2, 6
    assert (stats.hit_rate, stats.avg_batch_size, stats.total_lookups) == (0.25, 3.0, 4)
    facts = stats.to_dict()
    assert {"cache_hits", "cache_misses", "forward_passes", "scoring_wall_s", "hit_rate", "avg_batch_size"} <= set(
        facts
    )
    json.dumps(facts)


def test_every_pair_of_texts_has_a_name_of_its_own() -> None:
    texts = ["", "a", "b", "1:", ":", "\0", "a\0", "\0a", "1:a", "ab", "2:ab"]
    assert len({pair_name(p, c) for p in texts for c in texts}) == len(texts) ** 2


@pytest.mark.parametrize("size", [0, -1])
def test_a_cache_needs_room(size: int) -> None:
    with pytest.raises(ValueError, match="maxsize must be positive"):
        ForwardCache(size)


def test_none_is_a_value() -> None:
    cache = ForwardCache()
    assert cache.get("x") is MISS
    cache.put("x", None)
    assert cache.get("x") is None


def test_the_least_recently_used_entry_goes_first() -> None:
    cache = ForwardCache(3 * (800 + 64))
    for name in "abc":
        cache.put(name, np.zeros(100))
    cache.get("a")
    cache.put("d", np.zeros(100))
    assert [n in cache for n in "abcd"] == [True, False, True, True]
    assert cache.evictions == 1
    assert cache.nbytes <= cache.max_bytes


def test_an_entry_larger_than_the_cache_is_not_kept() -> None:
    cache = ForwardCache(1000)
    cache.put("small", 1)
    cache.put("large", np.zeros(1000))
    assert "large" not in cache
    assert "small" in cache


def test_replacing_an_entry_counts_it_once_and_clearing_counts_none() -> None:
    cache = ForwardCache()
    for _ in range(5):
        cache.put("x", np.zeros(100))
    assert (len(cache), cache.nbytes) == (1, 864)
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_cached_arrays_cannot_be_changed() -> None:
    cache = ForwardCache()
    cache.put("x", np.zeros(3))
    with pytest.raises(ValueError, match="read-only"):
        cache.get("x")[0] = 1.0


def test_threads_share_a_cache() -> None:
    cache = ForwardCache(20_000)

    def work(seed: int) -> None:
        for i in range(300):
            cache.put((seed, i % 37), np.zeros(i % 50))
            cache.get((seed, (i * 7) % 37))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert 0 <= cache.nbytes <= 20_000


def test_the_first_question_is_computed_and_the_second_remembered() -> None:
    inst, calls = BackendInstrumentation(), []
    for _ in range(3):
        assert inst.cached("op", "base", "p", 8, lambda: calls.append(1) or "answer") == "answer"
    assert len(calls) == 1
    s = inst.stats
    assert (s.cache_hits, s.cache_misses, s.forward_passes) == (2, 1, 1)


def test_every_part_of_the_key_matters() -> None:
    inst = BackendInstrumentation()
    keys = [("a", "v", "p", 1), ("b", "v", "p", 1), ("a", "w", "p", 1), ("a", "v", "q", 1), ("a", "v", "p", 2)]
    assert [inst.cached(*key, lambda key=key: key) for key in keys] == keys


def test_a_failure_is_neither_stored_nor_counted() -> None:
    inst = BackendInstrumentation()
    with pytest.raises(ZeroDivisionError):
        inst.cached("op", "v", "p", 1, lambda: 1 // 0)
    assert inst.stats.total_lookups == 0
    assert inst.cached("op", "v", "p", 1, lambda: 5) == 5


def test_a_batch_computes_only_what_is_missing() -> None:
    inst, asked = BackendInstrumentation(), []
    inst.cached("op", "v", "p1", 4, lambda: "P1")

    def compute(missing: list[int]) -> list[str]:
        asked.append(missing)
        return [f"P{i + 1}" for i in missing]

    assert inst.cached_batch("op", "v", ["p1", "p2", "p3"], 4, compute) == ["P1", "P2", "P3"]
    assert asked == [[1, 2]]
    s = inst.stats
    assert (s.cache_hits, s.cache_misses, s.batches_sent, s.batched_prompts, s.max_batch_size) == (1, 3, 1, 2, 2)
    inst.cached_batch("op", "v", ["p1", "p2", "p3"], 4, compute)
    assert (len(asked), inst.stats.batches_sent) == (1, 1)


def test_an_empty_batch_is_nothing() -> None:
    inst = BackendInstrumentation()
    assert inst.cached_batch("op", "v", [], 4, lambda _: pytest.fail("asked")) == []
    assert inst.stats.batches_sent == 0


def test_a_wrong_number_of_answers_is_a_defect() -> None:
    with pytest.raises(RuntimeError, match="backend bug"):
        BackendInstrumentation().cached_batch("op", "v", ["a", "b"], 4, lambda _: ["one"])


def test_a_run_has_counters_of_its_own_and_sees_every_look_up() -> None:
    inst, seen = BackendInstrumentation(), []
    inst.cached("op", "v", "before", 1, lambda: 0)
    with inst.attached(seen.append) as stats:
        inst.set_current_probe("first", phase="probe")
        inst.cached("op", "v", "before", 1, lambda: 0)
        inst.cached("op", "v", "new", 1, lambda: 0)
        inst.set_current_probe(None, phase="preflight")
        inst.cached("op", "v", "third", 1, lambda: 0)
    assert (stats.cache_hits, stats.cache_misses) == (1, 2)
    assert stats.by_phase == {
        "probe": {"cache_hits": 1, "cache_misses": 1},
        "preflight": {"cache_hits": 0, "cache_misses": 1},
    }
    assert [(e.probe, e.hit) for e in seen] == [("first", True), ("first", False), (None, False)]
    assert seen[0].prompt_hash == prompt_digest("before") == prompt_digest("before")
    assert (inst.stats.cache_misses, inst.probe) == (1, None)
    inst.cached("op", "v", "after", 1, lambda: 0)
    assert len(seen) == 3


def test_a_broken_surrogate_in_a_prompt_has_a_digest() -> None:
    assert len(prompt_digest("\ud800")) == 12


EVENT = CacheAccess(ts=1.0, probe="p", view_id="base", prompt_hash="0" * 12, top_k=8, op="op", wall_ms=2.0, hit=True)


def test_the_trace_is_one_json_record_a_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "trace.jsonl"
    writer = TraceWriter(path)
    writer.write(EVENT)
    writer.write(EVENT)
    writer.close()
    writer.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 2
    assert {"ts", "probe", "view_id", "prompt_hash", "top_k", "op", "wall_ms", "hit"} <= set(lines[0])
    assert "type" not in lines[0]


def test_two_runs_never_mix_in_one_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    for _ in range(3):
        writer = TraceWriter(path)
        writer.write(EVENT)
        writer.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trace.1.jsonl", "trace.2.jsonl", "trace.jsonl"]
    assert all(len(p.read_text().splitlines()) == 1 for p in tmp_path.iterdir())


def test_a_trace_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = TraceWriter(tmp_path / "file" / "trace.jsonl")
    writer.write(EVENT)
    writer.close()
    assert writer.error
    assert "no more trace" in writer.error
    TraceWriter(None).write(EVENT)
