"""The result file: a suite result and its score as JSON, and back. Schema 1, readable by older programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.core.errors import SpecValidationError
from sway_dash.core.foreign import number
from sway_dash.core.result import (
    DEFAULT_COMPONENT_WEIGHTS,
    DeterminismReport,
    ProbeResult,
    SuiteResult,
    SwayScore,
    Verdict,
    jsonable,
)
from sway_dash.suite import multiplicity
from sway_dash.suite.fold import probe_to_dict

if TYPE_CHECKING:
    from sway_dash.suite.gate import Gate

SCHEMA_VERSION = 1
_SIGNS = {"schema_version", "sway_version", "started_at", "finished_at", "probes", "score", "null_stats", "determinism"}
"""Without any of these keys a document is something else."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_json(suite: SuiteResult, score: SwayScore, *, gate: Gate | None = None) -> str:
    """Return the result as JSON text: indent 2, keys sorted, ASCII only, no NaN (unknown numbers are null).

    ``run_id``, ``status``, ``warnings`` and ``environment`` are added when one of them says something,
    ``null_stats_by_rank`` when noise was drawn, ``multiplicity`` (adjusted p-values by probe) when several probes have
    a p-value, and ``gate`` when there is a decision; without them the text is the public schema and nothing else.
    """
    document = to_dict(suite, score)
    if gate is not None:
        document["gate"] = gate.to_dict()
    return json.dumps(jsonable(document), indent=2, sort_keys=True, allow_nan=False)


def to_dict(suite: SuiteResult, score: SwayScore) -> dict[str, Any]:
    """Return the document :func:`to_json` writes, before it is made safe for JSON."""
    det = suite.determinism
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "sway_version": suite.sway_version,
        "spec_path": suite.spec_path,
        "base_model_id": suite.base_model_id,
        "adapter_id": suite.adapter_id,
        "started_at": suite.started_at.isoformat(),
        "finished_at": suite.finished_at.isoformat(),
        "wall_seconds": suite.wall_seconds,
        "determinism": None if det is None else {"class": det.class_, "seed": det.seed, "notes": det.notes},
        "backend_stats": suite.backend_stats,
        "score": {
            "overall": score.overall,
            "band": score.band,
            "components": score.components,
            "weights": score.weights,
            "findings": score.findings,
        },
        "null_stats": suite.null_stats,
        "probes": [probe_to_dict(p) for p in suite.probes],
    }
    if suite.run_id or suite.status != "finished" or suite.warnings or suite.environment:
        document["run_id"] = suite.run_id
        document["status"] = suite.status
        document["warnings"] = suite.warnings
        document["environment"] = suite.environment
    if suite.null_stats_by_rank:
        document["null_stats_by_rank"] = suite.null_stats_by_rank
    if tests := multiplicity.as_dict(suite):
        document["multiplicity"] = tests
    return document


def load_result(path: Path | str) -> tuple[SuiteResult, SwayScore]:
    """Read a result file. ``SpecValidationError`` names the file and, where there is one, the field that is wrong."""
    source = str(path)
    document = load_document(path)
    try:
        return from_json(document)
    except SpecValidationError as error:
        raise SpecValidationError(str(error), source=source) from error
    except KeyError as error:
        raise SpecValidationError(f"{error.args[0]} is missing", source=source) from error
    except ValueError as error:
        raise SpecValidationError(str(error), source=source) from error


def load_document(path: Path | str) -> Any:
    """Parse a result file. ``SpecValidationError`` says why it is none: no JSON, cut short, something else."""
    source = str(path)
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise SpecValidationError(f"cannot be read: {error.strerror or error}", source=source) from error
    except RecursionError as error:
        raise SpecValidationError("is nested too deeply to be a result", source=source) from error
    except UnicodeDecodeError as error:
        text = f"is not valid JSON: byte {error.start} is no text; give a result.json or a run folder"
        raise SpecValidationError(text, source=source) from error
    except ValueError as error:
        raise SpecValidationError(f"is not valid JSON, or was cut short: {error}", source=source) from error
    if isinstance(document, Mapping) and not document.keys() & _SIGNS:
        text = "holds no result: it has neither probes nor a score; give a result.json or a run folder"
        raise SpecValidationError(text, source=source)
    return document


def from_json(raw: Mapping[str, Any]) -> tuple[SuiteResult, SwayScore]:
    """Read a parsed result document; what is missing takes its default.

    Raises
    ------
    SpecValidationError
        The document is no object, or was written by a newer version of the format.
    KeyError, ValueError
        A probe lacks its name, kind or verdict; a field holds something of another kind. Both name the field.
    """
    if not isinstance(raw, Mapping):
        raise SpecValidationError(f"a result must be a JSON object, not {_json_name(raw)}")
    _check_schema(raw.get("schema_version"))
    det = raw.get("determinism")
    started = _time(raw, "started_at")
    finished = _time(raw, "finished_at")
    suite = SuiteResult(
        spec_path=_text(raw, "spec_path"),
        started_at=started or finished or _EPOCH,
        finished_at=finished or started or _EPOCH,
        base_model_id=_text(raw, "base_model_id"),
        adapter_id=_text(raw, "adapter_id"),
        sway_version=_text(raw, "sway_version", default="?"),
        probes=tuple(_probe(p, f"probes[{i}]") for i, p in enumerate(_list(raw, "probes"))),
        null_stats=_object(raw, "null_stats"),
        determinism=_determinism(det) if isinstance(det, Mapping) else None,
        backend_stats=_object(raw, "backend_stats"),
        run_id=_text(raw, "run_id"),
        status=_text(raw, "status", default="finished"),
        warnings=tuple(str(w) for w in _list(raw, "warnings")),
        environment=_object(raw, "environment"),
        null_stats_by_rank=_object(raw, "null_stats_by_rank"),
    )
    return suite, _score(_object(raw, "score"))


