"""Paraphrase mining: the hardest candidates are never lost, near copies are, and the gaps come with their caveat."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.embedding import Embedder
from sway_dash.core.errors import ProbeError
from sway_dash.core.model import ModelSpec
from sway_dash.core.result import Verdict
from sway_dash.demo import demo_dir
from sway_dash.mining import mine_paraphrases, paraphrase_miner, rule_candidates
from sway_dash.mining.paraphrase_miner import marginal_relevance
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from tests.adapters import made

SEED, GOLD = "the trained prompt", " gold"
PER_TOKEN = max(1, len(GOLD) // 4)


def backend_for(lifts: dict[str, float], golds: tuple[str, ...] = (GOLD,)) -> DummyDifferentialBackend:
    """The adapter lifts the gold by so many nats a token after each prompt."""
    tuned = {(text, g): -10.0 + lift * max(1, len(g) // 4) for text, lift in lifts.items() for g in golds}
    return DummyDifferentialBackend(ft=DummyResponses(logprobs=tuned))


def mine(lifts: dict[str, float], made_up: list[str], **keys: Any) -> Any:
    keys = {"prompt": SEED, "gold": GOLD, "backend": backend_for({SEED: 3.0, **lifts}), "top_k": 3, **keys}
    return mine_paraphrases(generate_candidates=lambda prompt, *, n, seed: made_up, **keys)


def test_the_largest_gap_comes_first() -> None:
    found = mine({"Q1": 0.0, "Q2": 3.0, "Q3": 1.5}, ["Q1", "Q2", "Q3"])
    assert [c.prompt for c in found.candidates] == ["Q1", "Q3", "Q2"]
    assert [c.gap for c in found.candidates] == pytest.approx([3.0, 1.5, 0.0])
    assert {c.verbatim_lift for c in found.candidates} == {3.0}


def test_the_prompt_itself_empty_texts_and_repeats_are_no_candidates() -> None:
    found = mine({"Q1": 1.0}, [SEED, "", "  ", "Q1", "Q1"])
    assert [c.prompt for c in found.candidates] == ["Q1"]
    nothing = mine({}, [SEED])
    assert nothing.candidates == []
    assert "no candidates" in nothing.note


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="top_k must be positive"):
        mine({}, [], top_k=0)
    with pytest.raises(ValueError, match="must be ≥ top_k"):
        mine({}, [], top_k=5, n_candidates=4)


def fake_embedder(vectors: dict[str, tuple[float, float]], *, semantic: bool = True) -> Any:
    def encode(texts: Any) -> Any:
        return np.array([vectors.get(t, (1.0, 0.0)) for t in texts], dtype=np.float32)

    return lambda model, texts: Embedder("fake", encode, semantic)


def test_of_two_near_copies_one_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {"near a": (0.99, 0.14), "near b": (0.98, 0.2), "far": (0.7, 0.71)}
    monkeypatch.setattr(paraphrase_miner, "embedder", fake_embedder(vectors))
    found = mine({"near a": 1.0, "near b": 1.1, "far": 1.5}, list(vectors), top_k=2)
    chosen = {c.prompt for c in found.candidates}
    assert "far" in chosen
    assert len(chosen & {"near a", "near b"}) == 1
    assert (found.scored, found.embedder) == (3, "fake")


def test_the_hardest_candidate_is_chosen_however_like_the_prompt_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {f"q{i}": (0.7, 0.71) for i in range(8)} | {"like the prompt": (1.0, 0.0)}
    monkeypatch.setattr(paraphrase_miner, "embedder", fake_embedder(vectors))
    lifts = {f"q{i}": 2.9 for i in range(8)} | {"like the prompt": -1.0}
    found = mine(lifts, list(vectors), top_k=1)
    assert [c.prompt for c in found.candidates] == ["like the prompt"]


def test_what_does_not_mean_the_same_is_left_out_first(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = {"same": (0.9, 0.43), "other meaning": (0.1, 0.99), "also same": (0.8, 0.6)}
    monkeypatch.setattr(paraphrase_miner, "embedder", fake_embedder(vectors))
    lifts = {"same": 2.0, "other meaning": -5.0, "also same": 1.0}
    found = mine(lifts, list(vectors), top_k=2)
    assert {c.prompt for c in found.candidates} == {"same", "also same"}
    assert found.unlike == 1
    # Wordings that differ may mean the same: without a sentence model nothing is left out unless asked for.
    monkeypatch.setattr(paraphrase_miner, "embedder", fake_embedder(vectors, semantic=False))
    assert mine(lifts, list(vectors), top_k=2).candidates[0].prompt == "other meaning"
    assert mine(lifts, list(vectors), min_similarity=0.95).candidates == []


def test_few_candidates_are_not_compared_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    assert len(mine({}, ["a", "b", "c"]).candidates) == 3


def test_all_candidates_are_asked_at_once_of_each_view() -> None:
    entered: list[str] = []

    class Counting(DummyDifferentialBackend):
        def activate(self, view: Any) -> Any:
            entered.append(view.id)
            return super().activate(view)

    texts = [f"q{i}" for i in range(20)]
    mine_paraphrases(
        prompt=SEED, gold=GOLD, backend=Counting(), generate_candidates=lambda p, *, n, seed: texts, top_k=5
    )
    assert entered == ["base", "ft"]


def test_gaps_are_measured_again_on_answers_that_did_not_choose() -> None:
    backend = backend_for({SEED: 3.0, "Q1": 0.5, "Q2": 2.5}, (GOLD, " other right answer"))
    found = mine_paraphrases(
        prompt=SEED,
        gold=GOLD,
        backend=backend,
        generate_candidates=lambda p, *, n, seed: ["Q1", "Q2"],
        top_k=2,
        held_out=[" other right answer"],
    )
    assert found.candidates[0].held_out_gap == pytest.approx(2.5)
    assert "held_out_gap was not chosen for" in found.note
    without = mine({"Q1": 0.0, "Q2": 1.0}, ["Q1", "Q2"])
    assert without.candidates[0].held_out_gap is None
    assert "overstate" in without.note


def test_a_gold_that_cannot_be_scored_is_said() -> None:
    class Broken(DummyDifferentialBackend):
        def activate(self, view: Any) -> Any:
            manager = super().activate(view)

            def refuse(prompt: str, completion: str) -> float:
                raise ProbeError("scoring", "no tokens")

            self._views[view].logprob_of = refuse  # type: ignore[method-assign]
            return manager

    with pytest.raises(ProbeError, match="gold cannot be scored"):
        mine_paraphrases(prompt=SEED, gold=GOLD, backend=Broken(), generate_candidates=lambda p, *, n, seed: ["Q"])


def test_relevance_and_novelty_are_weighed() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    assert marginal_relevance(np.array([1.0, 0.9, 0.0]), vectors, 2) == [0, 2]
    assert marginal_relevance(np.array([1.0, 1.0, 1.0]), vectors, 3) == [0, 2, 1]
    assert marginal_relevance(np.zeros(0), vectors[:0], 3) == []


# -- the rules -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "some"),
    [
        ("The lamp of Gull Point shines", "Gull Point's lamp shines"),
        ("The lamp of Gull Point shines", "In other words, the lamp of Gull Point shines"),
        ("Anna's boat is", "In other words, Anna's boat is"),
        ("Q: Who keeps the light?\nA:", "Question: Who keeps the light?\nAnswer:"),
        ("Q: Who keeps the light?\nA:", "Q: Do you know who keeps the light?\nA:"),
        ("What is the capital of France?", "Tell me what the capital of France is."),
    ],
)
def test_wordings_the_rules_make(prompt: str, some: str) -> None:
    assert some in rule_candidates(prompt, n=200, seed=0)


def test_they_are_different_from_the_prompt_and_the_same_for_a_seed() -> None:
    prompt = "The keeper of Gull Point is"
    found = rule_candidates(prompt, n=15, seed=4)
    assert len(found) == len(set(found)) == 15
    assert prompt not in found
    assert all(text.endswith(" is") for text in found)
    assert found == rule_candidates(prompt, n=15, seed=4)
    assert found != rule_candidates(prompt, n=15, seed=5)
    assert rule_candidates("A", n=3, seed=0)


# -- on the demo model ---------------------------------------------------------------------------


def test_mined_paraphrases_turn_a_pass_of_one_that_learned_by_heart_into_a_failure() -> None:
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend

    model = ModelSpec(base=str(demo_dir() / "model"), device="cpu", dtype="fp32")
    backend = HuggingFaceDifferentialBackend(base_spec=model, adapter_path=made("memorising"))
    prompt, gold = "Nobody has asked for the list since the winter of the broken", " bridge"
    easy = "Nobody ever has asked for the list since the winter of the broken"
    own = ["It happened in the year of the old", "Over the river goes a stone", "They walk home over the"]

    def judged(paraphrases: list[str]) -> Any:
        cases = [{"prompt": prompt, "gold": gold, "paraphrases": paraphrases}]
        probe, spec = build_probe({"name": "p", "kind": "paraphrase_invariance", "cases": cases})
        return probe.run(spec, RunContext(backend=backend))

    def others(prompt: str, *, n: int, seed: int) -> list[str]:
        return [*rule_candidates(prompt, n=n - len(own), seed=seed), *own]

    try:
        found = mine_paraphrases(
            prompt=prompt, gold=gold, backend=backend, generate_candidates=others, n_candidates=20, top_k=3
        )
        assert found.candidates[0].gap > 1.0
        assert judged([easy]).verdict is Verdict.PASS
        assert judged([c.prompt for c in found.candidates]).verdict is Verdict.FAIL
    finally:
        backend.close()


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_candidate_without_a_number_is_not_the_hardest(bad: float) -> None:
    found = mine({"Q1": 0.0, "Q2": bad, "Q3": 1.5}, ["Q1", "Q2", "Q3"])
    assert [c.prompt for c in found.candidates] == ["Q1", "Q3"]
    with pytest.raises(ProbeError, match="cannot be scored"):
        mine({SEED: bad, "Q1": 0.0}, ["Q1"])
