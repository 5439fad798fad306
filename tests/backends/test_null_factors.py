"""Nulls that keep something of what was trained: the size of every module's change, or its singular values."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sway_dash.backends.null_factors import (
    Change,
    factors,
    fill,
    orthonormal,
    products,
    singular_values,
    trained_changes,
)
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import BASE, FINETUNED, NullStyle, View
from tests.backends.conftest import fingerprint, open_backend, save_adapter
from tests.backends.test_views import delta, layers, rows

Backend = Any
MATCHED: tuple[NullStyle, ...] = ("norm_matched", "spectrum")


def changes(backend: Backend, view: View) -> list[torch.Tensor]:
    """ΔW of every module, under a null or as trained."""
    lora = backend._lora
    if view == FINETUNED:
        return [layer.get_delta_weight("default").double() for layer in layers(backend)]
    with lora.kept():
        name = lora._slot(view)
        return [layer.get_delta_weight(name).double() for layer in layers(backend)]


@pytest.mark.parametrize("which", ["backend", "gpt2_backend"])
@pytest.mark.parametrize("style", MATCHED)
def test_every_module_changes_as_much_as_it_was_trained_to(
    which: str, style: NullStyle, request: pytest.FixtureRequest
) -> None:
    backend = request.getfixturevalue(which)
    trained = changes(backend, FINETUNED)
    for s in (1.0, 0.25, 4.0):
        null = changes(backend, View.null(3, style=style, rank_scale=s))
        for own, other in zip(trained, null, strict=True):
            # The variance of the entries grows as s, so their norm as √s.
            assert float(other.norm()) == pytest.approx(math.sqrt(s) * float(own.norm()), rel=1e-4)
    assert backend.update_norm(View.null(3, style=style)) == pytest.approx(backend.update_norm(FINETUNED), rel=1e-4)


def test_a_spectrum_is_kept_value_by_value(backend: Backend) -> None:
    trained = changes(backend, FINETUNED)
    for own, other in zip(trained, changes(backend, View.null(3, style="spectrum")), strict=True):
        want = torch.linalg.svdvals(own)[:4]
        assert torch.linalg.svdvals(other)[:5].tolist() == pytest.approx([*want.tolist(), 0.0], abs=1e-4)
    norms_only = changes(backend, View.null(3, style="norm_matched"))
    assert any(
        not torch.allclose(torch.linalg.svdvals(own)[:4], torch.linalg.svdvals(other)[:4], rtol=0.05)
        for own, other in zip(trained, norms_only, strict=True)
    )


@pytest.mark.parametrize("style", MATCHED)
def test_directions_are_random_and_repeat_by_seed(backend: Backend, style: NullStyle) -> None:
    one, again, other = (delta(backend, View.null(seed, style=style)) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    trained = torch.cat([d.flatten() for d in changes(backend, FINETUNED)]).float()
    for a, b in ((one, other), (one, trained)):
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.08
    assert not torch.allclose(rows(backend, View.null(1, style=style)), rows(backend, BASE), atol=1e-2)


def test_a_norm_matched_null_is_the_gaussian_one_at_another_size(backend: Backend) -> None:
    for a, b in zip(changes(backend, View.null(5)), changes(backend, View.null(5, style="norm_matched")), strict=True):
        assert torch.allclose(a / a.norm(), b / b.norm(), atol=1e-5)


def test_orthonormal_directions_favour_none() -> None:
    """Haar: every entry has mean 0 and variance 1 / rows; without the signs of R its diagonal would not."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([orthonormal(6, 3, generator) for _ in range(4000)])
    assert torch.allclose(drawn[0].T @ drawn[0], torch.eye(3), atol=1e-5)
    assert float(drawn.mean(0).abs().max()) < 4 / math.sqrt(4000 * 6)
    assert torch.allclose((drawn**2).mean(0), torch.full((6, 3), 1 / 6), atol=0.02)


def test_singular_values_are_those_of_the_product() -> None:
    a, b = torch.randn(4, 9, dtype=torch.double), torch.randn(3, 4, dtype=torch.double)
    assert torch.allclose(singular_values(a, b), torch.linalg.svdvals(b @ a))


def held(matrix: torch.Tensor) -> dict[str, Any]:
    """A trained matrix, and room for a null's."""
    return {"default": SimpleNamespace(weight=matrix), "null": SimpleNamespace(weight=torch.ones_like(matrix))}


def expert_layer() -> Any:
    """Three experts in one layer, as PEFT stores them."""
    a, b = held(torch.randn(3 * 2, 5)), held(torch.randn(7, 2 * 3))
    return SimpleNamespace(num_experts=3, lora_A=a, lora_B=b, scaling={"default": 2.0, "null": 2.0})


@pytest.mark.parametrize("style", MATCHED)
def test_experts_are_matched_one_by_one(style: NullStyle) -> None:
    layer = expert_layer()
    a, b = (m.clone() for m in factors(layer, "default"))
    want = torch.einsum("ore,eri->eoi", b.reshape(7, 2, 3), a.reshape(3, 2, 5)) * 2.0
    trained = trained_changes(layer, "default")
    assert [c.norm for c in trained] == pytest.approx([float(w.norm()) for w in want], rel=1e-5)
    fill(layer, "null", View.null(1, style=style), "experts", trained)
    a, b = factors(layer, "null")
    got = torch.einsum("ore,eri->eoi", b.reshape(7, 2, 3), a.reshape(3, 2, 5)) * 2.0
    assert [float(g.norm()) for g in got] == pytest.approx([float(w.norm()) for w in want], rel=1e-4)
    assert len(list(products(layer, "null"))) == 3


