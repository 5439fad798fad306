"""A prompt asked by hand: the model that is loaded for it, the strength of the adapter, and the answer. No Panel.

The model lives in a process of its own, shared by all sessions that ask the same models; sessions pull its state and
their answers on their own tick.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import Future
from typing import Any

import param
import psutil

from sway_dash.core.detail import PromptDetail
from sway_dash.core.errors import SwayError
from sway_dash.core.scoring import NULL_STYLES, NullStyle, View
from sway_dash.probes.null_adapter import NullAdapterSpec
from sway_dash.suite.inspect_client import Answer, Inspector, Superseded
from sway_dash.suite.spec import SwaySpec

MAX_LAMBDA = 2.0
NEW_TOKENS = 24

_names = itertools.count()


class Probing(param.Parameterized):
    """One session's question. ``pull`` is the only place where anything comes in."""

    text = param.String(default="", doc="The prompt.")
    lam = param.Number(default=1.0, bounds=(0.0, MAX_LAMBDA), doc="Strength of the adapter.")
    state: str = param.Selector(  # type: ignore[assignment]
        default="none",
        objects=["none", "waiting", "starting", "ready", "busy", "failed", "ended"],
        doc="How the model is; none: nobody has asked for one.",
    )
    note = param.String(default="", doc="What the model waits for.")
    error = param.String(default="", doc="Why there is no model, or no answer.")
    facts = param.Dict(default={}, doc="What the model is.")
    memory = param.Integer(default=0, doc="Bytes its process holds.")
    seconds = param.Number(default=0.0, doc="How long the last answer took.")
    waited = param.Integer(default=0, doc="Whole seconds since the model was asked for; 0 once it is there.")
    detail = param.ClassSelector(class_=PromptDetail, default=None, allow_None=True, doc="The last answer.")
    asked = param.Tuple(default=("", 1.0), doc="Prompt and strength of the last answer.")
    noise: View | None = param.ClassSelector(  # type: ignore[assignment]
        class_=View, default=None, allow_None=True, doc="The random adapter in the tuned one's place."
    )
    asked_noise: View | None = param.ClassSelector(  # type: ignore[assignment]
        class_=View, default=None, allow_None=True, doc="The random adapter of the last answer."
    )

    def __init__(self, **params: object) -> None:
        super().__init__(**params)
        self._client = f"session-{next(_names)}"
        self._key = ""
        self._inspector: Inspector | None = None
        self._future: Future[Answer] | None = None
        self._question: tuple[str, float, View | None] | None = None
        self._noises: dict[NullStyle, View] = {}
        self._since = 0.0

    @property
    def loaded(self) -> bool:
        """There is a model, or there will be one."""
        return self.state in ("waiting", "starting", "ready", "busy")

    @property
    def noises(self) -> dict[NullStyle, View]:
        """The first random adapter of each distribution that the model can draw, those of its suite before others."""
        known = self.facts.get("null_styles") or ()
        return {style: view for style, view in self._noises.items() if style in known}

    def load(self, spec: SwaySpec) -> None:
        """Load the models of a suite, or share the process that holds them."""
        self.leave()
        self._key = spec.model_dump_json(include={"models": True, "defaults": {"seed", "differential"}})
        self._inspector, self._since = _acquire(self._key, spec), time.monotonic()
        self._question, self._noises = None, _noises(spec)
        self.param.update(error="", note="", detail=None, asked=("", 1.0), noise=None, asked_noise=None)
        self.pull()

    def unload(self) -> None:
        """End the model's process, for everybody: its memory is free again."""
        if self._inspector is not None:
            self._inspector.stop()
            _models.pop(self._key, None)
        self._inspector = self._future = None
        self.param.update(state="none", memory=0, note="", error="", facts={}, waited=0)

    def leave(self) -> None:
        """Ask no more; the process ends when nobody is left who asks."""
        if self._inspector is not None:
            _release(self._key, self._inspector)
        self._inspector = self._future = None
        self.state = "none"

    def ask(self, text: str) -> None:
        """Ask for a prompt, also for one that was asked for before."""
        self._question = None
        self.param.update(text=text, error="", detail=None)

    def pull(self) -> bool:
        """Take what has come in and send what has changed; False when there was nothing."""
        if self._inspector is None:
            return False
        state = self._inspector.state
        loading = state in ("new", "starting")
        found = {
            "state": "waiting" if state == "starting" and self._inspector.note else state.replace("new", "starting"),
            "note": self._inspector.note,
            "facts": self._inspector.facts,
            "memory": _memory(self._inspector.pid),
            "waited": int(time.monotonic() - self._since) if loading else 0,
            **self._answer(),
        }
        if state in ("failed", "ended"):
            found["error"] = self._inspector.error or "The model's process has ended."
        changed = {name: value for name, value in found.items() if value != getattr(self, name)}
        self.param.update(**changed)
        self._ask()
        return bool(changed)

    def _answer(self) -> dict[str, object]:
        if self._future is None or not self._future.done():
            return {}
        future, self._future = self._future, None
        try:
            answer = future.result()
        except Superseded:
            return {}
        except SwayError as error:
            return {"error": str(error)}
        text, lam, noise = self._question or ("", 1.0, None)
        told = {"asked": (text, lam), "asked_noise": noise, "error": ""}
        return {"detail": answer.detail, "seconds": answer.seconds, **told}

    def _ask(self) -> None:
        """Send the question when it is another one than the last; while an answer is due, the newest waits."""
        question = (self.text, float(self.lam) if self.noise is None else 1.0, self.noise)
        if not self.text.strip() or question == self._question or self._future is not None or not self.loaded:
            return
        assert self._inspector is not None
        self._question = question
        options: dict[str, Any] = {"new_tokens": NEW_TOKENS, "client": self._client}
        if self.noise is None:
            self._future = self._inspector.ask(self.text, lam=question[1], **options)
        else:
            self._future = self._inspector.ask_null(self.text, self.noise, **options)


