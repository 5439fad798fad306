"""The list of runs: what each is, read from as little of its files as possible. No Panel, no param.

What the files say is kept as long as they do not change; whether a process lives is asked every time.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sway_dash.core.errors import SwayError
from sway_dash.core.foreign import number
from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore
from sway_dash.demo import demo_dir
from sway_dash.report.json_io import load_result
from sway_dash.suite import queue
from sway_dash.suite.gate import scored
from sway_dash.suite.headline import headline
from sway_dash.suite.processes import is_alive
from sway_dash.suite.status import LIVE, Status, status_of
from sway_dash.suite.store import EVENTS, META, RESULT, SPEC, STOP, RunFolder, parse_event, runs_root

DEMO = "demo"
"""Name of the recorded example in an address."""

BASELINE = ".baseline.json"
"""Which run the others are compared with; in the folder of runs."""

TAIL_BYTES = 20_000
LAST_MOMENT = 253_370_764_800.0
"""The year 9999 begins, Unix seconds: what is later has no date everywhere."""

_ENDS = {"run_finished": "finished", "run_cancelled": "cancelled", "run_failed": "failed"}
_SAFE = re.compile(r"[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One line of the list. Times are Unix seconds, divergences nats."""

    id: str
    name: str
    status: Status
    created: float
    seconds: float | None = None
    """From start to end; ``None`` while that is not known."""
    word: str = ""
    """The answer in one word; empty while there is none."""
    base: str = ""
    adapter: str = ""
    metric: str = "JS"
    mean: float | None = None
    ci: tuple[float, float] | None = None
    prompts: int | None = None
    composite: float | None = None
    """Score of the public format, 0 to 1; ``None`` where nothing was scored."""
    tags: tuple[str, ...] = ()
    note: str = ""
    suite: str = ""
    """Name of the suite file; empty where there was none."""
    archived: bool = False
    imported: bool = False
    """Only its result is here, from a report made elsewhere."""
    linked: bool = False
    """It lies elsewhere; here is only a link to it."""
    standing: queue.Standing | None = None
    """Where it waits for its device."""
    stopping: bool = False
    """Somebody has asked it to stop and it has not ended yet."""

    @property
    def live(self) -> bool:
        """More is to be expected."""
        return self.status in LIVE


# -- finding ------------------------------------------------------------------------------------


def everything(root: Path | None = None) -> list[RunInfo]:
    """All runs, newest first."""
    root = root or runs_root()
    waiting = {p.run: d for d, places in queue.lines(root=root).items() for p in places if not p.holding}
    found = [info for path in _folders(root) if (info := _info(path, waiting, root)) is not None]
    # Names are to the second only.
    return sorted(found, key=lambda r: -r.created)


def about(folder: RunFolder) -> RunInfo | None:
    """The line of one run, wherever it lies; ``None`` if it holds nothing."""
    return _info(folder.path, {}, folder.path.parent)


def recent(limit: int = 50) -> list[RunInfo]:
    """The newest runs that are not archived, newest first."""
    return [r for r in everything() if not r.archived][:limit]


def demo_folder() -> RunFolder | None:
    """The recorded example, if it is there."""
    try:
        folder = RunFolder(demo_dir() / "run")
    except FileNotFoundError:
        return None
    return folder if (folder.path / EVENTS).is_file() else None


def find(run_id: str) -> RunFolder | None:
    """A run by the name in an address; ``None`` for one that is not there or not a plain name."""
    if run_id == DEMO:
        return demo_folder()
    if not _SAFE.fullmatch(run_id):
        return None
    folder = RunFolder(runs_root() / run_id)
    known = (folder.path / EVENTS).is_file() or bool(folder.meta())
    return folder if known else None


def address_of(folder: RunFolder) -> str:
    """Name of a run in an address."""
    demo = demo_folder()
    return DEMO if demo is not None and demo.path.resolve() == folder.path.resolve() else folder.id


def baseline() -> str:
    """Address of the run that was chosen as the baseline; empty without one, or when it is gone."""
    try:
        found = json.loads((runs_root() / BASELINE).read_text(encoding="utf-8"))["run"]
    except (OSError, ValueError, TypeError, KeyError):
        return ""
    return found if isinstance(found, str) and find(found) is not None else ""


