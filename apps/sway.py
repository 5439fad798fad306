"""Serve the dashboard: ``panel serve apps/sway.py --show``."""

import panel as pn

from sway_dash.dash import create_app

pn.extension("tabulator", "codeeditor", notifications=True, reconnect=True)

create_app().servable()
