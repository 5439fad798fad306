"""Many adapters by one suite: each is a run of its own, and the base is loaded and measured once.

Every adapter gets a run folder by the one way of running a suite; what it shares with the others is the base in memory
(:class:`sway_dash.backends.swap.SharedBase`), so its numbers are those of a run of its own. Runs of a sweep have its
name as a tag, and under ``sweep`` in ``run.json`` SHA-256 of the adapter and of the suite: what is measured is not
measured again, wherever the adapter lies now.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.backends.adapter_files import CONFIG, adapter_fingerprint
from sway_dash.core.errors import SwayError
from sway_dash.core.result import SuiteResult, SwayScore
from sway_dash.suite.adapted import SuiteText
from sway_dash.suite.checkpoints import checkpoint_of
from sway_dash.suite.execute import execute
from sway_dash.suite.fold import PREFLIGHT
from sway_dash.suite.gate import scored
from sway_dash.suite.naming import new_run
from sway_dash.suite.runner import OnEvent
from sway_dash.suite.score import compute
from sway_dash.suite.store import RunFolder, list_runs

if TYPE_CHECKING:
    from sway_dash.backends.swap import SharedBase
    from sway_dash.core.scoring import DifferentialBackend

META_KEY = "sweep"
"""Where ``run.json`` says which sweep a run belongs to."""

_NATURAL = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Target:
    """An adapter that is to be measured."""

    adapter: Path
    label: str
    """The end of its path, as long as it takes to tell it from the others."""
    step: int | None = None
    """Training step, if it is a checkpoint."""


@dataclass(frozen=True)
class Outcome:
    """What became of an adapter."""

    target: Target
    folder: RunFolder
    result: SuiteResult
    score: SwayScore
    reused: bool = False
    """It was measured before, and neither the adapter nor the suite has changed since."""
    seconds: float = 0.0
    reason: str = ""
    """Why the run failed."""

    @property
    def error(self) -> str:
        """Why the adapter could not be measured; empty if it was, or if it was stopped."""
        if self.result.status not in ("finished", "cancelled"):
            return self.reason or "the run ended without saying why"
        return next((p.message for p in self.result.probes if p.name == PREFLIGHT), "")

    def to_dict(self) -> dict[str, Any]:
        """What a line about it says, JSON-ready."""
        measured = scored(self.result, self.score) and not self.error
        return {
            "adapter": str(self.target.adapter),
            "label": self.target.label,
            "step": self.target.step,
            "run": str(self.folder.path),
            "status": self.result.status,
            "reused": self.reused,
            "seconds": round(self.seconds, 3),
            "overall_score": self.score.overall if measured else None,
            "probes": {
                p.name: {"verdict": p.verdict.value, "score": p.score, "raw": p.raw} for p in self.result.probes
            },
            "error": self.error,
        }

    @property
    def complete(self) -> bool:
        """It was measured to the end."""
        return self.result.status == "finished"


def targets(adapters: Sequence[Path | str]) -> list[Target]:
    """Adapters in the order given, with labels that tell them apart; one that is given twice counts once."""
    paths = list(dict.fromkeys(Path(a).expanduser().resolve() for a in adapters))
    for depth in range(1, 1 + max((len(p.parts) for p in paths), default=0)):
        labels = ["/".join(p.parts[-depth:]) for p in paths]
        if len(set(labels)) == len(labels):
            break
    return [Target(p, label, step_of(p)) for p, label in zip(paths, labels, strict=True)] if paths else []


def find_adapters(folder: Path | str) -> list[Path]:
    """Every adapter folder in a folder and below, checkpoints of one training run by their step."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise SwayError(f"{root} {what}: give a folder with adapters or checkpoints below it")
    found = [path.parent.resolve() for path in root.rglob(CONFIG)]
    return sorted(dict.fromkeys(found), key=_order)


def step_of(adapter: Path) -> int | None:
    """Training step of a checkpoint folder."""
    found = checkpoint_of(str(adapter))
    return None if found is None else found[1]


def _order(path: Path) -> tuple[object, ...]:
    training, step = checkpoint_of(str(path)) or (str(path), -1)
    return ([int(p) if p.isdigit() else p for p in _NATURAL.split(training.rstrip("/"))], step, str(path))


