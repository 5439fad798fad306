"""Fields of a form from the models, and text to values and back."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from sway_dash.core.model import ModelSpec
from sway_dash.dash.fields import FormField, form_fields, helper, hint, read, show
from sway_dash.probes.adapter_ablation import AdapterAblationSpec
from sway_dash.probes.base import PromptField, registry
from sway_dash.probes.delta_kl import DeltaKLSpec


class Case(BaseModel):
    prompt: str
    gold: str = ""


class Everything(BaseModel):
    given: str
    prompts: tuple[PromptField, ...] = ()
    number: int = Field(default=3, description="how many")
    limit: float | None = None
    mode: Literal["a", "b"] | None = None
    words: tuple[str, ...] = ()
    cases: tuple[Case, ...] = ()
    weights: dict[str, float] | None = None
    pairs: tuple[tuple[float, float], ...] = ()
    steps: tuple[Annotated[float, Field(ge=0)], ...] = (0.5, 1.0)
    on: bool = True


FIELDS = {f.name: f for f in form_fields(Everything)}


def test_every_kind_of_field_has_its_widget() -> None:
    kinds = {name: f.kind for name, f in FIELDS.items()}
    assert kinds == {
        "given": "text",
        "prompts": "prompts",
        "number": "value",
        "limit": "value",
        "mode": "choice",
        "words": "lines",
        "cases": "yaml",
        "weights": "yaml",
        "pairs": "yaml",
        "steps": "list",
        "on": "flag",
    }
    assert FIELDS["mode"].options == ("", "a", "b")


def test_what_must_be_given_and_the_first_few_are_basic() -> None:
    fields = {f.name: f for f in form_fields(DeltaKLSpec, skip=("kind", "prompts"))}
    assert [n for n, f in fields.items() if f.basic] == ["name", "divergence", "positions", "continuation_tokens"]
    assert fields["divergence"].options == ("kl", "js")
    assert fields["positions"].options == ("next", "prompt", "continuation")
    assert fields["enabled"].kind == "flag"
    assert fields["assert_mean_gte"].default == 0.02
    assert {f.name: f for f in form_fields(ModelSpec)}["dtype"].options == ("auto", "fp16", "bf16", "fp32")


def test_every_registered_kind_can_be_shown() -> None:
    for probe in registry().values():
        for field in form_fields(probe.spec_cls, skip=("prompts",)):
            shown = show(None, field)
            assert shown == show(read(shown, field), field)


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("number", None, ""),
        ("number", 5, "5"),
        ("limit", 0.1234567, "0.1234567"),
        ("mode", None, ""),
        ("mode", "b", "b"),
        ("words", ["one", "two words"], "one\ntwo words"),
        ("words", ["- dash", "b"], "- '- dash'\n- b"),
        ("cases", [{"prompt": "a", "gold": "b"}], "- {prompt: a, gold: b}"),
        ("weights", {"adherence": 1.0}, "adherence: 1.0"),
        ("steps", [0.5, 2], "0.5, 2"),
        ("on", None, True),
        ("on", False, False),
    ],
)
def test_values_are_shown_and_read_back(name: str, value: object, shown: object) -> None:
    assert show(value, FIELDS[name]) == shown
    assert read(shown, FIELDS[name]) == value


def test_lines_that_cannot_be_lines_are_a_list() -> None:
    field = FIELDS["words"]
    for value in (["two\nlines", "b"], ["", "b"], [" spaced "]):
        assert read(show(value, field), field) == value


def test_what_cannot_be_read_stays_text() -> None:
    assert read("[1,", FIELDS["cases"]) == "[1,"
    assert read("many", FIELDS["number"]) == "many"
    assert read("12", FIELDS["given"]) == "12"
    assert read("  ", FIELDS["number"]) is None


@pytest.mark.parametrize("typed", ["2024-99-99", "!!bool maybe", "!!int ''", "[" * 200_000])
@pytest.mark.parametrize("name", ["number", "weights", "steps"])
def test_what_looks_like_an_impossible_value_stays_text(name: str, typed: str) -> None:
    assert read(typed, FIELDS[name]) == typed


def test_an_empty_field_says_what_it_stands_for() -> None:
    assert hint(FIELDS["number"]) == "3"
    assert hint(FIELDS["limit"]) == "not set"
    assert hint(FIELDS["steps"]) == "0.5, 1"
    assert helper(FIELDS["number"]) == "how many; default 3"
    assert helper(FormField("x", "flag", "x", "why", True)) == "why"


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [("lambdas", "0, 0.5, 1", [0, 0.5, 1]), ("assert_linearity_gte", "0.9", 0.9), ("top_k", "", None)],
)
def test_text_becomes_a_value_and_back(name: str, typed: str, value: object) -> None:
    field = {f.name: f for f in form_fields(AdapterAblationSpec)}[name]
    assert read(typed, field) == value
    assert show(value, field) == typed
