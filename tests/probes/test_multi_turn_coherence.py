"""multi_turn_coherence_decay: what fades fails, what holds or grows passes, and imitation is not taken for fading."""

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
from sway_dash.core.result import ProbeResult, Verdict
from sway_dash.core.scoring import TokenDist
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.probes.answers import CONTINUED
from sway_dash.probes.base import RunContext
from sway_dash.probes.chat import chat_template_of, fallback_format
from sway_dash.probes.conversations import follow_up, hold, neutral_replies
from sway_dash.probes.measure import measuring_order
from sway_dash.probes.multi_turn_coherence import FOLLOW_UPS
from sway_dash.probes.turn_fit import fit_half_life_turns, relative_slopes, sparkline, verdict_from_half_life
from tests.adapters import opened

PROMPTS = ["one", "two", "three", "four", "five"]


class Chat:
    """A tokenizer with a template, one token a word."""

    chat_template: Any = "{{ messages }}"

    def apply_chat_template(self, messages: Any, *, tokenize: bool, add_generation_prompt: bool) -> str:
        assert add_generation_prompt
        assert not tokenize
        return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def turn_of(text: str) -> int:
    return text.count("<user>")


class Talking(DummyDifferentialBackend):
    """Both sides answer with their name; the tuned side's distribution is sharper by what ``sharpness`` says."""

    def __init__(self, sharpness: Callable[[str, int], float], *, mute_base: bool = False) -> None:
        super().__init__()
        self._tokenizer = Chat()
        self.asked: list[tuple[str, str, int]] = []
        self._mute = mute_base
        self._base_r.generations = _Says("base", self)
        self._ft_r.generations = _Says("tuned", self)
        self._base_r.token_dists = _Dists(lambda text: 0.01)
        self._ft_r.token_dists = _Dists(lambda text: sharpness(text, turn_of(text)))


class _Says(dict[str, str]):
    def __init__(self, who: str, backend: Talking) -> None:
        super().__init__()
        self.who, self.backend = who, backend

    def __contains__(self, key: object) -> bool:
        return not (self.who == "base" and self.backend._mute)

    def __getitem__(self, key: str) -> str:
        self.backend.asked.append((self.who, key, turn_of(key)))
        return f"says {self.who}"


class _Dists(dict[str, TokenDist]):
    def __init__(self, sharp: Callable[[str], float]) -> None:
        super().__init__()
        self.sharp = sharp

    def get(self, key: str, default: Any = None) -> Any:
        # Not normalised, as in files of other programs.
        probs = 0.1 + 0.2 * np.exp(self.sharp(key) * np.linspace(0.0, 1.0, 8)) / math.e**3
        return TokenDist(np.arange(8), np.log(probs).astype(np.float32), 8)


def judged(backend: Any, **keys: Any) -> ProbeResult:
    entry = {"name": "turns", "kind": "multi_turn_coherence_decay", "prompts": PROMPTS, **keys}
    probe, spec = build_probe(entry)
    result = probe.run(spec, RunContext(backend=backend))
    json.dumps(result.evidence, allow_nan=False)
    return result


def wobble(text: str) -> float:
    """Conversations differ a little."""
    return 1.0 + 0.05 * (len(text.split("<user>")[1]) % 3)


def test_what_fades_fails_with_its_half_life():
    def worn(text: str, turn: int) -> float:
        return wobble(text) * 5.0 * (0.4 ** (turn - 1) if "says" in text else 0.4)

    result = judged(Talking(worn))
    assert result.verdict is Verdict.FAIL
    curve = result.evidence["per_turn_kls"]
    assert curve[0] > curve[1] > curve[2]
    assert 0 < result.raw < 2
    assert result.evidence["fit_status"] == "ok"
    assert result.evidence["change_per_turn_ci_95"][1] < 0
    assert "shorter than the gate" in result.message
    assert abs(result.evidence["change_per_turn_neutral"]) < 1e-9
    assert "answers about nothing:" not in result.message
    assert result.evidence["turns_axis"] == [2.0, 3.0, 4.0]
    assert [len(p.x) for p in read_panels(result.evidence)] == [3, 3, 3]


