"""Running the command line, in this process and in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sway_dash.cli.app import app

ROOT = Path(__file__).parents[2]

SUITE = """\
models:
  base: {kind: custom, base: fake-base, entry_point: "tests.fakes_cli:Slow"}
  ft: {kind: custom, base: fake-base, adapter: ./adapter, entry_point: "tests.fakes_cli:Slow"}
suite:
  - {name: noise, kind: null_adapter, runs: 3}
  - {name: moved, kind: delta_kl, prompts: [one, two, three, four, five]}
  - {name: shape, kind: adapter_ablation, prompts: [one, two, three]}
"""


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake backend answers at once, unless a test says otherwise."""
    monkeypatch.setenv("FAKE_DELAY_S", "0")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture
def cli() -> Callable[..., Any]:
    """``cli("run", path)`` → result with ``exit_code``, ``stdout`` and ``stderr``; a defect of ours is raised."""

    def invoke(*args: object) -> Any:
        result = CliRunner().invoke(app, [str(a) for a in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite on a backend with closed-form numbers."""
    path = tmp_path / "suite" / "sway.yaml"
    path.parent.mkdir()
    path.write_text(SUITE)
    return path


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """``start("run", path, delay=0.05)`` → a process of its own; ended when the test is over."""
    running: list[subprocess.Popen[str]] = []

    def begin(*args: object, delay: float = 0.0) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "sway_dash", *map(str, args)]
        # A defect of ours must not hide behind a colour or a narrow terminal.
        env = {**os.environ, "PYTHONPATH": str(ROOT), "FAKE_DELAY_S": str(delay), "NO_COLOR": "1"}
        process = subprocess.Popen(
            command, env=env, cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def runs_dir() -> Path:
    """Where the runs of this test go."""
    return Path(os.environ["SWAY_RUNS_DIR"])
