"""A finished run into a tracker of experiments: MLflow, Weights & Biases, TensorBoard.

Each is written through its own library, which is imported when it is asked for. What leaves is redacted like a report:
paths and the name of the user stay here unless ``paths`` is given.
"""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sway_dash.core.errors import SwayError, did_you_mean
from sway_dash.core.result import SuiteResult, SwayScore
from sway_dash.integrations.scalars import PREFIX, scalars
from sway_dash.report.export import make, stem
from sway_dash.report.html.redact import Redaction, checked, redacted
from sway_dash.report.html.source import source_of
from sway_dash.report.json_io import load_result, to_json
from sway_dash.suite.headline import headline
from sway_dash.suite.score import compute
from sway_dash.suite.status import settled
from sway_dash.suite.store import RESULT, RunFolder

if TYPE_CHECKING:
    from sway_dash.figures.opened import Run

COLUMNS = ("probe", "item", "prompt", "tags", "js", "kl", "null_lo", "null_hi", "base_top", "tuned_top")
"""What a table of prompts has of each."""


@dataclass(frozen=True)
class Sheet:
    """What leaves of a run."""

    id: str
    name: str
    step: int
    numbers: Mapping[str, float]
    facts: Mapping[str, str]
    """What was measured, in short texts."""
    rows: tuple[Mapping[str, Any], ...]
    """One a prompt and probe; see ``report.frames.MEASURED``."""
    answer: str
    """The answer and why, as Markdown."""
    files: Mapping[str, bytes]
    """``result.json``, and ``report.html`` where a tracker takes it."""

    def write(self, folder: Path) -> list[Path]:
        """The files, on disk."""
        for name, data in self.files.items():
            (folder / name).write_bytes(data)
        return [folder / name for name in self.files]


def log_result(
    run: Run,
    tracker: Any,
    *,
    step: int | None = None,
    redact: Redaction = "full",
    paths: bool = False,
    folder: Path | str | None = None,
) -> str:
    """Log a run to a tracker and return where it is to be found there.

    Parameters
    ----------
    run
        A run folder, a path to one or to a result file, or a result.
    tracker
        ``"mlflow"``, ``"wandb"`` or ``"tensorboard"``: into the run of theirs that is active, else into a new one.
        Or the thing to log to: a W&B run, a ``SummaryWriter``, the ``mlflow`` module.
    step
        Step of the numbers; by default that of the training the run was measured in, else 0.
    redact, paths
        What is left out; see :mod:`sway_dash.report.html.redact`.
    folder
        Where TensorBoard's files go; ``runs/<run>`` without one.

    Raises
    ------
    SwayError
        For what is no run, an unknown tracker, one that is not installed, and one that does not take the run.
    """
    level = checked(redact)
    if isinstance(tracker, str):
        if tracker not in _TRACKERS:
            known = ", ".join(_TRACKERS)
            raise SwayError(f"{tracker!r} is no tracker: {known}.{did_you_mean(tracker, _TRACKERS)}")
        log, library = _TRACKERS[tracker], _library(tracker)
    else:
        log, library = _log_of(tracker), tracker
    report = log not in (_tensorboard, _tensorboard_in)
    sheet = sheet_of(run, level, step=step, paths=paths, report=report)
    try:
        return log(library, sheet, None if folder is None else Path(folder).expanduser())
    except SwayError:
        raise
    except Exception as error:
        name = tracker if isinstance(tracker, str) else type(tracker).__name__
        why = (str(error).splitlines() or [""])[0]
        raise SwayError(f"{name} did not take the run: {type(error).__name__}: {why}") from error


def sheet_of(
    run: Run, level: Redaction = "full", *, step: int | None = None, paths: bool = False, report: bool = True
) -> Sheet:
    """What leaves of a run at a level of redaction."""
    source = redacted(source_of(run), level, paths=paths)
    result = settled(source.data().result(), alive=source.alive)
    score = _score(run, result)
    rows = make(run, "prompts.jsonl", level, paths=paths).data.decode().splitlines()
    files = {RESULT: to_json(result, score).encode()}
    if report:
        files["report.html"] = make(run, "html", level, paths=paths).data
    found = headline(result)
    answer = f"**{found.word}**: {found.sentence}\n\n" + "\n".join(f"- {reason}" for reason in found.reasons)
    return Sheet(
        id=stem(source.id),
        name=source.name,
        step=_step(run) if step is None else step,
        numbers=scalars(result, score),
        facts=_facts(result, found.word),
        rows=tuple(json.loads(row) for row in rows if row.strip()),
        answer=answer,
        files=files,
    )


def _facts(result: SuiteResult, word: str) -> dict[str, str]:
    environment = result.environment
    facts = {
        "answer": word,
        "status": result.status,
        "base": result.base_model_id,
        "adapter": environment.get("adapter") or result.adapter_id,
        "dtype": environment.get("dtype"),
        "device": environment.get("device"),
        "seed": result.determinism.seed if result.determinism else None,
        "sway_version": result.sway_version,
        "run": result.run_id,
    }
    return {name: str(value)[:500] for name, value in facts.items() if value not in (None, "")}


