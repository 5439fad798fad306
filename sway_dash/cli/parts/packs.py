"""Commands that move a suite: ``pack``, ``unpack``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sway_dash.cli.boundary import fenced

app = typer.Typer()


@app.command()
@fenced
def pack(
    spec: Annotated[Path, typer.Argument(help="The suite file, sway.yaml.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to make; else NAME.swaypack.tar.gz beside the suite.")
    ] = None,
    adapter: Annotated[
        bool, typer.Option("--adapter/--no-adapter", help="Take the adapter's configuration and weights along.")
    ] = True,
    golden: Annotated[
        str | None,
        typer.Option(
            "--golden",
            "--include-golden",
            metavar="RESULT",
            help="A result to compare later runs with: a result.json, a run folder or a run's id.",
        ),
    ] = None,
    null_draws: Annotated[
        bool,
        typer.Option(
            "--null-draws/--no-null-draws",
            "--include-null-cache/--no-include-null-cache",
            help="Take the null draws of this suite along, so that they are not made again.",
        ),
    ] = True,
    max_size_mb: Annotated[
        int, typer.Option("--max-size-mb", min=1, max=100_000, help="The largest pack to make, in MB.")
    ] = 50,
) -> None:
    """Make one file of a suite and all it needs, to run elsewhere.

    The suite, its document, the adapter and the null draws go in; the base model does not. Paths become those inside
    the pack. The same input gives the same bytes.

    \b
    sway-dash pack sway.yaml --golden r-20260101-120000-abcdef
    """
    from sway_dash.cli.packing import pack_suite

    code = pack_suite(spec, out=out, adapter=adapter, golden=golden, null_draws=null_draws, max_size_mb=max_size_mb)
    raise typer.Exit(code)


@app.command()
@fenced
def unpack(
    pack: Annotated[Path, typer.Argument(help="A pack; with --verify also the folder it was unpacked to.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder in which the folder swaypack is made.", show_default="here")
    ] = Path(),
    base: Annotated[
        str | None, typer.Option("--base", help="Base model here, a folder or a hub id; written into the suite.")
    ] = None,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="Adapter folder here, for a pack made with --no-adapter.")
    ] = None,
    verify: Annotated[
        str | None,
        typer.Option("--verify", metavar="RUN", help="Unpack nothing: compare this run with the pack's golden result."),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", min=0.0, max=1.0, help="How far numbers may be off, and the same as a share."),
    ] = 1e-4,
    max_size_mb: Annotated[
        int, typer.Option("--max-size-mb", min=1, max=1_000_000, help="The most that may come out of it, in MB.")
    ] = 2048,
) -> None:
    """Open a pack, check it, and say how to run it.

    Nothing is overwritten; every name, size and checksum is checked first. With --verify a run is compared with the
    golden result of the pack, and the exit code is 1 when they differ.

    \b
    sway-dash unpack sway.swaypack.tar.gz -o here --base ./model
    """
    from sway_dash.cli.packing import unpack_suite, verify_run

    if verify is not None:
        raise typer.Exit(verify_run(pack, verify, tolerance=tolerance))
    raise typer.Exit(unpack_suite(pack, out=out, base=base, adapter=adapter, max_size_mb=max_size_mb))
