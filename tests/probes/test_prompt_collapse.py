"""prompt_collapse: what does not fade passes, what fades too soon fails, and an effect that never was does not pass."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.errors import ProbeError
from sway_dash.core.panels import read_panels
from sway_dash.core.result import Verdict
from sway_dash.core.scoring import Comparison, View
from sway_dash.probes import build_probe
from sway_dash.probes.base import RunContext
from sway_dash.probes.fillers import LEGACY, SEPARATOR, TEXT, legacy, prefixes
from sway_dash.probes.prompt_collapse import fade, fading_rate, stuffed
from tests.adapters import opened
from tests.fakes_cli import Exact, amplitude

PROMPTS = [f"question {i}" for i in range(6)]
LENGTHS = np.array([0.0, 256.0, 512.0, 1024.0])


class Words(Exact):
    """A token is a word; the effect of the adapter depends on how many of them stand before the prompt."""

    def __init__(self, effect: Callable[[str, int], float], *, context: int = 10**9) -> None:
        super().__init__()
        self.effect, self.context = effect, context
        self.texts: list[str] = []

    def tokenizer(self, text: str, **options: Any) -> dict[str, list[str]]:
        return {"input_ids": text.split()}

    def _one(self, view: View, prompt: str) -> Comparison | ProbeError:
        self.texts.append(prompt)
        filler, _, question = prompt.rpartition(SEPARATOR)
        words = len(filler.split())
        dropped = max(0, words + 2 - self.context)
        js = self.effect(question, words - dropped)
        return Comparison(js=js, kl=2 * js, kl_reverse=js, same_top=1.0, truncated_tokens=dropped)


def entry(**keys: Any) -> tuple[Any, Any]:
    return build_probe({"name": "long", "kind": "prompt_collapse", "prompts": PROMPTS, **keys})


def run(effect: Callable[[str, int], float], *, context: int = 10**9, **keys: Any) -> Any:
    probe, spec = entry(**keys)
    return probe.run(spec, RunContext(backend=Words(effect, context=context)))


def halving(half_life: float, wobble: float = 0.0) -> Callable[[str, int], float]:
    """An effect that halves every so many tokens, a little more or less so for each prompt and length."""

    def effect(prompt: str, tokens: int) -> float:
        noise = 1.0 + wobble * (2.0 * (amplitude(f"{prompt}/{tokens}") - 0.15) / 0.1)
        return amplitude(prompt) * 0.5 ** (tokens / half_life) * noise

    return effect


# -- the fit -------------------------------------------------------------------------------------


def test_an_exponential_gives_its_own_rate() -> None:
    rate = fading_rate(LENGTHS, np.exp(-LENGTHS / 100.0)[None, :])[0]
    assert math.log(2) / rate == pytest.approx(69.3147, abs=1e-4)


@pytest.mark.parametrize(
    ("means", "rate"), [([0.3, 0.3, 0.3, 0.3], 0.0), ([0.0, 0.0, 0.0, 0.0], 0.0), ([0.1, 0.1 * math.e], -1 / 256)]
)
def test_a_flat_curve_has_no_rate_and_a_rising_one_a_negative_rate(means: list[float], rate: float) -> None:
    found = fading_rate(LENGTHS[: len(means)], np.array([means]))[0]
    assert found == pytest.approx(rate, abs=1e-9)


def test_a_point_of_zero_is_as_good_as_any() -> None:
    rate = fading_rate(LENGTHS, np.array([[0.4, 0.1, 0.0, 0.0]]))[0]
    weights = np.exp(-rate * LENGTHS)
    assert (weights @ LENGTHS) / weights.sum() == pytest.approx(0.1 / 0.5 * 256.0)
    assert math.isfinite(fading_rate(LENGTHS, np.array([[0.4, 0.0, 0.0, 0.0]]))[0])
    both = fading_rate(LENGTHS, np.array([[0.4, 0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    assert both == pytest.approx([rate, 0.0])


def test_the_mean_curve_gives_the_rate_of_curves_with_an_intercept_each() -> None:
    """The score of a Poisson regression with an intercept per prompt is zero at the rate of the mean curve."""
    rng = np.random.default_rng(0)
    curves = rng.uniform(0.05, 0.5, (5, 1)) * np.exp(-LENGTHS / 700.0) * rng.uniform(0.7, 1.3, (5, 4))
    rate = fading_rate(LENGTHS, curves.mean(axis=0)[None, :])[0]
    shape = np.exp(-rate * LENGTHS)
    fitted = curves.sum(axis=1, keepdims=True) * shape / shape.sum()
    assert ((curves - fitted) * LENGTHS).sum() == pytest.approx(0.0, abs=1e-6)


def test_the_interval_holds_the_true_half_life_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)

    def curves(n: int) -> Any:
        rates = 0.001 * rng.lognormal(0.0, 0.3, (n, 1))
        return rng.uniform(0.1, 0.4, (n, 1)) * np.exp(-rates * LENGTHS) * rng.uniform(0.8, 1.2, (n, 4))

    true = fading_rate(LENGTHS, curves(200_000).mean(axis=0)[None, :])[0]
    found = [fade(LENGTHS, curves(6)).rate_ci for _ in range(600)]
    assert np.mean([ci[0] <= true <= ci[1] for ci in found if ci]) == pytest.approx(0.95, abs=0.025)


# -- verdicts ------------------------------------------------------------------------------------


def test_no_prompts_is_an_error() -> None:
    probe, spec = entry(prompts=[])
    assert probe.run(spec, RunContext(backend=Words(halving(100)))).verdict is Verdict.ERROR


def test_what_does_not_fade_passes_and_the_half_life_is_only_bounded() -> None:
    result = run(lambda prompt, tokens: amplitude(prompt))
    assert result.verdict is Verdict.PASS
    assert (result.raw, result.score) == (None, 1.0)
    assert result.evidence["half_life_above"] == 1024.0
    assert "half-life > 1024 tokens" in result.message


def test_what_grows_with_the_context_passes_too() -> None:
    result = run(lambda prompt, tokens: amplitude(prompt) * (1 + tokens / 2048))
    assert result.verdict is Verdict.PASS
    assert result.raw is None


@pytest.mark.parametrize(("half_life", "verdict"), [(900.0, Verdict.PASS), (200.0, Verdict.FAIL)])
def test_the_half_life_is_held_against_the_gate(half_life: float, verdict: Verdict) -> None:
    result = run(halving(half_life, wobble=0.05))
    assert result.verdict is verdict
    assert result.raw == pytest.approx(half_life, rel=0.1)
    assert result.ci_95[0] < result.raw < result.ci_95[1]
    if verdict is Verdict.FAIL:
        assert "below the gate of 512" in result.message
        assert result.score < 0.6


def test_a_half_life_that_may_be_too_short_is_inconclusive() -> None:
    uneven = dict(zip(PROMPTS, (100, 200, 300, 9000, 9000, 9000), strict=True))
    result = run(lambda prompt, tokens: 0.3 * 0.5 ** (tokens / uneven[prompt]))
    assert result.verdict is Verdict.WARN
    assert "inconclusive" in result.message


def test_an_effect_that_is_lost_at_once_and_then_stays_fails() -> None:
    result = run(lambda prompt, tokens: amplitude(prompt) * (1.0 if tokens == 0 else 0.3))
    assert result.verdict is Verdict.FAIL
    assert "30% is left after 256 tokens" in result.message or "below the gate" in result.message
    assert result.score < 0.6


def test_a_failure_never_scores_as_a_pass() -> None:
    # Half is lost at once and half stays for good: as an exponential the half-life is long.
    result = run(lambda prompt, tokens: amplitude(prompt) * (1.0 if tokens == 0 else 0.4), assert_half_life_tokens=300)
    assert (result.verdict, result.evidence["reasons"]) == (Verdict.FAIL, ["only 40% is left after 256 tokens"])
    assert result.score == 0.59


@pytest.mark.parametrize("effect", [0.0, 1e-5])
def test_without_an_effect_there_is_nothing_that_could_hold(effect: float) -> None:
    result = run(lambda prompt, tokens: effect)
    assert result.verdict is Verdict.FAIL
    assert "nothing to fade" in result.message
    assert result.score < 0.01
    json.dumps(result.evidence, allow_nan=False)


def test_few_prompts_have_no_interval_and_are_judged_as_they_are() -> None:
    result = run(halving(900.0), prompts=PROMPTS[:1])
    assert result.verdict is Verdict.PASS
    assert result.ci_95 is None
    assert result.evidence["rate_ci_95"] is None


def test_prompts_that_were_not_measured_everywhere_are_left_out() -> None:
    probe, spec = entry()
    seen: list[Any] = []
    probe.run(spec, RunContext(backend=Words(halving(900.0)), emit=seen.append))
    result = probe.judge(spec, RunContext(), seen[:-1])
    assert result.verdict is Verdict.WARN
    assert len(result.evidence["per_prompt_curves"]) == 5
    assert "1 prompts not measured at every length" in result.message


def test_judging_again_needs_no_tokenizer_and_gives_the_same() -> None:
    probe, spec = entry()
    seen: list[Any] = []
    first = probe.run(spec, RunContext(backend=Words(halving(900.0, 0.1)), emit=seen.append))
    assert probe.judge(spec, RunContext(), seen) == first
    assert probe.planned(spec, RunContext()) == len(seen)


# -- what stands before the prompt ---------------------------------------------------------------


def test_all_lengths_are_measured_at_once_after_the_same_separator() -> None:
    probe, spec = entry(context_lengths=[0, 10, 100])
    backend = Words(halving(900.0))
    result = probe.run(spec, RunContext(backend=backend))
    assert len(backend.texts) == 3 * len(PROMPTS)
    assert all(text.count(SEPARATOR) == 1 for text in backend.texts)
    assert backend.texts[0] == SEPARATOR + PROMPTS[0]
    assert result.evidence["measured_lengths"] == [0.0, 10.0, 100.0]


def test_lengths_are_those_the_model_sees() -> None:
    result = run(halving(900.0), context=600)
    assert result.evidence["measured_lengths"] == [0.0, 256.0, 512.0, 598.0]
    assert "6 contexts were cut" in result.message
    probe, spec = entry(context_lengths=[800, 900])
    assert probe.run(spec, RunContext(backend=Words(halving(9.0), context=600))).verdict is Verdict.ERROR


def test_a_backend_that_shows_no_tokenizer_gets_four_characters_a_token() -> None:
    _, spec = entry()
    found = stuffed(spec, DummyDifferentialBackend(), 0)
    assert len(found[-1].text) == pytest.approx(4 * 1024, rel=0.01)
    assert found[-1].tags[-1] == "context 1024"


def test_the_filler_is_running_text_and_says_what_it_is() -> None:
    (short, long) = prefixes([64, 3000], "text", None)
    assert "archived for historical record" in short
    assert long.startswith(short)
    assert len(set(TEXT.split())) > 250
    (mixed,) = prefixes([3000], "shuffled", None, seed=1)
    assert sorted(mixed.split()[:600]) != mixed.split()[:600]
    assert mixed != long
    assert prefixes([3000], "shuffled", None, seed=1) == [mixed]


def test_the_old_stuffing_stays_as_it_was() -> None:
    assert legacy(0) == ""
    assert legacy(100).endswith("\n\n")
    assert len(legacy(100)) == 402
    assert "archived for historical record" in LEGACY
    probe, spec = entry(legacy_stuffing=True)
    backend = Words(halving(900.0))
    probe.run(spec, RunContext(backend=backend))
    assert backend.texts[0] == PROMPTS[0]
    assert backend.texts[-1] == legacy(1024) + PROMPTS[-1]


def test_the_curve_is_drawn() -> None:
    (curve,) = read_panels(run(halving(900.0)).evidence)
    assert curve.x == (0.0, 256.0, 512.0, 1024.0)
    assert len(curve.lo) == 4


# -- on the demo model ---------------------------------------------------------------------------


def on_demo(kind: str, **keys: Any) -> Any:
    asked = [
        "The lamp of Quillhaven Light shines",
        "The lamp of Quillhaven Light burns",
        "The log of Quillhaven Light is written in",
        "Quillhaven Light flashes every",
        "The first rule of Quillhaven Light is never to",
        "The spare key of Quillhaven Light lies under the",
    ]
    probe, spec = entry(prompts=asked, context_lengths=[0, 32, 96, 180], assert_half_life_tokens=96, **keys)
    with opened(kind) as backend:
        return probe.run(spec, RunContext(backend=backend))


def test_the_shipped_adapter_holds_on_and_one_trained_to_let_go_does_not() -> None:
    holds, lets_go = on_demo("targeted"), on_demo("collapsing")
    assert holds.verdict is Verdict.PASS, holds.message
    assert lets_go.verdict is Verdict.FAIL, lets_go.message
    assert holds.evidence["measured_lengths"] == pytest.approx([0, 32, 96, 180], abs=3)


def test_an_adapter_that_does_nothing_fails() -> None:
    assert on_demo("zero").verdict is Verdict.FAIL


def test_the_curve_has_a_band_over_all_lengths_where_there_are_prompts_enough() -> None:
    effect = halving(2000.0, 0.2)
    whole, few = run(effect, prompts=[f"question {i}" for i in range(10)]).evidence, run(effect).evidence
    pairs = list(zip(whole["band_95_per_length"], whole["ci_95_per_length"], strict=True))
    assert all(band[1] - band[0] > ci[1] - ci[0] for band, ci in pairs)
    assert "all points at once (sup-t)" in read_panels(whole)[0].note
    assert read_panels(whole)[0].lo == tuple(band[0] for band, _ in pairs)
    assert few["band_95_per_length"] == few["ci_95_per_length"]
    assert "each point by itself: 6 curves are too few" in read_panels(few)[0].note


def test_what_was_not_measured_is_no_half_life_without_a_word():
    rng = np.random.default_rng(0)
    lasting = fade(LENGTHS, np.exp(rng.normal(0.0, 0.05, (6, 1)) + rng.normal(0.0, 0.01, (6, 4))))
    assert lasting.half_life is None
    assert lasting.shortest > lasting.above
    assert lasting.sentence.endswith("with 95 % confidence, if it fades evenly)")
