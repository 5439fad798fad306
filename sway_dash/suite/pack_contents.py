"""What belongs to a suite: its files, and its text with the paths they have in a pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sway_dash.backends.adapter_files import CONFIG, WEIGHTS, adapter_fingerprint, read_config, weights_path
from sway_dash.backends.loading import base_identity, hub_id_of, snapshot_revision
from sway_dash.backends.model_files import cached_snapshot
from sway_dash.core.errors import SpecValidationError, SwayError
from sway_dash.probes.training_log import find_log
from sway_dash.suite.adapted import SuiteText
from sway_dash.suite.adapter_store import wanted, with_current_adapter
from sway_dash.suite.document import FIELD
from sway_dash.suite.loader import check_entries, is_local, loads
from sway_dash.suite.pack_draws import environments_of, is_of, suite_draws
from sway_dash.suite.pack_layout import ADAPTER, BASE, DRAWS, SPEC, TRAINING, PackError
from sway_dash.suite.pack_paths import Place, with_paths
from sway_dash.suite.spec import SwaySpec

TOKENIZER = (
    "tokenizer_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)
"""Files of a tokenizer; an adapter's folder may hold one, which is used then."""


class Contents:
    """Files of a pack by their names in it, as bytes or as paths to copy, and what is to be said of them."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.files: dict[str, bytes | Path] = {}
        self.draws: dict[str, int] = {}
        """Files of null draws, with how many each holds."""
        self.section_bytes = 0
        self.adapter_included = False
        self.adapter_sha256 = ""
        self.base: dict[str, str] = {}
        self._remarks: list[str] = []
        self._moved: dict[str, str] = {}
        self._training: dict[Path, str] = {}

    @property
    def adapter_bytes(self) -> int:
        """Size of the adapter's files."""
        found = (f for name, f in self.files.items() if name.startswith(f"{ADAPTER}/"))
        return sum(f.stat().st_size for f in found if isinstance(f, Path))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the pack lacks, each thing once."""
        return tuple(dict.fromkeys(self._remarks))

    def remark(self, text: str) -> None:
        """Note something that the pack lacks."""
        self._remarks.append(text)

    def moved(self, path: Path, place: str) -> str:
        """Note that a path of this machine is ``place`` in the pack; returns ``place``."""
        self._moved[str(path)] = place.removeprefix("./")
        return place

    def training_folder(self, path: Path) -> str:
        """The folder of the pack that stands for one with traces of training."""
        folder = self._training.setdefault(path, f"{TRAINING}/{len(self._training) + 1}")
        self._moved.setdefault(str(path), folder)
        return folder

    def portable(self, document: Any) -> Any:
        """A JSON document in which the suite's paths are those of the pack."""
        if isinstance(document, Mapping):
            return {key: self.portable(value) for key, value in document.items()}
        if isinstance(document, list):
            return [self.portable(value) for value in document]
        if not isinstance(document, str):
            return document
        known = {str(self.source): SPEC, **self._moved, f"{self.source.parent}/": ""}
        for path in sorted(known, key=len, reverse=True):
            document = document.replace(path, known[path])
        return document


def collect(source: Path, *, golden: Mapping[str, Any] | None, draws: bool, adapter: bool) -> Contents:
    """Read a suite and find what belongs to it. ``SwayError`` for what cannot be used."""
    text = _text(source)
    spec = loads(text, source=str(source), folder=source.parent)
    if current := with_current_adapter(spec).models.ft.adapter if wanted(spec) else None:
        # The document's store does not go along, so the suite names the version it points at.
        text = SuiteText(source, text, spec).with_adapter(current)
        spec = loads(text, source=str(source), folder=source.parent)
    built = check_entries(spec, source=str(source), text=text)
    if golden is not None:
        _check_entries_of(golden, built, source)
    found = Contents(source)
    _describe_base(found, spec)
    if (folder := spec.models.ft.adapter) is not None:
        _take_adapter(found, folder, spec, wanted=adapter)
    changed = with_paths(text, lambda place, path: _packed(found, spec, built, place, path))
    found.files[SPEC] = changed.encode("utf-8")
    if draws:
        _take_draws(found, spec, built, golden)
    return found


def _text(source: Path) -> str:
    try:
        return source.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8 text (byte {error.start}): save it as UTF-8"
        raise SpecValidationError(message, source=str(source)) from None
    except OSError as error:
        what = "not found" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise SpecValidationError(f"{what}: give the path of a sway.yaml", source=str(source)) from None


def _check_entries_of(golden: Mapping[str, Any], built: Sequence[tuple[Any, Any]], source: Path) -> None:
    """``PackError`` for a golden result of another suite: no run of this one could ever agree with it."""
    off = {settings.name for _, settings in built if not settings.enabled}
    own = [(s.name, s.kind) for _, s in built if s.enabled]
    probes = [p for p in golden.get("probes") or () if isinstance(p, Mapping) and p.get("name") not in off]
    told = [(str(p.get("name")), str(p.get("kind"))) for p in probes]
    if told == own:
        return
    sides = (("only in the suite", own, told), ("only in the result", told, own))
    differing = [(what, [f"{n} ({k})" for n, k in these if (n, k) not in those]) for what, these, those in sides]
    parts = [f"{what}: {', '.join(names)}" for what, names in differing if names]
    text = "; ".join(parts) or "they come in another order"
    raise PackError(f"the golden result is not of {source}, its entries differ ({text}): give a run of this suite")


