"""Measuring an adapter while it trains: a callback for the ``Trainer`` of transformers.

::

    from sway_dash import SwayCallback

    trainer = Trainer(model=peft_model, ..., callbacks=[SwayCallback("sway.yaml", every=50)])

Each measurement is a run folder like any other. Those of one training carry its tag and their step; the dashboard's
Compare shows them over the steps.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, get_args

from sway_dash.backends.held import HeldModelBackend, Lasting, spec_of
from sway_dash.backends.held_checks import adapter_to_measure, trained_in_place
from sway_dash.backends.training_process import is_out_of_memory, shared, trainer_callback, undisturbed, unwrapped
from sway_dash.core.errors import ModelLoadError, SpecValidationError, SwayError, did_you_mean
from sway_dash.core.result import SuiteResult, SwayScore, Verdict
from sway_dash.integrations.scalars import PREFIX, broken, scalars
from sway_dash.integrations.training_suite import NULLS, Prompt, Suite, training_suite
from sway_dash.suite.execute import execute
from sway_dash.suite.gate import judge
from sway_dash.suite.headline import headline
from sway_dash.suite.naming import unused
from sway_dash.suite.store import RunFolder, list_runs

if TYPE_CHECKING:
    from transformers import TrainerCallback
else:
    TrainerCallback = trainer_callback()

Moment = Literal["epoch", "save", "evaluate"]
OnError = Literal["warn", "raise"]

MOMENTS: tuple[Moment, ...] = get_args(Moment)
TRAINING = "sway_training"
"""Where a training's log keeps its tag, so that one that is resumed goes on under it."""

STEP = ", step "
"""Between the name of a training and a step, in the name of a run."""

_log = logging.getLogger("sway_dash")


@dataclass(frozen=True)
class _Outcome:
    """What the process that measured tells the others."""

    numbers: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    """What went wrong."""
    stop: bool = False


