"""``columns.npz`` of a finished run: its prompts' values and null draws as arrays, so that many runs compare at once.

It holds nothing that ``events.jsonl`` does not, and counts only as long as that file has the size it had. Whoever finds
no such file, or one that is not whole, reads the events.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sway_dash.core.files import write_whole
from sway_dash.suite.fold import Fold
from sway_dash.suite.pairing import METRICS, Series, SeriesReader, series_of_columns
from sway_dash.suite.store import COLUMNS, EVENTS, RunFolder, parse_event

VERSION = 1

_MEASURED = b'"type":"measurement"'
"""Inside a text the quotes would be escaped."""


def write_columns(folder: RunFolder, fold: Fold) -> None:
    """Write the columns of a run that is over. ``OSError`` is the caller's to report."""
    path = folder.path / EVENTS
    if folder.error or not path.is_file():
        return  # what is on disk is not what was measured, or a device, which has no end
    with path.open("rb") as file:
        others = b"".join(line for line in file if _MEASURED not in line)
        size = file.tell()
    arrays: dict[str, Any] = {"events": np.frombuffer(others, dtype=np.uint8)}
    probes: list[dict[str, Any]] = []
    for name, rows in fold.measurements.items():
        if not any(m.role == "probe" for m in rows):
            continue
        series = SeriesReader(fold, name).read()
        at = len(probes)
        probes.append({"probe": name, "prompts": [key[0] for key in series.keys], "tags": series.tags})
        arrays |= {f"{at}.items": np.array(series.items, dtype=np.int64), f"{at}.bound": series.bound}
        for metric in METRICS:
            arrays[f"{at}.{metric}"] = series.values[metric]
            arrays[f"{at}.{metric}.nulls"] = series.nulls[metric]
            arrays[f"{at}.{metric}.spread"] = series.spread[metric]
    head = {"version": VERSION, "size": size, "done": fold.done, "probes": probes}
    # ASCII: a prompt may hold half a surrogate pair.
    arrays["head"] = np.frombuffer(json.dumps(head).encode("ascii"), dtype=np.uint8)
    held = io.BytesIO()
    np.savez(held, **arrays)
    write_whole(folder.path / COLUMNS, held.getvalue())


def read_columns(folder: RunFolder) -> tuple[Fold, dict[str, Series]] | None:
    """State of a run without its measurements, and these by probe; ``None`` where there are no columns that count."""
    try:
        with (folder.path / COLUMNS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            if (head["version"], head["size"]) != (VERSION, (folder.path / EVENTS).stat().st_size):
                return None
            lines = arrays["events"].tobytes().split(b"\n")
            fold = Fold().extend(e for line in lines if line.strip() and (e := parse_event(line)) is not None)
            fold.done = int(head["done"])
            return fold, {p["probe"]: _series(fold, p, str(at), arrays) for at, p in enumerate(head["probes"])}
    except Exception:  # whatever is wrong with it: the events have it all
        return None


def _series(fold: Fold, head: Mapping[str, Any], at: str, arrays: Any) -> Series:
    return series_of_columns(
        fold,
        head["probe"],
        prompts=head["prompts"],
        tags=[tuple(own) for own in head["tags"]],
        items=arrays[f"{at}.items"].tolist(),
        bound=arrays[f"{at}.bound"],
        values={m: arrays[f"{at}.{m}"] for m in METRICS},
        nulls={m: arrays[f"{at}.{m}.nulls"] for m in METRICS},
        spread={m: arrays[f"{at}.{m}.spread"] for m in METRICS},
    )
