"""The suite that asks everything leaves no kind out without saying so, and every entry has something to ask."""

from __future__ import annotations

from sway_dash.demo import demo_dir
from sway_dash.probes import registry
from sway_dash.suite.forecast import forecast
from sway_dash.suite.loader import load_checked

LEFT_OUT = {"tool_use_fidelity", "gradient_ghost", "training_drift"}


def test_every_kind_is_there_or_named_as_left_out() -> None:
    path = demo_dir() / "full.yaml"
    spec, built = load_checked(path)
    shipped = {kind for kind, probe in registry().items() if probe.__module__.startswith("sway_dash.")}
    assert {s.kind for _, s in built} == shipped - LEFT_OUT
    head = path.read_text(encoding="utf-8").split("version:")[0]
    assert all(kind in head for kind in LEFT_OUT)
    assert spec.models.ft.adapter == (demo_dir() / "adapter").resolve()


def test_every_entry_has_something_to_ask() -> None:
    spec, built = load_checked(demo_dir() / "full.yaml")
    cost = forecast(spec, built)
    assert all(entry.passes + entry.hits > 0 for entry in cost.entries), [e.name for e in cost.entries if not e.passes]
    # Much more than the suite for a first look, which is why that is another one.
    first = forecast(*load_checked(demo_dir() / "sway.yaml"))
    assert cost.weight > 5 * first.weight
