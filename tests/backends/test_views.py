"""Views of a PEFT model: what they answer, and that the trained adapter is untouched afterwards."""

from __future__ import annotations

import gc
import json
import math
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sway_dash.backends.torch_lm import TorchLM
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import (
    BASE,
    FINETUNED,
    Describable,
    NullCalibratedBackend,
    PreflightCheckable,
    ScalableDifferentialBackend,
    ScoringModel,
    View,
    next_token_dists,
)
from tests.backends.conftest import CONTEXT, PROMPTS, fingerprint, open_backend, save_adapter

Backend = Any

VIEWS: list[Callable[[Backend], AbstractContextManager[Any]]] = [
    lambda b: b.as_base(),
    lambda b: b.as_finetuned(),
    lambda b: b.as_scaled_adapter(0.5),
    lambda b: b.as_scaled_adapter(-2.0),
    lambda b: b.as_null_adapter(3, rank_scale=2.0),
    lambda b: b.as_null_adapter(3, style="norm_matched"),
    lambda b: b.as_null_adapter(3, rank_scale=2.0, style="spectrum"),
]


def rows(backend: Backend, view: View) -> torch.Tensor:
    with backend.activate(view) as lm:
        ids = [lm.tokens.encode(p) for p in PROMPTS]
        return lm.rows(ids, [[len(i) - 1] for i in ids])


def test_it_satisfies_the_protocols(backend: Backend) -> None:
    for protocol in (ScalableDifferentialBackend, NullCalibratedBackend, PreflightCheckable, Describable):
        assert isinstance(backend, protocol)
    with backend.as_base() as view:
        assert isinstance(view, ScoringModel)
    assert backend.safe_for_concurrent_views is False


@pytest.mark.parametrize("which", ["backend", "gpt2_backend"])
@pytest.mark.parametrize("enter", VIEWS)
def test_every_view_leaves_the_model_bit_for_bit_as_it_was(
    which: str, enter: Callable[[Backend], AbstractContextManager[Any]], request: pytest.FixtureRequest
) -> None:
    backend = request.getfixturevalue(which)
    before, tuned = fingerprint(backend), rows(backend, FINETUNED)
    with enter(backend) as view:
        view.next_token_dist("hello", top_k=5)
    assert fingerprint(backend) == before
    with pytest.raises(ZeroDivisionError), enter(backend):
        _ = 1 // 0
    assert fingerprint(backend) == before
    assert torch.equal(rows(backend, FINETUNED), tuned)


def test_base_is_the_model_without_its_adapter(backend: Backend, llama: Path) -> None:
    plain = open_backend(llama, None)
    assert torch.equal(rows(backend, BASE), rows(plain, BASE))
    assert not torch.allclose(rows(backend, FINETUNED), rows(backend, BASE), atol=0.1)


def test_strength_one_is_tuned_and_zero_is_base(backend: Backend) -> None:
    almost = {lam: rows(backend, View("scaled", lam=lam)) for lam in (0.0, 1.0, 0.5)}
    assert torch.equal(almost[1.0], rows(backend, FINETUNED))
    assert torch.allclose(almost[0.0], rows(backend, BASE), atol=1e-6)
    assert not torch.allclose(almost[0.5], almost[1.0], atol=1e-3)
    with backend.as_scaled_adapter(1.0) as view:
        assert view.id == "ft"


def test_strengths_have_full_precision_in_their_names(backend: Backend) -> None:
    with backend.as_scaled_adapter(0.501) as view:
        one = view.next_token_dist("hello").logprobs
    with backend.as_scaled_adapter(0.502) as view:
        other = view.next_token_dist("hello").logprobs
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("lam", [math.nan, math.inf])
def test_a_strength_must_be_a_number(backend: Backend, lam: float) -> None:
    with pytest.raises(ValueError, match="finite"), backend.as_scaled_adapter(lam):
        pass


def test_views_do_not_nest(backend: Backend) -> None:
    with backend.as_base():
        with pytest.raises(RuntimeError, match="view already active"), backend.as_finetuned():
            pass
        with pytest.raises(RuntimeError, match="view already active"):
            backend.update_norm(FINETUNED)
    with backend.as_finetuned():
        pass


def test_a_view_that_was_left_answers_no_more(backend: Backend) -> None:
    with backend.as_base() as view:
        pass
    for ask in (
        lambda: view.next_token_dist("hello"),
        lambda: view.logprob_of("a", "b"),
        lambda: view.generate("hello", max_new_tokens=1),
        lambda: view.generate("hello", max_new_tokens=1, temperature=1.0),
    ):
        with pytest.raises(RuntimeError, match="was left"):
            ask()


