"""Lists compared: what differs is found, all of it, and of long lists in reasonable time."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.dash import alignment
from sway_dash.dash.alignment import differences
from sway_dash.dash.yaml_edit import rewrite
from sway_dash.dash.yaml_tree import parse

lists = st.lists(st.sampled_from("abcdefgh"), max_size=14)


def made_of(old: list[str], new: list[str]) -> list[str]:
    """The old list with every stretch that differs taken from the new one."""
    out: list[str] = []
    done = 0
    for i, i_end, j, j_end in differences(old, new):
        out += old[done:i] + new[j:j_end]
        done = i_end
    return out + old[done:]


@pytest.mark.parametrize("several", [0, 1000])
def test_every_difference_is_found_and_none_overlap(several: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignment, "SEVERAL", several)

    @given(lists, lists)
    def check(old: list[str], new: list[str]) -> None:
        found = differences(old, new)
        assert made_of(old, new) == new
        assert all(a[1] <= b[0] and a[3] <= b[2] for a, b in pairwise(found))
        assert all(i < i_end or j < j_end for i, i_end, j, j_end in found)

    check()


def test_a_long_list_that_lost_or_got_items_is_touched_nowhere_else() -> None:
    long = [f"text {i % 5}" for i in range(3000)]
    short = [t for i, t in enumerate(long) if i % 3]
    assert sum(i_end - i for i, i_end, j, j_end in differences(long, short)) == 1000
    assert all(j == j_end for *_, j, j_end in differences(long, short))
    assert all(i == i_end for i, i_end, *_ in differences(short, long))


def test_a_long_list_that_lost_and_changed_items_keeps_the_others() -> None:
    old = [f"text {i}" for i in range(3000)]
    new = [f"{t}, tagged" if i % 7 == 0 else t for i, t in enumerate(old) if i % 3]
    kept = set(range(len(old))) - {n for i, i_end, *_ in differences(old, new) for n in range(i, i_end)}
    assert [old[n] for n in sorted(kept)] == [t for t in new if "tagged" not in t]


def test_long_lists_of_few_texts_are_not_compared_item_by_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("difflib.SequenceMatcher", lambda **_: pytest.fail("a square of the length"))
    old = [f"text {i % 5}" for i in range(4000)]
    new = random.Random(1).sample(old, 2000)
    text = "prompts:\n# first\n" + "".join(f"- {t}\n" for t in old)
    found = rewrite(text, {"prompts": new})
    assert parse(found) == {"prompts": new}
    assert found.startswith("prompts:\n# first\n- ")


def test_comments_stay_with_the_rows_of_a_long_list() -> None:
    text = "prompts:\n" + "".join(f"- text {i}  # {i}\n" for i in range(3000))
    found = rewrite(text, {"prompts": [f"text {i}" for i in range(0, 3000, 2)]})
    assert found == "prompts:\n" + "".join(f"- text {i}  # {i}\n" for i in range(0, 3000, 2))