def matches(run: RunInfo, text: str) -> bool:
    """Whether every word of a search is in a run's name, tags, note, models, state or answer."""
    where = " ".join((run.name, *run.tags, run.note, run.base, run.adapter, run.status, run.word, run.id)).lower()
    return all(word in where for word in text.lower().split())


def listed(
    found: Iterable[RunInfo], *, text: str = "", states: Iterable[str] = (), archived: bool = False
) -> list[RunInfo]:
    """Those runs a filter lets through, in the same order; archived ones only when asked for."""
    wanted = set(states)
    return [
        r for r in found if (archived or not r.archived) and (not wanted or r.status in wanted) and matches(r, text)
    ]


def to_compare(addresses: Iterable[str], starred: str = "") -> list[str]:
    """Runs in the order in which they are compared: oldest first; checkpoints of one training run by their step.

    The first is the baseline where nobody has chosen another. Of too many the starred one and the newest are kept.
    """
    # These bring the statistics, which a list of runs does without.
    from sway_dash.suite.checkpoints import checkpoint_of
    from sway_dash.suite.comparison import MAX_RUNS

    since: dict[str, float] = {}
    places: dict[str, tuple[str, int, float]] = {}
    for address in addresses:
        folder = find(address)
        info = about(folder) if folder is not None else None
        created = info.created if info is not None else LAST_MOMENT
        training, step = (checkpoint_of(models(folder.path)[1]) if folder is not None else None) or (address, 0)
        since[training] = min(created, since.get(training, created))
        places[address] = (training, step, created)
    newest = sorted(places, key=lambda a: (a == starred, places[a][2]))[-MAX_RUNS:]
    return sorted(newest, key=lambda a: (since[places[a][0]], *places[a]))


# -- naming -------------------------------------------------------------------------------------


def short(model: str) -> str:
    """Last part of a path or hub id."""
    return model.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1]


def title(folder: RunFolder, meta: Mapping[str, Any] | None = None) -> str:
    """What a run is called: the name it was given, else its adapter and the time it was made."""
    meta = folder.meta() if meta is None else meta
    if given := _given_name(folder.id, meta):
        return given
    return _readable(folder.id, meta, models(folder.path))


def _given_name(run_id: str, meta: Mapping[str, Any]) -> str:
    name = str(meta.get("name") or "").strip()
    return "" if name == run_id else name


def _readable(run_id: str, meta: Mapping[str, Any], of: tuple[str, str]) -> str:
    base, adapter = of
    created = _moment(meta.get("created_at"))
    what = short(adapter) or short(base)
    if not what or not created:
        return run_id
    return f"{what}, {datetime.fromtimestamp(created).astimezone():%Y-%m-%d %H:%M}"


def models(path: Path) -> tuple[str, str]:
    """Base and adapter of a run, from the first event or the suite; empty where they are not known."""
    try:
        first = json.loads(_first_line(path))
        return str(first.get("base_model_id") or ""), str(first.get("adapter_id") or "")
    except (ValueError, AttributeError, RecursionError):
        return _models_of_suite(path / SPEC)


def has_begun(folder: RunFolder) -> bool:
    """Whether its first event is one of ours; other programs write files of that name, too."""
    return parse_event(_first_line(folder.path)) is not None


def _in_training(meta: Mapping[str, Any]) -> str:
    """Output folder and step of an adapter that was measured while it was trained; empty for any other."""
    step = meta.get("step")
    if not meta.get("training") or not isinstance(step, int):
        return ""
    return f"{short(str(meta.get('output_dir') or meta['training']))}, step {step}"


def _first_line(path: Path) -> bytes:
    try:
        with (path / EVENTS).open("rb") as file:
            return file.readline()
    except OSError:
        return b""


def _models_of_suite(path: Path) -> tuple[str, str]:
    import yaml

    from sway_dash.core.yaml_text import load_yaml

    try:
        found = load_yaml(path.read_text(encoding="utf-8"))
        sides = found["models"]
        return str(sides["base"].get("base") or ""), str(sides["ft"].get("adapter") or "")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError):
        return "", ""


# -- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Files:
    """What the files of a run say, without what only its process knows."""

    info: RunInfo
    told: str
    begun: bool
    last: float
    """When the newest event was written."""
    process: tuple[object, object, object]
    """Number, host and time of the claim."""


_kept: dict[Path, tuple[tuple[int, ...], _Files]] = {}
_lock = threading.Lock()


