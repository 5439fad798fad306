"""What people do with runs in the list: name, tag, archive, delete, choose a baseline, bring in from elsewhere.

Every function takes the name in an address and says in one :class:`RunFolderError` why something cannot be done.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.result import SuiteResult
from sway_dash.dash import runs
from sway_dash.dash.runs import BASELINE, DEMO
from sway_dash.report.json_io import load_result
from sway_dash.suite.processes import this_host
from sway_dash.suite.store import EVENTS, META, RESULT, TRACE, RunFolder, RunFolderError, new_run_id, runs_root

MAX_NAME = 120
"""Characters of a name; longer ones would fill the page."""

QUIET_S = 600.0
"""Whether a process on another machine lives cannot be asked; after so long without a word it counts as gone."""

_PLAIN = re.compile(r"[^\w.-]+")


def edit(
    run: str,
    *,
    name: str | None = None,
    tags: Iterable[str] | None = None,
    note: str | None = None,
    archived: bool | None = None,
) -> None:
    """Change what people have said about a run; an empty name gives it the one it is called by without."""
    folder = _own(run, "changed")
    changes: dict[str, object] = {}
    if name is not None:
        changes["name"] = " ".join(name.split())[:MAX_NAME]
    if tags is not None:
        changes["tags"] = list(dict.fromkeys(t for t in (" ".join(tag.split()) for tag in tags) if t))
    if note is not None:
        changes["note"] = note.strip()
    if archived is not None:
        changes["archived"] = archived
    try:
        folder.write_meta(**changes)
    except OSError as error:
        msg = f"{folder.path / META} cannot be written: {error.strerror or error}"
        raise RunFolderError(msg) from None


def size(run: str) -> int:
    """Bytes of everything in a run's folder; of a link nothing, since what it leads to stays."""
    folder = runs.find(run)
    if folder is None or folder.path.is_symlink():
        return 0
    total = 0
    for path in folder.path.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


def undeletable(run: str) -> str:
    """Why a run cannot be deleted now; empty if it can."""
    if run == DEMO:
        return "The recorded example is part of the program and stays."
    folder = runs.find(run)
    if folder is None:
        return f"There is no run {run!r} here."
    if folder.path.is_symlink():
        return ""
    meta = folder.meta()
    if not {"id", "created_at"} <= meta.keys() and not runs.has_begun(folder):
        return f"{folder.path} is no run folder: its files were written by another program."
    if folder.is_alive():
        return f"{runs.title(folder)} still has a process at work: stop it first."
    host = meta.get("host")
    if meta.get("pid") is not None and host != this_host() and _quiet_for(folder) < QUIET_S:
        return f"{runs.title(folder)} was written to a moment ago by a process on {host}: stop it there first."
    return ""


def _quiet_for(folder: RunFolder) -> float:
    """Seconds since anything in a run's folder was written."""
    newest = 0.0
    for name in (META, EVENTS, TRACE):
        with suppress(OSError):
            newest = max(newest, (folder.path / name).stat().st_mtime)
    return time.time() - newest


def delete(run: str) -> None:
    """Remove a run's folder; of a run that lies elsewhere only the link."""
    if why := undeletable(run):
        raise RunFolderError(why)
    folder = RunFolder(runs_root() / run)
    was_baseline = runs.baseline() == run
    try:
        if folder.path.is_symlink():
            folder.path.unlink()
        else:
            # Out of the list in one step: a folder that is half gone is no run.
            doomed = folder.path.with_name(f".deleted-{run}")
            folder.path.rename(doomed)
            shutil.rmtree(doomed)
    except OSError as error:
        msg = f"{folder.path} cannot be deleted: {error.strerror or error}"
        raise RunFolderError(msg) from None
    if was_baseline:
        set_baseline("")


def set_baseline(run: str) -> None:
    """Choose the run that others are compared with; an empty name chooses none."""
    if run and runs.find(run) is None:
        msg = f"there is no run {run!r} here"
        raise RunFolderError(msg)
    path = runs_root() / BASELINE
    try:
        if not run:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"run": run}) + "\n", encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}"
        raise RunFolderError(msg) from None


def open_folder(text: str) -> str:
    """Bring a run that lies elsewhere into the list, as a link, and return its name in an address."""
    text = text.strip().strip("\"'")
    if not text:
        msg = "name a run folder: the folder that holds run.json and events.jsonl"
        raise RunFolderError(msg)
    path = Path(text).expanduser().resolve()
    folder = RunFolder.open(path)
    address = runs.address_of(folder)
    if address == DEMO:
        return DEMO
    root = runs_root()
    if path.parent == root.resolve():
        return path.name
    for link in root.glob("*") if root.is_dir() else ():
        if link.is_symlink() and link.resolve() == path:
            return link.name
    link = _free(_PLAIN.sub("-", path.name).strip("-."))
    try:
        root.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path, target_is_directory=True)
    except OSError as error:
        msg = f"{path} cannot be linked into {root}: {error.strerror or error}; copy the folder there instead"
        raise RunFolderError(msg) from None
    return link.name


def import_report(data: bytes, filename: str) -> str:
    """Make a read-only run of a result file (the public JSON format) and return its name in an address."""
    root, name = runs_root(), Path(filename).name or "report.json"
    run_id = new_run_id()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=root) as temporary:
            folder = RunFolder(Path(temporary) / run_id)
            folder.path.mkdir()
            (folder.path / RESULT).write_bytes(data)
            result = _checked(folder.path / RESULT, name)
            started = result.started_at.timestamp()
            folder.write_meta(id=run_id, name=Path(name).stem, created_at=started or time.time(), imported=name)
            folder.path.rename(root / run_id)
    except OSError as error:
        msg = f"{name} cannot be imported into {root}: {error.strerror or error}"
        raise RunFolderError(msg) from None
    return run_id


def _checked(path: Path, name: str) -> SuiteResult:
    try:
        result = load_result(path)[0]
    except SpecValidationError as error:
        msg = str(error).replace(str(path), name)
        raise RunFolderError(msg) from None
    if not result.probes:
        msg = f"{name} holds no probes: a report of sway-dash or dlm-sway (--json) is wanted"
        raise RunFolderError(msg)
    return result


def _own(run: str, done: str) -> RunFolder:
    """A run people may write to."""
    folder = None if run == DEMO else runs.find(run)
    if folder is None:
        what = "the recorded example is part of the program" if run == DEMO else f"there is no run {run!r} here"
        msg = f"{what}: it cannot be {done}"
        raise RunFolderError(msg)
    return folder


def _free(name: str) -> Path:
    """A path in the folder of runs that is not taken."""
    if not re.match(r"[A-Za-z0-9]", name) or name == DEMO:
        name = f"run-{name}".rstrip("-")
    path, n = runs_root() / name, 2
    while path.exists() or path.is_symlink():
        path, n = runs_root() / f"{name}-{n}", n + 1
    return path