def _score(run: Run, result: SuiteResult) -> SwayScore:
    """The composite with the weights of the run's own suite, which its result file knows."""
    path = run.path if isinstance(run, RunFolder) else Path(run).expanduser() if isinstance(run, str | Path) else None
    if path is None:
        return compute(result)
    file = path / RESULT if path.is_dir() else path
    return compute(result, weights=load_result(file)[1].weights if file.is_file() else None)


def _step(run: Run) -> int:
    folder = run if isinstance(run, RunFolder) else None
    if isinstance(run, str | Path):
        path = Path(run).expanduser()
        folder = RunFolder(path if path.is_dir() else path.parent)
    step = folder.meta().get("step") if folder is not None else None
    return step if isinstance(step, int) and not isinstance(step, bool) else 0


# -- the trackers -------------------------------------------------------------------------------


def _mlflow(mlflow: Any, sheet: Sheet, _folder: Path | None) -> str:
    active = mlflow.active_run()
    with ExitStack() as stack:
        run = active or stack.enter_context(mlflow.start_run(run_name=sheet.name))
        mlflow.log_metrics(dict(sheet.numbers), step=sheet.step)
        mlflow.set_tags({f"sway.{name}": value for name, value in sheet.facts.items()})
        if active is None:
            # Those of somebody else's run are theirs, and cannot be changed once they are set.
            mlflow.log_params(dict(sheet.facts))
        with tempfile.TemporaryDirectory(prefix="sway-") as folder:
            for path in sheet.write(Path(folder)):
                mlflow.log_artifact(str(path), artifact_path=f"sway/{sheet.id}")
    return f"MLflow run {run.info.run_id}"


def _wandb_module(wandb: Any, sheet: Sheet, _folder: Path | None) -> str:
    if wandb.run is not None:
        return _wandb(wandb.run, sheet, None)
    with wandb.init(name=sheet.name, job_type="sway", config=dict(sheet.facts)) as run:
        return _wandb(run, sheet, None)


def _wandb(run: Any, sheet: Sheet, _folder: Path | None) -> str:
    wandb = _library("wandb")
    run.summary.update({**sheet.numbers, **{f"{PREFIX}{name}": sheet.facts[name] for name in ("answer", "status")}})
    rows = [[_cell(row.get(column)) for column in COLUMNS] for row in sheet.rows]
    run.log({f"{PREFIX}prompts": wandb.Table(columns=list(COLUMNS), data=rows)})
    artifact = wandb.Artifact(f"sway-{sheet.id}", type="sway-run", metadata=dict(sheet.facts))
    with tempfile.TemporaryDirectory(prefix="sway-") as folder:
        for path in sheet.write(Path(folder)):
            artifact.add_file(str(path))
        run.log_artifact(artifact)
    return f"W&B run {getattr(run, 'url', None) or run.id}"


def _tensorboard_in(make_writer: Callable[[Path], Any], sheet: Sheet, folder: Path | None) -> str:
    where = folder or Path("runs") / sheet.id
    writer = make_writer(where)
    try:
        _tensorboard(writer, sheet, where)
    finally:
        writer.close()
    return f"TensorBoard files in {where}"


def _tensorboard(writer: Any, sheet: Sheet, folder: Path | None) -> str:
    for name, value in sheet.numbers.items():
        writer.add_scalar(name, value, sheet.step)
    facts = "\n".join(f"- {name}: {value}" for name, value in sheet.facts.items())
    writer.add_text(f"{PREFIX}answer", f"{sheet.answer}\n\n{facts}", sheet.step)
    for probe in dict.fromkeys(row["probe"] for row in sheet.rows):
        for metric in ("js", "kl"):
            values = [row[metric] for row in sheet.rows if row["probe"] == probe and row[metric] is not None]
            if values:
                writer.add_histogram(f"{PREFIX}{probe}/{metric} of each prompt", np.asarray(values), sheet.step)
    writer.flush()
    return f"TensorBoard files in {folder or getattr(writer, 'log_dir', 'the folder of the writer')}"


def _cell(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


_TRACKERS: Mapping[str, Callable[[Any, Sheet, Path | None], str]] = {
    "mlflow": _mlflow,
    "wandb": _wandb_module,
    "tensorboard": _tensorboard_in,
}


def _library(name: str) -> Any:
    if name == "tensorboard":
        from sway_dash.backends.training_process import summary_writer

        return summary_writer
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SwayError(f"{name} is not installed: pip install {name}") from None


def _log_of(tracker: Any) -> Callable[[Any, Sheet, Path | None], str]:
    """How to log to a thing, by what it can do."""
    if hasattr(tracker, "add_histogram"):
        return _tensorboard
    if hasattr(tracker, "log_artifact"):
        module = hasattr(tracker, "init")
        return (_wandb_module if module else _wandb) if hasattr(tracker, "summary") else _mlflow
    known = ", ".join(_TRACKERS)
    raise SwayError(f"a {type(tracker).__name__} is no tracker: give {known}, a W&B run, a SummaryWriter or mlflow")
