"""What ``gate`` does: measure a suite, or take what was measured, and hold it against the rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sway_dash.cli.boundary import NOTHING, OK, USAGE, UsageError, note
from sway_dash.cli.outputs import Outputs, read_files
from sway_dash.cli.running import measure, show
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.core.result import SuiteResult, SwayScore
    from sway_dash.suite.store import RunFolder


def run_gate(
    source: str,
    *,
    threshold: float | None,
    fail_on: str,
    allow_errors: bool,
    outputs: Outputs,
    weights: dict[str, float] | None,
    device: str | None,
    name: str,
    details: int,
    wait: bool = True,
) -> int:
    """Judge a suite, which is measured first, or a saved result; return the exit code."""
    from sway_dash.suite.gate import FailOn, judge

    if threshold is not None and math.isnan(threshold):
        raise typer.BadParameter("nan is not a number between 0 and 1", param_hint="--threshold")
    decide = partial(judge, fail_on=FailOn(fail_on), allow_errors=allow_errors)
    path = Path(source).expanduser()
    if is_suite(path):
        from sway_dash.cli.commands import new_folder
        from sway_dash.suite.execute import folder_spec

        outputs.check(inputs=(path,))
        with outputs.refusals("gate", inputs=(path,)):
            folder = new_folder(path, name=name, device=device)
        # Of the folder's own copy of the suite: the file may be edited while it is measured.
        least = folder_spec(folder).defaults.coverage_threshold if threshold is None else threshold
        return measure(
            folder,
            outputs=outputs,
            weights=weights,
            device=device,
            details=details,
            wait=wait,
            decide=partial(decide, threshold=least),
        )
    given = {"--device": device, "--name": name, "--trace": outputs.trace}
    if extra := [option for option, value in given.items() if value]:
        raise UsageError(f"{source} is already measured: leave out {', '.join(extra)}, or give a suite file")
    inputs = read_files([source])
    outputs.check(inputs=inputs)
    with outputs.refusals("gate", inputs=inputs):
        result, score, stored = saved(source)
    if weights is not None or not score.components:
        from sway_dash.suite.score import compute

        score = compute(result, weights=weights or score.weights)
    asked = stored if threshold is None else threshold
    if asked is None:
        from sway_dash.suite.spec import SuiteDefaults

        asked = SuiteDefaults().coverage_threshold
        note(f"threshold: {asked}, the default of suites, for the suite of {source} is not beside it")
    decision = decide(result, score, threshold=asked)
    show(result, score, decision, err=outputs.to_stdout)
    written = outputs.write(result, score, decision)
    if not decision.passed:
        return NOTHING
    return OK if written else USAGE


def is_suite(path: Path) -> bool:
    """Whether it names a suite file: by its ending, else by what it holds. What is not there is called a run."""
    import json

    if path.is_dir():
        return False
    ending = path.suffix.lower()
    if ending in (".yaml", ".yml"):
        return True
    if ending == ".json" or not path.exists():
        return False
    try:
        held = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return True
    return isinstance(held, Mapping) and "models" in held


def saved(source: str) -> tuple[SuiteResult, SwayScore, float | None]:
    """Result, score and threshold of what was measured before; no threshold where nothing says which suite it was."""
    from sway_dash.cli.finding import find_run
    from sway_dash.cli.reading import folder_result
    from sway_dash.report.json_io import load_document, load_result

    path = Path(source).expanduser()
    if not path.is_file() and not (path.suffix == ".json" and not path.exists()):
        folder = find_run(source)
        return (*folder_result(folder), _threshold_of(folder))
    result, score = load_result(path)
    decided = load_document(path).get("gate")
    asked = decided.get("threshold") if isinstance(decided, Mapping) else None
    if isinstance(asked, int | float) and 0.0 <= asked <= 1.0:
        return result, score, float(asked)
    return result, score, _threshold_beside(path)


def _threshold_beside(path: Path) -> float | None:
    from sway_dash.suite.store import RESULT, RunFolder, RunFolderError

    if path.name != RESULT:
        return None
    try:
        return _threshold_of(RunFolder.open(path.resolve().parent))
    except RunFolderError:
        return None


def _threshold_of(folder: RunFolder) -> float | None:
    from sway_dash.suite.loader import loads

    try:
        return loads(folder.spec_text(), source=str(folder.path)).defaults.coverage_threshold
    except SwayError:
        return None
