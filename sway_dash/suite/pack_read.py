"""Opening a pack that anybody may have made: every name and size is checked before one file is written."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sway_dash.core.errors import SpecValidationError
from sway_dash.suite.loader import parse_yaml
from sway_dash.suite.pack_layout import (
    BLOCK,
    DRAWS,
    FOLDER,
    GOLDEN,
    MANIFEST,
    MAX_MANIFEST,
    MAX_MEMBERS,
    MAX_UNPACKED_BYTES,
    SPEC,
    SWAYPACK_VERSION,
    UnpackError,
    in_megabytes,
    name_problem,
    same_name,
)

_BROKEN = (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError, OverflowError)
"""What damaged archives make the standard library raise."""
_SLACK = 4 * tarfile.BLOCKSIZE
"""Bytes of an archive beside the contents of a file: its headers and what fills up the last block."""
_AT_ONCE = 2 * BLOCK
"""The most that is read at once; a header that says it is longer is no header."""


@dataclass(frozen=True, slots=True)
class UnpackReport:
    """What came out of a pack."""

    out_dir: Path
    spec_path: Path
    null_stats_dir: Path | None
    manifest: dict[str, Any]
    verified: bool = False
    """Every file has the checksum the manifest gives; false where it gives none."""


class _Bounded:
    """The unpacked bytes of an archive as a file that ends with an error at a limit, however small the archive is."""

    def __init__(self, file: gzip.GzipFile, limit: int) -> None:
        self._file, self._limit = file, limit

    def read(self, size: int = -1) -> bytes:
        """Read; a header may not ask for much at once."""
        if not 0 <= size <= _AT_ONCE:
            raise UnpackError("it holds a header that is larger than any real one")
        self._check(self._file.tell() + size)
        return self._file.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to a place counted from the beginning."""
        self._check(position)
        return self._file.seek(position, whence)

    def tell(self) -> int:
        """The place counted from the beginning."""
        return self._file.tell()

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise UnpackError(
                f"it unpacks to more than {in_megabytes(self._limit)}: raise --max-size-mb if you know what it is"
            )


def unpack_swaypack(
    pack_path: Path | str,
    *,
    target_dir: Path | str,
    max_bytes: int = MAX_UNPACKED_BYTES,
    then: Callable[[UnpackReport], object] | None = None,
) -> UnpackReport:
    """Unpack into ``<target_dir>/swaypack``, which must not exist; a pack that fails leaves nothing behind.

    ``then`` is called with what came out; when it raises, nothing stays either. ``UnpackError`` in one sentence for
    whatever is wrong with the archive.
    """
    pack, target = Path(pack_path).expanduser(), Path(target_dir).expanduser()
    out = target / FOLDER
    if out.exists() or out.is_symlink():
        raise UnpackError(f"refusing to overwrite {out}: remove it, or give another folder with --out")
    made: list[Path] = []
    try:
        with opened(pack, max_bytes=max_bytes) as archive:
            _check_suite(archive)
            made = _make(target)
            temporary = Path(tempfile.mkdtemp(prefix=".swaypack-", dir=target))
            try:
                verified = archive.extract(temporary / FOLDER)
                (temporary / FOLDER).rename(out)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        draws = out / DRAWS
        report = UnpackReport(out, out / archive.spec, draws if draws.is_dir() else None, archive.manifest, verified)
        try:
            if then is not None:
                then(report)
        except BaseException:
            shutil.rmtree(out, ignore_errors=True)
            raise
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise
    return report


def _check_suite(archive: Archive) -> None:
    """``UnpackError`` unless its suite is a mapping, which is the least that can be made to run here."""
    try:
        parse_yaml(archive.read(archive.spec).decode("utf-8"), source=archive.spec)
    except UnicodeDecodeError as error:
        raise UnpackError(f"its suite {archive.spec} is not UTF-8 text (byte {error.start})") from None
    except SpecValidationError as error:
        raise UnpackError(f"its suite cannot be read: {error}") from None