def _noises(spec: SwaySpec) -> dict[NullStyle, View]:
    """The first draw of every ``null_adapter`` entry, one a distribution, then of distributions without an entry."""
    found: dict[NullStyle, View] = {}
    for entry in spec.suite:
        if entry.get("kind") != "null_adapter":
            continue
        try:
            null = NullAdapterSpec.model_validate(entry)
            scale = 1.0 if 1.0 in null.rank_multipliers else (null.rank_multipliers or (1.0,))[0]
            view = View.null(null.seed_base, init_scale=null.init_scale, rank_scale=scale, style=null.distribution)
        except ValueError:
            # What is wrong with an entry is told where the suite is run.
            continue
        found.setdefault(null.distribution, view)
    first = NullAdapterSpec(name="noise").seed_base
    return found | {style: View.null(first, style=style) for style in NULL_STYLES if style not in found}


_models: dict[str, tuple[Inspector, int]] = {}


def _acquire(key: str, spec: SwaySpec) -> Inspector:
    inspector, users = _models.get(key, (None, 0))
    if inspector is None or inspector.state in ("failed", "ended"):
        inspector, users = Inspector(spec).start(), 0
    _models[key] = (inspector, users + 1)
    return inspector


def _release(key: str, mine: Inspector) -> None:
    inspector, users = _models.get(key, (None, 0))
    if inspector is not mine:
        # Mine has ended, and somebody has loaded the same models again.
        return
    if users > 1:
        _models[key] = (inspector, users - 1)
        return
    del _models[key]
    inspector.stop()


def _memory(pid: int | None) -> int:
    """Bytes a process holds, in steps of 10 MB so that the screen is not always changing."""
    if pid is None:
        return 0
    try:
        return round(psutil.Process(pid).memory_info().rss / 1e7) * 10_000_000
    except psutil.Error:
        return 0
