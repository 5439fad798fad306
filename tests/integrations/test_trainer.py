"""The callback in a real ``Trainer``: what it measures, where the numbers go, and that training does not notice."""

from __future__ import annotations

import hashlib
import logging
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

from sway_dash import SwayCallback
from sway_dash.backends.held import HeldModelBackend
from sway_dash.backends.training_process import undisturbed, unwrapped
from sway_dash.core.errors import SpecValidationError, SwayError
from sway_dash.core.events import Measurement
from sway_dash.core.model import ModelSpec
from sway_dash.dash.runs import about
from sway_dash.demo import demo_dir
from sway_dash.demo.figures import read_prompts
from sway_dash.demo.tokens import pack
from sway_dash.integrations.trainer import _Outcome
from sway_dash.suite.checkpoints import course, ordered
from sway_dash.suite.comparison import compare, open_side
from sway_dash.suite.execute import execute
from sway_dash.suite.loader import load_spec, loads
from sway_dash.suite.store import RunFolder

PROMPTS = [{"text": p.text, "tags": list(p.tags)} for p in read_prompts(demo_dir() / "sway.yaml")[:8]]
STEPS = 12


class Reporter(TrainerCallback):
    """Keeps what a tracker would have been sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, dict[str, Any]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.sent.append((state.global_step, dict(logs)))


@dataclass
class Trained:
    """A training that is over."""

    trainer: Trainer
    reporter: Reporter
    sway: SwayCallback | None = None
    runs: list[RunFolder] = field(default_factory=list)

    @property
    def numbers(self) -> list[dict[str, Any]]:
        """The callback's part of the history."""
        return [entry for entry in self.trainer.state.log_history if "sway/mean_js" in entry]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data() -> tuple[Any, list[dict[str, Any]]]:
    tokenizer = AutoTokenizer.from_pretrained(demo_dir() / "model")
    text = (demo_dir() / "document.md").read_text(encoding="utf-8")
    rows = pack(tokenizer, [part for part in text.split("\n\n") if part.strip()], row=32)
    return tokenizer, [{"input_ids": row.tolist(), "labels": row.tolist()} for row in rows]


def new_model(**options: Any) -> Any:
    torch.manual_seed(3)
    base = AutoModelForCausalLM.from_pretrained(demo_dir() / "model")
    config = {"r": 4, "lora_alpha": 16, "lora_dropout": 0.1, "target_modules": ["q_proj", "up_proj"], **options}
    return get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config))


def trained(
    data: tuple[Any, list[dict[str, Any]]],
    folder: Path,
    sway: SwayCallback | None = None,
    *others: TrainerCallback,
    model: Any = None,
    resume: bool = False,
    **options: Any,
) -> Trained:
    tokenizer, rows = data
    reporter = Reporter()
    arguments = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 3,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 7,
        **options,
    }
    trainer = Trainer(
        model=new_model() if model is None else model,
        args=TrainingArguments(output_dir=str(folder / "quill"), **arguments),
        train_dataset=rows,
        processing_class=tokenizer,
        callbacks=[reporter, *others, *([sway] if sway is not None else [])],
    )
    trainer.train(resume_from_checkpoint=resume or None)
    return Trained(trainer, reporter, sway, sway.runs if sway is not None else [])


def fingerprint(found: Trained) -> str:
    """Hash of all that training makes and draws from."""
    digest = hashlib.sha256()
    model, optimizer = found.trainer.model, found.trainer.optimizer
    tensors = [*model.named_parameters(), *model.named_buffers()]
    for index, state in optimizer.state_dict()["state"].items():
        tensors += [(f"{index}.{name}", value) for name, value in sorted(state.items())]
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.requires_grad}".encode())
        digest.update(tensor.detach().numpy().tobytes())
    digest.update(torch.random.get_rng_state().numpy().tobytes())
    digest.update(repr(np.random.get_state()).encode())  # noqa: NPY002
    digest.update(repr([(n, m.training, len(m._forward_pre_hooks)) for n, m in model.named_modules()]).encode())
    digest.update(repr(sorted(model.peft_config)).encode())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trainings")


