"""What ``pack`` and ``unpack`` do and say."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sway_dash.cli.boundary import NOTHING, OK, UsageError, note
from sway_dash.cli.outputs import STDOUT, write_bytes
from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from sway_dash.suite.pack_read import UnpackReport

MOST_SHOWN = 20
"""Differences that are printed; the rest is counted."""


def pack_suite(
    suite: Path, *, out: Path | None, adapter: bool, golden: str | None, null_draws: bool, max_size_mb: int
) -> int:
    """Make a pack and say what is in it; with ``-`` the pack goes to standard output and what is said to the other."""
    import tempfile

    from sway_dash.suite.pack import pack_spec
    from sway_dash.suite.pack_layout import in_megabytes

    printed = out == STDOUT
    with tempfile.TemporaryDirectory() as scratch:
        report = pack_spec(
            suite,
            out_path=Path(scratch) / "pack" if printed else out,
            include_golden=None if golden is None else _result_file(golden),
            include_null_cache=null_draws,
            include_adapter=adapter,
            max_size_bytes=max_size_mb * 1024**2,
        )
        if printed:
            write_bytes(STDOUT, report.out_path.read_bytes())
    typer.echo(f"{'pack' if printed else report.out_path}  {in_megabytes(report.size_bytes)}", err=printed)
    width = max(len(name) for name, _ in report.members)
    for name, size in report.members:
        typer.echo(f"  {name:<{width}}  {size:>13,} bytes", err=printed)
    if report.null_draws:
        typer.echo(f"  null draws of this suite: {report.null_draws:,}", err=printed)
    for remark in report.remarks:
        note(f"note: {remark}")
    return OK


def unpack_suite(pack: Path, *, out: Path, base: str | None, adapter: Path | None, max_size_mb: int) -> int:
    """Unpack, name what is missing, and print the command that runs it."""
    from sway_dash.suite.pack_read import unpack_swaypack
    from sway_dash.suite.pack_use import adopt, check_given

    check_given(base, adapter)
    remarks: list[str] = []

    def here(report: UnpackReport) -> None:
        remarks.extend(adopt(report, base=base, adapter=adapter))

    report = unpack_swaypack(pack, target_dir=out, max_bytes=max_size_mb * 1024**2, then=here)
    note(f"unpacked {pack} → {report.out_dir}")
    note("every file has the checksum of the manifest" if report.verified else "the manifest gives no checksums")
    for remark in remarks:
        note(f"note: {remark}")
    draws = f"SWAY_NULL_CACHE_DIR={shlex.quote(str(report.null_stats_dir.resolve()))} " if report.null_stats_dir else ""
    typer.echo(f"{draws}sway-dash run {shlex.quote(str(report.spec_path))}")
    if report.manifest.get("golden_included"):
        note(f"then compare: sway-dash unpack {shlex.quote(str(report.out_dir))} --verify RUN")
    return OK


def verify_run(pack: Path, run: str, *, tolerance: float) -> int:
    """Compare a run with the golden result of a pack; exit code 1 when they differ."""
    from sway_dash.suite.pack_golden import differences, golden_of

    golden = golden_of(pack.expanduser())
    result = _document(run)
    found = differences(golden, result, tolerance=tolerance)
    probes = len(result.get("probes") or ())
    if not found:
        typer.echo(f"{run} agrees with the golden result: {probes} probes, all numbers within {tolerance:g}")
        return OK
    typer.echo(f"{run} differs from the golden result in {len(found)} places (tolerance {tolerance:g}):")
    for diff in found[:MOST_SHOWN]:
        typer.echo(f"  {_named(diff.path, result)}: {diff.reason}{_values(diff.actual, diff.expected)}")
    if len(found) > MOST_SHOWN:
        typer.echo(f"  and {len(found) - MOST_SHOWN} more")
    return NOTHING


def _named(path: str, result: Mapping[str, Any]) -> str:
    """A place in a result with the name of its probe."""
    from sway_dash.cli.boundary import printable

    head, _, rest = path.removeprefix("$.").partition("]")
    if head.startswith("probes["):
        probe = (result.get("probes") or [])[int(head.removeprefix("probes["))]
        return printable(f"{probe.get('name', head)}{rest}")
    return printable(path.removeprefix("$."))


def _values(actual: Any, expected: Any) -> str:
    from sway_dash.report.formats import one_line

    shown = [one_line(repr(v)) for v in (actual, expected)]
    told = [text if len(text) <= 40 else f"{text[:37]}…" for text in shown]
    return f" (here {told[0]}, golden {told[1]})"


def _result_file(name: str) -> Path:
    """The result file of a run: itself, or that of a run folder or id."""
    from sway_dash.cli.finding import find_run
    from sway_dash.suite.store import RESULT

    path = Path(name).expanduser()
    if path.is_file() or path.suffix == ".json":
        return path
    file = find_run(name).path / RESULT
    if not file.is_file():
        raise UsageError(f"{name} has no {RESULT}: its run has not ended, or was stopped before anything was saved")
    return file


def _document(name: str) -> dict[str, Any]:
    import json

    from sway_dash.suite.report import load_result

    path = _result_file(name)
    load_result(path)
    found = json.loads(path.read_bytes())
    if not isinstance(found, dict):
        raise SwayError(f"{path} holds no result")
    return found
