"""null_adapter: draws of every later entry on its own prompts, kept on disk, keyed by content."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core import events as ev
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import BASE, FINETUNED
from sway_dash.core.stats import MIN_STD, null_stats, z_score
from sway_dash.probes import build_probe
from sway_dash.probes.base import Probe, ProbeSpec, RunContext, ViewPair
from sway_dash.probes.null_adapter import get_null_stats, get_null_stats_by_rank, rank_key
from sway_dash.probes.null_cache import NullCache, root
from sway_dash.suite.runner import run
from tests.fakes_cli import UNMEASURABLE, Exact, null_js

A = {"name": "a", "kind": "delta_kl", "prompts": ["one", "two"]}
B = {"name": "b", "kind": "delta_kl", "prompts": ["three", "four", "five"]}
SHAPE = {"name": "shape", "kind": "adapter_ablation", "prompts": ["one"]}


def noise(**keys: Any) -> dict[str, Any]:
    return {"name": "noise", "kind": "null_adapter", "runs": 3, **keys}


def mean_null(prompts, seed, rank=1.0):
    return math.fsum(null_js(p, seed, rank) for p in prompts) / len(prompts)


@pytest.fixture
def noise_row(dummy_spec):
    def first(backend, *entries, **keys) -> ProbeResult:
        return run(dummy_spec(noise(**keys), *entries), backend).probes[0]

    return first


def test_draws_are_kept_by_entry_and_made_on_its_own_prompts(noise_row):
    row = noise_row(Exact(), A, B)
    assert row.verdict is Verdict.PASS
    assert (row.score, row.raw) == (1.0, None)
    draws = row.evidence["null_draws"]
    for entry in (A, B):
        expected = [mean_null(entry["prompts"], 1000 + i) for i in range(3)]
        assert draws[entry["name"]]["rank_1.00"] == pytest.approx(expected)
    # The public format has one null per kind: that of its first entry.
    assert row.evidence["null_stats"]["delta_kl"] == pytest.approx(null_stats(draws["a"]["rank_1.00"]))
    assert row.evidence["per_kind_raw_samples"]["delta_kl"] == draws["a"]["rank_1.00"]
    assert row.evidence["calibrated_kinds"] == ["delta_kl"]
    assert row.evidence["calibrated_entries"] == ["a", "b"]


def test_every_entry_is_judged_against_its_own_draws(dummy_spec):
    a, b = run(dummy_spec(noise(), A, B), Exact()).probes[1:]
    for row, entry in ((a, A), (b, B)):
        stats = null_stats([mean_null(entry["prompts"], 1000 + i) for i in range(3)])
        assert row.z_score == pytest.approx(min((row.raw - stats["mean"]) / stats["std"], 99.0))
        assert row.evidence["null"]["n"] == 3
        assert row.evidence["null"]["p_rank"] == 0.25


def test_a_kind_without_a_null_opts_out_with_a_reason(noise_row):
    row = noise_row(Exact(), A, SHAPE)
    assert row.evidence["skipped_kinds"] == [
        {"entry": "adapter_ablation", "kind": "adapter_ablation", "reason": "this kind has no null"}
    ]
    assert "; 1 kind of probe not compared with them" in row.message


def test_nothing_to_calibrate_is_fine(noise_row):
    row = noise_row(Exact())
    assert row.verdict is Verdict.PASS
    assert row.evidence["null_stats"] == {}
    assert row.evidence["calibrated_kinds"] == []


def test_unknown_kinds_and_the_null_itself_are_passed_over(noise_row):
    row = noise_row(Exact(), A, calibrate_kinds=["nope", "null_adapter", "delta_kl", "delta_kl"])
    assert row.evidence["calibrated_entries"] == ["a"]
    assert row.evidence["skipped_kinds"] == []


def test_a_kind_that_the_suite_does_not_use_is_calibrated_on_neutral_prompts(noise_row):
    row = noise_row(Exact(), calibrate_kinds=["delta_kl"])
    assert row.evidence["calibrated_entries"] == ["calibration"]
    assert row.evidence["null_stats"]["delta_kl"]["n"] == 3.0


def test_entries_before_it_and_disabled_ones_are_not_calibrated(dummy_spec):
    result = run(dummy_spec(A, noise(), {**B, "enabled": False}), Exact())
    assert result.probes[1].evidence["calibrated_entries"] == []
    assert result.probes[0].z_score is None


def test_a_backend_without_nulls_is_a_skip():
    probe, spec = build_probe(noise())
    row = probe.run(spec, RunContext(backend=ViewPair(Exact(), BASE, FINETUNED)))
    assert row.verdict is Verdict.SKIP
    assert "ViewPair is no NullCalibratedBackend" in row.message


@pytest.mark.parametrize("multipliers", [[0.0], [1.0, -1.0], [float("inf")], [float("nan")]])
def test_impossible_ranks_are_an_error(noise_row, multipliers):
    row = noise_row(Exact(), A, rank_multipliers=multipliers)
    assert row.verdict is Verdict.ERROR
    assert "rank_multipliers" in row.message


def test_no_ranks_means_the_trained_one(noise_row):
    assert noise_row(Exact(), A, rank_multipliers=[]).evidence["rank_multipliers"] == [1.0]


def test_ranks_are_groups_of_their_own(dummy_spec):
    result = run(dummy_spec(noise(rank_multipliers=[0.5, 1.0, 2.0]), A), Exact())
    row, moved = result.probes
    groups = row.evidence["null_stats_by_rank"]
    assert list(groups) == ["rank_0.50", "rank_1.00", "rank_2.00"]
    assert groups["rank_1.00"] == row.evidence["null_stats"]
    # The fake's null effect is proportional to the multiplier.
    assert groups["rank_2.00"]["delta_kl"]["mean"] == pytest.approx(4 * groups["rank_0.50"]["delta_kl"]["mean"])
    assert set(moved.evidence["z_by_rank"]) == set(groups)
    assert "@ 0.5x" in moved.message
    assert "at 3 ranks" in row.message


def test_the_first_rank_counts_when_the_trained_one_was_not_drawn(noise_row):
    row = noise_row(Exact(), A, rank_multipliers=[2.0, 0.5])
    assert row.evidence["null_stats"] == row.evidence["null_stats_by_rank"]["rank_2.00"]


def test_the_dummys_noise_grows_with_the_rank(noise_row):
    groups = noise_row(DummyDifferentialBackend(), A, runs=5, rank_multipliers=[0.5, 2.0]).evidence[
        "null_stats_by_rank"
    ]
    assert groups["rank_2.00"]["delta_kl"]["mean"] > groups["rank_0.50"]["delta_kl"]["mean"]


def test_rank_keys_have_two_decimals_and_more_only_where_they_would_collide():
    assert [rank_key(m) for m in (0.5, 1.0, 2)] == ["rank_0.50", "rank_1.00", "rank_2.00"]
    assert rank_key(0.501) != rank_key(0.502)


def test_one_draw_has_no_spread_and_gives_no_z(dummy_spec):
    result = run(dummy_spec(noise(runs=1), A), Exact())
    stats = result.null_stats["delta_kl"]
    assert (stats["std"], stats["n"]) == (MIN_STD, 1.0)
    assert stats["degenerate"] >= 0.5
    assert z_score(0.5, stats) is None
    assert result.probes[1].z_score is None


def test_few_draws_are_called_few(noise_row):
    assert "20 or more runs make a usable rank test" in noise_row(Exact(), A).message
    assert "20 or more" not in noise_row(Exact(), A, runs=20).message


def test_an_entry_that_cannot_be_drawn_is_said_and_the_others_are(noise_row):
    broken = {"name": "broken", "kind": "delta_kl", "prompts": [UNMEASURABLE]}
    row = noise_row(Exact(), broken, A)
    assert row.evidence["calibrated_entries"] == ["a"]
    (skipped,) = row.evidence["skipped_kinds"]
    assert (skipped["entry"], skipped["kind"]) == ("broken", "delta_kl")
    assert skipped["reason"].startswith("ProbeError: broken: ")


def test_a_kind_whose_calibration_breaks_is_said():
    class Broken(Probe):
        """Cannot say what to calibrate on."""

        kind = "test_broken_calibration"
        spec_cls = ProbeSpec

        def run(self, spec, ctx):
            return ProbeResult(spec.name, spec.kind, Verdict.PASS, 1.0)

        @classmethod
        def calibrate_spec(cls, ctx):
            raise ZeroDivisionError("oops")

    probe, spec = build_probe(noise(calibrate_kinds=["test_broken_calibration"]))
    row = probe.run(spec, RunContext(backend=Exact()))
    assert row.evidence["skipped_kinds"][0]["reason"] == "ZeroDivisionError: oops"


def test_lookups_by_kind():
    ctx = RunContext(
        null_stats={"delta_kl": {"mean": 1.0}},
        null_stats_by_rank={"rank_1.00": {"delta_kl": {"mean": 1.0}}, "rank_2.00": {"other": {"mean": 2.0}}},
    )
    assert get_null_stats(ctx, "delta_kl") == {"mean": 1.0}
    assert get_null_stats(ctx, "nope") is None
    assert get_null_stats_by_rank(ctx, "delta_kl") == {"rank_1.00": {"mean": 1.0}}
    assert get_null_stats_by_rank(ctx, "nope") is None


# -- the cache on disk ----------------------------------------------------------------------------


def test_a_second_run_takes_every_draw_from_disk_and_gives_the_same_numbers(noise_row):
    first, second = Exact(), Exact()
    one = noise_row(first, A, B)
    two = noise_row(second, A, B)
    assert not one.evidence["from_cache"]
    assert two.evidence["from_cache"]
    assert [c for c in second.calls if c[0].startswith("null")] == []
    assert two.evidence["null_draws"] == one.evidence["null_draws"]
    assert (one.evidence["measured"], one.evidence["reused"]) == (15, 0)
    assert (two.evidence["measured"], two.evidence["reused"]) == (0, 15)


def test_more_runs_make_only_the_missing_draws(noise_row):
    noise_row(Exact(), A)
    backend = Exact()
    row = noise_row(backend, A, runs=5)
    assert {view for view, _ in backend.calls if view.startswith("null")} == {"null_1003", "null_1004"}
    assert not row.evidence["from_cache"]


@pytest.mark.parametrize(
    "keys", [{"init_scale": 0.03}, {"seed_base": 5}, {"rank_multipliers": [1.5]}, {"cache": False}]
)
def test_other_draws_never_hit(noise_row, keys):
    noise_row(Exact(), A)
    assert noise_row(Exact(), A, **keys).evidence["reused"] == 0


def test_another_fingerprint_never_hits_even_if_its_beginning_is_the_same(noise_row):
    long = "f" * 40
    noise_row(Exact(fingerprint=long), A)
    assert noise_row(Exact(fingerprint=long + "x"), A).evidence["reused"] == 0
    assert noise_row(Exact(fingerprint="other"), A).evidence["reused"] == 0
    assert noise_row(Exact(fingerprint=long), A).evidence["from_cache"]


def test_without_a_fingerprint_nothing_is_kept(noise_row):
    noise_row(Exact(fingerprint=""), A)
    assert not root().exists()


def test_the_cache_can_be_switched_off(noise_row, monkeypatch):
    monkeypatch.setenv("SWAY_DISABLE_NULL_CACHE", "1")
    noise_row(Exact(), A)
    assert not root().exists()


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.delenv("SWAY_NULL_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert root() == tmp_path / "x" / "sway-dash" / "null-draws"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert root() == tmp_path / ".cache" / "sway-dash" / "null-draws"


def cache_file():
    (path,) = root().glob("*.jsonl")
    return path


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_last_line_costs_one_draw_and_does_not_spoil_the_next(noise_row, cut):
    noise_row(Exact(), A)
    path = cache_file()
    path.write_bytes(path.read_bytes()[:-cut])
    again = noise_row(Exact(), A)
    assert again.evidence["measured"] == (0 if cut == 1 else 1)
    assert noise_row(Exact(), A).evidence["from_cache"]


@pytest.mark.parametrize("junk", [b"{\n", b"[1, 2]\n", b"\xff\xfe\n", b"null\n", b'{"type": "measurement"}\n'])
def test_unreadable_lines_are_passed_over(noise_row, junk):
    noise_row(Exact(), A)
    path = cache_file()
    path.write_bytes(junk + path.read_bytes())
    assert noise_row(Exact(), A).evidence["from_cache"]


def test_prompts_with_line_separators_are_kept_whole(noise_row):
    odd = {**A, "prompts": ["a\u2028b", "c\u0085d", "e\x0cf\r\ng"]}
    noise_row(Exact(), odd)
    assert noise_row(Exact(), odd).evidence["from_cache"]


def test_a_disk_that_refuses_costs_the_cache_and_not_the_run(noise_row, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("SWAY_NULL_CACHE_DIR", str(tmp_path / "file" / "deeper"))
    assert noise_row(Exact(), A).verdict is Verdict.PASS
    monkeypatch.setenv("SWAY_NULL_CACHE_DIR", str(tmp_path / "full"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "f-1.jsonl").symlink_to("/dev/full")
    assert noise_row(Exact(), A).verdict is Verdict.PASS


def test_draws_of_a_stopped_run_are_on_disk(dummy_spec):
    seen: list[Any] = []
    # The plan, then every batch of two prompts: two of the three nulls are drawn.
    run(dummy_spec(noise(), A), Exact(), on_event=seen.append, cancel=lambda: len(seen) >= 9)
    drawn = [e for e in seen if isinstance(e, ev.Measurement)]
    assert 0 < len(drawn) < 6
    assert len(cache_file().read_text().splitlines()) == len(drawn)


def test_every_line_on_disk_holds_one_whole_draw(noise_row):
    noise_row(Exact(), A)
    records = [json.loads(line) for line in cache_file().read_text().splitlines()]
    assert sorted((r["view"], r["prompt"]) for r in records) == sorted(
        (f"null_{1000 + i}", p) for i in range(3) for p in ("one", "two")
    )


def test_the_cache_may_be_closed_twice(isolated_folders):
    cache = NullCache("f")
    cache.put(ev.Measurement(probe="p", item=0, prompt="x", key="k", js=0, kl=0, kl_reverse=0, same_top=1))
    cache.close()
    cache.close()
    assert NullCache("f").get("k") is not None
