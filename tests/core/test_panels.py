"""What a probe shows survives the way through JSON; what is no panel is left out."""

import json

from sway_dash.core.panels import Curve, Group, Groups, Items, Row, panels, read_panels

SHOWN = (
    Items(title="Sections", unit="nats a token", rows=(Row(label="intro", base=2.0, tuned=1.5, flag="good"),)),
    Curve(title="Decay", x_label="tokens", y_label="JS, nats", x=(0.0, 256.0), y=(0.3, None)),
    Groups(title="Layers", groups=(Group(label="0", value=0.1, lo=0.0, hi=0.2),)),
)


def test_panels_come_back_from_json() -> None:
    evidence = json.loads(json.dumps({"panels": panels(*SHOWN)}))
    assert tuple(read_panels(evidence)) == SHOWN


def test_what_is_no_panel_is_left_out() -> None:
    good = panels(SHOWN[1])[0]
    assert read_panels({"panels": [good, {"form": "pie"}, 3, None]}) == [SHOWN[1]]
    for other in ({}, None, [], {"panels": "text"}, {"panels": {"form": "curve"}}):
        assert read_panels(other) == []