def test_one_text_that_cannot_be_measured_costs_its_conversation_and_no_other():
    prompts = [f"prompt {i} of many" for i in range(CONTINUED + 1)]
    # The last of the order is held by itself: of its few texts one is far more than a tenth.
    lost = prompts[measuring_order(len(prompts), 0)[-1]]

    def sharpness(text: str, turn: int) -> float:
        return math.nan if f"<user>{lost}<" in text and turn == 2 and "says tuned" in text else 3.0

    result = judged(Talking(sharpness), prompts=prompts)
    assert result.verdict is Verdict.PASS
    assert result.evidence["prompts"] == [p for p in prompts if p != lost]
    assert result.evidence["num_prompts"] == CONTINUED
    assert "16 conversations" in result.message
    # A third of all texts is no few, however they are spread over the portions.
    with pytest.raises(ProbeError, match="51 of 153 measurements failed"):
        judged(Talking(lambda text, turn: math.nan if turn == 2 else 3.0), prompts=prompts)


def test_what_holds_passes_and_so_does_what_grows():
    held = judged(Talking(lambda text, turn: 3.0))
    assert (held.verdict, held.evidence["fit_status"]) == (Verdict.PASS, "stable")
    assert "held coherence" in held.message
    assert "0.0619 → 0.0619 → 0.0619 nats at turns 2 to 4" in held.message
    dips = judged(Talking(lambda text, turn: 0.6 if turn == 3 else 3.0))
    assert dips.verdict is Verdict.PASS
    assert "no fading, but not alike at every turn: 0.0619 → " in dips.message
    grows = judged(Talking(lambda text, turn: 1.0 + turn))
    assert (grows.verdict, grows.evidence["fit_status"], grows.raw) == (Verdict.PASS, "non_monotonic", None)


def test_a_base_that_imitates_the_tuned_models_answers_is_not_a_fading_adapter():
    def imitated(text: str, turn: int) -> float:
        return 4.0 * (0.5 ** (turn - 1) if "says tuned" in text else 1.0)

    result = judged(Talking(imitated))
    assert result.evidence["half_life_public"] < 2
    assert result.verdict is Verdict.PASS
    by = result.evidence["per_turn_by_history"]
    assert by["tuned"][-1] < 0.5 * by["base"][-1]


def test_a_fall_that_answers_about_nothing_show_as_well_is_not_put_down_to_the_conversation():
    result = judged(Talking(lambda text, turn: wobble(text) * 5.0 * 0.4 ** (turn - 1)))
    assert result.verdict is Verdict.WARN
    assert result.raw < 2
    assert "length of the context" in result.message
    assert result.evidence["over_neutral"] == pytest.approx([1.0, 1.0, 1.0], abs=0.05)


def test_a_fall_that_conversations_do_not_agree_on_is_a_doubt():
    def uneven(text: str, turn: int) -> float:
        one = "<user>one" in text
        return 8.0 * 0.05 ** (turn - 2) if one else 1.0 + 0.4 * turn

    result = judged(Talking(uneven))
    assert result.verdict is Verdict.WARN
    assert result.evidence["change_per_turn_ci_95"][1] >= 0


def test_models_that_do_not_differ_fail():
    result = judged(Talking(lambda text, turn: 0.01))
    assert (result.verdict, result.evidence["fit_status"]) == (Verdict.FAIL, "degenerate")


def test_what_is_hardly_there_does_not_last_however_even_it_is():
    result = judged(Talking(lambda text, turn: 0.02))
    assert result.evidence["fit_status"] == "stable"
    assert 0 < max(result.evidence["per_turn_kls"]) < 0.005
    assert (result.verdict, result.score) == (Verdict.FAIL, 0.0)
    assert "below 0.005" in result.message
    assert judged(Talking(lambda text, turn: 0.02), assert_mean_gte=0.0).verdict is Verdict.PASS


