"""One draft behind form and YAML: editing, undoing, keeping."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sway_dash.dash import drafts, history
from sway_dash.dash.draft import Draft
from sway_dash.demo import demo_dir
from tests.dash.conftest import suite_text


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path))
    yield tmp_path / drafts.FOLDER
    drafts.flush()


def draft(text: str) -> Draft:
    found = Draft()
    found.load(text, base_dir=Path("/tmp"))
    return found


# -- two sides ----------------------------------------------------------------------------------


def test_the_form_changes_its_line_and_keeps_the_comments() -> None:
    text = "# mine\n" + suite_text()
    d = draft(text)
    assert (d.text, d.problems) == (text, [])
    assert d.planned == 8 * 10 + 8 + 5 * 6
    d.set_values({("suite", 1, "divergence"): "kl"})
    assert d.get("suite", 1, "divergence") == "kl"
    assert [line for line in d.text.splitlines() if line not in text.splitlines()] == ["  divergence: kl"]
    assert d.text.startswith("# mine\n")
    assert not d.problems


def test_the_same_value_changes_nothing() -> None:
    text = "# mine\n" + suite_text()
    d = draft(text)
    d.set_values({("suite", 1, "name"): "moved"})
    assert d.text == text


def test_both_models_are_written_at_once() -> None:
    d = draft(suite_text())
    d.set_values({("models", side, "device"): "cpu" for side in ("base", "ft")})
    assert d.spec is not None
    assert (d.spec.models.base.device, d.spec.models.ft.device) == ("cpu", "cpu")
    d.set_values({("models", side, "device"): None for side in ("base", "ft")})
    assert d.get("models", "ft", "device") is None


def test_problems_name_their_place_and_their_line() -> None:
    d = draft(suite_text())
    d.set_values({("suite", 1, "assert_mean_gte"): -1, ("suite", 1, "positions"): "somewhere"})
    assert {where for where, _ in d.problems} == {("suite", 1, "assert_mean_gte"), ("suite", 1, "positions")}
    assert d.messages(("suite", 1, "positions"))
    assert d.planned == 0
    lines = d.text.splitlines()
    assert sorted(lines[row].strip() for row, _ in d.rows()) == ["assert_mean_gte: -1", "positions: somewhere"]


def test_broken_yaml_closes_the_form_and_keeps_the_last_data() -> None:
    d = draft(suite_text())
    d.set_text("version: 1\nmodels: [")
    assert not d.readable
    assert d.get("suite", 1, "name") == "moved"
    assert "invalid YAML" in d.lines()[0]
    assert d.rows()[0][0] >= 1
    d.set_values({("suite", 1, "name"): "lost?"})
    assert d.text == "version: 1\nmodels: ["
    d.set_text(suite_text())
    assert d.readable


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}"])
def test_an_alias_that_holds_itself_is_refused_in_a_sentence(text: str) -> None:
    d = draft(text)
    assert not d.readable
    assert "aliases" in d.lines()[0]


def test_aliases_that_multiply_do_not_fill_the_memory() -> None:
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    assert not draft(text).readable


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


def test_what_is_found_outside_the_text_is_a_problem_like_any_other() -> None:
    d = draft(suite_text())
    d.add_findings([(("models", "ft", "adapter"), "does not fit")])
    assert d.messages(("models",)) == ["does not fit"]
    d.set_values({("suite", 1, "name"): "other"})
    assert d.messages(("models",)) == ["does not fit"]
    d.add_findings([])
    assert not d.problems


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_a_bottomless_text_is_refused_in_a_sentence(opening: str) -> None:
    d = draft(opening * 200_000)
    assert not d.readable
    assert "nested more than" in d.lines()[0]


@pytest.mark.parametrize("value", ["2024-99-99", "!!int ''", "!!bool maybe", "!!timestamp now", "!!float x"])
def test_a_value_that_cannot_be_is_refused_in_a_sentence(value: str) -> None:
    d = draft(f"{suite_text()}other: {value}\n")
    assert not d.readable
    assert len(d.lines()) == 1
    d.set_text(suite_text())
    assert d.readable


# -- entries ------------------------------------------------------------------------------------


def names(d: Draft) -> list[str]:
    return [str(e.get("name")) for e in d.entries()]


def test_entries_are_added_copied_moved_and_removed() -> None:
    d = draft("# mine\n" + suite_text())
    assert d.add_entry("delta_kl") == 3
    assert names(d) == ["noise", "moved", "strength", "delta_kl"]
    assert d.get("suite", 3, "prompts") == d.get("suite", 1, "prompts")
    assert d.duplicate_entry(1) == 2
    assert names(d) == ["noise", "moved", "moved_2", "strength", "delta_kl"]
    d.move_entry(4, 1)
    d.move_entry(0, -1)
    d.remove_entry(2)
    assert names(d) == ["noise", "delta_kl", "moved_2", "strength"]
    assert d.text.startswith("# mine\n")
    assert not d.problems
    assert d.add_entry("null_adapter") == 0


def test_a_first_entry_can_be_added_to_a_suite_without_any() -> None:
    d = draft("version: 1\nmodels: {base: {base: a}, ft: {base: a}}\n")
    assert d.messages(("suite",)) == ["there are no probes: add one"]
    d.add_entry("delta_kl")
    assert names(d) == ["delta_kl"]


# -- one history --------------------------------------------------------------------------------


def test_undo_goes_back_over_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "BURST_S", 0.0)
    d = draft(suite_text())
    first = d.text
    d.set_values({("suite", 1, "divergence"): "kl"})
    second = d.text
    d.set_text(second + "# by hand\n")
    d.set_text("models: [")
    seen = []
    while d.can_undo:
        d.undo()
        seen.append(d.text)
    assert seen[:3] == [second + "# by hand\n", second, first]
    d.redo()
    assert d.readable
    while d.can_redo:
        d.redo()
    assert d.text == "models: ["
    d.undo()
    d.set_values({("suite", 1, "divergence"): "js"})
    assert not d.can_redo


def test_typing_in_a_row_is_one_step() -> None:
    d = draft(suite_text())
    first = d.text
    for i in range(5):
        d.set_text(first + "#" * i + "\n")
    d.set_values({("suite", 1, "name"): "a"})
    d.set_values({("suite", 1, "name"): "ab"})
    d.undo()
    assert d.text == first + "####\n"
    d.undo()
    assert d.text == first


def test_another_suite_can_be_undone_with_its_folder() -> None:
    d = draft(suite_text())
    d.use_template()
    assert d.base_dir == str(Path.cwd())
    d.undo()
    assert (d.text, d.base_dir) == (suite_text(), "/tmp")
    assert names(d) == ["noise", "moved", "strength"]


# -- on disk ------------------------------------------------------------------------------------


def test_looking_leaves_nothing_behind(own_folder: Path) -> None:
    d = Draft()
    drafts.flush()
    assert (d.id, own_folder.exists(), d.can_undo) == ("", False, False)


def test_a_draft_comes_back_as_it_was() -> None:
    d = Draft()
    d.rename("Tuesday")
    d.set_text(d.text + "# not lost\n")
    again = Draft()
    assert again.open(d.id)
    assert (again.text, again.base_dir, again.title, again.id) == (d.text, d.base_dir, "Tuesday", d.id)
    assert not again.problems
    again.set_text("models: [")
    third = Draft()
    third.open(d.id)
    assert (third.text, third.readable) == ("models: [", False)


def test_another_suite_is_another_draft() -> None:
    d = Draft()
    d.set_text("# mine\n" + d.text)
    first = d.id
    d.use_template()
    assert d.id != first
    d.rename("Second")
    drafts.flush()
    found, wrong = drafts.recent()
    assert [r.id for r in found] == [d.id, first]
    assert wrong == []
    assert drafts.load(first).text.startswith("# mine\n")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"text": 1, "base_dir": "/"}', "\x00", '{"text": "a"}'])
def test_a_damaged_draft_is_left_out_with_a_sentence(own_folder: Path, content: str) -> None:
    d = Draft()
    d.rename("good")
    drafts.flush()
    (own_folder / "d-20990101-000000-bad.json").write_text(content, encoding="utf-8")
    found, wrong = drafts.recent()
    assert [r.title for r in found] == ["good"]
    assert len(wrong) == 1
    assert "damaged" in wrong[0]
    before = d.text
    assert not d.open("d-20990101-000000-bad")
    assert "damaged" in d.notice
    assert d.text == before


@pytest.mark.parametrize("name", ["../../etc/passwd", "d-", "", "d-nowhere"])
def test_a_draft_that_is_not_there_changes_nothing(name: str) -> None:
    d = Draft()
    before = d.text
    assert not d.open(name)
    assert d.notice
    assert (d.text, d.id) == (before, "")


def test_a_disk_that_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path / "file"))
    d = Draft()
    d.rename("one")
    drafts.flush()
    d.rename("two")
    assert "cannot be saved" in d.notice


def test_a_draft_is_written_whole(own_folder: Path) -> None:
    d = Draft()
    for i in range(20):
        d.set_text(f"{d.text}# {i}\n")
    drafts.flush()
    assert {p.name for p in own_folder.iterdir()} == {f"{d.id}.json", f"{d.id}{drafts.PAST}"}
    assert json.loads((own_folder / f"{d.id}.json").read_text(encoding="utf-8"))["text"] == d.text


# -- what a disk, a browser and another tab may do ------------------------------------------------


def until(found: Callable[[], bool]) -> bool:
    end = time.monotonic() + 300
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)
    return True


def test_half_a_surrogate_pair_comes_back_from_disk() -> None:
    d = Draft()
    d.rename("half \ud800 pair")
    d.set_text(f"# \udfff\n{d.text}")
    drafts.flush()
    assert not drafts.trouble(d.id)
    again = Draft()
    assert again.open(d.id)
    assert (again.text, again.title) == (d.text, "half \ud800 pair")


def test_a_draft_that_cannot_be_written_stops_no_other(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "PAUSE_S", 0.0)
    write = drafts.save

    def save(record: drafts.DraftRecord) -> None:
        if record.title == "bad":
            raise ValueError("no bytes for it")
        write(record)

    monkeypatch.setattr(drafts, "save", save)
    bad, good = Draft(), Draft()
    bad.rename("bad")
    until(lambda: "no bytes for it" in drafts.trouble(bad.id))
    good.rename("good")
    until((own_folder / f"{good.id}.json").exists)
    bad.rename("bad no more")
    assert "no bytes for it" in bad.notice
    until((own_folder / f"{bad.id}.json").exists)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_saving_begins_again_when_it_has_ended(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "PAUSE_S", 0.0)
    d = Draft()
    with monkeypatch.context() as broken:
        broken.setattr(drafts, "save", lambda record: sys.exit())
        d.rename("one")
        until(lambda: not any(t.name == "drafts" and t.is_alive() for t in threading.enumerate()))
    d.rename("two")
    assert until((own_folder / f"{d.id}.json").exists)


def test_a_slow_disk_holds_up_no_session(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "PAUSE_S", 0.0)
    begun, go_on = threading.Event(), threading.Event()
    write = drafts.save

    def save(record: drafts.DraftRecord) -> None:
        begun.set()
        assert go_on.wait(120)
        write(record)

    monkeypatch.setattr(drafts, "save", save)
    d = Draft()
    d.rename("one")
    assert begun.wait(30)
    typed = threading.Thread(target=lambda: d.rename("two"), daemon=True)
    typed.start()
    typed.join(30)
    held_up = typed.is_alive()
    go_on.set()
    assert not held_up
    drafts.flush()
    assert drafts.load(d.id).title == "two"


def test_two_tabs_do_not_write_over_each_other() -> None:
    first = Draft()
    first.rename("shared")
    shared = first.id
    second = Draft()
    assert second.open(shared)
    first.set_text(first.text + "# first\n")
    assert (first.id, first.notice) == (shared, "")
    second.set_text(second.text + "# second\n")
    assert second.id != shared
    assert "elsewhere" in second.notice
    second.set_text(second.text + "# more\n")
    first.set_text(first.text + "# on\n")
    assert first.id == shared
    drafts.flush()
    assert drafts.load(shared).text.endswith("# first\n# on\n")
    assert drafts.load(second.id).text.endswith("# second\n# more\n")
    assert "elsewhere" in second.notice


def test_a_draft_written_by_another_server_is_not_written_over(own_folder: Path) -> None:
    d = Draft()
    d.rename("shared")
    shared = d.id
    there = drafts.load(shared)
    drafts.save(replace(there, text="# theirs\n", saved=there.saved + 1))
    d.set_text(d.text + "# mine\n")
    drafts.flush()
    assert drafts.load(shared).text == "# theirs\n"
    assert drafts.load(d.id).text.endswith("# mine\n")


def test_a_clock_that_is_set_back_makes_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    d = Draft()
    d.rename("one")
    drafts.flush()
    before, late = d.id, time.time() - 3600
    monkeypatch.setattr("sway_dash.dash.draft.time.time", lambda: late)
    d.set_text(d.text + "# a\n")
    d.set_text(d.text + "# b\n")
    assert (d.id, d.notice) == (before, "")


def test_undo_over_another_suite_brings_its_name_back() -> None:
    d = draft(suite_text())
    d.rename("mine")
    mine = d.id
    d.use_demo()
    example, title = d.id, d.title
    assert example != mine
    d.undo()
    assert (d.text, d.title, d.id) == (suite_text(), "mine", mine)
    drafts.flush()
    assert drafts.load(mine).text == suite_text()
    assert (drafts.load(example).title, drafts.load(example).text) == (title, Draft().text)
    d.redo()
    assert (d.title, d.id) == (title, example)


def test_the_full_example_asks_for_more_of_the_same_model() -> None:
    d = draft(suite_text())
    d.use_demo()
    first = d.data
    d.use_demo(full=True)
    assert d.problems == []
    assert d.data["models"] == first["models"]
    kinds = {entry["kind"] for entry in d.data["suite"]}
    assert kinds > {entry["kind"] for entry in first["suite"]} | {"topic_contrast", "layer_attribution", "leakage"}


def test_undo_keeps_the_name_given_since() -> None:
    d = draft(suite_text())
    d.set_text("# a\n" + d.text)
    d.rename("mine")
    d.undo()
    assert d.title == "mine"


# -- undoing after a reload -----------------------------------------------------------------------


def test_what_was_changed_can_be_undone_and_done_again_after_a_reload() -> None:
    d = draft(suite_text())
    for place, n in ((("suite", 0, "runs"), 3), (("defaults", "seed"), 4), (("suite", 0, "runs"), 5)):
        d.set_values({place: n})
    texts = [d.text]
    d.undo()
    texts.append(d.text)
    again = Draft()
    assert again.open(d.id)
    assert (again.text, again.can_undo, again.can_redo) == (texts[1], True, True)
    again.redo()
    assert again.text == texts[0]
    while again.can_undo:
        again.undo()
    # The beginning is the suite as it was loaded, of the same draft; what a new session begins with is not before it.
    assert (again.text, again.id) == (suite_text(), d.id)
    # And what was gone back to is what the next session finds.
    third = Draft()
    third.open(d.id)
    assert (third.text, third.can_undo, third.can_redo) == (suite_text(), False, True)


def test_a_draft_that_is_opened_beside_another_can_be_left_by_undo() -> None:
    one, other = draft(suite_text()), draft(suite_text(prompts=3))
    one.set_values({("suite", 0, "runs"): 3})
    other.set_values({("suite", 0, "runs"): 4})
    before = one.text
    one.open(other.id)
    assert one.text == other.text
    one.undo()
    assert (one.text, one.id) == (suite_text(prompts=3), other.id)
    one.undo()
    assert one.text == before


def test_undo_over_a_draft_opened_twice_finds_it_unchanged() -> None:
    one, other = draft(suite_text()), draft(suite_text(prompts=3))
    one.rename("one")
    other.rename("other")
    first = one.id
    drafts.flush()
    one.open(other.id)
    one.open(first)
    one.set_text(one.text + "# more\n")
    drafts.flush()
    ids = [one.id]
    while one.can_undo:
        one.undo()
        assert "elsewhere" not in one.notice
        ids.append(one.id)
    assert ids.count(first) > 2


@pytest.mark.parametrize("damage", ["{", '{"versions": [["other", "/tmp"]], "now": 0}', '{"versions": 3, "now": 1}'])
def test_damaged_versions_leave_the_draft_as_it_is(own_folder: Path, damage: str) -> None:
    d = draft(suite_text())
    d.set_values({("suite", 0, "runs"): 3})
    drafts.flush()
    (own_folder / f"{d.id}{drafts.PAST}").write_text(damage)
    again = Draft()
    assert again.open(d.id)
    assert (again.text, again.can_undo) == (d.text, False)
    assert [r.id for r in drafts.recent()[0]] == [d.id]
    assert drafts.recent()[1] == []


def test_of_a_long_history_the_nearest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts, "MOST_PAST", 20)
    versions = [(f"{n:010}", "") for n in range(9)]
    assert drafts.near(versions, 8) == (tuple(versions[6:]), 2)
    assert drafts.near(versions, 1) == (tuple(versions[:3]), 1)


def test_opening_the_open_draft_again_changes_nothing() -> None:
    d = draft("a: 1\n")
    for i in range(2, 5):
        d.set_text(f"a: {i}\n", source=None)
    drafts.flush()
    before = d._history.versions
    for _ in range(3):
        assert d.open(d.id)
    assert d._history.versions == before
    drafts.flush()
    assert [text for text, _ in drafts.past(drafts.load(d.id))[0]] == [f"a: {i}\n" for i in range(1, 5)]
