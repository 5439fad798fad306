"""Reading a suite file. Every error names the file, the line and the field, and says how to mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from sway_dash.core.errors import Problem, SpecValidationError, SwayError
from sway_dash.core.model import ModelSpec
from sway_dash.core.yaml_text import LOADER, load_yaml
from sway_dash.probes import build_probe
from sway_dash.probes.base import ProbeSpec, dotted, field_problems
from sway_dash.suite.document import FIELD, document_of
from sway_dash.suite.spec import SUPPORTED_VERSION, SuiteDefaults, SuiteModels, SwaySpec, version_problem

Lines = dict[tuple[str | int, ...], int]
"""Line of the file, from 1, at which each key or item stands."""

ENTRY_PATHS = ("adapter_path", "store_path")
"""Fields of entries that name a folder: what training left behind."""

MAX_DEPTH = 50
"""How deep lines are looked up: an alias that contains itself has no bottom."""

MAX_PLACES = 200_000
"""How many places lines are looked up for: nested aliases multiply."""


def load_spec(path: Path | str) -> SwaySpec:
    """Read ``sway.yaml``. Relative adapter, base and document paths are meant relative to the file.

    Raises ``SpecValidationError`` for anything that is wrong with the file or its fields. Probe entries are checked by
    :func:`check_entries`, so that a suite can be read before the plug-ins it needs are installed.
    """
    source = Path(path).expanduser().resolve()
    text = read_text(source)
    return loads(text, source=str(source), folder=source.parent)


def loads(text: str, *, source: str = "<text>", folder: Path | None = None) -> SwaySpec:
    """Read a suite from YAML text; ``folder`` is what relative paths are relative to."""
    data, lines = parse_yaml(text, source=source)
    return _validate(data, lines, source=source, folder=folder)


def from_dict(data: Any, *, source: str | None = None, folder: Path | None = None) -> SwaySpec:
    """Validate a suite given as plain data."""
    if not isinstance(data, Mapping):
        msg = f"a suite must be a mapping with keys models, defaults and suite, not {type(data).__name__}"
        raise SpecValidationError(msg, source=source)
    return _validate(data, {}, source=source, folder=folder)


def _validate(data: Mapping[str, Any], lines: Lines, *, source: str | None, folder: Path | None) -> SwaySpec:
    version = data.get("version", SUPPORTED_VERSION)
    # Said before anything else: another version may have other fields.
    if isinstance(version, int) and (wrong := version_problem(version)):
        raise _error([(("version",), wrong)], lines, source)
    try:
        spec = SwaySpec.model_validate(_resolved(data, folder))
    except ValidationError as error:
        raise _error(field_problems(error, _model_of), lines, source) from None
    # Text and floats such as "2" become whole numbers only now.
    if wrong := version_problem(spec.version):
        raise _error([(("version",), wrong)], lines, source)
    return spec


def check_entries(spec: SwaySpec, *, source: str | None = None, text: str | None = None) -> list[tuple[Any, ProbeSpec]]:
    """Build every probe of a suite, before any model is loaded; return ``(probe, settings)`` in order.

    Raises one ``SpecValidationError`` naming every entry that fails, and for names that are used twice. ``text`` is
    the YAML the suite came from, for line numbers.
    """
    built: list[tuple[Any, ProbeSpec]] = []
    problems: list[Problem] = []
    first: dict[str, int] = {}
    for index, raw in enumerate(spec.suite):
        try:
            probe, settings = build_probe(raw)
        except SpecValidationError as error:
            label = raw.get("name") or f"entry #{index}"
            detail = str(error).removeprefix(f"{error.source}: ")
            found = error.problems or [((), detail)]
            problems += [(("suite", index, *loc), f"{message} (probe {label})") for loc, message in found]
            continue
        if settings.name in first:
            message = f"{settings.name!r} is already the name of entry #{first[settings.name]}: rename one"
            problems.append((("suite", index, "name"), message))
        first.setdefault(settings.name, index)
        built.append((probe, settings))
    if problems:
        lines = parse_yaml(text, source=source or "")[1] if text else {}
        raise _error(problems, lines, source)
    return built


def ready_problems(spec: SwaySpec, built: Sequence[tuple[Any, ProbeSpec]]) -> list[Problem]:
    """What would make a run of a valid suite fail at once, found without loading a model."""
    problems: list[Problem] = []
    try:
        document_of(spec)
    except SwayError as error:
        problems.append(((FIELD,), str(error)))
    adapter = spec.models.ft.adapter
    if spec.models.ft.kind == "hf" and adapter is not None and not (adapter / "adapter_config.json").is_file():
        what = "has no adapter_config.json" if adapter.is_dir() else "is no folder"
        problems.append((("models", "ft", "adapter"), f"{adapter} {what}: give the folder PEFT saved the adapter to"))
    problems += _served_problems(spec.models)
    for index, (_, settings) in enumerate(built):
        if settings.enabled and getattr(settings, "prompts", None) == ():
            problems.append((("suite", index, "prompts"), f"there are no prompts: add one (probe {settings.name})"))
    return problems


def _served_problems(models: SuiteModels) -> list[Problem]:
    sides = {"base": models.base, "ft": models.ft}
    served = {name: side for name, side in sides.items() if side.kind == "api"}
    if not served:
        return []
    # Read here: most suites compare models of this machine.
    from sway_dash.backends import server_problems
    from sway_dash.backends.two_model import MIXED

    if len(served) < len(sides):
        return [(("models", next(n for n in sides if n not in served), "kind"), MIXED)]
    return [(("models", n, f), text) for n, side in served.items() for f, text in server_problems(side).items()]


def read_suite(path: Path | str) -> tuple[Path, str, SwaySpec, list[tuple[Any, ProbeSpec]]]:
    """File, text, spec and probes of a suite that has any; every error carries file and line."""
    source = Path(path).expanduser().resolve()
    text = read_text(source)
    spec = loads(text, source=str(source), folder=source.parent)
    built = check_entries(spec, source=str(source), text=text)
    if not built:
        message = "suite: there are no probes; add an entry such as {name: moved, kind: delta_kl, prompts: [...]}"
        raise SpecValidationError(message, source=str(source))
    return source, text, spec, built


def load_checked(path: Path | str) -> tuple[SwaySpec, list[tuple[Any, ProbeSpec]]]:
    """Read a suite that is to be run and build its probes; every error carries file and line."""
    source, text, spec, built = read_suite(path)
    if problems := ready_problems(spec, built):
        raise _error(problems, parse_yaml(text, source=str(source))[1], str(source))
    return spec, built


def _error(problems: Sequence[Problem], lines: Lines, source: str | None) -> SpecValidationError:
    """One error for several wrong fields: a line of text each, with the line of the file where it is known."""
    text = []
    for loc, message in problems:
        line = line_of(loc, lines)
        prefix = f"line {line}: " if line else ""
        text.append(f"{prefix}{dotted(loc)}: {message}")
    return SpecValidationError("\n".join(text), source=source, problems=problems)


_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): SwaySpec,
    ("models",): SuiteModels,
    ("defaults",): SuiteDefaults,
    ("models", "base"): ModelSpec,
    ("models", "ft"): ModelSpec,
}


def _model_of(loc: tuple[str | int, ...]) -> type[BaseModel]:
    return _MODELS.get(tuple(str(p) for p in loc[:-1]), SwaySpec)


def _resolved(data: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Copy of a suite with adapter, document and local base paths made absolute against the suite's own folder.

    So are the folders that single entries name (:data:`ENTRY_PATHS`).
    """
    out = dict(data)
    if folder is None:
        return out
    if isinstance(entries := data.get("suite"), list):
        out["suite"] = [_entry_resolved(e, folder) if isinstance(e, Mapping) else e for e in entries]
    if isinstance(document := data.get(FIELD), str) and document:
        out[FIELD] = str((folder / Path(document).expanduser()).resolve())
    if not isinstance(data.get("models"), Mapping):
        return out
    models: dict[str, Any] = dict(data["models"])
    for side, raw in models.items():
        if not isinstance(raw, Mapping):
            continue
        one = dict(raw)
        adapter, base = one.get("adapter"), one.get("base")
        if isinstance(adapter, str) and adapter:
            one["adapter"] = str(folder / Path(adapter).expanduser())
        if isinstance(base, str) and base and is_local(base, folder):
            one["base"] = str((folder / Path(base).expanduser()).resolve())
        models[side] = one
    out["models"] = models
    return out


