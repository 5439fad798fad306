"""The training document of a suite: read into sections, found beside the suite, wrong in one clear sentence."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from sway_dash.core import events as ev
from sway_dash.core.errors import SpecValidationError
from sway_dash.core.result import Verdict
from sway_dash.demo import demo_dir
from sway_dash.probes import build_probe
from sway_dash.suite import document
from sway_dash.suite.document import read_document
from sway_dash.suite.execute import execute
from sway_dash.suite.loader import load_checked, load_spec
from sway_dash.suite.plan import plan
from sway_dash.suite.spec import SwaySpec
from sway_dash.suite.store import RunFolder
from tests.fakes import FakeBackend

SUITE = """\
models:
  base: {kind: custom, base: plain, entry_point: "tests.fakes:FakeBackend"}
  ft: {kind: custom, base: plain, entry_point: "tests.fakes:FakeBackend"}
suite:
  - {name: learned, kind: section_internalization}
dlm_source: notes/document.md
"""
DOCUMENT = "# One\n\nThe first part says a thing or two.\n\n# Two\n\nThe second part says something else.\n"


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def refused(path: Path) -> str:
    with pytest.raises(SpecValidationError) as caught:
        read_document(path)
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    return said


def lines(*records: Any) -> str:
    return "\n".join(json.dumps(r) for r in records)


# -- prose ----------------------------------------------------------------------


def test_headings_make_sections_named_after_them() -> None:
    found = read_document(demo_dir() / "document.md")
    assert [s.tag for s in found.sections][1:4] == [
        "Where you are",
        "The tower and the lamp",
        "The goat, the bees and the key",
    ]
    assert found.sections[1].id == "where-you-are"
    assert {s.kind for s in found.sections} == {"prose"}
    assert found.sections[1].content.startswith("Quillhaven Light stands on the island")
    assert found.text.count("#") == 0


def test_the_same_heading_twice_gives_two_names_and_text_before_the_first_is_kept(tmp_path: Path) -> None:
    text = "Said before.\n\n# Notes\n\none\n\n## Notes ##\n\ntwo\n\n```\n# no heading\n```\n\n# Empty\n"
    found = read_document(write(tmp_path / "d.md", text)).sections
    assert [s.id for s in found] == ["beginning", "notes", "notes~2"]
    assert "# no heading" in found[2].content


def test_front_matter_is_no_text(tmp_path: Path) -> None:
    text = "---\ntitle: secret\n---\n" + DOCUMENT
    assert "secret" not in read_document(write(tmp_path / "d.md", text)).text


def test_text_without_headings_is_cut_between_paragraphs_and_nothing_is_lost(tmp_path: Path) -> None:
    paragraphs = [
        f"Paragraph {i} has its own thing to say, and it says it in about eighty characters." for i in range(40)
    ]
    found = read_document(write(tmp_path / "d.txt", "\n\n".join(paragraphs))).sections
    assert 4 <= len(found) <= 12
    assert "\n\n".join(s.content for s in found) == "\n\n".join(paragraphs)
    assert len({s.id for s in found}) == len(found)


def test_what_is_long_below_one_heading_is_cut_at_paragraphs(tmp_path: Path) -> None:
    long = "\n\n".join("A sentence of the long chapter, which goes on and on. " * 4 for _ in range(30))
    found = read_document(write(tmp_path / "d.md", f"# Short\n\nA word.\n\n# Long\n\n{long}\n")).sections
    assert [s.id for s in found][:3] == ["short", "long-1", "long-2"]
    assert all(len(s.content) < 4000 for s in found)
    assert {s.tag for s in found} == {"Short", "Long"}


def test_a_single_endless_paragraph_is_cut_between_sentences(tmp_path: Path) -> None:
    found = read_document(write(tmp_path / "d.txt", "It goes on and on without any end. " * 200)).sections
    assert len(found) > 3
    assert all(s.content.endswith(".") for s in found)


def test_a_line_of_blanks_is_a_heading_like_any_other(tmp_path: Path) -> None:
    text = f"# a{' ' * 20_000}b\n\none\n\n## Two \t ##  \n\ntwo\n"
    found = read_document(write(tmp_path / "d.md", text)).sections
    assert [s.tag for s in found] == [f"a{' ' * 20_000}b", "Two"]


def test_what_has_no_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    assert "is no regular file" in refused(tmp_path / "pipe.md")
    assert "is no regular file" in refused(Path("/dev/zero"))
    # A file that grows while it is read, or says that it is empty.
    endless = Path("/proc/self/status")
    if endless.is_file():
        monkeypatch.setattr(document, "MAX_BYTES", 8)
        assert "more than" in refused(endless)


def test_the_home_folder_of_nobody_is_one_sentence() -> None:
    assert "home folder of a user who is not known" in refused(Path("~no-such-user-here/x.md"))


def test_line_ends_of_other_systems_are_read_as_any(tmp_path: Path) -> None:
    found = read_document(write(tmp_path / "d.md", b"\xef\xbb\xbf# A\r\n\r\none\r\ntwo\r\n\r\n# B\r\rthree\r"))
    assert [(s.tag, s.content) for s in found.sections] == [("A", "one\ntwo"), ("B", "three")]


# -- lists of sections ----------------------------------------------------------------------


def test_a_list_holds_sections_of_every_kind(tmp_path: Path) -> None:
    records = (
        {"id": "p", "kind": "Prose", "content": "Some text.", "tag": "t"},
        {"probes": [{"prompt": "Q?", "gold": " A."}]},
        {"id": 7, "preferences": [{"prompt": "Q?", "chosen": " A.", "rejected": " B."}]},
    )
    found = read_document(write(tmp_path / "d.jsonl", lines(*records))).sections
    assert [s.kind for s in found] == ["prose", "instruction", "preference"]
    assert found[0].tag == "t"
    assert found[1].probes[0].gold == " A."
    assert len(found[1].id) == 16
    assert found[2].id == "7"
    assert found[2].preferences[0].rejected == " B."
    for name, text in (("d.json", json.dumps(records)), ("d.yaml", json.dumps({"sections": records}))):
        assert read_document(write(tmp_path / name, text)).sections == found


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("d.md", "", "is empty"),
        ("d.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("d.jsonl", '{"content": "x"}\n{"content', r"no JSON \(line 2"),
        ("d.jsonl", lines({"content": "x"}, ["y"]), r"no mapping .*\(line 2\)"),
        ("d.jsonl", lines({"contents": "x"}), r"line 1: contents: unknown key. Did you mean 'content'"),
        ("d.jsonl", lines({"kind": "poem", "content": "x"}), "line 1: kind: .*'prose'"),
        ("d.jsonl", lines({"id": "x"}), "line 1: holds nothing"),
        ("d.jsonl", lines({"probes": [{"prompt": "Q"}]}), r"line 1: probes\[0\].gold: is required"),
        (
            "d.jsonl",
            lines({"id": "a", "content": "x"}, {"id": "a", "content": "y"}),
            "two sections 'a'.*line 1 and line 2",
        ),
        ("d.yaml", "just: text", "no list of sections"),
        ("d.yaml", "- [", "is no YAML"),
        ("d.jsonl", "\n", "holds no sections"),
    ],
)
def test_a_document_that_cannot_be_read_says_what_and_where(
    tmp_path: Path, name: str, text: str | bytes, said: str
) -> None:
    assert re.search(said, refused(write(tmp_path / name, text)))


def test_a_document_that_is_not_there_or_is_a_folder_says_so(tmp_path: Path) -> None:
    assert "is not there" in refused(tmp_path / "missing.md")
    assert "is a folder" in refused(tmp_path)


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "d.md", DOCUMENT)
    before = read_document(path)
    assert read_document(path) is before
    write(path, DOCUMENT + "\nMore of it.\n")
    assert "More of it." in read_document(path).text


# -- the bridge ----------------------------------------------------------------------


def test_a_dlm_document_without_its_package_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlm", None)
    monkeypatch.setitem(sys.modules, "dlm.doc.parser", None)
    said = refused(write(tmp_path / "d.dlm", "x"))
    assert "dlm package not installed" in said
    assert "Markdown" in said


def installed(monkeypatch: pytest.MonkeyPatch, parts: list[Any], asked: Any, preferred: Any) -> None:
    """Stand in for the dlm package: a document of these parts, and how it reads their bodies."""
    fakes: dict[str, dict[str, Any]] = {
        "dlm": {},
        "dlm.doc": {},
        "dlm.doc.parser": {"parse_file": lambda path: SimpleNamespace(sections=parts)},
        "dlm.data": {},
        "dlm.data.instruction_parser": {"parse_instruction_body": asked},
        "dlm.data.preference_parser": {"parse_preference_body": preferred},
    }
    for name, members in fakes.items():
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


def question(content: str, *, section_id: str) -> list[Any]:
    return [SimpleNamespace(question="Q", answer=content)]


def test_a_dlm_document_is_read_through_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [
        SimpleNamespace(type="PROSE", content="Some text.", section_id="one"),
        SimpleNamespace(type="instruction", content="A", section_id="two"),
        SimpleNamespace(type="preference", content="broken", section_id=""),
    ]

    def broken(content: str, *, section_id: str) -> Any:
        raise ValueError(content)

    installed(monkeypatch, parts, question, broken)
    found = read_document(write(tmp_path / "d.dlm", "x")).sections
    assert [(s.id, s.kind) for s in found[:2]] == [("one", "prose"), ("two", "instruction")]
    assert found[1].probes[0].gold == "A"
    assert (found[2].kind, found[2].preferences, len(found[2].id)) == ("preference", (), 16)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("preference", "section 2: preferences[0].rejected is empty): mend it there"),
        ("instruction", "section 2: probes[0].gold is empty): mend it there"),
    ],
)
def test_a_dlm_document_with_an_empty_answer_is_one_sentence_and_no_end_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, says: str
) -> None:
    def preferred(content: str, *, section_id: str) -> list[Any]:
        return [SimpleNamespace(prompt="P", chosen="C", rejected=content)]

    parts = [SimpleNamespace(type=t, content=c, section_id=t) for t, c in (("prose", "Some text."), (kind, ""))]
    installed(monkeypatch, parts, question, preferred)
    path = write(tmp_path / "d.dlm", "x")
    assert says in refused(path)
    entry = {"name": "flip", "kind": "preference_flip"}
    spec = SwaySpec.model_validate({**yaml.safe_load(SUITE), "dlm_source": str(path), "suite": [entry]})
    assert plan(spec, [build_probe(entry)])[0].answers == 0


# -- from the suite to the probes ----------------------------------------------------------------------


def test_a_relative_path_is_meant_from_the_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = write(tmp_path / "suites" / "sway.yaml", SUITE)
    document = write(tmp_path / "suites" / "notes" / "document.md", DOCUMENT)
    monkeypatch.chdir(tmp_path)
    assert load_spec(suite).dlm_source == str(document)
    load_checked(suite)


def test_a_missing_document_is_told_with_its_line_before_anything_is_loaded(tmp_path: Path) -> None:
    suite = write(tmp_path / "sway.yaml", SUITE)
    with pytest.raises(SpecValidationError, match=r"line 6: dlm_source: .*document\.md is not there: give the text"):
        load_checked(suite)


def run_folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(SUITE, base_dir=tmp_path, spec_path=str(tmp_path / "sway.yaml"))


def test_a_run_gets_the_sections_and_can_be_resumed_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "notes" / "document.md", DOCUMENT)
    folder = run_folder(tmp_path)
    monkeypatch.chdir(folder.path)
    result, _ = execute(folder)
    assert [r["section_id"] for r in result.probes[0].evidence["per_section"]] == ["one", "two"]
    again, _ = execute(RunFolder.open(folder.path), resume=True)
    assert again.probes[0].evidence["per_section"] == result.probes[0].evidence["per_section"]


def test_a_run_that_holds_its_model_gets_them_as_well(tmp_path: Path) -> None:
    write(tmp_path / "notes" / "document.md", DOCUMENT)
    result, _ = execute(run_folder(tmp_path), opener=FakeBackend)
    assert result.probes[0].evidence["num_sections"] == 2


def test_a_document_that_went_away_ends_the_run_before_the_model_is_loaded(tmp_path: Path) -> None:
    folder, seen = run_folder(tmp_path), list[Any]()
    opened = list[Any]()
    with pytest.raises(SpecValidationError, match="is not there"):
        execute(folder, on_event=seen.append, opener=lambda: opened.append(1) or FakeBackend())
    assert opened == []
    assert isinstance(seen[-1], ev.RunFailed)
    assert "document.md is not there" in seen[-1].message
    assert folder.result().status == "failed"


def test_without_a_document_the_probes_that_need_one_are_skipped(tmp_path: Path) -> None:
    text = SUITE.replace("dlm_source: notes/document.md\n", "")
    result, _ = execute(RunFolder.create(text, base_dir=tmp_path))
    assert result.probes[0].verdict is Verdict.SKIP
    assert "dlm_source" in result.probes[0].message
