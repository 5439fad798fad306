"""A loaded model that answers about single prompts, as a process of its own: the worker behind the interactive probe.

``python -m sway_dash.suite.inspector SUITE`` loads the models of a suite (a file, a run folder, or the suite as JSON
text) and answers one JSON request a line from standard input with one JSON reply a line on standard output, until
standard input ends; so it does not outlive whoever started it. Requests, see :class:`Ask`::

    {"id": 1, "op": "detail", "prompt": "Once upon", "lam": 0.5}
    {"id": 2, "op": "null_detail", "prompt": "Once upon", "seed": 7}
    {"id": 3, "op": "ping"}

Replies::

    {"waiting": "…"}                                    before anything else, if another process has the device
    {"ready": {facts about the model}, "seconds": 2.1}  or {"failed": "…"}, once
    {"id": 1, "ok": true, "detail": {…}, "seconds": 0.1}
    {"id": 2, "ok": false, "error": "…"}                with "superseded": true if a newer request took its place
    {"ended": "…"}                                      at last, if it lets the device go to a run that waits for it
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from sway_dash.core.detail import Inspectable
from sway_dash.core.determinism import seed_everything
from sway_dash.core.errors import ModelLoadError, ProbeError, SwayError
from sway_dash.core.result import jsonable
from sway_dash.core.scoring import (
    Describable,
    IdentityCheckable,
    NullStyle,
    PreflightCheckable,
    ScalableDifferentialBackend,
    View,
    null_styles,
)
from sway_dash.suite import queue as line
from sway_dash.suite.execute import folder_spec, open_backend
from sway_dash.suite.loader import load_spec, loads
from sway_dash.suite.spec import SwaySpec
from sway_dash.suite.store import RunFolder

NAME = "interactive probe"
"""What stands in the line for a device."""

LOOK_S = 1.0
"""How often it looks whether a run waits for its device."""

GRACE_S = 2.0
"""How long what is under way may take once standard input has ended: loading and generating cannot be interrupted."""

Write = Callable[[dict[str, Any]], None]


class Ask(BaseModel):
    """One request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: int | str
    op: Literal["detail", "null_detail", "ping"]
    prompt: str = ""
    lam: FiniteFloat = Field(default=1.0, description="strength of the adapter; detail only")
    seed: int = Field(default=0, ge=0, description="which noise; null_detail only")
    init_scale: Annotated[FiniteFloat, Field(gt=0)] = 0.02
    rank_scale: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    style: NullStyle = Field(default="gaussian", description="what noise keeps of the adapter; null_detail only")
    new_tokens: int = Field(default=32, ge=1, le=1024)
    top: int = Field(default=10, ge=1, le=200)
    latest: bool = Field(default=False, description="takes the place of this client's earlier such requests")
    client: str = ""

    @property
    def view(self) -> View:
        """The view to be shown beside the base."""
        if self.op == "null_detail":
            return View.null(self.seed, init_scale=self.init_scale, rank_scale=self.rank_scale, style=self.style)
        return View.scaled(self.lam)


def main(argv: list[str] | None = None) -> int:
    """Serve the suite named on the command line; the exit code is 0 unless its model could not be loaded."""
    args = sys.argv[1:] if argv is None else argv
    write = _writer(_private_stdout())
    requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    ended = threading.Event()

    def read() -> None:
        for request in sys.stdin.buffer:
            requests.put(request)
        ended.set()
        requests.put(None)
        time.sleep(GRACE_S)
        os._exit(0)

    threading.Thread(target=read, daemon=True, name="requests").start()
    try:
        if len(args) != 1:
            raise SwayError(f"usage: python -m sway_dash.suite.inspector SUITE (got {len(args)} arguments)")
        spec = read_spec(args[0])
        devices = line.devices(spec)
        if before := [p.name for device in devices for p in line.line(device) if p.holding]:
            write({"waiting": f"waits until {before[0]} has ended: one model per device at a time"})
        with line.turn(devices, name=NAME, yields=True, cancelled=ended.is_set) as ours:
            if ours:
                _load_and_serve(spec, requests, write)
    except BrokenPipeError:
        return 0
    except Exception as error:
        if not isinstance(error, SwayError):
            traceback.print_exc()
        with suppress(BrokenPipeError):
            write({"failed": _sentence(error)})
        return 2
    return 0


def read_spec(source: str) -> SwaySpec:
    """A suite from a run folder, a suite file, or JSON text; its probes play no part."""
    if source.lstrip().startswith("{"):
        return loads(source, source="the suite given", folder=Path.cwd())
    if Path(source).is_dir():
        return folder_spec(RunFolder.open(source))
    return load_spec(source)


