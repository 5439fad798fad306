"""What a probe is: its settings, its registry, and what it may ask for while it runs.

A probe is a subclass of :class:`Probe` with a ``kind`` and a ``spec_cls``; defining the class registers it. It
measures a pair of views through ``ctx`` and judges the measurements; it knows neither files nor screens nor torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, ValidationError

from sway_dash.core.errors import Problem, RunCancelled, SpecValidationError, did_you_mean
from sway_dash.core.events import Event, Measurement
from sway_dash.core.result import ProbeResult
from sway_dash.core.scoring import (
    BASE,
    FINETUNED,
    DifferentialBackend,
    NoiseFloor,
    NullCalibratedBackend,
    Positions,
    ScalableDifferentialBackend,
    ScoringModel,
    View,
)
from sway_dash.core.sections import Section
from sway_dash.probes.tally import Tally

Bound = Literal["exact", "at least", "at most"]
"""What is told beforehand: just what comes, a part of it, or the most that may come."""

Category = Literal["adherence", "attribution", "calibration", "ablation", "baseline"]

SENTINEL_PROMPTS = (
    "The weather this morning is",
    "To make a good cup of tea, you",
    "My favourite thing about the city is",
    "In the year that followed, they",
)
"""Neutral prompts for calibrating a kind of which the suite has no entry of its own."""

SENTINEL_DOC = (
    "A river rises in the hills and runs east for a day's walk before it meets the sea.\n\n"
    "People have built mills along it for as long as anyone remembers, and most of them still stand."
)


class Prompt(BaseModel):
    """A prompt and its tags; in a suite file a plain string or ``{text, tags}``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field(min_length=1)
    tags: tuple[str, ...] = ()


def _as_prompt(value: Any) -> Any:
    if isinstance(value, str):
        return {"text": value}
    if isinstance(value, Prompt | Mapping):
        return value
    msg = f"a prompt is text or {{text, tags}}, not {type(value).__name__} ({value!r}); put it in quotes"
    raise ValueError(msg)


PromptField = Annotated[Prompt, BeforeValidator(_as_prompt)]


class ProbeSpec(BaseModel):
    """Settings every probe has; subclasses add their own. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    kind: str
    enabled: bool = True
    weight: Annotated[FiniteFloat, Field(ge=0.0)] = 1.0


def _ignore(event: Event) -> None:
    """Default receiver of events."""


def _go_on() -> bool:
    return False


@dataclass(frozen=True)
class RunContext:
    """What a probe may use while it runs.

    ``pair`` names the two views compared; null calibration passes the same probe another pair, with a ``backend``
    whose ``as_finetuned`` is that view, so a probe never knows the difference.
    """

    backend: DifferentialBackend | None = None
    seed: int = 0
    top_k: int = 256
    sections: Sequence[Section] | None = None
    doc_text: str | None = None
    null_stats: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    null_stats_by_rank: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)
    downstream_kinds: tuple[str, ...] = ()
    # Beyond the public fields:
    downstream: tuple[tuple[Probe, Any], ...] = ()
    """Enabled later entries, built: (probe, spec)."""
    null_draws: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    """Raw value of every null draw: entry name → rank key → draws."""
    null_distributions: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]] = field(default_factory=dict)
    """The same for every distribution of noise that was drawn: distribution → entry name → rank key → draws."""
    null_summaries: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Summaries of the draws: distribution → rank key, empty for the rank that counts → kind → summary."""
    noise: NoiseFloor | None = None
    """What the model lies from itself on this device in this dtype; ``None`` where it was not measured."""
    pair: tuple[View, View] = (BASE, FINETUNED)
    fingerprint: str = ""
    """Identifies base, adapter and dtype; part of every measurement's key."""
    emit: Callable[[Any], None] = _ignore
    cancelled: Callable[[], bool] = _go_on
    recall: Callable[[str], Measurement | None] = lambda key: None
    tally: Tally = field(default_factory=Tally, compare=False)
    """Where the answers to what a probe asks are counted."""
    keeps_part: bool = False
    """Whether a probe is to judge the part that was answered when the run is stopped, instead of nothing."""

    @property
    def require_backend(self) -> DifferentialBackend:
        """The backend; ``RuntimeError`` when the run has none."""
        if self.backend is None:
            msg = "this probe needs a model, but the run was started without a backend"
            raise RuntimeError(msg)
        return self.backend

    def checkpoint(self) -> None:
        """Raise :class:`RunCancelled` if somebody asked the run to stop."""
        if self.cancelled():
            raise RunCancelled


@dataclass(frozen=True, slots=True)
class Ask:
    """What a probe is going to ask of a backend: to compare views with the base on prompts."""

    views: tuple[View, ...]
    prompts: tuple[str, ...]
    positions: Positions = "next"
    continuation_tokens: int = 32
    top_k: int | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """About how much a probe puts before each view where it cannot say what it is going to ask."""

    texts: int = 0
    tokens: int = 0
    """Tokens written in answer to all of them, at most."""


