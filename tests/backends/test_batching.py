from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.backends.batching import halving, is_out_of_memory, plan_batches, windows
from sway_dash.core.errors import ProbeError

LENGTHS = st.lists(st.integers(1, 60), max_size=60)


@given(LENGTHS, st.integers(1, 300), st.integers(1, 12), st.integers(0, 50), st.booleans())
def test_every_sequence_is_in_one_batch_and_batches_keep_their_bounds(
    lengths: list[int], tokens: int, rows: int, overhead: int, padding: bool
) -> None:
    batches = plan_batches(lengths, max_tokens=tokens, max_rows=rows, overhead=overhead, padding=padding)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        width = max(lengths[i] for i in batch)
        assert len(batch) == 1 or (len(batch) * width <= tokens and len(batch) <= rows)
        assert padding or len({lengths[i] for i in batch}) == 1


def test_one_batch_when_starting_another_costs_more_than_the_padding() -> None:
    assert len(plan_batches([9, 10, 10, 9], max_tokens=100, max_rows=9, overhead=50)) == 1
    assert len(plan_batches([1, 1, 1, 90], max_tokens=999, max_rows=9, overhead=50)) == 2


def test_a_sequence_beyond_every_bound_is_a_batch_of_its_own() -> None:
    assert plan_batches([500], [500], max_tokens=10, max_rows=10) == [[0]]


@given(st.integers(0, 400), st.integers(0, 60), st.integers(1, 64))
def test_windows_predict_each_token_once_with_half_a_window_of_context(n: int, first: int, width: int) -> None:
    found = windows(n, first, width)
    predicted = [t for w in found for t in range(w.first, w.end + 1)]
    assert predicted == list(range(max(first, 1), n))
    for w in found:
        assert 0 < w.end - w.begin <= width
        assert w.first - w.begin >= min(w.first, max(1, width // 2))


def test_a_text_that_fits_is_one_window() -> None:
    (window,) = windows(65, 10, 64)
    assert (window.begin, window.end, window.first) == (0, 64, 10)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_out_of_memory_is_told_from_other_errors(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_halving_splits_until_it_fits_and_keeps_the_order() -> None:
    sizes: list[int] = []

    def run(items: list[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > 2:
            raise MemoryError
        return [i * 10 for i in items]

    assert halving(list(range(5)), run) == [0, 10, 20, 30, 40]
    assert sizes[0] == 5


def test_one_item_that_does_not_fit_is_a_probe_error() -> None:
    def run(_: object) -> list[int]:
        raise RuntimeError("out of memory")

    with pytest.raises(ProbeError, match="one prompt alone does not fit"):
        halving([1], run)


def test_other_errors_pass() -> None:
    def run(_: object) -> list[int]:
        raise KeyError("x")

    with pytest.raises(KeyError):
        halving([1, 2], run)
