"""What happens during a run, as one ordered stream of small frozen records.

Everything a report or a screen shows is a fold over these. Each record has a sequence number and a time; files
hold one record a line. ``CacheAccess`` goes to ``trace.jsonl``, all others to ``events.jsonl``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter

EVENT_SCHEMA = 1


class _Event(BaseModel):
    # Unknown keys are ignored, so that an older program reads what it knows of a newer run.
    model_config = ConfigDict(frozen=True, extra="ignore")

    seq: int = 0
    ts: float = 0.0
    """Unix seconds."""


class PlannedProbe(BaseModel):
    """One entry of a suite as it is going to run."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    kind: str
    category: str
    enabled: bool = True
    entry: dict[str, Any] = Field(default_factory=dict)
    """The raw entry of the suite file."""
    measurements: int = 0
    """How many measurement events the probe will emit when nothing goes wrong."""
    answers: int = 0
    """How many answers of both views it will ask for (:class:`Answered`), as far as that is known beforehand."""
    open_ended: bool = False
    """Whether it takes time beside them that nobody can tell beforehand."""


class RunStarted(_Event):
    """Who measures what, with which software."""

    type: Literal["run_started"] = "run_started"
    schema_version: int = EVENT_SCHEMA
    run_id: str = ""
    spec_path: str = ""
    base_model_id: str = ""
    adapter_id: str = ""
    sway_version: str = ""
    seed: int = 0
    determinism: dict[str, Any] | None = None
    environment: dict[str, Any] = Field(default_factory=dict)
    """Machine and software; what is known of the model follows in :class:`ModelReady`."""
    probes: tuple[PlannedProbe, ...] = ()
    resumed: bool = False
    """This is another attempt at the same run: what was measured before is taken over, not measured again."""


class Phase(_Event):
    """A named step has begun: loading, preflight, or a probe."""

    type: Literal["phase"] = "phase"
    phase: Literal["loading", "preflight", "probe"]
    name: str = ""
    detail: str = ""
    step: str = ""
    """Named part of loading: packages, weights, tokenizer, adapter."""


class ModelReady(_Event):
    """The model is in memory; what exactly it is (``Describable.describe`` and package versions)."""

    type: Literal["model_ready"] = "model_ready"
    environment: dict[str, Any] = Field(default_factory=dict)
    determinism: dict[str, Any] | None = None
    """How repeatable the run is, now that its libraries are loaded."""


class NoiseMeasured(_Event):
    """How far the same model lies from itself (``NoiseFloor``): divergences up to this are rounding. Nats."""

    type: Literal["noise"] = "noise"
    prompts: int
    js: FiniteFloat
    kl: FiniteFloat


class Measurement(_Event):
    """One prompt under one pair of views. Divergences in nats.

    ``view`` is the id of the view compared with ``reference``. ``role`` says why it was measured: ``probe`` for the
    probe's own value, ``null`` for a draw of its null, ``ablation`` for another adapter strength.
    """

    type: Literal["measurement"] = "measurement"
    probe: str
    item: int
    prompt: str
    tags: tuple[str, ...] = ()
    reference: str = "base"
    view: str = "ft"
    role: Literal["probe", "null", "ablation"] = "probe"
    lam: FiniteFloat | None = None
    key: str = ""
    """Content key: equal keys mean the same measurement."""
    reused: bool = False
    js: FiniteFloat
    kl: FiniteFloat
    kl_reverse: FiniteFloat
    same_top: FiniteFloat
    n_positions: int = 1
    per_position: tuple[FiniteFloat, ...] = ()
    ci: tuple[FiniteFloat, FiniteFloat] | None = None
    """95 % interval of this prompt's JS over its positions."""
    exact: bool = True
    error_bound: FiniteFloat = 0.0
    truncated_tokens: int = 0
    base_top: tuple[tuple[str, int, FiniteFloat], ...] = ()
    tuned_top: tuple[tuple[str, int, FiniteFloat], ...] = ()
    """Most likely next tokens: text, id, probability."""
    continuation: str = ""
    reference_positions: int = 0
    """How many of ``per_position`` lie along the reference's continuation; the rest along the view's own."""
    common_tokens: int = 0
    """How many tokens both continuations begin with together."""
    top_k: int = 0
    """How many tokens the shorter of both lists held; 0 where whole vocabularies were compared."""
    covered: FiniteFloat = 1.0
    """Probability of the tokens known from both sides, on the side where it is less."""


class ItemFailed(_Event):
    """One prompt could not be measured; the others go on."""

    type: Literal["item_failed"] = "item_failed"
    probe: str
    item: int
    prompt: str
    view: str = "ft"
    message: str = ""


class Answered(_Event):
    """Answers have come to a probe that asks both views for more than divergences: texts scored, prompts continued."""

    type: Literal["answered"] = "answered"
    probe: str
    new: int
    """Since the last such event; 0 where more is going to be asked."""
    done: int
    total: int
    """All that is known to be asked by now, both views together."""


class CacheAccess(_Event):
    """One look-up in the scoring cache: the public trace record plus phase and batch size.

    ``ts`` is the end of the call, ``wall_ms`` its share of the batch it ran in.
    """

    type: Literal["cache_access"] = "cache_access"
    probe: str | None = None
    view_id: str = ""
    prompt_hash: str = ""
    top_k: int = 0
    op: str = ""
    wall_ms: FiniteFloat = 0.0
    hit: bool = False
    phase: str = "probe"
    batch: int = 1


class ProbeFinished(_Event):
    """A probe has its result (all fields of ``ProbeResult``, JSON-ready)."""

    type: Literal["probe_finished"] = "probe_finished"
    result: dict[str, Any]


class Warned(_Event):
    """Something the reader of the numbers should know."""

    type: Literal["warning"] = "warning"
    message: str
    causes: tuple[str, ...] = ()
    """Likely causes, most likely first."""
    probe: str | None = None

    @property
    def text(self) -> str:
        """The message with its causes, for places that have one line."""
        ranked = "; ".join(f"({i}) {cause}" for i, cause in enumerate(self.causes, start=1))
        return f"{self.message}. Most likely: {ranked}" if ranked else self.message


class RunFinished(_Event):
    """All probes are done."""

    type: Literal["run_finished"] = "run_finished"
    backend_stats: dict[str, Any] = Field(default_factory=dict)


class RunCancelledEvent(_Event):
    """The run was stopped; what was measured until then is kept."""

    type: Literal["run_cancelled"] = "run_cancelled"
    backend_stats: dict[str, Any] = Field(default_factory=dict)
    reason: str = "stopped"


class RunFailed(_Event):
    """The run ended before it could measure anything more."""

    type: Literal["run_failed"] = "run_failed"
    message: str
    traceback: str = ""
    backend_stats: dict[str, Any] = Field(default_factory=dict)


Event = Annotated[
    RunStarted
    | Phase
    | ModelReady
    | NoiseMeasured
    | Measurement
    | ItemFailed
    | Answered
    | CacheAccess
    | ProbeFinished
    | Warned
    | RunFinished
    | RunCancelledEvent
    | RunFailed,
    Field(discriminator="type"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Reads one record: ``EVENT.validate_json(line)``."""

TERMINAL = (RunFinished, RunCancelledEvent, RunFailed)
"""After one of these nothing follows."""
