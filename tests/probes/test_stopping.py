"""Stopping once the mean is decided: how much is measured, what is said, and that stored measurements say the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sway_dash.core.divergence import LN2
from sway_dash.core.errors import ProbeError, SpecValidationError
from sway_dash.core.events import Measurement
from sway_dash.core.result import Verdict
from sway_dash.probes import build_probe
from sway_dash.probes.base import Prompt, RunContext
from sway_dash.probes.measure import measuring_order
from sway_dash.probes.stopping import PORTION, decide, measure_until_decided
from tests.fakes_cli import Exact

GATE = 0.02
PROMPTS = [Prompt(text=f"p{i}") for i in range(200)]


def row(item: int, js: float, text: str = "") -> Measurement:
    return Measurement(probe="p", item=item, prompt=text or f"p{item}", js=js, kl=js, kl_reverse=js, same_top=1.0)


def divergences(mean: float, seed: int = 0) -> list[float]:
    return np.minimum(np.random.default_rng(seed).exponential(mean, 200), LN2).tolist()


def until_decided(values: list[float], gate: float = GATE, seed: int = 0) -> list[Measurement]:
    return measure_until_decided("p", PROMPTS, gate, seed, lambda items: [row(i, values[i]) for i in items])


def test_a_clear_change_is_decided_long_before_the_last_prompt():
    found = until_decided(divergences(0.2))
    assert len(found) <= 3 * PORTION
    told = decide(PROMPTS, found, GATE, 0)
    assert (told.side, told.measured, told.planned, told.failed) == ("above", len(found), 200, 0)
    assert told.ci[0] > GATE
    assert "lies above the gate" in told.reason


def test_no_change_is_decided_too():
    found = until_decided([0.0] * 200, gate=0.1)
    assert len(found) < 200
    assert decide(PROMPTS, found, 0.1, 0).side == "below"


def test_a_mean_at_its_gate_is_measured_to_the_end():
    values = divergences(0.1)
    found = until_decided(values, gate=float(np.mean(values)))
    assert len(found) == 200
    told = decide(PROMPTS, found, float(np.mean(values)), 0)
    assert told.side is None
    assert "not decided" in told.reason


def test_prompts_come_in_the_order_of_the_seed_and_results_in_that_of_the_suite():
    asked: list[int] = []

    def measure(items: Any) -> list[Measurement]:
        asked.extend(items)
        return [row(i, 0.3) for i in items]

    found = measure_until_decided("p", PROMPTS, GATE, 7, measure)
    assert asked == measuring_order(200, 7)[: len(asked)]
    assert asked != sorted(asked)
    assert [m.item for m in found] == sorted(asked)


def test_the_wrong_side_is_rarely_decided():
    # The mean is just below the gate: "above" would be wrong, however often it is asked.
    wrong = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        values = np.minimum(rng.exponential(0.1, 200), LN2).tolist()
        wrong += decide(PROMPTS, until_decided(values, 0.1, seed), 0.1, seed).side == "above"
    assert wrong <= 5


def test_prompts_that_cannot_be_measured_are_counted_and_too_many_are_an_error():
    values = divergences(0.2)
    order = measuring_order(200, 0)
    found = measure_until_decided(
        "p", PROMPTS, GATE, 0, lambda items: [row(i, values[i]) for i in items if i != order[3]]
    )
    assert decide(PROMPTS, found, GATE, 0).failed == 1
    with pytest.raises(ProbeError, match="could not be measured"):
        measure_until_decided("p", PROMPTS, GATE, 0, lambda items: [])


def test_a_text_that_is_listed_many_times_is_one_item():
    prompts = [Prompt(text="same")] * 200
    found = [row(i, 0.5, "same") for i in range(200)]
    assert decide(prompts, found, GATE, 0).side is None


# --- delta_kl -------------------------------------------------------------------------------------------------------


def probe(**keys: Any) -> Any:
    entry = {"name": "moved", "kind": "delta_kl", "prompts": [f"p{i}" for i in range(200)], "stop_when_decided": True}
    return build_probe({**entry, **keys})


def test_delta_kl_stops_and_says_how_many_prompts_it_took():
    cls, spec = probe()
    emitted: list[Any] = []
    result = cls.run(spec, RunContext(backend=Exact(), emit=emitted.append))
    stopping = result.evidence["stopping"]
    assert result.verdict is Verdict.PASS
    assert stopping["side"] == "above"
    assert stopping["measured"] == len(emitted) < 200
    assert f"{stopping['measured']} of 200 prompts measured, decided" in result.message
    assert list(result.ci_95) == stopping["interval"]
    assert "every look" in result.evidence["ci_note"]
    assert result.evidence["unmeasured_prompts"] == 0


def test_stopping_early_says_that_the_random_adapters_are_over_all_prompts():
    cls, spec = probe()
    draws = {"moved": {"rank_1.00": [0.010, 0.011, 0.012]}}
    early = cls.run(spec, RunContext(backend=Exact(), null_draws=draws))
    assert early.evidence["stopping"]["measured"] < 200
    assert early.evidence["null_note"] == "the random adapters' means are over all 200 prompts"
    assert early.evidence["null_note"] in early.message
    cls, spec = probe(stop_when_decided=False)
    assert "null_note" not in cls.run(spec, RunContext(backend=Exact(), null_draws=draws)).evidence


def test_a_stored_run_is_judged_the_same_again():
    cls, spec = probe()
    emitted: list[Any] = []
    result = cls.run(spec, RunContext(backend=Exact(), emit=emitted.append))
    again = cls.judge(spec, RunContext(), sorted(emitted, key=lambda m: m.item))
    assert again == result


def test_without_the_option_every_prompt_is_measured():
    cls, spec = probe(stop_when_decided=False)
    result = cls.run(spec, RunContext(backend=Exact()))
    assert result.evidence["num_prompts"] == 200
    assert "stopping" not in result.evidence


def test_a_divergence_without_a_bound_is_refused_with_the_reason():
    with pytest.raises(SpecValidationError, match="stop_when_decided needs divergence: js"):
        probe(divergence="kl")
