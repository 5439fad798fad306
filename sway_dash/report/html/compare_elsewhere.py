"""The comparison report made in a process of its own: Panel changes what Bokeh writes, and large runs take seconds.

``python -m sway_dash.report.html.compare_elsewhere RUN RUN -o comparison.html``
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sway_dash.core.divergence import Divergence
from sway_dash.core.errors import SwayError
from sway_dash.core.files import write_whole
from sway_dash.report.html.process import ask
from sway_dash.report.html.redact import LEVELS, Redaction


@dataclass(frozen=True)
class Asked:
    """What is to be compared, as another process can be told it: runs by their paths."""

    runs: Sequence[Path | str]
    baseline: int = 0
    probe: str = ""
    metric: Divergence | None = None
    paths: bool = False

    def write(self, path: Path | str, redact: Redaction = "full") -> Path:
        """Write the report; ``SwayError`` with the sentence of the other process when it fails."""
        path = Path(path).expanduser().resolve()
        self._run("--out", str(path), "--redact", redact)
        return path

    def preview(self, redact: Redaction = "full", lines: int = 20) -> str:
        """The first lines of what would leave; ``SwayError`` as well."""
        return self._run("--preview", str(lines), "--redact", redact)

    def _run(self, *options: str) -> str:
        metric = ("--metric", self.metric) if self.metric else ()
        chosen = (
            "--baseline",
            str(self.baseline),
            "--probe",
            self.probe,
            *metric,
            *(["--paths"] if self.paths else []),
        )
        return ask("sway_dash.report.html.compare_elsewhere", *map(str, self.runs), *chosen, *options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a comparison report, or show what would be in it; the exit code."""
    from sway_dash.report.html.compare import compare_html, preview

    parser = argparse.ArgumentParser(
        prog="sway_dash.report.html.compare_elsewhere", description="Compare runs as HTML."
    )
    parser.add_argument("runs", nargs="+", help="run folders or result files")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-o", "--out", help="where to write it")
    what.add_argument("--preview", type=int, metavar="LINES", help="print the first lines of what would leave")
    parser.add_argument("--baseline", type=int, default=0, help="place of the run the others are compared with")
    parser.add_argument("--probe", default="", help="probe whose prompts are compared")
    parser.add_argument("--metric", choices=("js", "kl"), help="divergence")
    parser.add_argument("--paths", action="store_true", help="keep paths and the name of the user")
    parser.add_argument("--redact", default="full", choices=LEVELS)
    given = parser.parse_args(arguments)
    chosen = {"baseline": given.baseline, "probe": given.probe, "metric": given.metric}
    try:
        if given.out is None:
            text = preview(given.runs, given.redact, given.preview, paths=given.paths, **chosen)
            sys.stdout.buffer.write(text.encode("utf-8"))
        else:
            text = compare_html(given.runs, redact=given.redact, paths=given.paths, **chosen)
            write_whole(given.out, text)
    except (SwayError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
