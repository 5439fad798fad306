"""What ``sweep`` does: adapter after adapter over one base, then one comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.cli.boundary import NOTHING, OK, USAGE, UsageError, complain, note
from sway_dash.cli.outputs import STDOUT, check_writable, tell_written, write_text

if TYPE_CHECKING:
    from sway_dash.cli.interrupt import StopSwitch
    from sway_dash.cli.progress import RunProgress
    from sway_dash.suite.adapted import SuiteText
    from sway_dash.suite.gate import Gate
    from sway_dash.suite.store import RunFolder
    from sway_dash.suite.sweep import Outcome, Sweep, Target

COMMAND = "sweep"

MOST_IN_HTML = 8
"""``report.html.compare`` draws no more runs beside each other."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line said beside the suite and the adapters."""

    name: str = ""
    resume: bool = False
    device: str | None = None
    details: int = 0
    wait: bool = True
    form: str = "terminal"
    html: Path | None = None
    json: Path | None = None
    fail_on: str = "error"
    threshold: float | None = None


class Shown:
    """Progress of one run after the other, and Ctrl-C between and within them."""

    def __init__(self, stop: StopSwitch, total: int | None = None, *, wait: bool = True) -> None:
        from sway_dash.cli.waiting import Turns

        self._stop, self._total, self._count = stop, total, 0
        self._turns = Turns(self.asked, wait=wait)
        self._progress: RunProgress | None = None

    def start(self, sweep: Sweep, target: Target, folder: RunFolder) -> None:
        """A run begins, when its device is free."""
        from sway_dash.cli.progress import RunProgress

        self._count += 1
        self._stop.go_on()
        note(f"{f'{self._count}/{self._total} ' if self._total else ''}{target.label} → {folder.path}")
        self._turns.take(sweep.suite.spec, folder, device=sweep.device)
        self._progress = RunProgress()
        self._progress.__enter__()

    def event(self, event: Any) -> None:
        """Something happened in it."""
        from sway_dash.core.events import TERMINAL

        # A terminal that has gone away must not look like a failing probe.
        with suppress(OSError):
            if self._progress is not None:
                self._progress.add(event)
        if isinstance(event, TERMINAL):
            self._stop.settle()

    def end(self) -> None:
        """It is over, however it ended; may be called twice."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
        self._progress = None

    def leave(self) -> None:
        """Others may measure; may be called twice."""
        self._turns.leave()

    def asked(self) -> bool:
        """Whether it is to stop."""
        return self._stop.requested() or self._stop.hurried


def sweep_adapters(suite: Path, adapters: Sequence[Path], folders: Sequence[Path], asked: Asked) -> int:
    """Measure every adapter by a suite and compare them; return the exit code."""
    from sway_dash.cli.interrupt import StopSwitch
    from sway_dash.suite.adapted import SuiteText
    from sway_dash.suite.sweep import Sweep, find_adapters

    outputs = [path for path in (asked.json, asked.html) if path is not None]
    if len(set(outputs)) < len(outputs):
        raise UsageError(f"--json and --html both name {outputs[0]}: give one of them a name of its own")
    for path in outputs:
        check_writable(path, inputs=[suite])
    text = SuiteText.read(suite)
    paths = [*adapters, *(p for folder in folders for p in _found(folder, find_adapters(folder)))]
    if not paths:
        raise UsageError(f"name adapters: sway-dash sweep {suite} ADAPTER… (or --adapters FOLDER, to find them)")
    name = asked.name or (_latest(text, asked.device) if asked.resume else "")
    sweep = Sweep(text, paths, name=name, command=COMMAND, device=asked.device, details=asked.details)
    _check(sweep)
    note(f"sweep: {sweep.name}, {_count(len(sweep.targets), 'adapter')}")
    with StopSwitch() as stop:
        stopped = _measure(sweep, Shown(stop, len(sweep.targets), wait=asked.wait), asked)
    if stopped or stop.requested():
        _say_remaining(sweep, suite)
    done = _apart([o for o in sweep.outcomes if o.complete and not o.error])
    if STDOUT not in outputs:
        _compare(done, asked.form)
    written = asked.html is None or _write_html(done, asked.html)
    if stopped or stop.requested():
        return stop.code
    failed = [o for o in sweep.outcomes if not _gate(o, asked).passed]
    if failed:
        complain(f"{_count(len(failed), 'adapter')} of {len(sweep.targets)} did not pass: {_labels(failed)}")
    return NOTHING if failed else OK if written else USAGE


def _check(sweep: Sweep) -> None:
    """``SwayError`` unless the base can be measured here, and one of the adapters on it."""
    from sway_dash.core.errors import SwayError
    from sway_dash.suite.execute import with_device
    from sway_dash.suite.usable import check_usable

    spec = with_device(sweep.suite.spec, sweep.device)
    check_usable(spec, adapters=())
    wrong: list[SwayError] = []
    for target in sweep.targets:
        try:
            check_usable(spec, adapters=(target.adapter,))
        except SwayError as error:
            wrong.append(error)
    if len(wrong) == len(sweep.targets):
        raise wrong[0]


def _measure(sweep: Sweep, shown: Shown, asked: Asked) -> bool:
    """Go through the adapters; whether somebody insisted on stopping at once."""
    told: list[str] = []
    try:
        for outcome in sweep.run(on_start=partial(shown.start, sweep), on_event=shown.event, cancel=shown.asked):
            shown.end()
            if outcome.error:
                complain(f"{outcome.target.label}: {outcome.error}")
            elif outcome.reused:
                note(f"{outcome.target.label}: measured before, {outcome.folder.path}")
            if asked.json is not None:
                said = {"sweep": sweep.name, **outcome.to_dict(), "gate": _gate(outcome, asked).to_dict()}
                told.append(line(said))
                # What is printed is printed once; a file is whole after every adapter.
                write_text(asked.json, "\n".join(told[-1:] if asked.json == STDOUT else told))
    except KeyboardInterrupt:
        return True
    finally:
        shown.end()
        # Not before the base has left the device.
        sweep.close()
        shown.leave()
    return False


def line(data: dict[str, Any]) -> str:
    """One line of JSON; no number that JSON does not know."""
    from sway_dash.core.result import jsonable

    return json.dumps(jsonable(data), ensure_ascii=False, allow_nan=False)


def _gate(outcome: Outcome, asked: Asked) -> Gate:
    from sway_dash.suite.gate import FailOn, judge

    return judge(outcome.result, outcome.score, threshold=asked.threshold, fail_on=FailOn(asked.fail_on))


def _found(folder: Path, adapters: Sequence[Path]) -> Sequence[Path]:
    if not adapters:
        raise UsageError(f"{folder} holds no adapter: below it there is no adapter_config.json")
    return adapters


def _latest(text: SuiteText, device: str | None) -> str:
    """Name of the last sweep by a suite."""
    from sway_dash.suite.store import list_runs
    from sway_dash.suite.sweep import META_KEY

    digest = text.digest(device=device)
    for folder in list_runs():
        own = folder.meta().get(META_KEY)
        if isinstance(own, dict) and (own.get("command"), own.get("suite_sha256")) == (COMMAND, digest):
            return str(own["name"])
    raise UsageError(f"there is no sweep by {text.path} as it is now to go on with: leave out --resume")


def _say_remaining(sweep: Sweep, suite: Path) -> None:
    left = sweep.remaining
    if left:
        note(f"stopped; {_count(len(left), 'adapter')} not measured: {', '.join(t.label for t in left)}")
        note(f"go on with the same command and --name {sweep.name} (or --resume): what is measured is kept")


def _apart(done: Sequence[Outcome]) -> list[Outcome]:
    """One of those that share a run: a final adapter is often its last checkpoint once more."""
    found: dict[Path, Outcome] = {}
    for outcome in done:
        first = found.setdefault(outcome.folder.path, outcome)
        if first is not outcome:
            same = f"{first.target.label} and {outcome.target.label}"
            note(f"{same} are one and the same adapter: they are compared as {first.target.label}")
    return list(found.values())


def _compare(done: Sequence[Outcome], form: str) -> None:
    from sway_dash.cli.comparing import Shown as Comparison
    from sway_dash.cli.comparing import show
    from sway_dash.cli.diffing import entrants

    if len(done) < 2:
        note(f"{_count(len(done), 'different adapter')} measured: there is nothing to compare")
        return
    show(entrants(done), baseline=None, shown=Comparison(form))


def _write_html(done: Sequence[Outcome], path: Path) -> bool:
    from sway_dash.report.html.compare import compare_html

    if len(done) < 2:
        complain(f"{path} is not written: a comparison takes two adapters that were measured and differ")
        return False
    chosen = spread(len(done), MOST_IN_HTML)
    if len(chosen) < len(done):
        note(f"the HTML comparison shows {len(chosen)} of {len(done)} adapters: the first, the last, and some between")
    write_text(path, compare_html([done[i].folder for i in chosen]))
    tell_written("comparison", path)
    return True


def spread(n: int, most: int) -> list[int]:
    """Up to ``most`` of ``n`` places, the first and the last among them, as even as can be."""
    return list(range(n)) if n <= most else [round(i * (n - 1) / (most - 1)) for i in range(most)]


def _labels(outcomes: Sequence[Outcome]) -> str:
    return ", ".join(o.target.label for o in outcomes)


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
