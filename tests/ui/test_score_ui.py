"""The composite score on the Overview page, in a browser without a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from sway_dash.suite.rejudge import rejudge
from sway_dash.suite.score import compute
from sway_dash.suite.store import RunFolder
from tests.dash.conftest import suite_text
from tests.ui.conftest import Server, Tab
from tests.ui.test_run_pages_ui import HOSTILE, recorded

pytestmark = [pytest.mark.ui, pytest.mark.slow]

Open = Callable[..., Tab]


def opened(open_tab: Open, folder: RunFolder) -> Tab:
    """The section, with the fields to try other settings in."""
    tab = open_tab(f"?run={folder.id}")
    line = button(tab, "Composite score")
    tab.until(lambda: line.count() == 1)
    assert tab.page.locator(".sway-hook-score-parts tr").count() == 0
    line.click()
    tab.until(lambda: rows(tab, "parts") > 0)
    button(tab, "Try other thresholds and weights").click()
    tab.until(lambda: tab.page.get_by_label("assert mean gte").count() == 1)
    return tab


def button(tab: Tab, name: str) -> Any:
    return tab.page.get_by_role("button", name=name)


def rows(tab: Tab, part: str) -> int:
    return int(tab.page.locator(f".sway-hook-score-{part} tbody tr").count())


def said(tab: Tab, part: str) -> str:
    hook = f".sway-hook-score-{part}"
    return " ".join(tab.page.locator(f"{hook} table, {hook} p, {hook} pre").all_inner_texts())


def test_a_threshold_is_tried_on_a_run_that_is_over_and_taken_back(open_tab: Open, server: Server) -> None:
    folder = recorded(server, suite_text(prompts=6, nulls=4))
    tab = opened(open_tab, folder)
    result = folder.result()
    before = f"{compute(result).overall:.3g}"
    assert before in button(tab, "Composite score").inner_text()
    gate = tab.page.get_by_label("assert mean gte")
    gate.fill("0.6")
    gate.press("Enter")
    tab.until(lambda: rows(tab, "outcome") == 1)
    moved = next(p for p in result.probes if p.name == "moved")
    judged = rejudge(folder.fold(), moved, {"assert_mean_gte": 0.6}).result
    assert all(word in said(tab, "outcome") for word in ("0.02 (default)", "pass", "fail", judged.message))
    assert "{name: moved, assert_mean_gte: 0.6}" in said(tab, "outcome")
    label = tab.page.locator('[role=img][aria-label^="Composite score"]')
    tab.until(lambda: "With your settings" in (label.get_attribute("aria-label") or ""))
    button(tab, "Reset").click()
    tab.until(lambda: rows(tab, "outcome") == 0)
    tab.until(lambda: gate.input_value() == "")
    assert "with your settings" not in button(tab, "Composite score").inner_text()


def test_hostile_names_are_inert(open_tab: Open, server: Server) -> None:
    spec = yaml.safe_load(suite_text(prompts=6, nulls=0, ablation=False))
    spec["suite"][0]["name"] = HOSTILE
    tab = opened(open_tab, recorded(server, yaml.safe_dump(spec)))
    gate = tab.page.get_by_label("assert mean gte")
    gate.fill("<b>9</b>")
    gate.press("Enter")
    tab.until(lambda: "<b>9</b>" in " ".join(tab.page.locator(".MuiFormHelperText-root.Mui-error").all_inner_texts()))
    gate.fill("0.6")
    gate.press("Enter")
    tab.until(lambda: rows(tab, "outcome") == 1)
    for part in ("parts", "outcome"):
        assert "<img src=x" in said(tab, part)
    assert tab.page.evaluate("window.__hit") is None
