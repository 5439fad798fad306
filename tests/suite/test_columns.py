"""What is read as columns is what is read as events; what is written otherwise is read all the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sway_dash.suite.comparison import Side, compare, open_side
from sway_dash.suite.draws import read_fold
from sway_dash.suite.execute import execute
from sway_dash.suite.store import COLUMNS, EVENTS, SPEC, RunFolder
from tests.suite.test_comparison import suite

HOSTILE = ['a "quoted" \\ text', '"role":"null"', "line\nbreak", "snow ☃ \u2028", "plain", "back\\", '{"js":1,"kl":2,']


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    prompts = [{"text": text, "tags": ["a]b", 'c"d', text]} for text in HOSTILE]
    found = RunFolder.create(suite(prompts), root=tmp_path_factory.mktemp("runs"))
    execute(found, details=0)
    return found


def whole(folder: RunFolder) -> Side:
    """The run with every measurement as an event."""
    fold = folder.fold()
    return Side("whole", "whole", fold.status, {p.name: p for p in fold.result().probes}, fold)


def test_columns_hold_what_the_events_hold(folder: RunFolder) -> None:
    fold, columns = read_fold(folder)
    known = folder.fold()
    assert sorted(columns["moved"]) == sorted({m.view for m in known.measurements["moved"] if m.role == "null"})
    assert all(m.role == "probe" for m in fold.measurements["moved"])
    assert (fold.done, fold.total) == (known.done, known.total)
    quick, slow = open_side(folder.path).series("moved"), whole(folder).series("moved")
    assert quick is not None
    assert slow is not None
    assert quick.keys == slow.keys
    for metric in ("js", "kl"):
        assert quick.nulls[metric].shape == (len(HOSTILE), 6)
        for own, other in ((quick.nulls, slow.nulls), (quick.spread, slow.spread), (quick.values, slow.values)):
            np.testing.assert_array_equal(own[metric], other[metric])
    (contrast,) = compare([whole(folder), open_side(folder.path)]).contrasts
    assert contrast.stats.identical


def test_a_finished_run_has_its_columns_in_a_file(folder: RunFolder) -> None:
    quick, slow = open_side(folder.path, whole=False), whole(folder)
    assert set(quick.read) == {"moved"}
    assert (quick.probes, quick.entries, quick.environment) == (slow.probes, slow.entries, slow.environment)
    assert quick.fold is not None
    assert slow.fold is not None
    assert (quick.fold.done, quick.fold.total) == (slow.fold.done, slow.fold.total)
    assert quick.results == slow.results
    own, other = quick.series("moved"), slow.series("moved")
    assert own is not None
    assert other is not None
    assert (own.keys, own.items, own.tags, own.settings) == (other.keys, other.items, other.tags, other.settings)
    assert (own.planned, own.failed, own.kind) == (other.planned, other.failed, other.kind)
    for metric in ("js", "kl"):
        for a, b in ((own.nulls, other.nulls), (own.spread, other.spread), (own.values, other.values)):
            np.testing.assert_array_equal(a[metric], b[metric])
    np.testing.assert_array_equal(own.bound, other.bound)


@pytest.mark.parametrize("harm", ["more events", "cut short", "no columns", "another thing"])
def test_columns_that_do_not_count_are_passed_over(folder: RunFolder, tmp_path: Path, harm: str) -> None:
    for name in (EVENTS, COLUMNS, SPEC):
        shutil.copyfile(folder.path / name, tmp_path / name)
    if harm == "more events":
        with (tmp_path / EVENTS).open("ab") as file:
            file.write(b'{"type":"warning","seq":1000,"ts":1.0,"message":"later"}\n')
    elif harm == "cut short":
        (tmp_path / COLUMNS).write_bytes((tmp_path / COLUMNS).read_bytes()[:-30])
    elif harm == "no columns":
        (tmp_path / COLUMNS).unlink()
    else:
        np.savez(tmp_path / COLUMNS, head=np.frombuffer(b"[]", dtype=np.uint8))
    side = open_side(tmp_path, whole=False)
    assert side.read == {}
    (contrast,) = compare([whole(folder), side]).contrasts
    assert contrast.stats.identical


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"role":"null","lam":null', b'"lam":null,"role":"null"'),
        lambda data: data.replace(b'"js":', b'"js": ', 1000),
        lambda data: data + data.replace(b'"resumed":false', b'"resumed":true'),
        lambda data: data.replace(b'"role":"null"', b'"role":"null"', 3) + b'{"seq":1,"ts":1.0,"role":"null"}\n',
    ],
    ids=["other order", "blanks", "two attempts", "an unknown event"],
)
def test_what_is_written_in_another_way_is_read_as_events(
    folder: RunFolder, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    copy = RunFolder(tmp_path)
    (tmp_path / EVENTS).write_bytes(change((folder.path / EVENTS).read_bytes()))
    _, columns = read_fold(copy)
    assert columns == {}
    (quick, slow) = (s.series("moved") for s in (open_side(tmp_path), whole(copy)))
    assert quick is not None
    assert slow is not None
    np.testing.assert_array_equal(quick.nulls["js"], slow.nulls["js"])


def test_a_torn_last_line_is_left_out(folder: RunFolder, tmp_path: Path) -> None:
    data = (folder.path / EVENTS).read_bytes()
    lines = data.split(b"\n")
    last = max(i for i, line in enumerate(lines) if b'"role":"null"' in line)
    (tmp_path / EVENTS).write_bytes(b"\n".join([*lines[:last], lines[last][:-40]]))
    fold, columns = read_fold(RunFolder(tmp_path))
    assert sum(len(draws.items) for draws in columns["moved"].values()) == 6 * len(HOSTILE) - 1
    assert fold.done == folder_done(tmp_path)


def folder_done(path: Path) -> int:
    return RunFolder(path).fold().done
