"""Commands around the runs folder and suite files: ``runs``, ``init``, ``mine``, ``serve``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sway_dash.cli.boundary import fenced
from sway_dash.cli.parts.options import Wait
from sway_dash.cli.parts.show import ExportFormat, Redacted

app = typer.Typer()

runs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What has been measured: list, show, tag, delete runs.\n\n"
    "A run is named by its id, by a beginning of it that no other run has, or by its folder.",
)
app.add_typer(runs, name="runs")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id, a beginning of it, or the folder.", show_default=False)]
Runs = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Ids, beginnings of them, or folders.", show_default=False)
]
Tags = Annotated[list[str], typer.Argument(metavar="TAG...", help="One or more tags.", show_default=False)]


@runs.command("list")
@fenced
def list_runs(
    json: Json = False,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only runs with this tag; may be repeated.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Archived runs, too.")] = False,
) -> None:
    """Which runs are there, and what did each find?

    Newest first, archived ones left out; exit code 1 when there is none to show.

    \b
    sway-dash runs list --tag nightly
    """
    from sway_dash.cli import library

    raise typer.Exit(library.list_all(tags=tag or [], archived=all, as_json=json))


@runs.command()
@fenced
def show(run: Run, json: Json = False) -> None:
    """What did a run find, and on what was it made?

    \b
    sway-dash runs show demo
    """
    from sway_dash.cli import library

    raise typer.Exit(library.show(run, as_json=json))


@runs.command()
@fenced
def tag(run: Run, tags: Tags) -> None:
    """Give a run tags, to find it by.

    \b
    sway-dash runs tag r-20260301 nightly baseline
    """
    from sway_dash.cli import library

    raise typer.Exit(library.tag(run, tags, take_away=False))


@runs.command()
@fenced
def untag(run: Run, tags: Tags) -> None:
    """Take tags away from a run.

    \b
    sway-dash runs untag r-20260301 baseline
    """
    from sway_dash.cli import library

    raise typer.Exit(library.tag(run, tags, take_away=True))


@runs.command()
@fenced
def archive(names: Runs) -> None:
    """Put runs away: they stay on disk, and lists leave them out.

    \b
    sway-dash runs archive r-20260301-1 r-20260301-2
    """
    from sway_dash.cli import library

    raise typer.Exit(library.archive(names, archived=True))


@runs.command()
@fenced
def unarchive(names: Runs) -> None:
    """Bring archived runs back into the lists.

    \b
    sway-dash runs unarchive r-20260301-1
    """
    from sway_dash.cli import library

    raise typer.Exit(library.archive(names, archived=False))


@runs.command()
@fenced
def delete(
    names: Runs, yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without the question.")] = False
) -> None:
    """Delete runs for good, after a question.

    \b
    sway-dash runs delete r-20260301-1 --yes

    A run that a process is still writing is refused, and so is any folder that is no run. Of a run that lies elsewhere
    and is only linked from the runs folder, the link goes.
    """
    from sway_dash.cli import library

    raise typer.Exit(library.delete(names, yes=yes))


@runs.command("export")
@fenced
def export_run(
    run: Run,
    format: Annotated[
        ExportFormat, typer.Option("--format", help="A table, or the trace for Perfetto.")
    ] = ExportFormat.csv,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to a file instead.")] = None,
    draws: Annotated[bool, typer.Option("--draws", help="One row a null draw and prompt, not one a prompt.")] = False,
    redact: Annotated[Redacted, typer.Option("--redact", help="What leaves: texts, or numbers only.")] = Redacted.full,
    paths: Annotated[bool, typer.Option("--paths", help="Keep paths and user names.")] = False,
) -> None:
    """Write what a run measured for other programs.

    \b
    sway-dash runs export demo --format csv -o demo.csv

    The same as sway-dash export, which also writes to trackers.
    """
    from sway_dash.cli.exporting import export_run as export
    from sway_dash.cli.finding import find_run

    where = str(find_run(run).path)
    raise typer.Exit(export(where, form=format.value, out=out, draws=draws, redact=redact.value, paths=paths))


class PresetName(StrEnum):
    """How much a first suite measures; ``suite.presets.PRESETS``, which cannot be imported here."""

    quick = "quick"
    standard = "standard"
    full = "full"


@app.command()
@fenced
def init(
    adapter: Annotated[Path, typer.Argument(help="Folder of the adapter.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The suite file to write.")] = Path("sway.yaml"),
    base: Annotated[
        str | None, typer.Option("--base", help="Base model, a hub id or a folder; else what the adapter names.")
    ] = None,
    preset: Annotated[
        PresetName, typer.Option("--preset", help="quick: a first look; full: every probe that fits.")
    ] = PresetName.standard,
    prompts: Annotated[
        Path | None,
        typer.Option(
            "--prompts", help="Prompts, one a line; .jsonl: the field text or prompt; - reads standard input."
        ),
    ] = None,
    document: Annotated[
        Path | None, typer.Option("--document", help="What the adapter was trained on: prompts and probes of its own.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that has been edited.")] = False,
) -> None:
    """Write a first suite file for an adapter.

    Base and adapter are looked at, prompts are suggested, every entry says what it is for. No model is loaded. A file
    that has been edited stays as it is unless --force is given.

    \b
    sway-dash init ./adapter --document handbook.md
    """
    from sway_dash.cli.starting import write_suite

    raise typer.Exit(
        write_suite(adapter, out=out, base=base, preset=preset.value, prompts=prompts, document=document, force=force)
    )


@app.command()
@fenced
def validate(
    suites: Annotated[list[Path], typer.Argument(metavar="SUITE...", help="Suite files.", show_default=False)],
    strict: Annotated[
        bool, typer.Option("--strict", help="Adapter, document and prompts have to be there, too, as for a run.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Is a suite file right? No model is loaded.

    Every mistake is told with its line; exit code 2 if there is one. This is what the pre-commit hook runs.

    \b
    sway-dash validate sway.yaml suites/*.yaml
    """
    from sway_dash.cli.starting import validate as check

    raise typer.Exit(check(suites, strict=strict, as_json=json))


