"""Prompts token by token of the open run: those its folder holds, and those somebody asked for. No Panel, no param."""

from __future__ import annotations

from collections.abc import Sequence

from sway_dash.core.detail import PromptDetail
from sway_dash.figures.token_columns import HeatScale, scale_of
from sway_dash.suite.details import detail_key
from sway_dash.suite.store import RunFolder

SAMPLED = 200
"""Prompts, evenly over the probe, that the colour scale of a run is read from."""

VIEW = "ft"


class TokenDetails:
    """What is known of a run's prompts; the file is looked at again on every question, as it may still grow."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._file = folder.details()
        self._asked: dict[str, PromptDetail] = {}
        self._found: tuple[str, int, PromptDetail] | None = None
        self._scale: tuple[tuple[int, int, int], HeatScale] | None = None

    @property
    def version(self) -> int:
        """Grows with what is known."""
        return len(self._file.keys()) + len(self._asked)

    def add(self, detail: PromptDetail) -> None:
        """Keep the detail of a prompt that was asked for."""
        self._asked[detail.prompt] = detail
        self._found = None

    def find(self, prompt: str) -> PromptDetail | None:
        """The newest detail of a prompt."""
        if prompt in self._asked:
            return self._asked[prompt]
        version = self.version
        if self._found is None or self._found[:2] != (prompt, version):
            detail = self._file.find(prompt, VIEW)
            if detail is None:
                return None
            self._found = (prompt, version, detail)
        return self._found[2]

    def scale(self, prompts: Sequence[str]) -> HeatScale:
        """One scale of colours for what the folder holds of these prompts, else for what was asked for."""
        keys = self._file.keys()
        key = (len(keys), 0 if keys else len(self._asked), len(prompts))
        if self._scale is None or self._scale[0] != key:
            known = [p for p in dict.fromkeys(prompts) if detail_key(p, VIEW) in keys]
            step = max(1, len(known) // SAMPLED)
            details = [d for p in known[::step] if (d := self._file.find(p, VIEW))]
            self._scale = (key, scale_of(details or self._asked.values()))
        return self._scale[1]
