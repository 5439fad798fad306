"""Serve the Compare page alone."""

import panel as pn

from tests.ui.compare_page import page

pn.extension("tabulator", notifications=True)

page().servable()
