"""Running a suite into a run folder: the one way for command line, dashboard worker and notebooks.

``python -m sway_dash.suite.execute RUN_FOLDER [--asked NANOSECONDS] [--resume]`` runs (or resumes) a folder that
exists; that is the worker process, and ``--asked`` the time from which it stands in line.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from sway_dash import backends
from sway_dash.core.errors import RunCancelled, SwayError
from sway_dash.core.events import TERMINAL, CacheAccess, RunCancelledEvent, RunFailed
from sway_dash.core.result import SuiteResult, SwayScore
from sway_dash.core.scoring import DifferentialBackend
from sway_dash.report.json_io import to_json
from sway_dash.suite.adapter_store import no_adapter, with_current_adapter
from sway_dash.suite.columns import write_columns
from sway_dash.suite.details import LIMIT, record_after
from sway_dash.suite.document import document_of
from sway_dash.suite.loader import check_entries, loads
from sway_dash.suite.runner import OnEvent, run_opening
from sway_dash.suite.score import compute
from sway_dash.suite.spec import SwaySpec
from sway_dash.suite.status import settled
from sway_dash.suite.store import TRACE, RunFolder, RunFolderError

ASKED = "--asked"
"""Before when a run was asked for, on the command line of its worker."""

ADAPTER = "adapter"
"""Under which key ``run.json`` keeps the adapter that a suite left to its document."""


def execute(
    folder: RunFolder,
    *,
    on_event: OnEvent | None = None,
    cancel: Callable[[], bool] | None = None,
    device: str | None = None,
    resume: bool = False,
    details: int = LIMIT,
    on_details: Callable[[int], None] | None = None,
    opener: Callable[[], DifferentialBackend] | None = None,
    seeding: bool | None = None,
) -> tuple[SuiteResult, SwayScore]:
    """Run the suite of a folder and leave everything in it; the model is loaded and given back here.

    A finished run, its result already saved, is followed by the token details of its ``details`` most moved prompts
    (0: of none). They are no part of the run: ``cancel`` ends them, and whatever happens to them changes nothing.
    ``on_details`` is called with their number before they are recorded.

    ``opener`` gives the backend instead of what the suite names, for a model that this process holds; the process's
    random generators and settings are left alone then, unless ``seeding`` says that the process is ours.

    Raises what :func:`sway_dash.suite.runner.run` raises, and ``SwayError`` when the model cannot be loaded; the folder
    holds the partial result then, too. ``RunFolderError`` if another process is at work in the folder.
    """
    spec = folder_spec(folder, device=device)
    folder.claim()
    if spec.dlm_source and spec.models.ft.adapter and not folder.meta().get(ADAPTER):
        # A document's store may point at another version when this run is gone on with.
        folder.write_meta(**{ADAPTER: str(spec.models.ft.adapter)})
    recall = folder.measurements() if resume else {}
    # What earlier attempts left, then this one: the result does not depend on what the disk still takes.
    state = folder.fold()
    opened: list[DifferentialBackend] = []

    def listen(event: Any) -> None:
        folder.append(event)
        if not isinstance(event, CacheAccess):
            state.add(event)
        if on_event is not None:
            on_event(event)

    def stop() -> bool:
        return folder.stop_requested() or (cancel is not None and cancel())

    try:
        try:
            run_opening(
                spec,
                opener or (lambda: open_backend(spec)),
                spec_path=str(folder.meta().get("spec_path") or ""),
                trace_path=folder.path / TRACE,
                on_event=listen,
                cancel=stop,
                recall=recall,
                run_id=folder.id,
                on_backend=opened.append,
                seeding=opener is None if seeding is None else seeding,
                document=lambda: document_of(spec),
            )
        finally:
            with suppress(OSError):
                folder.close()
            # The process is here, but it will not go on: nobody said how it ended before the runner could.
            result = settled(state.result(), alive=False)
            save_result(folder, result, weights=spec.defaults.score_weights)
        if result.status == "finished":
            # Only to be quick: without it the events are read.
            with suppress(OSError, ValueError, MemoryError):
                write_columns(folder, state)
            for backend in opened:
                record_after(folder, backend, state, limit=details, stop=stop, announce=on_details)
    finally:
        folder.release()
        for backend in opened:
            close = getattr(backend, "close", None)
            if close is not None:
                close()
    return result, compute(result, weights=spec.defaults.score_weights)


def open_backend(spec: SwaySpec) -> DifferentialBackend:
    """Load what a suite compares: one model with its adapter, or two models when ``differential`` is false.

    A server has no adapter to switch off: there it is always two models, a base and a LoRA module of one vLLM, say.
    """
    if spec.separate:
        return backends.build_two_separate(spec.models)
    if spec.models.ft.kind == "hf" and spec.models.ft.adapter is None:
        raise no_adapter(spec)
    return backends.build(spec.models.ft)


def folder_spec(folder: RunFolder, *, device: str | None = None) -> SwaySpec:
    """The suite of a run folder, checked, with paths resolved and the adapter its document stands for.

    ``device`` replaces that of both models.
    """
    text = folder.spec_text()
    source = str(folder.meta().get("spec_path") or folder.path / "spec.yaml")
    spec = loads(text, source=source, folder=folder.base_dir())
    check_entries(spec, source=source, text=text)
    return with_device(with_current_adapter(spec, str(folder.meta().get(ADAPTER) or "")), device)


def with_device(spec: SwaySpec, device: str | None) -> SwaySpec:
    """A suite with both models on another device; ``None`` leaves them where they are."""
    if device is None:
        return spec
    models = spec.models.model_copy(
        update={side: getattr(spec.models, side).model_copy(update={"device": device}) for side in ("base", "ft")}
    )
    return spec.model_copy(update={"models": models})


def save_result(folder: RunFolder, result: SuiteResult, *, weights: Mapping[str, float] | None = None) -> None:
    """Write ``result.json``, also of a stopped or failed run; a disk that refuses is noted in ``folder.error``."""
    try:
        folder.write_result(to_json(result, compute(result, weights=weights)))
    except OSError as error:
        folder.error = f"result.json could not be written: {error.strerror or error}"


def end(folder: RunFolder, event: RunFailed | RunCancelledEvent) -> None:
    """Note the end of an attempt whose process could not do so itself; an attempt that has ended keeps its end."""
    events = folder.tail().read()
    if not (events and isinstance(events[-1], TERMINAL)):
        seq = events[-1].seq + 1 if events else 1
        folder.append(event.model_copy(update={"seq": seq, "ts": time.time()}))
        folder.close()
        save_result(folder, folder.result(), weights=_weights(folder))
    folder.release()


def _weights(folder: RunFolder) -> dict[str, float] | None:
    try:
        return folder_spec(folder).defaults.score_weights
    except SwayError:
        return None


def main(argv: list[str] | None = None) -> int:
    """Run the folder named on the command line when its device is free; the exit code is 0 unless the run failed."""
    from sway_dash.suite import queue
    from sway_dash.suite.usable import check_usable, occupied

    args = sys.argv[1:] if argv is None else argv
    folder = RunFolder.open(args[0])
    # A stop signal from the system ends the run like the stop file: after the current batch, with a result.
    signal.signal(signal.SIGTERM, lambda *_: folder.request_stop())
    try:
        folder.claim()
        spec, resume = folder_spec(folder), "--resume" in args
        if not resume:
            # What files and packages tell is told before it waits. An earlier attempt keeps its end until there is
            # another one, so one that goes on says it when it loads.
            check_usable(spec)
        name = str(folder.meta().get("name") or folder.id)
        asked = int(args[args.index(ASKED) + 1]) if ASKED in args else None
        with queue.turn(occupied(spec), run=folder.id, name=name, asked=asked, cancelled=folder.stop_requested) as ours:
            if not ours:
                end(folder, RunCancelledEvent(reason="stopped while it waited for its device"))
                return 0
            execute(folder, resume=resume)
    except RunFolderError as error:
        # Another process writes there: not a word into its events.
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except (SwayError, RunCancelled) as error:
        end(folder, RunFailed(message=str(error)))
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        return 130
    finally:
        with suppress(OSError):
            folder.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