class Probe(ABC):
    """A measurement a suite can ask for.

    ``run`` does everything. A probe that keeps measuring and judging apart overrides ``judge`` as well: then a stopped
    run still gets a result over what was measured, and thresholds can be changed without measuring again.
    """

    kind: ClassVar[str]
    spec_cls: ClassVar[type[ProbeSpec]] = ProbeSpec
    category: ClassVar[Category] = "adherence"
    needs_backend: ClassVar[bool] = True
    batch_score: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        kind = cls.__dict__.get("kind")
        if isinstance(kind, str):
            other = _REGISTRY.get(kind)
            if other is not None:
                msg = f"duplicate probe kind {kind!r}: {other.__qualname__} and {cls.__qualname__}"
                raise ValueError(msg)
            _REGISTRY[kind] = cls

    @abstractmethod
    def run(self, spec: Any, ctx: RunContext) -> ProbeResult:
        """Measure and judge."""

    def judge(self, spec: Any, ctx: RunContext, measurements: Sequence[Measurement]) -> ProbeResult | None:
        """Judge measurements taken earlier, without a backend; ``None`` if this probe cannot."""
        return None

    def planned(self, spec: Any, ctx: RunContext) -> int:
        """How many measurement events ``run`` emits when nothing goes wrong; 0 if it emits none."""
        return 0

    def asks(self, spec: Any, ctx: RunContext) -> Sequence[Ask]:
        """What ``run`` asks of the backend, in order; needs no model. Empty if this probe cannot say."""
        return ()

    def asks_bound(self, spec: Any) -> Bound:
        """Whether :meth:`asks` is all that ``run`` asks, only what is known beforehand, or the most."""
        return "exact"

    def work(self, spec: Any, ctx: RunContext) -> Work:
        """About what ``run`` puts before each of its two views beside what it :meth:`asks`; needs no model."""
        return Work()

    def answers(self, spec: Any, ctx: RunContext) -> int:
        """How many answers of both views ``run`` asks for, as far as :meth:`work` tells."""
        return 2 * self.work(spec, ctx).texts

    def draw_answers(self, spec: Any, ctx: RunContext) -> int:
        """How many answers :meth:`draw_null` asks for, a draw."""
        return self.answers(spec, ctx)

    def open_ended(self, spec: Any, ctx: RunContext) -> bool:
        """Whether ``run`` takes time that :meth:`planned` and :meth:`answers` do not tell, as writing texts does."""
        if not self.needs_backend or self.planned(spec, ctx):
            return False
        work = self.work(spec, ctx)
        return not work.texts or work.tokens > 0

    @classmethod
    def calibrate_spec(cls, ctx: RunContext) -> ProbeSpec | None:
        """Small settings for a null run when the suite has no entry of this kind; ``None`` opts out of nulls."""
        return None

    def draw_null(self, spec: Any, ctx: RunContext, views: Sequence[View]) -> dict[View, float]:
        """Raw value of this entry with each null view in the adapter's place; views without a value are left out."""
        out: dict[View, float] = {}
        for view in views:
            ctx.checkpoint()
            pair_ctx = replace(
                ctx,
                backend=ViewPair(ctx.require_backend, BASE, view),
                seed=view.seed,
                pair=(BASE, view),
                null_stats={},
                null_stats_by_rank={},
                null_draws={},
                null_distributions={},
                downstream_kinds=(),
                downstream=(),
                emit=_ignore,
                # A draw over other items than the value it is compared with is none.
                keeps_part=False,
            )
            raw = self.run(spec, pair_ctx).raw
            if raw is not None:
                out[view] = raw
        return out


_REGISTRY: dict[str, type[Probe]] = {}


def registry() -> dict[str, type[Probe]]:
    """Return a copy of the known kinds and their classes."""
    return dict(_REGISTRY)


def build_probe(raw: Mapping[str, Any]) -> tuple[Probe, ProbeSpec]:
    """Make a probe and its settings from an entry of a suite file; ``SpecValidationError`` says what is wrong."""
    source = str(raw.get("name") or "<unknown>")
    kind = raw.get("kind")
    if not isinstance(kind, str):
        msg = f"missing string 'kind'; known kinds: {', '.join(sorted(_REGISTRY))}"
        raise SpecValidationError(msg, source=source)
    cls = _REGISTRY.get(kind)
    if cls is None:
        hint = did_you_mean(kind, _REGISTRY)
        msg = f"unknown probe kind {kind!r}.{hint} Known kinds: {', '.join(sorted(_REGISTRY))}"
        raise SpecValidationError(msg, source=source)
    try:
        return cls(), cls.spec_cls.model_validate(dict(raw))
    except ValidationError as error:
        problems = field_problems(error, lambda loc: _model_at(cls.spec_cls, loc))
        text = "; ".join(f"{dotted(loc)}: {message}" for loc, message in problems)
        raise SpecValidationError(text, source=source, problems=problems) from None


