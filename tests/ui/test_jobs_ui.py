"""Runs in line, stopped, killed and resumed, and the page that lists them: what a user does and sees."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sway_dash.core.result import ProbeResult
from sway_dash.dash import jobs, runs
from sway_dash.suite.execute import save_result
from sway_dash.suite.report import load_result
from sway_dash.suite.store import RESULT, RunFolder
from tests.dash.conftest import suite_text
from tests.ui.conftest import ROOT, Server, Tab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]
Start = Callable[..., RunFolder]


@pytest.fixture
def start(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a run beside the server, in the same line; ends whatever is left of it."""
    monkeypatch.setenv("SWAY_RUNS_DIR", str(server.runs))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FAKE_DELAY_S", "0.03")
    started: list[RunFolder] = []

    def make(text: str, name: str) -> RunFolder:
        started.append(jobs.start(text, base_dir=server.runs, name=name))
        return started[-1]

    yield make
    for folder in started:
        jobs.kill(folder)
    jobs.reap()


def slow(prompts: int) -> str:
    return suite_text("slow", prompts=prompts, nulls=0, ablation=False)


def keyed(kind: str = "Slow") -> str:
    """A suite whose measurements can be taken over."""
    text = suite_text(prompts=100, nulls=2, ablation=False)
    return text.replace("tests.fakes:FakeBackend", f"tests.fakes_cli:{kind}")


def banner(tab: Tab) -> str:
    return " | ".join(tab.page.locator(".sway-hook-banner .sway-banner").all_inner_texts())


def strip(tab: Tab) -> str:
    return " | ".join(tab.page.locator(".sway-hook-strip p").all_inner_texts())


def press(tab: Tab, name: str) -> None:
    tab.page.get_by_role("button", name=name, exact=True).click()


def test_the_second_run_waits_for_the_first(open_tab: Open, start: Start) -> None:
    first = start(slow(5000), "first of two")
    one = open_tab(f"?run={first.id}")
    one.until(lambda: "running" in one.head())
    one.until(lambda: "worker holds" in strip(one) and "passes/s" in strip(one) and "left" in strip(one))
    second = start(slow(5), "second of two")
    other = open_tab(f"?run={second.id}")
    other.until(lambda: "queued" in other.head() and "2nd in line for cpu, behind first of two" in banner(other))
    # What it will measure is known before it does.
    coming = other.page.locator(".sway-hook-probes tbody tr")
    other.until(lambda: coming.count() > 0)
    assert all("waiting" in row for row in coming.all_inner_texts())
    both = open_list(open_tab)
    both.until(lambda: "2nd in line" in listed(both).get("second of two", ""))
    assert "running" in listed(both)["first of two"]
    press(one, "Stop")
    one.until(lambda: "cancelled" in one.head())
    other.until(lambda: "finished" in other.head() and other.rows() == 5)
    press(both, "Refresh")
    both.until(lambda: "finished" in listed(both)["second of two"])


def test_a_run_in_line_is_stopped_from_the_list(open_tab: Open, start: Start) -> None:
    first = start(slow(5000), "has the device")
    tab = open_list(open_tab)
    tab.until(lambda: "running" in listed(tab).get("has the device", ""))
    second = start(slow(5), "not wanted")
    tab.until(lambda: "2nd in line" in listed(tab).get("not wanted", ""))
    asked = tab.page.locator(".sway-hook-runs tr.sure")
    stop = tab.page.get_by_role("button", name="Stop not wanted")
    stop.click()
    assert "Stop this run? What it has measured is kept" in asked.inner_text()
    tab.page.keyboard.press("Escape")
    assert asked.count() == 0
    assert stop.evaluate("el => el === el.getRootNode().activeElement")
    stop.press("Enter")
    asked.wait_for()
    press(tab, "Let it go on")
    assert (asked.count(), second.stop_requested()) == (0, False)
    stop.click()
    press(tab, "Stop")
    tab.until(lambda: "cancelled" in listed(tab)["not wanted"])
    assert "page=runs" in tab.page.url, "a press opens nothing"
    assert (asked.count(), stop.count()) == (0, 0)
    assert (first.fold().status, second.fold().done) == ("running", 0)


