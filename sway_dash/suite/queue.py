"""One job per device: a line of processes for each, kept in files, that no dead process can block.

::

    <runs root>/.queue/<device>/
        <host>.lock         held by the process that has the device; the system lets go of it when that process ends
        <asked>-<pid>.json  a place in line: process, run, since when, and whether it has the device

Whoever takes a place waits until nobody who still lives is before it and the lock is free. Places are in the order in
which their runs were asked for, whichever process gets up first. Lock and order are apart: the lock alone decides who
has the device, places only say in which order it is taken. No torch here: a process waits before it has loaded
anything.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from sway_dash.core.errors import SwayError
from sway_dash.suite.processes import is_alive, this_host
from sway_dash.suite.spec import SwaySpec
from sway_dash.suite.store import runs_root

FOLDER = ".queue"
POLL_S = 0.2
"""How often a waiting process looks whether it is its turn."""

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the line for a device."""

    ticket: str
    """Unix nanoseconds of the asking, then the process: what places are ordered by."""
    pid: int
    since: float
    """When the process got in line, Unix seconds."""
    run: str
    """Name of the run folder; empty for a process that measures no run."""
    name: str
    """What a person calls it."""
    holding: bool = False
    """It has the device."""
    yields: bool = False
    """It gives the device up when a run wants it: see :func:`wanted`."""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands in a line."""

    device: str
    position: int
    """1 is who has the device; 2 is next."""
    before: tuple[Place, ...]
    """Everybody before it, who has the device first."""


# -- which device -------------------------------------------------------------------------------


def devices(spec: SwaySpec) -> tuple[str, ...]:
    """Devices a run of this suite occupies, in the one order everybody takes them; decided without torch."""
    models = (spec.models.ft,) if spec.defaults.differential else (spec.models.base, spec.models.ft)
    return tuple(sorted({_server(m.endpoint) if m.kind == "api" else device_name(m.device) for m in models}))


def _server(endpoint: str | None) -> str:
    """A server takes its runs in turn, too; nothing of this machine's own devices is taken."""
    return f"server:{(urlsplit(endpoint or '').hostname or '').lower()}"


def device_name(wanted: str) -> str:
    """The device a setting means on this machine: ``cuda:<number of the card>``, ``mps`` or ``cpu``."""
    kind, _, index = wanted.strip().lower().partition(":")
    if kind == "auto":
        kind = "cuda" if _has_gpu() else "mps" if _is_apple() else "cpu"
    return f"cuda:{_card(index or '0')}" if kind == "cuda" else kind


def _has_gpu() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists() or Path("/dev/dxg").exists()


def _is_apple() -> bool:
    import platform

    return sys.platform == "darwin" and platform.machine() == "arm64"


def _card(index: str) -> str:
    """The card itself: two processes may see the same one under different numbers."""
    visible = [v.strip() for v in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if v.strip()]
    number = int(index) if index.isdigit() else -1
    return visible[number] if 0 <= number < len(visible) else index


# -- looking ------------------------------------------------------------------------------------


def line(device: str, *, root: Path | None = None) -> list[Place]:
    """Everybody in the line for a device who still lives: who has it, then the others in their order."""
    found = []
    for path in sorted(_folder(device, root).glob("*.json")):
        place = _read(path)
        if place is None or place.host != this_host():
            continue
        if is_alive(place.pid, since=place.since, host=place.host):
            found.append(place)
        else:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return sorted(found, key=lambda p: not p.holding)


def lines(*, root: Path | None = None) -> dict[str, list[Place]]:
    """The lines of all devices in which somebody stands."""
    base = (root or runs_root()) / FOLDER
    if not base.is_dir():
        return {}
    names = sorted(p.name for p in base.iterdir() if p.is_dir())
    return {_device(name): places for name in names if (places := line(_device(name), root=root))}


def standing(run: str, *, root: Path | None = None) -> Standing | None:
    """Where a run waits; ``None`` when it does not wait."""
    for device, places in lines(root=root).items():
        for i, place in enumerate(places):
            if place.run == run and not place.holding:
                return Standing(device, i + 1, tuple(places[:i]))
    return None


def wanted(pid: int | None = None, *, root: Path | None = None) -> bool:
    """Whether a process that yields (this one without a number) has a device for which a run is waiting."""
    pid = pid or os.getpid()
    return any(
        any(p.pid == pid and p.holding and p.yields for p in places)
        and any(not p.holding and not p.yields for p in places)
        for places in lines(root=root).values()
    )


# -- taking -------------------------------------------------------------------------------------


@contextmanager
def turn(
    wanted_devices: Sequence[str],
    *,
    run: str = "",
    name: str = "",
    yields: bool = False,
    asked: int | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    waiting: Callable[[Standing], None] = lambda standing: None,
    root: Path | None = None,
) -> Iterator[bool]:
    """Wait for the devices and have them until the block ends; True if they were got, False if cancelled before.

    ``asked`` is when the run was asked for, in Unix nanoseconds: now, unless this process was started for it, which
    takes longer one time than another. ``waiting`` is called once for each device that is not to be had at once.

    Devices are taken one after the other, always in the same order, so that two processes never wait for each other.
    ``SwayError`` when a place cannot be written down.
    """
    taken: list[_Taken] = []
    ticket = f"{time.time_ns() if asked is None else asked:020d}-{os.getpid()}"
    try:
        for device in sorted(wanted_devices):
            taken.append(_Taken(device, Place(ticket, os.getpid(), time.time(), run, name, yields=yields), root))
            if not taken[-1].wait(cancelled, waiting):
                break
        yield all(t.place.holding for t in taken)
    finally:
        for t in reversed(taken):
            t.give_back()


class _Taken:
    """This process's place in one line."""

    def __init__(self, device: str, place: Place, root: Path | None) -> None:
        self.device, self.root = device, root
        folder = _folder(device, root)
        self.place = replace(place, host=this_host())
        self.lock = FileLock(folder / f"{_UNSAFE.sub('_', this_host())}.lock")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write()
        except OSError as error:
            msg = f"cannot get in line for {device} in {folder}: {error.strerror or error}"
            raise SwayError(msg) from None

    def wait(self, cancelled: Callable[[], bool], told: Callable[[Standing], None]) -> bool:
        """Wait until it is this one's turn; False if it was cancelled."""
        said = False
        while not cancelled():
            places = line(self.device, root=self.root)
            waiting = [p for p in places if not p.holding]
            first = not waiting or waiting[0].ticket >= self.place.ticket
            if first and self._try():
                return True
            if not said:
                said = True
                before = tuple(p for p in places if p.holding or p.ticket < self.place.ticket)
                told(Standing(self.device, len(before) + 1, before))
            time.sleep(POLL_S)
        return False

    def give_back(self) -> None:
        """Leave the line; may be called twice."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        self.lock.release()

    @property
    def _path(self) -> Path:
        return _folder(self.device, self.root) / f"{self.place.ticket}.json"

    def _try(self) -> bool:
        try:
            self.lock.acquire(blocking=False)
        except Timeout:
            return False
        self.place = replace(self.place, holding=True)
        self._write()
        return True

    def _write(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self.place)), encoding="utf-8")
        temporary.replace(self._path)


def _read(path: Path) -> Place | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Place(**{key: data[key] for key in Place.__slots__})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _folder(device: str, root: Path | None) -> Path:
    return (root or runs_root()) / FOLDER / _UNSAFE.sub("_", device.replace(":", "--"))


def _device(folder_name: str) -> str:
    return folder_name.replace("--", ":")
