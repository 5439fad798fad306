"""The same model twice: what a run calls rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sway_dash.backends.torch_lm import TorchLM
from sway_dash.core.scoring import FINETUNED, NoiseMeasurable, noise_floor
from tests.backends.conftest import PROMPTS, fingerprint, open_backend
from tests.backends.test_compare import compare

Backend = Any


def test_single_precision_rounds_far_below_what_an_adapter_does(backend: Backend) -> None:
    assert isinstance(backend, NoiseMeasurable)
    before = fingerprint(backend)
    found = backend.noise_floor(PROMPTS)
    assert found is not None
    assert found.prompts == min(8, len(set(PROMPTS)))
    assert 0.0 <= found.js < 1e-9
    least = min(c.js for c in compare(backend, [FINETUNED], PROMPTS).values())
    assert found.js < 1e-3 * least
    assert fingerprint(backend) == before


def test_noise_that_depends_on_the_batch_is_seen(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TorchLM.logits

    def rough(self: TorchLM, sequences: Any, picks: Any) -> torch.Tensor:
        rows = plain(self, sequences, picks)
        return rows + 0.1 * torch.sin(torch.arange(rows.shape[1])) * (len(sequences) > 1)

    monkeypatch.setattr(TorchLM, "logits", rough)
    found = backend.noise_floor(PROMPTS)
    # To leading order KL is half the variance of the change of the logits, JS a quarter of that.
    assert found.kl == pytest.approx(0.5 * 0.01 * 0.5, rel=0.6)
    assert found.js == pytest.approx(found.kl / 4, rel=0.1)


def test_half_precision_rounds_more(llama: Any, adapter: Any, backend: Backend) -> None:
    half = open_backend(llama, adapter, dtype="bf16")
    try:
        assert half.noise_floor(PROMPTS).js >= backend.noise_floor(PROMPTS).js
    finally:
        half.close()


def test_nothing_to_measure_is_no_number(backend: Backend) -> None:
    assert backend.noise_floor([]) is None


def test_a_long_prompt_counts_with_its_end(backend: Backend) -> None:
    assert backend.noise_floor(["word " * 5000, "word"]).prompts == 2


@pytest.mark.parametrize("broken", [{}, {"noise_floor": None}, {"noise_floor": 3}, {"noise_floor": {"js": 1.0}}])
def test_a_run_without_the_measurement_has_none(broken: dict[str, Any]) -> None:
    assert noise_floor(broken) is None
