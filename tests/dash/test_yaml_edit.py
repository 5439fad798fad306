"""Editing YAML text: what was not meant to change stays, byte for byte."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sway_dash.dash.yaml_edit import REMOVE, duplicate, edit, insert, move, put, rewrite, same
from sway_dash.dash.yaml_tree import parse
from sway_dash.demo import demo_dir

SUITE = """\
# head comment
version: 1   # the format

models:
    base: {kind: hf, base: "./model"}
    ft:
        kind: hf
        base: './model'    # the same base
        adapter:   ./adapter

suite:
- name: noise
  kind: null_adapter
  # twenty make a rank test
  runs: 20


- kind: delta_kl   # the main one
  name: moved
  own_key: kept
  prompts:
  - one light
  # a comment between prompts
  - {text: "two\\nlines", tags: [a, 'b c']}
  - |
    three
    lines
  - é 😀 ünïcode
"""


def changed(before: str, after: str) -> tuple[list[str], list[str]]:
    """Lines taken away and lines put in."""
    diff = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return [d[2:] for d in diff if d.startswith("- ")], [d[2:] for d in diff if d.startswith("+ ")]


# -- single changes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value", "old", "new"),
    [
        (("version",), 2, "version: 1   # the format", "version: 2   # the format"),
        (("models", "base", "base"), "x", '    base: {kind: hf, base: "./model"}', '    base: {kind: hf, base: "x"}'),
        (
            ("models", "ft", "base"),
            "it's",
            "        base: './model'    # the same base",
            "        base: 'it''s'    # the same base",
        ),
        (("models", "ft", "adapter"), "a: b", "        adapter:   ./adapter", "        adapter:   'a: b'"),
        (("suite", 0, "runs"), 5, "  runs: 20", "  runs: 5"),
        (("suite", 1, "name"), "true", "  name: moved", "  name: 'true'"),
        (("suite", 1, "prompts", 0), "one\ntwo", "  - one light", '  - "one\\ntwo"'),
        (("suite", 1, "prompts", 3), "ü", "  - é 😀 ünïcode", "  - ü"),
    ],
)
def test_one_field_changes_one_line(place: Any, value: object, old: str, new: str) -> None:
    assert changed(SUITE, edit(SUITE, place, value)) == ([old], [new])


def test_keys_come_and_go_with_their_line() -> None:
    assert changed(SUITE, edit(SUITE, ("suite", 1, "divergence"), "kl")) == ([], ["  divergence: kl"])
    assert changed(SUITE, edit(SUITE, ("suite", 0, "runs"), REMOVE)) == (["  runs: 20"], [])
    assert changed(SUITE, edit(SUITE, ("models", "base", "dtype"), "fp32"))[1] == [
        '    base: {kind: hf, base: "./model", dtype: fp32}'
    ]
    added = edit(SUITE, ("defaults", "seed"), 3)
    assert changed(SUITE, added) == ([], ["defaults: {seed: 3}"])
    assert edit(added, ("defaults",), REMOVE) == SUITE


def test_the_first_key_of_an_item_can_go() -> None:
    after = edit(SUITE, ("suite", 0, "name"), REMOVE)
    assert changed(SUITE, after) == (["- name: noise", "  kind: null_adapter"], ["- kind: null_adapter"])


def test_items_come_and_go_with_their_line() -> None:
    after = insert(SUITE, ("suite", 1, "prompts", 1), {"text": "new: one", "tags": ["x y"]})
    assert changed(SUITE, after) == ([], ["  - {text: 'new: one', tags: [x y]}"])
    assert edit(after, ("suite", 1, "prompts", 1), REMOVE) == SUITE
    assert changed(SUITE, insert(SUITE, ("suite", 1, "prompts", 0), "first"))[0] == []
    assert changed(SUITE, edit(SUITE, ("suite", 1, "prompts", 2), REMOVE))[0] == ["  - |", "    three", "    lines"]


def test_the_last_item_leaves_an_empty_list_and_it_grows_again() -> None:
    text = "suite:\n- name: a\n  prompts:\n  - one\n"
    empty = edit(text, ("suite", 0, "prompts", 0), REMOVE)
    assert empty == "suite:\n- name: a\n  prompts: []\n"
    assert edit(empty, ("suite", 0, "prompts"), ["one two", "b c"]) == (
        "suite:\n- name: a\n  prompts:\n    - one two\n    - b c\n"
    )


def test_a_one_line_entry_gets_lines_when_it_gets_prompts() -> None:
    text = "suite:\n  # mine\n  - {name: a, kind: delta_kl, prompts: []}  # one\n  - {name: b, kind: x}\n"
    after = edit(text, ("suite", 0, "prompts"), ["one two", "b c"])
    assert "\n      - one two\n" in after
    assert "# mine\n" in after
    assert "  - {name: b, kind: x}\n" in after


def test_a_literal_text_stays_one() -> None:
    after = edit(SUITE, ("suite", 1, "prompts", 2), "three\nother\nlines\n")
    assert changed(SUITE, after) == ([], ["    other"])
    # Without its last line break the text has another sign, and nothing else differs.
    assert changed(SUITE, edit(SUITE, ("suite", 1, "prompts", 2), "three\nlines")) == (["  - |"], ["  - |-"])


def test_line_ends_of_windows_are_kept() -> None:
    text = SUITE.replace("\n", "\r\n")
    after = edit(text, ("suite", 1, "divergence"), "kl")
    assert after.replace("\r\n", "").count("\n") == 0
    assert "  divergence: kl\r\n" in after


def test_what_is_missing_on_the_way_is_made() -> None:
    assert parse(edit("version: 1\n", ("models", "base", "base"), "gpt2")) == {
        "version": 1,
        "models": {"base": {"base": "gpt2"}},
    }


def test_a_place_that_cannot_be_is_an_error() -> None:
    with pytest.raises((KeyError, IndexError)):
        edit(SUITE, ("suite", 7, "name"), "x")


# -- names and aliases --------------------------------------------------------------------------

NAMED = """\
one:
  - &first {text: alpha}   # here
  - &second beta
