"""Names of runs that nobody named: readable, and no two the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sway_dash.suite.naming import new_run, unused
from sway_dash.suite.store import RunFolderError, list_runs


def test_the_first_has_the_name_and_the_others_a_number():
    assert unused("check a", ()) == "check a"
    assert unused("check a", {"check a"}) == "check a #2"
    assert unused("check a", {"check a", "check a #3"}) == "check a #2"


_THREE = """
import sys
from sway_dash.suite.naming import new_run
print("ready", flush=True)
sys.stdin.readline()
for _ in range(3):
    new_run("x", name="check a")
"""


def test_runs_that_begin_at_the_same_moment_have_names_of_their_own():
    # Processes of their own, not forks: a fork of a process with threads may hang.
    command = [sys.executable, "-c", _THREE]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    names = {folder.meta()["name"] for folder in list_runs()}
    assert names == {"check a", *(f"check a #{n}" for n in range(2, 13))}


def test_a_folder_that_cannot_be_written_to_is_said_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write to"):
        new_run("x", name="check a", root=tmp_path / "file")
