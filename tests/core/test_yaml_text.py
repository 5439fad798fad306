"""Any text gives data or one sentence; the fast reader is let at nothing that would end the process."""

from __future__ import annotations

import pytest
import yaml

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.yaml_text import MOST_NESTED, load_yaml
from sway_dash.suite.loader import loads

DEEP = 200_000


@pytest.mark.parametrize(
    "text",
    [
        "[" * DEEP,
        "{a: " * DEEP,
        "- " * DEEP,
        "? " * DEEP,
        "#\r" + "- " * DEEP,
        "\n".join(" " * i + "a:" for i in range(2 * MOST_NESTED)),
        "\n".join(" " * i + "a:\n" + " " * i + "-" for i in range(2 * MOST_NESTED)),
    ],
    ids=["lists", "mappings", "dashes", "keys", "after a carriage return", "indented", "indented lists"],
)
def test_a_bottomless_suite_is_one_sentence(text: str) -> None:
    with pytest.raises(SpecValidationError, match="nested more than"):
        loads(text)


@pytest.mark.parametrize("value", ["2024-99-99", "!!int ''", "!!bool maybe", "!!timestamp now", "!!float x"])
def test_a_value_that_cannot_be_is_one_sentence(value: str) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        load_yaml(f"a: {value}")
    with pytest.raises(SpecValidationError, match="invalid YAML"):
        loads(f"a: {value}")


def test_many_lists_that_are_not_nested_are_no_matter() -> None:
    many = ("[" + "[], " * 5000 + "]", "{a: [" + "{}, " * 5000 + "]}", "- [a]\n" * 5000, "a: >\n" + " " * 900 + "b")
    for text in many:
        assert load_yaml(text) == yaml.safe_load(text)


def test_what_is_no_yaml_keeps_the_reader_s_words() -> None:
    with pytest.raises(yaml.YAMLError):
        load_yaml("[]" * 60 + "[")
