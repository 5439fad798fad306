"""A run in MLflow, Weights & Biases and TensorBoard: through their own libraries where they are installed."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from sway_dash.cli.app import app
from sway_dash.core.errors import SwayError
from sway_dash.demo import demo_dir
from sway_dash.integrations import trackers
from sway_dash.integrations.trackers import log_result, sheet_of
from sway_dash.report import export
from sway_dash.report.json_io import from_json, load_result
from sway_dash.suite.store import RunFolder

RUN = demo_dir() / "run"
MEAN = load_result(RUN / "result.json")[0].probes[1].raw


@pytest.fixture(scope="module")
def report() -> export.File:
    return export.make(RUN, "html")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, report: export.File) -> None:
    """A report takes a second; one will do for all of them."""

    def make(run: Any, what: str, *args: Any, **options: Any) -> export.File:
        return report if what == "html" else export.make(run, what, *args, **options)

    monkeypatch.setattr(trackers, "make", make)


class Mlflow:
    """Writes down what it is told."""

    def __init__(self, active: Any = None) -> None:
        self.active, self.ended = active, False
        self.metrics: dict[str, float] = {}
        self.params: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.artifacts: dict[str, bytes] = {}
        self.step = -1

    def active_run(self) -> Any:
        return self.active

    @contextmanager
    def start_run(self, run_name: str) -> Any:
        yield SimpleNamespace(info=SimpleNamespace(run_id="new", name=run_name))
        self.ended = True

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics, self.step = metrics, step

    def log_params(self, params: dict[str, str]) -> None:
        self.params = params

    def set_tags(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def log_artifact(self, path: str, artifact_path: str) -> None:
        self.artifacts[f"{artifact_path}/{Path(path).name}"] = Path(path).read_bytes()


class WandbRun:
    """A run of W&B that is going on."""

    def __init__(self) -> None:
        self.id, self.url, self.ended = "abc", "", False
        self.summary: dict[str, Any] = {}
        self.logged: dict[str, Any] = {}
        self.artifacts: list[Any] = []

    def __enter__(self) -> WandbRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True

    def log(self, data: dict[str, Any]) -> None:
        self.logged |= data

    def log_artifact(self, artifact: Any) -> None:
        self.artifacts.append(artifact)


class Artifact:
    """Files under a name."""

    def __init__(self, name: str, type: str, metadata: dict[str, str]) -> None:
        self.name, self.type, self.metadata = name, type, metadata
        self.files: dict[str, bytes] = {}

    def add_file(self, path: str) -> None:
        self.files[Path(path).name] = Path(path).read_bytes()


def wandb_module(run: WandbRun | None, made: WandbRun) -> Any:
    def table(columns: list[str], data: list[list[Any]]) -> Any:
        return SimpleNamespace(columns=columns, data=data)

    return SimpleNamespace(run=run, init=lambda **_: made, Table=table, Artifact=Artifact)


def test_a_new_run_of_mlflow_has_metrics_parameters_tags_and_files(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    assert log_result(RUN, "mlflow") == "MLflow run new"
    assert fake.metrics["sway/mean_js"] == MEAN
    assert fake.metrics["sway/next_token/raw"] == MEAN
    assert fake.params["answer"] == "changed" == fake.tags["sway.answer"]
    assert fake.ended
    files = {name.rsplit("/", 1)[1]: data for name, data in fake.artifacts.items()}
    assert from_json(json.loads(files["result.json"]))[0].probes[1].raw == MEAN
    assert files["report.html"].startswith(b"<!doctype html")
    assert all(name.startswith("sway/") for name in fake.artifacts)


def test_an_active_run_of_mlflow_keeps_its_parameters_and_goes_on(quick: None) -> None:
    fake = Mlflow(SimpleNamespace(info=SimpleNamespace(run_id="theirs")))
    assert log_result(RUN, fake, step=7) == "MLflow run theirs"
    assert fake.params == {}
    assert fake.step == 7
    assert not fake.ended


def test_wandb_has_a_summary_a_table_of_prompts_and_the_files(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    made, active = WandbRun(), WandbRun()
    monkeypatch.setitem(sys.modules, "wandb", wandb_module(None, made))
    assert log_result(RUN, "wandb") == "W&B run abc"
    assert made.ended
    assert made.summary["sway/mean_js"] == MEAN
    assert made.summary["sway/answer"] == "changed"
    table = made.logged["sway/prompts"]
    assert table.columns[:3] == ["probe", "item", "prompt"]
    assert len(table.data) == 28 + 10
    assert table.data[0][2] == "The keeper of Quillhaven Light is"
    assert set(made.artifacts[0].files) == {"result.json", "report.html"}
    monkeypatch.setitem(sys.modules, "wandb", wandb_module(active, made))
    log_result(RUN, active)
    assert active.summary == made.summary
    assert not active.ended


def test_nothing_leaves_that_was_to_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = sheet_of(RUN, "no-prompts", report=False)
    everything = repr((sheet.rows, sheet.facts, sheet.answer, sheet.numbers)).encode() + sheet.files["result.json"]
    assert b"Quillhaven" not in everything
    assert [row["prompt"] for row in sheet.rows[:2]] == ["P001", "P002"]
    assert sheet.numbers["sway/mean_js"] == MEAN
    with pytest.raises(SwayError, match="no-prompts"):
        log_result(RUN, Mlflow(), redact="no-prompt")  # type: ignore[arg-type]


def test_the_step_is_that_of_the_training(tmp_path: Path) -> None:
    folder = RunFolder.create("version: 1\nmodels: {base: {base: b}, ft: {base: b}}\n", root=tmp_path)
    folder.write_result((RUN / "result.json").read_text(encoding="utf-8"))
    assert sheet_of(folder, report=False).step == 0
    folder.write_meta(step=40)
    assert sheet_of(folder, report=False).step == 40
    assert sheet_of(folder.path, report=False).step == 40
    assert sheet_of(folder.path / "result.json", report=False, step=3).step == 3
    assert sheet_of(folder, report=False).numbers["sway/mean_js"] == MEAN


class Writer:
    """A SummaryWriter of somebody else."""

    log_dir = "theirs"

    def __init__(self) -> None:
        self.scalars: dict[str, tuple[float, int]] = {}
        self.texts: dict[str, str] = {}
        self.histograms: dict[str, Any] = {}
        self.closed = False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars[name] = (value, step)

    def add_text(self, name: str, text: str, step: int) -> None:
        self.texts[name] = text

    def add_histogram(self, name: str, values: Any, step: int) -> None:
        self.histograms[name] = values

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def test_a_writer_gets_scalars_text_and_the_spread_over_the_prompts() -> None:
    writer = Writer()
    assert log_result(RUN, writer, step=5) == "TensorBoard files in theirs"
    assert writer.scalars["sway/mean_js"] == (MEAN, 5)
    assert writer.texts["sway/answer"].startswith("**changed**")
    assert len(writer.histograms["sway/next_token/js of each prompt"]) == 28
    assert np.mean(writer.histograms["sway/next_token/js of each prompt"]) == pytest.approx(MEAN)
    assert not writer.closed


@pytest.mark.parametrize(
    ("tracker", "words"),
    [("mlflo", "Did you mean 'mlflow'"), ("neptune", "no tracker"), (object(), "a object is no tracker")],
)
def test_what_is_no_tracker(tracker: Any, words: str) -> None:
    with pytest.raises(SwayError, match=words):
        log_result(RUN, tracker)


@pytest.mark.parametrize(
    ("tracker", "module", "package"),
    [
        ("mlflow", "mlflow", "mlflow"),
        ("wandb", "wandb", "wandb"),
        ("tensorboard", "tensorboard", "tensorboard"),
    ],
)
def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, tracker: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SwayError, match=f"not installed: pip install {package}$") as error:
        log_result(RUN, tracker)
    assert "\n" not in str(error.value)


def test_a_tracker_that_refuses_is_said_in_one_sentence(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Mlflow()

    def refuse(metrics: dict[str, float], step: int) -> None:
        raise ConnectionError("no route to mlflow.example\nTry again later")

    fake.log_metrics = refuse  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    with pytest.raises(SwayError) as error:
        log_result(RUN, "mlflow")
    assert str(error.value) == "mlflow did not take the run: ConnectionError: no route to mlflow.example"


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(SwayError, match="not there"):
        log_result(tmp_path / "none", Writer())


# -- the real ones, where they are installed ----------------------------------------------------


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert log_result(RUN, "tensorboard", step=3, folder=tmp_path) == f"TensorBoard files in {tmp_path}"
    found = EventAccumulator(str(tmp_path)).Reload()
    (scalar,) = found.Scalars("sway/mean_js")
    assert scalar.step == 3
    assert scalar.value == pytest.approx(MEAN)
    assert found.Tags()["histograms"]
    assert "sway/answer/text_summary" in found.Tags()["tensors"]


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_has_what_was_logged(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow

    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    monkeypatch.chdir(tmp_path)
    said = log_result(RUN, "mlflow", step=3)
    run = mlflow.get_run(said.removeprefix("MLflow run "))
    assert run.data.metrics["sway/mean_js"] == pytest.approx(MEAN)
    assert run.data.params["answer"] == "changed"
    files = mlflow.artifacts.list_artifacts(run_id=run.info.run_id, artifact_path="sway")
    assert len(files) == 1
    assert mlflow.active_run() is None


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_has_what_was_logged(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    assert log_result(RUN, "wandb").startswith("W&B run ")
    assert wandb.run is None
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))


def test_the_command_logs_a_run_and_says_where(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Mlflow()
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    done = CliRunner().invoke(app, ["export", str(RUN), "--to", "mlflow"])
    assert done.exit_code == 0, done.output
    assert "new" in done.stdout
    assert MEAN in fake.metrics.values()


def test_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = CliRunner().invoke(app, ["export", str(RUN), "--to", "wandb"])
    assert done.exit_code == 2
    assert "pip install wandb" in done.stderr
