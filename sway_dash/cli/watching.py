"""What ``watch`` does: look for new checkpoints, measure each as soon as it is whole, say what the gate says."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sway_dash.cli.boundary import NOTHING, OK, UsageError, complain, note, os_sentence, printable
from sway_dash.cli.sweeping import Shown, line
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.cli.interrupt import StopSwitch
    from sway_dash.suite.sweep import Outcome, Sweep, Target
    from sway_dash.suite.watch import History, Lookout, Watched

TICK_S = 0.2
"""How often a pause looks whether it is to end."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line said beside what is watched."""

    history: Path | None = None
    most: int = 100
    on_fail: str = ""
    once: bool = False
    interval: float = 10.0
    lines: bool = False
    device: str | None = None
    details: int = 0
    wait: bool = True
    unload: bool = False
    fail_on: str = "fail"
    threshold: float | None = None


def watch_target(target: Path, suite: Path | None, asked: Asked) -> int:
    """Watch the output folder of a trainer, or the store a suite's document has; return the exit code."""
    from sway_dash.cli.interrupt import StopSwitch
    from sway_dash.suite.watch import History, Lookout, OutputFolder, Pointer, Source

    target = target.expanduser()
    source: Source
    if suite is not None:
        source, name = OutputFolder(target), target.resolve().name
    elif target.is_dir() or not target.exists():
        raise UsageError(f"say what to measure: sway-dash watch {target} --spec sway.yaml")
    else:
        suite, source = target, Pointer.of_document(_document(target))
        name = suite.stem
    history = None if asked.history is None else History(asked.history, most=asked.most)
    with StopSwitch() as stop:
        watch = _Watch(suite.expanduser(), Lookout(source), history, f"watch-{name}", stop, asked)
        try:
            return watch.run()
        finally:
            watch.close()


def _document(suite: Path) -> Path:
    from sway_dash.suite.loader import load_spec

    source = load_spec(suite).dlm_source
    if not source:
        raise UsageError(
            f"{suite} has no dlm_source to say where its adapters are: sway-dash watch OUTPUT_DIR --spec {suite}"
        )
    return Path(source)


