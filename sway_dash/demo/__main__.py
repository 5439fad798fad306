"""Command line of the demo: ``python -m sway_dash.demo build`` and ``record``. Only parses arguments.

The build needs about twenty minutes of CPU time, some ten minutes on two idle cores. The same machine with the
same library versions writes the same bytes; other CPUs may differ in the last bits, and the trained weights then
differ a little.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Run one command of the demo; ``argv`` is the command line without the program's name."""
    parser = argparse.ArgumentParser(prog="python -m sway_dash.demo", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="train tokenizer, model and adapter anew and print their figures")
    build.add_argument("--out", type=Path, default=Path("assets/demo"), help="folder to write (%(default)s)")
    build.add_argument("--tiny", action="store_true", help="seconds instead of minutes; the model learns nothing")
    build.add_argument("--keep-base", action="store_true", help="train only the adapter, on the model that is there")
    again = commands.add_parser("record", help="run the suite for real and keep the run as the recorded example")
    again.add_argument("--out", type=Path, default=Path("assets/demo"), help="folder of the demo (%(default)s)")
    options = parser.parse_args(argv)

    # threads that wait by sleeping: on a busy machine spinning ones make training ten times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if options.command == "record":
        from sway_dash.demo.record import record

        record(options.out)
        return
    from sway_dash.demo.build import SHIPPED, TINY
    from sway_dash.demo.build import build as run

    run(options.out, recipe=TINY if options.tiny else SHIPPED, keep_base=options.keep_base)


if __name__ == "__main__":
    main()
