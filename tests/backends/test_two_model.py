from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sway_dash.backends import TwoModelDifferential, build_two_separate
from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.errors import ModelLoadError, ProbeError
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import BASE, FINETUNED, Describable, DifferentialBackend, ExactComparer, View
from tests.backends.conftest import PROMPTS, llama_config, make_tokenizer, open_backend, save_adapter, save_model


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory, llama: Path, adapter: Path) -> Path:
    """The adapter merged into its base: a full fine-tune."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("merged")
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(llama), adapter)
    model.merge_and_unload().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def pair(llama: Path, merged: Path) -> Iterator[Any]:
    specs = SimpleNamespace(
        base=ModelSpec(base=str(llama), device="cpu", dtype="fp32"),
        ft=ModelSpec(base=str(merged), device="cpu", dtype="fp32"),
    )
    opened = build_two_separate(specs)
    yield opened
    opened.close()


def test_two_full_models_differ_as_the_adapter_does(pair: Any, backend: Any) -> None:
    assert isinstance(pair, ExactComparer)
    assert isinstance(pair, Describable)
    for positions in ("next", "prompt", "continuation"):
        options = {"positions": positions, "continuation_tokens": 4}
        found = {i: c for i, _, c in pair.compare(BASE, [FINETUNED], PROMPTS, **options)}
        want = {i: c for i, _, c in backend.compare(BASE, [FINETUNED], PROMPTS, **options)}
        for i in want:
            assert found[i].js == pytest.approx(want[i].js, abs=1e-5)


def test_the_pair_counts_for_both_sides(pair: Any) -> None:
    with pair.instrumentation.attached() as stats:
        list(pair.compare(BASE, [FINETUNED], PROMPTS))
        assert stats.cache_misses == stats.forward_passes == 2 * len(PROMPTS)
        with pair.as_base() as view:
            view.next_token_dist("hello")
        with pair.as_finetuned() as view:
            view.next_token_dist("hello")
            view.next_token_dist("hello")
    assert stats.cache_misses == 2 * len(PROMPTS) + 2
    assert stats.cache_hits == 1


def test_the_sides_are_what_they_are_called(pair: Any, llama: Path, merged: Path) -> None:
    for side, enter in ((llama, pair.as_base), (merged, pair.as_finetuned)):
        with enter() as view, open_backend(side, None).as_base() as alone:
            assert view.rolling_logprob(PROMPTS[0]).logprobs == pytest.approx(
                alone.rolling_logprob(PROMPTS[0]).logprobs
            )


def test_views_do_not_nest(pair: Any) -> None:
    with pair.as_base(), pytest.raises(RuntimeError, match="view already active"), pair.as_finetuned():
        pass
    with pair.as_finetuned() as view:
        assert view.id == "ft"


def test_there_is_no_null_of_two_models(pair: Any) -> None:
    with pytest.raises(ProbeError, match="no adapter"):
        list(pair.compare(BASE, [View.null(1)], ["hello"]))


def test_both_sides_are_checked(pair: Any) -> None:
    import torch

    assert pair.preflight_finite_check() == (True, "")
    assert pair.identical_views() == ()
    with torch.no_grad():
        pair.base.lm.model.model.norm.weight.fill_(float("nan"))
    pair.base._checked.clear()
    ok, reason = pair.preflight_finite_check()
    assert not ok
    assert reason.startswith("base model: ")
    assert "non-finite" in reason


def test_the_same_checkpoint_twice_is_noticed(llama: Path) -> None:
    same = TwoModelDifferential(open_backend(llama, None), open_backend(llama, None))
    assert "same checkpoint" in same.identical_views()[0]  # type: ignore[attr-defined]


def test_both_are_described(pair: Any, llama: Path, merged: Path) -> None:
    facts = pair.describe()
    assert (facts["base"], facts["tuned"]) == (str(llama), str(merged))
    # Whose weights are meant is never left open.
    assert facts["base_identity"] == facts["base_model"]["base_identity"]
    assert facts["tuned_identity"] not in (facts["base_identity"], None)
    assert facts["fingerprint"] not in (facts["base_model"]["fingerprint"], "")
    assert facts["fingerprint"] in pair.cache_identity()


def test_different_tokenizers_are_refused_by_their_first_difference(llama: Path, tmp_path: Path) -> None:
    other = make_tokenizer()
    other.add_tokens(["<extra>"])
    longer = save_model(tmp_path / "longer", llama_config(), other)
    with pytest.raises(ModelLoadError, match=r"'<extra>' \(number 400\) is missing in base"):
        TwoModelDifferential(open_backend(llama, None), open_backend(longer, None))
    with pytest.raises(ModelLoadError, match=r"'<extra>' is number 400 in base, missing in ft"):
        TwoModelDifferential(open_backend(longer, None), open_backend(llama, None))


def test_a_tuned_side_with_adapter_and_a_failed_second_side(
    llama: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend

    closed: list[object] = []
    monkeypatch.setattr(HuggingFaceDifferentialBackend, "close", lambda self: closed.append(self))
    base = ModelSpec(base=str(llama), device="cpu", dtype="fp32")
    opened = build_two_separate(SimpleNamespace(base=base, ft=base.model_copy(update={"adapter": adapter})))
    assert isinstance(opened, ExactComparer)
    with pytest.raises(ModelLoadError):
        build_two_separate(SimpleNamespace(base=base, ft=base.model_copy(update={"adapter": tmp_path / "none"})))
    assert len(closed) == 1


def test_other_backends_give_views_that_are_counted() -> None:
    pair = TwoModelDifferential(DummyDifferentialBackend(), DummyDifferentialBackend())
    assert isinstance(pair, DifferentialBackend)
    assert not isinstance(pair, ExactComparer)
    assert pair.preflight_finite_check() == (True, "")
    with pair.instrumentation.attached() as stats:
        with pair.as_base() as view:
            assert view.id == "base"
            assert view.next_token_dist("x").logprobs[0] == pytest.approx(-0.1)
            assert view.logprob_of("a", "b") == -10.0
            assert view.rolling_logprob("a b c").total_logprob == -4.0
        with pair.as_finetuned() as view:
            assert view.rolling_logprob("a b c").total_logprob == -3.0
            view.rolling_logprob("a b c")
    assert (stats.cache_misses, stats.cache_hits) == (4, 1)
    pair.close()


def test_a_side_that_cannot_be_closed_does_not_keep_the_other_open() -> None:
    class Side(DummyDifferentialBackend):
        closed = False

        def close(self) -> None:
            self.closed = True
            raise OSError("busy")

    sides = Side(), Side()
    with pytest.raises(OSError, match="busy"):
        TwoModelDifferential(*sides).close()
    assert all(s.closed for s in sides)


def test_an_adapter_pair(llama: Path, adapter: Path, tmp_path: Path) -> None:
    """Two adapters on one base: base side without, tuned side with its adapter."""
    other = save_adapter(tmp_path, llama, seed=8)
    pair: Any = TwoModelDifferential(open_backend(llama, other), open_backend(llama, adapter))
    (one,) = pair.compare(BASE, [FINETUNED], ["hello"])
    (want,) = open_backend(llama, adapter).compare(BASE, [FINETUNED], ["hello"])
    assert one[2].js == pytest.approx(want[2].js, abs=1e-6)