def _make(folder: Path) -> list[Path]:
    """Make a folder; returns the ones that were missing, the innermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


@contextmanager
def opened(pack: Path, *, max_bytes: int = MAX_UNPACKED_BYTES) -> Iterator[Archive]:
    """A pack whose names and sizes have been checked; ``UnpackError`` names the file and what is wrong with it."""
    if not pack.exists():
        raise UnpackError(f"{pack}: not found: give a file that sway-dash pack has made")
    if not pack.is_file():
        raise UnpackError(f"{pack}: a pack must be a file, and this is none")
    try:
        with (
            gzip.open(pack, "rb") as packed,
            tarfile.open(fileobj=_bounded(packed, max_bytes), mode="r:", errorlevel=1) as tar,
        ):
            yield Archive(tar, max_bytes)
    except UnpackError as error:
        text = str(error)
        raise error if text.startswith("refusing") else UnpackError(f"{pack}: failed to extract: {text}") from None
    except _BROKEN as error:
        why = str(error) or type(error).__name__
        raise UnpackError(f"{pack}: failed to extract: it is no pack, or was cut short ({why})") from None


def _bounded(packed: gzip.GzipFile, limit: int) -> IO[bytes]:
    found: Any = _Bounded(packed, limit + MAX_MEMBERS * _SLACK)
    return found  # type: ignore[no-any-return]


class Archive:
    """The files of a pack by their names in its folder, and its manifest."""

    def __init__(self, tar: tarfile.TarFile, max_bytes: int) -> None:
        self._tar = tar
        self._files = _checked(tar, max_bytes)
        # The checksum of gzip comes last: what lies behind the files is read, too, though nothing of it is used.
        while tar.fileobj is not None and tar.fileobj.read(_SLACK):
            pass
        self.manifest = self._read_manifest()
        self.spec = self._spec_name()

    @property
    def names(self) -> tuple[str, ...]:
        """Every file, in the order of the archive."""
        return tuple(self._files)

    def read(self, name: str, *, limit: int = MAX_UNPACKED_BYTES) -> bytes:
        """Contents of one file, checked against the manifest; ``KeyError`` when there is none of the name."""
        info = self._files[name]
        if info.size > limit:
            raise UnpackError(f"{name} has {in_megabytes(info.size)}, more than any real one")
        data = b"".join(self._pieces(info))
        if name != MANIFEST:
            self._verify(name, hashlib.sha256(data).hexdigest(), len(data))
        return data

    def extract(self, folder: Path) -> bool:
        """Write every file below a folder that does not exist yet; say whether there were checksums to compare."""
        folder.mkdir()
        for name, info in self._files.items():
            path = folder.joinpath(*name.split("/"))
            path.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with path.open("xb") as file:
                for piece in self._pieces(info):
                    digest.update(piece)
                    file.write(piece)
            if name != MANIFEST:
                self._verify(name, digest.hexdigest(), info.size)
        return self._checksums is not None

    @property
    def _checksums(self) -> Mapping[str, Any] | None:
        found = self.manifest.get("members")
        return found if isinstance(found, Mapping) else None

    def _pieces(self, info: tarfile.TarInfo) -> Iterator[bytes]:
        file = self._tar.extractfile(info)
        if file is None:
            raise UnpackError(f"{info.name} is no file")
        left = info.size
        while left:
            piece = file.read(min(BLOCK, left))
            if not piece:
                raise UnpackError(f"{info.name} is cut short")
            left -= len(piece)
            yield piece

    def _verify(self, name: str, sha256: str, size: int) -> None:
        if (known := self._checksums) is None:
            return
        told = known.get(name)
        if not isinstance(told, Mapping) or told.get("sha256") != sha256 or told.get("size") != size:
            raise UnpackError(f"{name} is not the file that was packed: its checksum differs from the manifest's")

    def _read_manifest(self) -> dict[str, Any]:
        if MANIFEST not in self._files:
            raise UnpackError("missing manifest.json: it is no pack, or a damaged one")
        self.manifest = {}
        try:
            found = json.loads(self.read(MANIFEST, limit=MAX_MANIFEST))
        except (ValueError, RecursionError) as error:
            raise UnpackError(f"manifest.json is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise UnpackError("manifest.json holds no JSON object")
        version = found.get("swaypack_version")
        if version != SWAYPACK_VERSION or isinstance(version, bool):
            raise UnpackError(f"unsupported swaypack_version={version}: this program reads {SWAYPACK_VERSION}")
        listed = found.get("members")
        if listed is not None and not isinstance(listed, Mapping):
            raise UnpackError("manifest.json: members is no JSON object")
        if isinstance(listed, Mapping):
            if missing := sorted(set(map(str, listed)) - set(self._files)):
                raise UnpackError(f"{missing[0]} is missing, though the manifest names it")
            if added := sorted(set(self._files) - set(listed) - {MANIFEST}):
                raise UnpackError(f"{added[0]} is not in the manifest: it was added later")
        return found

    def _spec_name(self) -> str:
        name = self.manifest.get("spec_filename", SPEC)
        if not isinstance(name, str) or name_problem(name) or "/" in name:
            raise UnpackError(f"manifest.json: spec_filename {name!r} is no plain name of a file")
        if name not in self._files:
            # The public packer notes the name the suite had, and stores it under its own.
            name = SPEC
        if name not in self._files:
            raise UnpackError(f"the suite {name} is missing")
        if name in (MANIFEST, GOLDEN):
            raise UnpackError(f"manifest.json: spec_filename {name!r} is another file of the pack")
        return name


def _checked(tar: tarfile.TarFile, max_bytes: int) -> dict[str, tarfile.TarInfo]:
    """Every file of an archive by its name below ``swaypack/``; nothing has been written yet."""
    files: dict[str, tarfile.TarInfo] = {}
    seen: dict[str, str] = {}
    folders: set[str] = set()
    total = 0
    for count, info in enumerate(tar, 1):
        if count > MAX_MEMBERS:
            raise UnpackError(f"it holds more than {MAX_MEMBERS} files")
        name = info.name.rstrip("/") if info.isdir() else info.name
        if problem := name_problem(name):
            raise UnpackError(f"{info.name!r} has {problem}")
        if not (info.isreg() or info.isdir()) or info.issparse():
            raise UnpackError(f"{info.name!r} is a {_type_of(info)}, and a pack holds plain files only")
        top, _, inner = name.partition("/")
        if top != FOLDER or not (inner or info.isdir()):
            raise UnpackError(f"missing the expected 'swaypack/': {info.name!r} lies outside that folder")
        if info.isdir():
            folders.add(same_name(inner))
            continue
        total += info.size
        if info.size < 0 or total > max_bytes:
            text = f"its files have more than {in_megabytes(max_bytes)}: raise --max-size-mb if you know what it is"
            raise UnpackError(text)
        other = seen.setdefault(same_name(inner), inner)
        if other in files:
            twice = "is there twice" if other == inner else f"and {other!r} are one name on some systems"
            raise UnpackError(f"{inner!r} {twice}")
        files[inner] = info
    if not files:
        raise UnpackError("missing the expected 'swaypack/': the archive is empty")
    for name in files:
        parts = same_name(name).split("/")
        folders |= {"/".join(parts[:n]) for n in range(1, len(parts))}
    if clash := next((seen[name] for name in seen if name in folders), None):
        raise UnpackError(f"{clash!r} is a file and a folder")
    return files


def _type_of(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    if info.isdev():
        return "device or a pipe"
    return "special file"
