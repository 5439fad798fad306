"""The trained adapter without some of its layers, or with these alone.

A module that is left out is switched off, not scaled: it then computes exactly what the base computes, whatever kind
of adapter it has, and nothing is written that would have to be restored but a flag.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sway_dash.backends.null_factors import products, size
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import OUTSIDE, View
from sway_dash.core.training import layer_of


def index_of(name: str) -> int:
    """Index of the layer a module stands in; :data:`OUTSIDE` for embeddings and heads."""
    found = layer_of(name)
    return OUTSIDE if found is None else found


def adapted_layers(modules: Mapping[str, Any]) -> tuple[int, ...]:
    """Indices of the layers that ``modules`` (by name) stand in, ascending."""
    return tuple(sorted({index_of(name) for name in modules}))


def require_layers(view: View, modules: Mapping[str, Any], bias: str) -> None:
    """``ProbeError`` where an adapter cannot be switched layer by layer, or has no change in a layer asked for."""
    if bias != "none":
        raise ProbeError(
            "layer view", f"it trains biases (bias={bias!r}), which are written into the base and have no switch"
        )
    known = adapted_layers(modules)
    missing = [i for i in view.layers if i not in known]
    if missing:
        raise ProbeError("layer view", f"the adapter changes layers {list(known)}, not {missing}")


@contextmanager
def layers_switched(modules: Mapping[str, Any], view: View) -> Iterator[None]:
    """Switch off the modules of the layers a view leaves out; all flags are back afterwards, whatever happens."""
    off = [m for name, m in modules.items() if (index_of(name) in view.layers) != view.keep]
    before = [m._disable_adapters for m in off]
    try:
        for module in off:
            module._disable_adapters = True
        yield
    finally:
        for module, flag in zip(off, before, strict=True):
            module._disable_adapters = flag


def layer_norms(layers: Mapping[str, Any], adapter: str) -> dict[int, float | None]:
    """Frobenius norm of the change of each layer's weights; None where it is no product of A and B."""
    squares: dict[int, float] = {}
    for name, layer in layers.items():
        index, pairs = index_of(name), list(products(layer, adapter))
        found = sum((layer.scaling[adapter] * size(a, b)) ** 2 for a, b in pairs) if pairs else math.nan
        squares[index] = squares.get(index, 0.0) + found
    return {i: math.sqrt(v) if math.isfinite(v) else None for i, v in sorted(squares.items())}
