"""A process that trains, as torch and transformers see it: what measuring in its middle has to leave alone.

Everything here is imported by a training process, which has both libraries anyway; no backend needs it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from sway_dash.backends.batching import is_out_of_memory as is_out_of_memory
from sway_dash.core.errors import SwayError


def trainer_callback() -> type[Any]:
    """The class of callbacks of the ``Trainer``; ``SwayError`` without transformers."""
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise SwayError(f"a callback of the Trainer needs transformers: pip install transformers ({error})") from None
    return TrainerCallback  # type: ignore[no-any-return]


def unwrapped(model: Any) -> Any:
    """The model inside what DDP, DataParallel, DeepSpeed or ``torch.compile`` put around it."""
    from peft import PeftModel

    while not isinstance(model, PeftModel):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if inner is None:
            break
        model = inner
    return model


@contextmanager
def undisturbed() -> Iterator[None]:
    """No autocast inside; afterwards the random generators of Python, numpy and torch are where they were."""
    import torch

    ours, theirs, host = random.getstate(), np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    on = [kind for kind in ("cpu", "cuda", "mps", "xpu") if _autocasts(kind)]
    try:
        with _without_autocast(on):
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(theirs)  # noqa: NPY002
        torch.random.set_rng_state(host)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)


def _autocasts(kind: str) -> bool:
    import torch

    try:
        return torch.is_autocast_enabled(kind)
    except (RuntimeError, TypeError):
        return False


@contextmanager
def _without_autocast(kinds: list[str]) -> Iterator[None]:
    import torch

    if not kinds:
        yield
        return
    with torch.autocast(kinds[0], enabled=False), _without_autocast(kinds[1:]):
        yield


def shared(value: Any) -> Any:
    """``value`` of the first process, in every process of a distributed training.

    The others wait here for as long as the first one takes, at most the time-out of the process group
    (``TrainingArguments.ddp_timeout``, half an hour unless it is set).
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def summary_writer(folder: Path) -> Any:
    """A TensorBoard writer into ``folder``; ``SwayError`` without the package."""
    try:
        # First, since torch takes seconds to say that this is missing.
        import tensorboard  # noqa: F401
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SwayError("TensorBoard is not installed: pip install tensorboard") from None
    return SummaryWriter(log_dir=str(folder))
