"""A prompt token by token as data: it survives JSON, refuses what it does not know, finds the first difference."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from sway_dash.core.detail import Choice, Prediction, PromptDetail, TokenDetail

DETAIL = PromptDetail(
    prompt='a "b"\n🙂',
    reference="base",
    view="scaled_0.1",
    tokens=(
        TokenDetail("<s>", 0, special=True),
        TokenDetail(
            "a",
            5,
            "prompt",
            prediction=Prediction(
                js=0.123456789,
                kl=1.0 / 3.0,
                kl_reverse=2e-9,
                choices=(Choice("a", 5, 0.123456789, 0.9), Choice("", 7, 0.0, 1.23456e-12)),
            ),
            base_logprob=-1.23456789,
            tuned_logprob=-0.0,
        ),
        TokenDetail("</s>", 1, "continuation", special=True, base_logprob=-87.0),
    ),
    base_says=("x", "y"),
    tuned_says=("</s>",),
    truncated_tokens=3,
)


def test_it_survives_json_with_few_digits() -> None:
    found = PromptDetail.from_dict(json.loads(json.dumps(DETAIL.to_dict(), allow_nan=False)))
    token = found.tokens[1]
    assert token.prediction == Prediction(
        0.123457, 0.333333, 2e-9, (Choice("a", 5, 0.1235, 0.9), Choice("", 7, 0.0, 1.235e-12))
    )
    assert token.base_logprob == -1.23457
    assert replace(found, tokens=()) == replace(DETAIL, tokens=())
    assert (found.tokens[0], found.tokens[2]) == (DETAIL.tokens[0], DETAIL.tokens[2])
    assert PromptDetail.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"schema": None},
        {"tokens": [["a", 5]]},
        {"tokens": [["a", 5, "middle", False, None, None, None]]},
        {"tokens": [["a", "five", "prompt", False, None, None, None]]},
        {"tokens": None},
        {"truncated_tokens": "many"},
    ],
)
def test_what_it_does_not_know_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        PromptDetail.from_dict({**DETAIL.to_dict(), **change})


def test_a_missing_field_is_refused() -> None:
    data = DETAIL.to_dict()
    del data["tuned_says"]
    with pytest.raises(KeyError):
        PromptDetail.from_dict(data)


@pytest.mark.parametrize(
    ("base", "tuned", "first"),
    [
        (("a", "b"), ("a", "b"), None),
        ((), (), None),
        (("a", "b"), ("a", "c"), 1),
        (("a", "b"), ("x", "b"), 0),
        (("a", "b"), ("a",), 1),
        (("a",), ("a", "b"), 1),
        ((), ("a",), 0),
    ],
)
def test_the_first_difference_is_where_the_two_part(
    base: tuple[str, ...], tuned: tuple[str, ...], first: int | None
) -> None:
    assert PromptDetail("p", base_says=base, tuned_says=tuned).first_difference == first
