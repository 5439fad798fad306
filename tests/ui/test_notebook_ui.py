"""The widget in a real JupyterLab: live on the screen, no request to the outside, plain HTML in the saved notebook."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import FLAGS, ROOT, WHOLE, _no_browser, free_port

pytestmark = [pytest.mark.ui, pytest.mark.slow]

LOCAL = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")

READY = """() => { const shown = window.jupyterapp?.shell.currentWidget
    return shown?.sessionContext?.session?.kernel?.status === 'idle' && shown.content?.widgets?.length > 0 }"""

SUITE = "from tests.dash.conftest import suite_text\nfrom sway_dash import SwayDash, show\n"

HELD = """
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from sway_dash import SwayDash
from sway_dash.demo import demo_dir
base = AutoModelForCausalLM.from_pretrained(demo_dir() / "model")
model = PeftModel.from_pretrained(base, str(demo_dir() / "adapter"), is_trainable=True).train()
tokenizer = AutoTokenizer.from_pretrained(demo_dir() / "model")
prompts = [f"The keeper of lighthouse {i} is" for i in range(600)]
dash = SwayDash(model=model, tokenizer=tokenizer, prompts=prompts, preset="Full", view="verdict")
dash
"""


@dataclass
class Lab:
    """A JupyterLab of its own: folders, settings and kernels below ``home``."""

    url: str
    home: Path


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if importlib.util.find_spec("jupyterlab") is None:
        _no_browser("jupyterlab is not installed")
    home = tmp_path_factory.mktemp("lab")
    port = free_port()
    own = {f"JUPYTER_{name}_DIR": str(home / ".jupyter" / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"IPYTHONDIR": str(home / ".ipython"), "JUPYTERLAB_SETTINGS_DIR": str(home / ".lab"), "FAKE_DELAY_S": "0.05"}
    own |= {"SWAY_RUNS_DIR": str(home / "runs"), "SWAY_NULL_CACHE_DIR": str(home / "nulls"), "PYTHONPATH": str(ROOT)}
    settings = home / ".lab" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    # No question in the corner about news.
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--ServerApp.token=", "--ServerApp.password=", f"--ServerApp.root_dir={home}"]
    command += ["--ServerApp.port_retries=0", "--LabApp.expose_app_in_browser=True", "--ip=127.0.0.1"]
    with (home / "lab.log").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **own})
    try:
        for _ in range(300):
            assert process.poll() is None, (home / "lab.log").read_text()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/lab", timeout=30).read()
                break
            except OSError:
                time.sleep(0.2)
        yield Lab(f"http://127.0.0.1:{port}", home)
    finally:
        process.terminate()
        process.wait(timeout=30)


@dataclass
class Notebook:
    """A notebook on the screen."""

    page: Any
    path: Path
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def command(self, name: str, **args: Any) -> None:
        """One of JupyterLab's commands."""
        self.page.evaluate("([name, args]) => { window.jupyterapp.commands.execute(name, args) }", [name, args])

    def until(self, holds: Callable[[], bool], seconds: float = 120.0) -> bool:
        """Wait for something, and fail when it does not come; the browser's events go on meanwhile."""
        end = time.monotonic() + seconds
        while not holds():
            told = self.page.locator(".jp-OutputArea-output").all_inner_texts()
            assert time.monotonic() < end, f"{self.errors} {told}"
            self.page.wait_for_timeout(100)
        return True

    def run(self, code: str) -> None:
        """Run a new cell below the active one."""
        self.command("notebook:insert-cell-below")
        self.command("notebook:enter-edit-mode")
        self.page.wait_for_timeout(300)
        self.page.keyboard.insert_text(code)
        self.command("notebook:run-cell")

    def head(self) -> str:
        """State line of the run."""
        return " ".join(self.page.locator(".sway-hook-head p").all_inner_texts())

    def verdict(self) -> str:
        """What the live view answers."""
        return " ".join(self.page.locator(".sway-hook-verdict p").all_inner_texts())

    def button(self, name: str) -> Any:
        """A button of the form."""
        return self.page.locator(".bk-btn", has_text=name)

    def outputs(self) -> str:
        """Everything the cells show, as text."""
        return "\n".join(self.page.locator(".jp-OutputArea-output pre").all_inner_texts())

    def plain(self) -> list[bool]:
        """Whether the plain HTML of each display is on the screen."""
        return list(self.page.locator("[data-sway]").evaluate_all("all => all.map(e => e.offsetHeight > 0)"))

    def saved(self) -> str:
        """HTML of all outputs in the saved file."""
        self.command("docmanager:save")
        self.page.wait_for_timeout(1500)
        cells = json.loads(self.path.read_text(encoding="utf-8"))["cells"]
        return "\n".join("".join(o.get("data", {}).get("text/html", "")) for c in cells for o in c.get("outputs", []))


@pytest.fixture(scope="module")
def browser(play: Any) -> Iterator[Any]:
    """A whole Chromium: JupyterLab does not settle in the shell."""
    chromium = os.environ.get("SWAY_CHROMIUM") or next(filter(None, map(shutil.which, WHOLE)), None)
    if chromium is None:
        _no_browser("no whole Chromium on PATH (set SWAY_CHROMIUM)")
    rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    found = play.chromium.launch(executable_path=chromium, args=[*FLAGS, rules])
    yield found
    found.close()


