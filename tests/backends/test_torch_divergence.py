from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr

from sway_dash.backends.torch_divergence import RowDivergences, row_divergences, top_tokens
from sway_dash.core.errors import ProbeError
from sway_dash.core.scoring import Comparison

LN2 = math.log(2)


def logits(seed: int, n: int = 5, vocab: int = 1000, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(n, vocab, generator=torch.Generator().manual_seed(seed)) * scale


def test_divergences_equal_the_definition_in_float64() -> None:
    base, tuned = logits(0), logits(1)
    found = row_divergences(base, tuned)
    q, p = (np.exp(log_softmax(x.double().numpy(), axis=1)) for x in (base, tuned))
    m = (p + q) / 2
    assert found.js == pytest.approx(0.5 * rel_entr(p, m).sum(1) + 0.5 * rel_entr(q, m).sum(1), rel=1e-9)
    assert found.kl == pytest.approx(rel_entr(p, q).sum(1), rel=1e-9)
    assert found.kl_reverse == pytest.approx(rel_entr(q, p).sum(1), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("vocab", [7, 1000, 49_153])
def test_equal_rows_give_exactly_zero(dtype: torch.dtype, vocab: int) -> None:
    rows = logits(3, n=4, vocab=vocab, scale=8.0).to(dtype)
    found = row_divergences(rows, rows.clone())
    for values in (found.js, found.kl, found.kl_reverse):
        assert (values == 0).all()
    assert (found.same_top == 1).all()


def test_small_differences_are_not_lost_in_rounding() -> None:
    base = logits(4).double()
    for step in (1e-3, 1e-5, 1e-7):
        tuned = base + step * logits(5).double()
        q, p = base.softmax(1), tuned.softmax(1)
        second_order = ((p - q) ** 2 / (8 * q)).sum(1).numpy()
        assert row_divergences(base, tuned).js == pytest.approx(second_order, rel=30 * step + 1e-2)


def test_opposite_rows_reach_ln2_and_no_more() -> None:
    base = torch.full((1, 50), -1e4)
    tuned = base.clone()
    base[0, 3] = tuned[0, 7] = 1e4
    found = row_divergences(base, tuned)
    assert found.js[0] == pytest.approx(LN2)
    assert found.js[0] <= LN2
    assert np.isfinite(found.kl).all()
    assert found.same_top[0] == 0


def test_masked_tokens_have_no_probability() -> None:
    base, tuned = logits(6), logits(7)
    base[:, 10:20] = tuned[:, 10:20] = -torch.inf
    keep = [i for i in range(1000) if not 10 <= i < 20]
    masked, without = row_divergences(base, tuned), row_divergences(base[:, keep], tuned[:, keep])
    assert masked.js == pytest.approx(without.js)
    assert masked.kl == pytest.approx(without.kl)
    assert not masked.bad
    base[:, 10] = 1.0
    one_sided = row_divergences(base, tuned)
    assert np.isfinite(one_sided.kl_reverse).all()
    assert (one_sided.js <= LN2).all()


@pytest.mark.parametrize(("value", "count"), [(math.nan, 3), (math.inf, 3)])
def test_a_broken_row_is_an_error_and_the_others_go_on(value: float, count: int) -> None:
    base, tuned = logits(8), logits(9)
    good = row_divergences(base, tuned)
    tuned[2, :count] = value
    found = row_divergences(base, tuned)
    assert list(found.bad) == [2]
    broken, fine = found.comparison([2], 2, 0), found.comparison([0, 1], 0, 0)
    assert isinstance(broken, ProbeError)
    assert "tuned view gives 3 non-finite" in str(broken)
    assert isinstance(fine, Comparison)
    assert fine.js == pytest.approx(good.js[:2].mean())


def test_a_row_of_minus_infinity_is_broken() -> None:
    base, tuned = logits(8), logits(9)
    base[1] = -torch.inf
    assert "base view" in row_divergences(base, tuned).bad[1]


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    base, tuned = logits(10, n=40), logits(11, n=40)
    whole = row_divergences(base, tuned)
    monkeypatch.setitem(__import__("sway_dash.backends.torch_divergence", fromlist=["_"])._CHUNK, "cpu", 3000)
    assert row_divergences(base, tuned).js == pytest.approx(whole.js, rel=1e-12)


def test_no_rows_give_no_divergences() -> None:
    assert len(row_divergences(torch.zeros(0, 9), torch.zeros(0, 9)).js) == 0


def test_joined_parts_keep_their_rows() -> None:
    base, tuned = logits(12), logits(13)
    tuned[3] = math.nan
    parts = [row_divergences(base[k : k + 2], tuned[k : k + 2]) for k in (0, 2, 4)]
    whole, joined = row_divergences(base, tuned), RowDivergences.join(parts)
    assert joined.bad == whole.bad
    assert joined.kl == pytest.approx(whole.kl, nan_ok=True)


def test_top_tokens_are_sorted_and_carry_probabilities() -> None:
    rows = logits(14)
    (found,) = top_tokens(rows, [2], str, k=4)
    want = rows[2].softmax(0).sort(descending=True)
    assert [t.id for t in found] == want.indices[:4].tolist()
    assert [t.prob for t in found] == pytest.approx(want.values[:4].tolist())
    assert found[0].text == str(found[0].id)
    assert top_tokens(rows, [], str) == []
