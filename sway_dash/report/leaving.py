"""A result as it leaves this machine: what JSON, Markdown and JUnit are written from, redacted as in every report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sway_dash.core.events import ModelReady, ProbeFinished, RunStarted, Warned
from sway_dash.report.html.redact import Redaction, Veil
from sway_dash.report.html.source import Source, source_of
from sway_dash.suite.fold import probe_from_dict, probe_to_dict

if TYPE_CHECKING:
    from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore
    from sway_dash.figures.opened import Run
    from sway_dash.suite.gate import Gate


def leaving(
    suite: SuiteResult,
    score: SwayScore,
    gate: Gate | None = None,
    *,
    run: Run | None = None,
    redact: Redaction = "full",
    paths: bool = False,
) -> tuple[SuiteResult, SwayScore, Gate | None]:
    """What leaves of a result, its score and the decision on it.

    Parameters
    ----------
    run
        Where the result is from: its prompts have to be known to be named. Not asked for where nothing is hidden.
    redact
        What is left out; see :mod:`sway_dash.report.html.redact`.
    paths
        Keep paths and the name of the user, which otherwise never leave.
    """
    hidden = redact != "full"
    veil = Veil(source_of(suite if run is None else run) if hidden else Source("", "", ()), redact, paths=paths)

    def probe(found: ProbeResult) -> ProbeResult:
        event = veil.event(ProbeFinished(result=probe_to_dict(found)))
        return probe_from_dict(event.result) if isinstance(event, ProbeFinished) else found

    def messages(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(told for text in texts if (told := veil.message(text)))

    names = ("spec_path", "base_model_id", "adapter_id", "run_id")
    started = veil.event(RunStarted(**{name: getattr(suite, name) for name in names}))
    ready = veil.event(ModelReady(environment=suite.environment))
    said = [veil.event(Warned(message=text)) for text in suite.warnings]
    det = suite.determinism
    told = replace(
        suite,
        **{name: getattr(started, name) for name in names},
        probes=tuple(map(probe, suite.probes)),
        determinism=det and replace(det, notes=messages(det.notes)),
        environment=ready.environment if isinstance(ready, ModelReady) else {},
        warnings=tuple(w.message for w in said if isinstance(w, Warned)),
    )
    decided = gate and replace(gate, reasons=messages(gate.reasons) or (gate.reasons and ("not told",)))
    return told, replace(score, findings=messages(score.findings)), decided
