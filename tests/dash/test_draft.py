"""Form and YAML of one draft."""

from __future__ import annotations

from pathlib import Path

import pytest

from sway_dash.core.model import ModelSpec
from sway_dash.dash.draft import Draft
from sway_dash.dash.fields import form_fields, prompts_from, prompts_text, read, show
from sway_dash.demo import demo_dir
from sway_dash.probes.adapter_ablation import AdapterAblationSpec
from sway_dash.probes.delta_kl import DeltaKLSpec
from tests.dash.conftest import suite_text


def draft(text: str) -> Draft:
    found = Draft()
    found.load(text, base_dir=Path("/tmp"))
    return found


def test_yaml_is_kept_as_written_until_the_form_writes() -> None:
    text = "# mine\n" + suite_text()
    d = draft(text)
    assert (d.text, d.problems) == (text, [])
    assert d.planned == 8 * 10 + 8 + 5 * 6
    d.set_values({("suite", 1, "divergence"): "kl"})
    assert d.get("suite", 1, "divergence") == "kl"
    assert "divergence: kl" in d.text
    assert not d.problems


def test_the_same_value_changes_nothing() -> None:
    text = "# mine\n" + suite_text()
    d = draft(text)
    d.set_values({("suite", 1, "name"): "moved"})
    assert d.text == text


def test_problems_name_their_place() -> None:
    d = draft(suite_text())
    d.set_values({("suite", 1, "assert_mean_gte"): -1, ("suite", 1, "positions"): "somewhere"})
    assert {where for where, _ in d.problems} == {("suite", 1, "assert_mean_gte"), ("suite", 1, "positions")}
    assert d.messages(("suite", 1, "positions"))
    assert d.planned == 0


def test_broken_yaml_closes_the_form_and_keeps_the_last_data() -> None:
    d = draft(suite_text())
    d.set_text("models: [")
    assert not d.readable
    assert d.get("suite", 1, "name") == "moved"
    assert "invalid YAML" in d.lines()[0]
    d.set_text(suite_text())
    assert d.readable


def test_template_and_demo_can_be_edited() -> None:
    d = Draft()
    d.use_template()
    assert d.problems
    d.set_values({("models", side, "base"): "gpt2" for side in ("base", "ft")})
    d.set_values({("suite", 1, "prompts"): ["one", "two"]})
    d.set_values({("models", "ft", "adapter"): str(demo_dir() / "nowhere")})
    assert d.messages(("models", "ft", "adapter"))[0].endswith("give the folder PEFT saved the adapter to")
    d.set_values({("models", "ft", "adapter"): str(demo_dir() / "adapter")})
    assert not d.problems


@pytest.mark.parametrize(
    "prompts",
    [["one", "two words"], ["- dash"], [{"text": "a", "tags": ["t"]}, "b"], ["two\nlines"], [" spaced "], []],
)
def test_prompts_survive_the_editor(prompts: list[object]) -> None:
    assert prompts_from(prompts_text(prompts)) == (prompts, "")


def test_prompts_that_are_no_list() -> None:
    found, wrong = prompts_from("- {text: [")
    assert found == []
    assert "YAML" in wrong


def test_fields_come_from_the_models() -> None:
    fields = {f.name: f for f in form_fields(DeltaKLSpec, skip=("kind", "prompts"))}
    assert fields["divergence"].options == ("kl", "js")
    assert fields["positions"].options == ("next", "prompt", "continuation")
    assert fields["enabled"].kind == "flag"
    assert fields["assert_mean_gte"].default == 0.02
    assert {f.name: f for f in form_fields(ModelSpec)}["dtype"].options == ("auto", "fp16", "bf16", "fp32")


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("lambdas", "0, 0.5, 1", [0, 0.5, 1]),
        ("assert_linearity_gte", "0.9", 0.9),
        ("name", "12", "12"),
        ("top_k", "", None),
    ],
)
def test_text_becomes_a_value_and_back(name: str, typed: str, value: object) -> None:
    field = {f.name: f for f in form_fields(AdapterAblationSpec)}[name]
    assert read(typed, field) == value
    assert show(value, field) == typed