def _folders(root: Path) -> list[Path]:
    try:
        with os.scandir(root) as found:
            return [Path(e.path) for e in found if not e.name.startswith(".") and e.is_dir()]
    except OSError:
        return []


def _info(path: Path, waiting: Mapping[str, str], root: Path) -> RunInfo | None:
    stamp = _stamp(path)
    if not any(stamp):
        return None
    with _lock:
        kept = _kept.get(path)
        if kept is None or kept[0] != stamp:
            kept = _kept[path] = (stamp, _read(path))
    files = kept[1]
    pid, host, claimed = files.process
    # A run that has released its folder has no process to ask for.
    alive = pid is not None and is_alive(pid, since=claimed, host=host)
    heard = not alive or files.last >= (number(claimed) or 0.0)
    waits = alive and not heard and files.info.id in waiting
    status = status_of(files.told, begun=files.begun, alive=alive, heard=heard, waiting=waits)
    standing = queue.standing(files.info.id, root=root) if waits else None
    word = "" if status in LIVE else files.info.word
    stopping = status in LIVE and (path / STOP).exists()
    return replace(files.info, status=status, standing=standing, stopping=stopping, word=word)


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes whenever a file that matters does; all zero when none is there."""
    found: list[int] = []
    for name in (META, EVENTS, RESULT):
        try:
            stat = os.stat(path / name)
        except OSError:
            found += (0, 0)
        else:
            found += (stat.st_mtime_ns, stat.st_size)
    return tuple(found)


def _read(path: Path) -> _Files:
    folder = RunFolder(path)
    meta = folder.meta()
    last = _last_event(path / EVENTS)
    result, score = _result(path / RESULT)
    told = _ENDS.get(str(last.get("type")), "running")
    if not last and result is not None:
        told = result.status
    base, adapter = models(path) if last or result is None else (result.base_model_id, result.adapter_id)
    of = (short(base), _in_training(meta) or short(adapter))
    created = _moment(meta.get("created_at")) or (_moment(result.started_at.timestamp()) if result else 0.0)
    tags = meta.get("tags")
    info = RunInfo(
        id=path.name,
        name=_given_name(path.name, meta) or _readable(path.name, meta, of),
        status="running",
        created=created,
        base=of[0],
        adapter=of[1],
        tags=tuple(str(t) for t in tags if str(t).strip()) if isinstance(tags, list) else (),
        note=str(meta.get("note") or ""),
        suite=short(str(meta.get("spec_path") or "")),
        archived=bool(meta.get("archived")),
        imported=bool(meta.get("imported")),
        linked=path.is_symlink(),
    )
    if result is not None:
        info = _judged(info, result)
    if result is not None and score is not None and scored(result, score):
        info = replace(info, composite=score.overall)
    process = (meta.get("pid"), meta.get("host"), meta.get("claimed_at"))
    return _Files(info, told, bool(last), number(last.get("ts")) or 0.0, process)


def _judged(info: RunInfo, result: SuiteResult) -> RunInfo:
    found = next((p for p in result.probes if p.kind == "delta_kl" and p.raw is not None), None)
    info = replace(info, word=headline(result).word, seconds=result.wall_seconds)
    if found is None:
        return info
    metric = "KL" if found.evidence.get("divergence_kind") == "kl" else "JS"
    return replace(info, metric=metric, mean=found.raw, ci=found.ci_95, prompts=_prompts(found))


def _prompts(probe: ProbeResult) -> int | None:
    n = probe.evidence.get("num_prompts")
    return n if isinstance(n, int) else None


def _result(path: Path) -> tuple[SuiteResult, SwayScore] | tuple[None, None]:
    if not path.is_file():
        return None, None
    try:
        return load_result(path)
    except SwayError:
        return None, None


def _last_event(path: Path) -> dict[str, Any]:
    """The newest readable record; empty when there is none near the end."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - TAIL_BYTES)
            file.seek(start)
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for line in reversed(lines[1 if start else 0 :]):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            return record
    # One record longer than what was looked at: the run has begun and has not ended.
    return {"type": "", "ts": path.stat().st_mtime} if start else {}


def _moment(value: object) -> float:
    """Unix seconds; 0 for what no calendar has."""
    found = number(value) or 0.0
    return found if 0.0 < found < LAST_MOMENT else 0.0
