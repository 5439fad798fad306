"""Where the files are that ship beside the code: the demo, item packs, styles, the served script."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(file: str) -> Path:
    """Absolute path of a file such as ``assets/demo/sway.yaml``.

    An installed wheel has it inside the package, a source checkout beside it; the first one that exists is returned.
    ``FileNotFoundError`` when neither does.
    """
    candidates = (_PACKAGE / file, _PACKAGE.parent / file)
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(f"the installation is not complete: no {' or '.join(map(str, candidates))}")
