"""Which run is meant by a name; one place for every command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sway_dash.cli.boundary import UsageError
from sway_dash.core.errors import did_you_mean

if TYPE_CHECKING:
    from sway_dash.suite.store import RunFolder

MOST_NAMED = 8
"""Candidates that are listed for a beginning of an id that several runs share."""


def find_run(name: str) -> RunFolder:
    """A run by its id, the beginning of it, ``demo``, or the path of its folder, wherever that lies.

    ``UsageError`` lists the candidates when there are several, and the nearest id when there is none.
    """
    from sway_dash.dash import runs
    from sway_dash.suite.store import RunFolder, runs_root

    known = runs.find(name)
    if known is not None:
        return known
    root = runs_root()
    for candidate in (Path(name).expanduser(), root / name):
        if candidate.is_dir():
            return RunFolder.open(candidate)
    run = _begun(name)
    if run is None:
        hint = did_you_mean(name, _ids())
        how = "sway-dash runs list shows what is there"
        raise UsageError(f"no run {name!r}: neither a folder nor the id of a run in {root}: {how}.{hint}")
    return RunFolder.open(root / run)


def resolve(name: str) -> str:
    """Id of the one run in the runs folder that is meant by its id, the beginning of it, or its path there.

    For what is done to runs in that folder alone. ``UsageError`` as in :func:`find_run`.
    """
    from sway_dash.dash import runs
    from sway_dash.suite.store import runs_root

    root = runs_root()
    if name and runs.find(name) is not None:
        return name
    path = Path(name).expanduser()
    if path.name and path.is_dir() and path.parent.resolve() == root.resolve() and runs.find(path.name) is not None:
        return path.name
    run = _begun(name)
    if run is None:
        hint = did_you_mean(name, _ids())
        raise UsageError(f"no run {name!r} in {root}: sway-dash runs list shows what is there.{hint}")
    return run


def _begun(name: str) -> str | None:
    """The one id that begins so; ``None`` without any, ``UsageError`` for several."""
    found = [run for run in _ids() if name and run.startswith(name)]
    if len(found) > 1:
        listed = ", ".join(found[:MOST_NAMED])
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise AmbiguousError(f"{name!r} is the beginning of {len(found)} runs: {listed}{more}; give more of the id")
    return found[0] if found else None


def _ids() -> list[str]:
    from sway_dash.suite.store import list_runs

    return [folder.id for folder in list_runs()]


class AmbiguousError(UsageError):
    """Several runs have ids that begin so."""
