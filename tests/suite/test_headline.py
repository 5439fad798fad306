"""The four answers of a run and the rule behind each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.result import ProbeResult, SuiteResult, Verdict
from sway_dash.core.scoring import TokenDist
from sway_dash.suite.headline import headline
from sway_dash.suite.loader import from_dict
from sway_dash.suite.runner import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def suite(*probes: ProbeResult, status: str = "finished") -> SuiteResult:
    return SuiteResult("s", NOW, NOW, "base", "adapter", "0", probes=probes, status=status)


def delta(
    raw: float, ci: tuple[float, float] | None, *, n: int = 24, null: dict[str, Any] | None = None, **evidence: Any
) -> ProbeResult:
    facts = {"divergence_kind": "js", "num_prompts": n, "identical_prompts": 0, "null": null, "gate": 0.02, **evidence}
    z = None if null is None else 5.0
    return ProbeResult("moved", "delta_kl", Verdict.PASS, 1.0, raw=raw, z_score=z, evidence=facts, ci_95=ci)


def null(n: int, p: float, largest: float, rank: float | None = None) -> dict[str, Any]:
    return {"n": n, "p_prediction": p, "p_rank": rank if rank is not None else 1 / (n + 1), "largest_draw": largest}


@pytest.mark.parametrize(
    ("probe", "word"),
    [
        (delta(0.21, (0.16, 0.27), null=null(20, 1e-6, 0.034)), "changed"),
        (delta(0.21, (0.01, 0.41), null=null(20, 1e-6, 0.034)), "inconclusive"),  # may be below the gate
        (delta(0.005, (0.003, 0.008), null=null(20, 1e-6, 0.001)), "no detectable change"),  # real, but too small
        (delta(0.05, (0.03, 0.07), null=null(20, 0.4, 0.09, rank=0.5)), "no detectable change"),  # among the nulls
        (delta(0.05, (0.03, 0.07), null=null(20, 0.08, 0.04)), "inconclusive"),  # above all, but not by much
        (delta(0.05, (0.03, 0.07)), "inconclusive"),  # no null, near the gate
        (delta(0.05, (0.03, 0.07), null=null(3, 0.01, 0.001)), "inconclusive"),  # too few nulls, near the gate
        (delta(0.3, (0.2, 0.4)), "changed"),  # no null, far from the gate
        (delta(0.3, (0.2, 0.4), null=null(3, 0.01, 0.5)), "inconclusive"),  # a random adapter did as much
        (delta(0.3, None, n=3, null=null(20, 1e-6, 0.01)), "inconclusive"),  # no interval
        (delta(0.0, (0.0, 0.0), identical_prompts=24, null=null(20, 0.9, 0.01)), "no detectable change"),
        (delta(0.21, (0.16, 0.27), null=null(20, 1e-6, 0.03), max_error_bound=0.15), "inconclusive"),
    ],
)
def test_word_follows_the_rule(probe: ProbeResult, word: str) -> None:
    answer = headline(suite(probe))
    assert answer.word == word
    assert answer.sentence.endswith(".")


def test_every_answer_names_the_numbers_behind_it() -> None:
    answer = headline(suite(delta(0.21, (0.16, 0.27), null=null(20, 0.0001, 0.034))))
    text = " ".join((answer.sentence, *answer.reasons))
    for number in ("0.21", "0.16", "0.27", "24 prompts", "all 20 random", "0.034", "0.02", "p=0.0001", "0.048"):
        assert number in text


def test_an_inconclusive_answer_says_what_would_settle_it() -> None:
    assert "runs: 20 instead of 3" in headline(suite(delta(0.05, (0.03, 0.07), null=null(3, 0.01, 0.001)))).settle
    assert "null_adapter" in headline(suite(delta(0.05, (0.03, 0.07)))).settle


def test_few_draws_and_an_interval_around_the_gate_are_settled_together() -> None:
    few = headline(suite(delta(0.03, (0.01, 0.05), null=null(3, 0.01, 0.001)))).settle
    close = headline(suite(delta(0.03, (0.01, 0.05), null=null(12, 0.08, 0.02)))).settle
    assert "more prompts" in few
    assert "runs: 20 instead of 3" in few
    assert "more prompts" in close
    assert "runs: 24 instead of 12" in close
    assert "prompts" not in headline(suite(delta(0.05, (0.03, 0.07), null=null(3, 0.01, 0.001)))).settle


def test_a_change_below_the_gate_is_not_denied_when_it_is_more_than_noise() -> None:
    small = headline(suite(delta(0.00509, (0.003, 0.008), null=null(10, 1e-6, 0.001))))
    assert small.word == "no detectable change"
    assert small.sentence.startswith("A change smaller than asked for: mean JS 0.00509 nats")
    assert small.sentence.endswith("below the gate of 0.02, though above all 10 random adapters.")
    nearly = headline(suite(delta(0.00509, (0.003, 0.008), null=null(60, 0.01, 0.006, rank=2 / 61))))
    assert "above nearly all 60 random adapters" in nearly.sentence
    for noise in (null(20, 0.4, 0.009, rank=0.5), null(3, 1e-6, 0.001), None):
        sentence = headline(suite(delta(0.00509, (0.003, 0.008), null=noise))).sentence
        assert sentence.startswith("No change of the size asked for")


def test_a_rank_among_the_draws_counts_against_a_small_p() -> None:
    skewed = null(40, 0.01, 0.3, rank=4 / 41)
    assert headline(suite(delta(0.2, (0.1, 0.3), null=skewed))).word == "no detectable change"


def test_gate_comes_from_the_suite_entry_when_the_evidence_has_none() -> None:
    probe = delta(0.05, (0.03, 0.07), null=null(20, 1e-6, 0.001))
    del probe.evidence["gate"]
    assert headline(suite(probe)).word == "changed"
    assert headline(suite(probe), entries={"moved": {"assert_mean_gte": 0.2}}).word == "no detectable change"


@pytest.mark.parametrize(("null_norm", "says"), [(3.625, "16 times less"), (580.0, "10 times more"), (50.0, None)])
def test_random_adapters_of_another_size_are_pointed_out(null_norm: float, says: str | None) -> None:
    norms = {"trained": 58.0, "null": {"rank_1.00": null_norm}}
    noise = ProbeResult("noise", "null_adapter", Verdict.PASS, 1.0, evidence={"update_norms": norms})
    answer = headline(suite(noise, delta(0.21, (0.16, 0.27), null=null(20, 1e-6, 0.034))))
    assert answer.word == "changed"
    caution = [r for r in answer.reasons if r.startswith("Caution")]
    assert (says in caution[0]) if says else not caution


def test_preflight_failure_is_broken() -> None:
    row = ProbeResult("__preflight__", "preflight", Verdict.ERROR, None, message="ft view gives 8 NaN")
    answer = headline(suite(row))
    assert answer.word == "broken"
    assert answer.reasons == ("ft view gives 8 NaN",)


@pytest.mark.parametrize("status", ["cancelled", "interrupted", "running", "failed"])
def test_an_unfinished_run_is_inconclusive_whatever_its_numbers(status: str) -> None:
    probe = delta(0.5, (0.4, 0.6), n=14, null=null(20, 1e-6, 0.01), partial={"done": 14, "planned": 24})
    answer = headline(suite(probe, status=status))
    assert answer.word == "inconclusive"
    assert "14 of 24" in answer.sentence


def test_nothing_measured() -> None:
    assert headline(suite()).word == "inconclusive"
    skipped = ProbeResult("moved", "delta_kl", Verdict.SKIP, None, message="not run: the run was failed (no disk)")
    assert headline(suite(skipped, status="failed")).word == "broken"
    assert headline(suite(skipped, status="cancelled")).word == "inconclusive"
    failed = ProbeResult("moved", "delta_kl", Verdict.ERROR, None, message="all prompts failed")
    assert headline(suite(failed)).word == "broken"


def _run(suite_entries: list[dict[str, Any]], backend: Any) -> SuiteResult:
    models = {side: {"kind": "dummy", "base": "b"} for side in ("base", "ft")}
    return run(from_dict({"models": models, "suite": suite_entries}), backend)


def test_a_real_run_of_the_dummy_backend_has_changed() -> None:
    result = _run(
        [
            {"name": "noise", "kind": "null_adapter", "runs": 12, "cache": False},
            {"name": "moved", "kind": "delta_kl", "prompts": [f"prompt {i}" for i in range(6)]},
        ],
        DummyDifferentialBackend(),
    )
    assert headline(result).word == "changed"


def test_a_real_run_of_two_identical_sides_has_no_detectable_change() -> None:
    whole = TokenDist(np.arange(2), np.log([0.75, 0.25]).astype(np.float32), vocab_size=2)
    same = {f"prompt {i}": whole for i in range(6)}
    backend = DummyDifferentialBackend(base=DummyResponses(token_dists=same), ft=DummyResponses(token_dists=same))
    result = _run([{"name": "moved", "kind": "delta_kl", "prompts": list(same)}], backend)
    assert headline(result).word == "no detectable change"
    assert "identical on all 6" in headline(result).sentence


def test_equal_top_tokens_with_an_unknown_rest_are_not_called_identical() -> None:
    half = TokenDist(np.arange(2), np.log([0.3, 0.2]).astype(np.float32), vocab_size=9, tail_logprob=float(np.log(0.5)))
    same = {f"prompt {i}": half for i in range(6)}
    backend = DummyDifferentialBackend(base=DummyResponses(token_dists=same), ft=DummyResponses(token_dists=same))
    result = _run([{"name": "moved", "kind": "delta_kl", "prompts": list(same)}], backend)
    assert result.probes[0].raw == 0.0
    assert headline(result).word == "inconclusive"
