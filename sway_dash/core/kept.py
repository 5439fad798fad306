"""Where is kept what outlives a run: null draws, and which model a server had."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """``$SWAY_NULL_CACHE_DIR``, else ``$XDG_CACHE_HOME/sway-dash/null-draws``, else under ``~/.cache``."""
    if own := os.environ.get("SWAY_NULL_CACHE_DIR"):
        return Path(own)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sway-dash" / "null-draws"