two: [*first, *second, *first]
three: *second
"""


def test_an_alias_is_expanded_at_its_place_only() -> None:
    after = edit(NAMED, ("two", 0, "text"), "gamma")
    assert changed(NAMED, after) == (["two: [*first, *second, *first]"], ["two: [{text: gamma}, *second, *first]"])


def test_a_named_value_hands_its_name_to_the_first_alias() -> None:
    after = edit(NAMED, ("one", 0, "text"), "gamma")
    assert changed(NAMED, after) == (
        ["  - &first {text: alpha}   # here", "two: [*first, *second, *first]"],
        ["  - {text: gamma}   # here", "two: [&first {text: alpha}, *second, *first]"],
    )


def test_removing_a_named_value_keeps_its_aliases() -> None:
    after = edit(NAMED, ("one", 1), REMOVE)
    assert parse(after) == {
        "one": [{"text": "alpha"}],
        "two": [{"text": "alpha"}, "beta", {"text": "alpha"}],
        "three": "beta",
    }
    assert "# here" in after


def test_a_merged_key_is_overridden_where_it_is_used() -> None:
    text = "base: &b {kind: hf, dtype: fp32}\nft:\n  <<: *b  # as the base\n  adapter: x\n"
    after = edit(text, ("ft", "dtype"), "bf16")
    assert parse(after) == {
        "base": {"kind": "hf", "dtype": "fp32"},
        "ft": {"kind": "hf", "dtype": "bf16", "adapter": "x"},
    }
    assert "<<: *b  # as the base" in after
    gone = edit(text, ("ft", "dtype"), REMOVE)
    assert parse(gone)["ft"] == {"kind": "hf", "adapter": "x"}
    assert parse(gone)["base"] == {"kind": "hf", "dtype": "fp32"}


# -- order --------------------------------------------------------------------------------------


def test_an_entry_moves_with_its_comments() -> None:
    text = "suite:\n  # one\n  - {name: a}  # first\n\n  # two\n  # of two\n  - name: b\n    kind: x\n"
    after = move(text, ("suite", 1), 0)
    assert after == "suite:\n  # two\n  # of two\n  - name: b\n    kind: x\n\n  # one\n  - {name: a}  # first\n"
    assert move(after, ("suite", 0), 1) == text


def test_a_copy_is_written_like_the_original() -> None:
    text = "suite:\n- &n name: a\n  kind: 'x'   # why\n- {name: b}\n"
    assert (
        duplicate(text, ("suite", 0))
        == "suite:\n- &n name: a\n  kind: 'x'   # why\n- name: a\n  kind: 'x'\n- {name: b}\n"
    )
    assert parse(duplicate(text, ("suite", 1)))["suite"][1:] == [{"name": "b"}, {"name": "b"}]


def test_a_named_entry_can_move_behind_its_alias() -> None:
    text = "suite:\n- {name: a, prompts: [&p one]}\n- {name: b, prompts: [*p]}\n"
    assert parse(move(text, ("suite", 0), 1))["suite"] == [
        {"name": "b", "prompts": ["one"]},
        {"name": "a", "prompts": ["one"]},
    ]


def test_the_shipped_suite_keeps_its_comments_through_every_edit() -> None:
    text = (demo_dir() / "sway.yaml").read_text(encoding="utf-8")
    comments = [line for line in text.splitlines() if line.strip().startswith("#")]
    data = parse(text)
    for i, entry in enumerate(data["suite"]):
        for key in entry:
            if key != "prompts":
                after = edit(text, ("suite", i, key), "other")
                assert len(changed(text, after)[0]) == 1
        for k, _ in enumerate(entry.get("prompts", ())):
            after = edit(text, ("suite", i, "prompts", k), "other words")
            assert [line for line in after.splitlines() if line.strip().startswith("#")] == comments
            assert parse(after) == put(data, ("suite", i, "prompts", k), "other words")


# -- any suite ----------------------------------------------------------------------------------

WORDS = st.text(alphabet="ab é😀:#-{}[],'\"&*!|>%@`\n\t\\ü 01", min_size=0, max_size=12)
SCALARS = st.one_of(WORDS, st.integers(-5, 5), st.booleans(), st.floats(allow_nan=False, width=32), st.none())
KEYS = st.sampled_from(["name", "kind", "runs", "text", "own key", "tags", "é"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=14,
)
ROOTS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=4)


class Writer:
    """Writes data as YAML in all the ways people do: styles, indentation, comments and blank lines as drawn."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.comments = 0
        self.names: list[tuple[str, Any]] = []

    def pick(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def comment(self, column: int) -> str:
        lines = ""
        for _ in range(self.pick(0, 0, 0, 1, 2)):
            if self.pick(True, False):
                self.comments += 1
                lines += f"{' ' * column}# note {self.comments}\n"
            else:
                lines += "\n"
        return lines

    def tail(self) -> str:
        if self.pick(True, False, False, False):
            self.comments += 1
            return f"  # note {self.comments}\n"
        return "\n"

    def flow(self, value: Any) -> str:
        if isinstance(value, dict) and value:
            gap = self.pick("", " ")
            return "{" + gap + ", ".join(f"{self.flow(k)}: {self.flow(v)}" for k, v in value.items()) + gap + "}"
        if isinstance(value, list) and value:
            return "[" + self.pick(", ", " , ", ",  ").join(self.flow(v) for v in value) + "]"
        if isinstance(value, str):
            style = self.pick(None, '"', "'") if not set("\n\t") & set(value) else '"'
            text = yaml.safe_dump([value], default_style=style, allow_unicode=True, width=9999, default_flow_style=True)
            return text.strip()[1:-1]
        return yaml.safe_dump([value], default_flow_style=True, width=9999).strip()[1:-1]

    def value(self, value: Any, column: int) -> str:
        """What follows a colon or a dash, line break included."""
        for name, known in self.names:
            if same(known, value) and self.pick(True, False):
                return f" *{name}" + self.tail()
        name = ""
        if self.pick(True, False, False, False, False):
            name = f"&n{len(self.names)} "
        body = self.body(value, column, name)
        if name:
            self.names.append((name.strip(" &"), value))
        return body

    def body(self, value: Any, column: int, name: str) -> str:
        literal = isinstance(value, str) and value.endswith("\n") and value[:1].strip() and "\t" not in value
        if literal and not value.endswith("\n\n") and value.strip() and self.pick(True, False):
            lines = "".join(f"{' ' * column}{line}\n" if line else "\n" for line in value[:-1].split("\n"))
            return f" {name}|\n{lines}"
        if isinstance(value, dict | list) and value and self.pick(True, True, False):
            head = f" {name.strip()}" if name else ""
            return head + self.tail() + self.block(value, column)
        return f" {name}{self.flow(value)}" + self.tail()

    def block(self, value: Any, column: int) -> str:
        pad, step, out = " " * column, self.pick(1, 2, 3, 4), ""
        if isinstance(value, dict):
            for key, inner in value.items():
                # A colon after an alias or in a plain key would be read otherwise: keys are written safely.
                out += self.comment(column) + f"{pad}{self.flow(key)}:" + self.value(inner, column + step)
        else:
            for inner in value:
                out += self.comment(column) + f"{pad}-" + self.value(inner, column + max(step, 2))
        return out


@st.composite
def texts(draw: Any) -> str:
    data = draw(ROOTS)
    writer = Writer(draw)
    text = draw(st.sampled_from(["", "# head\n", "---\n", "%YAML 1.1\n---\n"])) + writer.block(data, 0)
    try:
        ok = same(parse(text), data)
    except yaml.YAMLError:
        ok = False
    # What the writer got wrong is no suite anybody has.

    assume(ok)
    return text


def places(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        found += places(value, (*at, key))
    return found


def notes(text: str) -> list[str]:
    return [part for line in text.splitlines() if (part := line.partition("# note")[2])]


@settings(max_examples=150, deadline=None)
@given(text=texts(), data=st.data())
def test_any_edit_gives_exactly_the_wanted_data(text: str, data: st.DataObject) -> None:
    before = parse(text)
    place = data.draw(st.sampled_from(places(before)))
    value = data.draw(st.one_of(VALUES, st.just(REMOVE)))
    wanted = put(before, place, value)
    after = edit(text, place, value)
    assert same(parse(after), wanted)
    assert rewrite(after, wanted) == after


@settings(max_examples=150, deadline=None)
@given(text=texts(), data=st.data())
def test_one_scalar_changes_one_line_of_any_suite(text: str, data: st.DataObject) -> None:
    before = parse(text)
    scalars = [p for p in places(before) if not isinstance(_at(before, p), dict | list)]
    if not scalars or "&" in text or "*" in text or "|" in text:
        return
    place = data.draw(st.sampled_from(scalars))
    value = data.draw(st.integers(100, 999))
    after = edit(text, place, value)
    assert [len(part) for part in changed(text, after)] == [1, 1]
    assert notes(after) == notes(text)


@settings(max_examples=100, deadline=None)
@given(text=texts(), data=st.data())
def test_comments_survive_a_new_key_and_a_new_item(text: str, data: st.DataObject) -> None:
    before = parse(text)
    holders = [(), *(p for p in places(before) if isinstance(_at(before, p), dict | list) and _at(before, p))]
    place = data.draw(st.sampled_from(holders))
    value = data.draw(st.sampled_from([1, "two words", {"text": "a", "tags": ["b"]}, ["x", "y"]]))
    after = (
        edit(text, (*place, "fresh"), value)
        if isinstance(_at(before, place), dict)
        else insert(text, (*place, data.draw(st.integers(0, len(_at(before, place))))), value)
    )
    assert set(notes(text)) <= set(notes(after))


@settings(max_examples=150, deadline=None)
@given(text=texts(), data=st.data())
def test_moving_and_copying_any_item_keeps_all_data(text: str, data: st.DataObject) -> None:
    before = parse(text)
    lists = [p for p in places(before) if isinstance(_at(before, p), list) and _at(before, p)]
    if not lists:
        return
    place = data.draw(st.sampled_from(lists))
    items = list(_at(before, place))
    index, to = (data.draw(st.integers(0, len(items) - 1)) for _ in range(2))
    twice = items[: index + 1] + items[index:]
    assert same(_at(parse(duplicate(text, (*place, index))), place), twice)
    items.insert(to, items.pop(index))
    assert same(_at(parse(move(text, (*place, index), to)), place), items)


def _at(data: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        data = data[key]
    return data
