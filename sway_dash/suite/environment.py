"""On what a run was made: what the result file holds under ``environment``.

Keys (what is not known is left out or null; readers of the public format pass over the whole object):

``python``, ``platform``, ``cpu``
    Version of Python; system and architecture (no host, no kernel); name of the processor, where the system tells.
``packages``
    Versions of numpy, scipy, scikit-learn, torch, transformers, tokenizers, safetensors and peft. That of sway_dash is
    the result's own ``sway_version``.
``threads``
    Threads torch computes with; the last bits of sums on a CPU depend on it.
``endpoint``, ``served``, ``token_identity``, ``effective_top_k``, …
    Of a model behind a server: where it is, what the server says of it, and how far its answers go.
``backend``
    ``hf``, ``two_model``, or the class of a backend that does not describe itself (the dummy, a custom one).
``base``, ``base_revision``, ``base_identity``
    The base as it was named; its commit on the hub, also where a folder of the hub's cache was named; SHA-256 of
    configuration and weights of a folder, ``<id>@<commit>`` of a hub id, ``@`` of a model held in memory.
``adapter``, ``adapter_sha256``, ``adapter_r``, ``adapter_alpha``, ``adapter_targets``, ``adapter_base``,
``update_norm``
    Folder; SHA-256 over configuration and weights (of the tensors, where the adapter is held in memory); what its
    configuration says; Frobenius norm of its change of all weights.
``dtype``, ``device``, ``device_name``, ``gpu_bytes_model``, ``gpu_bytes_total``
    Precision and device the model ran in.
``parameters``, ``vocab_size``, ``max_context``
    Size of the base, of its vocabulary, and of its longest context, in tokens.
``fingerprint``
    SHA-256 over base, tokenizer, adapter, precision and kind of device: equal ones mean equal numbers up to rounding.
    Empty when the base is not known exactly.
``base_model``, ``tuned``, ``tuned_revision``, ``tuned_identity``
    Of two separately loaded models: all these facts of the base's side, and which model the tuned one is.
``held``
    The model was in the memory of another program: a notebook, a training run.
``noise_floor``
    Divergence of the same model from itself: ``prompts``, ``js`` and ``kl`` in nats.

A run that failed while its model was loaded tells what was known before: Python, platform, packages, processor.

Seed and class of repeatability stand beside it, under ``determinism``.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any

from sway_dash.core.result import jsonable
from sway_dash.core.scoring import Describable

PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "transformers", "tokenizers", "safetensors", "peft")


def environment_of(backend: object | None) -> dict[str, Any]:
    """Facts about software, machine and model, JSON-ready; ``None`` for a suite that needs no model."""
    found = software()
    if backend is not None:
        found["backend"] = type(backend).__name__
    if isinstance(backend, Describable):
        found |= backend.describe()
    return dict(jsonable(found))


def software() -> dict[str, Any]:
    """What this process computes with."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    # Not platform.platform(): a shared result need not name the kernel it was made on.
    found = {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions,
    }
    if name := processor():
        found["cpu"] = name
    # What is not loaded computes nothing.
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "get_num_threads"):
        found["threads"] = torch.get_num_threads()
    return found


@cache
def processor() -> str:
    """Name of the processor; empty where the system does not tell."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return " ".join(value.split())
    except OSError:
        pass
    return platform.processor()