def _check_schema(version: Any) -> None:
    if version is None:
        return
    if isinstance(version, bool) or not isinstance(version, int):
        raise SpecValidationError(f"schema_version must be a whole number, not {version!r}")
    if version > SCHEMA_VERSION:
        text = f"was written in result format {version}, this program reads up to {SCHEMA_VERSION}: update sway-dash"
        raise SpecValidationError(text)


def _score(raw: dict[str, Any]) -> SwayScore:
    weights = _numbers(raw, "weights", "score.weights")
    return SwayScore(
        overall=_score_number(raw, "overall", "score.overall") or 0.0,
        components=_numbers(raw, "components", "score.components"),
        weights=weights or dict(DEFAULT_COMPONENT_WEIGHTS),
        band=_text(raw, "band", at="score.band"),
        findings=tuple(str(f) for f in _list(raw, "findings", "score.findings")),
    )


def _probe(raw: Any, at: str) -> ProbeResult:
    if not isinstance(raw, Mapping):
        raise _wrong(at, "an object", raw)
    for key in ("name", "kind", "verdict"):
        if key not in raw:
            raise KeyError(f"{at}.{key}")
    try:
        verdict = Verdict(raw["verdict"])
    except ValueError:
        known = ", ".join(v.value for v in Verdict)
        text = f"{at}.verdict: unknown verdict {raw['verdict']!r}; known: {known}"
        raise ValueError(text) from None
    return ProbeResult(
        name=_text(raw, "name", at=f"{at}.name"),
        kind=_text(raw, "kind", at=f"{at}.kind"),
        verdict=verdict,
        score=_score_number(raw, "score", f"{at}.score"),
        raw=_number(raw, "raw", f"{at}.raw"),
        z_score=_number(raw, "z_score", f"{at}.z_score"),
        base_value=_number(raw, "base_value", f"{at}.base_value"),
        ft_value=_number(raw, "ft_value", f"{at}.ft_value"),
        evidence=_object(raw, "evidence", f"{at}.evidence"),
        message=_text(raw, "message", at=f"{at}.message"),
        duration_s=_number(raw, "duration_s", f"{at}.duration_s") or 0.0,
        ci_95=_pair(raw.get("ci_95")),
    )


def _determinism(raw: Mapping[str, Any]) -> DeterminismReport:
    return DeterminismReport(
        class_=_text(raw, "class", default="best_effort", at="determinism.class"),
        seed=int(_number(raw, "seed", "determinism.seed") or 0),
        notes=tuple(str(n) for n in _list(raw, "notes", "determinism.notes")),
    )


def _pair(value: Any) -> tuple[float, float] | None:
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(number(v) is not None for v in value):
        return None
    return float(value[0]), float(value[1])


def _number(raw: Mapping[str, Any], key: str, at: str) -> float | None:
    value = raw.get(key)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None  # older files hold NaN, which stands for "unknown"
    if (found := number(value)) is None:
        if isinstance(value, int) and not isinstance(value, bool):
            raise ValueError(f"{at} is too large a number")
        raise _wrong(at, "a number", value)
    return found


def _score_number(raw: Mapping[str, Any], key: str, at: str) -> float | None:
    """A number that a decision hangs on: here NaN and infinities are no way to write "unknown"."""
    value = raw.get(key)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{at} must be a finite number, not {value}: write null if it is not known, or measure again")
    return _number(raw, key, at)


def _numbers(raw: Mapping[str, Any], key: str, at: str) -> dict[str, float]:
    found = _object(raw, key, at)
    named = {str(k): _score_number(found, k, f"{at}.{k}") for k in found}
    return {k: v for k, v in named.items() if v is not None}


def _text(raw: Mapping[str, Any], key: str, *, default: str = "", at: str | None = None) -> str:
    value = raw.get(key)
    if isinstance(value, Mapping | list):
        raise _wrong(at or key, "text", value)
    return default if value is None else str(value)


def _list(raw: Mapping[str, Any], key: str, at: str | None = None) -> list[Any]:
    value = raw.get(key)
    if value is not None and not isinstance(value, list | tuple):
        raise _wrong(at or key, "a list", value)
    return list(value or ())


def _object(raw: Mapping[str, Any], key: str, at: str | None = None) -> dict[str, Any]:
    value = raw.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise _wrong(at or key, "an object", value)
    return dict(value or {})


def _time(raw: Mapping[str, Any], key: str) -> datetime | None:
    value = raw.get(key)
    if value is None or value == "":
        return None
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _wrong(key, "an ISO 8601 time", value) from None
    # The first and the last year are not the same year everywhere, and there is none beside them.
    if not MINYEAR < moment.year < MAXYEAR:
        raise _wrong(key, "a time that every calendar has", value)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _wrong(at: str, expected: str, got: Any) -> ValueError:
    return ValueError(f"{at} must be {expected}, not {_json_name(got)}")


def _json_name(value: Any) -> str:
    names = ((type(None), "null"), (bool, "true or false"), (str, "text"), (Mapping, "an object"), (list, "a list"))
    if isinstance(value, str) and len(value) <= 40:
        return repr(value)
    return next((name for kind, name in names if isinstance(value, kind)), "a number")