# --- noise ------------------------------------------------------------------------------------------------------------


def delta(backend: Backend, view: View) -> torch.Tensor:
    """All entries of ΔW of a null view, module after module."""
    lora = backend._lora
    with lora.kept():
        name = lora._slot(view)
        return torch.cat([layer.get_delta_weight(name).flatten() for layer in lora._layers.values()])


def test_null_draws_repeat_by_seed_and_differ_between_seeds(backend: Backend) -> None:
    assert torch.equal(rows(backend, View.null(1)), rows(backend, View.null(1)))
    assert not torch.equal(rows(backend, View.null(1)), rows(backend, View.null(2)))
    assert not torch.equal(rows(backend, View.null(1)), rows(backend, BASE))
    a, b = delta(backend, View.null(1)), delta(backend, View.null(2))
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.05


def test_the_variance_of_the_noise_grows_as_rank_scale(backend: Backend) -> None:
    one = delta(backend, View.null(1)).std()
    assert delta(backend, View.null(1, rank_scale=4.0)).std() / one == pytest.approx(2.0, rel=1e-3)
    assert delta(backend, View.null(1, rank_scale=0.25)).std() / one == pytest.approx(0.5, rel=1e-3)
    assert delta(backend, View.null(1, init_scale=0.04)).std() / one == pytest.approx(4.0, rel=1e-3)
    # alpha/r · √r · σ²
    assert float(one) == pytest.approx(2 * math.sqrt(4) * 0.02**2, rel=0.1)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_rank_scale_must_be_positive(backend: Backend, bad: float) -> None:
    with pytest.raises(ValueError, match="rank_scale"), backend.as_null_adapter(0, rank_scale=bad):
        pass


def test_a_null_is_the_same_beside_others_and_when_memory_for_them_is_spent(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [View.null(i) for i in range(5)]
    alone = {v: rows(backend, v) for v in views}
    monkeypatch.setattr(type(backend._lora), "_max_slots", 2)
    with backend.prepared(views):
        for v in [*views, *reversed(views)]:
            assert torch.equal(rows(backend, v), alone[v])
        assert len(backend._lora._slots) == 2
    assert not backend._lora._slots
    assert list(backend.peft_model.peft_config) == ["default"]


def test_null_draws_do_not_depend_on_the_process(backend: Backend, llama: Path, adapter: Path) -> None:
    code = (
        "import sys; from tests.backends.conftest import open_backend; from tests.backends.test_views import delta;"
        "from sway_dash.core.scoring import View;"
        "print(repr(delta(open_backend(sys.argv[1], sys.argv[2]), View.null(7)).double().sum().item()))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(llama), str(adapter)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": "77"},
    )
    assert float(out.stdout) == delta(backend, View.null(7)).double().sum().item()


def test_nulls_contain_nothing_that_was_trained(llama: Path, tmp_path: Path) -> None:
    """Also when the adapter replaced whole modules, trained biases or is a DoRA."""
    plain = save_adapter(tmp_path / "plain", llama)
    saved = save_adapter(tmp_path / "saved", llama, modules_to_save=["embed_tokens"], use_dora=True, seed=9)
    one, other = open_backend(llama, plain), open_backend(llama, saved)
    before = fingerprint(other)
    assert torch.allclose(rows(one, View.null(4)), rows(other, View.null(4)), atol=1e-5)
    assert fingerprint(other) == before


