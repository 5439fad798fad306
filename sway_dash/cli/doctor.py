"""What is installed, read from package metadata: nothing heavy is imported to find out."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator
from typing import Any

from sway_dash import __version__

BUCKETS: dict[str, tuple[str, ...]] = {
    "engine": ("numpy", "scipy", "pydantic", "yaml", "typer", "rich", "psutil"),
    "hf": ("torch", "transformers", "peft", "safetensors"),
    "dashboard": ("panel", "panel_material_ui", "holoviews", "bokeh", "param", "pandas"),
    "notebook": ("jupyterlab", "jupyter_bokeh"),
    "api": ("httpx",),
    "train": ("accelerate",),
    "trackers": ("mlflow", "wandb", "tensorboard"),
    "gguf": ("gguf",),
    "parquet": ("pyarrow",),
    "semsim": ("sentence_transformers",),
    "style": ("spacy", "textstat"),
}
"""Modules by what they are needed for."""

PURPOSE = {
    "engine": "reads suites and results",
    "hf": "loads and measures models",
    "dashboard": "shows runs in the browser",
    "notebook": "shows runs in Jupyter, live (optional)",
    "api": "measures models behind a server (optional)",
    "train": "measures while the Trainer trains (optional)",
    "trackers": "logs finished runs to them (optional)",
    "gguf": "reads GGUF models (optional)",
    "parquet": "writes tables as Parquet (optional)",
    "semsim": "compares meanings with a sentence model (optional)",
    "style": "measures three more sides of style (optional)",
}

_DISTRIBUTION = {"yaml": "PyYAML"}


def diagnose() -> dict[str, Any]:
    """Versions by bucket; ``None`` for what is not installed."""
    return {
        "sway_version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "extras": {bucket: {name: version_of(name) for name in names} for bucket, names in BUCKETS.items()},
    }


def version_of(module: str) -> str | None:
    """Installed version of a module's distribution, or ``None``."""
    try:
        return importlib.metadata.version(_DISTRIBUTION.get(module, module.replace("_", "-")))
    except importlib.metadata.PackageNotFoundError:
        return None


def describe(facts: dict[str, Any]) -> Iterator[str]:
    """The diagnosis as lines of text."""
    yield f"sway {facts['sway_version']}  python {facts['python']}  {facts['platform']}"
    yield "backends and other parts:"
    for bucket, found in facts["extras"].items():
        missing = [name for name, version in found.items() if version is None]
        state = f"not installed: {', '.join(missing)}" if missing else "ready"
        yield f"  {bucket:<10} {PURPOSE[bucket]}: {state}"
        if versions := [f"{name} {version}" for name, version in found.items() if version]:
            yield f"  {'':<10} {', '.join(versions)}"
