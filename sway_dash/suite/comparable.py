"""May these runs be compared, and in what do they differ: warnings, and the settings that are not the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from sway_dash.core.result import jsonable
from sway_dash.core.yaml_text import load_yaml
from sway_dash.suite.comparison import Side
from sway_dash.suite.pairing import prompt_text
from sway_dash.suite.store import SPEC

ABSENT = ""
"""What a run shows for a place its suite does not name."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something that should be the same in all runs and is not. ``values`` has one text a run."""

    what: str
    values: tuple[str, ...]
    why: str
    """What it does to the numbers."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One place of the suites or environments in which the runs differ: ``suite.moved.positions`` → a text a run."""

    place: str
    values: tuple[str, ...]


Fact = Callable[[Side], Any]


def mismatches(sides: Sequence[Side], probe: str) -> list[Mismatch]:
    """What stands against reading a difference between these runs as one of their adapters, gravest first."""
    return [*_facts(sides, probe), *_probe_facts(sides, probe)]


def _facts(sides: Sequence[Side], probe: str) -> Iterator[Mismatch]:
    checks: tuple[tuple[str, Fact, str], ...] = (
        ("base model", _base, _MIXES),
        ("vocabulary size", lambda s: s.environment.get("vocab_size"), "the tokenizers are not the same"),
        ("dtype", lambda s: s.environment.get("dtype"), "rounding differs"),
        ("device", lambda s: str(s.environment.get("device") or "").split(":")[0], "the last digits differ"),
        ("engine version", lambda s: s.version, "the same word may not mean the same measurement"),
        ("packages", _packages, "model code may differ"),
        ("seed", lambda s: s.seed, "random adapters and samples are not the same"),
        ("random adapters", lambda s: _nulls(s, probe), "the noise is not known equally well"),
    )
    # Of a run that tells its base by name only, names are what can be compared.
    named = not all(s.environment.get("base_identity") for s in sides)
    for what, fact, why in checks:
        found = [s.base if named and fact is _base else fact(s) for s in sides]
        # What one run does not tell is not a difference.
        known = {_text(v) for v in found if v not in (None, "")}
        if len(known) > 1:
            texts = [s.base for s in sides] if what == "base model" else [_text(v) for v in found]
            if what == "base model" and len(set(texts)) == 1:
                # One name, other weights: the identities tell them apart.
                texts = [f"{s.base} ({_text(v)[:8]})" for s, v in zip(sides, found, strict=True)]
            yield Mismatch(what, tuple(texts), why)


def _base(side: Side) -> str | None:
    """Content of the base model, else its name; None for one that was only in memory, of which nothing is known."""
    identity = side.environment.get("base_identity") or side.base
    return None if identity == "@" else str(identity)


_MIXES = "differences mix the bases with the adapters"


def _probe_facts(sides: Sequence[Side], probe: str) -> Iterator[Mismatch]:
    entries = [s.entries.get(probe) for s in sides]
    known = [e for e in entries if e is not None]
    if not known:
        return
    series = [s.series(probe) for s in sides]
    texts = [_settings_text(s.settings) if s is not None else None for s in series]
    if len({t for t in texts if t}) > 1:
        yield Mismatch("positions", tuple(t or "—" for t in texts), "these prompts are not paired")
    judged = [None if e is None else _judged(s, probe) for s, e in zip(sides, entries, strict=True)]
    if len({k for k in judged if k}) > 1:
        yield Mismatch("judged divergence", tuple(k or "—" for k in judged), "verdicts and scores differ in kind")
    inexact = [s is not None and bool(len(s)) and bool(s.bound.any()) for s in series]
    if any(inexact):
        tops = [str(_top_k(s, probe)) if rough else "exact" for s, rough in zip(sides, inexact, strict=True)]
        if len(set(tops)) > 1:
            yield Mismatch("top k", tuple(tops), "values from the likeliest tokens are only known up to a bound")
    prompts = [s.planned for s in series if s is not None]
    if len(set(prompts)) > 1:
        common = frozenset.intersection(*prompts)
        counts = tuple("—" if s is None else f"{len(s.planned)}" for s in series)
        yield Mismatch("prompts", counts, f"{len(common)} are common to all; the others are listed below")


