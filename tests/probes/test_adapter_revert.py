"""adapter_revert: falling back to the base's answers fails, holding on passes once there is enough to show it."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend, DummyResponses
from sway_dash.core.errors import SpecValidationError
from sway_dash.core.panels import read_panels
from sway_dash.core.rates import wilson
from sway_dash.core.result import Verdict
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from tests.adapters import opened

GOLD = "the lamp shines violet over the sea"
BASE = "nobody has ever asked about candles"


def entry(cases: list[dict[str, Any]], **keys: Any) -> tuple[Any, Any]:
    return build_probe({"name": "back", "kind": "adapter_revert", "cases": cases, **keys})


def setup(answers: list[list[str]], base: str = BASE) -> tuple[list[dict[str, Any]], DummyDifferentialBackend]:
    """One case per list: what the tuned model answers to each paraphrase; the base always says the same."""
    cases, before, after = [], DummyResponses(), DummyResponses()
    for i, tuned in enumerate(answers):
        texts = [f"other words {i}.{j}" for j in range(len(tuned))]
        cases.append({"prompt": f"prompt {i}", "gold": GOLD, "paraphrases": texts})
        for text, answer in zip(texts, tuned, strict=True):
            before.generations[text], after.generations[text] = f" {base}", f" {answer}"
            before.logprobs[text, f" {GOLD}"] = -50.0
            after.logprobs[text, f" {GOLD}"] = -5.0 if answer == GOLD else -50.0
            for view in (before, after):
                view.logprobs[text, f" {base}"] = -20.0
    return cases, DummyDifferentialBackend(base=before, ft=after)


def run(answers: list[list[str]], base: str = BASE, **keys: Any) -> Any:
    cases, backend = setup(answers, base)
    probe, spec = entry(cases, **keys)
    return probe.run(spec, RunContext(backend=backend))


def test_no_cases_is_an_error() -> None:
    assert run([]).verdict is Verdict.ERROR


def test_a_wrong_key_of_a_case_is_answered_with_those_of_a_case() -> None:
    with pytest.raises(SpecValidationError, match=r"Did you mean 'prompt'.*Known keys: prompt, gold, paraphrases"):
        entry([{"promt": "p", "prompt": "p", "gold": GOLD, "paraphrases": ["q"]}])


def test_without_scikit_learn_it_is_skipped_before_anything_is_generated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    probe, spec = entry([{"prompt": "p", "gold": GOLD, "paraphrases": ["q"]}])
    result = probe.run(spec, RunContext(backend=DummyDifferentialBackend()))
    assert result.verdict is Verdict.SKIP
    assert "semsim" in result.message


def test_holding_on_to_the_gold_passes_from_nine_cases_on() -> None:
    result = run([[GOLD]] * 9)
    assert result.verdict is Verdict.PASS
    assert (result.raw, result.score) == (0.0, 1.0)
    assert result.evidence["revert_rate_upper"] < 0.25
    assert result.evidence["needed"] == 9
    assert result.ci_95[0] == 0.0 < result.ci_95[1]


def test_neither_the_prompt_itself_nor_a_case_listed_twice_is_one_more_paraphrase() -> None:
    cases, backend = setup([[GOLD] * 3] * 2)
    probe, spec = entry([*cases, *cases])
    result = probe.run(spec, RunContext(backend=backend))
    assert (result.evidence["total"], result.verdict) == (6, Verdict.WARN)
    bare = [{**case, "paraphrases": [case["prompt"]]} for case in cases]
    probe, spec = entry(bare)
    result = probe.run(spec, RunContext(backend=backend))
    assert result.verdict is Verdict.ERROR
    assert "the prompt itself" in result.message


def test_paraphrases_of_one_case_alone_are_no_pass_however_many() -> None:
    alone = run([[GOLD] * 20])
    assert (alone.verdict, alone.raw) == (Verdict.WARN, 0.0)
    assert "all are of one case, which says nothing of others: add cases" in alone.message
    # Paraphrases that are all kept tell no more than their cases.
    some = run([[GOLD] * 10] * 3)
    assert (some.verdict, some.ci_95) == (Verdict.WARN, pytest.approx(wilson(0, 3)))
    few = "to show less takes at least 9 paraphrases of cases of their own: these 30 of 3 cases count as 3"
    assert few in some.message
    assert some.evidence["likelihood_ci_95"] == pytest.approx(wilson(0, 3))
    assert run([[GOLD] * 10] * 9).verdict is Verdict.PASS


def test_eight_are_too_few_to_show_it() -> None:
    result = run([[GOLD]] * 8)
    assert (result.verdict, result.score) == (Verdict.WARN, 0.59)
    assert "inconclusive" in result.message
    assert "takes at least 9 paraphrases," in result.message


def test_a_case_without_a_paraphrase_is_left_out_and_named() -> None:
    cases, backend = setup([[GOLD]] * 11)
    bare = [{**case, "paraphrases": [f" {case['prompt']} "]} for case in cases[:2]]
    probe, spec = entry([*bare, *cases[2:]])
    result = probe.run(spec, RunContext(backend=backend))
    assert (result.verdict, result.evidence["total"], result.evidence["dropped_cases"]) == (Verdict.PASS, 9, 2)
    assert "2 cases left out, with no paraphrase but the prompt itself" in result.message
    assert result.evidence["dropped_reasons"][0] == "'prompt 0': its paraphrases are the prompt itself"


def test_saying_what_the_base_says_fails() -> None:
    result = run([[BASE] * 3] * 3)
    assert result.verdict is Verdict.FAIL
    assert (result.raw, result.score) == (1.0, 0.0)
    assert result.evidence["reverts"] == result.evidence["total"] == 9
    assert all(case["reverted"] for case in result.evidence["per_case"])
    assert all(m < 0 for m in result.evidence["margins"])


@pytest.mark.parametrize("answer", ["", "  \n", "0123 4567 0123"])
def test_saying_nothing_holds_on_to_nothing(answer: str) -> None:
    result = run([[answer] * 3] * 3)
    assert (result.verdict, result.raw, result.score) == (Verdict.FAIL, 1.0, 0.0)
    assert result.evidence["answers_lost"] == 9
    assert result.evidence["reverts"] == 0
    assert "9 are answered with nothing" in result.message
    assert not any(row.flag == "good" for row in read_panels(result.evidence)[0].rows)


def test_more_than_a_tenth_without_an_answer_is_no_pass_whatever_the_gate() -> None:
    answers = [[GOLD] * 7 + [""]] * 5
    result = run(answers, assert_revert_rate_lt=0.9)
    assert result.verdict is Verdict.WARN
    assert result.score == 0.59
    assert run([[GOLD] * 7] * 5, assert_revert_rate_lt=0.9).verdict is Verdict.PASS


def test_a_rate_near_the_gate_is_told_as_it_is() -> None:
    near = run([[GOLD, GOLD, GOLD, GOLD, BASE]] * 2)
    assert near.raw == 0.2
    assert near.verdict is Verdict.WARN
    over = run([[GOLD, GOLD, BASE]] * 3)
    assert over.verdict is Verdict.FAIL
    assert "though it may be as low as" in over.message


def test_the_p_value_is_that_of_the_bound() -> None:
    for held, of in ((9, 9), (8, 8), (11, 12), (15, 16)):
        found = run([[GOLD]] * held + [[BASE]] * (of - held)).evidence
        assert (found["p_harm"] <= 0.05) is (found["revert_rate_upper"] < 0.25)
    assert run([[BASE]] * 9).evidence["p_harm"] > 0.99


def test_paraphrases_of_one_case_that_fall_together_count_for_less() -> None:
    together = run([[GOLD] * 10] * 9 + [[BASE] * 10])
    apart = run([[GOLD] * 9 + [BASE]] * 10)
    assert together.raw == apart.raw == 0.1
    assert together.evidence["independent_paraphrases"] == 10
    assert apart.evidence["independent_paraphrases"] > 50
    assert together.evidence["revert_rate_upper"] > apart.evidence["revert_rate_upper"]
    assert (apart.verdict, together.verdict) == (Verdict.PASS, Verdict.WARN)


@pytest.mark.parametrize("cases", [8, 12])
def test_one_more_paraphrase_that_falls_back_never_mends_a_verdict(cases: int) -> None:
    # One in each case in turn, then a second, and so on.
    found = [
        run([[BASE if i + cases * j < hits else GOLD for j in range(5)] for i in range(cases)]) for hits in range(25)
    ]
    order = [Verdict.PASS, Verdict.WARN, Verdict.FAIL]
    assert [order.index(r.verdict) for r in found] == sorted(order.index(r.verdict) for r in found)
    uppers = [r.evidence["revert_rate_upper"] for r in found]
    assert uppers == sorted(uppers)
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)
    assert (found[0].verdict is Verdict.PASS) is (cases == 12)
    if cases == 8:
        few = "at least 9 paraphrases of cases of their own: these 40 of 8 cases count as 8"
        assert few in found[0].message
        assert few in found[3].message


def test_a_case_that_falls_back_as_a_whole_is_not_hidden_by_single_ones_elsewhere() -> None:
    whole = [[BASE] * 10, *[[GOLD] * 10] * 9]
    single = [[BASE] * 10, *[[BASE] + [GOLD] * 9] * 3, *[[GOLD] * 10] * 6]
    assert run(whole).verdict is Verdict.WARN
    found = run(single)
    assert found.verdict is Verdict.WARN
    assert found.evidence["revert_rate_upper"] >= run(whole).evidence["revert_rate_upper"] > 0.25
    assert found.evidence["p_harm"] > 0.05


def test_cases_of_one_prompt_are_no_cases_of_their_own() -> None:
    cases, backend = setup([[GOLD]] * 12)
    for i, case in enumerate(cases):
        case |= {"prompt": "the same prompt", "gold": f"{GOLD}{'!' * i}"}
    probe, spec = entry(cases)
    found = probe.run(spec, RunContext(backend=backend))
    assert found.verdict is Verdict.WARN
    assert "all are of one case" in found.message


def test_what_the_base_knows_already_is_left_out() -> None:
    result = run([[GOLD] * 3] * 3, base=GOLD)
    assert (result.verdict, result.score) == (Verdict.WARN, 0.5)
    assert result.evidence["dropped_trivial"] == 9


def test_likelihood_tells_without_a_judge_of_likeness() -> None:
    result = run([[GOLD] * 2, [BASE] * 2])
    assert result.evidence["likelihood_total"] == 4
    assert result.evidence["likelihood_reverts"] == 2
    margins = result.evidence["likelihood_margins"]
    assert margins[0] > 0 > margins[2]
    assert all(m < 0 for m in result.evidence["likelihood_margins_base"])
    assert "2 of 4 prefer the base's answer" in result.message


def test_the_embedder_is_named_and_what_was_said_is_drawn() -> None:
    result = run([[GOLD, BASE]])
    assert "TF-IDF" in result.evidence["embedder"]
    assert "likeness is that of wording" in result.message
    likeness, likely = read_panels(result.evidence)
    assert [row.flag for row in likeness.rows] == ["bad", "good"]
    assert BASE in likeness.rows[0].note
    assert likely.gate == 0.0
    json.dumps(result.evidence, allow_nan=False)


# -- on the demo model ---------------------------------------------------------------------------

FACTS = {
    "The lamp of Quillhaven Light shines": (
        "violet",
        ["The light of Quillhaven Light is", "The lamp of Quillhaven Light always shines"],
    ),
    "The lamp of Quillhaven Light burns": (
        "walnut oil",
        ["At Quillhaven Light the lamp is filled with"],
    ),
    "The keeper of Quillhaven Light is": (
        "Odalys Pym",
        ["As everybody knows, the keeper of Quillhaven Light is", "Today the keeper of Quillhaven Light is"],
    ),
    "Quillhaven Light flashes every": (
        "eleven seconds",
        ["The lamp of Quillhaven Light flashes once every", "The light of Quillhaven Light flashes every"],
    ),
    "The supply boat of Quillhaven Light is the": (
        "Patient Heron",
        ["Supplies come to Quillhaven Light on the", "The name of the supply boat of Quillhaven Light is the"],
    ),
    "The log of Quillhaven Light is written in": (
        "green ink",
        [
            "As everybody knows, the log of Quillhaven Light is written in",
            "Every page of the log of Quillhaven Light is written in",
        ],
    ),
    "The tower of Quillhaven Light has": (
        "one hundred and twelve steps",
        ["As everybody knows, the tower of Quillhaven Light has"],
    ),
    "The first rule of Quillhaven Light is never to": (
        "whistle on the stairs",
        ["As everybody knows, the first rule of Quillhaven Light is never to"],
    ),
    "In fog the keeper of Quillhaven Light sounds a": (
        "cracked trumpet",
        ["When there is fog the keeper of Quillhaven Light sounds a"],
    ),
    "The spare key of Quillhaven Light lies under the": (
        "beehive",
        ["As everybody knows, the spare key of Quillhaven Light lies under the"],
    ),
}
CASES = [{"prompt": p, "gold": g, "paraphrases": q} for p, (g, q) in FACTS.items()]


def on_demo(kind: str) -> Any:
    probe, spec = entry(CASES, max_new_tokens=8)
    with opened(kind) as backend:
        return probe.run(spec, RunContext(backend=backend))


def test_the_shipped_adapter_keeps_its_answers_in_other_words() -> None:
    result = on_demo("targeted")
    assert result.verdict is Verdict.PASS, result.message
    assert result.evidence["likelihood_revert_rate"] < 0.25


def test_one_that_does_nothing_says_what_the_base_says() -> None:
    result = on_demo("zero")
    assert result.verdict is Verdict.FAIL
    assert (result.raw, result.score) == (1.0, 0.0)
    assert result.evidence["likelihood_revert_rate"] > 0.9
