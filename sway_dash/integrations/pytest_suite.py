"""What the pytest plugin needs of the engine: names of a suite's probes, and one run of it for all who ask."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from sway_dash.core.errors import RunCancelled, SwayError
from sway_dash.core.files import write_whole
from sway_dash.core.result import SuiteResult, SwayScore
from sway_dash.pytest_plugin import SuiteFailure
from sway_dash.report.json_io import load_result, to_json
from sway_dash.suite.adapter_store import with_current_adapter
from sway_dash.suite.execute import execute
from sway_dash.suite.loader import check_entries, load_spec
from sway_dash.suite.naming import new_run
from sway_dash.suite.score import compute
from sway_dash.suite.spec import merge_weights
from sway_dash.suite.store import RESULT
from sway_dash.suite.usable import check_usable

Weights = Mapping[str, float] | None


def names(spec: Path, weights: Weights = None) -> list[str]:
    """Names of a suite's probes in their order; ``SuiteFailure`` if suite or weights cannot be used."""
    try:
        loaded = load_spec(spec)
        built = check_entries(loaded, source=str(spec), text=spec.read_text(encoding="utf-8"))
        _merged(weights)
    except (SwayError, ValueError) as error:
        raise SuiteFailure(f"the suite could not be loaded: {error}") from None
    if not built:
        raise SuiteFailure(f"the suite could not be loaded: {spec}: there are no probes")
    return [settings.name for _, settings in built]


def group(spec: Path) -> str:
    """One name for all tests of a suite."""
    return f"sway-{_digest(spec)}"


def run_once(spec: Path, *, weights: Weights, shared: Path | None) -> dict[str, str]:
    """Run a suite, or take what another process of this session has found: ``run``, a folder, or ``failure``, why not.

    ``shared`` is a folder of all processes of the session. The first to come runs, the others wait for it.
    """
    if shared is None:
        return _run(spec, weights)
    note = shared / f"sway-{_digest(spec)}.json"
    with FileLock(note.with_suffix(".lock")):
        told = _told(note)
        if told is None:
            write_whole(note, json.dumps({"by": os.getpid()}))
            try:
                told = _run(spec, weights)
            except BaseException:
                note.unlink(missing_ok=True)
                raise
            write_whole(note, json.dumps(told))
    return told


def outcome(told: Mapping[str, str], weights: Weights) -> tuple[SuiteResult, SwayScore] | str:
    """Result and score of a run under some weights; a sentence if there is none."""
    if "failure" in told:
        return told["failure"]
    try:
        result, score = load_result(Path(told["run"]) / RESULT)
    except SwayError as error:
        return f"the result cannot be read: {error}"
    return result, score if weights is None else compute(result, weights=_merged(weights))


def _told(note: Path) -> dict[str, str] | None:
    """What came out of the run of another process; ``None`` if there was none."""
    try:
        told: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if told.keys() & {"run", "failure"}:
        return told
    # Whatever ended that process would end this one, too.
    return {"failure": f"the process that ran this suite (pid {told.get('by')}) ended before it was done"}


def _run(spec: Path, weights: Weights) -> dict[str, str]:
    """Run a suite into a folder of its own; the folder, or why it could not be run."""
    try:
        text = spec.read_text(encoding="utf-8")
        check_usable(with_current_adapter(load_spec(spec)))
        folder = new_run(text, name=f"pytest {spec.stem}", base_dir=spec.parent, spec_path=str(spec))
    except (SwayError, OSError) as error:
        return {"failure": f"the suite could not be run: {error}"}
    try:
        with _left_as_found():
            result, _ = execute(folder, details=0)
        if weights is not None:
            folder.write_result(to_json(result, compute(result, weights=_merged(weights))))
    except RunCancelled:
        # What was measured until then is in the folder.
        pass
    except Exception as error:
        said = str(error) if isinstance(error, SwayError) else f"{type(error).__name__}: {error}"
        return {"failure": f"the suite could not be run: {said}\nthe run: {folder.path}"}
    if not (folder.path / RESULT).is_file():
        return {"failure": f"the suite left no result: {folder.error or folder.path}"}
    return {"run": str(folder.path)}


def _merged(weights: Weights) -> dict[str, float] | None:
    return None if weights is None else merge_weights({k: float(v) for k, v in weights.items()})


def _digest(spec: Path) -> str:
    return hashlib.sha256(str(spec.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:12]


@contextmanager
def _left_as_found() -> Iterator[None]:
    """A run seeds the generators of its process; the tests after it shall draw what they would have drawn."""
    own, arrays, cublas = random.getstate(), np.random.get_state(), os.environ.get("CUBLAS_WORKSPACE_CONFIG")  # noqa: NPY002
    before = sys.modules.get("torch")
    strict = before is not None and before.are_deterministic_algorithms_enabled()
    state = before.get_rng_state() if before is not None else None
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(arrays)  # noqa: NPY002
        if cublas is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        torch: Any = sys.modules.get("torch")
        if torch is not None:
            torch.use_deterministic_algorithms(strict)
            if state is not None:
                torch.set_rng_state(state)
