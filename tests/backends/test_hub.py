"""Asking the hub for a base that is not on this machine."""

from __future__ import annotations

from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import HFValidationError

from sway_dash.backends import hub
from sway_dash.core.errors import ModelLoadError


def test_a_model_that_was_found_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def model_info(self: Any, name: str, *, timeout: float) -> None:
        asked.append(name)
        if name == "org/none":
            raise HFValidationError("no such model")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(hub, "_reached", set())
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    for _ in range(3):
        hub.check_reachable("org/base")
    hub.check_reachable("org/other")
    assert asked == ["org/base", "org/other"]
    for _ in range(2):
        with pytest.raises(ModelLoadError, match="org/none"):
            hub.check_reachable("org/none")
    # What was not found may be there after a moment, or a login.
    assert asked[2:] == ["org/none"] * 2
