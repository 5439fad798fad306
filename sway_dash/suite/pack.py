"""One file that holds a suite and what it needs but the base model; the same input gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sway_dash import __version__
from sway_dash.core.result import jsonable
from sway_dash.report.json_io import load_result
from sway_dash.suite.pack_contents import Contents, collect
from sway_dash.suite.pack_layout import (
    BLOCK,
    DEFAULT_MAX_PACK_SIZE_BYTES,
    FOLDER,
    GOLDEN,
    MANIFEST,
    SPEC,
    SWAYPACK_VERSION,
    PackError,
    in_megabytes,
    sha256,
    sha256_of,
)


@dataclass(frozen=True, slots=True)
class PackReport:
    """What went into a pack."""

    out_path: Path
    size_bytes: int
    spec_path: Path
    section_bytes: int
    """Of the document; 0 without one."""
    null_stats_count: int
    """Files of null draws."""
    golden_included: bool
    null_draws: int = 0
    adapter_included: bool = False
    members: tuple[tuple[str, int], ...] = ()
    """Name and size in bytes of every file in the pack."""
    remarks: tuple[str, ...] = ()
    """What the suite names and the pack does not hold, and why."""


def default_out(spec_path: Path) -> Path:
    """``<stem>.swaypack.tar.gz`` beside the suite."""
    return spec_path.with_name(f"{spec_path.stem}.swaypack.tar.gz")


def pack_spec(
    spec_path: Path | str,
    *,
    out_path: Path | str | None = None,
    include_golden: Path | str | None = None,
    include_null_cache: bool = True,
    include_adapter: bool = True,
    max_size_bytes: int = DEFAULT_MAX_PACK_SIZE_BYTES,
) -> PackReport:
    """Pack a suite; nothing is left behind when that fails.

    ``include_golden`` is a result file of this suite. ``PackError`` when the output exists or grows beyond
    ``max_size_bytes``; ``SwayError`` for a suite, adapter or result that cannot be used.
    """
    source = Path(spec_path).expanduser().resolve()
    out = default_out(source) if out_path is None else Path(out_path).expanduser()
    if out.exists():
        raise _taken(out)
    golden = None if include_golden is None else _golden(Path(include_golden).expanduser())
    contents = collect(source, golden=golden, draws=include_null_cache, adapter=include_adapter)
    files = dict(contents.files)
    if golden is not None:
        files[GOLDEN] = _as_json(contents.portable(golden))
    manifest = _manifest(contents, files, golden=golden is not None)
    files[MANIFEST] = _as_json(manifest)
    adapter_bytes = contents.adapter_bytes
    try:
        size = _write(out, files, manifest["members"], max_size_bytes)
    except _TooLargeError:
        without = f" (its files have {in_megabytes(adapter_bytes)})" if adapter_bytes else ""
        raise PackError(
            f"the pack exceeds the cap of {in_megabytes(max_size_bytes)}: leave the adapter{without} out with"
            " --no-adapter, or raise --max-size-mb"
        ) from None
    return PackReport(
        out_path=out,
        size_bytes=size,
        spec_path=source,
        section_bytes=contents.section_bytes,
        null_stats_count=len(contents.draws),
        golden_included=golden is not None,
        null_draws=sum(contents.draws.values()),
        adapter_included=contents.adapter_included,
        members=tuple((name, _size(data)) for name, data in sorted(files.items())),
        remarks=contents.remarks,
    )


def _golden(path: Path) -> dict[str, Any]:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise PackError(f"the golden result {path} {what}: give a result.json to --golden (--include-golden)")
    load_result(path)
    document = json.loads(path.read_bytes())
    return dict(jsonable(document))


def _manifest(contents: Contents, files: Mapping[str, bytes | Path], *, golden: bool) -> dict[str, Any]:
    return {
        "swaypack_version": SWAYPACK_VERSION,
        "program": "sway-dash",
        "sway_version": __version__,
        "spec_filename": SPEC,
        "section_bytes": contents.section_bytes,
        "dlm_source_packed": contents.section_bytes > 0,
        "null_stats_count": len(contents.draws),
        "null_stats_keys": [Path(name).stem for name in sorted(contents.draws)],
        "golden_included": golden,
        "adapter": {"included": contents.adapter_included, "sha256": contents.adapter_sha256},
        "base": contents.base,
        "members": {
            name: {"sha256": sha256([d]) if isinstance(d, bytes) else sha256_of(d), "size": _size(d)}
            for name, d in sorted(files.items())
        },
    }


def _as_json(document: Any) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def _size(data: bytes | Path) -> int:
    return len(data) if isinstance(data, bytes) else data.stat().st_size


def _taken(out: Path) -> PackError:
    return PackError(f"refusing to overwrite {out}: remove it, or name another file with --out")


class _TooLargeError(Exception):
    """The archive has reached its cap."""


def _write(out: Path, files: Mapping[str, bytes | Path], told: Mapping[str, Any], cap: int) -> int:
    """Write the archive beside its place and put it there whole; return its size."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as raw:
            # Without a name and a time of its own.
            with (
                gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
            ):
                for name, data in sorted(files.items()):
                    size = len(data) if isinstance(data, bytes) else told[name]["size"]
                    packed.write(_header(archive, f"{FOLDER}/{name}", size))
                    digest = hashlib.sha256()
                    for piece in _pieces(data, size):
                        digest.update(piece)
                        packed.write(piece)
                        if raw.tell() > cap:
                            raise _TooLargeError
                    if isinstance(data, Path) and digest.hexdigest() != told[name]["sha256"]:
                        raise PackError(f"{data} changed while it was packed: wait until it is written")
                    packed.write(bytes(-size % tarfile.BLOCKSIZE))
            size = raw.tell()
        if size > cap:
            raise _TooLargeError
        try:
            # Unlike a renaming, this fails where a file has appeared since.
            os.link(temporary, out)
        except FileExistsError:
            raise _taken(out) from None
        except OSError:  # a file system without links
            temporary.replace(out)
        return size
    finally:
        temporary.unlink(missing_ok=True)


def _header(archive: tarfile.TarFile, name: str, size: int) -> bytes:
    """Owner, time and mode of a file are the same everywhere."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info.tobuf(archive.format, archive.encoding or "utf-8", archive.errors or "strict")


def _pieces(data: bytes | Path, left: int) -> Iterator[bytes]:
    """As much of a file as its header says."""
    with _opened(data) as file:
        while left:
            piece = file.read(min(BLOCK, left))
            if not piece:
                what = data if isinstance(data, Path) else "a file"
                raise PackError(f"{what} became shorter while it was packed: wait until it is written")
            left -= len(piece)
            yield piece


def _opened(data: bytes | Path) -> IO[bytes]:
    return io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
