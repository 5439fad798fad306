"""Writing a file whole: a reader sees what was there or what is there now, never half of it."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path


def write_whole(path: Path | str, data: str | bytes) -> None:
    """Write a file in one step, text as UTF-8; ``OSError`` leaves what was there.

    Pipes, devices and what a link points to are written to in place: there is nothing to put in their stead.
    """
    path = Path(path).expanduser()
    raw = data.encode("utf-8") if isinstance(data, str) else data
    if path.is_symlink() or (path.exists() and not path.is_file()):
        with path.open("wb") as file:
            file.write(raw)
        return
    # Short, because the name of the file may be as long as names can be.
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_bytes(raw)
        if path.exists():
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # A full disk does not say which file it had no room for, and the temporary one means nothing to anybody.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
