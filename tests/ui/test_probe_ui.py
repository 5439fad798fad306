"""A prompt asked by hand on the bundled model, and a prompt of a run whose tokens were not recorded."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from sway_dash.dash import jobs
from tests.dash.conftest import suite_text
from tests.ui.conftest import ROOT, Server, Tab

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]


def answer(tab: Tab) -> str:
    return " ".join(tab.page.locator(".sway-hook-answer p").all_inner_texts())


def js(tab: Tab) -> float:
    found = re.search(r"JS ([\d.]+) nats", answer(tab))
    return float(found.group(1)) if found else -1.0


def inspectors(server: Server) -> list[psutil.Process]:
    """Processes of the server that hold a model to ask."""
    found = []
    for process in psutil.Process(server.pid).children(recursive=True):
        # One that has just ended has no command line any more.
        with suppress(psutil.Error):
            found += [process] if any("inspector" in part for part in process.cmdline()) else []
    return found


def test_a_prompt_is_answered_while_it_is_typed(open_tab: Open, server: Server) -> None:
    tab = open_tab("?run=demo&page=probe")
    page = tab.page
    page.get_by_role("button", name="Load the model").click()
    tab.until(lambda: "ready" in " ".join(page.locator(".sway-hook-model p").all_inner_texts()))
    box = page.get_by_label("Prompt", exact=True)
    box.press_sequentially("The keeper of Quillhaven Light is")
    tab.until(lambda: js(tab) > 0.5)
    assert "in the open run: median JS" in answer(tab)
    page.locator(".sway-hook-generations, .sway-differs").first.wait_for()
    slider = page.get_by_role("slider").first
    slider.focus()
    slider.press("Home")
    tab.until(lambda: js(tab) == 0.0)
    assert "λ = 0" in answer(tab)
    place = page.get_by_role("combobox", name="Beside the base")
    place.click()
    page.locator("li").get_by_text("A random adapter, of the trained size").click()
    tab.until(lambda: "of the trained size, seed 1000" in answer(tab))
    first = js(tab)
    page.get_by_role("button", name="Another draw").click()
    tab.until(lambda: "seed 1001" in answer(tab))
    assert js(tab) != first
    place.click()
    page.locator("li").get_by_text("The adapter").click()
    tab.until(lambda: "λ = 0" in answer(tab))
    page.get_by_role("button", name="Add to the new run's suite").click()
    tab.until(lambda: "has this prompt already" in " ".join(page.locator(".sway-hook-added p").all_inner_texts()))
    box.fill("A prompt that no suite has")
    tab.until(lambda: js(tab) == 0.0 and "no suite" in box.input_value())
    page.get_by_role("button", name="Add to the new run's suite").click()
    tab.until(lambda: "Added as prompt" in " ".join(page.locator(".sway-hook-added p").all_inner_texts()))
    assert len(inspectors(server)) == 1
    page.get_by_role("button", name="Unload").click()
    tab.until(lambda: inspectors(server) == [])
    assert "no model loaded" in " ".join(page.locator(".sway-hook-model p").all_inner_texts())


def test_tokens_that_were_not_recorded_are_asked_for(
    open_tab: Open, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = jobs.start(suite_text(nulls=0, ablation=False), base_dir=server.runs, name="bare", root=server.runs)
    jobs._workers[folder.meta()["pid"]].wait(timeout=300)
    folder.details().path.unlink()
    tab = open_tab(f"?run={folder.id}&page=prompts&p=1")
    tab.page.get_by_role("button", name="Look at every token").click()
    tab.page.locator(".sway-hook-tokens [data-token], .sway-hook-tokens span").first.wait_for(timeout=120_000)
    assert len(inspectors(server)) == 1
    tab.page.close()
    # Nobody is left who asks: the process ends with the session.
    other = open_tab("?run=demo")
    other.until(lambda: inspectors(server) == [])