def _load_and_serve(spec: SwaySpec, requests: queue.SimpleQueue[bytes | None], write: Write) -> None:
    since = time.perf_counter()
    # As a run does, so that the same prompt has the same numbers; again once loading has imported torch.
    seed_everything(spec.defaults.seed, strict=True)
    backend: Any = open_backend(spec)
    try:
        seed_everything(spec.defaults.seed, strict=True)
        write({"ready": facts(backend, spec), "seconds": time.perf_counter() - since})
        serve(backend, requests, write)
    finally:
        if (close := getattr(backend, "close", None)) is not None:
            close()


def facts(backend: Any, spec: SwaySpec) -> dict[str, Any]:
    """What the model is and what can be asked of it. ``SwayError`` if nothing can."""
    if not isinstance(backend, Inspectable):
        msg = f"kind: {spec.models.ft.kind} gives no logits, so prompts cannot be shown token by token; use kind: hf"
        raise ModelLoadError(msg)
    if isinstance(backend, PreflightCheckable):
        fit, reason = backend.preflight_finite_check()
        if not fit:
            raise ModelLoadError(f"the model is not fit to be shown: {reason}")
    return {
        **(jsonable(backend.describe()) if isinstance(backend, Describable) else {}),
        "scalable": isinstance(backend, ScalableDifferentialBackend),
        "null_styles": list(null_styles(backend)),
        "identical": list(backend.identical_views()) if isinstance(backend, IdentityCheckable) else [],
    }


def serve(
    backend: Inspectable,
    requests: queue.SimpleQueue[bytes | None],
    write: Write,
    *,
    wanted: Callable[[], bool] = line.wanted,
) -> None:
    """Answer requests one after the other until ``None`` comes, or until a run waits for the device (``wanted``)."""
    pending: list[Ask] = []
    ended = False
    look = time.monotonic() + LOOK_S
    while pending or not ended:
        if time.monotonic() >= look:
            look = time.monotonic() + LOOK_S
            if wanted():
                write({"ended": "the model was let go: a run waits for its device"})
                return
        try:
            text = requests.get(block=not pending, timeout=LOOK_S)
        except queue.Empty:
            if pending:
                write(_answer(backend, pending.pop(0)))
            continue
        if text is None:
            ended = True
        elif text.strip():
            pending = _with(pending, text, write)


def _with(pending: list[Ask], text: bytes, write: Write) -> list[Ask]:
    """Put a request at the end, in the place of those it makes superfluous."""
    try:
        ask = Ask.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        write({"id": _id(text), "ok": False, "error": f"{where}: {first['msg']}" if where else first["msg"]})
        return pending
    kept = []
    for old in pending:
        if ask.latest and old.latest and old.client == ask.client:
            write({"id": old.id, "ok": False, "superseded": True, "error": "a newer request took its place"})
        else:
            kept.append(old)
    return [*kept, ask]


def _id(text: bytes) -> Any:
    """Whose request a wrong one is, as far as that can be told."""
    try:
        found = json.loads(text).get("id")
    except (ValueError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, int | str) else None


def _answer(backend: Inspectable, ask: Ask) -> dict[str, Any]:
    since = time.perf_counter()
    try:
        if ask.op == "ping":
            return {"id": ask.id, "ok": True, "seconds": 0.0}
        if ask.op == "null_detail" and ask.style not in null_styles(backend):
            known = ", ".join(null_styles(backend)) or "none"
            return {"id": ask.id, "ok": False, "error": f"{ask.style}: this model has no such noise (it has: {known})"}
        ((_, found),) = backend.details([ask.prompt], view=ask.view, top=ask.top, new_tokens=ask.new_tokens)
        if isinstance(found, ProbeError):
            return {"id": ask.id, "ok": False, "error": str(found)}
    except Exception as error:  # one prompt's failure must not take the loaded model with it
        if not isinstance(error, SwayError):
            traceback.print_exc()
        return {"id": ask.id, "ok": False, "error": _sentence(error)}
    return {"id": ask.id, "ok": True, "detail": found.to_dict(), "seconds": time.perf_counter() - since}


def _sentence(error: BaseException) -> str:
    return str(error) if isinstance(error, SwayError) else f"{type(error).__name__}: {error}"


def _private_stdout() -> BinaryIO:
    """Standard output for replies alone: what libraries print, in C too, goes to standard error from here on."""
    sys.stdout.flush()
    mine = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return mine


def _writer(out: BinaryIO) -> Write:
    def write(reply: dict[str, Any]) -> None:
        out.write(json.dumps(reply, separators=(",", ":")).encode() + b"\n")
        out.flush()

    return write


if __name__ == "__main__":
    sys.exit(main())