@pytest.fixture(scope="module")
def watched(data: Any, folder: Path) -> Trained:
    sway = SwayCallback(prompts=PROMPTS, every=3, runs_dir=folder / "runs", gate=0.5)
    return trained(data, folder, sway, gradient_checkpointing=True)


@pytest.fixture(scope="module")
def unwatched(data: Any, folder: Path) -> Trained:
    return trained(data, folder, gradient_checkpointing=True)


def test_training_ends_with_the_same_bytes_as_without(watched: Trained, unwatched: Trained) -> None:
    losses = [[e["loss"] for e in t.trainer.state.log_history if "loss" in e] for t in (watched, unwatched)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == STEPS // 3
    assert fingerprint(watched) == fingerprint(unwatched)


def test_every_measurement_is_a_run_with_the_step_and_the_training(watched: Trained) -> None:
    assert watched.sway is not None
    tag = watched.sway.training
    assert [run.meta()["step"] for run in watched.runs] == [3, 6, 9, 12]
    for run in watched.runs:
        assert run.meta()["tags"] == [tag]
        assert run.meta()["name"] == f"quill, step {run.meta()['step']}"
        result = run.result()
        assert result.status == "finished"
        assert [p.kind for p in result.probes] == ["null_adapter", "delta_kl"]
        assert result.environment["adapter"] == f"in memory: {tag}/step-{run.meta()['step']}"
        assert result.adapter_id == result.environment["adapter"]
        line = about(run)
        assert line is not None
        assert line.adapter == f"quill, step {run.meta()['step']}"
    assert tag.startswith("quill-")


def test_a_second_training_of_one_name_is_told_from_the_first(tmp_path: Path) -> None:
    for step in (3, 6):
        RunFolder.create("x", root=tmp_path, name=f"quill, step {step}").write_meta(training="quill-1", step=step)
    sway = SwayCallback(prompts=PROMPTS, runs_dir=tmp_path)
    assert sway._own_title("quill") == "quill #2"
    sway.training = "quill-1"
    assert sway._own_title("quill") == "quill", "one that is resumed goes on under its name"
    for name in ("best", "worst"):
        RunFolder.create("x", root=tmp_path, name=name).write_meta(training="quill-1", step=9)
    assert sway._own_title("quill") == "quill", "a run that was given another name does not take it away"
    sway.training = "quill-2"
    RunFolder.create("x", root=tmp_path, name="final").write_meta(training="quill-2", step=3)
    assert sway._own_title("feather") == "feather", "the only run was renamed: the training is called as it was"


def test_numbers_reach_the_history_and_whatever_reports(watched: Trained) -> None:
    history = watched.numbers
    assert [e["step"] for e in history] == [3, 6, 9, 12]
    for entry, run in zip(history, watched.runs, strict=True):
        probe = run.result().probes[1]
        assert entry["sway/mean_js"] == probe.raw
        assert probe.ci_95 == (entry["sway/ci_low"], entry["sway/ci_high"])
        assert entry["sway/next_token/raw"] == probe.raw
        assert entry["sway/next_token/score"] == probe.score
        assert entry["sway/next_token/z"] == probe.z_score
        assert 0 <= entry["sway/score"] <= 1
        assert entry["sway/gate"] in (0.0, 1.0)
        assert entry["sway/seconds"] > 0
        assert entry["sway_run"] == run.id
    sent = {step: logs for step, logs in watched.reporter.sent if "sway/mean_js" in logs}
    assert {step: logs["sway/mean_js"] for step, logs in sent.items()} == {
        e["step"]: e["sway/mean_js"] for e in history
    }
    assert all(isinstance(value, float | int) for logs in sent.values() for value in logs.values())
    assert history[-1]["sway/mean_js"] > history[0]["sway/mean_js"] > 0


def test_the_runs_of_a_training_are_a_series_over_its_steps(watched: Trained) -> None:
    assert watched.sway is not None
    shuffled = [watched.runs[i] for i in (2, 0, 3, 1)]
    sides = [open_side(run.path) for run in shuffled]
    found = ordered(sides)
    assert found is not None
    assert found.training == f"in memory: {watched.sway.training}"
    assert found.steps == ((3, 1), (6, 3), (9, 0), (12, 2))
    along = course(compare(sides), found)
    assert along is not None
    assert len(along.places) == len(PROMPTS)
    assert list(along.means) == [pytest.approx(e["sway/mean_js"]) for e in watched.numbers]
    # One draw of the null for the whole training.
    assert along.nulls[0] is not None
    assert set(along.nulls) == {along.nulls[0]}


def test_gaussian_nulls_are_drawn_once_and_are_what_they_would_be(watched: Trained, data: Any, tmp_path: Path) -> None:
    phases = [run.result().backend_stats["by_phase"]["calibration"] for run in watched.runs]
    assert phases[0]["cache_misses"] > 0
    assert [p["cache_misses"] for p in phases[1:]] == [0, 0, 0]

    last = watched.runs[-1]
    anew = RunFolder.create(last.spec_text(), root=tmp_path)
    with undisturbed():
        execute(anew, opener=lambda: HeldModelBackend(watched.trainer.model, data[0]))

    def measured(run: RunFolder) -> dict[Any, float]:
        return {(e.view, e.item, e.role): e.js for e in run.tail().read() if isinstance(e, Measurement)}

    assert measured(anew) == measured(last)


def test_nulls_of_the_trained_size_are_drawn_every_time(data: Any, tmp_path: Path) -> None:
    suite = {
        "suite": [
            {"name": "noise", "kind": "null_adapter", "runs": 2, "distribution": "norm_matched"},
            {"name": "moved", "kind": "delta_kl", "prompts": PROMPTS[:4]},
        ]
    }
    found = trained(data, tmp_path, SwayCallback(suite, every=1, runs_dir=tmp_path / "runs"), max_steps=2)
    misses = [run.result().backend_stats["by_phase"]["calibration"]["cache_misses"] for run in found.runs]
    assert len(misses) == 2
    assert misses[0] == misses[1] > 0
    draws = [[e.js for e in r.tail().read() if isinstance(e, Measurement) and e.role == "null"] for r in found.runs]
    assert draws[0] != draws[1]


def test_a_saved_step_names_its_folder_and_a_resumed_training_keeps_its_tag(data: Any, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 1}
    light = SwayCallback(prompts=PROMPTS[:4], nulls=0, every="save", runs_dir=tmp_path / "runs", name="handbook")
    first = trained(data, tmp_path, light, max_steps=1, **options)
    again = SwayCallback(prompts=PROMPTS[:4], nulls=0, every="save", runs_dir=tmp_path / "runs", name="handbook")
    second = trained(data, tmp_path, again, resume=True, max_steps=2, **options)
    assert light.training == again.training
    assert light.training.startswith("handbook-")
    assert [run.meta()["step"] for run in (*first.runs, *second.runs)] == [1, 2]
    result = second.runs[0].result()
    assert Path(result.adapter_id) == tmp_path / "quill" / "checkpoint-2"


def test_at_the_end_of_an_epoch(data: Any, tmp_path: Path) -> None:
    tokenizer, rows = data
    sway = SwayCallback(prompts=PROMPTS[:4], nulls=0, every="epoch", runs_dir=tmp_path / "runs")
    found = trained((tokenizer, rows[:4]), tmp_path, sway, max_steps=-1, num_train_epochs=2)
    assert [run.meta()["step"] for run in found.runs] == [1, 2]
    assert found.trainer.control.should_log is False


class Poison(TrainerCallback):
    """Makes a weight NaN."""

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        with torch.no_grad():
            next(p for n, p in model.named_parameters() if "lora_B" in n).fill_(float("nan"))


def test_a_broken_model_ends_the_training_when_asked(
    data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sway = SwayCallback(prompts=PROMPTS, every=1, runs_dir=tmp_path, stop_when="broken")
    found = trained(data, tmp_path, sway, Poison())
    assert found.trainer.state.global_step == 1
    assert "training ends here" in caplog.text
    assert "preflight failed" in caplog.text
    history = found.trainer.state.log_history
    assert [e["sway_answer"] for e in history if "sway_answer" in e] == ["broken"]


def test_a_probe_that_fails_is_said_and_training_goes_on_or_ends_as_asked(
    data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    suite = {
        "suite": [
            {"name": "moved", "kind": "delta_kl", "prompts": PROMPTS[:4]},
            {"name": "empty", "kind": "delta_kl", "prompts": []},
        ]
    }
    found = trained(data, tmp_path, SwayCallback(suite, every=1, runs_dir=tmp_path / "a"), max_steps=2)
    assert found.trainer.state.global_step == 2
    assert len(found.numbers) == 2
    assert found.numbers[0]["sway/errors"] == 1
    assert "step 1: empty: no prompts" in caplog.text
    with pytest.raises(SwayError, match="step 1: empty: no prompts"):
        trained(data, tmp_path, SwayCallback(suite, every=1, runs_dir=tmp_path / "b", on_error="raise"), max_steps=2)


def test_a_measurement_that_fails_is_left_out(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        OSError(28, "No space left on device"),
        SwayError("the model is gone"),
    ]

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise errors.pop(0)

    monkeypatch.setattr("sway_dash.integrations.trainer.execute", fail)
    found = trained(data, tmp_path, SwayCallback(prompts=PROMPTS, every=1, runs_dir=tmp_path), max_steps=3)
    assert found.trainer.state.global_step == 3
    assert found.numbers == []
    said = [record.getMessage() for record in caplog.records if record.name == "sway_dash"]
    assert [text.split(":")[0] for text in said] == ["step 1", "step 2", "step 3"]
    for text, words in zip(said, ("not enough memory", "No space left", "the model is gone"), strict=True):
        assert words in text


class Refuses(TrainerCallback):
    """A tracker that is not there."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if "sway/mean_js" in logs:
            raise ConnectionError("no route to the tracker")


def test_a_tracker_that_fails_ends_no_training(data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sway = SwayCallback(prompts=PROMPTS[:4], nulls=0, every=1, runs_dir=tmp_path)
    found = trained(data, tmp_path, sway, Refuses(), max_steps=1)
    assert "no route to the tracker" in caplog.text
    assert len(found.numbers) == 1


def test_other_processes_take_over_what_the_first_one_found(
    data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [("quill-1", ""), _Outcome({"sway/mean_js": 0.5}, {"sway_answer": "broken"}, (), stop=True)]
    monkeypatch.setattr("sway_dash.integrations.trainer.shared", lambda _own: told.pop(0))
    monkeypatch.setattr(Trainer, "is_world_process_zero", lambda _self: False)
    found = trained(data, tmp_path, SwayCallback(prompts=PROMPTS, every=1, runs_dir=tmp_path), max_steps=3)
    assert found.runs == []
    assert [e["sway/mean_js"] for e in found.numbers] == [0.5]
    assert found.trainer.state.global_step == 1
    assert found.sway is not None
    assert found.sway.training == "quill-1"


def plain() -> Any:
    return AutoModelForCausalLM.from_pretrained(demo_dir() / "model")


def partly_trained() -> Any:
    model = new_model()
    model.get_base_model().model.norm.weight.requires_grad_(True)
    return model


def spread() -> Any:
    model = new_model()
    next(iter(model.parameters())).ds_status = "not here"
    return model


def with_a_saved_module() -> Any:
    return new_model(modules_to_save=["norm"])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (plain, "has no adapter that can be switched off"),
        (partly_trained, "weights of the base itself are trained (base_model.model.model.norm.weight)"),
        (spread, "the weights are spread over several processes"),
        (with_a_saved_module, ""),
    ],
)
def test_a_model_that_cannot_be_measured_is_said_when_training_begins(
    data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Any, words: str
) -> None:
    sway = SwayCallback(prompts=PROMPTS[:4], nulls=0, every=1, runs_dir=tmp_path)
    found = trained(data, tmp_path, sway, model=make(), max_steps=1)
    assert found.trainer.state.global_step == 1
    assert caplog.text.count("this training is not measured") == (1 if words else 0)
    assert words in caplog.text
    assert len(found.runs) == (0 if words else 1)


def test_a_trainer_without_a_tokenizer(data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = trained((None, data[1]), tmp_path, SwayCallback(prompts=PROMPTS, every=1, runs_dir=tmp_path), max_steps=1)
    assert found.runs == []
    assert "processing_class=tokenizer" in caplog.text
    with pytest.raises(SwayError, match="tokenizer"):
        trained((None, data[1]), tmp_path, SwayCallback(prompts=PROMPTS, every=1, on_error="raise"), max_steps=1)


def test_what_is_put_around_a_model_is_taken_off() -> None:
    model = new_model()
    assert unwrapped(torch.nn.DataParallel(model)) is model
    compiled = torch.nn.Module()
    compiled._orig_mod = model
    assert unwrapped(torch.nn.DataParallel(compiled)) is model
    other = torch.nn.Linear(1, 1)
    assert unwrapped(other) is other


def test_generators_are_put_back_and_autocast_is_off_inside() -> None:
    def drawn() -> list[float]:
        return [float(torch.rand(1)), float(np.random.random()), random.random()]  # noqa: NPY002

    def fail() -> None:
        with undisturbed():
            assert not torch.is_autocast_enabled("cpu")
            drawn()
            raise KeyError

    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002, TID251
    want = drawn()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002, TID251
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(KeyError):
            fail()
        assert torch.is_autocast_enabled("cpu")
    assert drawn() == want


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "either suite"),
        ({"prompts": ["a"], "suite": {"suite": []}}, "either suite"),
        ({"prompts": "one text"}, "a list of prompts"),
        ({"prompts": []}, "no prompt"),
        ({"prompts": ["a"], "every": 0}, "at least 1 step"),
        ({"prompts": ["a"], "every": 2.5}, "number of steps"),
        ({"prompts": ["a"], "every": "epochs"}, "Did you mean 'epoch'"),
        ({"prompts": ["a"], "gate": 2.0}, "between 0 and 1"),
        ({"prompts": ["a"], "stop_when": "changed"}, "stop_when"),
        ({"prompts": ["a"], "on_error": "ignore"}, "on_error"),
        ({"prompts": ["a"], "nulls": -1}, "runs"),
        ({"suite": "no/such/sway.yaml"}, "not found"),
        ({"suite": {"suite": []}}, "no probe"),
        ({"suite": {"suite": [{"name": "x", "kind": "delta_lk", "prompts": ["a"]}]}}, "delta_kl"),
        ({"suite": {"defaults": {"differential": False}, "suite": []}}, "differential"),
    ],
)
def test_a_wrong_setting_is_said_before_training(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecValidationError) as error:
        SwayCallback(**options)
    assert words in str(error.value)


def test_a_suite_file_is_measured_with_the_model_that_trains() -> None:
    sway = SwayCallback(demo_dir() / "sway.yaml")
    text = sway.suite.text(ModelSpec(base="the one in memory"))
    spec = loads(text, folder=sway.suite.folder)
    assert spec.models.ft.base == "the one in memory"
    assert spec.models.ft.adapter is None
    assert spec.suite == load_spec(demo_dir() / "sway.yaml").suite


def test_nothing_is_heard_of_it_when_it_is_not_to_log(
    data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "sway_dash")
    sway = SwayCallback(prompts=PROMPTS[:4], nulls=0, every=1, runs_dir=tmp_path, log=False)
    found = trained(data, tmp_path, sway, max_steps=1)
    assert len(found.runs) == 1
    assert found.numbers == []
    assert not caplog.records