def _describe_base(found: Contents, spec: SwaySpec) -> None:
    base = spec.models.base.base
    path = Path(base).expanduser()
    if spec.models.base.kind != "hf":
        found.base = {"id": base}
    elif path.exists():
        known = {"id": hub_id_of(path) or path.name, "revision": snapshot_revision(path)}
        found.base = {**known, "identity": base_identity(base)}
    else:
        snapshot = cached_snapshot(base)
        found.base = {"id": base, "revision": "" if snapshot is None else snapshot.name}


def _take_adapter(found: Contents, folder: Path, spec: SwaySpec, *, wanted: bool) -> None:
    if spec.models.ft.kind != "hf":
        found.remark(f"the adapter is not taken along: only those of kind hf are files that are known ({folder})")
        return
    config = read_config(folder)
    weights_path(folder)
    found.adapter_sha256 = adapter_fingerprint(folder)
    if not wanted:
        found.remark(f"the adapter is left out (--no-adapter): {folder}")
        return
    found.adapter_included = True
    names = [CONFIG, WEIGHTS]
    if (folder / TOKENIZER[0]).is_file():
        names += [name for name in TOKENIZER if (folder / name).is_file()]
    found.files.update({f"{ADAPTER}/{name}": folder / name for name in names})
    trained_on = str(config.get("base_model_name_or_path") or "")
    if Path(trained_on).is_absolute():
        found.remark(f"the adapter's own configuration names a folder of the machine it was trained on: {trained_on}")


def _packed(found: Contents, spec: SwaySpec, built: Sequence[tuple[Any, Any]], place: Place, path: str) -> str:
    """What a path of the suite is in the pack; the file goes there, too, where it is one that is taken along."""
    here = (found.source.parent / Path(path).expanduser()).resolve()
    if place == (FIELD,):
        return _document(found, here)
    if place[-1] == "adapter":
        return found.moved(here, f"./{ADAPTER}" if here == spec.models.ft.adapter else f"./{ADAPTER}-{place[1]}")
    if place[-1] == "base":
        if not is_local(path, found.source.parent) or spec.models.base.kind != "hf":
            return path
        name = hub_id_of(here) or f"./{BASE}/{here.name}"
        # A folder outside the pack; its name must not be taken for that of a model on a hub.
        found.remark(f"the base is not part of a pack: {name}")
        return found.moved(here, name)
    name = str(built[int(place[1])][1].name)
    return _training(found, here, name, state=place[-1] == "adapter_path", adapter=spec.models.ft.adapter)


def _document(found: Contents, here: Path) -> str:
    name = f"source{here.suffix}"
    try:
        data = here.read_bytes()
    except OSError as error:
        found.remark(f"the document {here} cannot be read and is missing in the pack: {error.strerror or error}")
        return found.moved(here, f"./{name}")
    found.files[name] = data
    found.section_bytes = len(data)
    return found.moved(here, f"./{name}")


def _training(found: Contents, here: Path, probe: str, *, state: bool, adapter: Path | None) -> str:
    """Where in the pack an entry reads what training left: logs are taken along, optimizer states are not."""
    with_adapter = here == adapter and (state or found.adapter_included)
    folder = ADAPTER if with_adapter else found.training_folder(here)
    if state:
        found.remark(f"{probe} reads the optimizer's state, which is left out: it is large, and a pickle ({here})")
        return f"./{folder}"
    try:
        log, missing = find_log(here)
    except SwayError as error:
        log, missing = None, str(error)
    if log is None:
        found.remark(f"{probe} finds no log that could be taken along: {missing}")
        return f"./{folder}"
    for file in map(Path, log.files):
        inner = file.name if here.is_file() else file.relative_to(here).as_posix()
        found.files[f"{folder}/{inner}"] = file
    return f"./{folder}/{here.name}" if here.is_file() else f"./{folder}"


def _take_draws(
    found: Contents, spec: SwaySpec, built: Sequence[tuple[Any, Any]], golden: Mapping[str, Any] | None
) -> None:
    if not any(settings.kind == "null_adapter" and settings.enabled for _, settings in built):
        return
    facts = {"adapter_sha256": found.adapter_sha256, "base_identity": found.base.get("identity", "")}
    told = environments_of(spec, **facts)
    environment = golden.get("environment") if golden is not None else None
    if isinstance(environment, Mapping) and is_of(environment, spec, **facts):
        told.append(dict(environment))
    for name, lines in suite_draws(spec, built, told).items():
        found.draws[name] = len(lines)
        found.files[f"{DRAWS}/{name}"] = ("\n".join(lines) + "\n").encode("utf-8")
    if not found.draws:
        why = "this model has no run here" if not told else "no run of this model has left any for these prompts"
        found.remark(f"there are no null draws to take along: {why}")
