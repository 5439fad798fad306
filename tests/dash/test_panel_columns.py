"""Panels as rows, axes and sentences: what is not known is no zero, orders are those that are named."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sway_dash.core.panels import Curve, Group, Groups, Items, Row
from sway_dash.figures import panel_columns as pc
from sway_dash.figures.plots.curve import curve, set_curve
from sway_dash.figures.plots.dumbbell import dumbbell, set_items
from sway_dash.figures.plots.groups import group_points, set_groups
from sway_dash.figures.theme import DARK, LIGHT

values = st.none() | st.floats(-1e6, 1e6)
rows = st.builds(Row, label=st.text(max_size=12), base=values, tuned=values, flag=st.sampled_from(["", "good", "bad"]))
items = st.builds(
    Items,
    title=st.text(max_size=8),
    rows=st.lists(rows, max_size=12).map(tuple),
    gate=values,
    better=st.sampled_from(["higher", "lower", ""]),
)


@given(items)
def test_every_order_holds_every_row_once_and_unknown_ones_last(panel: Items) -> None:
    for order in pc.orders(panel):
        places = pc.ordered(panel, order)
        assert sorted(places) == list(range(len(panel.rows)))
        name = order.lstrip("-")
        if name in ("base", "tuned"):
            found = [getattr(panel.rows[i], name) for i in places]
        elif name == "change":
            found = [None if (c := pc.change(panel.rows[i])) is None else abs(c) for i in places]
        else:
            continue
        known = [v for v in found if v is not None]
        assert found[: len(known)] == known
        assert known == sorted(known, reverse=order.startswith("-"))


@given(items)
def test_any_items_can_be_drawn_and_told(panel: Items) -> None:
    plot = dumbbell()
    places = pc.ordered(panel, pc.usual_order(panel))
    set_items(plot, panel, places)
    lo, hi = pc.span(panel)
    assert lo < hi
    shown = [v for name in ("base", "tuned") for v in plot.sources["rows"].data[name] if not math.isnan(v)]
    assert all(lo <= v <= hi for v in shown)
    assert plot.parts["gate"].visible == (panel.gate is not None)
    assert len(plot.sources["joins"].data["y"]) == sum(pc.change(r) is not None for r in panel.rows)
    assert pc.words(panel)
    assert all(len(pc.cells(panel, k)) == len(pc.heads(panel)) for k in places)


def test_an_axis_of_lengths_begins_at_zero_and_one_of_logprobs_does_not() -> None:
    lengths = Items(title="", rows=(Row(label="a", base=90.0, tuned=100.0),))
    assert pc.span(lengths)[0] <= 0
    logs = Items(title="", rows=(Row(label="a", base=-90.0, tuned=-100.0),))
    assert pc.span(logs)[1] < 0


def test_flags_have_a_sign_and_a_word() -> None:
    panel = Items(title="", rows=(Row(label="a", tuned=1.0, flag="bad"), Row(label="b", tuned=2.0, flag="good")))
    _, _, names = pc.item_columns(panel, [0, 1])
    assert list(names.values()) == ["✕ a", "✓ b"]
    assert pc.cells(panel, 0)[0] == "✕ bad"
    assert {sign for sign, *_ in pc.signs(panel)} == {"◆", "✓", "✕"}
    assert "1 judged bad" in pc.words(panel)


def test_groups_are_told_with_their_ends() -> None:
    panel = Groups(
        title="Layers",
        unit="nats",
        gate=0.2,
        groups=(
            Group(label="layer 0", value=0.1, lo=0.05, hi=0.2, n=3),
            Group(label="layer 1", value=None),
            Group(label="layer 2", value=0.4567),
        ),
    )
    assert "from 0.1 (layer 0) to 0.457 nats (layer 2)" in pc.words(panel)
    plot = group_points()
    set_groups(plot, panel, [0, 1, 2])
    assert list(plot.figure.yaxis[0].major_label_overrides.values()) == ["layer 0 (n = 3)", "layer 1", "layer 2"]
    data = plot.sources["rows"].data
    assert math.isnan(data["value"][1])
    assert math.isnan(data["lo"][2])
    assert pc.caption(panel) == "Numbers: nats. Gate: 0.2 nats."


def test_a_curve_of_uneven_lists_is_as_long_as_its_shortest() -> None:
    panel = Curve(title="", x_label="x", y_label="y", x=(2.0, 1.0, 3.0), y=(5.0, None), lo=(1.0,), hi=(9.0, 9.0))
    assert pc.curve_points(panel) == [(1.0, None, None), (2.0, 5.0, (1.0, 9.0))]
    plot = curve()
    set_curve(plot, panel)
    assert list(plot.sources["line"].data["x"]) == [1.0, 2.0]
    assert "1 point without a value" in pc.caption(panel)
    empty = Curve(title="Nothing", x_label="", y_label="", x=(), y=())
    set_curve(plot, empty)
    assert pc.words(empty) == "Nothing. No point has a value."


@pytest.mark.parametrize("make", [dumbbell, group_points, curve])
def test_every_glyph_follows_the_theme(make) -> None:
    plot = make()
    colours = {}
    for dark in (False, True):
        plot.recolor(dark)
        names = ("line_color", "fill_color")
        colours[dark] = {getattr(r.glyph, name, "") for r in plot.figure.renderers for name in names}
    assert LIGHT.tuned in colours[False]
    assert DARK.tuned in colours[True]
    assert LIGHT.tuned not in colours[True]
