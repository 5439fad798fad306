"""Renderers of a finished result: terminal, Markdown, JSON, JUnit, static HTML. ``suite.report`` names them in public.

Nothing here imports Panel, and rich only while something is printed.
"""
