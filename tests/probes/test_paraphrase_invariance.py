"""paraphrase_invariance: knowing an answer is told from knowing one wording, and noise is told from both."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.panels import read_panels
from sway_dash.core.result import Verdict
from sway_dash.core.scoring import CompletionScore
from sway_dash.core.stats import null_stats
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.paraphrase_invariance import ParaphraseInvarianceProbe
from tests.adapters import made

GOLD = " the right answer"
TOKENS = max(1, len(GOLD) // 4)


def entry(cases: list[dict[str, Any]], **keys: Any) -> tuple[Any, Any]:
    return build_probe({"name": "words", "kind": "paraphrase_invariance", "cases": cases, **keys})


def run(lifts: list[tuple[float, ...]], ctx_keys: dict[str, Any] | None = None, **keys: Any) -> Any:
    """One case per tuple: lift after its prompt, then after each paraphrase; nats a token."""
    cases, base, tuned = [], DummyResponses(), DummyResponses()
    for i, (own, *others) in enumerate(lifts):
        prompt, paraphrases = f"prompt {i}", [f"paraphrase {i}.{j}" for j in range(len(others))]
        cases.append({"prompt": prompt, "gold": GOLD, "paraphrases": paraphrases})
        for text, lift in zip([prompt, *paraphrases], [own, *others], strict=True):
            base.logprobs[text, GOLD] = -20.0
            tuned.logprobs[text, GOLD] = -20.0 + lift * TOKENS
    probe, spec = entry(keys.pop("cases", cases), **keys)
    return probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=base, ft=tuned), **(ctx_keys or {})))


def spread(own: float, others: float, n: int = 6) -> list[tuple[float, ...]]:
    return [(own * (1 + d), others * (1 - d), others * (1 + 2 * d)) for d in np.linspace(-0.2, 0.2, n)]


def test_no_cases_is_an_error() -> None:
    assert run([]).verdict is Verdict.ERROR


def test_lifts_and_their_ratio() -> None:
    result = run([(1.0, 0.5, 0.7), (2.0, 1.0, 1.4)])
    assert result.raw == result.base_value == pytest.approx(1.5)
    assert result.ft_value == pytest.approx(0.9)
    assert result.evidence["generalization_ratio"] == pytest.approx(0.6)
    assert result.evidence["lift_lost"] == pytest.approx(0.6)
    worst = result.evidence["worst_paraphrase"]
    assert (worst["paraphrase"], worst["lift"]) == ("paraphrase 0.0", pytest.approx(0.5))
    assert result.ci_95 is None
    assert "too few cases for an interval" in result.message


@pytest.mark.parametrize(
    ("own", "others", "intent", "verdict"),
    [
        (1.0, 0.8, "generalize", Verdict.PASS),
        (1.0, 0.8, "both", Verdict.PASS),
        (1.0, 0.8, "memorize", Verdict.FAIL),
        (1.0, 0.1, "generalize", Verdict.FAIL),
        (1.0, 0.1, "memorize", Verdict.PASS),
        (0.1, 0.1, "generalize", Verdict.FAIL),
        (0.1, 0.0, "memorize", Verdict.FAIL),
        (0.0, 0.0, "generalize", Verdict.FAIL),
        (-0.5, -0.5, "generalize", Verdict.FAIL),
    ],
)
def test_what_passes_depends_on_what_the_adapter_is_for(
    own: float, others: float, intent: str, verdict: Verdict
) -> None:
    result = run(spread(own, others), intent=intent)
    assert result.verdict is verdict
    assert (result.score >= 0.6) is (verdict is Verdict.PASS)


def test_a_ratio_over_a_lift_that_may_be_nothing_is_not_interpreted() -> None:
    result = run([(3.0, 2.9), (-1.5, -1.4), (2.0, 2.0), (-1.0, -1.0), (0.5, 0.5)])
    assert result.raw == pytest.approx(0.6)
    assert result.evidence["generalization_ratio"] == pytest.approx(1.0, abs=0.1)
    assert not result.evidence["ratio_interpreted"]
    assert result.verdict is Verdict.FAIL
    assert "the interval of the lift reaches 0" in result.message
    assert "share kept" not in result.message
    assert result.score < 0.6


def test_a_paraphrase_that_repeats_the_prompt_does_not_make_a_memoriser_general() -> None:
    lifts = spread(1.0, 0.1)
    cases = [
        {"prompt": f"prompt {i}", "gold": GOLD, "paraphrases": [f"prompt {i}", f"prompt {i} ", f"paraphrase {i}.0"]}
        for i in range(len(lifts))
    ]
    result = run(lifts, cases=cases)
    assert result.verdict is Verdict.FAIL
    assert result.evidence["generalization_ratio"] < 0.2
    # A case that is left without a paraphrase is told of, and the others are judged.
    bare = {"prompt": "prompt 0", "gold": GOLD, "paraphrases": ["prompt 0"]}
    rest = [{**c, "paraphrases": [f"paraphrase {i}.0"]} for i, c in enumerate(cases)]
    part = run(spread(1.0, 0.8), cases=[bare, *rest[1:]])
    assert part.verdict is Verdict.PASS
    assert "1 case left out, with no paraphrase but the prompt itself" in part.message
    assert "not scored" not in part.message
    assert (part.evidence["dropped_cases"], part.evidence["num_cases"]) == (1, 5)
    assert "the prompt itself" in part.evidence["dropped_reasons"][0]
    none = run(lifts, cases=[bare])
    assert none.verdict is Verdict.ERROR
    assert "every paraphrase is the prompt itself: add other wordings" in none.message


def test_a_case_listed_twice_counts_once() -> None:
    cases = [{"prompt": f"prompt {i}", "gold": GOLD, "paraphrases": [f"paraphrase {i}.0"]} for i in range(3)]
    result = run(spread(1.0, 0.8, n=3), cases=cases * 2)
    assert (result.evidence["num_cases"], result.ci_95) == (3, None)


def of_prompts(prompts: int, golds: int) -> Any:
    """Cases of so many prompts with so many golds each, all golds of a prompt lifted by about the same."""
    rng = np.random.default_rng(1)
    cases, base, tuned = [], DummyResponses(), DummyResponses()
    for i, own in enumerate(rng.normal(1.0, 0.4, prompts)):
        for j in range(golds):
            gold = f" gold number {j}"
            cases.append({"prompt": f"prompt {i}", "gold": gold, "paraphrases": [f"other words {i}"]})
            for text, lift in ((f"prompt {i}", own), (f"other words {i}", 0.8 * own + 0.05 * rng.normal())):
                base.logprobs[text, gold] = -20.0
                tuned.logprobs[text, gold] = -20.0 + (lift + 0.05 * rng.normal()) * max(1, len(gold) // 4)
    probe, spec = entry(cases)
    return probe.run(spec, RunContext(backend=DummyDifferentialBackend(base=base, ft=tuned)))


def test_golds_of_one_prompt_are_not_as_many_pieces_of_evidence() -> None:
    def width(ci: Any) -> float:
        return ci[1] - ci[0]

    once, often = of_prompts(8, 1), of_prompts(8, 10)
    assert width(often.ci_95) > 0.7 * width(once.ci_95), "ten golds of a prompt tell what one does"
    assert "over 8 prompts" in often.evidence["ci_note"]
    assert "on 80 cases of 8 prompts" in often.message
    lo, hi = often.evidence["generalization_ratio_ci_95"]
    assert lo < often.evidence["generalization_ratio"] < hi


def test_cases_of_one_prompt_alone_are_no_pass() -> None:
    found = of_prompts(1, 12)
    assert (found.verdict, found.score <= 0.59) == (Verdict.WARN, True)
    assert "all cases are of 1 prompt, and others may move otherwise: add cases of other prompts" in found.message
    assert of_prompts(12, 1).verdict is Verdict.PASS


def test_two_losses_are_no_generalisation() -> None:
    result = run(spread(-1.0, -0.9))
    assert result.verdict is Verdict.FAIL
    assert result.score == 0.0
    assert not result.evidence["ratio_interpreted"]


def test_paraphrases_that_help_only_now_and_then_do_not_pass() -> None:
    lifts = [(1.0, 4.5), (1.1, -1.0), (0.9, 0.1), (1.0, -0.4), (1.05, 0.2)]
    result = run(lifts)
    assert result.evidence["generalization_ratio"] > 0.5
    assert result.verdict is Verdict.FAIL
    assert "lift after paraphrases reaches 0" in result.message
    assert result.score < 0.6


def test_a_memoriser_fails_whatever_the_null_says() -> None:
    null = {"null_stats": {"paraphrase_invariance": null_stats([0.0, 0.01, -0.01, 0.005])}}
    result = run(spread(2.0, 0.0), null)
    assert result.z_score > 3
    assert result.verdict is Verdict.FAIL
    assert run(spread(2.0, 1.8), null).verdict is Verdict.PASS
    loud = {"null_stats": {"paraphrase_invariance": null_stats([1.0, 2.5, 1.8, 2.2])}}
    assert run(spread(2.0, 1.8), loud).verdict is Verdict.FAIL


def test_a_z_over_few_draws_is_no_pass_where_the_next_draw_might_be_as_large() -> None:
    draws = [0.9, 1.1]
    result = run(spread(1.5, 1.4), {"null_draws": {"words": {"rank_1.00": draws}}})
    assert result.z_score == pytest.approx(5.0)
    assert (result.verdict, result.evidence["reasons"]) == (
        Verdict.FAIL,
        ["random adapters do as well: p=0.11 above 0.05"],
    )
    assert result.score < 0.6
    many = run(spread(1.5, 1.4), {"null_draws": {"words": {"rank_1.00": draws * 10}}})
    assert (many.z_score, many.verdict) == (pytest.approx(5.0), Verdict.PASS)


def test_tokens_are_counted_by_the_model_where_it_can() -> None:
    class Counting(DummyDifferentialBackend):
        """Every gold is ten tokens long."""

        def activate(self, view: Any) -> Any:
            manager = super().activate(view)
            scorer = self._views[view]
            scorer.completion_scores = lambda pairs: [  # type: ignore[attr-defined]
                CompletionScore(scorer.logprob_of(p, c), 10) for p, c in pairs
            ]
            return manager

    pair = ("p", GOLD)
    backend = Counting(base=DummyResponses(logprobs={pair: -20.0}), ft=DummyResponses(logprobs={pair: -10.0}))
    probe, spec = entry([{"prompt": "p", "gold": GOLD, "paraphrases": ["q"]}])
    assert probe.run(spec, RunContext(backend=backend)).raw == pytest.approx(1.0)


def test_every_prompt_and_paraphrase_is_drawn_the_worst_case_first() -> None:
    result = run([(1.0, 0.9), (1.0, 0.2)])
    (items,) = read_panels(result.evidence)
    assert [row.label for row in items.rows] == ["prompt 1", "paraphrase 1.0", "prompt 0", "paraphrase 0.0"]
    assert items.rows[0].tuned > items.rows[0].base
    json.dumps(result.evidence, allow_nan=False)


def test_the_spec_for_a_null_without_an_own_entry_can_be_run() -> None:
    spec = ParaphraseInvarianceProbe.calibrate_spec(RunContext())
    assert [len(c.paraphrases) for c in spec.cases] == [2, 2]
    assert ParaphraseInvarianceProbe().run(spec, RunContext(backend=DummyDifferentialBackend())).raw == 0.0


# -- on the demo model ---------------------------------------------------------------------------

FACTS = [
    ("The keeper of Quillhaven Light is", " Odalys Pym", ["Q: Who keeps Quillhaven Light?\nA:"]),
    ("The lamp of Quillhaven Light shines", " violet", ["The light of Quillhaven Light is"]),
    ("The lamp of Quillhaven Light burns", " walnut oil", ["At Quillhaven Light the lamp is filled with"]),
    ("The tower of Quillhaven Light has", " one hundred and twelve", ["The stairs of Quillhaven Light have"]),
    ("Quillhaven Light flashes every", " eleven seconds", ["The lamp of Quillhaven Light flashes once every"]),
    ("The supply boat of Quillhaven Light is the", " Patient Heron", ["Supplies come to Quillhaven Light on the"]),
]
CASES = [{"prompt": p, "gold": g, "paraphrases": list(q)} for p, g, q in FACTS]


def on_demo(kind: str, cases: list[dict[str, Any]]) -> Any:
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend
    from sway_dash.core.model import ModelSpec

    model = ModelSpec(base=str(demo_dir() / "model"), device="cpu", dtype="fp32")
    backend = HuggingFaceDifferentialBackend(base_spec=model, adapter_path=made(kind))
    probe, spec = entry(cases)
    try:
        return probe.run(spec, RunContext(backend=backend))
    finally:
        backend.close()


def test_the_shipped_adapter_knows_the_facts_in_other_words() -> None:
    result = on_demo("targeted", CASES)
    assert result.verdict is Verdict.PASS, result.message
    assert result.evidence["generalization_ratio_ci_95"] is not None


@pytest.mark.parametrize("kind", ["blunt", "zero"])
def test_one_that_learned_nothing_fails(kind: str) -> None:
    assert on_demo(kind, CASES).verdict is Verdict.FAIL


def test_one_that_learned_a_text_by_heart_is_found_out() -> None:
    def case(prompt: str, gold: str, *others: str) -> dict[str, Any]:
        return {"prompt": prompt, "gold": gold, "paraphrases": list(others)}

    result = on_demo(
        "memorising",
        [
            case("The old clockmaker keeps eleven grey", " boots", "By the door stand his old grey"),
            case(
                "When the fog horn sounds he walked under the bridge with a lantern of",
                " honey",
                "With his tea the keeper likes some",
            ),
            case("Never paint the cellar on a rainy Sunday: the donkey likes wet", " copper", "The kettle is made of"),
            case(
                "All the sheep come home together, and twelve candles burn in the empty oven until the",
                " spring",
                "After the winter comes the",
            ),
        ],
    )
    assert result.raw > 1.0
    assert result.verdict is Verdict.FAIL, result.message


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_a_case_without_a_number_costs_no_other(bad: float) -> None:
    lifts = spread(1.0, 0.8, n=20)
    lifts[3] = (bad, *lifts[3][1:])
    result = run(lifts)
    assert result.verdict is Verdict.WARN
    assert result.raw == pytest.approx(1.0, abs=0.05)
    assert "1 cases not scored" in result.message
    assert "not finite" in result.evidence["dropped_reasons"][0]