class SwayCallback(TrainerCallback):  # type: ignore[misc]
    """Measures the adapter of a ``PeftModel`` while the ``Trainer`` trains it, and logs what it finds.

    The model of the training is measured where it is. Weights, gradients, optimizer, training mode and the random
    generators are left as they were: a training with the callback ends with the same bytes as one without. Gaussian
    nulls, which training does not move, are drawn at the first measurement and hold for the later ones; nulls of the
    trained size or spectrum follow the adapter and are drawn every time.

    In a distributed training the first process measures and the others wait for it; a measurement has to take less
    than ``TrainingArguments.ddp_timeout``. Weights that are spread over processes (FSDP, ZeRO stage 3) and quantised
    bases cannot be measured; that is said when the training begins.

    Parameters
    ----------
    suite
        Path of a ``sway.yaml``, a mapping with its keys, or a ``SwaySpec``; what it names as models does not matter.
    prompts
        In place of a suite: texts, or mappings with ``text`` and ``tags``. The next token after each of them is
        measured (``delta_kl``), with ``nulls`` random adapters to compare with.
    every
        A number of optimizer steps (and at the last step), or ``epoch``, ``save`` or ``evaluate``.
    tokenizer
        That of the trainer (``processing_class``) without one.
    runs_dir
        Folder for run folders; by default ``$SWAY_RUNS_DIR``, else ``~/sway-runs``.
    name
        What the training is called; by default the name of its output folder.
    log
        Whether numbers go to the log of the trainer and all that it reports to.
    gate
        Smallest composite score that passes, in [0, 1]; ``sway/gate`` is 1 where the gate passes, else 0.
    stop_when
        ``"broken"`` ends the training when a model gives numbers that are none.
    on_error
        ``"warn"`` says what could not be measured and trains on; ``"raise"`` ends the training with it.
    details
        Prompts that are kept token by token, the most moved first.

    Raises
    ------
    SpecValidationError
        When the suite or a setting is wrong.
    """

    def __init__(
        self,
        suite: Suite | None = None,
        *,
        prompts: Sequence[Prompt] | None = None,
        every: int | Moment = 100,
        tokenizer: Any = None,
        runs_dir: Path | str | None = None,
        name: str = "",
        nulls: int = NULLS,
        log: bool = True,
        gate: float | None = None,
        stop_when: Literal["broken"] | None = None,
        on_error: OnError = "warn",
        details: int = 0,
    ) -> None:
        _check(every, gate, stop_when, on_error)
        self.suite = training_suite(suite, prompts, nulls)
        self.every, self.tokenizer, self.name = every, tokenizer, name
        self.runs_dir = None if runs_dir is None else Path(runs_dir).expanduser()
        self.log, self.gate, self.stop_when, self.on_error, self.details = log, gate, stop_when, on_error, details
        self.runs: list[RunFolder] = []
        """Run folders of this training, in the order of their steps."""
        self.training = ""
        """Tag of this training."""
        self._handler: Any = None
        self._lasting = Lasting()
        self._measured = -1
        self._off = True
        self._title = ""

    def set_trainer(self, trainer: Any) -> None:
        """Name the trainer whose log gets the numbers; it is found without that when training begins."""
        self._handler = trainer.callback_handler

    # -- when -----------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look whether this model can be measured, before hours are spent."""
        self._handler = _handler_of(self) or self._handler
        self._lasting, self._measured, self.runs = Lasting(), -1, []
        self.training = str(next((e[TRAINING] for e in reversed(state.log_history) if TRAINING in e), ""))
        problem = ""
        if state.is_world_process_zero:
            self._title = self._own_title(self._called(args))
            self.training = self.training or _new_tag(self._called(args))
            problem = _problem(kwargs.get("model"), self._tokenizer(kwargs))
        self.training, problem = shared((self.training, problem))
        if not any(TRAINING in entry for entry in state.log_history):
            # Now, so that every checkpoint has it.
            state.log_history.append({TRAINING: self.training, "step": state.global_step})
        self._off = bool(problem)
        if problem:
            self._say(state, f"this training is not measured: {problem}")
        elif self.log and self._handler is None:
            self._tell(state, "the trainer was not found: numbers reach its history alone; call set_trainer(trainer)")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Measure at every so many steps, and at the last one."""
        last = control.should_training_stop or state.global_step >= state.max_steps
        if isinstance(self.every, int) and (last or state.global_step % self.every == 0):
            return self._measure(args, state, control, kwargs)
        return control

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Measure at the end of an epoch; the end of a training that something else has stopped is one, too."""
        if self.every == "epoch" or (isinstance(self.every, int) and control.should_training_stop):
            return self._measure(args, state, control, kwargs)
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Measure what was just saved."""
        return self._measure(args, state, control, kwargs) if self.every == "save" else control

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Measure what was just evaluated."""
        return self._measure(args, state, control, kwargs) if self.every == "evaluate" else control

    # -- measuring ------------------------------------------------------------------------------

    def _measure(self, args: Any, state: Any, control: Any, given: Mapping[str, Any]) -> Any:
        step = int(state.global_step)
        if self._off or step == self._measured:
            return control
        self._measured = step
        outcome = _Outcome()
        if state.is_world_process_zero:
            try:
                outcome = self._run(args, step, given)
            except Exception as error:
                outcome = _Outcome(said=(_words(error),))
                if self.on_error == "raise" and not isinstance(error, SwayError):
                    _log.exception("at step %d", step)
        outcome = shared(outcome)
        if self.log and outcome.numbers:
            self._report(args, state, control, outcome)
        for text in outcome.said:
            self._say(state, f"step {step}: {text}")
        if outcome.stop:
            self._tell(state, f"step {step}: the model is broken, so training ends here")
            control.should_training_stop = True
        return control

    def _run(self, args: Any, step: int, given: Mapping[str, Any]) -> _Outcome:
        began = time.perf_counter()
        model, tokenizer = unwrapped(given["model"]), self._tokenizer(given)
        saved = Path(args.output_dir) / f"checkpoint-{step}" if self.every == "save" else None
        adapter = saved.resolve() if saved is not None and (saved / "adapter_config.json").is_file() else None
        folder = RunFolder.create(
            self.suite.text(spec_of(model), adapter=adapter),
            root=self.runs_dir,
            name=f"{self._title}{STEP}{step}",
            base_dir=self.suite.folder,
            spec_path=self.suite.source,
        )
        output = str(Path(args.output_dir).resolve())
        folder.write_meta(tags=[self.training], training=self.training, step=step, output_dir=output)
        self.runs.append(folder)
        label = f"{self.training}/step-{step}"
        with undisturbed():
            result, score = execute(
                folder,
                opener=lambda: HeldModelBackend(model, tokenizer, label=label, lasting=self._lasting),
                details=self.details,
            )
        facts = {TRAINING: self.training, "sway_run": folder.id, "sway_answer": headline(result).word}
        if result.status != "finished":
            return _Outcome(facts=facts, said=(f"the measurement was {result.status}",))
        numbers = {**scalars(result, score), **self._gated(result, score)}
        numbers[f"{PREFIX}seconds"] = time.perf_counter() - began
        bad = broken(result)
        failed = [p for p in result.probes if p.verdict is Verdict.ERROR]
        said = tuple(p.message if p is bad else f"{p.name}: {p.message}" for p in failed)
        return _Outcome(numbers, facts, said, stop=self.stop_when == "broken" and bad is not None)

    def _called(self, args: Any) -> str:
        return self.name or Path(args.output_dir).resolve().name

    def _own_title(self, called: str) -> str:
        """What runs of this training are called before their step: no other training's name, and its own again."""
        titles: dict[str, str] = {}
        for folder in list_runs(self.runs_dir):
            meta = folder.meta()
            if meta.get("training"):
                title, found, _ = str(meta.get("name")).rpartition(STEP)
                # A run that was given another name says nothing of the others.
                if found:
                    titles[title] = str(meta["training"])
        own = [title for title, training in titles.items() if training == self.training]
        return own[0] if own else unused(called, titles)

    def _gated(self, result: SuiteResult, score: SwayScore) -> dict[str, float]:
        if self.gate is None:
            return {}
        return {f"{PREFIX}gate": float(judge(result, score, threshold=self.gate).passed)}

    def _tokenizer(self, given: Mapping[str, Any]) -> Any:
        own = self.tokenizer if self.tokenizer is not None else given.get("processing_class")
        # A processor of texts and pictures has its tokenizer inside.
        return own if hasattr(own, "convert_ids_to_tokens") else getattr(own, "tokenizer", own)

    # -- telling --------------------------------------------------------------------------------

    def _report(self, args: Any, state: Any, control: Any, outcome: _Outcome) -> None:
        """Log like ``Trainer.log``: into the history, and to every callback that reports."""
        logs = dict(outcome.numbers)
        if state.epoch is not None:
            logs["epoch"] = state.epoch
        state.log_history.append({**logs, **outcome.facts, "step": state.global_step})
        if self._handler is None:
            return
        # Not Trainer.log: trainers put what they have gathered for their own next log into it. Nor may the log that
        # is due at this step be forgotten, which logging puts down as done.
        due = control.should_log
        try:
            self._handler.on_log(args, state, control, logs)
        except Exception as error:
            self._say(state, f"step {state.global_step}: the numbers could not be logged: {_words(error)}")
        finally:
            control.should_log = due

    def _say(self, state: Any, text: str) -> None:
        """What went wrong: a warning, or the end of the training, as was asked for."""
        if self.on_error == "raise":
            raise SwayError(text)
        self._tell(state, text)

    def _tell(self, state: Any, text: str) -> None:
        if state.is_world_process_zero:
            _log.warning("%s", text)


