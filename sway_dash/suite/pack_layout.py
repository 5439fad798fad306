"""What a pack is: an archive with one folder, ``swaypack``, and a manifest that names every file in it.

::

    swaypack/
        manifest.json      what is here: SHA-256 and size of every file, base, adapter, version of the program
        sway.yaml          the suite, its paths those of this folder
        source.md          the document it names (with the ending it has)
        adapter/           configuration, weights and, where there is one, tokenizer of the adapter
        null-stats/        draws of random adapters for this suite: the folder SWAY_NULL_CACHE_DIR is to name
        training/<n>/      logs that entries read
        golden.json        a result to compare later runs with
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from sway_dash.core.errors import SwayError

SWAYPACK_VERSION = 1
FOLDER = "swaypack"
MANIFEST, SPEC, GOLDEN = "manifest.json", "sway.yaml", "golden.json"
ADAPTER, DRAWS, TRAINING, BASE = "adapter", "null-stats", "training", "base"

DEFAULT_MAX_PACK_SIZE_BYTES = 50 * 1024**2
"""Of an archive that is made."""
MAX_UNPACKED_BYTES = 2 * 1024**3
"""Of all files of an archive that is opened; an archive is small even where its files are not."""
MAX_MEMBERS = 2000
MAX_DEPTH = 8
MAX_NAME = 255
MAX_MANIFEST = 8 * 1024**2

BLOCK = 1024**2

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(1, 10))],
)
"""Names that are devices on Windows, with any ending."""


class PackError(SwayError):
    """A pack cannot be made."""


class UnpackError(SwayError):
    """An archive is no pack, or none that is safe to unpack."""


def name_problem(name: str) -> str:
    """Why a file of an archive must not be written under its name, in words; empty when it may."""
    if not name or _CONTROL.search(name):
        return "an empty name or one with control characters"
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        return "an absolute path"
    if "\\" in name:
        return "a backslash in its name"
    parts = name.split("/")
    if ".." in parts:
        return "'..' in its path"
    if "" in parts or "." in parts:
        return "an empty part in its path"
    if len(parts) > MAX_DEPTH:
        return f"a path more than {MAX_DEPTH} folders deep"
    if len(name) > MAX_NAME or any(len(part.encode("utf-8", "surrogatepass")) > MAX_NAME for part in parts):
        return f"a name of more than {MAX_NAME} characters"
    if any(part.endswith((".", " ")) or ":" in part or part.split(".")[0].lower() in _DEVICES for part in parts):
        return "a name that not every system can write"
    return ""


def same_name(name: str) -> str:
    """What two names share that some system takes for one: letter case and the ways to write an accent."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return sha256(iter(lambda: file.read(BLOCK), b""))


def sha256(pieces: Iterable[bytes]) -> str:
    """SHA-256 of pieces of bytes."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def in_megabytes(size: float) -> str:
    """A size in MB of 1024² bytes, as ``--max-size-mb`` counts them."""
    return f"{size / 1024**2:.1f} MB"