class Sweep:
    """A suite and the adapters to be measured by it.

    Parameters
    ----------
    suite
        The suite; the adapter it names is replaced.
    name
        What the runs have in common; runs of an earlier sweep of this name are taken as they are where nothing has
        changed. Without one a name is made up.
    command
        What the runs are made for, noted beside the name.
    anywhere
        Take runs of sweeps with other names, too.
    base
        A base in memory to be used, and left there; otherwise :meth:`close` gives back the one that was loaded.
    """

    def __init__(
        self,
        suite: SuiteText,
        adapters: Sequence[Path | str] = (),
        *,
        name: str = "",
        command: str = "",
        anywhere: bool = False,
        device: str | None = None,
        details: int = 0,
        root: Path | None = None,
        base: SharedBase | None = None,
    ) -> None:
        self.suite, self.device, self.details, self.root = suite, device, details, root
        self.targets = targets(adapters)
        self.name = name or f"sweep-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
        self.command = command
        self.digest = suite.digest(device=device)
        self.outcomes: list[Outcome] = []
        self._anywhere, self._base, self._borrowed = anywhere, base, base is not None
        self._identity: str | None = None

    @property
    def remaining(self) -> list[Target]:
        """What has not been measured to its end, or to an error."""
        done = {o.target.adapter for o in self.outcomes if o.complete or o.error}
        return [t for t in self.targets if t.adapter not in done]

    def run(
        self,
        *,
        on_start: Callable[[Target, RunFolder], None] | None = None,
        on_event: OnEvent | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Iterator[Outcome]:
        """Measure one adapter after the other and give each outcome; an adapter that cannot be measured is one, too.

        Ends after a run that was stopped. ``SwayError`` when the base cannot be loaded, which no other adapter mends.
        """
        for target in self.targets:
            if cancel is not None and cancel():
                return
            outcome = self.measure(target, on_start=on_start, on_event=on_event, cancel=cancel)
            yield outcome
            if self.base_failure is not None:
                raise self.base_failure
            if outcome.result.status == "cancelled":
                return

    def measure(
        self,
        target: Target,
        *,
        on_start: Callable[[Target, RunFolder], None] | None = None,
        on_event: OnEvent | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Outcome:
        """Measure one adapter, unless that is done; whatever goes wrong with it is in its outcome."""
        sha256 = fingerprint(target.adapter)
        if (known := self.known(sha256)) is not None and known.fold().status == "finished":
            outcome = self._outcome(target, known, reused=True)
        else:
            resume = known is not None
            folder = known or self._new_folder(target, sha256)
            if on_start is not None:
                on_start(target, folder)
            began = time.monotonic()
            reason = ""
            try:
                execute(
                    folder,
                    on_event=on_event,
                    cancel=cancel,
                    device=self.device,
                    resume=resume,
                    details=self.details,
                    opener=self._opener(target),
                    seeding=True,
                )
            except Exception as error:
                # It is the last event of its run, with a traceback if the defect is ours; the other adapters go on.
                reason = str(error) if isinstance(error, SwayError) else f"{type(error).__name__}: {error}"
            outcome = self._outcome(target, folder, seconds=time.monotonic() - began, reason=reason)
            self._note_content(folder, sha256, outcome.result)
        self.outcomes.append(outcome)
        return outcome

    def known(self, sha256: str) -> RunFolder | None:
        """A run of this adapter by this suite: finished, or one that was stopped and can go on."""
        stopped = None
        for folder in list_runs(self.root) if sha256 else ():
            own = folder.meta().get(META_KEY)
            if not isinstance(own, dict) or (own.get("adapter_sha256"), own.get("suite_sha256")) != (
                sha256,
                self.digest,
            ):
                continue
            if not self._anywhere and own.get("name") != self.name:
                continue
            status = folder.result().status
            if status == "finished" and self._same_base(folder):
                return folder
            if status in ("cancelled", "interrupted") and own.get("name") == self.name and stopped is None:
                stopped = folder
        return stopped

    @property
    def base_failure(self) -> SwayError | None:
        """Why the base could not be loaded."""
        return None if self._base is None else self._base.failure

    def unload(self) -> None:
        """Give the base's memory back; it is loaded again for the next adapter."""
        if self._base is not None:
            self._base.close()

    def close(self) -> None:
        """Give the base back, unless it was given."""
        if not self._borrowed:
            self.unload()

    # --- one run ------------------------------------------------------------------------------------------------------

    def _opener(self, target: Target) -> Callable[[], DifferentialBackend] | None:
        ft = self.suite.spec.models.ft
        if ft.kind != "hf":
            # What another kind of backend holds in common is its own business.
            return None
        if self.device is not None:
            ft = ft.model_copy(update={"device": self.device})
        spec = ft.model_copy(update={"adapter": target.adapter})

        def opening() -> DifferentialBackend:
            from sway_dash.backends.swap import SharedBase

            if self._base is None:
                self._base = SharedBase()
            return self._base.open(spec, target.adapter)

        return opening

    def _new_folder(self, target: Target, sha256: str) -> RunFolder:
        folder = new_run(
            self.suite.with_adapter(target.adapter),
            root=self.root,
            name=target.label,
            base_dir=self.suite.folder,
            spec_path=str(self.suite.path),
        )
        known: dict[str, Any] = {"name": self.name, "command": self.command, "label": target.label, "step": target.step}
        own = {**known, "adapter": str(target.adapter), "adapter_sha256": sha256, "suite_sha256": self.digest}
        folder.write_meta(**{META_KEY: own, "tags": [self.name]})
        return folder

    def _outcome(
        self, target: Target, folder: RunFolder, *, reused: bool = False, seconds: float = 0.0, reason: str = ""
    ) -> Outcome:
        result = folder.result()
        weights = self.suite.spec.defaults.score_weights
        score = compute(result, weights=weights)
        return Outcome(target, folder, result, score, reused=reused, seconds=seconds, reason=reason)

    def _note_content(self, folder: RunFolder, sha256: str, result: SuiteResult) -> None:
        """The adapter may have been written anew between the look at it and its loading: what was measured counts."""
        measured = str(result.environment.get("adapter_sha256") or sha256)
        own = folder.meta().get(META_KEY)
        if measured != sha256 and isinstance(own, dict):
            with suppress(OSError):
                folder.write_meta(**{META_KEY: {**own, "adapter_sha256": measured}})

    def _same_base(self, folder: RunFolder) -> bool:
        """Whether the base on disk is still the one a run measured, as far as that can be told without loading it."""
        if self._identity is None:
            from sway_dash.backends.loading import folder_identity

            ft = self.suite.spec.models.ft
            self._identity = folder_identity(ft.base) if ft.kind == "hf" else ""
        measured = folder.fold().environment.get("base_identity")
        return not self._identity or not measured or measured == self._identity


def fingerprint(adapter: Path) -> str:
    """SHA-256 of an adapter's configuration and weights; empty when there is no such adapter."""
    try:
        return adapter_fingerprint(adapter)
    except OSError:
        return ""
