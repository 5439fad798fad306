"""New checkpoints of a training run: which are there, which are written to their end, and what was found of each.

A folder is read only once it is complete and has rested: training writes its files one after the other, and half a file
of weights is no adapter. Nothing here measures; :class:`sway_dash.suite.sweep.Sweep` does.
"""

from __future__ import annotations

import json
import os
import re
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from sway_dash.backends.adapter_files import CONFIG, PICKLE, WEIGHTS
from sway_dash.core.errors import SwayError
from sway_dash.core.files import write_whole
from sway_dash.report.json_io import to_json
from sway_dash.suite.adapter_store import Pointer, resolve_pointer_path
from sway_dash.suite.checkpoints import STATE, checkpoint_of
from sway_dash.suite.gate import Gate, scored
from sway_dash.suite.sweep import Outcome, Target, step_of

__all__ = [
    "History",
    "Lookout",
    "OutputFolder",
    "Pointer",
    "Source",
    "Watched",
    "resolve_pointer_path",
    "unmeasured",
    "unready",
]

SETTLE_S = 2.0
"""For so long nothing in a complete folder may have changed."""

GRACE_S = 30.0
"""The same for a checkpoint without the state its trainer writes last."""

MAX_HEADER = 100_000_000

Verdict = Literal["pass", "fail", "error"]
Signature = tuple[tuple[str, int, int], ...]


# -- where adapters appear ------------------------------------------------------------------------


class Source(Protocol):
    """Something that points at adapter folders."""

    def adapters(self) -> list[Path]:
        """The folders that are there now, in the order of training."""
        ...


class OutputFolder:
    """What a trainer writes to: ``checkpoint-<step>`` folders, and at the end the adapter itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()
        if not self.folder.is_dir():
            what = "is a file" if self.folder.exists() else "does not exist"
            raise SwayError(f"{folder} {what}: give the output_dir of a trainer, which holds its checkpoints")

    def adapters(self) -> list[Path]:
        """Checkpoints by their step; the folder itself last."""
        try:
            inner = [p for p in self.folder.iterdir() if p.is_dir() and _is_checkpoint(p)]
        except OSError:
            # Unmounted for a moment, or taken away: there is nothing to be seen until it is back.
            return []
        found = sorted(inner, key=lambda p: (step_of(p) or 0, p.name))
        return [*found, self.folder] if (self.folder / CONFIG).is_file() else found


def _is_checkpoint(path: Path) -> bool:
    found = checkpoint_of(str(path))
    # A folder that has its step from a trainer's state in it is a training run itself.
    return found is not None and found[0] != f"{path}/"


# -- which are complete ---------------------------------------------------------------------------


def unready(folder: Path) -> str:
    """Why an adapter folder cannot be read yet; empty once its files are whole."""
    try:
        config = folder / CONFIG
        if not config.is_file():
            return f"has no {CONFIG}"
        if not isinstance(json.loads(config.read_bytes()), dict):
            return f"{CONFIG} holds no JSON object"
        if not (folder / WEIGHTS).is_file():
            return f"has only {PICKLE}, a pickle" if (folder / PICKLE).is_file() else f"has no {WEIGHTS}"
        if why := _torn(folder / WEIGHTS):
            return why
        if (folder / STATE).is_file():
            json.loads((folder / STATE).read_bytes())
    except (ValueError, RecursionError) as error:
        return f"a JSON file is not whole ({error})"
    except (AttributeError, LookupError, TypeError):
        return f"{WEIGHTS} has a header that is none"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return ""


def _torn(weights: Path) -> str:
    """Whether a safetensors file is shorter or longer than its header says."""
    size = weights.stat().st_size
    with weights.open("rb") as file:
        head = file.read(8)
        if len(head) < 8:
            return f"{WEIGHTS} is not whole"
        (length,) = struct.unpack("<Q", head)
        if length > min(size, MAX_HEADER):
            return f"{WEIGHTS} is not whole"
        header = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    return "" if size == 8 + length + max(ends, default=0) else f"{WEIGHTS} is not whole"


def signature(folder: Path) -> Signature | None:
    """Names, sizes and times of the files in a folder; ``None`` when it is gone.

    Of a folder that is no checkpoint only what makes an adapter counts: trainers write their logs there.
    """
    every = _is_checkpoint(folder)
    try:
        found = [
            (entry.name, entry.stat())
            for entry in os.scandir(folder)
            if entry.is_file() and (every or entry.name in (CONFIG, WEIGHTS, PICKLE))
        ]
    except OSError:
        return None
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found))


def _target(path: Path) -> Target:
    return Target(path, path.name, step_of(path))


class Lookout:
    """Remembers what it saw of a source, and says which adapters are new and complete."""

    def __init__(
        self,
        source: Source,
        *,
        settle_s: float = SETTLE_S,
        grace_s: float = GRACE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.source, self.settle_s, self.grace_s, self.clock = source, settle_s, grace_s, clock
        self.growing: dict[Path, str] = {}
        """What is there and not complete, and why; an empty reason: it has not rested long enough."""
        self.restless = False
        """Some of that has been written to a moment ago: it may be complete soon."""
        self._since: dict[Path, tuple[Signature, float]] = {}
        self._done: dict[Path, Signature] = {}

    def ready(self) -> list[Target]:
        """Adapters that are complete and were not :meth:`done` as they are now."""
        now, found = self.clock(), []
        self.growing, self.restless = {}, False
        for path in self.source.adapters():
            seen = signature(path)
            if seen is None or self._done.get(path) == seen:
                continue
            if path not in self._since or self._since[path][0] != seen:
                # What was written long ago has rested already; a clock that is ahead has nothing to say.
                newest = max((time_ns for *_, time_ns in seen), default=0) / 1e9
                self._since[path] = (seen, min(newest, now))
            why, rested = unready(path), now - self._since[path][1] >= self._rest(path)
            self.restless |= not rested
            if why or not rested:
                self.growing[path] = why
            else:
                found.append(_target(path))
        return found

    @property
    def incomplete(self) -> list[tuple[Target, str]]:
        """What cannot be measured as it is, and why."""
        return [(_target(path), why) for path, why in self.growing.items() if why]

    def done(self, adapter: Path) -> None:
        """It needs no second look until a file in it changes."""
        seen = signature(adapter)
        if seen is not None and adapter in self._since and self._since[adapter][0] == seen:
            self._done[adapter] = seen

    def hurry(self) -> None:
        """Nothing more will be written: what is complete need not rest longer for want of a trainer's state."""
        self.grace_s = self.settle_s

    def _rest(self, path: Path) -> float:
        return self.settle_s if (path / STATE).is_file() or not _is_checkpoint(path) else self.grace_s


