"""What ``mine`` does: finds prompts worth a suite with the suite's own model, and writes them as YAML."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sway_dash.cli.boundary import OK, UsageError, note, printable
from sway_dash.cli.outputs import STDOUT, check_writable, tell_written, write_text
from sway_dash.core.errors import ProbeError

if TYPE_CHECKING:
    from sway_dash.core.scoring import DifferentialBackend
    from sway_dash.probes.base import ProbeSpec
    from sway_dash.suite.spec import SwaySpec

SHOWN = 60
"""Characters of a prompt on a line."""


def mine(
    suite: Path,
    *,
    mode: str,
    out: Path | None,
    top_k: int,
    n_candidates: int,
    corpus: str | None,
    seed: int,
    wait: bool,
) -> int:
    """Mine with the model of a suite and write what was found; everything that can be wrong is told before it loads."""
    import yaml

    from sway_dash.suite.adapter_store import with_current_adapter
    from sway_dash.suite.loader import load_checked
    from sway_dash.suite.usable import check_usable

    target = Path(f"sway-mined-{mode}.yaml") if out is None else out
    spec, built = load_checked(suite.expanduser())
    spec = with_current_adapter(spec)
    check_usable(spec)
    settings = [s for _, s in built]
    found: dict[str, Any]
    check_writable(target, inputs=[suite])
    if mode == "paraphrase":
        if corpus is not None:
            raise UsageError("--from-corpus gives prompts to --mode outliers; paraphrases are of the suite's own cases")
        if n_candidates < top_k:
            raise UsageError(
                f"--n-candidates {n_candidates} is smaller than --top-k {top_k}: raise it, or lower --top-k"
            )
        cases = _cases(settings, suite)
        with _talking(target), _opened(spec, seed, wait) as backend:
            found = {"mined_cases": _paraphrases(cases, backend, top_k=top_k, n_candidates=n_candidates, seed=seed)}
    else:
        pool = _pool(settings, corpus, suite)
        if len(pool) < 2 * top_k:
            fitting = len(pool) // 2
            how = f"--top-k {fitting} fits" if fitting else "give more prompts, or --from-corpus NAME"
            raise UsageError(f"{len(pool)} different prompts are fewer than the {2 * top_k} that two lists take: {how}")
        with _talking(target), _opened(spec, seed, wait) as backend:
            found = {"mined_outliers": _outliers(pool, backend, top_k=top_k, seed=seed)}
    text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=110)
    write_text(target, str(text))
    tell_written("what was found", target)
    return OK


def _talking(target: Path) -> AbstractContextManager[Any]:
    """What is told on the way goes to standard output, unless that is for the result."""
    return redirect_stdout(sys.stderr) if target == STDOUT else nullcontext()


@contextmanager
def _opened(spec: SwaySpec, seed: int, wait: bool) -> Iterator[DifferentialBackend]:
    """The suite's model when its device is free, given back whatever happens."""
    from sway_dash.cli.waiting import turn
    from sway_dash.core.determinism import seed_everything
    from sway_dash.suite import queue
    from sway_dash.suite.execute import open_backend

    with turn(queue.devices(spec), name="mine", wait=wait):
        seed_everything(seed)
        backend = open_backend(spec)
        try:
            yield backend
        finally:
            close = getattr(backend, "close", None)
            if close is not None:
                close()


def _cases(settings: Sequence[ProbeSpec], suite: Path) -> list[Any]:
    """Every case of a paraphrase_invariance entry, each prompt and gold once."""
    found = {
        (c.prompt, c.gold): c for s in settings if s.kind == "paraphrase_invariance" for c in getattr(s, "cases", ())
    }
    if not found:
        raise UsageError(
            f"{suite} has no case to find paraphrases of: add an entry of kind paraphrase_invariance with cases of"
            " prompt, gold and paraphrases"
        )
    return list(found.values())


def _pool(settings: Sequence[ProbeSpec], corpus: str | None, suite: Path) -> list[str]:
    """The candidates, each once: pieces of a corpus that ships, else the prompts of the delta_kl entries."""
    from sway_dash.core.packs import available_corpora
    from sway_dash.mining import corpus_prompts

    if corpus is not None:
        if corpus not in available_corpora():
            raise UsageError(f"no corpus {corpus!r}: there are {', '.join(available_corpora())}")
        return list(dict.fromkeys(corpus_prompts(corpus)))
    found = dict.fromkeys(p.text for s in settings if s.kind == "delta_kl" for p in getattr(s, "prompts", ()))
    if not found:
        raise UsageError(f"{suite} has no delta_kl prompts to choose from: add some, or give --from-corpus NAME")
    return list(found)


def _paraphrases(
    cases: Sequence[Any], backend: DifferentialBackend, *, top_k: int, n_candidates: int, seed: int
) -> list[dict[str, Any]]:
    from sway_dash.mining import mine_paraphrases

    mined: list[dict[str, Any]] = []
    caveats: dict[str, None] = {}
    for case in cases:
        try:
            found = mine_paraphrases(
                prompt=case.prompt, gold=case.gold, backend=backend, top_k=top_k, n_candidates=n_candidates, seed=seed
            )
        except ProbeError as error:
            note(f"left out: {error}")
            continue
        if not found.candidates:
            note(f"left out: {_short(case.prompt)}: {found.note or 'no candidate could be scored'}")
            continue
        hardest, lift = found.candidates[0], found.candidates[0].verbatim_lift
        typer.echo(f"{_short(case.prompt)}: lift {lift:.3g} nats a token, {found.scored} wordings tried")
        typer.echo(f"  hardest: {_short(hardest.prompt)}, lift {hardest.paraphrase_lift:.3g}")
        caveats[found.note] = None
        meta = {"top_gaps": [round(c.gap, 6) for c in found.candidates], "verbatim_lift": round(lift, 6)}
        texts = [c.prompt for c in found.candidates]
        mined.append({"prompt": case.prompt, "gold": case.gold, "paraphrases": texts, "_mining_meta": meta})
    if not mined:
        raise UsageError("no paraphrase was found for any case: the rules know questions and statements in English")
    for caveat in filter(None, caveats):
        note(caveat)
    return mined


def _outliers(pool: list[str], backend: DifferentialBackend, *, top_k: int, seed: int) -> dict[str, Any]:
    from sway_dash.mining import mine_outliers

    found = mine_outliers(probe_kind="delta_kl", candidate_prompts=pool, backend=backend, top_k=top_k, seed=seed)
    if not found.top:
        raise UsageError(f"no prompt could be measured: {found.note}")
    record: dict[str, Any] = {"probe_kind": found.probe_kind}
    for side, said in (("top", "most moved"), ("bottom", "least moved")):
        listed = getattr(found, side)
        typer.echo(f"{said}, nats:")
        for c in listed:
            typer.echo(f"  {c.raw:<9.3g}  {_short(c.prompt)}")
        record[side] = [{"prompt": c.prompt, "raw": round(c.raw, 6), "index": c.index} for c in listed]
    if found.unmeasured:
        note(f"{found.unmeasured} of {len(pool)} prompts could not be measured")
    note(found.note)
    return record


def _short(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
