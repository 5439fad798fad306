"""The list of runs, what is done with them, and runs from elsewhere. Without a browser."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash import run_edits, runs
from sway_dash.dash.pages.runs import HEADS, RunsView, cells, ordered
from sway_dash.dash.state import RunState, Selection
from sway_dash.suite import queue
from sway_dash.suite.execute import save_result
from sway_dash.suite.processes import this_host
from sway_dash.suite.report import load_result
from sway_dash.suite.store import EVENTS, META, RESULT, RunFolder, RunFolderError, runs_root
from tests.dash.conftest import suite_text

Record = Callable[..., RunFolder]

HOLDER = """
import sys
from sway_dash.suite import queue
with queue.turn(["cpu"], name="A"):
    print("got", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def here(record: Record, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Make a finished run in the folder of runs; returns its name in an address."""
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path / "runs"))

    def make(name: str = "cook", *, created: float | None = None, **meta: Any) -> str:
        folder = record(suite_text(nulls=10, ablation=False))
        save_result(folder, folder.result())
        folder.write_meta(name=name, **({"created_at": created} if created else {}), **meta)
        return folder.id

    return make


def info(run: str) -> runs.RunInfo:
    return next(r for r in runs.everything() if r.id == run)


def without_end(folder: RunFolder) -> None:
    """As a crash leaves it."""
    lines = (folder.path / EVENTS).read_bytes().splitlines(keepends=True)
    (folder.path / EVENTS).write_bytes(b"".join(lines[:-1]))
    (folder.path / RESULT).unlink(missing_ok=True)


# -- the list -----------------------------------------------------------------------------------


def test_no_runs_is_an_empty_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path / "nowhere"))
    assert runs.everything() == []
    page = RunsView()
    assert not page._table.visible
    assert "No runs yet in" in page._note.object
    assert "open the recorded example" in page._note.object
    monkeypatch.setattr(runs, "demo_folder", lambda: None)
    without = RunsView()
    assert not without._demo.visible
    assert "Start one under New run, or bring one in from elsewhere." in without._note.object


def test_a_line_says_what_the_run_found(here: Callable[..., str]) -> None:
    run = here()
    found, result = info(run), load_result(runs_root() / run / RESULT)[0]
    moved = next(p for p in result.probes if p.name == "moved")
    assert (found.status, found.word, found.name) == ("finished", "changed", "cook")
    assert (found.mean, found.ci, found.prompts, found.metric) == (moved.raw, moved.ci_95, 8, "JS")
    assert found.seconds == result.wall_seconds


def test_the_newest_run_comes_first(here: Callable[..., str]) -> None:
    old, new, middle = here("old", created=1e9), here("new", created=3e9), here("middle", created=2e9)
    assert [r.id for r in runs.everything()] == [new, middle, old]
    assert [r.id for r in runs.recent(2)] == [new, middle]


def test_a_run_without_a_name_is_called_by_its_adapter_and_time(tmp_path: Path) -> None:
    text = suite_text().replace("base: plain", "base: plain\n    adapter: ./out/my-lora", 2)
    folder = RunFolder.create(text, base_dir=tmp_path)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(folder.meta()["created_at"]))
    assert info(folder.id).name == f"my-lora, {when}"
    assert runs.title(folder) == f"my-lora, {when}"
    state = RunState()
    state.open(folder)
    assert state.title == f"my-lora, {when}"


@pytest.mark.parametrize("text", ["", "models: [", "[]", "models: {base: 1, ft: {adapter: 2}}", "\x00"])
def test_a_run_with_a_broken_suite_is_still_listed(text: str) -> None:
    folder = RunFolder.create(text)
    assert info(folder.id).name == folder.id


def test_a_worker_that_died_while_no_server_was_up_is_interrupted(here: Callable[..., str]) -> None:
    run = here()
    folder = RunFolder(runs_root() / run)
    without_end(folder)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder.write_meta(pid=gone.pid, host=this_host(), claimed_at=time.time() - 60)
    assert info(run).status == "interrupted"
    # An end the worker did write counts, whoever is asked.
    folder.write_meta(pid=os.getpid(), claimed_at=folder.meta()["created_at"])
    assert info(run).status == "running"


def test_waiting_and_starting_are_told_apart(here: Callable[..., str]) -> None:
    run = here()
    folder = RunFolder(runs_root() / run)
    folder.claim()
    assert (info(run).status, info(run).word) == ("starting", "")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()  # type: ignore[union-attr]
        waiting = queue._Taken(
            "cpu", queue.Place(f"{time.time_ns():020d}-1", os.getpid(), time.time(), run, "cook"), None
        )
        found = info(run)
        assert (found.status, found.standing.position) == ("queued", 2)  # type: ignore[union-attr]
        assert cells(found)[0] == "… 2nd in line"
        state = RunState()
        state.open(folder)
        assert (state.status, state.live) == ("queued", True)
        waiting.give_back()
    finally:
        holder.communicate()
    assert info(run).status == "starting"


def test_what_changes_on_disk_is_seen(here: Callable[..., str]) -> None:
    run = here()
    assert info(run).word == "changed"
    RunFolder(runs_root() / run).write_meta(note="new")
    assert info(run).note == "new"
    without_end(RunFolder(runs_root() / run))
    assert (info(run).status, info(run).word, info(run).mean) == ("interrupted", "", None)


def test_files_that_have_not_changed_are_not_read_again(
    here: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = here("one"), here("two")
    runs.everything()
    read: list[Path] = []
    original = runs._read
    monkeypatch.setattr(runs, "_read", lambda path: read.append(path) or original(path))
    assert {r.name for r in runs.everything()} == {"one", "two"}
    assert read == []
    RunFolder(runs_root() / two).write_meta(name="three")
    assert {r.name for r in runs.everything()} == {"one", "three"}
    assert [p.name for p in read] == [two]
    assert one


@pytest.mark.parametrize("name", [META, EVENTS, RESULT])
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema_version": 99}', "\xff\xfe", "[" * 19_000], ids=range(7)
)
def test_torn_files_do_not_break_the_list(here: Callable[..., str], name: str, text: str) -> None:
    run = here()
    (runs_root() / run / name).write_text(text, encoding="latin-1")
    assert [r.id for r in runs.everything()] == [run]


@pytest.mark.parametrize(
    "said",
    [
        '"created_at": 1e300',
        '"created_at": NaN',
        '"created_at": -1e18',
        '"created_at": 253402300799',
        '"tags": 5',
        '"tags": "ab"',
        f'"created_at": 1{"0" * 400}',
    ],
)
def test_what_a_run_cannot_say_of_itself_does_not_break_the_list(here: Callable[..., str], said: str) -> None:
    run = here(tags=["a"])
    (runs_root() / run / META).write_text(f'{{"id": "{run}", {said}}}')
    (found,) = runs.everything()
    assert found.id == run
    assert found.tags == ()


@pytest.mark.parametrize("value", ["odd", 7, [1, "a", None, {}], {"a": [1]}, None, True, 10**309])
def test_evidence_of_another_shape_does_not_break_the_list(here: Callable[..., str], value: Any) -> None:
    run = here()
    path = runs_root() / run / RESULT
    stored = json.loads(path.read_text())
    for probe in stored["probes"]:
        probe["evidence"] = dict.fromkeys([*probe["evidence"], "null", "partial", "update_norms", "weight"], value)
    path.write_text(json.dumps(stored))
    assert [r.id for r in runs.everything()] == [run]


def test_filters(here: Callable[..., str]) -> None:
    here("Cooking, first", tags=["recipes", "lr 1e-4"])
    here("Sailing", note="The keeper of the light")
    old = here("Cooking, second")
    run_edits.edit(old, archived=True)
    found = runs.everything()

    def names(**options: Any) -> set[str]:
        return {r.name for r in runs.listed(found, **options)}

    assert names() == {"Cooking, first", "Sailing"}
    assert names(archived=True, text="cooking") == {"Cooking, first", "Cooking, second"}
    assert names(text="RECIPES cook") == {"Cooking, first"}
    assert names(text="keeper") == {"Sailing"}
    assert names(text="recipes sailing") == set()
    assert names(states=["failed"]) == set()
    assert names(states=["failed", "finished"]) == {"Cooking, first", "Sailing"}


# -- what people do -----------------------------------------------------------------------------


def test_name_tags_and_note_are_kept_in_the_folder(here: Callable[..., str]) -> None:
    run = here()
    run_edits.edit(run, name="  A  better\nname ", tags=[" one ", "two", "one", ""], note=" why ")
    found = info(run)
    assert (found.name, found.tags, found.note) == ("A better name", ("one", "two"), "why")
    run_edits.edit(run, archived=True)
    assert info(run).archived
    assert info(run).note == "why"
    run_edits.edit(run, archived=False, name="")
    assert not info(run).archived
    assert info(run).name.startswith("plain, "), "without a name it is called by its models"


def test_deleting_removes_the_folder_and_nothing_else(here: Callable[..., str]) -> None:
    one, two = here("one"), here("two")
    files = list((runs_root() / one).iterdir())
    assert run_edits.size(one) == sum(f.stat().st_size for f in files)
    run_edits.delete(one)
    assert [r.id for r in runs.everything()] == [two]
    assert not (runs_root() / one).exists()
    with pytest.raises(RunFolderError, match="There is no run"):
        run_edits.delete(one)


@pytest.mark.parametrize("run", ["demo", "", "..", "../runs", ".queue", "nothing-here"])
def test_what_is_no_run_of_ours_is_neither_changed_nor_deleted(here: Callable[..., str], run: str) -> None:
    kept = here()
    with pytest.raises(RunFolderError):
        run_edits.delete(run)
    with pytest.raises(RunFolderError):
        run_edits.edit(run, name="x")
    assert [r.id for r in runs.everything()] == [kept]


def test_a_run_at_work_is_not_deleted(here: Callable[..., str]) -> None:
    run = here()
    RunFolder(runs_root() / run).claim()
    with pytest.raises(RunFolderError, match="still has a process at work"):
        run_edits.delete(run)
    assert info(run)


def test_the_baseline_lasts_and_goes_with_its_run(here: Callable[..., str]) -> None:
    one, two = here("one"), here("two")
    assert runs.baseline() == ""
    run_edits.set_baseline(one)
    assert runs.baseline() == one
    assert [cells(r, runs.baseline())[1] for r in runs.everything()] == ["two", "★ one"]
    run_edits.set_baseline(two)
    assert runs.baseline() == two
    run_edits.delete(two)
    assert runs.baseline() == ""
    with pytest.raises(RunFolderError, match="there is no run"):
        run_edits.set_baseline(two)
    run_edits.set_baseline(one)
    run_edits.set_baseline("")
    assert runs.baseline() == ""


@pytest.mark.parametrize("text", ["", "[]", '{"run": 3}', '{"run": "../.."}'])
def test_a_torn_baseline_is_none(here: Callable[..., str], text: str) -> None:
    here()
    (runs_root() / runs.BASELINE).write_text(text)
    assert runs.baseline() == ""


# -- from elsewhere -----------------------------------------------------------------------------


def test_a_folder_from_elsewhere_is_linked_and_stays(here: Callable[..., str], tmp_path: Path) -> None:
    run = here()
    away = tmp_path / "away" / "my run <b>"
    away.parent.mkdir()
    (runs_root() / run).rename(away)
    address = run_edits.open_folder(f' "{away}" ')
    assert runs.find(address) is not None
    assert (info(address).linked, info(address).word) == (True, "changed")
    assert run_edits.open_folder(str(away)) == address, "opened twice it is there once"
    run_edits.delete(address)
    assert runs.everything() == []
    assert (away / EVENTS).is_file()


def test_a_folder_that_is_here_already_is_itself(here: Callable[..., str]) -> None:
    run = here()
    assert run_edits.open_folder(str(runs_root() / run)) == run
    demo = runs.demo_folder()
    assert demo is not None
    assert run_edits.open_folder(str(demo.path)) == runs.DEMO
    assert len(runs.everything()) == 1


@pytest.mark.parametrize("text", ["", "/nowhere", "~"])
def test_a_folder_without_a_run_is_one_sentence(here: Callable[..., str], text: str) -> None:
    with pytest.raises(RunFolderError, match=r"is no run folder|name a run folder"):
        run_edits.open_folder(text)


def test_an_imported_report_shows_what_it_holds(here: Callable[..., str]) -> None:
    run = here()
    path = runs_root() / run / RESULT
    original, before = path.read_bytes(), load_result(path)[0]
    made = run_edits.import_report(original, "C:/x/cook report.json")
    found = info(made)
    assert (found.name, found.status, found.word, found.imported) == ("cook report", "finished", "changed", True)
    assert (runs_root() / made / RESULT).read_bytes() == original
    assert not (runs_root() / made / EVENTS).exists()
    state = RunState()
    state.open(runs.find(made))  # type: ignore[arg-type]
    assert (state.status, state.word, state.probes) == ("finished", "changed", ["moved"])
    result = state.feed.result()  # type: ignore[union-attr]
    assert result.probes == before.probes
    assert (result.environment, result.started_at, result.finished_at) == (
        before.environment,
        before.started_at,
        before.finished_at,
    )
    evidence = next(p for p in before.probes if p.name == "moved").evidence
    series = state.data.series["moved"]
    assert [m.js for m in series.rows] == pytest.approx(evidence["per_prompt"], abs=1e-12)
    assert [m.prompt for m in series.rows] == evidence["prompts"]
    assert state.tags == ["even", "odd"]


def test_what_a_report_does_not_hold_is_shown_as_unknown(here: Callable[..., str]) -> None:
    from sway_dash.figures import columns
    from sway_dash.figures.theme import DASH, number

    run = here()
    made = run_edits.import_report((runs_root() / run / RESULT).read_bytes(), "r.json")
    state = RunState()
    state.open(runs.find(made))  # type: ignore[arg-type]
    series, choice = state.data.series["moved"], Selection(metric="kl")
    rows = choice.admit(series, series.rows, "kl")
    assert [number(m.kl) for m in rows] == [DASH] * 8
    assert len(columns.dots(series, rows, "kl", range(8))["x"]) == 8
    assert series.running("kl")[-1].ci is None


def test_a_report_of_the_public_format_without_prompts_is_shown(here: Callable[..., str]) -> None:
    here()
    probe = {
        "name": "d",
        "kind": "delta_kl",
        "verdict": "pass",
        "score": 0.9,
        "raw": 0.2,
        "evidence": {"per_prompt": [0.1, 0.2, 0.3], "divergence_kind": "js", "num_prompts": 3},
    }
    other = {"name": "own", "kind": "of_another_program", "verdict": "warn", "score": None}
    data = {"schema_version": 1, "base_model_id": "b", "adapter_id": "a/lora", "probes": [probe, other]}
    made = run_edits.import_report(json.dumps(data).encode(), "old.json")
    state = RunState()
    state.open(runs.find(made))  # type: ignore[arg-type]
    assert [m.prompt for m in state.data.series["d"].rows] == ["prompt 1", "prompt 2", "prompt 3"]
    assert [p.name for p in state.data.result().probes] == ["d", "own"]
    assert (info(made).base, info(made).adapter) == ("b", "lora")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "is not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"schema_version": 7}', "reads up to 1"),
        (b'{"a": 1}', "holds no result"),
        (b'{"probes": [{"name": "x"}]}', "is missing"),
        (b"\xff\xfe\x00", "is not valid JSON"),
    ],
)
def test_what_is_no_report_is_one_sentence_and_leaves_nothing(here: Callable[..., str], data: bytes, why: str) -> None:
    here()
    before = sorted(runs_root().iterdir())
    with pytest.raises(RunFolderError, match=f"x.json.*{why}|{why}"):
        run_edits.import_report(data, "x.json")
    assert sorted(runs_root().iterdir()) == before


# -- the page -----------------------------------------------------------------------------------


def names(page: RunsView) -> list[str]:
    """What the browser is given, in order."""
    return [item[1][1] for item in page._list.items]


def press(page: RunsView, what: str, **more: Any) -> None:
    """As the browser says it."""
    page._list._handle_msg({"what": what, **more})


def test_the_page_marks_runs_and_keeps_the_marks_under_a_filter(here: Callable[..., str]) -> None:
    one, two, three = here("one", created=3e9), here("two", created=2e9), here("three", created=1e9)
    page = RunsView()
    press(page, "mark", run=three, on=True)
    press(page, "mark", run=one, on=True)
    press(page, "mark", run="nothing-here", on=True)
    assert page.compare == [three, one], "in the order of marking"
    page.text = "two"
    assert names(page) == ["two"]
    press(page, "all", on=True)
    assert page.compare == [three, one, two]
    assert "(2 not shown by the filter)" in page._marked._head.object
    page.text = ""
    assert page._list.marked == [three, one, two]
    page._marked._do(lambda: run_edits.delete(two))
    assert page.compare == page._list.marked == [three, one]
    press(page, "mark", run=three, on=False)
    assert page.compare == [one]
    press(page, "all", on=False)
    assert page.compare == []


def test_looking_again_sends_what_has_changed_and_keeps_the_marks(here: Callable[..., str]) -> None:
    here("one", created=2e9)
    two = here("two", created=1e9)
    page = RunsView()
    page.compare = [two]
    sent: list[str] = []
    page._list.param.watch(lambda e: sent.append(e.name), ["items", "marked"])
    page.pull()
    assert sent == []
    run_edits.edit(two, name="two, better")
    page.pull()
    assert (names(page), sent) == (["one", "two, better"], ["items"])
    assert page._list.marked == [two]


def test_every_column_sorts_and_what_is_unknown_comes_last(here: Callable[..., str]) -> None:
    here("b", created=1e9)
    here("a", created=3e9)
    dead = RunFolder(runs_root() / here("c", created=2e9))
    without_end(dead)
    found = runs.everything()
    for key, _, _ in HEADS:
        for sort in (key, f"-{key}"):
            assert len(ordered(found, sort)) == 3
    assert [r.name for r in ordered(found, "run")] == ["a", "b", "c"]
    assert [r.name for r in ordered(found, "-run")] == ["c", "b", "a"]
    assert [ordered(found, sort)[-1].name for sort in ("mean", "-mean", "took", "-answer")] == ["c"] * 4
    page = RunsView()
    assert names(page) == ["a", "c", "b"], "newest first"
    press(page, "sort", key="run")
    assert (page.sort, names(page)) == ("run", ["a", "b", "c"])
    press(page, "sort", key="run")
    assert names(page) == ["c", "b", "a"]
    press(page, "sort", key="started")
    assert names(page) == ["a", "c", "b"]
    press(page, "sort", key="nonsense")
    assert page.sort == "-started"


def test_one_marked_run_can_be_named_and_typing_is_not_lost(here: Callable[..., str]) -> None:
    run = here("one")
    page = RunsView()
    page.compare = [run]
    bar = page._marked
    assert (bar._name.value, bar._fields.visible) == ("one", True)
    bar._name.value = "half typed"
    run_edits.edit(run, tags=["x"])
    page.pull()
    assert bar._name.value == "half typed"
    bar._name.value, bar._tags.value, bar._note.value = "best", "a, b", "keep"
    bar._write()
    assert (info(run).name, info(run).tags, info(run).note) == ("best", ("a", "b"), "keep")


def test_deleting_asks_and_names_the_size(here: Callable[..., str]) -> None:
    from sway_dash.figures.theme import size

    run = here("one")
    page = RunsView()
    page.compare = [run]
    page._marked._ask()
    assert page._marked._sure.visible
    assert f"Delete “one”, {size(run_edits.size(run))}?" in page._marked._question.object
    assert info(run)
    page._marked._do_delete()
    assert runs.everything() == []
    assert (page.compare, page._marked._root.visible) == ([], False)


def test_a_live_run_cannot_be_deleted_from_the_page(here: Callable[..., str]) -> None:
    run = here("one")
    RunFolder(runs_root() / run).claim()
    page = RunsView()
    page.compare = [run]
    page._marked._ask()
    assert "stop it first" in page._marked._question.object
    assert not page._marked._yes.visible


def test_what_goes_wrong_is_said_on_the_page(here: Callable[..., str]) -> None:
    here()
    page = RunsView()
    opened: list[str] = []
    page.param.watch(lambda e: opened.append(e.new) if e.new else None, "opened")
    page._bring(lambda: run_edits.open_folder("/no <b>where"))
    assert page._said.visible
    assert "/no &lt;b&gt;where is no run folder" in page._said.object
    page._bring(lambda: run_edits.open_folder(str(runs.demo_folder().path)))  # type: ignore[union-attr]
    assert not page._said.visible
    assert opened == [runs.DEMO]


def test_hostile_names_are_text(here: Callable[..., str]) -> None:
    run = here("<img src=x>\u202e\x07", tags=["<b>"], note="<i>")
    page = RunsView()
    page.compare = [run]
    assert "<img" not in page._marked._head.object
    assert "\u202e" not in names(page)[0]
