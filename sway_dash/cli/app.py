"""Names, options and help texts of the commands; what they do is in the modules beside this one.

Nothing but typer is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer

from sway_dash import __version__
from sway_dash.cli.boundary import INTERRUPTED
from sway_dash.cli.parts import compare, gate, library, measure, packs, show, training

RECIPES = """\b
Recipes:
  Check an adapter         sway-dash check ./adapter
  A suite in CI            sway-dash gate sway.yaml --junit junit.xml
  Compare two adapters     sway-dash diff ./monday ./today
  Follow a training run    sway-dash watch out/ --spec sway.yaml
  Share a result           sway-dash report RUN --format html -o report.html

\b
RUN is a run folder, the id of a run or its beginning, demo, or a result.json.
An output file named - is standard output.

\b
Exit codes:
  0   done; a gate passed
  1   a gate failed, or there is nothing to show
  2   something to mend: one sentence says what, where and how
  130 stopped by Ctrl-C (143 by SIGTERM); what was measured is kept
"""

app = typer.Typer(
    name="sway-dash",
    epilog=RECIPES,
    help="Did the adapter change the model? Differential testing of fine-tuned language models.",
    no_args_is_help=True,
    # Markup would be looked for in error messages and help, too: what users type stays what it is.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sway {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Did the adapter change the model? Differential testing of fine-tuned language models."""


# The order is that of --help: what one needs first comes first.
for part in (measure, gate, compare, training, show, library, packs):
    app.add_typer(part.app)


def main() -> None:
    """Entry point of ``sway-dash``."""
    try:
        app(prog_name="sway-dash")
    except RuntimeError as error:
        # Until Python 3.12 an interrupt while a class is made (modules are being imported) arrives in this wrapping.
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(INTERRUPTED)
    finally:
        # The process ends: looking through what the model stack leaves for garbage would take a second.
        gc.freeze()


if __name__ == "__main__":
    main()
