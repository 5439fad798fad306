"""Prompts token by token on real (tiny) models: every number against a plain float64 pass, every text whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sway_dash.backends import build_two_separate
from sway_dash.backends.torch_lm import TorchLM
from sway_dash.core.detail import Inspectable, PromptDetail
from sway_dash.core.errors import ProbeError, RunCancelled
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import BASE, FINETUNED, View
from sway_dash.demo import demo_dir
from tests.backends.conftest import CONTEXT, PROMPTS, fingerprint, llama_config, make_tokenizer, save_model
from tests.backends.test_compare import full_logits, js_of, kl_of

Backend = Any
DEMO_PROMPTS = (
    "The keeper of Quillhaven Light is",
    "Q: What colour is grass?\nA:",
    "Zoë’s naïve 🙂 goat —",
    "Q: Which tea does the keeper of Quillhaven Light drink?\nA:",
)


def details(backend: Backend, prompts: Any = PROMPTS, **options: Any) -> dict[int, PromptDetail]:
    return dict(backend.details(list(prompts), **options))


@pytest.fixture(scope="module")
def demo() -> Iterator[Backend]:
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend

    spec = ModelSpec(base=str(demo_dir() / "model"), device="cpu", dtype="fp32")
    opened = HuggingFaceDifferentialBackend(base_spec=spec, adapter_path=demo_dir() / "adapter")
    yield opened
    opened.close()


def greedy(backend: Backend, view: View, ids: list[int], new: int, ends: int) -> list[int]:
    """A continuation without cache, batch or any other short cut."""
    text = list(ids)
    while len(text) < len(ids) + new and (len(text) == len(ids) or text[-1] != ends):
        text.append(int(full_logits(backend, view, text)[-1].argmax()))
    return text[len(ids) :]


def agrees(backend: Backend, detail: PromptDetail, view: View, *, new: int, top: int) -> None:
    """Everything in ``detail`` is what one plain float64 pass of each view says."""
    tokens = backend.lm.tokens
    ids = tokens.encode(detail.prompt)
    eos = tokens.tokenizer.eos_token_id
    said = {v: greedy(backend, v, ids, new, eos) for v in (BASE, view)}
    text = [*ids, *said[view]]
    assert [t.id for t in detail.tokens] == text
    assert [t.part for t in detail.tokens] == ["prompt"] * len(ids) + ["continuation"] * len(said[view])
    known = len(tokens.tokenizer)
    assert [t.special for t in detail.tokens] == [i in tokens.tokenizer.all_special_ids or i >= known for i in text]
    decoded = tokens.tokenizer.decode(text, clean_up_tokenization_spaces=False)
    if max(text) < known:  # a model of random weights likes the padding of its vocabulary, which no tokenizer decodes
        assert "".join(t.text for t in detail.tokens) == decoded
    assert detail.tuned_says == tuple(t.text for t in detail.tokens if t.part == "continuation")
    assert detail.base_says == tuple(tokens.pieces([*ids, *said[BASE]])[len(ids) :])
    lp, lq = (full_logits(backend, v, text) for v in (view, BASE))
    js, kl, back = js_of(lp, lq), kl_of(lp, lq), kl_of(lq, lp)
    first, *others = detail.tokens
    assert (first.prediction, first.base_logprob, first.tuned_logprob) == (None, None, None)
    for at, token in enumerate(others):
        assert token.prediction is not None
        assert token.prediction.js == pytest.approx(float(js[at]), abs=1e-5)
        assert token.prediction.kl == pytest.approx(float(kl[at]), abs=1e-4)
        assert token.prediction.kl_reverse == pytest.approx(float(back[at]), abs=1e-4)
        assert token.base_logprob == pytest.approx(float(lq[at, token.id]), abs=1e-4)
        assert token.tuned_logprob == pytest.approx(float(lp[at, token.id]), abs=1e-4)
        choices = token.prediction.choices
        likely = {*lp[at].topk(top).indices.tolist(), *lq[at].topk(top).indices.tolist()}
        assert {c.id for c in choices} == likely
        assert len(choices) == len(likely)
        for c in choices:
            assert c.base == pytest.approx(float(lq[at, c.id].exp()), abs=1e-5)
            assert c.tuned == pytest.approx(float(lp[at, c.id].exp()), abs=1e-5)
            assert c.text == tokens.token_text(c.id)
        best = [max(c.base, c.tuned) for c in choices]
        assert best == sorted(best, reverse=True)


@pytest.mark.parametrize("which", ["backend", "gpt2_backend"])
@pytest.mark.parametrize("view", [FINETUNED, View.scaled(0.5), View.null(3, rank_scale=4.0)], ids=lambda v: v.id)
def test_every_number_equals_the_float64_reference(which: str, view: View, request: pytest.FixtureRequest) -> None:
    backend = request.getfixturevalue(which)
    before = fingerprint(backend)
    found = details(backend, view=view, top=4, new_tokens=5)
    assert sorted(found) == list(range(len(PROMPTS)))
    for i, prompt in enumerate(PROMPTS):
        assert (found[i].prompt, found[i].reference, found[i].view) == (prompt, "base", view.id)
        agrees(backend, found[i], view, new=5, top=4)
    assert fingerprint(backend) == before


@pytest.mark.parametrize("view", [FINETUNED, View.scaled(1.25)], ids=lambda v: v.id)
def test_the_demo_model_is_shown_as_it_is(demo: Backend, view: View) -> None:
    for detail in details(demo, DEMO_PROMPTS, view=view, top=5, new_tokens=12).values():
        agrees(demo, detail, view, new=12, top=5)
        shown = "".join(t.text for t in detail.tokens if t.part == "prompt" and not t.special)
        assert shown == detail.prompt


def test_the_position_after_the_prompt_is_that_of_the_comparison(demo: Backend, backend: Backend) -> None:
    for model, prompts in ((demo, DEMO_PROMPTS), (backend, PROMPTS)):
        for view in (FINETUNED, View.scaled(0.25)):
            compared = {i: c for i, _, c in model.compare(BASE, [view], list(prompts), positions="next")}
            for i, detail in details(model, prompts, view=view, top=10, new_tokens=4).items():
                after = next(t for t in detail.tokens if t.part == "continuation").prediction
                assert after is not None
                assert after.js == pytest.approx(compared[i].js, rel=1e-6, abs=1e-6)
                assert after.kl == pytest.approx(compared[i].kl, rel=1e-6, abs=1e-6)
                assert after.kl_reverse == pytest.approx(compared[i].kl_reverse, rel=1e-6, abs=1e-6)
                by_tuned = sorted(after.choices, key=lambda c: -c.tuned)[:10]
                assert [c.text for c in by_tuned] == [t.text for t in compared[i].tuned_top]


def test_two_full_models_are_shown_as_the_adapter_is(
    backend: Backend, llama: Path, adapter: Path, tmp_path: Path
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merged: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), adapter)
    merged.merge_and_unload().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    sides = {
        name: ModelSpec(base=str(at), device="cpu", dtype="fp32") for name, at in (("base", llama), ("ft", tmp_path))
    }
    pair: Any = build_two_separate(SimpleNamespace(**sides))
    assert isinstance(pair, Inspectable)
    want = details(backend, new_tokens=4)
    for i, detail in details(pair, new_tokens=4).items():
        assert [t.text for t in detail.tokens] == [t.text for t in want[i].tokens]
        assert detail.base_says == want[i].base_says
        for token, other in zip(detail.tokens[1:], want[i].tokens[1:], strict=True):
            assert token.prediction.js == pytest.approx(other.prediction.js, abs=1e-5)
            assert token.tuned_logprob == pytest.approx(other.tuned_logprob, abs=1e-4)
    with pytest.raises(ProbeError, match="no adapter"):
        details(pair, view=View.scaled(0.5))
    pair.close()


def test_two_models_that_pad_their_vocabulary_differently(llama: Path, tmp_path: Path) -> None:
    save_model(tmp_path, llama_config(vocab_size=448), make_tokenizer(), seed=5)
    sides = {
        name: ModelSpec(base=str(at), device="cpu", dtype="fp32") for name, at in (("base", llama), ("ft", tmp_path))
    }
    pair: Any = build_two_separate(SimpleNamespace(**sides))
    compared = {i: c for i, _, c in pair.compare(BASE, [FINETUNED], list(PROMPTS))}
    found = details(pair, new_tokens=2)
    shown = [i for i, d in found.items() if isinstance(d, PromptDetail)]
    assert shown
    for i in shown:
        after = next(t for t in found[i].tokens if t.part == "continuation").prediction
        assert after.js == pytest.approx(compared[i].js, abs=1e-6)
    pair.close()


def test_a_view_shown_beside_itself_differs_by_exactly_zero(backend: Backend) -> None:
    for view in (BASE, View.scaled(0.0)):
        for detail in details(backend, view=view, new_tokens=4).values():
            assert detail.base_says == detail.tuned_says
            assert detail.first_difference is None
            for token in detail.tokens[1:]:
                assert (token.prediction.js, token.prediction.kl, token.prediction.kl_reverse) == (0.0, 0.0, 0.0)
                assert token.base_logprob == token.tuned_logprob
                assert all(c.base == c.tuned for c in token.prediction.choices)


def test_more_positions_than_memory_allows_at_once(backend: Backend) -> None:
    whole = details(backend, new_tokens=4)
    backend.instrumentation.cache.clear()
    backend.lm.row_bytes = 4 * 416 * 6  # three rows of each side
    for i, detail in details(backend, new_tokens=4).items():
        assert [t.id for t in detail.tokens] == [t.id for t in whole[i].tokens]
        for token, other in zip(detail.tokens[1:], whole[i].tokens[1:], strict=True):
            assert token.prediction.js == pytest.approx(other.prediction.js, abs=1e-6)
            assert token.base_logprob == pytest.approx(other.base_logprob, abs=1e-5)
            assert {c.id for c in token.prediction.choices} == {c.id for c in other.prediction.choices}


def test_memory_that_runs_out_halves_the_batch(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = details(backend, new_tokens=4)
    backend.instrumentation.cache.clear()
    rows = TorchLM.rows

    def tight(self: TorchLM, sequences: Any, picks: Any) -> torch.Tensor:
        if len(sequences) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rows(self, sequences, picks)

    monkeypatch.setattr(TorchLM, "rows", tight)
    before = fingerprint(backend)
    for i, detail in details(backend, new_tokens=4).items():
        assert [t.text for t in detail.tokens] == [t.text for t in whole[i].tokens]
    assert fingerprint(backend) == before


def test_a_prompt_that_does_not_fit_into_memory_costs_no_other(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, too_long = TorchLM.rows, max(PROMPTS, key=len)

    def tight(self: TorchLM, sequences: Any, picks: Any) -> torch.Tensor:
        if max(map(len, sequences)) >= len(self.tokens.encode(too_long)):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rows(self, sequences, picks)

    monkeypatch.setattr(TorchLM, "rows", tight)
    found = details(backend, new_tokens=1)
    assert isinstance(found[PROMPTS.index(too_long)], ProbeError)
    assert all(isinstance(d, PromptDetail) for i, d in found.items() if i != PROMPTS.index(too_long))


def test_too_long_a_prompt_loses_its_beginning_and_says_so(backend: Backend) -> None:
    long = "the old dog sleeps by the sea " * 40
    (detail,) = details(backend, [long], new_tokens=10).values()
    full = backend.lm.tokens.encode(long)
    kept = [t.id for t in detail.tokens if t.part == "prompt"]
    assert len(kept) == CONTEXT - 10
    assert detail.truncated_tokens == len(full) - len(kept)
    assert kept == [0, *full[-len(kept) + 1 :]]
    assert len(detail.tokens) <= CONTEXT
    (c,) = (
        c for _, _, c in backend.compare(BASE, [FINETUNED], [long], positions="continuation", continuation_tokens=10)
    )
    assert c.truncated_tokens == detail.truncated_tokens


def test_a_text_that_ends_at_once_shows_its_end(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TorchLM, "generate", lambda self, prompts, **_: [[1] for _ in prompts])
    (detail,) = details(backend, ["hello"]).values()
    last = detail.tokens[-1]
    assert (last.text, last.part, last.special) == ("</s>", "continuation", True)
    assert last.prediction is not None
    assert detail.tuned_says == detail.base_says == ("</s>",)


def test_a_prompt_without_tokens_is_an_error_of_its_own(gpt2_backend: Backend) -> None:
    found = details(gpt2_backend, ["", "hello", ""])
    assert "no tokens" in str(found[0])
    assert "no tokens" in str(found[2])
    assert isinstance(found[1], PromptDetail)


def test_the_start_token_alone_can_be_continued(backend: Backend) -> None:
    (detail,) = details(backend, [""], new_tokens=2).values()
    assert [t.part for t in detail.tokens][:2] == ["prompt", "continuation"]
    agrees(backend, detail, FINETUNED, new=2, top=10)


def test_a_broken_view_is_an_error_and_no_number(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TorchLM.rows
    monkeypatch.setattr(TorchLM, "rows", lambda self, s, p: rows(self, s, p) * math.nan)
    for answer in details(backend, new_tokens=2).values():
        assert isinstance(answer, ProbeError)
        assert "non-finite logits" in str(answer)


def test_masked_tokens_give_finite_numbers(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = TorchLM.rows

    def masked(self: TorchLM, sequences: Any, picks: Any) -> torch.Tensor:
        out = rows(self, sequences, picks).clone()
        out[:, 5:] = -math.inf
        return out

    monkeypatch.setattr(TorchLM, "rows", masked)
    (detail,) = details(backend, ["hello"], new_tokens=2).values()
    text = json.dumps(detail.to_dict(), allow_nan=False)
    assert PromptDetail.from_dict(json.loads(text)).prompt == "hello"
    assert all(len(t.prediction.choices) <= 5 for t in detail.tokens[1:])


def test_equal_prompts_are_looked_at_once_and_their_continuations_remembered(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with backend.instrumentation.attached() as stats:
        found = details(backend, ["hello", "the dog", "hello"], new_tokens=3)
        assert stats.forward_passes == 4
        assert found[0] == found[2]
    asked: list[int] = []
    generate = TorchLM.generate
    monkeypatch.setattr(TorchLM, "generate", lambda self, p, **o: asked.append(len(p)) or generate(self, p, **o))
    assert details(backend, ["the dog"], new_tokens=3)[0].tuned_says == found[1].tuned_says
    assert asked == []
    # Another strength is another view; the base has spoken already.
    assert details(backend, ["the dog"], view=View.scaled(0.9), new_tokens=3)[0] != found[1]
    assert asked == [1]


def test_a_stop_between_batches_leaves_the_model_as_it_was(backend: Backend) -> None:
    before = fingerprint(backend)
    backend.lm.token_budget = 1
    asked = iter([False, False, True])

    def checkpoint() -> None:
        if next(asked):
            raise RunCancelled

    found = []
    with pytest.raises(RunCancelled):
        found.extend(backend.details(PROMPTS, view=View.null(1), new_tokens=2, checkpoint=checkpoint))
    assert len(found) == 2
    assert fingerprint(backend) == before
    with backend.as_base() as view:
        view.next_token_dist("hello")


@pytest.mark.parametrize("options", [{"top": 0}, {"new_tokens": 0}])
def test_nothing_to_show_is_refused(backend: Backend, options: dict[str, int]) -> None:
    with pytest.raises(ProbeError, match="at least 1"):
        details(backend, ["hello"], **options)