def test_stop_while_loading_ends_at_once(open_tab: Open, start: Start) -> None:
    folder = start(keyed("Heavy"), "heavy")
    tab = open_tab(f"?run={folder.id}")
    tab.until(lambda: "Loading the model" in banner(tab) and "weights (2.5 GB)" in banner(tab))
    press(tab, "Stop")
    tab.until(lambda: "cancelled" in tab.head())
    # One that is killed only after the grace period has another reason.
    assert folder.fold().reason == "stopped while the model was loaded"
    assert "Nothing was measured" in banner(tab)
    assert tab.page.get_by_role("button", name="Try again").is_visible()
    assert not tab.page.get_by_role("button", name="Resume", exact=True).is_visible()


def test_a_killed_worker_is_resumed_to_the_result_of_an_uninterrupted_run(open_tab: Open, start: Start) -> None:
    whole, folder = start(keyed(), "whole"), start(keyed(), "killed twice")
    tab = open_tab(f"?run={folder.id}")
    tab.until(lambda: folder.fold().done >= 20)
    os.kill(folder.meta()["pid"], signal.SIGKILL)
    tab.until(lambda: "interrupted" in tab.head() and "measurements are safe" in banner(tab))
    assert "has ended without saying so" in banner(tab), "it was no child of this server"
    press(tab, "Resume")
    tab.until(lambda: folder.fold().done >= 210)
    os.kill(folder.meta()["pid"], signal.SIGKILL)
    tab.until(lambda: "(killed; likely out of memory)" in banner(tab))
    tab.until(lambda: tab.page.get_by_role("button", name="Resume", exact=True).is_enabled())
    press(tab, "Resume")
    tab.until(lambda: "finished" in tab.head() and "300 of 300" in tab.head())
    results = [load_result(f.path / RESULT)[0] for f in (whole, folder)]
    assert [plain(p) for p in results[0].probes] == [plain(p) for p in results[1].probes]


def plain(result: ProbeResult) -> dict[str, Any]:
    """A probe's numbers, without where they came from and how long it took."""
    evidence = {k: v for k, v in result.evidence.items() if k not in ("measured", "reused", "from_cache")}
    return {"raw": result.raw, "ci": result.ci_95, "verdict": result.verdict, "evidence": evidence}


# -- the list -----------------------------------------------------------------------------------


def listed(tab: Tab) -> dict[str, str]:
    """Rows of the list by name: the text of all their cells."""
    rows = tab.page.locator(".sway-hook-runs tbody tr:not(.sure)").evaluate_all(
        "rows => rows.map(row => [row.querySelector('a').innerText, row.innerText.replace(/\\s+/g, ' ')])"
    )
    return {name.removeprefix("★ "): text for name, text in rows}


@pytest.fixture
def finished(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RunFolder]:
    """A finished run, without a worker."""
    monkeypatch.setenv("SWAY_RUNS_DIR", str(server.runs))

    def make(name: str) -> RunFolder:
        from sway_dash.suite.loader import loads
        from sway_dash.suite.runner import run
        from tests.fakes import FakeBackend

        text = suite_text(nulls=10, ablation=False)
        folder, spec = RunFolder.create(text, name=name, base_dir=server.runs), loads(text)
        run(spec, FakeBackend(base_spec=spec.models.ft), on_event=folder.append)
        folder.close()
        save_result(folder, folder.result())
        return folder

    return make


def open_list(open_tab: Open, **options: Any) -> Tab:
    """The page of runs, once it is in the address: what is done before may be lost."""
    tab = open_tab("?page=runs", **options)
    tab.until(lambda: "v=1" in tab.page.url)
    return tab