@pytest.fixture
def notebook(browser: Any, lab: Lab) -> Iterator[Callable[..., Notebook]]:
    """Open a notebook of these cells and run all of them."""
    opened: list[Notebook] = []

    def open_(*cells: str) -> Notebook:
        path = lab.home / f"n{time.monotonic_ns()}.ipynb"
        made = [
            {"cell_type": "code", "id": f"c{k}", "metadata": {}, "execution_count": None, "outputs": [], "source": c}
            for k, c in enumerate(cells)
        ]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        path.write_text(json.dumps({"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
        page = browser.new_page(viewport={"width": 1280, "height": 2600})
        found = Notebook(page, path)
        page.on("request", lambda r: None if r.url.startswith(LOCAL) else found.outside.append(r.url))
        page.on("pageerror", lambda e: found.errors.append(str(e)))
        page.on("console", lambda m: found.errors.append(m.text) if "Python failed" in m.text else None)
        page.goto(f"{lab.url}/lab/tree/{path.name}?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
        found.until(lambda: page.evaluate(READY))
        found.command("notebook:run-all-cells")
        opened.append(found)
        return found

    yield open_
    # What JupyterLab says when its kernels go is not looked at.
    errors = [list(n.errors) for n in opened]
    for found in opened:
        found.page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")
        found.page.close()
    assert [n.outside for n in opened] == [[] for _ in opened]
    assert errors == [[] for _ in opened]


def test_a_suite_is_run_live_and_drilled_into(notebook: Callable[..., Notebook]):
    seen = notebook(SUITE + "dash = SwayDash(suite_text('slow', prompts=12, nulls=10))\ndash", "6 * 7")
    seen.until(lambda: seen.button("Run").is_visible() and "42" in seen.outputs())
    seen.until(lambda: seen.plain() == [False])
    # The label is of the page's own colour: without a ground it cannot be seen.
    ground = "getComputedStyle(e).backgroundColor"
    colours = seen.button("Run").evaluate(f"e => [{ground}, getComputedStyle(e).color]")
    assert colours[0] not in (colours[1], "rgba(0, 0, 0, 0)")
    seen.button("Run").click()
    lines: list[str] = []
    seen.until(lambda: lines.append(seen.head()) or "finished" in lines[-1])  # type: ignore[func-returns-value]
    assert len({line for line in lines if "running" in line}) >= 2, "the screen did not move while it ran"
    seen.until(lambda: "Changed" in seen.verdict())
    # The last words of every part have arrived, and the axis holds the largest value.
    mean = seen.page.locator(".sway-caption", has_text="Mean JS 0.")
    seen.until(lambda: "n = 12" in " ".join(mean.all_inner_texts()))
    axis = """() => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'Figure' && m.renderers.some(r => 'null_text' in (r.data_source?.data ?? {})))
            return m.x_range.end }"""
    assert seen.page.evaluate(axis) > 0.2
    # Rows of the chart in the browser and numbers in the kernel are the same ones.
    rows = """() => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'ColumnDataSource' && 'null_text' in m.data) return Array.from(m.data.item).length }"""
    seen.until(lambda: seen.page.evaluate(rows) == 12)
    pick = seen.page.locator("select", has=seen.page.locator("option", has_text="no prompt"))
    pick.select_option(index=1)
    seen.until(lambda: "JS" in " ".join(seen.page.locator(".sway-hook-detail p").all_inner_texts()))
    seen.until(lambda: seen.page.locator(".sway-hook-tokens .token").count() > 3)
    width = seen.page.locator(".sway-hook-verdict").evaluate("e => e.closest('.sway-hook-verdict').offsetWidth")
    assert 300 < width <= 900
    # In the dark the plots follow.
    colour = """() => { for (const doc of Bokeh.documents) for (const m of doc._all_models.values())
        if (m.type === 'LinearAxis') return m.major_label_text_color }"""
    light = seen.page.evaluate(colour)
    seen.command("apputils:change-theme", theme="JupyterLab Dark")
    seen.until(lambda: seen.page.evaluate(colour) != light)
    seen.command("apputils:change-theme", theme="JupyterLab Light")
    seen.until(lambda: seen.page.evaluate(colour) == light)
    # What is saved needs neither kernel nor scripts.
    html = seen.saved()
    assert "Changed." in html
    assert "data:image/png;base64," in html
    assert seen.path.stat().st_size < 2_000_000


def test_a_model_in_memory_leaves_the_kernel_free_and_can_be_stopped_and_interrupted(notebook: Callable[..., Notebook]):
    seen = notebook(HELD, "dash.start(); print('started')", "print('free while', dash.running)")
    seen.until(lambda: "free while True" in seen.outputs())
    seen.until(lambda: "Measuring" in seen.verdict() and "measurements" in seen.head())
    before = seen.head()
    seen.until(lambda: seen.head() != before)
    seen.button("Stop").click()
    seen.until(lambda: "cancelled" in seen.head())
    seen.run("print('mode', model.training, dash.running)")
    seen.until(lambda: "mode True False" in seen.outputs())
    # The front end's interrupt does the same while no cell is running.
    first = seen.head()
    seen.run("dash.start(); None")
    seen.until(lambda: "measurements" in seen.head() and "cancelled" not in seen.head())
    seen.command("notebook:interrupt-kernel")
    seen.until(lambda: "cancelled" in seen.head())
    assert seen.head() != first


def test_a_finished_run_is_shown_by_run_all_and_by_a_cell_that_runs_again(notebook: Callable[..., Notebook]):
    cell = "from sway_dash import show\nfrom sway_dash.demo import demo_dir\nshow(demo_dir() / 'run', view='verdict')"
    seen = notebook(cell, "1 + 1", cell)
    seen.until(lambda: seen.page.locator(".sway-hook-verdict").count() == 2 and seen.plain() == [False, False])
    seen.until(lambda: seen.verdict().count("Changed") == 2)
    seen.command("notebook:run-all-cells")
    assert seen.until(
        lambda: seen.page.locator(".sway-hook-verdict").count() == 2 and seen.verdict().count("Changed") == 2
    )