class _Watch:
    """The loop, and what it has to remember."""

    def __init__(
        self, suite: Path, lookout: Lookout, history: History | None, name: str, stop: StopSwitch, asked: Asked
    ) -> None:
        from sway_dash.backends.swap import SharedBase
        from sway_dash.suite.execute import with_device
        from sway_dash.suite.usable import check_usable

        self._suite, self._lookout, self._history, self._name, self._asked = suite, lookout, history, name, asked
        self._base = SharedBase()
        self._shown, self._stop = Shown(stop, wait=asked.wait), stop
        self._seen: list[Watched] = []
        self._sequence = history.last_sequence() if history is not None else 0
        self._sweep: Sweep | None = None
        self._read: tuple[int, int] | None = None
        self._said: dict[Path, str] = {}
        # What is wrong with the suite is to be known now, not when the first checkpoint has come.
        check_usable(with_device(self._load().suite.spec, asked.device), adapters=())

    def run(self) -> int:
        """Until Ctrl-C, or with ``once`` until what is there is measured; the exit code."""
        from sway_dash.suite.watch import SETTLE_S

        asked = self._asked
        if asked.once:
            self._lookout.hurry()
        else:
            note(f"watching every {asked.interval:g} s; Ctrl-C ends it")
        try:
            while not self._shown.asked():
                for target in self._lookout.ready():
                    if self._shown.asked() or not self._take(target):
                        break
                self._mention_incomplete()
                if asked.once and not self._lookout.restless and not self._shown.asked():
                    return self._gate()
                soon = asked.once or self._lookout.restless
                self._pause(min(asked.interval, SETTLE_S / 2) if soon else asked.interval)
        except KeyboardInterrupt:
            self._count()
            return self._stop.code
        finally:
            self._shown.end()
        self._count()
        return self._stop.code if asked.once else OK

    def close(self) -> None:
        """Give the base back."""
        self._base.close()

    # --- one checkpoint -----------------------------------------------------------------------------------------------

    def _take(self, target: Target) -> bool:
        """Measure an adapter and say so; False if nothing can be measured now."""
        try:
            sweep = self._load()
        except SwayError as error:
            if self._asked.once:
                raise
            self._say(self._suite, f"{error}\nwaiting until it is mended")
            return False
        began = self._shown
        try:
            outcome = sweep.measure(
                target, on_start=partial(began.start, sweep), on_event=began.event, cancel=began.asked
            )
        finally:
            self._shown.end()
            if self._asked.unload:
                sweep.unload()
            # Days may pass before the next checkpoint, and a base that lies there measures nothing.
            self._shown.leave()
        if sweep.base_failure is not None:
            raise sweep.base_failure
        if outcome.result.status == "cancelled":
            return False
        if outcome.error and not target.adapter.is_dir():
            note(f"{target.label} was taken away before it could be read")
            return True
        self._lookout.done(target.adapter)
        self._judge(outcome)
        return True

    def _load(self) -> Sweep:
        """The suite as it is now; one that was edited is read again, and the base stays if it is the same."""
        from sway_dash.suite.adapted import SuiteText
        from sway_dash.suite.sweep import Sweep

        try:
            stat = self._suite.stat()
            read = (stat.st_mtime_ns, stat.st_size)
        except OSError:
            read = (0, 0)
        if self._sweep is None or read != self._read:
            text, asked = SuiteText.read(self._suite), self._asked
            if self._sweep is not None:
                note(f"{self._suite} has changed: what follows is measured by it as it is now")
            self._sweep = Sweep(
                text,
                name=self._name,
                command="watch",
                anywhere=True,
                device=asked.device,
                details=asked.details,
                base=self._base,
            )
            self._read = read
        return self._sweep

    def _judge(self, outcome: Outcome) -> None:
        from sway_dash.suite.gate import FailOn, judge
        from sway_dash.suite.watch import Watched

        assert self._sweep is not None
        defaults, asked = self._sweep.suite.spec.defaults, self._asked
        threshold = defaults.coverage_threshold if asked.threshold is None else asked.threshold
        gate = judge(outcome.result, outcome.score, threshold=threshold, fail_on=FailOn(asked.fail_on))
        self._sequence += not outcome.reused
        watched = Watched(outcome, gate, self._sequence, str(self._suite.resolve()))
        self._seen.append(watched)
        if outcome.reused:
            note(f"{outcome.target.label}: measured before, {watched.verdict}, {outcome.folder.path}")
            return
        path = self._keep(watched)
        self._tell(watched)
        if watched.verdict != "pass" and asked.on_fail:
            self._call(watched, path)

    def _keep(self, watched: Watched) -> Path:
        """Where the result lies: in the history, else in its run."""
        from sway_dash.suite.store import RESULT

        if self._history is not None:
            try:
                return self._history.write(watched)
            except OSError as error:
                complain(f"the history is not written: {os_sentence(error)}")
        return watched.outcome.folder.path / RESULT

    def _tell(self, watched: Watched) -> None:
        told = watched.to_dict()
        if self._asked.lines:
            typer.echo(line(told))
            return
        score = told["overall_score"]
        overall = "not scored" if score is None else f"overall {score:.2f}"
        typer.echo(
            f"{printable(watched.outcome.target.label)}  {watched.verdict}  {overall}  {told['run_seconds']:.1f} s"
        )
        for reason in watched.reasons:
            typer.echo(f"  {printable(reason)}")

    def _call(self, watched: Watched, path: Path) -> None:
        env = {**os.environ, "SWAY_RESULT_PATH": str(path), "SWAY_RUN": str(watched.outcome.folder.path)}
        try:
            # Its own session: a Ctrl-C here is not for it. Standard output is for results.
            subprocess.Popen(
                self._asked.on_fail, shell=True, env=env, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True
            )  # fmt: skip
        except OSError as error:
            complain(f"--on-fail could not be started: {os_sentence(error)}")

    # --- between them -------------------------------------------------------------------------------------------------

    def _mention_incomplete(self) -> None:
        """Say once what is there and cannot be read yet."""
        for target, why in self._lookout.incomplete:
            self._say(target.adapter, f"{target.label} is not complete: {why}")

    def _say(self, about: Path, text: str) -> None:
        if self._said.get(about) != text:
            self._said[about] = text
            note(text)

    def _pause(self, seconds: float) -> None:
        # Nothing is being saved any more: an interruption asks before it insists, as during a run.
        self._stop.go_on()
        end = time.monotonic() + seconds
        while not self._shown.asked() and (left := end - time.monotonic()) > 0:
            time.sleep(min(TICK_S, left))

    def _gate(self) -> int:
        """The exit code of ``--once``: what is not complete was not measured, and must not look good."""
        from sway_dash.suite.watch import unmeasured

        incomplete = self._lookout.incomplete
        for target, why in incomplete if self._asked.lines else ():
            typer.echo(line(unmeasured(target, why, spec_path=str(self._suite.resolve()))))
        if not self._seen:
            note("there is no complete adapter")
            return NOTHING
        self._count()
        if incomplete:
            complain(f"not complete, so not measured: {', '.join(target.label for target, _ in incomplete)}")
        return OK if not incomplete and all(w.verdict == "pass" for w in self._seen) else NOTHING

    def _count(self) -> None:
        new = [w for w in self._seen if not w.outcome.reused]
        bad = sum(w.verdict != "pass" for w in self._seen)
        also = f", {len(self._seen) - len(new)} measured before" if len(new) < len(self._seen) else ""
        adapters = "1 adapter" if len(new) == 1 else f"{len(new)} adapters"
        note(f"{adapters} measured{also}; {bad} did not pass")
