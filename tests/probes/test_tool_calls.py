"""Tool calls are found in every form models write them, and held against the schema."""

from __future__ import annotations

import pytest

from sway_dash.probes.tool_calls import (
    extract_fenced_json,
    field_disagreement,
    first_balanced_braces,
    matches_schema,
    outcome,
    parse_tool_call,
)

CALL = {"name": "get_weather", "arguments": {"city": "Hartwell"}}
PLAIN = '{"name": "get_weather", "arguments": {"city": "Hartwell"}}'
TOOL = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer"},
            "exact": {"type": "boolean"},
            "unit": {"type": "string", "enum": ["c", "f"]},
            "at": {"type": "object", "properties": {"hour": {"type": "number"}}, "required": ["hour"]},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["city"],
    },
}


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"  {PLAIN}\n",
        f"Sure, here it is:\n```json\n{PLAIN}\n```\nDone.",
        f"```\n{PLAIN}\n```",
        f"I call {PLAIN} now.",
        f"<tool_call>\n{PLAIN}\n</tool_call>",
        f"<tool_call>{PLAIN}",
        f"[TOOL_CALLS] [{PLAIN}]",
        f"<|python_tag|>{PLAIN}",
        '<function=get_weather>{"city": "Hartwell"}</function>',
        '{"name": "get_weather", "parameters": {"city": "Hartwell"}}',
        '{"name": "get_weather", "arguments": "{\\"city\\": \\"Hartwell\\"}"}',
        '{"tool_calls": [{"id": "1", "type": "function", "function": {"name": "get_weather", '
        '"arguments": "{\\"city\\": \\"Hartwell\\"}"}}]}',
        '{"function": "get_weather", "arguments": {"city": "Hartwell"}}',
    ],
)
def test_a_call_is_read_in_every_common_form(text):
    assert parse_tool_call(text) == CALL
    assert outcome(text, TOOL)[0] == "valid"


@pytest.mark.parametrize("text", ["", "The weather is fine.", "[1, 2]", f"[{PLAIN}]", "3", '{"name": "x"', "```json\n"])
def test_what_is_no_call_is_none(text):
    assert parse_tool_call(text) is None


def test_braces_inside_texts_do_not_count():
    text = 'so {"a": "}{ \\" }", "b": {"c": 1}} and {more}'
    assert first_balanced_braces(text) == '{"a": "}{ \\" }", "b": {"c": 1}}'
    assert first_balanced_braces("{{}") is None
    assert first_balanced_braces("none") is None


def test_a_fence_must_be_closed():
    assert extract_fenced_json("```json\n{}\n```") == "{}"
    assert extract_fenced_json("```json\n{}") is None
    assert extract_fenced_json("{}") is None


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        ({"city": "x"}, True),
        ({"city": "x", "days": 3, "exact": True, "unit": "c", "at": {"hour": 1.5}, "tags": ["a"]}, True),
        ({"city": "x", "unheard": object}, True),
        ({}, False),
        ({"city": 3}, False),
        ({"city": "x", "days": True}, False),
        ({"city": "x", "days": 1.5}, False),
        ({"city": "x", "exact": 1}, False),
        ({"city": "x", "unit": "k"}, False),
        ({"city": "x", "at": {}}, False),
        ({"city": "x", "at": []}, False),
        ({"city": "x", "tags": [1]}, False),
        ("city", False),
    ],
)
def test_arguments_are_held_against_the_schema(arguments, fits):
    call = {"name": "anything", "arguments": arguments}
    assert matches_schema(call, TOOL) is fits
    assert matches_schema(call, {"type": "function", "function": TOOL}) is fits


def test_a_call_needs_a_name_and_a_tool_without_a_schema_takes_anything():
    assert not matches_schema({"arguments": {"city": "x"}}, TOOL)
    assert matches_schema({"name": "n", "arguments": {"a": 1}}, {"name": "n"})
    odd = {"parameters": {"properties": {"a": {"type": "uuid"}, "b": {"type": ["string", "null"]}}}}
    assert matches_schema({"name": "n", "arguments": {"a": 1, "b": None}}, odd)
    assert not matches_schema({"name": "n", "arguments": {"b": 1}}, odd)


def test_answers_are_told_apart():
    assert outcome("I would rather not.", TOOL)[0] == "abstained"
    assert outcome('{"name": "get_weather", "arguments": {', TOOL)[0] == "malformed"
    assert outcome('{"name": "get_weather", "arguments": {}}', TOOL)[0] == "invalid"


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        ({}, {}, 0.0),
        ({"x": 1}, {"x": 1}, 0.0),
        ({"x": 1}, {"x": 2}, 1.0),
        ({"x": 1, "y": {"z": 2, "w": 3}}, {"x": 1, "y": {"z": 2, "w": 4}}, 1 / 3),
        ({"x": None}, {}, 1.0),
        ({"x": [1, 2]}, {"x": [2, 1]}, 1.0),
        ({"x": True}, {"x": 1}, 1.0),
        ("text", {}, 1.0),
    ],
)
def test_disagreement_is_the_share_of_fields_that_differ(a, b, share):
    assert field_disagreement({"arguments": a}, {"arguments": b}) == pytest.approx(share)
    assert field_disagreement({"arguments": b}, {"arguments": a}) == pytest.approx(share)
