"""Prompts token by token, on disk: ``tokens.jsonl`` of a run folder, one line for each prompt and view.

A line begins with its key, so that a reader knows where everything is without parsing anything; what is looked at is
parsed then. Lines are only ever appended; of two with the same key the later counts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sway_dash.core.detail import Inspectable, PromptDetail
from sway_dash.core.errors import ProbeError, RunCancelled, SwayError

if TYPE_CHECKING:
    from sway_dash.suite.fold import Fold
    from sway_dash.suite.store import RunFolder

LIMIT = 24
"""Prompts a run records unless it is told otherwise."""

TOP, NEW_TOKENS = 8, 24
"""Likely tokens of each view per position, and tokens of each view's continuation. With these a short prompt takes some
10 kB of a run folder (the 28 of the demo, which ship with it, take 275 kB); the interactive probe stores nothing and
shows more."""

AT_ONCE = 32
"""Prompts asked for together: many, so that batches fill up, and not all, so that the most moved come first."""

_KEY = re.compile(rb'\{"key":"([0-9a-f]{32})",')
_SAYS = (b',"base_says":', b',"tuned_says":', b',"tokens":')
_KINDS = ("delta_kl",)


def detail_key(prompt: str, view: str = "ft") -> str:
    """Name of a prompt under a view (by its id): 32 hex digits."""
    return hashlib.blake2b(f"{view}\0{prompt}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def most_moved(state: Fold) -> list[str]:
    """Distinct prompts of a run's ``delta_kl`` probes, the one with the largest JS in any of them first."""
    moved: dict[str, float] = {}
    for name in (p.name for p in state.planned if p.kind in _KINDS):
        for m in state.own(name):
            if m.role == "probe":
                moved[m.prompt] = max(m.js, moved.get(m.prompt, 0.0))
    return sorted(moved, key=lambda prompt: -moved[prompt])


def record(
    folder: RunFolder,
    backend: Inspectable,
    prompts: Sequence[str],
    *,
    limit: int = LIMIT,
    top: int = TOP,
    new_tokens: int = NEW_TOKENS,
    checkpoint: Callable[[], None] = lambda: None,
) -> int:
    """Append the first ``limit`` distinct prompts to the folder's token details and return how many were written.

    Whatever ``checkpoint`` raises ends it between two batches; what is written by then stays. ``SwayError``, after
    all others were written, when some prompts could not be measured.
    """
    chosen = list(dict.fromkeys(prompts))[: max(0, limit)]
    failed: list[ProbeError] = []
    with folder.details().path.open("ab+") as file:
        _end_last_line(file)
        for detail in _measured(backend, chosen, top, new_tokens, checkpoint):
            if isinstance(detail, ProbeError):
                failed.append(detail)
                continue
            file.write(_line(detail))
            file.flush()
    if failed:
        raise SwayError(f"{len(failed)} of {len(chosen)} prompts have none; the first reason: {failed[0]}")
    return len(chosen)


def record_after(
    folder: RunFolder,
    backend: object,
    state: Fold,
    *,
    limit: int = LIMIT,
    stop: Callable[[], bool] = lambda: False,
    announce: Callable[[int], None] | None = None,
) -> None:
    """Record the most moved prompts of a run that is over, if its backend can show any.

    ``announce`` is told how many there are. A stop or an interruption ends it quietly, anything else that goes wrong is
    one warning on standard error: the run and its result are what they are.
    """
    prompts = most_moved(state)[: max(0, limit)]
    if not prompts or not isinstance(backend, Inspectable):
        return

    def checkpoint() -> None:
        if stop():
            raise RunCancelled

    try:
        if announce is not None:
            announce(len(prompts))
        record(folder, backend, prompts, limit=len(prompts), checkpoint=checkpoint)
    except (RunCancelled, KeyboardInterrupt):
        return
    except Exception as error:
        why = str(error) if isinstance(error, SwayError) else f"{type(error).__name__}: {error}"
        print(f"warning: token details are incomplete: {why}", file=sys.stderr)  # noqa: T201


def _measured(
    backend: Inspectable, prompts: Sequence[str], top: int, new_tokens: int, checkpoint: Callable[[], None]
) -> Iterator[PromptDetail | ProbeError]:
    for start in range(0, len(prompts), AT_ONCE):
        part = prompts[start : start + AT_ONCE]
        for _, detail in backend.details(part, top=top, new_tokens=new_tokens, checkpoint=checkpoint):
            yield detail


def _line(detail: PromptDetail) -> bytes:
    data = {"key": detail_key(detail.prompt, detail.view), **detail.to_dict()}
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def _end_last_line(file: BinaryIO) -> None:
    """End the torn last line of a crashed attempt, so that the next record starts on its own."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")


class DetailFile:
    """Reads token details while they are written; every look takes in what has been appended since the last."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.skipped = 0
        """Complete lines that could not be read."""
        self._forget()

    def _forget(self) -> None:
        self._file: tuple[int, int] | None = None
        self._read_to = 0
        self._places: dict[str, list[tuple[int, int]]] = {}

    def keys(self) -> frozenset[str]:
        """Keys (:func:`detail_key`) of everything recorded so far."""
        self._refresh()
        return frozenset(self._places)

    def find(self, prompt: str, view: str = "ft") -> PromptDetail | None:
        """A prompt under a view, by the view's id; ``None`` when it was not recorded or cannot be read."""
        self._refresh()
        key = detail_key(prompt, view)
        places = self._places.get(key, [])
        while places:
            try:
                line = self._line_at(*places[-1])
            except OSError:
                return None
            if (detail := _parsed(line)) is not None:
                return detail
            # An earlier attempt may have left a readable one.
            places.pop()
            self.skipped += 1
        self._places.pop(key, None)
        return None

    def said(self) -> dict[str, str]:
        """What both views say next, by key, of everything recorded so far. Tokens are not parsed, so many are fast."""
        self._refresh()
        found = {}
        with suppress(OSError), self.path.open("rb") as file:
            for key, places in self._places.items():
                file.seek(places[-1][0])
                found[key] = _said(file.read(places[-1][1]))
        return found

    def _refresh(self) -> None:
        try:
            status = self.path.stat()
            if not stat.S_ISREG(status.st_mode):
                return
            if self._file != (status.st_dev, status.st_ino) or status.st_size < self._read_to:
                # Another file of that name: recorded anew.
                self._forget()
                self._file = (status.st_dev, status.st_ino)
            if status.st_size > self._read_to:
                self._read_on()
        except OSError:
            # Not there yet, or not any more.
            self._forget()

    def _read_on(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._read_to)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # it is being written
                if found := _KEY.match(line):
                    self._places.setdefault(found[1].decode(), []).append((self._read_to, len(line)))
                elif line.strip():
                    self.skipped += 1
                self._read_to += len(line)

    def _line_at(self, start: int, length: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(length)


def _said(line: bytes) -> str:
    # Quotes within a text are escaped, so that names of fields are found only where they are fields.
    base, tuned, end = map(line.find, _SAYS)
    try:
        sides = (line[base + len(_SAYS[0]) : tuned], line[tuned + len(_SAYS[1]) : end])
        return "\0".join("".join(map(str, json.loads(side))) for side in sides)
    except (TypeError, ValueError):
        return ""


def _parsed(line: bytes) -> PromptDetail | None:
    try:
        return PromptDetail.from_dict(json.loads(line))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None
