"""The adapter of a suite that names only the document it was trained on: the version its store points at.

The ``dlm`` package keeps every version of an adapter below ``$DLM_HOME``, else ``~/.dlm``, and points at one of them.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import yaml

from sway_dash.core.errors import SpecValidationError, SwayError
from sway_dash.suite.spec import SwaySpec


class Pointer:
    """A store of versions with a pointer to the current one, as the ``dlm`` package keeps."""

    def __init__(self, store: Path) -> None:
        self.store = store

    @classmethod
    def of_document(cls, document: Path) -> Pointer:
        """The store of the document a suite was written for. ``SwayError`` for a document without an id."""
        if found := _document_id(document):
            home = Path(os.environ.get("DLM_HOME") or "~/.dlm").expanduser()
            return cls(home / "store" / found)
        raise SwayError(f"{document} names no dlm_id at its top: give the trainer's output folder and --spec instead")

    def adapters(self) -> list[Path]:
        """The version that is current, if there is one."""
        pointer = resolve_pointer_path(self.store)
        if pointer is None:
            return []
        if pointer.is_symlink():
            return [pointer.resolve()] if pointer.exists() else []
        try:
            text = pointer.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return []
        places = [pointer.parent / text, self.store / text] if text else []
        return [p.resolve() for p in places if p.is_dir()][:1]


def resolve_pointer_path(store: Path) -> Path | None:
    """What points at the current version: ``adapter/current.txt``, else the link ``adapter/latest``."""
    text, link = store / "adapter" / "current.txt", store / "adapter" / "latest"
    if text.is_file():
        return text
    return link if link.is_symlink() else None


def with_current_adapter(spec: SwaySpec, known: str = "") -> SwaySpec:
    """A suite with the adapter its document's store points at, where it names none itself.

    ``known`` is the one an earlier attempt at the same run took: the pointer may have moved since. A suite for which
    there is none stays as it is.
    """
    ft = spec.models.ft
    if not wanted(spec):
        return spec
    found = [Path(known)] if known else []
    if not found:
        with contextlib.suppress(SwayError):
            found = Pointer.of_document(Path(spec.dlm_source or "")).adapters()
    if not found:
        return spec
    tuned = ft.model_copy(update={"adapter": found[0]})
    return spec.model_copy(update={"models": spec.models.model_copy(update={"ft": tuned})})


def wanted(spec: SwaySpec) -> bool:
    """Whether a suite leaves it to its document which adapter is measured."""
    ft = spec.models.ft
    return bool(spec.dlm_source) and spec.defaults.differential and ft.kind != "api" and ft.adapter is None


def no_adapter(spec: SwaySpec) -> SpecValidationError:
    """What is wrong with a suite that needs an adapter and has none."""
    where = ""
    if wanted(spec):
        try:
            where = f" and the store {Pointer.of_document(Path(spec.dlm_source or '')).store} points at none"
        except SwayError:
            where = f" and the document {spec.dlm_source} names no dlm_id, by which it would be found"
    return SpecValidationError(
        f"models.ft has no adapter{where}: give adapter: <folder>, or, for a full fine-tune, put the tuned model's"
        " folder into models.ft.base and set defaults.differential: false"
    )


def _document_id(document: Path) -> str:
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SwayError(f"{document} cannot be read: {error}") from None
    head = re.match(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", text, re.DOTALL)
    try:
        data = yaml.safe_load(head.group(1)) if head else None
    except yaml.YAMLError:
        data = None
    found = str(data.get("dlm_id") or "") if isinstance(data, dict) else ""
    return found if re.fullmatch(r"[A-Za-z0-9_-]+", found) else ""
