"""What is known of a draft's models before anything is loaded. Param only; no widgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import param

from sway_dash.backends.model_files import (
    AdapterFacts,
    BaseFacts,
    look_at_adapter,
    look_at_base,
    misfit,
    other_base,
)
from sway_dash.backends.tokenizer_file import FILE, TokenizerFile, tokenizer_folder
from sway_dash.core.errors import Problem, SwayError
from sway_dash.dash.discover import Discovery, discover
from sway_dash.dash.draft import Draft
from sway_dash.dash.latest import Background, Latest, at_once
from sway_dash.suite.loader import is_local

BASE_AT, TUNED_AT, ADAPTER_AT = ("models", "base", "base"), ("models", "ft", "base"), ("models", "ft", "adapter")


@dataclass(frozen=True, slots=True)
class _Asked:
    """Everything the answer depends on."""

    folder: str
    base: str
    tuned: str
    adapter: str
    hf: bool
    differential: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    base: BaseFacts | None = None
    tuned: BaseFacts | None = None
    adapter: AdapterFacts | None = None
    tokenizer: TokenizerFile | None = None
    no_tokenizer: str = ""
    remark: str = ""
    problems: tuple[Problem, ...] = field(default=())


class ModelFacts(param.Parameterized):
    """Base and adapter of a draft as their files describe them; what does not go together becomes a problem of it."""

    version = param.Integer(default=0, doc="Raised whenever something else is known.")
    looking = param.Boolean(default=False, doc="Files are being read.")

    def __init__(self, draft: Draft, background: Background = at_once, **params: Any) -> None:
        super().__init__(**params)
        self.draft = draft
        self.found = Discovery()
        """Models on this machine."""
        self._answer = _Answer()
        self._asked: _Asked | None = None
        self._latest, self._search = Latest(background), Latest(background)
        draft.param.watch(lambda *_: self.refresh(), ["data", "base_dir"])
        draft.param.watch(lambda *_: self.search(), "base_dir")
        self.refresh()
        self.search()

    @property
    def base(self) -> BaseFacts | None:
        """The base, or the model that is compared with; ``None`` when its files are not known."""
        return self._answer.base

    @property
    def tuned(self) -> BaseFacts | None:
        """The second model where two are compared."""
        return self._answer.tuned

    @property
    def adapter(self) -> AdapterFacts | None:
        """The adapter; ``None`` when its files are not known."""
        return self._answer.adapter

    @property
    def remark(self) -> str:
        """What is worth knowing but stops nothing."""
        return self._answer.remark

    @property
    def tokenizer(self) -> TokenizerFile | None:
        """What cuts prompts into tokens in the run; ``None``, and :attr:`no_tokenizer` says why, without one."""
        return self._answer.tokenizer

    @property
    def no_tokenizer(self) -> str:
        """Why tokens cannot be shown."""
        return self._answer.no_tokenizer

    def refresh(self, *, again: bool = False) -> None:
        """Read the files of the models the draft names now, unless that has been done."""
        asked = self._question()
        if asked == self._asked and not again:
            return
        self._asked = asked
        self.looking = True
        self._latest.ask(lambda: _look(asked), self._take, self._fail)

    def search(self, *, fresh: bool = False) -> None:
        """Look for models on this machine."""
        folder = Path(self.draft.base_dir or ".")
        self._search.ask(lambda: discover(folder, fresh=fresh), self._take_found)

    def _question(self) -> _Asked:
        draft = self.draft
        kinds = {str(draft.get("models", side, "kind") or "hf") for side in ("base", "ft")}
        base, tuned = draft.get(*BASE_AT), draft.get(*TUNED_AT)
        return _Asked(
            folder=draft.base_dir,
            base=base.strip() if isinstance(base, str) else "",
            tuned=tuned.strip() if isinstance(tuned, str) else "",
            adapter=str(draft.path(*ADAPTER_AT) or ""),
            hf=kinds == {"hf"},
            differential=draft.get("defaults", "differential") is not False,
        )

    def _take(self, answer: _Answer) -> None:
        self._answer = answer
        # What the text itself has been told is not said twice.
        own = {where for where, _ in self.draft.own_problems}
        self.draft.add_findings([p for p in answer.problems if p[0] not in own])
        self.param.update(looking=False, version=self.version + 1)

    def _fail(self, error: Exception) -> None:
        """What was known of other models must not stand for these."""
        why = f"The files of the models cannot be read ({type(error).__name__}: {error})."
        self._take(_Answer(no_tokenizer=why))

    def _take_found(self, found: Discovery) -> None:
        self.found = found
        self.version += 1


def _look(asked: _Asked) -> _Answer:
    """Read the files; runs in a thread and touches nothing else."""
    if not asked.hf:
        return _Answer(no_tokenizer="Tokens are shown for models of kind hf.")
    problems: list[Problem] = []

    def base_of(name: str, place: tuple[str, ...]) -> BaseFacts | None:
        if not name:
            return None
        folder = Path(asked.folder or ".")
        try:
            return look_at_base(str((folder / Path(name).expanduser()).resolve()) if is_local(name, folder) else name)
        except (SwayError, OSError) as error:
            problems.append((place, str(error)))
            return None

    base = base_of(asked.base, BASE_AT)
    tuned = None if asked.differential else base_of(asked.tuned, TUNED_AT)
    below = base if asked.differential else tuned
    adapter, remark = None, ""
    if asked.adapter:
        try:
            adapter = look_at_adapter(Path(asked.adapter))
        except (SwayError, OSError) as error:
            problems.append((ADAPTER_AT, str(error)))
    name = asked.base if asked.differential else asked.tuned
    if adapter is not None and below is not None and (wrong := misfit(adapter, below, name)):
        problems.append((ADAPTER_AT, wrong))
    if adapter is not None and name and not problems:
        remark = other_base(adapter, name)
    tokenizer, why = _tokenizer(below, adapter, name)
    return _Answer(base, tuned, adapter, tokenizer, why, remark, tuple(problems))


def _tokenizer(base: BaseFacts | None, adapter: AdapterFacts | None, name: str) -> tuple[TokenizerFile | None, str]:
    if base is None:
        return None, f"{name} is not on this disk, so its tokens are not known yet." if name else ""
    folder = tokenizer_folder(base.folder, adapter.folder if adapter else None)
    if folder is None:
        return None, "There is no tokenizer.json, so tokens can only be shown once the model is loaded."
    try:
        return _opened(folder, (folder / FILE).stat().st_mtime_ns), ""
    except (SwayError, OSError) as error:
        return None, f"{error}."


@lru_cache(maxsize=4)
def _opened(folder: Path, stamp: int) -> TokenizerFile:
    return TokenizerFile(folder)
