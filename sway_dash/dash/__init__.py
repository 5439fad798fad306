"""The dashboard. ``create_app`` makes the page of one browser session; nothing here imports torch."""

from __future__ import annotations

from typing import Any

__all__ = ["create_app"]


def create_app(address: str = "") -> Any:
    """The page of one session, showing the run of an address, else the recorded example."""
    from sway_dash.dash.app import create_app as create

    return create(address)
