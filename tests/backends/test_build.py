from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sway_dash.backends import build
from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.core.errors import BackendNotAvailableError, ModelLoadError, SpecValidationError
from sway_dash.core.model import ModelSpec


class Good(DummyDifferentialBackend):
    def __init__(self, *, base_spec: ModelSpec, adapter_path: Path | None) -> None:
        super().__init__()
        self.spec, self.adapter = base_spec, adapter_path


class OnlyViews:
    def __init__(self, *, base_spec: ModelSpec, adapter_path: Path | None) -> None:
        pass

    def as_base(self) -> Any: ...

    def as_finetuned(self) -> Any: ...


class Odd:
    def __init__(self) -> None:
        pass


class NoViews:
    def __init__(self, *, base_spec: ModelSpec, adapter_path: Path | None) -> None:
        pass


def custom(name: str | None) -> ModelSpec:
    return ModelSpec(kind="custom", base="x", entry_point=name)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ModelSpec(kind="dummy", base="x"), "kind='dummy'"),
        (ModelSpec(kind="hf", base="x"), "adapter"),
        (ModelSpec(kind="mlx", base="x"), "adapter"),
        (ModelSpec(kind="api", base="x"), "endpoint"),
        (custom(None), "entry_point"),
        (custom("no_colon"), "pkg.module:ClassName"),
        (custom("a:b:c"), "pkg.module:ClassName"),
        (custom("no_such_module_at_all:X"), "cannot import"),
        (custom("tests.backends.test_build:Nowhere"), "has no attribute"),
        (custom("tests.backends.test_build:Odd"), "signature"),
        (custom("tests.backends.test_build:NoViews"), "DifferentialBackend"),
    ],
)
def test_specs_that_mean_no_backend(spec: ModelSpec, words: str) -> None:
    with pytest.raises(SpecValidationError, match=words.replace("(", r"\(")):
        build(spec)


def test_kinds_that_this_version_lacks() -> None:
    with pytest.raises(BackendNotAvailableError, match="this version has no mlx") as caught:
        build(ModelSpec(kind="mlx", base="x"), adapter_path=Path("a"))
    assert caught.value.backend == "mlx"


def test_custom_backends_say_what_they_can() -> None:
    spec = custom("tests.backends.test_build:Good")
    made: Any = build(spec, adapter_path=Path("somewhere"))
    assert type(made).__name__ == "Good"
    assert (made.spec, made.adapter) == (spec, Path("somewhere"))
    every = ("DifferentialBackend", "NullCalibratedBackend", "ScalableDifferentialBackend")
    assert made.__sway_protocols__ == every
    plain: Any = build(custom("tests.backends.test_build:OnlyViews"))
    assert plain.__sway_protocols__ == ("DifferentialBackend",)


def test_the_argument_overrides_the_specs_adapter(llama: Path, adapter: Path, tmp_path: Path) -> None:
    spec = ModelSpec(base=str(llama), adapter=tmp_path / "nowhere", device="cpu", dtype="fp32")
    with pytest.raises(ModelLoadError, match="nowhere"):
        build(spec)
    opened: Any = build(spec, adapter_path=adapter)
    assert opened.describe()["adapter"] == str(adapter)
