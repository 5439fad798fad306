"""Null draws of a run as columns, read without making a record of each: nine events in ten of a run are null draws.

A comparison needs four fields of each. They are taken from the line as this program writes it; where a line is written
in another way, and of a run with several attempts, everything is read as events.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sway_dash.suite.fold import Fold
from sway_dash.suite.store import EVENTS, RunFolder, parse_event

_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_DRAW = re.compile(
    rb'^\{"seq":\d++,"ts":[^,]++,"type":"measurement","probe":"([^"\\]++)","item":(\d++),"prompt":' + _TEXT + rb","
    rb'"tags":\[(?:' + _TEXT + rb",?)*+\],"
    rb'"reference":"base","view":"([^"\\]++)","role":"null","lam":null,"key":"[^"]*+","reused":(?:true|false),'
    rb'"js":([-+.e\d]++),"kl":([-+.e\d]++),.*\}$',
    re.MULTILINE,
)
_MARK = b'"role":"null"'
"""Inside a text the quotes would be escaped."""


@dataclass
class Draws:
    """One random adapter's divergences from the base, in the order they were measured. Nats."""

    items: list[int] = field(default_factory=list)
    js: list[float] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)


Columns = dict[str, dict[str, Draws]]
"""Probe → view → its draws."""


def read_fold(folder: RunFolder) -> tuple[Fold, Columns]:
    """The state of a run, its null draws apart: they count as done, and are no measurements of the fold."""
    lines = _lines(folder.path / EVENTS)
    drawn = [line for line in lines if _MARK in line]
    others = [line for line in lines if _MARK not in line] if drawn else lines
    found = _DRAW.findall(b"\n".join(drawn))
    if len(found) != len(drawn) or sum(b'"type":"run_started"' in line for line in others) != 1:
        return folder.fold(), {}
    fold = Fold().extend(event for line in others if (event := parse_event(line)) is not None)
    columns = _columns(found)
    fold.done += len(found)
    return fold, columns


def _columns(found: Sequence[tuple[bytes, bytes, bytes, bytes, bytes]]) -> Columns:
    columns: Columns = {}
    own, at = Draws(), (b"", b"")
    for probe, item, view, js, kl in found:
        if (probe, view) != at:
            at = probe, view
            own = columns.setdefault(probe.decode(), {}).setdefault(view.decode(), Draws())
        own.items.append(int(item))
        own.js.append(float(js))
        own.kl.append(float(kl))
    return columns


def _lines(path: Path) -> list[bytes]:
    """Complete lines of a file; none of what is no regular file."""
    if not path.is_file():
        return []
    try:
        data = path.read_bytes()
    except OSError:
        return []
    return [line for line in data[: data.rfind(b"\n") + 1].split(b"\n") if line.strip()]