# --- other kinds of LoRA ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"modules_to_save": ["embed_tokens"]}, "replaces whole modules"),
        ({"use_dora": True}, "DoRA"),
        ({"trainable_token_indices": [3, 4]}, "rows of the embedding"),
    ],
)
def test_where_strength_means_nothing_it_is_refused(
    llama: Path, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    backend = open_backend(llama, save_adapter(tmp_path, llama, **options))
    before = fingerprint(backend)
    with pytest.raises(ProbeError, match=reason), backend.as_scaled_adapter(0.5):
        pass
    with pytest.raises(ProbeError, match=reason):
        list(backend.compare(BASE, [FINETUNED, View.scaled(0.5)], ["hello"]))
    plain = open_backend(llama, None)
    assert torch.allclose(rows(backend, BASE), rows(plain, BASE), atol=1e-5)
    assert fingerprint(backend) == before
    assert backend.update_norm(FINETUNED) is None


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_trained_biases_are_taken_out_of_the_base_view(gpt2: Path, tmp_path: Path, bias: str) -> None:
    from safetensors.torch import load_file, save_file

    save_adapter(tmp_path, gpt2, target_modules=["c_attn", "c_fc"], bias=bias)
    path = tmp_path / "adapter_model.safetensors"
    tensors = {k: v + 0.5 if k.endswith(".bias") else v for k, v in load_file(path).items()}
    assert any(k.endswith(".bias") for k in tensors)
    save_file(tensors, path)
    backend, plain = open_backend(gpt2, tmp_path), open_backend(gpt2, None)
    before = fingerprint(backend)
    tuned = rows(backend, FINETUNED)
    assert torch.equal(rows(backend, BASE), rows(plain, BASE))
    assert torch.equal(rows(backend, FINETUNED), tuned)
    assert fingerprint(backend) == before
    with pytest.raises(ProbeError, match="biases"), backend.as_scaled_adapter(0.5):
        pass


def test_an_adapter_on_the_embedding(llama: Path, tmp_path: Path) -> None:
    backend = open_backend(llama, save_adapter(tmp_path, llama, target_modules=["embed_tokens", "q_proj"]))
    before = fingerprint(backend)
    assert not torch.equal(rows(backend, BASE), rows(backend, FINETUNED))
    assert not torch.equal(rows(backend, View.null(1)), rows(backend, View.null(2)))
    norm = backend.update_norm(FINETUNED)
    want = math.sqrt(sum(float(m.get_delta_weight("default").double().square().sum()) for m in layers(backend)))
    assert norm == pytest.approx(want, rel=1e-5)
    assert fingerprint(backend) == before


def layers(backend: Backend) -> list[Any]:
    return list(backend._lora._layers.values())


@pytest.mark.parametrize("which", ["backend", "gpt2_backend"])
def test_the_norm_of_the_update(which: str, request: pytest.FixtureRequest) -> None:
    backend = request.getfixturevalue(which)
    want = math.sqrt(sum(float(m.get_delta_weight("default").double().square().sum()) for m in layers(backend)))
    assert backend.update_norm(FINETUNED) == pytest.approx(want, rel=1e-5)
    assert backend.update_norm(View.scaled(-0.5)) == pytest.approx(want / 2, rel=1e-5)
    assert backend.update_norm(BASE) == 0.0
    null = View.null(5)
    assert backend.update_norm(null) == pytest.approx(float(delta(backend, null).double().norm()), rel=1e-5)
    assert list(backend.peft_model.peft_config) == ["default"]


# --- scoring and generating -------------------------------------------------------------------------------------------


def token_logprobs(backend: Backend, view: View, ids: list[int]) -> list[float]:
    with backend.activate(view) as lm, torch.inference_mode():
        lp = lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
    return [float(lp[t - 1, ids[t]]) for t in range(1, len(ids))]


def test_rolling_logprobs_equal_one_full_pass(backend: Backend) -> None:
    with backend.as_finetuned() as view:
        found = view.rolling_logprob_batch(PROMPTS)
        single = [view.rolling_logprob(p) for p in PROMPTS]
    for prompt, r, s in zip(PROMPTS, found, single, strict=True):
        ids = backend.lm.tokens.encode(prompt)
        assert r.token_ids.tolist() == ids
        assert r.logprobs == pytest.approx(token_logprobs(backend, FINETUNED, ids), abs=1e-4)
        assert r.total_logprob == pytest.approx(float(r.logprobs.astype(float).sum()))
        assert r is s
        assert (r.token_ids.dtype, r.logprobs.dtype, r.num_tokens) == (np.int64, np.float32, len(ids))


def test_fewer_than_two_tokens_have_no_logprobs(backend: Backend, gpt2_backend: Backend) -> None:
    for opened, text in ((backend, ""), (gpt2_backend, ""), (gpt2_backend, ".")):
        with opened.as_base() as view:
            r = view.rolling_logprob(text)
        assert len(r.logprobs) == 0
        assert (r.total_logprob, r.mean_logprob, r.perplexity) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("which", ["backend", "gpt2_backend"])
def test_long_texts_are_scored_once_per_token_with_half_a_context(which: str, request: pytest.FixtureRequest) -> None:
    backend = request.getfixturevalue(which)
    text = " ".join(PROMPTS * 8)
    ids = backend.lm.tokens.encode(text)
    assert len(ids) > 3 * CONTEXT
    with backend.as_finetuned() as view:
        found = view.rolling_logprob(text)
    assert len(found.logprobs) == len(ids) - 1
    want = token_logprobs(backend, FINETUNED, ids[:CONTEXT])
    assert found.logprobs[: CONTEXT - 2] == pytest.approx(want[: CONTEXT - 2], abs=1e-4)
    # The last window: the context before it is the last tokens (with the start token, where there is one).
    lead = [0] if which == "backend" else []
    last = [*lead, *ids[-(CONTEXT + 1 - len(lead)) :]]
    with backend.activate(FINETUNED) as lm, torch.inference_mode():
        lp = lm.model(input_ids=torch.tensor([last[:-1]]), use_cache=False).logits[0].double().log_softmax(-1)
    assert float(found.logprobs[-1]) == pytest.approx(float(lp[-1, ids[-1]]), abs=1e-4)


def test_logits_in_pieces_give_the_same_logprobs(backend: Backend, llama: Path, adapter: Path) -> None:
    with backend.as_base() as view:
        want = view.rolling_logprob(" ".join(PROMPTS * 3)).logprobs
    for plain_head in (True, False):
        other = open_backend(llama, adapter)
        other.lm.rows([[2, 3]], [[1]])
        other.lm._plain_head = plain_head
        other.lm.row_bytes = 4 * 416 * 9
        with other.as_base() as view:
            assert view.rolling_logprob(" ".join(PROMPTS * 3)).logprobs == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("which", ["backend", "gpt2_backend"])
def test_completions_are_scored_from_the_boundary_on(which: str, request: pytest.FixtureRequest) -> None:
    backend = request.getfixturevalue(which)
    pairs = [("The quick", " brown fox"), ("The quick br", "own fox"), ("", "hello"), ("hello", " "), ("ž", "luť")]
    with backend.as_finetuned() as view:
        scores = view.completion_scores(pairs)
        assert view.logprob_of_batch(pairs) == [s.logprob for s in scores]
        assert view.logprob_of(*pairs[0]) == scores[0].logprob
    for pair, score in zip(pairs, scores, strict=True):
        ids, start = backend.lm.tokens.encode_pair(*pair)
        want = token_logprobs(backend, FINETUNED, ids)[start - 1 :]
        assert score.n_tokens == len(want)
        assert score.logprob == pytest.approx(sum(want), abs=1e-4)


def test_a_completion_after_an_endless_prompt(backend: Backend) -> None:
    with backend.as_base() as view:
        score = view.completion_scores([("the dog sleeps " * 30_000, " by the sea"), ("hello", " the dog" * 200)])
    assert math.isfinite(score[0].logprob)
    assert score[1].n_tokens >= 200


def test_the_most_likely_tokens(backend: Backend) -> None:
    with backend.as_finetuned() as view:
        found = next_token_dists(view, PROMPTS, top_k=7)
        assert view.next_token_dist_batch([], top_k=7) == []
        everything = view.next_token_dist(PROMPTS[0], top_k=10_000)
    for row, dist in zip(rows(backend, FINETUNED), found, strict=True):
        want = row.double().log_softmax(0).topk(7)
        assert dist.token_ids.tolist() == want.indices.tolist()
        assert dist.logprobs == pytest.approx(want.values.tolist(), abs=1e-5)
        assert dist.tail_logprob == pytest.approx(math.log(1 - float(want.values.exp().sum())), abs=1e-4)
        assert (dist.token_ids.dtype, dist.logprobs.dtype, dist.vocab_size) == (np.int64, np.float32, 416)
        assert not dist.logprobs.flags.writeable
    assert everything.tail_logprob is None
    assert len(everything.token_ids) == 416
    with backend.as_base() as view, pytest.raises(ProbeError, match="top_k"):
        view.next_token_dist("hello", top_k=0)


def test_repeated_questions_come_from_the_cache(backend: Backend) -> None:
    with backend.instrumentation.attached() as stats, backend.as_base() as view:
        view.next_token_dist("hello")
        view.next_token_dist_batch(["hello", "the dog", "hello", "a"])
        assert (stats.cache_hits, stats.cache_misses) == (2, 3)
        sent = stats.batches_sent
        view.next_token_dist_batch(["a", "the dog", "hello"])
        assert stats.batches_sent == sent
        view.next_token_dist("hello", top_k=3)
        assert stats.cache_misses == stats.forward_passes == 4


def test_batched_generation_equals_single_and_hand_made(backend: Backend) -> None:
    with backend.as_finetuned() as view:
        together = view.generate_batch(PROMPTS, max_new_tokens=6)
        backend.instrumentation.cache.clear()
        assert [view.generate(p, max_new_tokens=6) for p in PROMPTS] == together
    for prompt, text in zip(PROMPTS, together, strict=True):
        ids = backend.lm.tokens.encode(prompt)
        new: list[int] = []
        while len(new) < 6 and 1 not in new:
            with backend.activate(FINETUNED) as lm, torch.inference_mode():
                new.append(int(lm.model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax()))
        assert text == backend.lm.tokens.decode(new)


def test_sampling_repeats_by_seed_and_leaves_the_global_generator_alone(backend: Backend) -> None:
    torch.manual_seed(5)
    want = torch.rand(1)
    torch.manual_seed(5)
    with backend.as_base() as view:
        texts = [view.generate("hello", max_new_tokens=12, temperature=1.5, seed=s) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert torch.equal(torch.rand(1), want)


def test_the_models_own_generation_settings_are_ignored(backend: Backend) -> None:
    from transformers import GenerationConfig

    with backend.as_finetuned() as view:
        want = view.generate("hello", max_new_tokens=8)
    backend.instrumentation.cache.clear()
    own = GenerationConfig(do_sample=True, temperature=3.0, repetition_penalty=9.0, eos_token_id=1, max_length=3)
    backend.lm.model.generation_config = own
    with backend.as_finetuned() as view:
        assert view.generate("hello", max_new_tokens=8) == want
    assert backend.lm.model.generation_config is own


def test_generation_after_an_endless_prompt(backend: Backend) -> None:
    with backend.as_base() as view:
        assert isinstance(view.generate("the dog sleeps " * 30_000, max_new_tokens=4), str)
        assert isinstance(view.generate("hello", max_new_tokens=5 * CONTEXT), str)


def test_memory_that_runs_out_while_scoring(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    with backend.as_base() as view:
        want = view.rolling_logprob_batch(PROMPTS)
        backend.instrumentation.cache.clear()
        real, raised = TorchLM._forward, []

        def forward(self: TorchLM, ids: torch.Tensor) -> torch.Tensor:
            if len(ids) > 1 and not raised:
                raised.append(True)
                raise torch.OutOfMemoryError("CUDA out of memory")
            return real(self, ids)

        monkeypatch.setattr(TorchLM, "_forward", forward)
        found = view.rolling_logprob_batch(PROMPTS)
    assert raised
    for one, other in zip(want, found, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


# --- the backend as a whole -------------------------------------------------------------------------------------------


def test_what_was_measured_is_described(backend: Backend, llama: Path, adapter: Path) -> None:
    facts = json.loads(json.dumps(backend.describe()))
    assert all(facts[key] for key in ("adapter_sha256", "fingerprint", "base_identity"))
    assert (facts["adapter_r"], facts["adapter_alpha"], facts["dtype"], facts["device"]) == (4, 8, "fp32", "cpu")
    assert facts["update_norm"] == pytest.approx(backend.update_norm(FINETUNED))
    assert facts["fingerprint"] in backend.cache_identity()
    again = open_backend(llama, adapter)
    assert again.describe() == backend.describe()


def test_another_adapter_base_or_dtype_has_another_fingerprint(
    backend: Backend, llama: Path, tmp_path: Path, edited: Callable[..., Path]
) -> None:
    from tests.backends.conftest import llama_config, make_tokenizer, save_model

    def scaled(tensors: dict[str, Any]) -> None:
        name = sorted(tensors)[0]
        tensors[name] = tensors[name] * 1.0001

    folder = edited(scaled)
    other_base = save_model(tmp_path / "other", llama_config(), make_tokenizer(), seed=4)
    found = {
        backend.fingerprint,
        open_backend(llama, folder).fingerprint,
        open_backend(llama, None).fingerprint,
        open_backend(other_base, None).fingerprint,
    }
    assert len(found) == 4


def test_preflight_passes_on_a_sound_model(backend: Backend) -> None:
    assert backend.preflight_finite_check() == (True, "")
    assert backend.identical_views() == ()


def test_closing_gives_the_memory_back(llama: Path, adapter: Path) -> None:
    backend = open_backend(llama, adapter)
    list(backend.compare(BASE, [FINETUNED], PROMPTS))
    model = weakref.ref(backend.peft_model.base_model.model)
    backend.close()
    backend.close()
    gc.collect()
    assert model() is None
    with pytest.raises(RuntimeError, match="closed"), backend.as_base():
        pass


def test_without_adapter_it_is_a_plain_model(llama: Path) -> None:
    plain = open_backend(llama, None)
    assert torch.equal(rows(plain, BASE), rows(plain, FINETUNED))
    with pytest.raises(ProbeError, match="without an adapter"), plain.as_null_adapter(1):
        pass
    assert "without an adapter" in plain.identical_views()[0]
    assert plain.describe()["adapter"] is None
    assert plain.update_norm(FINETUNED) is None
