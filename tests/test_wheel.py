"""What the wheel gives a user: package, demo and app, where the source has never been seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it.

    The dependencies are taken from this environment by a path file (installing torch again would take minutes);
    path files of that folder are not followed, so an editable install of the source stays invisible.
    """
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True, symlinks=True)
    site = Path(
        subprocess.run(
            [folder / "bin/python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    subprocess.run([folder / "bin/pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin/python"


def test_the_wheel_runs_the_demo_in_a_clean_environment(python: Path, tmp_path: Path) -> None:
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "SWAY_RUNS_DIR": str(tmp_path / "runs"),
        "SWAY_NULL_CACHE_DIR": str(tmp_path / "nulls"),
    }
    where = "import sway_dash.demo as d; print(d.__file__); print(d.demo_dir())"
    shown = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True, cwd=tmp_path, env=env)
    module, demo = shown.stdout.split()
    assert not module.startswith(str(ROOT)), "the source checkout is visible: this is no clean environment"
    command = [python.with_name("sway-dash"), "run", f"{demo}/sway.yaml", "--json", str(tmp_path / "result.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    (moved,) = [p for p in result["probes"] if p["name"] == "next_token"]
    assert moved["verdict"] == "pass"
    assert moved["raw"] > 0.05


def test_the_wheel_carries_the_app_and_the_recorded_run(python: Path, tmp_path: Path) -> None:
    code = (
        "import sway_dash, pathlib; p = pathlib.Path(sway_dash.__file__).parent;"
        "print(*[(p / f).is_file() for f in ('apps/sway.py', 'assets/demo/run/events.jsonl', 'py.typed')])"
    )
    shown = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert shown.stdout.split() == ["True", "True", "True"]
