"""A backend without a model whose adapters say in their configuration how they behave, for ``kind: custom``."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, ClassVar

from sway_dash.core.errors import SwayError
from tests.fakes_cli import Slow

SUITE = """\
# what is asked of every adapter
models:
  base: {kind: custom, base: fake, entry_point: "tests.fakes_sweep:ByAdapter"}
  ft: {kind: custom, base: fake, adapter: ./mine, entry_point: "tests.fakes_sweep:ByAdapter"}
suite:
  - {name: noise, kind: null_adapter, runs: 2}
  - {name: moved, kind: delta_kl, prompts: [one, two, three, four]}
"""


class ByAdapter(Slow):
    """``broken``: cannot be opened; ``unfit``: gives NaN; ``says``: what it calls its own content."""

    opened: ClassVar[list[str]] = []

    def __init__(self, *, base_spec: Any = None, adapter_path: Path | None = None) -> None:
        super().__init__(fingerprint=f"f-{adapter_path}")
        assert adapter_path is not None
        self.opened.append(adapter_path.name)
        self.config = json.loads((adapter_path / "adapter_config.json").read_text())
        if self.config.get("broken"):
            raise SwayError("this adapter was made for another base")

    def preflight_finite_check(self) -> tuple[bool, str]:
        return (False, "ft view gives 3 non-finite logits") if self.config.get("unfit") else (True, "")

    def describe(self) -> dict[str, Any]:
        own = self.config.get("says")
        return {**super().describe(), **({"adapter_sha256": own} if own else {})}


def adapter(folder: Path, *, content: str = "weights", **config: Any) -> Path:
    """Make the folder of an adapter."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    write_weights(folder, content)
    return folder


def write_weights(folder: Path, content: str) -> None:
    """Weights of no tensor, which differ where ``content`` does; any reader takes them for a whole file."""
    header = json.dumps({"__metadata__": {"content": content}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
