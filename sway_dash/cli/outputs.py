"""The files a command was asked to write: checked before a model is loaded, written after the run folder.

``-`` is standard output wherever a file is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sway_dash.cli.boundary import UsageError, complain, note, os_sentence
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.core.result import SuiteResult, SwayScore
    from sway_dash.suite.gate import Gate


STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where the results of a run go besides its folder."""

    json: Path | None = None
    markdown: Path | None = None
    junit: Path | None = None
    trace: Path | None = None

    def named(self) -> Iterator[tuple[str, Path]]:
        """Label and path of every file that was asked for."""
        for label, path in (
            ("JSON", self.json),
            ("Markdown", self.markdown),
            ("JUnit", self.junit),
            ("trace", self.trace),
        ):
            if path is not None:
                yield label, path

    @property
    def to_stdout(self) -> bool:
        """One of them goes to standard output, so that nothing else may."""
        return any(path == STDOUT for _, path in self.named())

    def check(self, *, inputs: Sequence[Path] = ()) -> None:
        """Make the parent folders; ``UsageError`` for what cannot be written or would overwrite an input."""
        taken: set[Path] = set()
        for label, path in self.named():
            where = path if path == STDOUT else path.expanduser().resolve()
            if where in taken:
                what = "standard output" if path == STDOUT else path
                raise UsageError(f"{what} is already written to: give the {label} output a name of its own")
            taken.add(where)
            check_writable(path, inputs=inputs)

    @contextmanager
    def refusals(self, what: str, *, inputs: Sequence[Path] = ()) -> Iterator[None]:
        """Where ``what``, a run or a gate, is refused within, the JUnit file says so: an old one may be green."""
        try:
            yield
        except (SwayError, OSError) as error:
            self.refuse(what, os_sentence(error) if isinstance(error, OSError) else str(error), inputs=inputs)
            raise

    def refuse(self, what: str, message: str, *, inputs: Sequence[Path] = ()) -> None:
        """Write the JUnit file, if one was asked for and may be written, of what was not measured at all."""
        from sway_dash.report.html.paths import without_paths
        from sway_dash.report.junit import refused

        if self.junit is None:
            return
        with suppress(SwayError, OSError):
            self.check(inputs=inputs)
            write_text(self.junit, refused(what, without_paths(message)))
            tell_written("JUnit", self.junit)

    def write(self, result: SuiteResult, score: SwayScore, gate: Gate | None = None) -> bool:
        """Write everything but the trace, which the run folder has; False if something could not be.

        Markdown and JUnit are read by others, on a build server or beside a change: they hold no paths and no user's
        name. JSON is the result itself, which gate, compare and pack read again, with where it is from.
        """
        from sway_dash.report.leaving import leaving
        from sway_dash.suite.report import to_json, to_junit, to_markdown

        renderers = {"JSON": to_json, "Markdown": to_markdown, "JUnit": to_junit}
        fine = True
        for label, path in self.named():
            if label not in renderers:
                continue
            told, rated, decided = (result, score, gate) if label == "JSON" else leaving(result, score, gate)
            try:
                write_text(path, renderers[label](told, rated, gate=decided))
            except OSError as error:
                complain(f"cannot write {label}: {os_sentence(error)}")
                fine = False
            else:
                tell_written(label, path)
        return fine


def check_writable(path: Path, *, inputs: Sequence[Path] = ()) -> None:
    """Make the parent folder of ``path``; ``UsageError`` if the file cannot be written. Leaves no new file behind.

    What the command reads is not written over, nor is what a run consists of.
    """
    import os

    if path == STDOUT:
        return
    path = path.expanduser()
    if path.resolve() in {p.expanduser().resolve() for p in inputs}:
        raise UsageError(f"{path} is read by this command: give the output a name of its own")
    if run := _run_of(path):
        raise UsageError(f"{path} is a part of the run {run}: give the output a name of its own")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise UsageError(f"cannot write {path}: it is a folder")
        if path.exists() and not path.is_file():
            # Opening a pipe to look would already tell its reader that we are done.
            if not os.access(path, os.W_OK):
                raise UsageError(f"cannot write {path}: no permission")
            return
        new = not path.exists()
        with path.open("ab"):
            pass
        if new:
            path.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def _run_of(path: Path) -> str:
    """Id of the run that a file is a part of; empty for any other file."""
    from sway_dash.suite.store import FILES, RunFolder, RunFolderError

    path = path.resolve()
    if path.name not in FILES:
        return ""
    try:
        return RunFolder.open(path.parent).id
    except RunFolderError:
        return ""


def read_files(sources: Sequence[str]) -> list[Path]:
    """Those of the names of runs that are files: what is not to be written over."""
    return [path for source in sources if (path := Path(source).expanduser()).is_file()]


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with a line end, whole or not at all."""
    write_bytes(path, (text if text.endswith("\n") else f"{text}\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; ``-`` is standard output."""
    import sys

    from sway_dash.core.files import write_whole

    if path == STDOUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_whole(path, data)


def tell_written(label: str, path: Path) -> None:
    """Say where an output is; what went to standard output is seen."""
    if path != STDOUT:
        note(f"wrote {label} → {path}")