def test_a_rank_larger_than_the_module_leaves_columns_empty() -> None:
    a, b = torch.randn(6, 4), torch.randn(3, 6)
    layer = SimpleNamespace(lora_A=held(a), lora_B=held(b), scaling={"default": 1.0, "null": 1.0})
    fill(layer, "null", View.null(1, style="spectrum"), "wide", trained_changes(layer, "default"))
    new_a, new_b = factors(layer, "null")
    assert torch.allclose(torch.linalg.svdvals(new_b @ new_a), torch.linalg.svdvals(b @ a), atol=1e-4)
    assert not new_a[3:].any()


# --- what else may have been trained ------------------------------------------------------------------------------


def test_an_adapter_that_changes_nothing_has_no_noise_of_its_size(llama: Path, tmp_path: Path) -> None:
    backend = open_backend(llama, save_adapter(tmp_path, llama, b_std=0.0))
    before = fingerprint(backend)
    for style in MATCHED:
        with pytest.raises(ProbeError, match="changes no weight"), backend.as_null_adapter(1, style=style):
            pass
    assert fingerprint(backend) == before
    with backend.as_null_adapter(1):
        pass


def test_a_dora_is_matched_with_its_magnitudes_and_has_no_spectrum(llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_adapter(tmp_path, llama, use_dora=True)
    path = tmp_path / "adapter_model.safetensors"
    tensors = {k: v * 1.2 if "magnitude" in k else v for k, v in load_file(path).items()}
    save_file(tensors, path)
    backend, plain = open_backend(llama, tmp_path), open_backend(llama, None)
    before = fingerprint(backend)
    base = dict(plain.lm.model.named_modules())
    null = dict(zip(backend._lora._layers, changes(backend, View.null(2, style="norm_matched")), strict=True))
    for name, layer in backend._lora._layers.items():
        # What PEFT makes of the identity is the layer's whole effective weight.
        eye = torch.eye(layer.in_features)
        with torch.no_grad():
            want = layer(eye).T - base[name.removeprefix("base_model.model.")].weight
        assert float(null[name].norm()) == pytest.approx(float(want.norm()), rel=1e-4)
    with pytest.raises(ProbeError, match="use norm_matched"), backend.as_null_adapter(1, style="spectrum"):
        pass
    assert fingerprint(backend) == before
    assert backend.null_leaves_out("gaussian") == ("magnitudes of the DoRA",)
    assert backend.null_leaves_out("norm_matched") == ()


def test_trained_biases_are_turned_and_put_back(gpt2: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_adapter(tmp_path, gpt2, target_modules=["c_attn", "c_fc"], bias="lora_only")
    path = tmp_path / "adapter_model.safetensors"
    save_file({k: v + 0.5 if k.endswith(".bias") else v for k, v in load_file(path).items()}, path)
    backend = open_backend(gpt2, tmp_path)
    before = fingerprint(backend)
    biases = backend._lora._biases_of
    with backend.activate(View.null(1, style="norm_matched")):
        now = {n: p.clone() for n, p in backend._lora._bias_parameters(backend.peft_model).items()}
    for name, base in biases["base"].items():
        assert float((now[name] - base).norm()) == pytest.approx(float((biases["tuned"][name] - base).norm()), rel=1e-4)
        assert not torch.allclose(now[name], biases["tuned"][name], atol=1e-2)
    assert fingerprint(backend) == before
    assert backend.null_leaves_out("gaussian") == ("biases",)
    assert backend.null_leaves_out("norm_matched") == ()


def test_whole_modules_stay_the_bases_and_it_is_said(llama: Path, tmp_path: Path) -> None:
    plain = open_backend(llama, save_adapter(tmp_path / "plain", llama))
    saved = open_backend(llama, save_adapter(tmp_path / "saved", llama, modules_to_save=["embed_tokens"]))
    for style in MATCHED:
        view = View.null(4, style=style)
        assert torch.allclose(rows(plain, view), rows(saved, view), atol=1e-4)
        assert saved.null_leaves_out(style) == ("whole modules (embed_tokens)",)
    assert plain.null_leaves_out("gaussian") == ()


def test_an_adapter_on_the_embedding_is_matched(llama: Path, tmp_path: Path) -> None:
    backend = open_backend(llama, save_adapter(tmp_path, llama, target_modules=["embed_tokens", "q_proj"]))
    for style in MATCHED:
        for own, other in zip(changes(backend, FINETUNED), changes(backend, View.null(1, style=style)), strict=True):
            assert float(other.norm()) == pytest.approx(float(own.norm()), rel=1e-4)


def test_a_weight_that_is_not_finite_is_told() -> None:
    layer = SimpleNamespace(
        lora_A={"default": SimpleNamespace(weight=torch.full((2, 3), math.nan))},
        lora_B={"default": SimpleNamespace(weight=torch.ones(4, 2))},
        scaling={"default": 1.0},
    )
    with pytest.raises(ProbeError, match="NaN or infinity"):
        trained_changes(layer, "default")


def test_a_module_that_did_not_change_does_not_change_in_the_null(backend: Backend) -> None:
    layer = SimpleNamespace(
        lora_A={"n": SimpleNamespace(weight=torch.ones(2, 3))},
        lora_B={"n": SimpleNamespace(weight=torch.ones(4, 2))},
        scaling={"n": 1.0},
    )
    still = [Change(0.0, torch.zeros(2, dtype=torch.double))]
    for style in MATCHED:
        fill(layer, "n", View.null(1, style=style), "still", still)
        a, b = factors(layer, "n")
        assert not (b @ a).any()
