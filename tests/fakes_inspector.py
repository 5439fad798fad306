"""Backends that behave badly beside a probe: they print, they hang, they fail, they die."""

from __future__ import annotations

import os
import time
from typing import Any

from sway_dash.core.errors import ProbeError
from tests.fakes import FakeBackend


class Rude(FakeBackend):
    """Prints wherever it can; does what some prompts ask for."""

    def __init__(self, *, base_spec: Any = None, adapter_path: Any = None) -> None:
        super().__init__(base_spec=base_spec)
        print("loading: 100 %")
        os.write(1, b"a library in C says hello\n")

    def details(self, prompts: Any, **options: Any) -> Any:
        print("showing", prompts)
        for index, found in super().details(prompts, **options):
            if prompts[index] == "cannot":
                yield index, ProbeError("details", "this prompt cannot be shown")
                continue
            if prompts[index] == "fail":
                raise RuntimeError("a defect")
            if prompts[index] == "die":
                os._exit(3)
            if prompts[index] == "wait":
                time.sleep(600)
            yield index, found


class Mute(FakeBackend):
    """Cannot show prompts."""

    details = None  # type: ignore[assignment]
