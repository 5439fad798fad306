"""Random factors in a LoRA's place: how large they are, and along which directions they point.

A module's change of the weights is ``ΔW = scaling · B A``, with A ``(r, in)`` and B ``(out, r)``. A null keeps of the
trained ΔW nothing (``gaussian``), its Frobenius norm (``norm_matched``) or its singular values (``spectrum``); its
direction is random in all three. Everything is drawn and measured on the CPU, so the device does not change a draw.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import View

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Change:
    """The trained change of one matrix of weights, scaling included."""

    norm: float
    """Frobenius norm."""
    spectrum: torch.Tensor | None
    """``(k,)`` singular values, float64; None where the change is no product of A and B."""


def factors(layer: Any, adapter: str) -> list[Any]:
    """A and B of one adapter in one layer."""
    out = []
    for kind in ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B"):
        held = getattr(layer, kind, {})
        if adapter in held:
            out.append(getattr(held[adapter], "weight", held[adapter]))
    return out


def products(layer: Any, adapter: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The pairs A ``(r, in)`` and B ``(out, r)`` whose products change weights, as views of what the layer holds.

    One pair a layer, and one an expert where a layer holds several; none where A and B do not fit together.
    """
    found = [m.detach() for m in factors(layer, adapter)]
    if len(found) != 2:
        return
    a, b = (m.flatten(1) for m in found)
    if a.shape[0] != b.shape[1]:
        return
    experts = int(getattr(layer, "num_experts", 1))
    if experts == 1:
        yield a, b
        return
    # As PEFT stores them: A by expert and then rank, B by rank and then expert.
    by_expert, by_rank = a.view(experts, -1, a.shape[1]), b.view(b.shape[0], -1, experts)
    for e in range(experts):
        yield by_expert[e], by_rank[:, :, e]


def size(a: torch.Tensor, b: torch.Tensor) -> float:
    """‖BA‖ (Frobenius) as ``√tr(BᵀB · AAᵀ)``: two r × r matrices instead of one as large as the weights."""
    a, b = a.cpu().double(), b.cpu().double()
    total = float(((b.T @ b) * (a @ a.T)).sum())
    # Rounding can take it below 0; NaN has to stay NaN.
    return 0.0 if total < 0.0 else math.sqrt(total)


