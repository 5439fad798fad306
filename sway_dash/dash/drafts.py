"""Suites being written, on disk: what survives a reload, a closed tab and a crash. No Panel, no param.

A draft is one small JSON file below ``<runs root>/.drafts``, and beside it one with its earlier and undone versions,
so that what was changed can be undone by whoever goes on with it. Writing is left to a thread that waits until typing
pauses and is handed plain records only, so a slow disk never holds up a session.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import secrets
import threading
import time
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from sway_dash.core.errors import SwayError
from sway_dash.suite.store import runs_root

FOLDER = ".drafts"
PAST = ".past.json"

PAUSE_S = 0.4
"""How long nothing may change before a draft is written."""

MOST_PAST = 400_000
"""Characters of other versions that are kept, the nearest first."""

Version = tuple[str, str]
"""A text and the folder that its relative paths start from."""

_SAFE = re.compile(r"d-[A-Za-z0-9_-]+")


class DraftError(SwayError):
    """A draft cannot be read."""


@dataclass(frozen=True, slots=True)
class DraftRecord:
    """A draft as it is on disk; ``saved`` is in Unix seconds."""

    id: str
    text: str
    base_dir: str
    title: str = ""
    saved: float = 0.0
    versions: tuple[Version, ...] = ()
    """What can be undone and done again, with what stands now at ``now``."""
    now: int = 0


def new_id() -> str:
    """A name that sorts by time and starts with a letter."""
    return f"d-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def folder() -> Path:
    """Where drafts are kept."""
    return runs_root() / FOLDER


def save(record: DraftRecord) -> None:
    """Write a draft in one step: a reader sees the old file or the new one."""
    place = folder()
    place.mkdir(parents=True, exist_ok=True)
    known = asdict(record)
    steps = {name: known.pop(name) for name in ("versions", "now")}
    _write(place / f"{record.id}.json", known)
    if record.versions:
        _write(place / f"{record.id}{PAST}", steps)


def _write(path: Path, found: dict[str, object]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    # Escapes: what a browser sends may hold half a surrogate pair, which UTF-8 has no bytes for.
    temporary.write_text(json.dumps(found), encoding="ascii")
    temporary.replace(path)


def past(record: DraftRecord) -> tuple[list[Version], int]:
    """Versions of a draft and the place of what it says; only that one where they do not belong to it."""
    try:
        found = json.loads((folder() / f"{record.id}{PAST}").read_text(encoding="utf-8"))
        versions, now = [(_text(text), _text(at)) for text, at in found["versions"]], int(found["now"])
        if now >= 0 and versions[now] == (record.text, record.base_dir):
            return versions, now
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        pass  # to undo is a comfort; what was written is there
    return [(record.text, record.base_dir)], 0


def near(versions: list[Version], now: int) -> tuple[tuple[Version, ...], int]:
    """Those versions around ``now`` that are kept on disk, and its place among them."""
    first, last, room = now, now, MOST_PAST
    while first > 0 and (room := room - len(versions[first - 1][0])) >= 0:
        first -= 1
    while last < len(versions) - 1 and (room := room - len(versions[last + 1][0])) >= 0:
        last += 1
    return tuple(versions[first : last + 1]), now - first


def load(draft_id: str) -> DraftRecord:
    """Read a draft; ``DraftError`` says in a sentence why that is not possible."""
    if not _SAFE.fullmatch(draft_id):
        raise DraftError(f"{draft_id!r} is no name of a draft")
    flush()
    path = folder() / f"{draft_id}.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return DraftRecord(
            id=draft_id,
            text=_text(found["text"]),
            base_dir=_text(found["base_dir"]),
            title=_text(found.get("title", "")),
            saved=float(found.get("saved", 0.0)),
        )
    except FileNotFoundError:
        raise DraftError(f"there is no draft {draft_id} in {folder()}") from None
    except OSError as error:
        raise DraftError(f"the draft {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DraftError(f"the draft {path} is damaged and was left out; it is still there as a file") from None


def recent(limit: int = 12) -> tuple[list[DraftRecord], list[str]]:
    """The newest drafts, newest first, and a sentence for each that cannot be read."""
    try:
        paths = [p for p in folder().glob("d-*.json") if _SAFE.fullmatch(p.stem)]
    except OSError:
        return [], []
    found: list[DraftRecord] = []
    wrong: list[str] = []
    for path in sorted(paths, key=lambda p: p.name, reverse=True)[: 4 * limit]:
        try:
            found.append(load(path.stem))
        except DraftError as error:
            wrong.append(str(error))
    return sorted(found, key=lambda r: -r.saved)[:limit], wrong


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


class _Keeper:
    """Writes the newest record of every draft once it has rested."""

    def __init__(self) -> None:
        self.waiting: dict[str, DraftRecord] = {}
        self.stamps: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.changed = threading.Condition()
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, record: DraftRecord) -> None:
        """Have a record written soon; never waits for a disk."""
        with self.changed:
            self.waiting[record.id] = record
            self.stamps[record.id] = record.saved
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="drafts", daemon=True)
                self._thread.start()
            self.changed.notify()

    def _run(self) -> None:
        while True:
            with self.changed:
                while not self.waiting:
                    self.changed.wait()
            time.sleep(PAUSE_S)
            self.write()

    def write(self) -> None:
        """Write what is waiting; why that was not possible is kept for :func:`trouble`."""
        # Whoever comes second returns only when what the first has taken is on disk.
        with self._writing:
            with self.changed:
                records, self.waiting = list(self.waiting.values()), {}
            for record in records:
                try:
                    save(record)
                    self.failed.pop(record.id, None)
                except Exception as error:
                    # One draft that cannot be written must not end the writing of all others.
                    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
                    self.failed[record.id] = f"the draft cannot be saved to {folder()}: {why}"


_keeper = _Keeper()
atexit.register(_keeper.write)


def save_later(record: DraftRecord) -> None:
    """Write a draft once nothing has changed for a moment."""
    _keeper.put(record)


def newest(draft_id: str) -> float:
    """When the newest version of a draft was made, written or not, by whomever; 0 if there is none."""
    try:
        there = float(json.loads((folder() / f"{draft_id}.json").read_text(encoding="utf-8"))["saved"])
    except (OSError, ValueError, KeyError, TypeError):
        there = 0.0
    return max(there, _keeper.stamps.get(draft_id, 0.0))


def flush() -> None:
    """Write at once what is waiting."""
    _keeper.write()


def trouble(draft_id: str) -> str:
    """Why a draft could not be written the last time; empty if it could."""
    return _keeper.failed.get(draft_id, "")