# -- what was found -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Watched:
    """An outcome and the decision about it."""

    outcome: Outcome
    gate: Gate
    sequence: int
    spec_path: str

    @property
    def verdict(self) -> Verdict:
        """pass or fail as the gate says; error where there is nothing to judge."""
        if self.outcome.error:
            return "error"
        return "pass" if self.gate.passed else "fail"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What speaks against it."""
        return (self.outcome.error,) if self.outcome.error else self.gate.reasons

    def to_dict(self) -> dict[str, Any]:
        """All that is said of it, JSON-ready; the first keys are those of the public format."""
        outcome = self.outcome
        return {
            "sequence": self.sequence,
            "adapter_pointer": str(outcome.target.adapter),
            "spec_path": self.spec_path,
            "verdict": self.verdict,
            "run_seconds": round(outcome.seconds, 3),
            "overall_score": outcome.score.overall
            if scored(outcome.result, outcome.score) and not outcome.error
            else None,
            "wrote_at": datetime.now(UTC).isoformat(),
            "label": outcome.target.label,
            "step": outcome.target.step,
            "run": str(outcome.folder.path),
            "reused": outcome.reused,
            "reasons": list(self.reasons),
        }


def unmeasured(target: Target, why: str, *, spec_path: str) -> dict[str, Any]:
    """What is said of an adapter that could not be read: the keys of :meth:`Watched.to_dict`, without a run."""
    return {
        "sequence": None,
        "adapter_pointer": str(target.adapter),
        "spec_path": spec_path,
        "verdict": "error",
        "run_seconds": 0.0,
        "overall_score": None,
        "wrote_at": datetime.now(UTC).isoformat(),
        "label": target.label,
        "step": target.step,
        "run": None,
        "reused": False,
        "reasons": [f"not complete: {why}"],
    }


_OWN = re.compile(r"\d{8}T\d{6}Z-(\d{5,})\.result\.json")


class History:
    """One JSON file a result, the oldest of which go when there are more than ``most`` (0: none goes).

    Only files that this watch wrote, by name and by what they say of themselves, are ever deleted.
    """

    def __init__(self, folder: Path, *, most: int = 100) -> None:
        if most < 0:
            raise SwayError(f"max-history must be 0 (keep all) or more, not {most}")
        self.folder, self.most = folder.expanduser().resolve(), most
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SwayError(f"cannot write to {folder}: {error.strerror or error}") from None

    def last_sequence(self) -> int:
        """The highest number in the folder; 0 without a file."""
        return max((int(m.group(1)) for p in self.folder.iterdir() if (m := _OWN.fullmatch(p.name))), default=0)

    def write(self, watched: Watched) -> Path:
        """Write a result with what is said of it, then let the oldest go; ``OSError`` is the caller's to report."""
        told = watched.to_dict()
        data = {**json.loads(to_json(watched.outcome.result, watched.outcome.score)), "sway_watch": told}
        if watched.verdict == "error":
            data |= {"verdict": "error", "error": watched.outcome.error}
        moment = datetime.fromisoformat(told["wrote_at"])
        path = self.folder / f"{moment:%Y%m%dT%H%M%SZ}-{watched.sequence:05d}.result.json"
        write_whole(path, json.dumps(data, indent=2, sort_keys=True, allow_nan=False) + "\n")
        self._rotate(watched.spec_path)
        return path

    def _rotate(self, spec_path: str) -> None:
        own = sorted((p for p in self.folder.iterdir() if _OWN.fullmatch(p.name)), key=_age)
        if not self.most or len(own) <= self.most:
            return
        mine = [p for p in own if _written_for(p) == spec_path]
        for path in mine[: max(0, len(mine) - self.most)]:
            path.unlink(missing_ok=True)


def _age(path: Path) -> tuple[int, str]:
    found = _OWN.fullmatch(path.name)
    return (int(found.group(1)) if found else 0, path.name)


def _written_for(path: Path) -> str | None:
    try:
        told = json.loads(path.read_bytes())["sway_watch"]
        return str(told["spec_path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
