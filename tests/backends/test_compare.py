"""The exact comparison on a real (tiny) model: numbers, order, caches, errors, interruption."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sway_dash.backends.instrumentation import ForwardCache
from sway_dash.backends.torch_lm import TorchLM
from sway_dash.core.errors import ProbeError
from sway_dash.core.events import CacheAccess
from sway_dash.core.scoring import BASE, FINETUNED, Comparison, ExactComparer, View
from tests.backends.conftest import CONTEXT, PROMPTS, fingerprint, open_backend

Backend = Any


def compare(backend: Backend, views: list[View], prompts: Any, **options: Any) -> dict[tuple[int, View], Comparison]:
    return {(i, v): c for i, v, c in backend.compare(BASE, views, list(prompts), **options)}


def full_logits(backend: Backend, view: View, ids: list[int]) -> torch.Tensor:
    """All logits of one sequence in float64, with none of the short cuts."""
    with backend.activate(view) as lm, torch.inference_mode():
        return lm.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)


def js_of(lp: torch.Tensor, lq: torch.Tensor) -> torch.Tensor:
    m = torch.logaddexp(lp, lq) - math.log(2)
    return 0.5 * (lp.exp() * (lp - m)).sum(-1) + 0.5 * (lq.exp() * (lq - m)).sum(-1)


def kl_of(lp: torch.Tensor, lq: torch.Tensor) -> torch.Tensor:
    return (lp.exp() * (lp - lq)).sum(-1)


def test_it_is_an_exact_comparer(backend: Backend) -> None:
    assert isinstance(backend, ExactComparer)


@pytest.mark.parametrize("which", ["backend", "gpt2_backend"])
def test_next_token_divergences_equal_the_float64_reference(which: str, request: pytest.FixtureRequest) -> None:
    backend = request.getfixturevalue(which)
    found = compare(backend, [FINETUNED], PROMPTS)
    for i, prompt in enumerate(PROMPTS):
        ids = backend.lm.tokens.encode(prompt)
        lp, lq = (full_logits(backend, v, ids)[-1] for v in (FINETUNED, BASE))
        c = found[i, FINETUNED]
        assert c.js == pytest.approx(float(js_of(lp, lq)), abs=1e-5)
        assert c.kl == pytest.approx(float(kl_of(lp, lq)), abs=1e-4)
        assert c.kl_reverse == pytest.approx(float(kl_of(lq, lp)), abs=1e-4)
        assert c.same_top == float(lp.argmax() == lq.argmax())
        assert [t.id for t in c.tuned_top] == lp.topk(10).indices.tolist()
        assert c.base_top[0].prob == pytest.approx(float(lq.max().exp()), abs=1e-5)
        assert (c.n_positions, c.per_position, c.truncated_tokens) == (1, (), 0)


def test_batches_and_single_prompts_agree(backend: Backend, llama: Path, adapter: Path) -> None:
    together = compare(backend, [FINETUNED], PROMPTS)
    alone = open_backend(llama, adapter)
    alone.lm.token_budget = 1
    for i, prompt in enumerate(PROMPTS):
        (one,) = compare(alone, [FINETUNED], [prompt]).values()
        assert one.js == pytest.approx(together[i, FINETUNED].js, abs=1e-5)
    assert alone.instrumentation.stats.max_batch_size == 1
    assert backend.instrumentation.stats.max_batch_size > 1


def test_every_position_of_the_prompt(backend: Backend) -> None:
    for (i, _), c in compare(backend, [FINETUNED], PROMPTS, positions="prompt").items():
        ids = backend.lm.tokens.encode(PROMPTS[i])
        want = js_of(*(full_logits(backend, v, ids) for v in (FINETUNED, BASE)))
        assert c.per_position == pytest.approx(want.tolist(), abs=1e-5)
        assert c.js == pytest.approx(float(want.mean()), abs=1e-5)
        assert c.n_positions == len(ids)


def test_more_positions_than_memory_allows_at_once(backend: Backend) -> None:
    whole = compare(backend, [FINETUNED, View.scaled(0.5)], PROMPTS, positions="prompt")
    backend.instrumentation.cache.clear()
    backend.lm.row_bytes = 4 * 416 * 6  # three rows of each side
    pieces = compare(backend, [FINETUNED, View.scaled(0.5)], PROMPTS, positions="prompt")
    for key, c in whole.items():
        assert pieces[key].per_position == pytest.approx(c.per_position, abs=1e-6)
        assert [t.id for t in pieces[key].tuned_top] == [t.id for t in c.tuned_top]


def test_continuations_of_both_views_are_scored_under_both(backend: Backend) -> None:
    prompts = PROMPTS[:4]
    found = compare(backend, [FINETUNED], prompts, positions="continuation", continuation_tokens=6)
    for i, prompt in enumerate(prompts):
        ids = backend.lm.tokens.encode(prompt)
        want: list[float] = []
        said = {}
        for speaker in (BASE, FINETUNED):
            text = list(ids)
            for _ in range(6):
                text.append(int(full_logits(backend, speaker, text)[-1].argmax()))
                if text[-1] == 1:
                    break
            said[speaker] = text[len(ids) :]
            # Up to the first token on which they differ both have read the same: those positions count once.
            pairs = zip(said[BASE], said[speaker], strict=False)
            same = next((n for n, (a, b) in enumerate(pairs) if a != b), len(said[speaker]))
            start = len(ids) - 1 + (same + 1 if speaker == FINETUNED else 0)
            lp, lq = (full_logits(backend, v, text)[start:-1] for v in (FINETUNED, BASE))
            want += js_of(lp, lq).tolist()
        c = found[i, FINETUNED]
        assert c.per_position == pytest.approx(want, abs=1e-5)
        assert c.js == pytest.approx(np.mean(want), abs=1e-5)
        assert c.continuation == backend.lm.tokens.decode(said[FINETUNED])


def test_a_text_that_ends_at_once_leaves_the_next_position(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TorchLM, "generate", lambda self, prompts, **_: [[1] for _ in prompts])
    (c,) = compare(backend, [FINETUNED], PROMPTS[:1], positions="continuation").values()
    (next_one,) = compare(backend, [FINETUNED], PROMPTS[:1]).values()
    assert c.n_positions == 1
    assert c.js == pytest.approx(next_one.js, abs=1e-6)
    assert c.continuation == ""


def test_a_view_compared_with_itself_differs_by_exactly_zero(backend: Backend) -> None:
    for positions in ("next", "prompt", "continuation"):
        for c in compare(backend, [BASE], PROMPTS, positions=positions, continuation_tokens=4).values():
            assert (c.js, c.kl, c.kl_reverse, c.same_top) == (0.0, 0.0, 0.0, 1.0)


def test_duplicates_are_scored_once_and_answered_each(backend: Backend) -> None:
    prompts = ["hello", "the dog", "hello", "hello"]
    found = compare(backend, [FINETUNED], prompts)
    assert set(found) == {(i, FINETUNED) for i in range(4)}
    assert found[0, FINETUNED] == found[2, FINETUNED] == found[3, FINETUNED]
    stats = backend.instrumentation.stats
    assert (stats.cache_misses, stats.forward_passes, stats.cache_hits) == (4, 4, 4)


def test_the_second_time_everything_comes_from_the_cache(backend: Backend) -> None:
    views = [FINETUNED, View.null(3)]
    first = compare(backend, views, PROMPTS)
    with backend.instrumentation.attached() as stats:
        assert compare(backend, views, PROMPTS) == first
    assert (stats.cache_misses, stats.forward_passes, stats.batches_sent) == (0, 0, 0)
    assert stats.cache_hits == 3 * len(PROMPTS)


def test_further_views_do_not_run_the_base_again(backend: Backend) -> None:
    compare(backend, [FINETUNED], PROMPTS)
    events: list[CacheAccess] = []
    with backend.instrumentation.attached(events.append) as stats:
        compare(backend, [View.null(1), View.scaled(0.5)], PROMPTS)
    assert stats.forward_passes == stats.cache_misses == 2 * len(PROMPTS)
    assert stats.cache_hits == len(PROMPTS)
    assert {e.view_id for e in events if e.hit} == {"base"}
    assert {e.view_id for e in events if not e.hit} == {"null_1", "scaled_0.5"}
    assert {e.op for e in events} == {"next_token_dist"}
    assert stats.batches_sent >= 2
    assert stats.batched_prompts == 2 * len(PROMPTS)


def test_positions_and_lengths_are_kept_apart_in_the_cache(backend: Backend) -> None:
    prompt = PROMPTS[-1]

    def n(positions: str, tokens: int) -> int:
        (c,) = compare(backend, [FINETUNED], [prompt], positions=positions, continuation_tokens=tokens).values()
        return c.n_positions

    assert n("next", 4) == 1
    assert n("prompt", 4) == len(backend.lm.tokens.encode(prompt)) > 16
    assert n("continuation", 2) in (2, 3, 4)
    assert n("continuation", 8) in range(8, 17)
    misses = backend.instrumentation.stats.cache_misses
    assert n("next", 9) == 1
    assert backend.instrumentation.stats.cache_misses == misses


def test_the_order_is_random_seeded_and_complete(backend: Backend) -> None:
    prompts = [f"number {i} {'and on ' * (i % 5)}" for i in range(60)]
    orders = []
    for seed in (0, 0, 1):
        backend.instrumentation.cache.clear()
        orders.append([i for i, _, _ in backend.compare(BASE, [FINETUNED], prompts, seed=seed)])
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(60)) != orders[0]


def test_nothing_asked_nothing_answered(backend: Backend) -> None:
    assert compare(backend, [FINETUNED], []) == {}
    assert compare(backend, [], ["hello"]) == {}


def test_a_prompt_of_a_hundred_thousand_tokens_keeps_its_end(backend: Backend) -> None:
    long = "the old dog sleeps by the sea " * 15_000
    n = len(backend.lm.tokens.encode(long))
    assert n > 100_000
    for positions in ("next", "prompt", "continuation"):
        (c,) = compare(backend, [FINETUNED], [long], positions=positions, continuation_tokens=8).values()
        kept = CONTEXT - (8 if positions == "continuation" else 0)
        assert c.truncated_tokens == n - kept
        assert 0 < c.js < math.log(2)


@pytest.mark.parametrize("positions", ["next", "prompt", "continuation"])
def test_a_prompt_without_tokens_is_its_own_error(gpt2_backend: Backend, positions: str) -> None:
    found = compare(gpt2_backend, [FINETUNED], ["hello there", "", "the dog"], positions=positions)
    error = found[1, FINETUNED]
    assert isinstance(error, ProbeError)
    assert "no tokens" in str(error)
    assert isinstance(found[0, FINETUNED], Comparison)
    assert isinstance(found[2, FINETUNED], Comparison)


def test_one_token_is_too_short_for_positions(gpt2_backend: Backend) -> None:
    (error,) = compare(gpt2_backend, [FINETUNED], ["."], positions="prompt").values()
    assert "at least two" in str(error)


def test_unknown_positions_and_lengths_are_refused(backend: Backend) -> None:
    with pytest.raises(ValueError, match="unknown positions"):
        compare(backend, [FINETUNED], ["x"], positions="last")
    with pytest.raises(ProbeError, match="continuation_tokens"):
        compare(backend, [FINETUNED], ["x"], positions="continuation", continuation_tokens=0)


def test_memory_that_runs_out_halves_the_batch(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    want = compare(backend, [FINETUNED], PROMPTS)
    backend.instrumentation.cache.clear()
    backend.row_cache.clear()
    real, sizes = TorchLM._forward, []

    def forward(self: TorchLM, ids: torch.Tensor) -> torch.Tensor:
        sizes.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, ids)

    monkeypatch.setattr(TorchLM, "_forward", forward)
    budget, kept = backend.lm.token_budget, backend.row_cache
    monkeypatch.setattr(kept, "max_bytes", room := kept.max_bytes)
    compare(backend, [FINETUNED], PROMPTS[:2])
    dropped: list[int] = []
    monkeypatch.setattr(kept, "clear", lambda: (dropped.append(len(kept)), ForwardCache.clear(kept)))
    found = compare(backend, [FINETUNED], PROMPTS)
    assert max(sizes) > 2
    assert backend.lm.token_budget < budget
    # Rows that were kept on the device made room, and take less of it from now on.
    assert dropped[0] == 2
    assert kept.max_bytes < room
    for key, c in want.items():
        assert found[key].js == pytest.approx(c.js, abs=1e-5)
    stats = backend.instrumentation.stats
    assert stats.forward_passes == stats.cache_misses


def test_a_pass_is_timed_until_the_device_is_done(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU is only told what to do; emulated by a device that works when it is waited for."""
    waited: list[float] = []

    def finish(self: TorchLM) -> None:
        time.sleep(0.05)
        waited.append(time.perf_counter())

    monkeypatch.setattr(TorchLM, "finish", finish)
    seen: list[Any] = []
    with backend.instrumentation.attached(seen.append):
        compare(backend, [FINETUNED], ["A pass that nobody has made"])
    (base,) = [e for e in seen if e.view_id == BASE.id]
    assert waited
    assert base.wall_ms >= 50


