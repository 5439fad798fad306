"""Prompts from anywhere, and nothing lost on the way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.dash.pages import form_import
from sway_dash.dash.pages.form_import import CELL_CHARS, ImportForm
from sway_dash.dash.prompt_import import (
    PromptFileError,
    PromptRow,
    from_file,
    from_paste,
    notes,
    repeats,
    rows_of,
    split_tags,
    tag,
    tag_counts,
    to_data,
    without_repeats,
)


def texts(rows: list[PromptRow]) -> list[str]:
    return [r.text for r in rows]


@pytest.mark.parametrize(
    "prompts",
    [
        ["one", "two\nlines", " spaced ", ""],
        [{"text": "a", "tags": ["t", "u"]}, "b", {"text": "plain"}],
        [{"text": "a", "own": 1}, 5, None, {"tags": "x"}, ["a"]],
    ],
)
def test_rows_that_are_not_changed_are_written_as_they_were(prompts: list[object]) -> None:
    assert to_data(rows_of(prompts)) == prompts


def test_a_changed_row_is_written_the_short_way() -> None:
    rows = rows_of([{"text": "a", "tags": ["t"]}, "b"])
    assert to_data([rows[0].changed(tags=()), rows[1].changed(tags=("x",))]) == ["a", {"text": "b", "tags": ["x"]}]
    assert rows[0].changed(text="a").raw is rows[0].raw


def test_a_paste_is_split_into_lines_or_paragraphs() -> None:
    assert texts(from_paste("one\n\n  two \r\nthree")) == ["one", "two", "three"]
    assert texts(from_paste("one\ntwo\n\n three", split="paragraphs")) == ["one\ntwo", "three"]
    assert from_paste(" \n ") == []


def test_a_pasted_list_is_understood() -> None:
    assert from_paste('- one\n- {text: "two\\nlines", tags: [a]}\n') == [
        PromptRow("one"),
        PromptRow("two\nlines", ("a",)),
    ]
    assert texts(from_paste('["a, b", "c"]')) == ["a, b", "c"]
    assert from_paste('{"prompt": "a\\nb", "tags": "x;y"}\n{"prompt": "c"}') == [
        PromptRow("a\nb", ("x", "y")),
        PromptRow("c"),
    ]
    # What only looks like one is text.
    assert texts(from_paste("- 5\n- see: [")) == ["- 5", "- see: ["]
    assert texts(from_paste("{not json}\nsecond")) == ["{not json}", "second"]


def test_csv_keeps_line_breaks_and_tags() -> None:
    content = b'tags,Prompt\n"a; b","first\nsecond line"\n,"with ""quotes"""\nc,   \n'
    assert from_file("p.csv", content) == [PromptRow("first\nsecond line", ("a", "b")), PromptRow('with "quotes"')]
    assert from_file("p.csv", "\ufefftext;tag\nä;x\n".encode()) == [PromptRow("ä", ("x",))]
    assert texts(from_file("p.tsv", b"text\tother\na, b\t1\n")) == ["a, b"]
    assert texts(from_file("p.csv", b"one\ntwo\n")) == ["one", "two"]


def test_jsonl_json_yaml_and_text() -> None:
    lines = '{"text": "a\\nb", "category": "x"}\n\n"plain"\n'
    assert from_file("p.jsonl", lines.encode()) == [PromptRow("a\nb", ("x",)), PromptRow("plain")]
    assert texts(from_file("p.json", json.dumps({"prompts": ["a", {"question": "b"}]}).encode())) == ["a", "b"]
    assert texts(from_file("p.yaml", b"- a\n- text: b\n")) == ["a", "b"]
    assert texts(from_file("p.txt", b"a\n\n b \n")) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("p.txt", b"\xff\xfe", "not UTF-8"),
        ("p.txt", b"\n \n", "holds no prompts"),
        ("p.csv", b"a,b\n1,2\n", "no column is called text or prompt; its columns are a, b"),
        ("p.jsonl", b'"a"\n{broken\n', "line 2 is no JSON"),
        ("p.jsonl", b'{"no": 1}\n', "line 1 has no text or prompt"),
        ("p.json", b"{}", "no list"),
        ("p.json", b"[1]", "item 1 is neither"),
        ("p.json", b"[", "no JSON"),
        ("p.yaml", b"a: [", "no YAML"),
        ("p.txt", b"x\n" * 20_001, "at most 20,000"),
    ],
)
def test_a_bad_file_is_one_sentence(name: str, content: bytes, words: str) -> None:
    with pytest.raises(PromptFileError, match=words) as caught:
        from_file(name, content)
    assert "\n" not in str(caught.value)