def _judged(side: Side, probe: str) -> str:
    entry = side.entries.get(probe, {})
    result = side.results.get(probe)
    kind = entry.get("divergence") or (result.evidence.get("divergence_kind") if result else None) or "js"
    return str(kind)


def _settings_text(settings: Sequence[tuple[str, Any]]) -> str:
    return ", ".join(f"{_text(value)} tokens" if name != "positions" else _text(value) for name, value in settings)


def _top_k(side: Side, probe: str) -> Any:
    own = side.entries.get(probe, {}).get("top_k")
    return own or (spec_of(side).get("defaults") or {}).get("top_k") or 256


def _packages(side: Side) -> str:
    found = side.environment.get("packages")
    names = ("torch", "transformers", "peft")
    return ", ".join(f"{n} {found[n]}" for n in names if n in found) if isinstance(found, Mapping) else ""


def _nulls(side: Side, probe: str) -> str:
    series = side.series(probe)
    if series is None or not len(series):
        return ""
    count = max((table.shape[1] for table in series.nulls.values()), default=0)
    if side.fold is None and not count:
        return ""  # a result file does not keep the draws
    entry = next((e for e in side.entries.values() if e.get("kind") == "null_adapter"), {})
    scale = f", scale {entry['init_scale']:g}" if isinstance(entry.get("init_scale"), int | float) else ""
    return f"{count}{scale}" if count else "none"


# -- settings -----------------------------------------------------------------------------------


def differing_settings(sides: Sequence[Side]) -> list[Setting]:
    """Places of suites and environments in which the runs differ, in the order of the suites."""
    flat = [{**flatten(spec_of(s)), **_environment(s)} for s in sides]
    places = dict.fromkeys(place for one in flat for place in one)
    rows = [Setting(place, tuple(one.get(place, ABSENT) for one in flat)) for place in places]
    return [row for row in rows if len(set(row.values)) > 1]


def spec_of(side: Side) -> Mapping[str, Any]:
    """The suite a run was given; empty for a result file and for a suite that is no YAML mapping any more."""
    if side.suite is not None:
        return side.suite
    return _spec(side.folder.path / SPEC) if side.folder is not None else {}


@lru_cache(maxsize=32)
def _spec(path: Path) -> Mapping[str, Any]:
    # A run folder's suite is written once and never changed.
    try:
        data = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return data if isinstance(data, Mapping) else {}


def flatten(spec: Mapping[str, Any]) -> dict[str, str]:
    """A suite as place → text. Entries are named, not counted, so that one more entry does not shift the others."""
    out: dict[str, str] = {}
    for key, value in spec.items():
        if key == "suite" and isinstance(value, list):
            seen: dict[str, int] = {}
            for entry in value:
                name = str(entry.get("name", "?")) if isinstance(entry, Mapping) else "?"
                seen[name] = seen.get(name, 0) + 1
                again = f" ({seen[name]})" if seen[name] > 1 else ""
                _flatten(entry, f"suite.{name}{again}", out)
        else:
            _flatten(value, str(key), out)
    return out


def _flatten(value: Any, place: str, out: dict[str, str]) -> None:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            _flatten(inner, f"{place}.{key}", out)
    elif place.endswith(".prompts") and isinstance(value, list):
        texts = list(map(prompt_text, value))
        digest = hashlib.sha256(json.dumps(texts, ensure_ascii=True).encode()).hexdigest()[:8]
        out[place] = f"{len(texts)} ({digest})"
    else:
        out[place] = _text(value)


def _environment(side: Side) -> dict[str, str]:
    out: dict[str, str] = {}
    # A fingerprint is made of the other places: it differs whenever one of them does.
    _flatten({k: v for k, v in side.environment.items() if k not in ("fingerprint", "noise_floor")}, "environment", out)
    return out


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(jsonable(value), ensure_ascii=False)
