"""Long names in the columns of a terminal."""

from __future__ import annotations

from sway_dash.report.long_names import LEAST, fit, lines


def test_a_name_is_broken_after_its_separators_only() -> None:
    assert lines("sweep-20261123/checkpoint-1000", 14) == "sweep-\n20261123/\ncheckpoint-\n1000"
    assert lines("before→after it", 8) == "before→\nafter it"
    assert lines("short-name", 10) == "short-name"


def test_a_word_that_does_not_fit_loses_its_beginning() -> None:
    assert lines("thebeginningandtheend", 8) == "…dtheend"
    assert lines("run-thebeginningandtheend-2", 8) == "run-\n…theend-\n2"


def test_names_that_fit_stay_whole_and_the_long_ones_share_the_rest() -> None:
    assert fit([["a-b"], ["long-name-1", "x"]], 20) == [["a-b"], ["long-name-1", "x"]]
    assert fit([["a-b"], ["checkpoint-100"], ["checkpoint-2000"]], 25) == [
        ["a-b"], ["checkpoint-\n100"], ["checkpoint-\n2000"],
    ]  # fmt: skip


def test_no_line_is_wider_than_its_share() -> None:
    columns = [["one-two-three-four"], ["abcdefghijklmnopqrstuvwxyz"], ["a/b/c/d/e/f/g/h/i/j/k"]]
    for room in range(3, 60):
        cells = [cell for column in fit(columns, room) for cell in column]
        widest = [max(map(len, cell.split("\n"))) for cell in cells]
        assert sum(widest) <= max(room, 3 * LEAST)
