"""Recorded runs of the fake backend."""

from tests.dash.conftest import fakes, record

__all__ = ["fakes", "record"]
