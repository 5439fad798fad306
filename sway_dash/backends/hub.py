"""Whether a model of the hub that is not on this machine can be fetched: one small question before a long load."""

from __future__ import annotations

import os

from sway_dash.core.errors import ModelLoadError

TIMEOUT_S = 10.0

_reached: set[str] = set()
"""Models that this process has found on the hub: a base that many adapters share is asked for once."""


def check_reachable(name: str) -> None:
    """``ModelLoadError`` in one sentence when the hub cannot be asked, or has no such model for this user.

    Only what is certain counts: whatever else the hub answers is left to loading.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true"):
        raise ModelLoadError(
            f"the base {name} is not on this machine and HF_HUB_OFFLINE forbids to fetch it: give the folder of a"
            " model, or leave that variable out"
        )
    if name in _reached:
        return
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    except ImportError:
        return
    try:
        HfApi().model_info(name, timeout=TIMEOUT_S)
        _reached.add(name)
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelLoadError(
            f"the base {name} is neither a folder here nor a model of the hub that can be read: give a folder or the id"
            " of a model, or log in with hf auth login if it is private"
        ) from None
    except Exception as error:
        # The libraries below have their own names for a connection that cannot be made.
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & {"ConnectError", "ConnectTimeout", "ConnectionError"}:
            raise ModelLoadError(
                f"the base {name} is not on this machine and the hub cannot be reached ({error}): give the folder of a"
                " model, or look at the connection"
            ) from None
