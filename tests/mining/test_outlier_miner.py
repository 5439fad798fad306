"""Outlier mining: one run over the pool, no prompt in both lists, and nothing swallowed."""

from __future__ import annotations

from typing import Any

import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.errors import ProbeError, SwayError
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import Comparison, View
from sway_dash.mining import corpus_prompts, mine_outliers
from sway_dash.mining.outlier_miner import _from_evidence
from sway_dash.probes import registry
from tests.fakes_cli import UNMEASURABLE, Exact, amplitude

POOL = [f"prompt {i}" for i in range(30)]


def mine(backend: Any = None, **keys: Any) -> Any:
    return mine_outliers(
        **{"probe_kind": "delta_kl", "candidate_prompts": POOL, "backend": backend or Exact(), "top_k": 5, **keys}
    )


def test_the_most_and_the_least_moved_in_order() -> None:
    found = mine()
    ranked = sorted(POOL, key=amplitude)
    assert [c.prompt for c in found.bottom] == ranked[:5]
    assert [c.prompt for c in found.top] == ranked[:-6:-1]
    assert [c.raw for c in found.top] == pytest.approx([amplitude(c.prompt) for c in found.top])
    assert all(POOL[c.index] == c.prompt for c in found.top + found.bottom)
    assert (found.scored, found.unmeasured) == (30, 0)
    assert "nearer to the middle" in found.note


def test_every_prompt_is_measured_once_also_when_it_is_listed_twice() -> None:
    backend = Exact()
    found = mine(backend, candidate_prompts=[*POOL, *POOL[:9]])
    assert sorted(text for _, text in backend.calls) == sorted(POOL)
    assert found.scored == 30


def test_with_ties_at_both_ends_no_prompt_is_in_both_lists() -> None:
    class Same(Exact):
        def _one(self, view: View, prompt: str) -> Comparison:
            return Comparison(js=0.1, kl=0.1, kl_reverse=0.1, same_top=1.0)

    found = mine(Same(), top_k=15)
    assert not {c.prompt for c in found.top} & {c.prompt for c in found.bottom}


def test_too_small_a_pool_says_what_would_fit() -> None:
    with pytest.raises(SwayError, match=r"below the 2·top_k = 40.*Pass --top-k 15"):
        mine(top_k=20)
    with pytest.raises(ValueError, match="top_k must be positive"):
        mine(top_k=0)
    empty = mine(candidate_prompts=[])
    assert (empty.top, empty.bottom) == ([], [])


def test_prompts_that_cannot_be_measured_are_left_out_and_counted() -> None:
    class Partly(Exact):
        def _one(self, view: View, prompt: str) -> Comparison | ProbeError:
            return super()._one(view, UNMEASURABLE if int(prompt.split()[1]) % 3 == 0 else prompt)

    found = mine(Partly())
    assert (found.scored, found.unmeasured) == (20, 10)
    with pytest.raises(ProbeError, match="non-finite"):
        mine(candidate_prompts=[UNMEASURABLE])


def test_any_probe_over_prompts_will_do_and_settings_reach_it() -> None:
    found = mine(probe_kind="cluster_kl", settings={"divergence": "kl"})
    assert found.probe_kind == "cluster_kl"
    assert found.top[0].raw == pytest.approx(2.0 * amplitude(found.top[0].prompt))
    top = [c.prompt for c in mine(DummyDifferentialBackend(), top_k=3).top]
    assert len(top) == 3


def test_a_probe_without_prompts_of_its_own_gives_nothing() -> None:
    for kind in ("paraphrase_invariance", "no_such_kind"):
        found = mine(probe_kind=kind)
        assert (found.top, found.bottom) == ([], [])
        assert "no value for single prompts" in found.note
    assert "≥20 different prompts" in mine(probe_kind="cluster_kl", candidate_prompts=POOL[:12]).note


def test_values_in_the_evidence_serve_where_nothing_was_emitted(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: Any, spec: Any, ctx: Any) -> ProbeResult:
        values = [float(len(p.text)) + i for i, p in enumerate(spec.prompts)]
        texts = [p.text for p in spec.prompts]
        return ProbeResult("m", "delta_kl", Verdict.PASS, 1.0, evidence={"per_prompt": values, "prompts": texts})

    monkeypatch.setattr(registry()["delta_kl"], "run", run)
    assert mine().top[0].prompt == POOL[-1]
    assert _from_evidence({"per_prompt": [1.0]}, POOL) == {}
    assert _from_evidence({}, POOL) == {}


def test_a_corpus_that_ships_makes_a_pool() -> None:
    pool = corpus_prompts("public_domain_en", chunk_chars=256, max_chunks=12)
    assert len(pool) == 12
    assert all(64 <= len(text) <= 256 for text in pool)
    with pytest.raises(KeyError):
        corpus_prompts("no such corpus")