def test_a_prompt_that_never_fits_is_its_own_error(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TorchLM._forward
    longest = max(len(backend.lm.tokens.encode(p)) for p in PROMPTS)
    backend.lm.rows([[2, 3]], [[1]])

    def forward(self: TorchLM, ids: torch.Tensor) -> torch.Tensor:
        if ids.shape[1] == longest:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return real(self, ids)

    monkeypatch.setattr(TorchLM, "_forward", forward)
    before = fingerprint(backend)
    found = compare(backend, [FINETUNED, View.scaled(0.5)], PROMPTS)
    errors = [key for key, c in found.items() if isinstance(c, ProbeError)]
    assert len(errors) == 2
    assert "does not fit into memory" in str(found[errors[0]])
    assert len(found) == 2 * len(PROMPTS)
    assert fingerprint(backend) == before


def test_a_prompt_with_nan_logits_is_its_own_error(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    real = TorchLM._forward
    longest = max(len(backend.lm.tokens.encode(p)) for p in PROMPTS)
    backend.lm.rows([[2, 3]], [[1]])
    backend.lm.token_budget = 1

    def forward(self: TorchLM, ids: torch.Tensor) -> torch.Tensor:
        return real(self, ids) * (math.nan if ids.shape[1] == longest else 1.0)

    monkeypatch.setattr(TorchLM, "_forward", forward)
    found = compare(backend, [FINETUNED], PROMPTS)
    assert sum(isinstance(c, ProbeError) for c in found.values()) == 1
    assert sum(isinstance(c, Comparison) for c in found.values()) == len(PROMPTS) - 1


class Stop(BaseException):
    pass


@pytest.mark.parametrize("positions", ["next", "prompt", "continuation"])
def test_a_checkpoint_that_raises_leaves_the_model_as_it_was(backend: Backend, positions: str) -> None:
    before = fingerprint(backend)
    backend.lm.token_budget = 30
    calls = 0

    def checkpoint() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Stop

    views = [FINETUNED, View.null(1), View.scaled(2.0)]
    running = backend.compare(BASE, views, PROMPTS, positions=positions, continuation_tokens=4, checkpoint=checkpoint)
    got = []
    with pytest.raises(Stop):
        got.extend(running)
    assert got
    assert list(running) == []
    assert fingerprint(backend) == before
    with backend.as_base() as view:
        assert view.id == "base"


def test_a_generator_that_is_closed_halfway_leaves_the_model_as_it_was(backend: Backend) -> None:
    before = fingerprint(backend)
    running = backend.compare(BASE, [View.null(1), View.null(2)], PROMPTS)
    next(running)
    with backend.as_finetuned() as view:  # no view is active while the caller has the floor
        view.next_token_dist("hello", top_k=3)
    running.close()
    assert fingerprint(backend) == before


def test_an_error_inside_a_view_leaves_the_model_as_it_was(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(backend)
    backend.lm.rows([[2, 3]], [[1]])

    def forward(self: TorchLM, ids: torch.Tensor) -> torch.Tensor:
        raise KeyError("a defect")

    monkeypatch.setattr(TorchLM, "_forward", forward)
    with pytest.raises(KeyError):
        compare(backend, [View.null(1)], PROMPTS)
    assert fingerprint(backend) == before
    assert backend.instrumentation.stats.total_lookups == 0


def test_a_view_that_is_active_already_is_refused(backend: Backend) -> None:
    with backend.as_base(), pytest.raises(RuntimeError, match="view already active"):
        compare(backend, [FINETUNED], ["hello"])


def test_a_model_that_pads_badly_is_run_without_padding(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, llama: Path, adapter: Path
) -> None:
    want = compare(backend, [FINETUNED], PROMPTS)
    odd = open_backend(llama, adapter)
    real = TorchLM._forward

    def looks_right(self: TorchLM, ids: torch.Tensor) -> torch.Tensor:
        """As a model with bidirectional attention would: what stands right of a token changes it."""
        return real(self, ids) + ids.float().mean(1)[:, None, None] * torch.linspace(0, 1, 416)

    def reference(prompt: str) -> float:
        ids = odd.lm.tokens.encode(prompt)
        shift = torch.tensor(ids).float().mean() * torch.linspace(0, 1, 416)
        rows = [(full_logits(odd, v, ids)[-1] + shift).log_softmax(-1) for v in (FINETUNED, BASE)]
        return float(js_of(*rows))

    monkeypatch.setattr(TorchLM, "_forward", looks_right)
    found = compare(odd, [FINETUNED], PROMPTS)
    assert not odd.lm._pads
    assert found[0, FINETUNED].js != pytest.approx(want[0, FINETUNED].js, abs=1e-4)
    for i, prompt in enumerate(PROMPTS):
        assert found[i, FINETUNED].js == pytest.approx(reference(prompt), abs=1e-4)


def test_comparisons_are_json_ready(backend: Backend) -> None:
    (c,) = compare(backend, [FINETUNED], ["hello there"], positions="prompt").values()
    assert json.loads(json.dumps([c.js, c.per_position, c.base_top[0].id, c.base_top[0].prob]))


def test_vocabularies_that_are_padded_differently_are_compared_on_the_tokens_both_have(
    backend: Backend, fake_pair: Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]
) -> None:
    base, tuned = fake_pair(416, 512)
    found = backend._divergences(base, tuned, [0])
    want = js_of(tuned[:, :400].double().log_softmax(-1), base[:, :400].double().log_softmax(-1))
    assert found.js == pytest.approx(want.tolist())


@pytest.fixture
def fake_pair() -> Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]:
    def make(one: int, other: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        return torch.randn(3, one, generator=generator), torch.randn(3, other, generator=generator)

    return make