def _entry_resolved(entry: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    found = {k: entry[k] for k in ENTRY_PATHS if isinstance(entry.get(k), str) and entry[k]}
    return {**entry, **{k: str(folder / Path(v).expanduser()) for k, v in found.items()}} if found else entry


def is_local(base: str, folder: Path) -> bool:
    """A base that starts like a path is one; anything else is a path only if it exists, else a hub id."""
    if base.startswith(("./", "../", "~", "/")):
        return True
    return (folder / base).exists()


def read_text(path: Path) -> str:
    """The text of a suite file; ``SpecValidationError`` when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecValidationError("not found: give the path of a sway.yaml", source=str(path)) from None
    except IsADirectoryError:
        raise SpecValidationError("is a folder: give the path of a sway.yaml", source=str(path)) from None
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start}): save it as UTF-8"
        raise SpecValidationError(message, source=str(path)) from None
    except OSError as error:
        raise SpecValidationError(f"cannot be read: {error.strerror or error}", source=str(path)) from None


def parse_yaml(text: str, *, source: str) -> tuple[Any, Lines]:
    """Parse YAML into plain data and the line (from 1) at which each key or item stands."""
    try:
        data = load_yaml(text)
        node = yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise SpecValidationError(f"invalid YAML{where}: {problem}", source=source) from None
    except (ValueError, RecursionError) as error:
        raise SpecValidationError(f"invalid YAML: {error}", source=source) from None
    if not isinstance(data, Mapping):
        found = "empty" if data is None else f"a {type(data).__name__}"
        message = f"the file must be a mapping with keys models, defaults and suite; it is {found}"
        raise SpecValidationError(message, source=source)
    lines: Lines = {}
    _collect_lines(node, (), lines)
    return data, lines


def line_of(loc: Sequence[str | int], lines: Mapping[tuple[str | int, ...], int]) -> int | None:
    """Line of a field, or of the nearest part of the file that holds it."""
    for end in range(len(loc), 0, -1):
        if line := lines.get(tuple(loc[:end])):
            return line
    return None


def _collect_lines(node: Any, path: tuple[str | int, ...], lines: Lines) -> None:
    if len(path) > MAX_DEPTH or len(lines) > MAX_PLACES:
        return
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            lines[inner] = key.start_mark.line + 1
            _collect_lines(value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*path, index)
            lines[inner] = value.start_mark.line + 1
            _collect_lines(value, inner, lines)
