"""What ``init`` does: a first suite for an adapter folder, checked before it is written."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sway_dash.cli.adapters import PROMPTS, find_base, read_config, read_prompts, resolve_base
from sway_dash.cli.boundary import OK, UsageError, note
from sway_dash.cli.outputs import STDOUT, check_writable, write_text

if TYPE_CHECKING:
    from sway_dash.suite.starter import Starter

MOST_REWORDED = 3


def write_suite(
    adapter: Path,
    *,
    out: Path,
    base: str | None,
    preset: str,
    prompts: Path | None,
    document: Path | None,
    force: bool,
) -> int:
    """Write a suite for an adapter; a file that somebody else has written is kept unless ``force``."""
    from sway_dash.suite.plan import plan

    # What is printed is written as for a file here.
    target = Path(os.path.abspath("sway.yaml" if out == STDOUT else out.expanduser()))
    starter = _gather(adapter.expanduser(), base=base, preset=preset, prompts=prompts, document=document)
    check_writable(out, inputs=[path for path in (prompts, document) if path is not None])
    text, spec, built = _checked(starter, target)
    if not force and out != STDOUT and _edited(target, text):
        raise UsageError(f"{out} is there and is not as init would leave it: give --force to replace it, or -o FILE")
    write_text(out, text)
    if out == STDOUT:
        return OK
    planned = plan(spec, built)
    note(f"wrote {out}: {len(planned)} probes, {len(starter.prompts)} prompts")
    note(f"next: sway-dash run {out} --dry-run, then without --dry-run")
    return OK


def _gather(adapter: Path, *, base: str | None, preset: str, prompts: Path | None, document: Path | None) -> Starter:
    """What the suite is made of, with everything that can be told to be wrong found out."""
    from sway_dash.mining.rewording import rule_candidates
    from sway_dash.suite.document import read_document
    from sway_dash.suite.presets import PRESETS
    from sway_dash.suite.starter import Starter, suggest

    read_config(adapter)
    found = find_base(adapter) if base is None else resolve_base(base)
    _check_pair(adapter, found)
    read = None if document is None else read_document(document)
    texts: list[dict[str, Any]] = suggest(PROMPTS, read) if prompts is None else read_prompts(prompts.expanduser())
    chosen = next(p for p in PRESETS if p.key == preset)

    def reword(question: str) -> list[str]:
        return rule_candidates(question, n=MOST_REWORDED, seed=0)

    return Starter(found, Path(os.path.abspath(adapter)), chosen, texts, read, reword)


def _check_pair(adapter: Path, base: str) -> None:
    """``ModelLoadError`` if the two cannot go together; remarks on what is only odd."""
    from sway_dash.backends.model_files import other_base
    from sway_dash.suite.usable import look_at_pair

    facts, model = look_at_pair(adapter, base)
    if model is None:
        note(f"the base {base} is not on this machine: the first run fetches it from the hub")
        return
    if remark := other_base(facts, base):
        note(remark)


def _checked(starter: Starter, target: Path) -> tuple[str, Any, list[Any]]:
    """The text, read back as ``run`` will read it."""
    from sway_dash.suite.loader import check_entries, loads
    from sway_dash.suite.starter import render

    text = render(starter, target)
    spec = loads(text, source=str(target), folder=target.parent)
    return text, spec, check_entries(spec, source=str(target), text=text)


def _edited(target: Path, text: str) -> bool:
    """Whether a file would be lost: one that is neither the same nor as an earlier ``init`` left it."""
    from sway_dash.suite.starter import unedited

    if not target.exists():
        return False
    try:
        old = target.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return True
    return old != text and not unedited(old)


def validate(paths: Sequence[Path], *, strict: bool, as_json: bool = False) -> int:
    """Check suite files without loading a model; every one is looked at, also after one that is wrong."""
    from sway_dash.cli.boundary import USAGE, complain

    found = [_looked_at(path, strict=strict) for path in paths]
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    for one in () if as_json else found:
        for said in one["errors"]:
            complain(said)
        for said in one["remarks"]:
            note(f"{one['suite']}: {said}")
        if not one["errors"]:
            note(f"{one['suite']}: {one['probes']} {'probe' if one['probes'] == 1 else 'probes'}")
    return OK if all(not one["errors"] for one in found) else USAGE


def _looked_at(path: Path, *, strict: bool) -> dict[str, Any]:
    """What is to be said of a suite file: its errors, remarks and number of probes."""
    from sway_dash.core.errors import SpecValidationError
    from sway_dash.suite.idle import warnings
    from sway_dash.suite.loader import check_entries, load_spec, ready_problems

    source = path.expanduser()
    told: dict[str, Any] = {"suite": str(path), "probes": None, "errors": [], "remarks": []}
    try:
        spec = load_spec(source)
        built = check_entries(spec, source=str(path), text=source.read_text(encoding="utf-8"))
    except SpecValidationError as error:
        return {**told, "errors": [str(error)]}
    # An adapter need not be where its suite is kept, a place in git for one.
    missing = [said for _, said in ready_problems(spec, built)] + ([] if built else ["there are no probes"])
    remarks = [*([] if strict else missing), *warnings(spec, built)]
    errors = [f"{path}: {said}" for said in missing] if strict else []
    return {**told, "probes": len(built), "errors": errors, "remarks": remarks}
