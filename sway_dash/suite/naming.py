"""What runs are called when nobody names them: the same words for the same thing, and a number from the second on."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from filelock import FileLock

from sway_dash.suite.store import RunFolder, list_runs, runs_root

LOCK = ".names.lock"


def new_run(
    spec_text: str, *, name: str, root: Path | None = None, base_dir: Path | None = None, spec_path: str = ""
) -> RunFolder:
    """Make a folder for a run called ``name``, or ``name #2`` and so on where there is such a run already.

    Two processes that begin at the same moment get two names. ``RunFolderError`` as from ``RunFolder.create``.
    """
    root = root or runs_root()
    with ExitStack() as held:
        with suppress(OSError):  # what is wrong with the folder is said by making the run
            root.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(root / LOCK))
        name = unused(name, taken(root))
        return RunFolder.create(spec_text, root=root, name=name, base_dir=base_dir, spec_path=spec_path)


def taken(root: Path | None = None) -> set[str]:
    """Names of all runs there are."""
    return {str(folder.meta().get("name") or "") for folder in list_runs(root)}


def unused(name: str, names: Iterable[str]) -> str:
    """``name`` with the smallest number, from 2 on, that none of the names has; as it is where none is it."""
    known, number, own = set(names), 1, name
    while own in known:
        number += 1
        own = f"{name} #{number}"
    return own