def mark(tab: Tab, name: str) -> None:
    tab.page.get_by_label(f"Mark {name}", exact=True).click()


def test_rename_archive_and_delete(open_tab: Open, finished: Callable[[str], RunFolder]) -> None:
    folder, kept = finished("to be renamed"), finished("kept")
    tab = open_list(open_tab)
    tab.until(lambda: {"to be renamed", "kept"} <= set(listed(tab)))
    assert "▲ changed" in listed(tab)["kept"]
    mark(tab, "to be renamed")
    name = tab.page.get_by_label("Name", exact=True)
    name.wait_for()
    name.fill("a better name")
    tab.page.get_by_label("Tags", exact=True).fill("one, two")
    tab.page.get_by_label("Note", exact=True).fill("worth keeping")
    press(tab, "Save")
    tab.until(lambda: "one, two" in listed(tab).get("a better name", ""))
    assert folder.meta()["note"] == "worth keeping"
    press(tab, "Set as baseline")
    tab.until(lambda: runs.baseline() == folder.id)
    tab.until(lambda: "★ a better name" in listed(tab)["a better name"])

    search = tab.page.get_by_label("Search", exact=True)
    search.fill("two better")
    tab.until(lambda: set(listed(tab)) == {"a better name"})
    search.fill("")
    tab.until(lambda: "kept" in listed(tab))
    press(tab, "Archive")
    tab.until(lambda: "a better name" not in listed(tab) and "kept" in listed(tab))
    tab.page.get_by_label("Archived, too").click()
    tab.until(lambda: "a better name (archived)" in listed(tab))

    press(tab, "Delete…")
    question = tab.page.locator(".sway-hook-question .sway-banner")
    tab.until(lambda: "Delete “a better name”" in " ".join(question.all_inner_texts()))
    assert "kB?" in " ".join(question.all_inner_texts())
    press(tab, "Keep")
    assert folder.path.is_dir()
    press(tab, "Delete…")
    press(tab, "Delete")
    tab.until(lambda: "a better name (archived)" not in listed(tab))
    assert not folder.path.exists()
    assert kept.path.is_dir()
    assert runs.baseline() == ""


def test_a_click_opens_a_run_and_a_report_comes_in(
    open_tab: Open, finished: Callable[[str], RunFolder], tmp_path: Path
) -> None:
    folder = finished("opened by a click")
    report = tmp_path / "from a friend.json"
    report.write_bytes((folder.path / RESULT).read_bytes())
    tab = open_list(open_tab)
    tab.until(lambda: "opened by a click" in listed(tab))
    tab.page.get_by_role("link", name="opened by a click").click()
    tab.until(lambda: "opened by a click" in tab.head() and f"run={folder.id}" in tab.page.url)

    tab = open_list(open_tab)
    tab.page.locator("input[type=file]").set_input_files(report)
    tab.until(lambda: "from a friend" in tab.head() and "finished" in tab.head())
    assert "a result without its run" in banner(tab)
    tab.until(lambda: "hanged" in tab.verdict())
    tab.until(lambda: tab.rows() == 8)
    assert not tab.page.get_by_role("button", name="New run from this").is_visible()


def test_a_folder_that_is_no_run_is_said(open_tab: Open) -> None:
    tab = open_list(open_tab)
    path = tab.page.get_by_label("Path of a run folder")
    path.fill("/nowhere/at/all")
    press(tab, "Open folder")
    assert tab.until(
        lambda: "/nowhere/at/all is no run folder" in " ".join(tab.page.locator(".sway-banner").all_inner_texts())
    )


def test_the_page_of_runs_fits_a_telephone(open_tab: Open, finished: Callable[[str], RunFolder]) -> None:
    finished("on a telephone")
    tab = open_list(open_tab, width=390, height=844)
    tab.until(lambda: "on a telephone" in listed(tab))
    assert tab.page.evaluate("document.scrollingElement.scrollWidth") <= 390
