"""How token sequences are grouped into batches and long texts cut into windows. Plain arithmetic, no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sway_dash.core.errors import ProbeError

T = TypeVar("T")
R = TypeVar("R")

_SPAN = 512


def plan_batches(
    lengths: Sequence[int],
    rows: Sequence[int] | None = None,
    *,
    max_tokens: int,
    max_rows: int,
    overhead: int = 0,
    padding: bool = True,
) -> list[list[int]]:
    """Group sequences by length so that as little as possible is spent on padding and on starting batches.

    Parameters
    ----------
    lengths, rows
        Tokens of each sequence, and rows of logits it asks for (1 by default).
    max_tokens, max_rows
        Bounds of one batch, padding included. A single sequence beyond them is a batch of its own.
    overhead
        What starting one more batch costs, in tokens.
    padding
        ``False`` puts only sequences of equal length together.

    Returns
    -------
    Indices into ``lengths``, each exactly once; the cheapest partition of the length-sorted sequences.
    """
    rows = [1] * len(lengths) if rows is None else rows
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    batches: list[list[int]] = []
    # The search is quadratic in the number of sequences; spans keep that small.
    for start in range(0, len(order), _SPAN):
        batches += _cheapest(order[start : start + _SPAN], lengths, rows, max_tokens, max_rows, overhead, padding)
    return batches


def _cheapest(
    order: Sequence[int],
    lengths: Sequence[int],
    rows: Sequence[int],
    max_tokens: int,
    max_rows: int,
    overhead: int,
    padding: bool,
) -> list[list[int]]:
    """Dynamic programme: ``cost[j]`` is the least cost of the first ``j`` sequences, ``cut[j]`` its last boundary."""
    cost, cut = [0], [0]
    for j in range(1, len(order) + 1):
        width = lengths[order[j - 1]]
        best, where, used = None, j - 1, 0
        for i in range(j - 1, -1, -1):
            used += rows[order[i]]
            size = (j - i) * width
            if i < j - 1 and (size > max_tokens or used > max_rows or (not padding and lengths[order[i]] != width)):
                break
            total = cost[i] + size + overhead
            if best is None or total < best:
                best, where = total, i
        cost.append(best or 0)
        cut.append(where)
    batches: list[list[int]] = []
    end = len(order)
    while end:
        batches.append(list(order[cut[end] : end]))
        end = cut[end]
    return batches[::-1]


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens ``begin … end - 1`` go in; tokens ``first … end`` are predicted (``end`` is the one after the last)."""

    begin: int
    end: int
    first: int


def windows(n_tokens: int, first: int, width: int) -> list[Window]:
    """Cut a text so that each token from ``first`` on is predicted exactly once.

    ``width`` is the most tokens that may go in at once. Every token is predicted from at least ``width // 2`` tokens
    before it, or from all there are; a text that fits is one window.
    """
    out: list[Window] = []
    target = max(first, 1)
    while target < n_tokens:
        end = min(n_tokens - 1, max(0, target - max(1, width // 2)) + width)
        out.append(Window(max(0, end - width), end, target))
        target = end + 1
    return out


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the host refused memory, in any of the ways torch says so."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in text
        for words in ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")
    )


def halving(
    items: Sequence[T], run: Callable[[Sequence[T]], list[R]], *, release: Callable[[], None] = lambda: None
) -> list[R]:
    """``run(items)``; when memory runs out, both halves in turn. One item that does not fit is a ``ProbeError``."""
    try:
        return run(items)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler: the exception's frames hold the very tensors that have to go.
    release()
    if len(items) <= 1:
        raise ProbeError("scoring", "one prompt alone does not fit into memory: shorten it or use a smaller dtype")
    middle = len(items) // 2
    return [
        *halving(items[:middle], run, release=release),
        *halving(items[middle:], run, release=release),
    ]
