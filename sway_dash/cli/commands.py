"""What ``run`` and ``check`` do. Public functions of the suite do the work; here arguments become calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sway_dash.cli.boundary import OK, UsageError, note
from sway_dash.cli.finding import find_run
from sway_dash.cli.outputs import Outputs
from sway_dash.cli.running import measure

if TYPE_CHECKING:
    from sway_dash.core.result import SuiteResult, SwayScore
    from sway_dash.suite.gate import Gate
    from sway_dash.suite.store import RunFolder

Weights = dict[str, float]
Decide = Callable[["SuiteResult", "SwayScore"], "Gate"]


def run_suite(
    suite: Path | None,
    *,
    outputs: Outputs,
    weights: Weights | None,
    device: str | None,
    resume: str | None,
    name: str,
    dry_run: bool,
    details: int,
    wait: bool = True,
    fail_on: str = "never",
) -> int:
    """Run a suite file, or go on with a stopped run; return the exit code."""
    if suite is None and resume is None:
        raise UsageError("name a suite: sway-dash run sway.yaml (or a stopped run: --resume RUN)")
    if dry_run:
        if suite is None:
            raise UsageError("--dry-run needs a suite file")
        return show_plan(suite)
    inputs = () if suite is None else (suite.expanduser(),)
    outputs.check(inputs=inputs)
    with outputs.refusals("run", inputs=inputs):
        if suite is not None and resume is None:
            folder = new_folder(suite, name=name, device=device)
        else:
            folder = _resumable(str(resume), suite, device=device)
            if name:
                folder.write_meta(name=name)
    return measure(
        folder,
        outputs=outputs,
        weights=weights,
        device=device,
        resume=resume is not None,
        details=details,
        wait=wait,
        decide=verdicts_decide(fail_on),
    )


def verdicts_decide(fail_on: str) -> Decide | None:
    """The gate of ``--fail-on`` alone; ``None`` for ``never``, which is no gate."""
    from sway_dash.suite.gate import FailOn, judge

    level = FailOn(fail_on)
    return None if level is FailOn.NEVER else partial(judge, fail_on=level)


def new_folder(suite: Path, *, name: str = "", device: str | None = None) -> RunFolder:
    """Check a suite file and what it compares, and make a run folder for it."""
    from sway_dash.suite.adapter_store import with_current_adapter
    from sway_dash.suite.execute import with_device
    from sway_dash.suite.loader import load_checked
    from sway_dash.suite.naming import new_run
    from sway_dash.suite.store import RunFolder
    from sway_dash.suite.usable import check_usable

    source = suite.expanduser().resolve()
    spec = with_current_adapter(load_checked(source)[0])
    check_usable(with_device(spec, device))
    text = source.read_text(encoding="utf-8")
    if name:
        return RunFolder.create(text, name=name, base_dir=source.parent, spec_path=str(source))
    tuned = Path(spec.models.ft.adapter or spec.models.ft.base).name
    return new_run(text, name=f"{source.name}, {tuned}", base_dir=source.parent, spec_path=str(source))


def _resumable(name: str, suite: Path | None, *, device: str | None) -> RunFolder:
    from sway_dash.dash.runs import DEMO, address_of
    from sway_dash.suite.execute import folder_spec
    from sway_dash.suite.usable import check_usable

    folder = find_run(name)
    if address_of(folder) == DEMO:
        raise UsageError("the recorded example is part of the program: measure its suite anew to go on with it")
    # The process of a notebook or a dashboard outlives its runs.
    if folder.is_alive() and folder.fold().status == "running":
        raise UsageError(f"{folder.id} is still running (process {folder.meta().get('pid')}): stop it first")
    if suite is not None:
        from sway_dash.suite.loader import load_spec

        source = suite.expanduser().resolve()
        load_spec(source)
        if source.read_text(encoding="utf-8") != folder.spec_text():
            msg = f"{suite} is not the suite {folder.id} was started with: leave it out, or start a new run"
            raise UsageError(msg)
    check_usable(folder_spec(folder, device=device))
    return folder


def show_plan(suite: Path) -> int:
    """Print what a suite would do."""
    from sway_dash.suite.adapter_store import with_current_adapter
    from sway_dash.suite.loader import load_checked
    from sway_dash.suite.plan import plan

    spec, built = load_checked(suite)
    spec = with_current_adapter(spec)
    typer.echo(f"{suite}: {len(built)} {'probe' if len(built) == 1 else 'probes'}, nothing is run")
    typer.echo(f"base: {spec.models.base.base}\nadapter: {spec.models.ft.adapter or '(none)'}")
    planned = plan(spec, built)
    width, kinds = (max(len(getattr(p, field)) for p in planned) for field in ("name", "kind"))
    for index, p in enumerate(planned):
        counts = [f"{n:,} {what}" for n, what in ((p.measurements, "measurements"), (p.answers, "answers")) if n]
        known = ", ".join(counts) or ("known only as it runs" if p.open_ended else "0 measurements")
        state = known if p.enabled else "disabled"
        typer.echo(f"  {index + 1:>2}. {p.name:<{width}}  {p.kind:<{kinds}}  {p.category:<12} {state}")
    answers = sum(p.answers for p in planned)
    also = f" and {answers:,} answers" if answers else ""
    least = "at least " if any(p.enabled and p.open_ended and not p.measurements + p.answers for p in planned) else ""
    typer.echo(f"{least}{sum(p.measurements for p in planned):,} measurements{also} in all")
    return OK


def parse_weights(text: str | None) -> Weights | None:
    """``adherence=0.4,ablation=0.1`` → the pairs given, ``None`` for nothing. ``BadParameter`` says what is wrong."""
    if not text or not text.strip():
        return None
    given: Weights = {}
    for part in text.split(","):
        if not part.strip():
            continue
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise _bad_weights(f"{part.strip()!r} is not of the form key=value")
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise _bad_weights(f"{value!r} in {part.strip()!r} is not a number")
        if key in given:
            raise _bad_weights(f"{key!r} is given twice")
        given[key] = number
    return given or None


def weights_over_defaults(text: str | None) -> Weights | None:
    """The weights of ``--weights`` laid over the defaults, by the same rules as in a suite file."""
    from sway_dash.suite.spec import merge_weights

    given = parse_weights(text)
    if given is None:
        return None
    try:
        return merge_weights(given)
    except ValueError as error:
        raise _bad_weights(str(error)) from None


def _bad_weights(why: str) -> typer.BadParameter:
    return typer.BadParameter(why, param_hint="--weights")


def check_adapter(
    adapter: Path,
    *,
    base: str | None,
    prompts: Path | None,
    device: str | None,
    outputs: Outputs,
    details: int,
    wait: bool = True,
    name: str = "",
    fail_on: str = "never",
) -> int:
    """Measure an adapter without a suite file; return the exit code."""
    from sway_dash.cli.adapters import PROMPTS, check_suite, find_base, read_config, read_prompts, resolve_base
    from sway_dash.suite.execute import with_device
    from sway_dash.suite.loader import loads
    from sway_dash.suite.naming import new_run
    from sway_dash.suite.store import RunFolder
    from sway_dash.suite.usable import check_usable

    adapter = adapter.expanduser()
    inputs = () if prompts is None else (prompts.expanduser(),)
    outputs.check(inputs=inputs)
    with outputs.refusals("run", inputs=inputs):
        if base is None:
            base = find_base(adapter)
            note(f"base: {base} (from adapter_config.json)")
        else:
            read_config(adapter)
            base = resolve_base(base)
        texts = [{"text": p} for p in PROMPTS] if prompts is None else read_prompts(prompts.expanduser())
        text = check_suite(base=base, adapter=adapter, prompts=texts)
        check_usable(with_device(loads(text, source="the suite of check", folder=Path.cwd()), device))
    if name:
        folder = RunFolder.create(text, name=name, base_dir=Path.cwd())
    else:
        folder = new_run(text, name=f"check {adapter.resolve().name}", base_dir=Path.cwd())
    decide = verdicts_decide(fail_on)
    return measure(folder, outputs=outputs, device=device, details=details, wait=wait, decide=decide)
