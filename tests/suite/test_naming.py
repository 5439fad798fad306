"""Names of runs that nobody named: readable, and no two the same."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from sway_dash.suite.naming import new_run, unused
from sway_dash.suite.store import RunFolderError, list_runs


def test_the_first_has_the_name_and_the_others_a_number():
    assert unused("check a", ()) == "check a"
    assert unused("check a", {"check a"}) == "check a #2"
    assert unused("check a", {"check a", "check a #3"}) == "check a #2"


def _make(_: int) -> None:
    new_run("x", name="check a")


def test_runs_that_begin_at_the_same_moment_have_names_of_their_own():
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_make, range(12), chunksize=1)
    names = {folder.meta()["name"] for folder in list_runs()}
    assert names == {"check a", *(f"check a #{n}" for n in range(2, 13))}


def test_a_folder_that_cannot_be_written_to_is_said_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot write to"):
        new_run("x", name="check a", root=tmp_path / "file")