def _model_at(root: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel]:
    """The model that holds the last step of ``loc``: the settings themselves, a prompt, a case."""
    model = root
    for step in loc[:-1]:
        if isinstance(step, str) and step in model.model_fields:
            model = next(_models(model.model_fields[step].annotation), model)
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model an annotation speaks of, such as the items of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def field_problems(
    error: ValidationError, model_of: Callable[[tuple[str | int, ...]], type[BaseModel]]
) -> list[Problem]:
    """List what pydantic found wrong, in plain words; unknown keys get a suggestion from ``model_of(place)``."""
    found: list[Problem] = []
    for item in error.errors(include_url=False):
        loc = tuple(item["loc"])
        if item["type"] == "extra_forbidden":
            known = model_of(loc).model_fields
            message = f"unknown key.{did_you_mean(str(loc[-1]), known)} Known keys: {', '.join(known)}"
        elif item["type"] == "missing":
            message = "is required"
        elif item["type"] == "string_too_short":
            message = "is empty: write something or remove it"
        elif item["type"] in ("tuple_type", "list_type"):
            message = f"must be a list, not {_kind_of(item.get('input'))}"
        elif item["type"] == "dict_type":
            message = f"must be a mapping, not {_kind_of(item.get('input'))}"
        elif item["type"] == "too_short":
            context = item["ctx"]
            message = f"needs at least {context['min_length']} items, has {context['actual_length']}"
        else:
            given = item.get("input")
            # Somebody may have written the key itself where its variable is named.
            secret = loc[-1:] == ("key_env",)
            simple = isinstance(given, str | int | float | bool) and len(repr(given)) < 60 and not secret
            message = item["msg"].removeprefix("Value error, ") + (f" (got {given!r})" if simple else "")
        found.append((loc, message))
    return found


def _kind_of(value: Any) -> str:
    """What a wrong value is, in the words of a suite file."""
    if value is None:
        return "nothing (null)"
    names = {bool: "true or false", int: "a number", float: "a number", str: f"text ({value!r:.40})"}
    return names.get(type(value), "a mapping" if isinstance(value, Mapping) else "a list")


def dotted(loc: Sequence[str | int]) -> str:
    """``("suite", 1, "prompts", 3)`` → ``"suite[1].prompts[3]"``."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def validate_all_probes(entries: Sequence[Mapping[str, Any]]) -> None:
    """Check every entry and raise one ``SpecValidationError`` that names each that fails."""
    problems = []
    for index, raw in enumerate(entries):
        try:
            build_probe(raw)
        except SpecValidationError as error:
            name = raw.get("name")
            label = name if isinstance(name, str) and name else f"entry #{index}"
            problems.append(f"{label}: {str(error).removeprefix(f'{error.source}: ')}")
    if problems:
        raise SpecValidationError("\n".join(problems))


class ViewPair:
    """A ``DifferentialBackend`` whose two sides are any two views of another backend.

    Null calibration runs a probe on ``ViewPair(backend, BASE, View.null(seed))``. Offers neither scaling nor nulls, so
    a probe that needs them opts out instead of recursing.
    """

    def __init__(self, inner: DifferentialBackend, reference: View, tuned: View) -> None:
        self._inner, self._reference, self._tuned = inner, reference, tuned

    def as_base(self) -> AbstractContextManager[ScoringModel]:
        """The reference view."""
        return enter(self._inner, self._reference)

    def as_finetuned(self) -> AbstractContextManager[ScoringModel]:
        """The other view."""
        return enter(self._inner, self._tuned)


@contextmanager
def enter(backend: DifferentialBackend, view: View) -> Iterator[ScoringModel]:
    """Activate a view through the public protocol methods. ``TypeError`` if the backend has no such view."""
    manager: AbstractContextManager[ScoringModel]
    if view.kind in ("base", "ft"):
        manager = backend.as_base() if view.kind == "base" else backend.as_finetuned()
    elif view.kind == "scaled" and isinstance(backend, ScalableDifferentialBackend):
        manager = backend.as_scaled_adapter(view.lam)
    elif view.kind == "null" and isinstance(backend, NullCalibratedBackend):
        # Backends of the public protocol know no styles.
        style = {} if view.style == "gaussian" else {"style": view.style}
        manager = backend.as_null_adapter(view.seed, init_scale=view.init_scale, rank_scale=view.rank_scale, **style)
    else:
        msg = f"{type(backend).__name__} has no {view.kind} view"
        raise TypeError(msg)
    with manager as scorer:
        yield scorer
