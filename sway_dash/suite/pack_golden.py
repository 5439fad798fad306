"""Whether a run still gives what the golden result of its pack says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.golden import Diff, comparable, compare_goldens
from sway_dash.core.result import jsonable
from sway_dash.suite.pack_layout import FOLDER, GOLDEN, PackError
from sway_dash.suite.pack_read import opened

TOLERANCE = 1e-4
"""How far a number may be off, and the same as a share of it: what other processors and libraries round differently."""


def golden_of(pack: Path) -> dict[str, Any]:
    """The golden result of a pack, of the folder it was unpacked to, or a result file itself."""
    if pack.is_dir():
        places = (pack / GOLDEN, pack / FOLDER / GOLDEN)
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            raise PackError(f"{pack} holds no {GOLDEN}: it was packed without --golden")
        return _parsed(path.read_bytes(), path)
    if pack.suffix == ".json" and pack.is_file():
        return _parsed(pack.read_bytes(), pack)
    with opened(pack) as archive:
        if GOLDEN not in archive.names:
            raise PackError(f"{pack} holds no {GOLDEN}: it was packed without --golden")
        return _parsed(archive.read(GOLDEN), pack)


def differences(golden: dict[str, Any], result: dict[str, Any], *, tolerance: float = TOLERANCE) -> list[Diff]:
    """Where a result document differs from the golden one by more than a tolerance, both absolute and relative."""
    actual, expected = comparable(jsonable(result)), comparable(jsonable(golden))
    return compare_goldens(actual, expected, logprob_tol=tolerance, score_tol=tolerance, rel_tol=tolerance)


def _parsed(data: bytes, where: Path) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SpecValidationError(f"its golden result is no JSON: {error}", source=str(where)) from None
    if not isinstance(found, dict):
        raise SpecValidationError("its golden result holds no JSON object", source=str(where))
    return found