def singular_values(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Singular values of BA, largest first: those of ``R_B R_Aᵀ``, where ``Q R`` are B and Aᵀ."""
    import torch

    r_a, r_b = (torch.linalg.qr(m.cpu().double(), mode="r").R for m in (a.T, b))
    found: torch.Tensor = torch.linalg.svdvals(r_b @ r_a.T)
    return found


def orthonormal(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """``(rows, columns)`` orthonormal columns, uniform over all such (Haar).

    QR of a Gaussian matrix with the signs of R's diagonal multiplied back in, without which the directions would
    depend on how the decomposition chooses signs (Mezzadri 2007).
    """
    import torch

    q, r = torch.linalg.qr(torch.randn(rows, columns, generator=generator))
    found: torch.Tensor = q * torch.where(r.diagonal() < 0, -1.0, 1.0)
    return found


def trained_changes(layer: Any, adapter: str) -> list[Change]:
    """What training did to a layer's weights, one for each of its :func:`products`.

    Of a DoRA the whole change counts, with the magnitudes: ``m (W + s BA) / ‖W + s BA‖ - W``, norms by row. It is no
    product of A and B and has no spectrum worth keeping.

    Raises
    ------
    ProbeError
        Where the size of the change is not known.
    """
    pairs, scaling = list(products(layer, adapter)), abs(float(layer.scaling[adapter]))
    variant = getattr(layer, "lora_variant", {}).get(adapter)
    magnitude = getattr(layer, "lora_magnitude_vector", {})
    dora = adapter in magnitude and len(pairs) == 1
    if not pairs or (variant is not None and not dora):
        what = type(layer if variant is None else variant).__name__
        raise ProbeError("null view", f"how much {what} changes the weights is not known")
    sizes = [_dora_norm(layer, adapter, *pairs[0])] if dora else [scaling * size(a, b) for a, b in pairs]
    if not all(map(math.isfinite, sizes)):
        raise ProbeError("null view", "the adapter has NaN or infinity among its weights")
    if dora:
        return [Change(sizes[0], None)]
    return [Change(norm, scaling * singular_values(a, b)) for norm, (a, b) in zip(sizes, pairs, strict=True)]


def _dora_norm(layer: Any, adapter: str, a: torch.Tensor, b: torch.Tensor) -> float:
    weight = layer.get_base_layer().weight.detach()
    if not weight.is_floating_point() or weight.dim() != 2 or adapter in getattr(layer, "lora_embedding_A", {}):
        raise ProbeError("null view", f"how much DoRA changes the weights of a {type(layer).__name__} is not known")
    weight = weight.cpu().double()
    weight = weight.T if getattr(layer, "fan_in_fan_out", False) else weight
    changed = weight + float(layer.scaling[adapter]) * (b.cpu().double() @ a.cpu().double())
    by_row = layer.lora_magnitude_vector[adapter].weight.detach().cpu().double().flatten() / changed.norm(dim=1)
    return float((by_row[:, None] * changed - weight).norm())


def fill(layer: Any, adapter: str, view: View, module: str, trained: list[Change]) -> None:
    """Put the noise of ``view`` into A and B of ``adapter``; ``trained`` matters to the styles that keep something.

    Each module has its own generator, seeded from the view's seed and the module's name and run on the CPU: neither
    the order of modules nor the process nor the device changes the draw. ``rank_scale`` multiplies the variance of
    ΔW: with s in place of it, A and B each get the factor s^¼.
    """
    import torch

    generator = torch.Generator().manual_seed(seed_of(view.seed, module))
    with torch.no_grad():
        if view.style == "spectrum":
            for (a, b), change in zip(products(layer, adapter), trained, strict=True):
                _turn(a, b, change, float(layer.scaling[adapter]), view, generator)
            return
        std = view.init_scale * view.rank_scale**0.25 if view.style == "gaussian" else 1.0
        for matrix in factors(layer, adapter):
            matrix.copy_(torch.randn(matrix.shape, generator=generator) * std)
        if view.style == "norm_matched":
            for (a, b), change in zip(products(layer, adapter), trained, strict=True):
                drawn = abs(float(layer.scaling[adapter])) * size(a, b)
                root = math.sqrt(change.norm * math.sqrt(view.rank_scale) / drawn) if drawn else 0.0
                a.mul_(root)
                b.mul_(root)


def _turn(
    a: torch.Tensor, b: torch.Tensor, change: Change, scaling: float, view: View, generator: torch.Generator
) -> None:
    """``BA = U Σ Vᵀ`` with the trained Σ and random U, V; columns beyond the rank of ΔW are 0."""
    import torch

    assert change.spectrum is not None
    k = len(change.spectrum)
    u, v = orthonormal(b.shape[0], k, generator), orthonormal(a.shape[1], k, generator)
    root = torch.sqrt(change.spectrum * math.sqrt(view.rank_scale) / abs(scaling) if scaling else 0 * change.spectrum)
    a.zero_()
    b.zero_()
    a[:k].copy_((v * root.float()).T)
    b[:, :k].copy_(u * root.float())


def turned(tuned: torch.Tensor, base: torch.Tensor, seed: int, name: str) -> torch.Tensor:
    """``base`` with a change as large as from ``base`` to ``tuned`` in a random direction: the null of a bias."""
    import torch

    noise = torch.randn(base.shape, generator=torch.Generator().manual_seed(seed_of(seed, name))).double()
    norm = float((tuned.cpu().double() - base.cpu().double()).norm())
    found: torch.Tensor = (base.cpu().double() + noise * (norm / float(noise.norm()))).to(base.device, base.dtype)
    return found


def seed_of(seed: int, name: str) -> int:
    """Seed of a named part of a draw; the same in every process."""
    digest = hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
