"""What ``diff`` does: two adapters measured by one suite over one base, each as a run of its own, then compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.cli.boundary import UsageError, note
from sway_dash.cli.comparing import Shown, show

if TYPE_CHECKING:
    from sway_dash.suite.adapted import SuiteText
    from sway_dash.suite.run_comparison import Entrant
    from sway_dash.suite.store import RunFolder
    from sway_dash.suite.sweep import Outcome, Sweep, Target


@dataclass(frozen=True, slots=True)
class Asked:
    """Two adapters and what they are measured by: a suite file, else prompts."""

    adapters: tuple[Path, Path]
    suite: Path | None = None
    base: str | None = None
    prompts: Path | None = None


def asked(targets: Sequence[str], *, a: Path | None, b: Path | None, base: str | None, prompts: Path | None) -> Asked:
    """What the arguments of ``diff`` mean: SPEC --a --b, or two adapters. ``UsageError`` for anything else."""
    if a is not None and b is not None:
        if len(targets) != 1:
            raise UsageError("with --a and --b name one suite: sway-dash diff sway.yaml --a ADAPTER --b ADAPTER")
        for option, value in (("--prompts", prompts), ("--base", base)):
            if value is not None:
                raise UsageError(f"{option} is for a diff without a suite: the suite says what is measured")
        found = Asked((a.expanduser(), b.expanduser()), suite=Path(targets[0]).expanduser())
    elif a is None and b is None:
        if len(targets) != 2:
            how = "sway-dash diff ADAPTER_A ADAPTER_B, or sway-dash diff sway.yaml --a ADAPTER --b ADAPTER"
            raise UsageError(f"two adapters are needed: {how}")
        first, second = (Path(t).expanduser() for t in targets)
        found = Asked((first, second), base=base, prompts=prompts and prompts.expanduser())
    else:
        raise UsageError(f"--{'b' if b is None else 'a'} is missing: two adapters are compared")
    if found.adapters[0].resolve() == found.adapters[1].resolve():
        raise UsageError(f"{found.adapters[0]} is given twice: name two adapters that differ")
    return found


def diff_adapters(what: Asked, *, device: str | None, details: int, again: bool, wait: bool, shown: Shown) -> int:
    """Measure both adapters and compare them; return the exit code."""
    from sway_dash.suite.execute import with_device
    from sway_dash.suite.sweep import Sweep
    from sway_dash.suite.usable import check_usable

    shown.check()
    suite = _suite(what)
    check_usable(with_device(suite.spec, device), adapters=what.adapters)
    name = f"diff-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    sweep = Sweep(suite, what.adapters, name=name, anywhere=not again, device=device, details=details)
    outcomes, stopped = _measure(sweep, made=what.suite is None, wait=wait)
    for outcome in outcomes:
        note(f"run: {outcome.folder.path}")
    if stopped is not None:
        note("stopped: what was measured is kept; the same command takes up what is finished")
        return stopped
    if failed := [f"{o.target.label}: {o.error}" for o in outcomes if o.error]:
        raise UsageError("; ".join(failed))
    return show(entrants(outcomes), baseline=0, shown=shown)


def _suite(what: Asked) -> SuiteText:
    """The suite both are measured by, checked, as are the adapters."""
    from sway_dash.cli.adapters import PROMPTS, check_suite, find_base, read_config, read_prompts, resolve_base
    from sway_dash.suite.adapted import SuiteText
    from sway_dash.suite.loader import loads

    if what.suite is not None:
        suite = SuiteText.read(what.suite)
        for adapter in what.adapters if suite.spec.models.ft.kind == "hf" else ():
            read_config(adapter)
        return suite
    if what.base is None:
        bases = [find_base(adapter) for adapter in what.adapters]
        if bases[0] != bases[1]:
            pairs = "; ".join(f"{a} names {base}" for a, base in zip(what.adapters, bases, strict=True))
            raise UsageError(f"the adapters name different bases ({pairs}): give one with --base")
        base = bases[0]
        note(f"base: {base} (from adapter_config.json)")
    else:
        for adapter in what.adapters:
            read_config(adapter)
        base = resolve_base(what.base)
    prompts: list[dict[str, Any]] = [{"text": p} for p in PROMPTS]
    if what.prompts is not None:
        prompts = read_prompts(what.prompts)
    text = check_suite(base=base, adapter=what.adapters[0], prompts=prompts)
    return SuiteText(Path.cwd() / "diff", text, loads(text, source="the suite of diff", folder=Path.cwd()))


def _measure(sweep: Sweep, *, made: bool, wait: bool) -> tuple[list[Outcome], int | None]:
    """What became of both, and the exit code when it was stopped. ``made``: the suite is no file."""
    from sway_dash.cli.interrupt import StopSwitch
    from sway_dash.cli.progress import RunProgress
    from sway_dash.cli.waiting import Turns

    outcomes: list[Outcome] = []
    with StopSwitch() as stop:

        def asked_to_stop() -> bool:
            return stop.requested() or stop.hurried

        def begin(target: Target, folder: RunFolder) -> None:
            note(f"measuring {target.label}")
            if made:
                folder.write_meta(spec_path="")
            turns.take(sweep.suite.spec, folder, device=sweep.device)

        turns = Turns(asked_to_stop, wait=wait)
        try:
            for target in sweep.targets:
                with RunProgress() as progress:
                    outcome = sweep.measure(target, on_start=begin, on_event=progress.add, cancel=asked_to_stop)
                outcomes.append(outcome)
                if outcome.reused:
                    what = f"{target.label} was measured before ({outcome.folder.id})"
                    note(f"{what}: that run is taken; --again measures it anew")
                if sweep.base_failure is not None:
                    raise sweep.base_failure
                if outcome.result.status == "cancelled" or stop.requested():
                    return outcomes, stop.code
        except KeyboardInterrupt:
            return outcomes, stop.code
        finally:
            # Not before the base has left the device.
            sweep.close()
            turns.leave()
    return outcomes, None


def entrants(outcomes: Sequence[Outcome]) -> list[Entrant]:
    """The runs under the names of their adapters. Adapters of one content share a run, which then meets itself."""
    from sway_dash.suite.run_comparison import open_runs

    folders = list(dict.fromkeys(o.folder.path for o in outcomes))
    opened = dict(zip(folders, open_runs(folders), strict=True))
    return [replace(opened[o.folder.path], label=o.target.label, place=str(o.target.adapter)) for o in outcomes]
