"""Token details of a run folder: written a line a prompt, read one at a time, whatever happens to the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sway_dash.core.detail import Inspectable, PromptDetail
from sway_dash.core.errors import ProbeError, RunCancelled, SwayError
from sway_dash.core.events import Measurement, PlannedProbe, RunStarted
from sway_dash.core.scoring import BASE, FINETUNED
from sway_dash.suite.details import DetailFile, detail_key, most_moved, record
from sway_dash.suite.fold import Fold
from sway_dash.suite.store import RunFolder
from tests.fakes import FakeBackend, comparison, detail

PROMPTS = ["the light\nof the sea", "žluť <b>tea</b> 🙂", "", "plain bread"]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create("models: {}\n", root=tmp_path)


def as_stored(d: PromptDetail) -> PromptDetail:
    """Numbers are shortened on the way to the disk."""
    return PromptDetail.from_dict(json.loads(json.dumps(d.to_dict())))


def recorded(folder: RunFolder, prompts: list[str] = PROMPTS, **options: Any) -> DetailFile:
    record(folder, FakeBackend(), prompts, **options)
    return folder.details()


def test_what_was_recorded_is_found_by_prompt_and_view(folder: RunFolder) -> None:
    file = recorded(folder, top=3, new_tokens=5)
    for prompt in PROMPTS:
        assert file.find(prompt) == as_stored(detail(prompt, BASE, FINETUNED, top=3, new_tokens=5))
    assert file.find("never measured") is None
    assert file.find(PROMPTS[0], "scaled_0.5") is None
    assert file.keys() == {detail_key(p) for p in PROMPTS}
    assert file.skipped == 0


def test_the_fake_shows_what_it_measures() -> None:
    backend = FakeBackend()
    assert isinstance(backend, Inspectable)
    ((_, found),) = backend.details(["the light"])
    after = next(t for t in found.tokens if t.part == "continuation").prediction
    want = comparison("the light", BASE, FINETUNED)
    assert after is not None
    assert (after.js, after.kl, after.kl_reverse) == (want.js, want.kl, want.kl_reverse)
    assert "".join(t.text for t in found.tokens if not t.special) == "the light" + "".join(
        t.text for t in found.tokens if t.part == "continuation" and not t.special
    )
    assert [t.text for t in found.tokens if t.part == "continuation"] == list(found.tuned_says)


def test_a_run_without_details_has_none(folder: RunFolder) -> None:
    file = folder.details()
    assert file.keys() == frozenset()
    assert file.find("anything") is None


def test_a_growing_file_is_followed_without_reading_it_again(folder: RunFolder) -> None:
    record(folder, FakeBackend(), PROMPTS[:1])
    file = folder.details()
    assert len(file.keys()) == 1
    record(folder, FakeBackend(), PROMPTS[1:2])
    # Had the reader begun anew, it would now miss the first line.
    with file.path.open("rb+") as raw:
        raw.write(b"#")
    assert file.keys() == {detail_key(p) for p in PROMPTS[:2]}
    assert file.find(PROMPTS[1]) is not None


def test_a_line_that_is_being_written_is_taken_when_it_is_whole(folder: RunFolder, tmp_path: Path) -> None:
    whole = recorded(folder).path.read_bytes()
    growing = tmp_path / "growing.jsonl"
    file = DetailFile(growing)
    cut = whole.index(b"\n") + 40
    growing.write_bytes(whole[:cut])
    assert file.keys() == {detail_key(PROMPTS[0])}
    with growing.open("ab") as raw:
        raw.write(whole[cut:])
    assert file.keys() == {detail_key(p) for p in PROMPTS}
    assert file.skipped == 0


def test_unreadable_lines_are_passed_over_and_counted(folder: RunFolder) -> None:
    record(folder, FakeBackend(), PROMPTS)
    path = folder.details().path
    lines = path.read_bytes().splitlines(keepends=True)
    future = lines[2].replace(b'"schema":1', b'"schema":99')
    torn = lines[3][:200] + b"\n"
    path.write_bytes(b"".join([lines[0], b"[1, 2]\n", b"\xff\xfe\n", lines[1], future, torn]))
    file = DetailFile(path)
    assert file.find(PROMPTS[0]) is not None
    assert file.find(PROMPTS[1]) is not None
    assert file.find(PROMPTS[2]) is None
    assert file.find(PROMPTS[3]) is None
    assert file.skipped == 4
    assert file.keys() == {detail_key(p) for p in PROMPTS[:2]}


def test_the_next_attempt_does_not_continue_a_torn_line(folder: RunFolder) -> None:
    record(folder, FakeBackend(), PROMPTS[:1])
    path = folder.details().path
    path.write_bytes(path.read_bytes()[:-30])
    record(folder, FakeBackend(), PROMPTS[1:2])
    file = folder.details()
    assert file.find(PROMPTS[1]) is not None
    assert file.find(PROMPTS[0]) is None


def test_of_two_attempts_the_later_counts_and_the_earlier_stands_in(folder: RunFolder) -> None:
    record(folder, FakeBackend(), PROMPTS[:1], new_tokens=2)
    record(folder, FakeBackend(), PROMPTS[:1], new_tokens=3)
    path = folder.details().path
    assert folder.details().find(PROMPTS[0]) == as_stored(detail(PROMPTS[0], BASE, FINETUNED, top=8, new_tokens=3))
    path.write_bytes(path.read_bytes().rstrip(b"}]\n") + b"\n")
    file = folder.details()
    assert file.find(PROMPTS[0]) == as_stored(detail(PROMPTS[0], BASE, FINETUNED, top=8, new_tokens=2))
    assert file.skipped == 1


def test_a_file_that_was_made_anew_is_read_anew(folder: RunFolder) -> None:
    file = recorded(folder)
    assert len(file.keys()) == len(PROMPTS)
    file.path.unlink()
    assert file.keys() == frozenset()
    record(folder, FakeBackend(), ["only this"])
    assert file.keys() == {detail_key("only this")}


def test_distinct_prompts_up_to_the_limit_in_the_order_given(folder: RunFolder) -> None:
    assert record(folder, FakeBackend(), ["b", "a", "b", "c"], limit=2) == 2
    file = folder.details()
    assert file.keys() == {detail_key("a"), detail_key("b")}
    assert record(folder, FakeBackend(), ["d"], limit=0) == 0
    assert file.find("d") is None


def test_what_is_written_before_a_stop_stays(folder: RunFolder) -> None:
    asked = iter([False, False, True])

    def checkpoint() -> None:
        if next(asked):
            raise RunCancelled

    with pytest.raises(RunCancelled):
        record(folder, FakeBackend(), PROMPTS, checkpoint=checkpoint)
    assert folder.details().keys() == {detail_key(p) for p in PROMPTS[:2]}


def test_prompts_that_cannot_be_measured_are_said_after_the_others_are_written(folder: RunFolder) -> None:
    class Choosy(FakeBackend):
        def details(self, prompts: Any, **options: Any) -> Any:
            for index, found in super().details(prompts, **options):
                yield index, ProbeError("details", "too long") if prompts[index] == "bad" else found

    with pytest.raises(SwayError, match=r"1 of 3 prompts have none; .*too long"):
        record(folder, Choosy(), ["a", "bad", "b"])
    assert folder.details().keys() == {detail_key("a"), detail_key("b")}


def test_the_most_moved_prompts_come_first() -> None:
    state = Fold()
    kinds = {"next": "delta_kl", "along": "delta_kl", "strength": "adapter_ablation"}
    state.add(RunStarted(probes=tuple(PlannedProbe(name=n, kind=k, category="x") for n, k in kinds.items())))

    def add(probe: str, prompt: str, js: float, role: str = "probe") -> None:
        state.add(Measurement(probe=probe, item=0, prompt=prompt, js=js, kl=js, kl_reverse=js, same_top=1.0, role=role))

    add("next", "a", 0.1)
    add("next", "b", 0.3)
    add("next", "c", 0.0)
    add("along", "a", 0.4)
    add("next", "c", 0.6, role="null")
    add("strength", "d", 0.6)
    assert most_moved(state) == ["a", "b", "c"]
