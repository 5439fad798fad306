"""Numbers are written so that rounding changes no statement about them."""

from __future__ import annotations

import pytest

from sway_dash.core.numbers import number, p_text, z_text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (p_text(0.0502), "0.0502"),
        (p_text(0.0498), "0.0498"),
        (p_text(0.05), "0.05"),
        (p_text(0.0112), "0.011"),
        (number(999.7), "1,000"),
        (number(999.4), "999"),
        (z_text(1234.5), "≥ +99σ"),
        (z_text(-1234.5), "≤ -99σ"),
        (z_text(98.99), "+98.99σ"),
        (z_text(-0.001), "+0.00σ"),
    ],
)
def test_a_number_reads_as_what_it_is(written: str, text: str) -> None:
    assert written == text
