"""The example notebook from its first to its last cell, and what its saved page shows to those without a kernel."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "apps" / "example.ipynb"

pytestmark = pytest.mark.slow


def test_it_ships_without_outputs_and_without_paths_of_a_machine():
    cells = json.loads(EXAMPLE.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells)
    assert not re.search(r"/(home|root|work|tmp|Users)/", EXAMPLE.read_text(encoding="utf-8"))


def test_it_runs_and_its_page_has_figure_and_table(tmp_path: Path):
    if importlib.util.find_spec("nbconvert") is None or importlib.util.find_spec("ipykernel") is None:
        reason = "nbconvert and ipykernel are not installed"
        (pytest.fail if os.environ.get("SWAY_REQUIRE_BROWSER") == "1" else pytest.skip)(reason)
    (tmp_path / EXAMPLE.name).write_bytes(EXAMPLE.read_bytes())
    own = {"SWAY_RUNS_DIR": str(tmp_path / "runs"), "PYTHONPATH": str(ROOT), "IPYTHONDIR": str(tmp_path / "ipython")}
    own |= {f"JUPYTER_{name}_DIR": str(tmp_path / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", EXAMPLE.name]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **own}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    html = (tmp_path / "example.html").read_text(encoding="utf-8")
    # The widget and the result, each with the answer, its picture and its prompts; no output is empty.
    answers = re.findall(r"<b>▲ Changed\.</b>", html)
    pictures = re.findall(r'<img [^>]*src="data:image/png;base64,([^"]+)"', html)
    assert len(answers) >= 2
    assert len(pictures) >= 2
    for data in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(data))).width > 1000
    assert html.count("<td>The keeper of Quillhaven Light is</td>") >= 3
    assert "random adapters" in html
    # What loads the live view would be of no use there.
    assert (tmp_path / "example.html").stat().st_size < 3_000_000
    report = (tmp_path / "quillhaven-report.html").read_text(encoding="utf-8")
    assert "Content-Security-Policy" in report
    assert "Quillhaven" in report