class MineMode(StrEnum):
    """What ``mine`` looks for."""

    paraphrase = "paraphrase"
    outliers = "outliers"


@app.command()
@fenced
def mine(
    spec: Annotated[Path, typer.Argument(help="The suite file, sway.yaml.", show_default=False)],
    mode: Annotated[
        MineMode, typer.Option("--mode", help="Wordings an adapter knows least, or prompts it moves most and least.")
    ] = MineMode.paraphrase,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write.", show_default="sway-mined-<mode>.yaml")
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=1, max=1000, help="How many to keep, of a case or a list.")] = 10,
    n_candidates: Annotated[
        int, typer.Option("--n-candidates", min=1, max=10_000, help="Wordings of each case to try.")
    ] = 50,
    from_corpus: Annotated[
        str | None,
        typer.Option("--from-corpus", metavar="NAME", help="outliers: pieces of a shipped corpus, not the prompts."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Order in which wordings are tried.")] = 0,
    wait: Wait = True,
) -> None:
    """Which prompts are worth a place in the suite?

    paraphrase takes the cases of paraphrase_invariance and finds other wordings after which the adapter knows the
    answer least; outliers finds the prompts it moves most and least. The model of the suite is loaded once.

    \b
    sway-dash mine sway.yaml --mode outliers --top-k 5
    """
    from sway_dash.cli.mining import mine as find

    raise typer.Exit(
        find(
            spec,
            mode=mode.value,
            out=out,
            top_k=top_k,
            n_candidates=n_candidates,
            corpus=from_corpus,
            seed=seed,
            wait=wait,
        )
    )


@app.command()
@fenced
def serve(
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port; 0 takes any.", show_default="5006, else a free one"),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; anything but this machine needs --token.")
    ] = "127.0.0.1",
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
    token: Annotated[
        str | None,
        typer.Option("--token", envvar="SWAY_TOKEN", help="A secret that every visitor needs; opens it to others."),
    ] = None,
    runs_dir: Annotated[
        Path | None,
        typer.Option("--runs", metavar="DIR", help="Folder of runs.", show_default="$SWAY_RUNS_DIR or ~/sway-runs"),
    ] = None,
) -> None:
    """Show the dashboard in the browser.

    It is for this machine only unless there is a token, which every page, file and websocket then needs. Runs that are
    started from it go on when it ends with Ctrl-C.

    \b
    sway-dash serve --runs ./runs
    """
    from sway_dash.cli.serving import serve as begin

    raise typer.Exit(begin(host=host, port=port, browser=not no_browser, token=token, runs=runs_dir))
