"""The suite of a notebook's widget, from what is typed into its compact form. Plain data in, YAML out; no Panel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from sway_dash.core.errors import SpecValidationError
from sway_dash.dash.presets import PRESETS, apply, most_prompts
from sway_dash.dash.yaml_tree import plain
from sway_dash.suite.loader import check_entries, loads
from sway_dash.suite.spec import SwaySpec

OWN = "as in the suite"
"""Stands for the probes of the suite that was given."""

Prompt = str | Mapping[str, Any]
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class NotebookSuite:
    """A suite as data, and the fields of the form as ways to read and write it."""

    def __init__(
        self,
        spec: Path | str | Mapping[str, Any] | SwaySpec | None = None,
        *,
        prompts: Sequence[Prompt] | None = None,
        preset: str = "",
        models: Mapping[str, Any] | None = None,
    ) -> None:
        self.data, self.base_dir, self.source = _given(spec)
        if models is not None:
            self.data["models"] = {"base": dict(models), "ft": dict(models)}
        own = bool(self.data.get("suite"))
        if preset and preset not in (OWN, *(p.name for p in PRESETS)):
            known = ", ".join(repr(p.name) for p in PRESETS)
            raise SpecValidationError(f"there is no preset {preset!r}; known: {known}")
        if prompts is not None:
            self._set(_plain(prompts))
        if not own or (preset and preset != OWN):
            self._apply(preset or PRESETS[0].name)
        self.preset = preset or (OWN if own else PRESETS[0].name)
        self.presets = [*([OWN] if own else []), *(p.name for p in PRESETS)]
        self._own = deepcopy(self.data.get("suite")) if own else None

    # -- the fields of the form -----------------------------------------------------------------

    @property
    def base(self) -> str:
        """Base model: hub id or folder."""
        return str(self._side("ft").get("base") or self._side("base").get("base") or "")

    @property
    def adapter(self) -> str:
        """Folder of the adapter."""
        return str(self._side("ft").get("adapter") or "")

    @property
    def prompts(self) -> list[Any]:
        """The prompts of the longest list of the suite."""
        return most_prompts(self.data.get("suite") or [])

    @property
    def lines(self) -> str:
        """The prompts, one a line; a line break within one is written as ``\\n``."""
        return "\n".join(_text(p).replace("\\", "\\\\").replace("\n", "\\n") for p in self.prompts)

    def change(self, *, base: str, adapter: str, lines: str, preset: str) -> None:
        """Take what the form says; prompts that were there keep their tags."""
        for name in ("base", "ft"):
            side = self.data.setdefault("models", {}).setdefault(name, {"kind": "hf"})
            side["base"] = base.strip()
        if adapter.strip():
            self.data["models"]["ft"]["adapter"] = adapter.strip()
        else:
            self.data["models"]["ft"].pop("adapter", None)
        if preset != self.preset:
            if preset == OWN:
                prompts, self.data["suite"] = self.prompts, deepcopy(self._own)
                self._set(prompts)
            else:
                self._apply(preset)
            self.preset = preset
        if lines != self.lines:
            known = {_text(p): p for p in self.prompts}
            texts = [_ESCAPED.sub(_unescaped, line) for line in lines.splitlines() if line.strip()]
            self._set([known.get(text, text) for text in texts])

    def _side(self, name: str) -> dict[str, Any]:
        sides = self.data.get("models")
        side = sides.get(name) if isinstance(sides, dict) else None
        return side if isinstance(side, dict) else {}

    def _set(self, prompts: list[Any]) -> None:
        """Put prompts in the place of the longest list, wherever it is used."""
        entries = self.data.setdefault("suite", [])
        before = most_prompts(entries)
        asking = [e for e in entries if isinstance(e, dict) and e.get("prompts") == before and before]
        for entry in asking:
            entry["prompts"] = list(prompts)
        if not asking:
            entries.append({"name": "next_token", "kind": "delta_kl", "prompts": list(prompts)})

    def _apply(self, name: str) -> None:
        preset = next(p for p in PRESETS if p.name == name)
        self.data = apply(preset, self.data)

    # -- ready to run ---------------------------------------------------------------------------

    def text(self) -> str:
        """The suite as YAML, checked. ``SpecValidationError`` with one sentence a problem."""
        if not self.base:
            raise SpecValidationError("no base model is named: give its hub id or folder")
        if not self.prompts:
            raise SpecValidationError("there is no prompt: write at least one, better 20, one a line")
        text = yaml.safe_dump({"version": 1, **self.data}, sort_keys=False, allow_unicode=True, width=100)
        spec = loads(text, source=self.source or "the form", folder=self.base_dir)
        check_entries(spec, source=self.source or "the form", text=text)
        return text


def _given(spec: Path | str | Mapping[str, Any] | SwaySpec | None) -> tuple[dict[str, Any], Path, str]:
    """A suite as data, the folder its paths are relative to, and the file it is from."""
    if spec is None:
        return {}, Path.cwd(), ""
    if isinstance(spec, SwaySpec):
        return spec.model_dump(mode="json", exclude_none=True, exclude_defaults=True), Path.cwd(), ""
    if isinstance(spec, Mapping):
        return deepcopy(dict(spec)), Path.cwd(), ""
    if isinstance(spec, str) and "\n" in spec:
        return _read(spec, "the text"), Path.cwd(), ""
    path = Path(spec).expanduser().resolve()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecValidationError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return _read(text, str(path)), path.parent, str(path)


def _read(text: str, source: str) -> dict[str, Any]:
    # Read by the loader first, for its words about what is wrong.
    loads(text, source=source)
    data = plain(yaml.safe_load(text))
    assert isinstance(data, dict)
    return data


def _plain(prompts: Sequence[Prompt]) -> list[Any]:
    if isinstance(prompts, str):
        raise SpecValidationError("prompts is one text: give a list of prompts")
    return [p if isinstance(p, str) else dict(p) for p in prompts]


def _text(prompt: Any) -> str:
    return str(prompt.get("text", "")) if isinstance(prompt, Mapping) else str(prompt)


def _unescaped(match: re.Match[str]) -> str:
    return {"n": "\n"}.get(match[1], match[1])
