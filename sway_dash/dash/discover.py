"""Models and adapters on this machine: where they lie, found within bounds. No Panel, no param, no torch.

Looked through are the working folder, the draft's folder, ``$SWAY_MODEL_DIRS``, the hub's cache and the example.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sway_dash.backends.model_files import cached_snapshot, hub_cache
from sway_dash.demo import demo_dir

MAX_DEPTH = 4
MAX_FOLDERS = 4000
MAX_SECONDS = 3.0
KEEP_S = 60.0
"""How long a search is remembered."""

_SKIPPED = frozenset({"node_modules", "site-packages", "__pycache__", "venv"})
_SYSTEM = frozenset({"/proc", "/sys", "/dev", "/run"})

Kind = Literal["base", "adapter"]


@dataclass(frozen=True, slots=True)
class Found:
    """A model folder."""

    kind: Kind
    value: str
    """What is written into a suite: a path, or the id of a model in the hub's cache."""
    where: str
    """In which of the places it was found, in words."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """Everything that was found, and how far the search went."""

    found: tuple[Found, ...] = ()
    folders: int = 0
    cut: str = ""
    """Why the search stopped early; empty if it did not."""

    def of(self, kind: Kind) -> list[Found]:
        """Only bases, or only adapters."""
        return [f for f in self.found if f.kind == kind]


def discover(base_dir: Path, *, fresh: bool = False) -> Discovery:
    """Look for models; what was found a moment ago is not looked for again unless asked to."""
    places = tuple(roots(base_dir))
    key = (str(base_dir), tuple(str(p) for _, p in places), str(hub_cache()))
    with _lock:
        known = _known.get(key)
        if known is not None and not fresh and time.monotonic() - known[0] < KEEP_S:
            return known[1]
        found = _search(places, base_dir)
        _known[key] = (time.monotonic(), found)
        return found


_known: dict[tuple[object, ...], tuple[float, Discovery]] = {}
_lock = threading.Lock()


def roots(base_dir: Path) -> Iterator[tuple[str, Path]]:
    """Places to look in, and what they are called."""
    own = os.environ.get("SWAY_MODEL_DIRS", "")
    given = [("SWAY_MODEL_DIRS", Path(part).expanduser()) for part in own.split(os.pathsep) if part]
    places = [("the suite's folder", base_dir), *given, ("this folder", Path.cwd())]
    with suppress(FileNotFoundError):
        places.append(("the example", demo_dir()))
    seen: set[Path] = set()
    for name, place in places:
        try:
            real = place.resolve()
        except (OSError, RuntimeError):
            continue
        if real not in seen and real.is_dir():
            seen.add(real)
            yield name, real


def _search(places: Iterable[tuple[str, Path]], base_dir: Path) -> Discovery:
    walk = _Walk()
    found: dict[tuple[Kind, str], Found] = {}
    for name, root in places:
        for kind, folder in walk.below(root):
            value = written(folder, base_dir)
            found.setdefault((kind, value), Found(kind, value, name))
    for hit in _hub():
        found.setdefault((hit.kind, hit.value), hit)
    return Discovery(tuple(found.values()), walk.folders, walk.cut)


class _Walk:
    """Goes through folders level by level; every folder once, whatever links there are."""

    def __init__(self) -> None:
        self.folders, self.cut = 0, ""
        self._end = time.monotonic() + MAX_SECONDS
        self._seen: set[tuple[int, int]] = set()

    def below(self, root: Path) -> Iterator[tuple[Kind, Path]]:
        """Model folders at and below a place."""
        queue = deque([(root, 0)])
        while queue:
            folder, depth = queue.popleft()
            if self.folders >= MAX_FOLDERS or time.monotonic() > self._end:
                why = f"{MAX_FOLDERS:,} folders" if self.folders >= MAX_FOLDERS else f"{MAX_SECONDS:g} s"
                self.cut = f"the search stopped after {why}: name the folder in SWAY_MODEL_DIRS, or type its path"
                return
            try:
                with os.scandir(folder) as entries:
                    state = os.stat(folder)
                    if (state.st_dev, state.st_ino) in self._seen:
                        continue
                    self._seen.add((state.st_dev, state.st_ino))
                    self.folders += 1
                    names, inner = _list(entries)
            except OSError:
                continue
            if (kind := kind_of(names)) is not None:
                yield kind, folder
            if depth < MAX_DEPTH:
                queue.extend((Path(path), depth + 1) for path in inner)


def _list(entries: Iterator[os.DirEntry[str]]) -> tuple[set[str], list[str]]:
    """Names of files, and folders worth looking into."""
    names: set[str] = set()
    inner: list[str] = []
    for entry in entries:
        try:
            is_dir = entry.is_dir()
        except OSError:
            continue
        if not is_dir:
            names.add(entry.name)
        elif not entry.name.startswith(".") and entry.name not in _SKIPPED and entry.path not in _SYSTEM:
            inner.append(entry.path)
    return names, sorted(inner)


def kind_of(names: set[str]) -> Kind | None:
    """What a folder with these files holds."""
    if "adapter_config.json" in names:
        return "adapter"
    weights = any(n.endswith((".safetensors", ".gguf")) for n in names) or "model.safetensors.index.json" in names
    return "base" if weights and ("config.json" in names or any(n.endswith(".gguf") for n in names)) else None


def _hub() -> Iterator[Found]:
    """What lies in the hub's cache: bases by their id, adapters by their folder."""
    try:
        repos = sorted(p.name for p in hub_cache().iterdir() if p.name.startswith("models--"))
    except OSError:
        return
    for repo in repos[:500]:
        hub_id = repo.removeprefix("models--").replace("--", "/", 1)
        snapshot = cached_snapshot(hub_id)
        if snapshot is None:
            continue
        try:
            kind = kind_of({p.name for p in snapshot.iterdir()})
        except OSError:
            continue
        if kind is not None:
            yield Found(kind, hub_id if kind == "base" else str(snapshot), "the hub's cache")


def written(folder: Path, base_dir: Path) -> str:
    """How a suite names a folder: relative where it lies below the suite's own, else in full."""
    try:
        inside = folder.relative_to(base_dir.resolve())
    except (ValueError, OSError):
        return str(folder)
    return f"./{inside.as_posix()}" if inside.parts else "."
