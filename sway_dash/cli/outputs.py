"""The files a command was asked to write: checked before a model is loaded, written after the run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sway_dash.cli.boundary import UsageError, complain, note, os_sentence

if TYPE_CHECKING:
    from sway_dash.core.result import SuiteResult, SwayScore
    from sway_dash.suite.gate import Gate


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

    def check(self, *, inputs: Sequence[Path] = ()) -> None:
        """Make the parent folders; ``UsageError`` for what cannot be written or would overwrite an input."""
        taken = {path.resolve(): "is read by this command" for path in inputs}
        for label, path in self.named():
            where = path.expanduser().resolve()
            if why := taken.get(where):
                msg = f"{path} {why}: give the {label} output a name of its own"
                raise UsageError(msg)
            taken[where] = "is already written to"
            check_writable(path)

    def write(self, result: SuiteResult, score: SwayScore, gate: Gate | None = None) -> bool:
        """Write everything but the trace, which the run folder has; False if something could not be."""
        from sway_dash.suite.report import to_json, to_junit, to_markdown

        renderers = {"JSON": to_json, "Markdown": to_markdown, "JUnit": to_junit}
        fine = True
        for label, path in self.named():
            if label not in renderers:
                continue
            try:
                write_text(path, renderers[label](result, score, gate=gate))
            except OSError as error:
                complain(f"cannot write {label}: {os_sentence(error)}")
                fine = False
            else:
                note(f"wrote {label} → {path}")
        return fine


def check_writable(path: Path) -> None:
    """Make the parent folder of ``path``; ``UsageError`` if the file cannot be written. Leaves no new file behind."""
    import os

    path = path.expanduser()
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


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 with a line end, whole or not at all."""
    from sway_dash.core.files import write_whole

    write_whole(path, text if text.endswith("\n") else f"{text}\n")
