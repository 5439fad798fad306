"""Comparing two JSON documents: what differs between runs anyway is masked, numbers are compared with a tolerance."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

TIME_FIELDS = frozenset({"duration_s", "finished_at", "scoring_wall_s", "started_at", "wall_seconds"})
"""Keys of a result that hold times."""

RUN_FIELDS = TIME_FIELDS | {"run_id"}
"""All in which two runs of one suite on one machine differ that found the same null draws on disk."""

CACHE_FIELDS = frozenset({"backend_stats", "from_cache", "measured", "reused"})
"""Keys, in the evidence of ``null_adapter`` and beside it, that say whether draws were made or found on disk."""

DEFAULT_VARIABLE_FIELDS = RUN_FIELDS | {
    "adapter_id",
    "backend_stats",
    "base_model_id",
    "environment",
    "spec_path",
    "sway_version",
}
"""Keys whose values differ from run to run or from machine to machine."""

_PROSE = frozenset({"findings", "message"})

_OF_KIND: dict[str, Collection[str]] = {"null_adapter": CACHE_FIELDS, "gradient_ghost": ("source",)}
_SCORE_KEYS = frozenset({"score", "overall"})


@dataclass(frozen=True, slots=True)
class Diff:
    """One place at which two documents differ; ``path`` starts at ``$``."""

    path: str
    actual: Any
    expected: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason} (actual {self.actual!r}, expected {self.expected!r})"


def mask_variable_fields(payload: Any, *, fields: Collection[str] = DEFAULT_VARIABLE_FIELDS) -> Any:
    """Return a copy of a JSON document without the named keys, at any depth."""
    if isinstance(payload, dict):
        return {k: mask_variable_fields(v, fields=fields) for k, v in payload.items() if k not in fields}
    if isinstance(payload, list):
        return [mask_variable_fields(v, fields=fields) for v in payload]
    return payload


def comparable(document: dict[str, Any], *, fields: Collection[str] = DEFAULT_VARIABLE_FIELDS) -> dict[str, Any]:
    """Return what two result documents of one suite are to have in common: numbers, verdicts, names.

    Also left out are the sentences that are made of the numbers, since a digit that is rounded the other way is no
    difference, whether null draws were made or found on disk, and where a file lay.
    """
    found: dict[str, Any] = mask_variable_fields(document, fields={*fields, *_PROSE})
    probes = found.get("probes")
    if isinstance(probes, list):
        found["probes"] = [
            mask_variable_fields(p, fields=_OF_KIND.get(str(p.get("kind")), ())) if isinstance(p, dict) else p
            for p in probes
        ]
    return found


def compare_goldens(
    actual: Any, expected: Any, *, logprob_tol: float = 1e-4, score_tol: float = 1e-4, rel_tol: float = 0.0
) -> list[Diff]:
    """Return all differences between two JSON documents, in order.

    Parameters
    ----------
    score_tol
        Largest accepted distance of numbers under a key ``score`` or ``overall``.
    logprob_tol
        The same for all other numbers.
    rel_tol
        Accepts a distance up to this share of the expected number, too.
    """

    def tolerance(path: str, value: float) -> float:
        absolute = score_tol if path.rpartition(".")[2] in _SCORE_KEYS else logprob_tol
        return max(absolute, rel_tol * abs(value))

    def walk(a: Any, e: Any, path: str) -> Iterator[Diff]:
        if _kind(a) != _kind(e):
            yield Diff(path, a, e, "type mismatch")
        elif isinstance(a, dict):
            for key in sorted(a.keys() | e.keys(), key=str):
                at = f"{path}.{key}"
                if key not in e:
                    yield Diff(at, a[key], None, "unexpected key in actual")
                elif key not in a:
                    yield Diff(at, None, e[key], "missing key in actual")
                else:
                    yield from walk(a[key], e[key], at)
        elif isinstance(a, list):
            if len(a) != len(e):
                yield Diff(path, a, e, f"list length mismatch: {len(a)} against {len(e)}")
            else:
                for i, (x, y) in enumerate(zip(a, e, strict=True)):
                    yield from walk(x, y, f"{path}[{i}]")
        elif _kind(a) == "number":
            if not _close(a, e, tolerance(path, e)):
                yield Diff(path, a, e, f"Δ = {abs(a - e):.6g} is more than {tolerance(path, e):.6g}")
        elif a != e:
            yield Diff(path, a, e, "value mismatch")

    return list(walk(actual, expected, "$"))


def _kind(value: Any) -> str:
    """Type of a JSON value; whole and other numbers are of one type, true and false are no numbers."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


def _close(a: float, b: float, tolerance: float) -> bool:
    if math.isfinite(a) and math.isfinite(b):
        return abs(a - b) <= tolerance
    return a == b or (math.isnan(a) and math.isnan(b))