def test_tags_are_put_on_and_taken_off_the_chosen_rows() -> None:
    rows = rows_of(["a", {"text": "b", "tags": ["t"]}, "c"])
    on = tag(rows, {0, 1}, "t")
    assert [r.tags for r in on] == [("t",), ("t",), ()]
    assert on[1].raw is rows[1].raw
    assert [r.tags for r in tag(on, {1}, "t", on=False)] == [("t",), (), ()]
    assert tag_counts(on) == {"t": 2}
    assert split_tags(" a ,b;|a") == ("a", "b")


def test_what_is_odd_is_said() -> None:
    rows = rows_of(["a", "b ", "a", "", "x" * 5000])
    assert notes(rows) == ["", "space at the end", "repeats 1", "empty", "long"]
    assert notes(rows, {"a": 9, "x" * 5000: 3}, context=8) == [
        "9 tokens of 8",
        "space at the end",
        "repeats 1",
        "empty",
        "",
    ]


def test_repeats_go_and_leave_their_tags() -> None:
    rows = rows_of(["a", {"text": "b", "tags": ["x"]}, {"text": "a", "tags": ["y"]}, "b"])
    assert repeats(rows) == 2
    assert without_repeats(rows) == [PromptRow("a", ("y",)), PromptRow("b", ("x",))]


@given(st.lists(st.text(min_size=1).filter(lambda t: t.strip() and "\x00" not in t), min_size=1, max_size=8))
def test_any_prompts_survive_jsonl(prompts: list[str]) -> None:
    content = "\n".join(json.dumps({"text": p}) for p in prompts).encode()
    assert texts(from_file("p.jsonl", content)) == prompts


# -- the form ------------------------------------------------------------------------------------


class Later:
    """A background whose work is done when a test says so."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def __call__(self, work: Any, then: Any) -> None:
        self.waiting.append((work, then))

    def go_on(self) -> None:
        while self.waiting:
            work, then = self.waiting.pop(0)
            then(work())


def form(later: Later, monkeypatch: pytest.MonkeyPatch) -> tuple[ImportForm, list[list[str]]]:
    monkeypatch.setattr(form_import, "PAUSE_S", 0.0)
    taken: list[list[str]] = []
    return ImportForm(lambda rows, *, replace: taken.append([*texts(rows), str(replace)]), later), taken


def press(found: ImportForm) -> None:
    found._add.param.trigger("clicks")


def test_typing_reads_nothing_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    known = form_import.from_paste
    monkeypatch.setattr(form_import, "from_paste", lambda t, split: read.append(t) or known(t, split=split))
    later = Later()
    found, _ = form(later, monkeypatch)
    for text in ("a", "a\n", "a\nb", "a\nb\nb"):
        found._paste.value_input = text
    assert read == []
    later.go_on()
    assert read[-1] == "a\nb\nb"
    assert "a\nb" not in read
    assert found._add.label == "Add 3 prompts"
    assert "1 duplicate" in found._preview.object
    found._paste.value_input = "x" * (CELL_CHARS + 1) + "\n" + "y" * CELL_CHARS
    later.go_on()
    assert f"{'x' * CELL_CHARS}…<" in found._preview.object, "what is cut looks cut"
    assert f"{'y' * CELL_CHARS}<" in found._preview.object


def test_what_was_typed_just_before_the_click_is_taken_too(monkeypatch: pytest.MonkeyPatch) -> None:
    later = Later()
    found, taken = form(later, monkeypatch)
    found._paste.value_input = "a"
    later.go_on()
    found._paste.value_input = "a\nb"
    press(found)
    assert taken == []
    later.go_on()
    assert taken == [["a", "b", "False"]]
    assert (found._paste.value_input, found._preview.object) == ("", "")


def test_a_bad_file_is_told_and_a_click_meanwhile_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    later = Later()
    found, taken = form(later, monkeypatch)
    found._paste.value_input = "a"
    later.go_on()
    found._file.filename = "<p>.json"
    found._file.value = b"["
    press(found)
    later.go_on()
    assert taken == []
    assert "&lt;p&gt;.json: it is no JSON" in found._preview.object
    assert not found._actions.visible


def test_yaml_is_read_by_the_fast_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yaml._yaml")
    monkeypatch.setattr("yaml.SafeLoader.__init__", lambda *_: pytest.fail("the slow reader was used"))
    assert texts(from_paste("- a\n- b\n")) == ["a", "b"]


@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.yaml"])
def test_a_bottomless_file_is_one_sentence(name: str) -> None:
    with pytest.raises(PromptFileError):
        from_file(name, b'{"a":' * 20_000)
    assert len(from_paste('{"a":' * 20_000)) == 1
    # The fast reader would end the process.
    assert len(from_paste("[" * 200_000)) == 1
    assert len(from_paste("- " * 200_000)) == 1
