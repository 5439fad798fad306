"""What ``runs`` does: the folders of runs as a list, one of them in words, tags, archive, deleting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from sway_dash.cli.boundary import NOTHING, OK, UsageError, note, out_console
from sway_dash.cli.finding import find_run, resolve
from sway_dash.cli.reading import folder_result
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.dash.runs import RunInfo
    from sway_dash.suite.store import RunFolder


COLUMNS = {
    "id": 0,
    "name": 0,
    "suite": 100,
    "when": 0,
    "model ← adapter": 100,
    "verdict": 0,
    "composite": 90,
    "tags": 100,
    "size": 140,
}
"""Columns of the list, and how wide a terminal has to be for each; ``runs show`` and ``--json`` have them all."""


# -- looking --------------------------------------------------------------------------------------


def list_all(*, tags: Sequence[str], archived: bool, as_json: bool) -> int:
    """Print the runs, newest first; exit code 1 when there is none to show."""
    from sway_dash.dash import runs
    from sway_dash.suite.store import runs_root

    every = runs.everything()
    found = [r for r in every if (archived or not r.archived) and set(tags) <= set(r.tags)]
    if as_json:
        _say_json([_record(info) for info in found])
    elif found:
        _table(found)
    if found:
        return OK
    hidden = [r for r in every if set(tags) <= set(r.tags)]
    with_tag = f" with the tag {', '.join(tags)}" if tags else ""
    more = f"; {len(hidden)} archived: --all shows them" if hidden else ""
    note(f"no runs{with_tag} in {runs_root()}{more}")
    return NOTHING


def show(name: str, *, as_json: bool) -> int:
    """Print one run: the answer, what it was made on, its files."""
    from sway_dash.dash import runs
    from sway_dash.figures import environment
    from sway_dash.figures.theme import size
    from sway_dash.report.formats import band_words
    from sway_dash.suite.headline import headline

    folder = find_run(name)
    info = runs.about(folder)
    if info is None:
        raise UsageError(f"{folder.path} holds no run")
    files = _files(folder)
    try:
        result, score = folder_result(folder)
        fold = folder.fold()
    except SwayError as error:
        raise UsageError(f"{folder.path} cannot be shown: {error}") from None
    answer = headline(result)
    if as_json:
        record = _record(info) | {
            "path": str(folder.path),
            "base": result.base_model_id or info.base,
            "adapter": result.adapter_id or info.adapter,
            "sentence": answer.sentence,
            "reasons": list(answer.reasons),
            "settle": answer.settle,
            "band": score.band,
            "probes": [{"name": p.name, "kind": p.kind, "verdict": p.verdict.value} for p in result.probes],
            "environment": result.environment,
            "files": files,
        }
        _say_json(record)
        return OK
    made = environment.rows(result.environment, fold.started, fold.determinism)
    _say(f"{info.name}  ({info.id}, {info.status})")
    _say(f"{answer.word}: {answer.sentence}")
    for reason in (*answer.reasons, answer.settle):
        if reason:
            _say(f"  {reason}")
    words = band_words(score.band)
    composite = (
        f"{info.composite:.2f} {score.band}{f' ({words})' if words else ''}" if info.composite is not None else "—"
    )
    facts = [
        ("when", _when(info.created)),
        ("suite", str(folder.meta().get("spec_path") or "")),
        ("base", result.base_model_id or info.base),
        ("adapter", result.adapter_id or info.adapter),
        ("composite", composite),
        ("tags", ", ".join(info.tags)),
        ("note", " ".join(info.note.split())),
        ("archived", "yes" if info.archived else ""),
        ("folder", str(folder.path)),
    ]
    _pairs("", [(name, text) for name, text in facts if text])
    _pairs("probes", [(p.name, f"{p.verdict.value}  {p.kind}") for p in result.probes])
    _pairs("made on", made)
    _pairs("files", [(file, size(n)) for file, n in files.items()])
    return OK


def _files(folder: RunFolder) -> dict[str, int]:
    """Bytes of every file of a run, by its path in the folder."""
    found: dict[str, int] = {}
    for path in sorted(folder.path.rglob("*")):
        if path.is_file() and not path.name.endswith(".lock"):
            found[path.relative_to(folder.path).as_posix()] = path.stat().st_size
    return found


def _table(found: Sequence[RunInfo]) -> None:
    from rich.table import Table
    from rich.text import Text

    from sway_dash.cli.boundary import printable
    from sway_dash.dash.run_edits import size
    from sway_dash.figures.theme import size as in_words
    from sway_dash.report.long_names import fit

    console = out_console()
    heads = [head for head, least in COLUMNS.items() if console.width >= least]
    shared = [head for head in heads if head in ("name", "suite", "model ← adapter", "tags")]
    columns: dict[str, list[str]] = {head: [] for head in heads}
    for r in found:
        state = r.word or r.status
        cells = (
            r.id,
            r.name,
            r.suite or "—",
            _when(r.created),
            f"{r.base or '?'} ← {r.adapter or '(none)'}",
            f"{state} (archived)" if r.archived else state,
            "—" if r.composite is None else f"{r.composite:.2f}",
            ", ".join(r.tags),
            in_words(size(r.id)),
        )
        for head, cell in zip(COLUMNS, cells, strict=True):
            if head in columns:
                columns[head].append(printable(cell))
    room = console.width - sum(max(map(len, [h, *columns[h]])) + 2 for h in heads if h not in shared) - 2 * len(shared)
    columns |= dict(zip(shared, fit([columns[h] for h in shared], max(room, 0)), strict=True))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for head in heads:
        right = head in ("composite", "size")
        table.add_column(head, no_wrap=head not in shared, overflow="fold", justify="right" if right else "left")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))
    console.print(table)


def _record(info: RunInfo) -> dict[str, Any]:
    """A run as plain data; times are ISO 8601 in UTC, divergences nats, sizes bytes."""
    from sway_dash.dash.run_edits import size

    return {
        "id": info.id,
        "name": info.name,
        "suite": info.suite or None,
        "status": info.status,
        "created": datetime.fromtimestamp(info.created, UTC).isoformat() if info.created else None,
        "seconds": info.seconds,
        "base": info.base,
        "adapter": info.adapter,
        "verdict": info.word,
        "composite": info.composite,
        "metric": info.metric,
        "mean": info.mean,
        "ci_95": info.ci,
        "prompts": info.prompts,
        "tags": list(info.tags),
        "note": info.note,
        "archived": info.archived,
        "bytes": size(info.id),
    }


def _say_json(data: Any) -> None:
    from sway_dash.core.result import jsonable

    typer.echo(json.dumps(jsonable(data), indent=2, ensure_ascii=False, allow_nan=False))


def _say(text: str) -> None:
    from sway_dash.cli.boundary import printable

    typer.echo(printable(text))


def _pairs(title: str, rows: Sequence[tuple[str, str]]) -> None:
    if title and rows:
        _say(f"\n{title}")
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        _say(f"  {name:<{width}}  {text}")


def _when(created: float) -> str:
    return f"{datetime.fromtimestamp(created).astimezone():%Y-%m-%d %H:%M}" if created else "—"


# -- changing -------------------------------------------------------------------------------------


def tag(name: str, tags: Sequence[str], *, take_away: bool) -> int:
    """Give a run tags, or take them away."""
    from sway_dash.dash import runs
    from sway_dash.dash.run_edits import edit

    wanted = [t for t in (" ".join(text.split()) for text in tags) if t]
    if len(wanted) < len(tags):
        raise UsageError("a tag needs at least one character that is no blank")
    run = resolve(name)
    folder = runs.find(run)
    info = runs.about(folder) if folder is not None else None
    have = list(info.tags) if info is not None else []
    if take_away:
        if missing := [t for t in wanted if t not in have]:
            raise UsageError(f"{run} has no tag {', '.join(missing)}; it has {', '.join(have) or 'none'}")
        left = [t for t in have if t not in wanted]
    else:
        left = list(dict.fromkeys([*have, *wanted]))
    edit(run, tags=left)
    note(f"{run}: {', '.join(left) or 'no tags'}")
    return OK


def archive(names: Sequence[str], *, archived: bool) -> int:
    """Put runs away, or bring them back; all are looked for before any is changed."""
    from sway_dash.dash.run_edits import edit

    for run in _each(names):
        edit(run, archived=archived)
        note(f"{run}: {'archived' if archived else 'back in the list'}")
    return OK


def delete(names: Sequence[str], *, yes: bool) -> int:
    """Delete runs for good, after a question; nothing is deleted unless all can be."""
    from sway_dash.dash.run_edits import delete as remove
    from sway_dash.dash.run_edits import size, undeletable
    from sway_dash.figures.theme import size as in_words

    found = _each(names)
    if refused := [why for run in found if (why := undeletable(run))]:
        raise UsageError(" ".join(refused))
    if not yes:
        total = in_words(sum(size(run) for run in found))
        what = found[0] if len(found) == 1 else f"{len(found)} runs ({', '.join(found)})"
        try:
            agreed = typer.confirm(f"Delete {what}, {total}, for good?", err=True)
        except typer.Abort:
            raise UsageError("nobody answered, nothing was deleted: add --yes to delete without the question") from None
        if not agreed:
            note("nothing was deleted")
            return NOTHING
    for run in found:
        remove(run)
        note(f"deleted {run}")
    return OK


def _each(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(resolve(name) for name in names))