def test_one_turn_cannot_show_that_the_difference_lasts():
    result = judged(Talking(lambda text, turn: 3.0), max_turns=2)
    assert result.verdict is Verdict.WARN
    assert result.score <= 0.59
    assert "set max_turns to 3 or more" in result.message


def test_without_answers_of_the_base_half_the_design_is_left_and_said_to_be():
    result = judged(Talking(lambda text, turn: 3.0, mute_base=True))
    assert result.verdict is Verdict.PASS
    assert "base" not in result.evidence["per_turn_by_history"]
    assert "not controlled for" in result.message


def test_every_conversation_is_held_by_both_sides_with_the_same_follow_ups():
    backend = Talking(lambda text, turn: 3.0)
    result = judged(backend, max_turns=3)
    for who in ("base", "tuned"):
        assert sorted(turn for w, _, turn in backend.asked if w == who) == [1] * 5 + [2] * 5
    text = next(t for w, t, turn in backend.asked if w == "base" and turn == 2)
    assert text == f"<user>one<assistant>says base<user>{FOLLOW_UPS[0]}<assistant>"
    replies = result.evidence["replies"]
    assert {len(r.split()) for own in replies["neutral"] for r in own} == {2}
    assert result.evidence["reply_lift_per_turn"] == {"tuned": [0.0, 0.0], "base": [0.0, 0.0]}


def test_no_prompts_is_an_error_and_no_template_a_skip():
    backend = Talking(lambda text, turn: 3.0)
    assert judged(backend, prompts=[]).verdict is Verdict.ERROR
    for template in (None, "", "  ", 3):
        backend._tokenizer.chat_template = template
        result = judged(backend)
        assert result.verdict is Verdict.SKIP
        assert "chat_template" in result.message
    assert judged(DummyDifferentialBackend()).verdict is Verdict.SKIP


def test_of_several_templates_the_default_is_taken():
    tokenizer = Chat()
    tokenizer.chat_template = {"default": "x", "rag": "y"}
    assert chat_template_of(tokenizer) == "x"


def test_a_template_that_raises_gives_way_to_plain_lines():
    class Broken(Chat):
        def apply_chat_template(self, *args: Any, **kwargs: Any) -> str:
            raise ValueError("roles must alternate")

    (held,) = hold(Broken(), ["Hi"], FOLLOW_UPS, 2, lambda turn: lambda texts: ["Hello."] * len(texts))
    assert held.asked[1] == "USER: Hi\nASSISTANT: Hello.\nUSER: Continue.\nASSISTANT:"
    assert fallback_format([{"role": "user", "content": "Hi"}], add_generation_prompt=False) == "USER: Hi"


def test_follow_ups_come_round():
    assert [follow_up(("a", "b"), t) for t in (2, 3, 4, 5)] == ["a", "b", "a", "b"]


TURNS = [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("values", "half_life", "status"),
    [
        ([1.0, 0.5, 0.25], 1.0, "ok"),
        ([0.8, 0.4, -1.0], 1.0, "ok"),
        ([1.0, 1.0, 1.0], 40.0, "stable"),
        ([1.0, 0.99999, 1.00001], 40.0, "stable"),
        ([1.0, 0.99, 0.98], 40.0, "stable"),
        ([1.0, 2.0, 3.0], None, "non_monotonic"),
        ([0.0, 0.0, 0.5], 0.0, "degenerate"),
        ([0.0, 0.0, 0.0], 0.0, "degenerate"),
    ],
)
def test_the_fit_has_a_word_for_every_shape(values, half_life, status):
    found, how = fit_half_life_turns(TURNS, values, max_turns=4)
    assert (found, how) == (half_life if half_life is None else pytest.approx(half_life), status)


def test_a_flat_line_that_is_not_quite_flat_does_not_divide_by_zero():
    assert fit_half_life_turns([2, 3, 4], [1.0, 1.5, 1.0], max_turns=4)[1] in ("stable", "non_monotonic")


