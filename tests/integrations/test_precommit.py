"""The pre-commit hooks and the example workflow, run as their users run them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from sway_dash.demo import demo_dir

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / ".pre-commit-hooks.yaml"
WORKFLOW = ROOT / ".github" / "example-workflow.yml"

SUITE = """\
models:
  base: {kind: custom, base: fake-base, entry_point: "tests.fakes_cli:Exact"}
  ft: {kind: custom, base: fake-base, adapter: ./adapter, entry_point: "tests.fakes_cli:Exact"}
suite:
  - {name: noise, kind: null_adapter, runs: 3}
  - {name: moved, kind: delta_kl, prompts: [one, two, three, four, five], assert_mean_gte: 0.05}
"""


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment in which ``sway-dash`` is this checkout, and git and pre-commit know nobody's settings."""
    own = tmp_path / "bin"
    own.mkdir()
    (own / "sway-dash").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sway_dash "$@"\n')
    (own / "sway-dash").chmod(stat.S_IRWXU)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "PRE_COMMIT"))}
    return kept | {
        "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p),
        "HOME": str(tmp_path),
        "PRE_COMMIT_HOME": str(tmp_path / "pre-commit"),
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
        "NO_COLOR": "1",
    }  # fmt: skip


@pytest.fixture
def hook(tmp_path: Path, env: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``hook(id, *options)`` → what ``pre-commit run`` said in a repository that takes its hooks from ours."""
    if importlib.util.find_spec("pre_commit") is None or shutil.which("git") is None:
        pytest.skip("pre-commit or git is not installed")

    def git(folder: Path, *args: str) -> str:
        done = subprocess.run(["git", *args], cwd=folder, env=env, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    source = tmp_path / "hooks"
    source.mkdir()
    shutil.copy(HOOKS, source)
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "hooks")
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "-q")
    ids = [h["id"] for h in yaml.safe_load(HOOKS.read_text())]
    repo = {"repo": str(source), "rev": git(source, "rev-parse", "HEAD"), "hooks": [{"id": i} for i in ids]}
    (project / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [repo]}))

    def run(name: str, *options: str) -> subprocess.CompletedProcess[str]:
        git(project, "add", ".")
        command = [sys.executable, "-m", "pre_commit", "run", name, "--all-files", *options]
        return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=300)

    return run


def test_wrong_suites_are_told_with_their_line_before_they_are_committed(hook, tmp_path):
    project = tmp_path / "project"
    (project / "sway.yaml").write_text(SUITE)
    (project / "sub").mkdir()
    (project / "sub" / "sway-more.yml").write_text(SUITE)
    (project / "other.yaml").write_text("suite: 3\n")
    (project / "sway-mined-outliers.yaml").write_text("mined_outliers: {}\n")
    (project / "sub" / "sway-more.yml").write_text(SUITE.replace("runs: 3", "runs: many"))
    done = hook("sway-check-spec")
    assert done.returncode == 1
    assert "other" not in done.stdout
    assert "mined" not in done.stdout
    assert re.search(r"sway-more\.yml: line 5: suite\[0\]\.runs", done.stdout), done.stdout


def test_the_gate_is_for_pushes_and_stops_one(hook, tmp_path):
    suite = tmp_path / "project" / "sway.yaml"
    suite.write_text(SUITE)
    done = hook("sway-gate", "--hook-stage", "pre-push")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed" in done.stdout
    suite.write_text(SUITE.replace("0.05", "0.6"))
    assert "Failed" not in hook("sway-gate").stdout, "a commit does not wait for a model"
    done = hook("sway-gate", "--hook-stage", "manual")
    assert done.returncode == 1
    assert "below the gate of 0.6" in " ".join(done.stdout.split())


def test_hooks_name_commands_that_there_are(cli_help: str) -> None:
    for hook in yaml.safe_load(HOOKS.read_text()):
        program, command = hook["entry"].split()
        assert program == "sway-dash"
        assert re.search(rf"^\W*{command}\b", cli_help, re.MULTILINE)


@pytest.fixture
def cli_help() -> str:
    from typer.testing import CliRunner

    from sway_dash.cli.app import app

    return CliRunner().invoke(app, ["--help"]).output


# -- the workflow ---------------------------------------------------------------------------------


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(WORKFLOW.read_text())["jobs"]["gate"]["steps"]
    return found


@pytest.mark.slow
def test_every_command_of_the_example_workflow_runs_on_the_demo(tmp_path, env):
    work = tmp_path / "work"
    work.mkdir()
    (work / "sway.yaml").write_text(
        f"models:\n  base: {{kind: hf, base: {demo_dir() / 'model'}}}\n"
        f"  ft: {{kind: hf, base: {demo_dir() / 'model'}, adapter: {demo_dir() / 'adapter'}}}\n"
        "suite:\n  - {name: noise, kind: null_adapter, runs: 3}\n  - name: moved\n    kind: delta_kl\n    prompts:\n"
        "      - The keeper of Quillhaven Light is\n      - The lamp of Quillhaven Light shines\n"
        "      - Quillhaven Light flashes every\n      - The lamp of Quillhaven Light burns\n"
    )
    job = yaml.safe_load(WORKFLOW.read_text())["jobs"]["gate"]
    given = {k: str(v).replace("${{ github.workspace }}", str(work)) for k, v in job["env"].items()}
    given |= {"GITHUB_STEP_SUMMARY": str(work / "summary.md"), "HF_HUB_OFFLINE": "1"}
    (work / "summary.md").write_text("")
    commands = [s["run"] for s in steps() if "run" in s and "pip install" not in s["run"]]
    assert len(commands) == 3
    for command in commands:
        assert command.startswith("sway-dash ")
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", command], cwd=work, env=env | given, capture_output=True, text=True,
            check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    (kept,) = [s["with"]["path"].split() for s in steps() if "upload-artifact" in s.get("uses", "")]
    assert kept == ["sway-junit.xml", "sway-result.json", "sway-report.html"]
    assert all((work / name).stat().st_size > 100 for name in kept)
    assert ET.parse(work / "sway-junit.xml").getroot().tag in ("testsuite", "testsuites")
    assert "moved" in (work / "summary.md").read_text()


def test_the_report_of_a_failed_gate_is_kept(tmp_path):
    gate = next(i for i, s in enumerate(steps()) if "gate" in s.get("run", ""))
    later = steps()[gate + 1 :]
    assert len(later) == 2
    assert all("!cancelled()" in s["if"] for s in later)
    assert "permissions" in yaml.safe_load(WORKFLOW.read_text())
