"""Files that ship beside the code are found in a wheel and in a checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from sway_dash.core import shipped as place
from sway_dash.core.shipped import shipped


def test_what_is_inside_the_package_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "sway_dash"
    monkeypatch.setattr(place, "_PACKAGE", package)
    with pytest.raises(FileNotFoundError, match=r"not complete: no .*sway\.yaml or .*sway\.yaml"):
        shipped("assets/demo/sway.yaml")
    for folder in (tmp_path / "assets" / "demo", package / "assets" / "demo"):
        folder.mkdir(parents=True)
        (folder / "sway.yaml").write_text("version: 1\n")
        assert shipped("assets/demo/sway.yaml") == folder / "sway.yaml"