def _check(every: Any, gate: float | None, stop_when: Any, on_error: Any) -> None:
    if isinstance(every, bool) or not isinstance(every, int | str):
        raise SpecValidationError(f"every must be a number of steps or one of {', '.join(MOMENTS)}, not {every!r}")
    if isinstance(every, int) and every < 1:
        raise SpecValidationError(f"every must be at least 1 step, not {every}")
    if isinstance(every, str) and every not in MOMENTS:
        known = ", ".join(MOMENTS)
        raise SpecValidationError(f"every={every!r} is no moment: {known}, or a number of steps."
                                  f"{did_you_mean(every, MOMENTS)}")  # fmt: skip
    if gate is not None and not 0.0 <= gate <= 1.0:
        raise SpecValidationError(f"gate is a composite score between 0 and 1, not {gate}")
    if stop_when not in (None, "broken"):
        raise SpecValidationError(f"stop_when={stop_when!r} is unknown: broken, or None")
    if on_error not in get_args(OnError):
        raise SpecValidationError(f"on_error={on_error!r} is unknown: {', '.join(get_args(OnError))}")


def _problem(model: Any, tokenizer: Any) -> str:
    """Why a training cannot be measured; empty when it can."""
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        return "there is no tokenizer: give the Trainer processing_class=tokenizer, or the callback tokenizer=tokenizer"
    if model is None:
        return "the trainer named no model"
    model = unwrapped(model)
    try:
        adapter_to_measure(model)
    except ModelLoadError as error:
        return str(error)
    if found := trained_in_place(model):
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        return (
            f"weights of the base itself are trained ({found[0]}{more}): with the adapter off it is not the base any"
            " more; train them through modules_to_save of the LoraConfig"
        )
    return ""


def _words(error: Exception) -> str:
    if is_out_of_memory(error):
        return "there was not enough memory to measure, so this step is left out: use fewer or shorter prompts"
    return str(error) if isinstance(error, SwayError) else f"{type(error).__name__}: {error}"


def _new_tag(name: str) -> str:
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "training"
    return f"{stem}-{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def _handler_of(callback: SwayCallback) -> Any:
    """The handler that calls this callback, which a callback is not told: it stands in the calls that led here."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        known = getattr(owner, "callbacks", None) if owner is not callback else None
        if isinstance(known, list) and any(c is callback for c in known) and hasattr(owner, "on_log"):
            return owner
        frame = frame.f_back
    return None
