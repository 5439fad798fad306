"""One run under the command line: progress, Ctrl-C, the report, the files, the exit code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from sway_dash.cli.boundary import NOTHING, OK, USAGE, complain, note, os_sentence, out_console
from sway_dash.cli.outputs import STDOUT, Outputs, write_bytes
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.cli.interrupt import StopSwitch
    from sway_dash.core.result import SuiteResult, SwayScore
    from sway_dash.suite.fold import Fold
    from sway_dash.suite.gate import Gate
    from sway_dash.suite.store import RunFolder


@dataclass(slots=True)
class Attempt:
    """What became of a run: its state as the events tell it, and why it ended early, if it did."""

    state: Fold
    failure: SwayError | OSError | None = None
    interrupted: bool = False


def measure(
    folder: RunFolder,
    *,
    outputs: Outputs,
    weights: dict[str, float] | None = None,
    device: str | None = None,
    resume: bool = False,
    details: int,
    wait: bool = True,
    decide: Callable[[SuiteResult, SwayScore], Gate] | None = None,
) -> int:
    """Run a folder with progress and Ctrl-C, report what came out, say where it lies; return the exit code.

    With ``wait`` not before whoever measures on its device has ended.

    ``decide`` makes a gate of it: its decision is shown and written with the result, and is the exit code.
    """
    from sway_dash.cli.interrupt import StopSwitch
    from sway_dash.suite.execute import folder_spec
    from sway_dash.suite.score import compute

    spec = folder_spec(folder)
    used = weights or spec.defaults.score_weights
    told: list[tuple[SuiteResult, SwayScore, Gate | None]] = []

    def tell(state: Fold) -> None:
        """Print what came out, once: before token details are recorded, if they are, for they may take longer."""
        if told:
            return
        result = state.result()
        score = compute(result, weights=used)
        gate = None if decide is None else decide(result, score)
        told.append((result, score, gate))
        if weights is not None and not folder.error:
            _rescore(folder, result, score)
        _tell(folder, result, score, gate, outputs)

    with StopSwitch() as stop:
        attempt = _at_turn(
            folder,
            stop,
            lambda: _attempt(folder, stop, device=device, resume=resume, details=details, tell=tell),
            device=device,
            wait=wait,
        )
        why = attempt.failure
        said = os_sentence(why) if isinstance(why, OSError) else str(why)
        if why is not None and not resume and _met_nobody(attempt.state, served=spec.models.ft.kind == "api"):
            # There is nothing to look at, nor to go on with.
            complain(said)
            shutil.rmtree(folder.path, ignore_errors=True)
            outputs.refuse("run" if decide is None else "gate", said)
            return USAGE
        tell(attempt.state)
        result, score, gate = told[0]
        # A run that could not start says nothing, a failed or stopped one says so in its files.
        written = attempt.state.started is None or outputs.write(result, score, gate)
        if folder.error:
            complain(f"the run folder is incomplete: {folder.error}")
        if why is not None:
            complain(said)
        note(f"run: {folder.path}")
        if result.status == "cancelled":
            note(f"the run was stopped; go on with: sway-dash run --resume {folder.id}")
    if attempt.failure is not None:
        return USAGE
    if stop.requested() or attempt.interrupted or result.status == "cancelled":
        return stop.code
    if gate is not None and not gate.passed:
        return NOTHING
    return OK if written and not folder.error else USAGE


def _met_nobody(state: Fold, *, served: bool) -> bool:
    """Whether a run has left not one event, or did not reach the servers it was to ask."""
    return state.started is None or (served and not state.ready)


def _at_turn(
    folder: RunFolder, stop: StopSwitch, attempt: Callable[[], Attempt], *, device: str | None, wait: bool
) -> Attempt:
    """The attempt once the device is free; one that was stopped in line is a cancelled run."""
    from sway_dash.cli.waiting import WAITED, turn
    from sway_dash.core.events import RunCancelledEvent
    from sway_dash.suite.execute import end, folder_spec
    from sway_dash.suite.usable import occupied

    def stopped() -> bool:
        return stop.requested() or folder.stop_requested()

    interrupted = False
    try:
        devices = occupied(folder_spec(folder, device=device))
        # The place in line is shown as this run's.
        folder.claim()
        name = str(folder.meta().get("name") or folder.id)
        with turn(devices, name=name, run=folder.id, stopped=stopped, wait=wait) as ours:
            if ours:
                return attempt()
    except KeyboardInterrupt:
        interrupted = True
    except (SwayError, OSError) as error:
        return Attempt(folder.fold(), failure=error)
    end(folder, RunCancelledEvent(reason=WAITED))
    return Attempt(folder.fold(), interrupted=interrupted)


def _attempt(
    folder: RunFolder,
    stop: StopSwitch,
    *,
    device: str | None,
    resume: bool,
    details: int,
    tell: Callable[[Fold], None],
) -> Attempt:
    """Execute the folder under a progress display."""
    from sway_dash.cli.progress import RunProgress
    from sway_dash.core.events import TERMINAL
    from sway_dash.suite.execute import execute

    with RunProgress() as progress:
        attempt = Attempt(progress.state)

        def listen(event: object) -> None:
            # A terminal that has gone away must not look like a failing probe.
            with suppress(OSError):
                progress.add(event)
            if isinstance(event, TERMINAL):
                stop.settle()

        def recording(count: int) -> None:
            prompts = "1 prompt" if count == 1 else f"{count} prompts"
            progress.settle()
            tell(attempt.state)
            note(f"recording {prompts} token by token (Ctrl-C leaves the rest out)")

        def asked() -> bool:
            return stop.requested() or stop.hurried

        try:
            execute(
                folder,
                on_event=listen,
                cancel=asked,
                device=device,
                resume=resume,
                details=details,
                on_details=recording,
            )
        except KeyboardInterrupt:
            stop.settle()
            attempt.interrupted = True
        except (SwayError, OSError) as error:
            attempt.failure = error
        except Exception:
            # Our own defect: the traceback follows, and what was measured must be found again.
            note(f"run: {folder.path}")
            raise
    return attempt


def _tell(folder: RunFolder, result: SuiteResult, score: SwayScore, gate: Gate | None, outputs: Outputs) -> None:
    """Print what came out, if anything did, and hand out the trace."""
    show(result, score, gate, err=outputs.to_stdout)
    _copy_trace(folder, outputs)


def show(result: SuiteResult, score: SwayScore, gate: Gate | None = None, *, err: bool = False) -> None:
    """Print the report, if there is anything to report, and below it what a gate decided.

    ``err``: on standard error, where standard output is for a machine.
    """
    from sway_dash.report.formats import gate_words
    from sway_dash.suite.report import to_terminal

    if result.probes:
        to_terminal(result, score, console=out_console(err=err))
    if gate is not None:
        colour = "green" if gate.passed else "red"
        typer.echo(typer.style(f"gate: {gate_words(gate)}", fg=colour, bold=True), err=err)


def _rescore(folder: RunFolder, result: SuiteResult, score: SwayScore) -> None:
    """Other weights than the suite's: the saved result must say the same as the one shown."""
    from sway_dash.suite.report import to_json

    try:
        folder.write_result(to_json(result, score))
    except OSError as error:
        folder.error = f"result.json: {os_sentence(error)}"


def _copy_trace(folder: RunFolder, outputs: Outputs) -> None:
    """The run folder's trace, also where it was asked for; an older trace there is set aside, not written over."""
    from sway_dash.backends.instrumentation import set_aside
    from sway_dash.suite.store import TRACE

    if outputs.trace is None or not (folder.path / TRACE).is_file():
        return
    if outputs.trace == STDOUT:
        write_bytes(STDOUT, (folder.path / TRACE).read_bytes())
        return
    target = outputs.trace.expanduser()
    try:
        set_aside(target)
        shutil.copyfile(folder.path / TRACE, target)
    except OSError as error:
        complain(f"the trace could not be copied to {target}: {os_sentence(error)}; it is in {folder.path / TRACE}")
        return
    note(f"wrote trace → {outputs.trace}")
