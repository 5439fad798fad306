"""The Export dialog without a browser: what it hands over, what it shows first, what it says when it cannot."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sway_dash.dash import live
from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.courier import Courier
from sway_dash.dash.pages.export import CompareExport, ExportDialog, Scene
from sway_dash.dash.pages.overview import OverviewPage
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.theme import LIGHT
from sway_dash.report import frames
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text
from tests.dash.elsewhere import Elsewhere


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is handed to the browser."""
    found: list[dict[str, Any]] = []
    monkeypatch.setattr(Courier, "_send_msg", lambda self, data: found.append(data))
    return found


@pytest.fixture
def folder(record: Callable[..., RunFolder]) -> RunFolder:
    return record(suite_text(prompts=6, nulls=3, ablation=False))


@pytest.fixture
def dialog(folder: RunFolder) -> ExportDialog:
    run, choice = RunState(), Selection()
    run.open(folder)
    page = OverviewPage(run=run, choice=choice)
    return ExportDialog(lambda: Scene("overview", page.plots, dark=True), run=run, choice=choice)


def said(dialog: Any) -> str:
    return str(dialog._said.object)


def test_a_file_is_made_at_the_chosen_level(dialog: ExportDialog, handed: list[dict[str, Any]], tmp_path: Path) -> None:
    dialog.open = True
    dialog._make("prompts.csv")
    dialog._level.value = "numbers"
    dialog._make("prompts.csv")
    whole, hidden = handed
    assert b"Prompt 1 about" in whole["data"]
    assert b"Prompt 1 about" not in hidden["data"]
    assert hidden["kind"] == "text/csv"
    path = tmp_path / "hidden.csv"
    path.write_bytes(hidden["data"])
    assert frames.read_csv(path)["js"].tolist() == frames.measurements(dialog.run.folder)["js"].tolist()
    assert hidden["name"] in said(dialog)


def test_the_first_lines_are_those_of_the_chosen_level(dialog: ExportDialog) -> None:
    dialog.open = True
    assert "Prompt 1 about light" in str(dialog._preview.object)
    for level in ("no-prompts", "numbers"):
        dialog._level.value = level
        assert "Prompt 1 about" not in str(dialog._preview.object)
        assert "P001" in str(dialog._preview.object)
    assert str(dialog._preview.object).count("\n") < 20


def test_what_cannot_be_made_is_said_and_nothing_is_handed_over(
    dialog: ExportDialog, handed: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    dialog.open = True
    dialog._make("draws.parquet")
    assert "sway-alert" in said(dialog)
    assert "pip install pyarrow" in said(dialog)
    assert handed == []


def test_pictures_say_what_they_were_made_from(dialog: ExportDialog) -> None:
    dialog.choice.tags = ["odd"]
    dialog.open = True
    footer = dialog._pictures.footer
    assert "n = 6 prompts, 3 shown" in footer
    assert f"run {dialog.run.data.fold.result().run_id or dialog.run.run_id}" in footer
    assert dialog._pictures.dark
    titles = [title for _, title, _, _ in dialog._pictures.items]
    assert "Divergence of every prompt" in titles
    names = [name for *_, name in dialog._pictures.items]
    assert len(set(names)) == len(names)


def test_pictures_take_their_legend_along_in_the_colours_of_paper(dialog: ExportDialog) -> None:
    dialog.open = True
    (dots,) = [figure for figure, title, *_ in dialog._pictures.items if title == "Divergence of every prompt"]
    signs = {words: (sign, colour) for sign, colour, words in dialog._pictures.marks[dots]}
    assert signs["median"] == ("dash", LIGHT.muted)
    assert signs["mean, 95 % CI"] == ("line", LIGHT.tuned)


def test_closing_and_opening_again_forgets_what_was_said(dialog: ExportDialog, handed: list[dict[str, Any]]) -> None:
    dialog.open = True
    dialog._make("trace")
    assert said(dialog)
    dialog._dialog.open = False
    assert not dialog.open
    dialog.open = True
    assert said(dialog) == ""


def test_without_a_run_there_is_nothing_to_hand_over(handed: list[dict[str, Any]]) -> None:
    dialog = ExportDialog(lambda: Scene("overview"), run=RunState(), choice=Selection())
    dialog.open = True
    dialog._make("html")
    compared = CompareExport(lambda: Scene("compare"), state=CompareState())
    compared.open = True
    compared._report()
    assert handed == []


def test_a_comparison_is_handed_over_once_all_its_runs_are_read(
    record: Callable[..., RunFolder], handed: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWAY_RUNS_DIR", str(tmp_path / "runs"))
    first, second, third = (record(suite_text(base, nulls=0, ablation=False)).id for base in ("plain", "strong2", "x"))
    elsewhere = Elsewhere()
    state = CompareState(runs=[first, second], background=elsewhere)
    monkeypatch.setattr(live, "AT_ONCE", 0)
    state.add(third)
    dialog = CompareExport(lambda: Scene("compare"), state=state)
    dialog.open = True
    wait = "1 run still being read: export again once all of them are shown."
    for press in (dialog._report, lambda: dialog._differences("csv")):
        press()
        assert wait in said(dialog)
    assert handed == []
    assert wait in str(dialog._preview.object)
    elsewhere.finish()
    assert len(state.sides) == 3
    assert said(dialog) == ""
    assert "C: " in str(dialog._preview.object)
    dialog._differences("csv")
    (file,) = handed
    assert third.encode() in file["data"]


@pytest.mark.parametrize(
    ("page", "counted"),
    [
        ("null", "n = 6 prompts, 3 random adapters"),
        ("ablation", "strength: n = 5 prompts"),
        ("prompts", "n = 6 prompts"),
    ],
)
def test_what_is_counted_is_what_a_page_shows(record: Callable[..., RunFolder], page: str, counted: str) -> None:
    run = RunState()
    run.open(record(suite_text(prompts=6, nulls=3)))
    dialog = ExportDialog(lambda: Scene(page), run=run, choice=Selection())
    dialog.open = True
    assert any(line.startswith(counted) for line in dialog._pictures.footer)


def test_figures_of_the_trace_count_calls(folder: RunFolder) -> None:
    run = RunState()
    run.open(folder)
    dialog = ExportDialog(lambda: Scene("trace"), run=run, choice=Selection())
    dialog.open = True
    calls = len((folder.path / "trace.jsonl").read_text().splitlines())
    assert f"n = {calls} scoring calls" in dialog._pictures.footer
