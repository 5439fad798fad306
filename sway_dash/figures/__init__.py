"""What is drawn of a run: its events as rows and columns, and Bokeh figures that take them.

Between the engine and its displays: the dashboard streams into these figures, a report is written with them. Nothing
here knows Panel, a browser session or a file.
"""
