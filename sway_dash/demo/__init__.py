"""The demo that ships with the package: a tiny model, its LoRA adapter, their document and their suite.

The folder that :func:`demo_dir` returns holds

- ``document.md``: the invented handbook of a lighthouse, which the adapter was trained on;
- ``model/``: a Llama of 1.6 million parameters with its own tokenizer, trained from nothing on ``demo.corpus``;
- ``adapter/``: a PEFT LoRA adapter for that model;
- ``sway.yaml``: a suite that measures the adapter, on the document's topic and away from it.

``python -m sway_dash.demo build`` makes model and adapter anew. Nothing here may import torch, transformers or
peft when a module is imported, and nothing here knows how a suite is run.
"""

from __future__ import annotations

from pathlib import Path

from sway_dash.core.shipped import shipped

__all__ = ["demo_dir"]


def demo_dir() -> Path:
    """Folder that holds the shipped demo, as an absolute path; ``FileNotFoundError`` when it is not installed."""
    return shipped("assets/demo/sway.yaml").parent
