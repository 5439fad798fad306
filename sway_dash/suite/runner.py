"""From a suite to a result: the one place that orders the work, fences failures and tells what happens."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sway_dash import __version__
from sway_dash.backends.instrumentation import BackendInstrumentation, TraceWriter
from sway_dash.core.determinism import DeterminismSummary, leave_everything, seed_everything
from sway_dash.core.errors import BackendNotAvailableError, ProbeError, RunCancelled, SwayError
from sway_dash.core.events import (
    TERMINAL,
    CacheAccess,
    Event,
    Measurement,
    ModelReady,
    NoiseMeasured,
    Phase,
    ProbeFinished,
    RunCancelledEvent,
    RunFailed,
    RunFinished,
    RunStarted,
    Warned,
)
from sway_dash.core.result import ProbeResult, SuiteResult, Verdict
from sway_dash.core.scoring import (
    DifferentialBackend,
    IdentityCheckable,
    NoiseFloor,
    NoiseMeasurable,
    PreflightCheckable,
)
from sway_dash.core.sections import Section
from sway_dash.core.steps import listening
from sway_dash.probes.base import Probe, ProbeSpec, RunContext
from sway_dash.probes.null_adapter import get_null_stats as get_null_stats
from sway_dash.probes.tally import Tally
from sway_dash.suite.document import Document
from sway_dash.suite.environment import environment_of
from sway_dash.suite.fold import PREFLIGHT, Fold, as_part, probe_to_dict, with_null
from sway_dash.suite.idle import lacking
from sway_dash.suite.loader import check_entries
from sway_dash.suite.plan import later, plan
from sway_dash.suite.spec import SwaySpec

OnEvent = Callable[[Event], None]
OpenBackend = Callable[[], DifferentialBackend | None]
Given = tuple[str | None, Sequence[Section] | None]
"""Text of the document and its sections."""


def run(
    spec: SwaySpec,
    backend: DifferentialBackend | None,
    *,
    spec_path: str = "<memory>",
    doc_text: str | None = None,
    sections: Sequence[Section] | None = None,
    skip_preflight: bool = False,
    trace_path: Path | None = None,
    on_event: OnEvent | None = None,
    cancel: Callable[[], bool] | None = None,
    recall: Mapping[str, Measurement] | None = None,
    run_id: str = "",
) -> SuiteResult:
    """Run a suite on a backend the caller has opened and will close.

    Parameters
    ----------
    on_event
        Called with every event, in order, on the calling thread.
    cancel
        Asked between batches; once it says True the run stops and the result holds what was measured.
    recall
        Measurements of an earlier attempt by key; they are not taken again.

    Raises
    ------
    SpecValidationError
        If an entry is wrong; nothing has been run then.
    BackendNotAvailableError
        If ``backend`` is None and an enabled probe needs one.
    KeyboardInterrupt
        Passed on after the partial result has been emitted.
    """
    return _Run(spec, spec_path, on_event, cancel, recall, run_id, trace_path).execute(
        lambda: backend, lambda: (doc_text, sections), skip_preflight, opened=True
    )


def run_opening(
    spec: SwaySpec,
    open_backend: OpenBackend,
    *,
    spec_path: str = "<memory>",
    trace_path: Path | None = None,
    on_event: OnEvent | None = None,
    cancel: Callable[[], bool] | None = None,
    recall: Mapping[str, Measurement] | None = None,
    run_id: str = "",
    on_backend: Callable[[DifferentialBackend], None] | None = None,
    seeding: bool = True,
    document: Callable[[], Document | None] = lambda: None,
) -> SuiteResult:
    """Like :func:`run`, but loading the model is part of the run: it has its phase, and failing it is an event.

    So is reading the document, which comes first: what is wrong with it is known before the model is loaded.
    Without ``seeding`` the process's random generators and settings are left alone: it is not ours.
    """

    def opening() -> DifferentialBackend | None:
        backend = open_backend()
        if backend is not None and on_backend is not None:
            on_backend(backend)
        return backend

    def reading() -> Given:
        found = document()
        return (None, None) if found is None else (found.text, found.sections)

    return _Run(spec, spec_path, on_event, cancel, recall, run_id, trace_path, seeding=seeding).execute(
        opening, reading, False, opened=False
    )


class _Run:
    """One attempt at a suite: stamps events, folds them, passes them on."""

    def __init__(
        self,
        spec: SwaySpec,
        spec_path: str,
        on_event: OnEvent | None,
        cancel: Callable[[], bool] | None,
        recall: Mapping[str, Measurement] | None,
        run_id: str,
        trace_path: Path | None,
        *,
        seeding: bool = True,
    ) -> None:
        self.spec, self.spec_path, self.run_id = spec, spec_path, run_id
        self.seeding = seeding
        self.on_event, self.cancel, self.recall = on_event, cancel or (lambda: False), recall or {}
        self.entries: list[tuple[Probe, ProbeSpec]] = check_entries(spec)
        self.fold = Fold()
        self.determinism: DeterminismSummary
        self.seq = 0
        self.stats: dict[str, Any] = {}
        self.noise: NoiseFloor | None = None
        self.trace = TraceWriter(trace_path)
        self.trace_error: str | None = None

    def emit(self, event: Any) -> None:
        """Stamp an event and hand it to the fold, the trace file and the listener."""
        if isinstance(event, TERMINAL):
            # What is still buffered may fail to reach the disk: to be said before the last event.
            self.trace.close()
            self._tell_trace_error()
        self.seq += 1
        stamp: dict[str, Any] = {"seq": self.seq}
        if not event.ts or isinstance(event, Measurement):
            stamp["ts"] = time.time()
        event = event.model_copy(update=stamp)
        if isinstance(event, CacheAccess):
            self.trace.write(event)
        else:
            self.fold.add(event)
        if self.on_event is not None:
            self.on_event(event)
        if isinstance(event, CacheAccess):
            self._tell_trace_error()

    def _tell_trace_error(self) -> None:
        if self.trace.error and not self.trace_error:
            self.trace_error = self.trace.error
            self.emit(Warned(message=self.trace.error))

    def execute(
        self,
        open_backend: OpenBackend,
        read_document: Callable[[], Given],
        skip_preflight: bool,
        *,
        opened: bool,
    ) -> SuiteResult:
        needing = sorted({p.kind for p, s in self.entries if s.enabled and p.needs_backend})
        # Before the first backend call: what a backend draws while loading is seeded too.
        self.determinism = self._seed()
        self.emit(self._started())
        try:
            doc_text, sections = read_document()
            for name, said in lacking(self.entries, sections or (), doc_text or ""):
                self.emit(Warned(message=said, probe=name))
            if not opened:
                self._loading()
            with listening(self._loading) if not opened else nullcontext():
                backend = open_backend() if needing or opened else None
            if backend is None and needing:
                hint = f"the suite has probes that need a model: {', '.join(needing)}"
                raise BackendNotAvailableError("none", extra="hf", hint=hint)
            if not opened:
                # Loading may have imported torch; seed it, too, and say what that changes.
                self.determinism = self._seed()
            self._measure(backend, doc_text, sections, skip_preflight)
        except RunCancelled:
            self.emit(RunCancelledEvent(backend_stats=self.stats, reason="stopped"))
        except KeyboardInterrupt:
            self.emit(RunCancelledEvent(backend_stats=self.stats, reason="interrupted"))
            raise
        except Exception as error:
            known = isinstance(error, SwayError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            trace = "" if known else traceback.format_exc()
            self.emit(RunFailed(message=text, traceback=trace, backend_stats=self.stats))
            raise
        else:
            self.emit(RunFinished(backend_stats=self.stats))
        finally:
            self.trace.close()
        return self.fold.result()

    def _seed(self) -> DeterminismSummary:
        seed = self.spec.defaults.seed
        return seed_everything(seed, strict=True) if self.seeding else leave_everything(seed)

    def _measure(
        self,
        backend: DifferentialBackend | None,
        doc_text: str | None,
        sections: Sequence[Section] | None,
        skip_preflight: bool,
    ) -> None:
        environment = environment_of(backend)
        self.emit(ModelReady(environment=environment, determinism=_as_dict(self.determinism)))
        ctx = RunContext(
            backend=backend,
            seed=self.spec.defaults.seed,
            top_k=self.spec.defaults.top_k,
            sections=sections,
            doc_text=doc_text,
            fingerprint=str(environment.get("fingerprint") or ""),
            emit=self.emit,
            cancelled=self.cancel,
            recall=lambda key: self.recall.get(key) if key else None,
        )
        inst: BackendInstrumentation | None = getattr(backend, "instrumentation", None)
        if inst is None:
            if self.trace.path is not None and backend is not None:
                self.emit(Warned(message=f"no trace is written: {type(backend).__name__} keeps no record of its calls"))
            self._preflight_and_probes(ctx, None, skip_preflight)
            return
        stats = None
        try:
            with inst.attached(self.emit) as stats:
                self._preflight_and_probes(ctx, inst, skip_preflight)
        finally:
            # Not inside: evictions are known when the run lets go of the cache.
            self.stats = stats.to_dict() if stats is not None else {}

    def _preflight_and_probes(self, ctx: RunContext, inst: BackendInstrumentation | None, skip_preflight: bool) -> None:
        label = inst.set_current_probe if inst else _no_label
        if not skip_preflight and ctx.backend is not None:
            label(None, phase="preflight")
            if not self._preflight(ctx):
                return
            ctx = replace(ctx, noise=self.noise)
        for index, (probe, spec) in enumerate(self.entries):
            if not spec.enabled:
                message = "disabled in the suite file (enabled: false)"
                self._finish(ProbeResult(spec.name, spec.kind, Verdict.SKIP, None, message=message))
                continue
            self._stop_if_asked()
            self.emit(Phase(phase="probe", name=spec.name))
            label(spec.name, phase="calibration" if spec.kind == "null_adapter" else "probe")
            tally = Tally(spec.name, self.emit)
            own = replace(ctx, tally=tally, keeps_part=True, **later(self.entries, index))
            result = self._run_probe(probe, spec, own)
            if tally.short is not None:
                # Too little for a result is nothing that went wrong.
                if result.verdict not in (Verdict.ERROR, Verdict.SKIP):
                    done, planned = tally.short
                    items = "items" if done < planned else "items, though not in every step"
                    self._finish(as_part(result, done, planned, items))
                raise RunCancelled
            self._finish(result)
            if spec.kind == "null_adapter":
                ctx = with_null(ctx, result)

    def _run_probe(self, probe: Probe, spec: ProbeSpec, ctx: RunContext) -> ProbeResult:
        """Run one probe behind a fence: its failure is its own row, the others go on."""
        start = time.perf_counter()
        try:
            result = probe.run(spec, ctx)
        except ProbeError as error:
            result = ProbeResult(spec.name, spec.kind, Verdict.ERROR, None, message=str(error))
        except Exception as error:
            evidence = {"traceback": traceback.format_exc()}
            message = f"{type(error).__name__}: {error}"
            result = ProbeResult(spec.name, spec.kind, Verdict.ERROR, None, evidence=evidence, message=message)
        return replace(result, duration_s=time.perf_counter() - start)

    def _preflight(self, ctx: RunContext) -> bool:
        """Check both views; False when the model is not fit to be measured."""
        backend: Any = ctx.backend
        self.emit(Phase(phase="preflight"))
        if isinstance(backend, PreflightCheckable):
            start = time.perf_counter()
            ok, reason = backend.preflight_finite_check()
            if not ok:
                row = ProbeResult(
                    PREFLIGHT,
                    "preflight",
                    Verdict.ERROR,
                    None,
                    evidence={"preflight_reason": reason},
                    message=f"preflight failed: {reason}",
                    duration_s=time.perf_counter() - start,
                )
                self._finish(row)
                return False
        if isinstance(backend, IdentityCheckable) and (causes := backend.identical_views()):
            message = "base and tuned give identical logits: the adapter changes nothing"
            self.emit(Warned(message=message, causes=tuple(causes)))
        if isinstance(backend, NoiseMeasurable):
            self._stop_if_asked()
            try:
                noise = backend.noise_floor(self._prompts(ctx))
            except Exception as error:
                # It judges nothing: the probes go on without it.
                self.emit(Warned(message=f"the noise floor was not measured: {type(error).__name__}: {error}"))
            else:
                self.noise = noise
                if noise is not None:
                    self.emit(NoiseMeasured(prompts=noise.prompts, js=noise.js, kl=noise.kl))
        return True

    def _prompts(self, ctx: RunContext) -> list[str]:
        """Every prompt of the suite, as far as its probes can say."""
        found: list[str] = []
        for probe, spec in self.entries:
            # Here a probe that fails only has no prompts; it says why when its turn comes.
            with suppress(Exception):
                found += [p for ask in probe.asks(spec, ctx) if spec.enabled for p in ask.prompts]
        return found

    def _finish(self, result: ProbeResult) -> None:
        self.emit(ProbeFinished(result=probe_to_dict(result)))

    def _loading(self, step: str = "") -> None:
        """A part of loading begins; the moment between two parts is one to stop in."""
        self.emit(Phase(phase="loading", name=self.spec.models.ft.base, detail=self._adapter(), step=step))
        self._stop_if_asked()

    def _stop_if_asked(self) -> None:
        if self.cancel():
            raise RunCancelled

    def _adapter(self) -> str:
        return str(self.spec.models.ft.adapter or "")

    def _started(self) -> RunStarted:
        return RunStarted(
            run_id=self.run_id,
            spec_path=self.spec_path,
            base_model_id=self.spec.models.base.base,
            adapter_id=self._adapter(),
            sway_version=__version__,
            seed=self.spec.defaults.seed,
            determinism=_as_dict(self.determinism),
            # Before anything can fail: a run that ends while it loads tells on what.
            environment=environment_of(None),
            probes=plan(self.spec, self.entries),
            resumed=bool(self.recall),
        )


def _as_dict(summary: DeterminismSummary) -> dict[str, Any]:
    return {"class": summary.class_, "seed": summary.seed, "notes": list(summary.notes)}


def _no_label(name: str | None, *, phase: str = "probe") -> None:
    """A backend without instrumentation has nothing to label."""
