"""The near side of :mod:`sway_dash.suite.inspector`: starts the model's process, asks it, tells how it is. No torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import sway_dash
from sway_dash.core.detail import PromptDetail
from sway_dash.core.errors import SwayError
from sway_dash.core.scoring import View
from sway_dash.suite.spec import SwaySpec

WORKER = "sway_dash.suite.inspector"
STOP_S = 5.0
"""How long the process may take to end by itself before it is killed."""

State = Literal["new", "starting", "ready", "busy", "failed", "ended"]


class InspectorError(SwayError):
    """A prompt cannot be shown, or the model's process is not there (any more)."""


class Superseded(SwayError):
    """A newer request took the place of this one: nobody waits for its answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt token by token, and how long the model took for it."""

    detail: PromptDetail
    seconds: float


class Inspector:
    """One process with one loaded model.

    Futures are resolved, and ``state`` changes, on a thread of this object: whoever has an event loop takes answers
    there with ``asyncio.wrap_future``. Nothing here blocks.
    """

    def __init__(self, spec: SwaySpec | Path | str) -> None:
        self._source = _source(spec)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._last_words = ""
        self._waiting: dict[int, Future[Answer]] = {}
        self._asked = 0
        self._state: State = "new"
        self._stopping = False
        self.ready: Future[dict[str, Any]] = Future()
        """Facts about the model once it is loaded, or why it is not; nobody but the reader settles it."""
        self.ready.set_running_or_notify_cancel()
        self.note = ""
        """What it waits for, while another process has the device."""
        self.error = ""
        """Why it failed or ended, if nobody asked it to."""

    # -- how it is ------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """``starting`` until the model is loaded, then ``ready`` or ``busy``; ``failed`` or ``ended`` at last."""
        with self._lock:
            return "busy" if self._state == "ready" and self._waiting else self._state

    @property
    def pid(self) -> int | None:
        """Process id, while there is a process."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def facts(self) -> dict[str, Any]:
        """What the model is; empty until it is loaded."""
        done = self.ready.done() and self.ready.exception() is None
        return self.ready.result() if done else {}

    def log_tail(self, limit: int = 4000) -> str:
        """End of what the process printed."""
        log = self._log
        if log is None:
            return self._last_words[-limit:]
        size = os.fstat(log.fileno()).st_size
        return os.pread(log.fileno(), limit, max(0, size - limit)).decode("utf-8", "replace").strip()

    # -- starting and stopping ------------------------------------------------------------------

    def start(self) -> Inspector:
        """Start the process; returns itself. What is asked while the model is loading is answered after it."""
        if self._state != "new":
            raise InspectorError("this probe was started before; make a new one")
        folder = str(Path(sway_dash.__file__).resolve().parent.parent)
        path = os.pathsep.join(p for p in (folder, os.environ.get("PYTHONPATH")) if p)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER, self._source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
        )
        self._state = "starting"
        threading.Thread(target=self._listen, daemon=True, name=f"inspector-{self._process.pid}").start()
        return self

    def stop(self) -> threading.Thread:
        """End the process, which gives its memory back; what is still asked is answered with an error.

        Returns the thread that sees to it; nobody has to wait for it.
        """
        self._stopping = True
        watcher = threading.Thread(target=self._end_process, daemon=True, name="inspector-stop")
        watcher.start()
        return watcher

    def _end_process(self) -> None:
        process = self._process
        if process is None:
            self._close("the probe was stopped")
            return
        with suppress(OSError, ValueError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    # -- asking ---------------------------------------------------------------------------------

    def ask(
        self,
        prompt: str,
        *,
        lam: float = 1.0,
        top: int = 10,
        new_tokens: int = 32,
        latest: bool = True,
        client: str = "",
    ) -> Future[Answer]:
        """Show a prompt with the adapter at strength ``lam`` beside the base.

        With ``latest`` only the newest of this ``client``'s requests that still wait is answered, the others get
        ``Superseded``: right for a slider. Errors are ``InspectorError``.
        """
        more = {"op": "detail", "lam": lam, "top": top, "new_tokens": new_tokens}
        return self._send({"prompt": prompt, "latest": latest, "client": client, **more})

    def ask_null(
        self, prompt: str, noise: View, *, top: int = 10, new_tokens: int = 32, client: str = ""
    ) -> Future[Answer]:
        """Show a prompt with noise, a view made by :meth:`View.null`, in the adapter's place beside the base."""
        drawn = {"seed": noise.seed, "init_scale": noise.init_scale, "rank_scale": noise.rank_scale}
        more = {"op": "null_detail", "style": noise.style, **drawn, "top": top, "new_tokens": new_tokens}
        return self._send({"prompt": prompt, "client": client, **more})

    def _send(self, request: dict[str, Any]) -> Future[Answer]:
        future: Future[Answer] = Future()
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._process is None or self._state not in ("starting", "ready") or self._stopping:
                future.set_exception(InspectorError(self.error or "no model is loaded: start the probe first"))
                return future
            self._asked += 1
            self._waiting[self._asked] = future
            data = json.dumps({"id": self._asked, **request}).encode() + b"\n"
            try:
                assert self._process.stdin is not None
                self._process.stdin.write(data)
                self._process.stdin.flush()
            except (OSError, ValueError):
                # It is gone; the reader finds out why and tells all who wait.
                pass
        return future

    # -- listening ------------------------------------------------------------------------------

    def _listen(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        for reply in process.stdout:
            with suppress(ValueError, KeyError, TypeError, LookupError):
                self._take(json.loads(reply))
        code = process.wait()
        self._last_words, log, self._log = self.log_tail(), self._log, None
        self._close("the probe was stopped" if self._stopping else self._why(code))
        for end in (process.stdin, process.stdout, log):
            with suppress(OSError, ValueError):
                if end is not None:
                    end.close()

    def _take(self, reply: dict[str, Any]) -> None:
        if "waiting" in reply:
            self.note = str(reply["waiting"])
        elif "ready" in reply:
            self.note = ""
            with self._lock:
                self._state = "ready"
            self.ready.set_result(dict(reply["ready"]))
        elif "failed" in reply or "ended" in reply:
            self.error = str(reply.get("failed") or reply["ended"])
            with self._lock:
                self._state = "failed" if "failed" in reply else "ended"
        else:
            with self._lock:
                future = self._waiting.pop(reply["id"], None)
            if future is not None:
                _settle(future, reply)

    def _close(self, why: str) -> None:
        """The process is gone: say so to everybody who waits."""
        with self._lock:
            self.error = "" if self._stopping else self.error or why
            if self._state != "failed":
                self._state = "failed" if self._state == "starting" and not self._stopping else "ended"
            left, self._waiting = list(self._waiting.values()), {}
        reason = InspectorError(self.error or why)
        for future in left:
            future.set_exception(reason)
        if not self.ready.done():
            self.ready.set_exception(reason)

    def _why(self, code: int) -> str:
        how = f"with exit code {code}"
        if code < 0:
            with suppress(ValueError):
                how = f"by signal {signal.Signals(-code).name}"
        hint = "; most often memory ran out" if -code == signal.SIGKILL else ""
        when = "while the model was loading" if self._state == "starting" else "while it was in use"
        last = self.log_tail().splitlines()[-1:] if code > 0 else []
        return f"the probe's process ended {when}, {how}{hint}" + "".join(f": {text}" for text in last)


def _settle(future: Future[Answer], reply: dict[str, Any]) -> None:
    if reply.get("superseded"):
        future.set_exception(Superseded(str(reply.get("error"))))
        return
    if not reply.get("ok"):
        future.set_exception(InspectorError(str(reply.get("error"))))
        return
    try:
        future.set_result(Answer(PromptDetail.from_dict(reply["detail"]), float(reply["seconds"])))
    except (LookupError, TypeError, ValueError) as error:
        future.set_exception(InspectorError(f"the answer cannot be read: {error}"))


def _source(spec: SwaySpec | Path | str) -> str:
    """What the process is told to load: a path, or the models as JSON."""
    if not isinstance(spec, SwaySpec):
        return str(spec)
    return spec.model_dump_json(include={"models", "defaults"})
