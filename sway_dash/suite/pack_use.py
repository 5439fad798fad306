"""Making an unpacked suite run here: with which base and adapter, and what it still lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sway_dash.backends.adapter_files import adapter_fingerprint, read_config, weights_path
from sway_dash.backends.loading import base_identity, find_source
from sway_dash.backends.model_files import look_at_base
from sway_dash.core.errors import SwayError
from sway_dash.core.files import write_whole
from sway_dash.suite.document import FIELD
from sway_dash.suite.loader import check_entries, is_local, loads, parse_yaml
from sway_dash.suite.pack_paths import Place, path_places, with_paths
from sway_dash.suite.pack_read import UnpackReport
from sway_dash.suite.spec import SwaySpec


def check_given(base: str | None, adapter: Path | None) -> None:
    """``SwayError`` unless these are a base and an adapter, before anything is unpacked."""
    if base is not None:
        find_source(base)
        look_at_base(base)
    if adapter is not None:
        read_config(adapter.expanduser())
        weights_path(adapter.expanduser())


def adopt(report: UnpackReport, *, base: str | None = None, adapter: Path | None = None) -> list[str]:
    """Write this machine's base and adapter into the unpacked suite; returns what is still to be known or done."""
    text = report.spec_path.read_bytes().decode("utf-8", "replace")
    here = str(Path(base).expanduser().resolve()) if base is not None and Path(base).expanduser().exists() else base
    there = None if adapter is None else adapter.expanduser().resolve()
    given = {"base": here, "adapter": None if there is None else str(there)}
    data, _ = parse_yaml(text, source=str(report.spec_path))
    first: dict[str | int, str] = {}
    for place, path in path_places(data):
        if place[0] == "models":
            first.setdefault(place[-1], path)

    def change(place: Place, path: str) -> str:
        if place == (FIELD,):
            # Other programs pack the suite as it is, and the document under a name of its own.
            packed, named = report.out_dir / "source.dlm", report.spec_path.parent / Path(path).expanduser()
            return f"./{packed.name}" if packed.is_file() and not named.exists() else path
        # A full fine-tune has two bases: what is given stands for the first, and wherever that is named again.
        key = "base" if place[-1] == "base" else "adapter"
        return given[key] or path if path == first.get(key) else path

    changed = with_paths(text, change)
    if changed != text:
        write_whole(report.spec_path, changed)
    return [*_different(report, base=here, adapter=there), *_lacking(report, changed)]


def _different(report: UnpackReport, *, base: str | None, adapter: Path | None) -> Iterator[str]:
    """Whether what is used here is what the pack was made with."""
    told = report.manifest.get("base")
    identity = str(told.get("identity") or "") if isinstance(told, dict) else ""
    if base is not None and identity and Path(base).exists() and base_identity(base) != identity:
        yield f"{base} is not the base this was packed with: numbers will differ, and null draws are made anew"
    told = report.manifest.get("adapter")
    sha256 = str(told.get("sha256") or "") if isinstance(told, dict) else ""
    if adapter is not None and sha256 and adapter_fingerprint(adapter) != sha256:
        yield f"{adapter} is not the adapter this was packed with: numbers will differ"


def _lacking(report: UnpackReport, text: str) -> Iterator[str]:
    """What the suite names that is not here, what is wrong with it, and what of others it would run."""
    folder, source = report.spec_path.resolve().parent, str(report.spec_path)
    options = {"base": "--base", "adapter": "--adapter"}
    missing: dict[str, str] = {}
    for place, path in path_places(parse_yaml(text, source=source)[0]):
        local = place[-1] != "base" or is_local(path, folder)
        if place[0] in ("models", FIELD) and local and not (folder / Path(path).expanduser()).exists():
            missing.setdefault(path, str(place[-1]))
    for path, key in missing.items():
        how = f"unpack with {options[key]}, or write it" if key in options else "write it"
        yield f"the {'document' if key == FIELD else key} {path} is not here: {how} into {report.spec_path}"
    try:
        spec = loads(text, source=source, folder=folder)
        check_entries(spec, source=source, text=text)
    except SwayError as error:
        yield f"the suite cannot be run as it is: {error}"
    else:
        yield from _foreign_code(spec)


def _foreign_code(spec: SwaySpec) -> Iterator[str]:
    sides = (spec.models.base, spec.models.ft)
    if any(s.trust_remote_code for s in sides):
        yield "the suite runs Python code that comes with the model (trust_remote_code): read it before you run this"
    for point in dict.fromkeys(s.entry_point for s in sides if s.kind == "custom"):
        yield f"the suite loads its model with Python code of its own ({point}): read it before you run this"
    for point in dict.fromkeys(s.endpoint for s in sides if s.kind == "api"):
        yield f"the suite sends its prompts to {point}"