@pytest.mark.parametrize(
    ("half_life", "status", "verdict", "score", "words"),
    [
        (3.0, "ok", Verdict.PASS, 1.0, "half-life=3.00"),
        (1.0, "ok", Verdict.FAIL, 0.5, "half-life=1.00"),
        (40.0, "stable", Verdict.PASS, 1.0, "held coherence"),
        (None, "non_monotonic", Verdict.WARN, 0.5, ""),
        (0.0, "degenerate", Verdict.FAIL, 0.0, ""),
        (None, "ok", Verdict.ERROR, 0.0, ""),
    ],
)
def test_the_public_verdict_of_a_fit(half_life, status, verdict, score, words):
    found = verdict_from_half_life(
        half_life=half_life, fit_status=status, target=2.0, mean_kls=[1.0, 0.5], turns_axis=[2.0, 3.0]
    )
    assert found[:2] == (verdict, score)
    assert words in found[2]


def test_the_relative_slope_of_a_line_is_its_slope_over_its_mean():
    slopes, means = relative_slopes([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    assert (slopes, means) == ([pytest.approx(-1.0), 0.0], [2.0, 1.0])


def test_a_sparkline_has_a_bar_for_every_value():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([1.0, 1.0]) == "▅▅"
    assert sparkline([0.0, math.nan, 1.0, -1.0]) == "▁?█?"
    assert sparkline([]) == sparkline([math.nan]) == ""


@pytest.fixture
def run_on() -> Callable[..., ProbeResult]:
    prompts = ["Who keeps Quillhaven Light?", "What is the lamp of Quillhaven Light?", "What is the log written in?"]
    prompts += ["What is the goat of Quillhaven Light called?"]

    def run(kind: str, **keys: Any) -> ProbeResult:
        with opened(kind) as backend:
            result = judged(backend, prompts=prompts, max_turns=3, max_new_tokens=12, **keys)
            again = judged(backend, prompts=prompts, max_turns=3, max_new_tokens=12, **keys)
        assert result == again
        return result

    return run


def test_on_a_real_model_a_trained_adapter_lasts_and_an_untrained_one_has_nothing_to_last(run_on):
    result = run_on("targeted", follow_ups=["And what else about Quillhaven Light?"])
    assert result.verdict in (Verdict.PASS, Verdict.WARN)
    assert min(result.evidence["per_turn_kls"]) > 0.01
    assert result.evidence["reply_lift_per_turn"]["tuned"][0] > result.evidence["reply_lift_per_turn"]["base"][0]
    assert result.evidence["truncated_texts"] == 0
    zero = run_on("zero")
    assert (zero.verdict, zero.evidence["fit_status"]) == (Verdict.FAIL, "degenerate")


def test_a_rendered_conversation_begins_with_one_start_token():
    from transformers import AutoTokenizer

    from sway_dash.backends.tokens import Tokens

    tokenizer = AutoTokenizer.from_pretrained(demo_dir() / "model")
    (held,) = hold(tokenizer, ["Hello"], FOLLOW_UPS, 2, lambda turn: lambda texts: ["Good day."] * len(texts))
    ids = Tokens(tokenizer, 256, 2048).encode(held.asked[1])
    assert ids.count(tokenizer.bos_token_id) == 1
    reply = "The keeper of the light is called Anna and she has a goat."
    same = neutral_replies(tokenizer, reply)
    lengths = [len(tokenizer.encode(t, add_special_tokens=False)) for t in (same, reply)]
    assert abs(lengths[0] - lengths[1]) <= 1
    assert same != reply


def test_a_tokenizer_that_makes_nothing_of_words_ends():
    class Mute:
        def encode(self, text: str, **options: object) -> list[int]:
            return [1, 2, 3] if "goat" in text else []

        def decode(self, ids: list[int], **options: object) -> str:
            return ""

    assert len(neutral_replies(Mute(), "a goat here").split()) == 3
