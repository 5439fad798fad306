"""Where log-probabilities come from: one ``build`` for every kind of backend. Importing this loads no torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sway_dash.backends.api_client import KEY_NAME, checked_url
from sway_dash.backends.two_model import MIXED, BothSpecs, TwoModelDifferential
from sway_dash.core.errors import BackendNotAvailableError, SpecValidationError
from sway_dash.core.model import ModelSpec
from sway_dash.core.scoring import DifferentialBackend, NullCalibratedBackend, ScalableDifferentialBackend

__all__ = ["TwoModelDifferential", "build", "build_two_separate", "from_model"]


def build(base_spec: ModelSpec, *, adapter_path: Path | None = None) -> DifferentialBackend:
    """Open the model a spec describes, with the adapter given here or in the spec.

    Raises
    ------
    SpecValidationError
        When the spec cannot mean a backend.
    BackendNotAvailableError, ModelLoadError
        When the backend or the model cannot be used here.
    """
    adapter = adapter_path if adapter_path is not None else base_spec.adapter
    if base_spec.kind == "hf" and adapter is None:
        msg = (
            "kind='hf' needs an adapter: give adapter: <folder>; "
            "for a full fine-tune set defaults.differential: false and give it as models.ft.base"
        )
        raise SpecValidationError(msg)
    return _build(base_spec, adapter)


def from_model(model: Any, tokenizer: Any) -> DifferentialBackend:
    """Measure a ``PeftModel`` that is in memory already, without a second copy; ``close`` leaves it as it was found.

    Raises
    ------
    ModelLoadError
        When it cannot be measured as it is: no LoRA, merged, quantised, several adapters active.
    """
    from sway_dash.backends.held import HeldModelBackend

    return HeldModelBackend(model, tokenizer)


def build_two_separate(spec_models: BothSpecs) -> TwoModelDifferential:
    """Open both sides of a suite on their own; an hf side without adapter is a full model.

    Two sides of kind api are asked at once what they can do: ``ModelLoadError`` when they cannot be compared.
    """
    check_pair(spec_models)
    base = _build(spec_models.base, spec_models.base.adapter)
    try:
        ft = _build(spec_models.ft, spec_models.ft.adapter)
        try:
            pair = TwoModelDifferential(base, ft)
            if spec_models.base.kind == "api":
                from sway_dash.backends.api_pair import connect

                connect(pair)
            return pair
        except BaseException:
            _close(ft)
            raise
    except BaseException:
        _close(base)
        raise


def check_pair(spec_models: BothSpecs) -> None:
    """``SpecValidationError`` for two sides that cannot be compared as two models."""
    if (spec_models.base.kind == "api") != (spec_models.ft.kind == "api"):
        # Before a model is loaded for nothing.
        raise SpecValidationError(MIXED, source="models")
    for side in ("base", "ft"):
        spec: ModelSpec = getattr(spec_models, side)
        if spec.kind == "api" and (problems := server_problems(spec)):
            raise SpecValidationError("; ".join(problems.values()), source=f"models.{side}")


def check(spec: ModelSpec) -> None:
    """What opening a spec would refuse at once, without opening it."""
    if spec.kind == "custom":
        _entry_class(spec.entry_point)
    elif spec.kind == "api":
        _check_server(spec)
    elif spec.kind != "hf":
        _build(spec, spec.adapter)


def server_problems(spec: ModelSpec) -> dict[str, str]:
    """By field, what keeps a model of kind api from being asked, as far as that is known without asking."""
    found: dict[str, str] = {}
    if not spec.endpoint:
        found["endpoint"] = "kind='api' needs an endpoint: give endpoint: http://host:port/v1"
    else:
        try:
            checked_url(spec.endpoint)
        except SpecValidationError as error:
            found["endpoint"] = str(error)
    if spec.key_env and not os.environ.get(spec.key_env):
        found["key_env"] = f"key_env names {spec.key_env}, which is not set here: set it to the server's key"
    if spec.adapter is not None:
        found["adapter"] = (
            "a server loads no adapter for a request: serve it (vLLM: --enable-lora --lora-modules name=folder)"
            " and give its name as base"
        )
    return found


def _check_server(spec: ModelSpec) -> None:
    if problems := [text for name, text in server_problems(spec).items() if name != "adapter"]:
        raise SpecValidationError("; ".join(problems))


def _build(spec: ModelSpec, adapter: Path | None) -> DifferentialBackend:
    return _KINDS[spec.kind](spec, adapter)


def _hf(spec: ModelSpec, adapter: Path | None) -> DifferentialBackend:
    from sway_dash.backends.hf import HuggingFaceDifferentialBackend

    return HuggingFaceDifferentialBackend(base_spec=spec, adapter_path=adapter)


def _dummy(spec: ModelSpec, adapter: Path | None) -> DifferentialBackend:
    msg = "kind='dummy' has canned answers and is for tests: construct DummyDifferentialBackend there"
    raise SpecValidationError(msg)


def _mlx(spec: ModelSpec, adapter: Path | None) -> DifferentialBackend:
    if adapter is None:
        msg = "kind='mlx' needs an adapter: give adapter: <folder>"
        raise SpecValidationError(msg)
    hint = "this version has no mlx backend: use kind: hf, which runs on Apple silicon too (device: mps)"
    raise BackendNotAvailableError("mlx", extra="mlx", hint=hint)


def _api(spec: ModelSpec, adapter: Path | None) -> DifferentialBackend:
    from sway_dash.backends.api import ApiScoringBackend

    _check_server(spec)
    where, name = spec.endpoint or "", spec.key_env or KEY_NAME
    return ApiScoringBackend(base_url=where, model_name=spec.base, api_key=os.environ.get(name), key_name=name)


def _custom(spec: ModelSpec, adapter: Path | None) -> DifferentialBackend:
    """Import ``module:Class``, construct it and record which protocols it satisfies."""
    backend = _construct(_entry_class(spec.entry_point), spec, adapter)
    if not isinstance(backend, DifferentialBackend):
        _close(backend)
        msg = f"{spec.entry_point} is no DifferentialBackend: it needs as_base() and as_finetuned()"
        raise SpecValidationError(msg)
    optional = (NullCalibratedBackend, ScalableDifferentialBackend)
    met = ("DifferentialBackend", *(p.__name__ for p in optional if isinstance(backend, p)))
    backend.__sway_protocols__ = met  # type: ignore[attr-defined]
    return backend


def _entry_class(entry: str | None) -> Any:
    if not entry:
        msg = "kind='custom' needs an entry_point: give entry_point: pkg.module:ClassName"
        raise SpecValidationError(msg)
    module_name, _, class_name = entry.partition(":")
    if not module_name or not class_name or ":" in class_name:
        msg = f"entry_point {entry!r} must look like pkg.module:ClassName"
        raise SpecValidationError(msg)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may fail in any way while it is imported
        msg = f"entry_point {entry!r}: cannot import {module_name}: {type(error).__name__}: {error}"
        raise SpecValidationError(msg) from error
    try:
        return getattr(module, class_name)
    except AttributeError as error:
        msg = f"entry_point {entry!r}: module {module_name} has no attribute {class_name!r}"
        raise SpecValidationError(msg) from error


def _construct(factory: Any, spec: ModelSpec, adapter: Path | None) -> Any:
    try:
        return factory(base_spec=spec, adapter_path=adapter)
    except TypeError as error:
        msg = (
            f"entry_point {spec.entry_point!r} does not match the signature "
            f"ClassName(*, base_spec, adapter_path): {error}"
        )
        raise SpecValidationError(msg) from error


def _close(backend: Any) -> None:
    close = getattr(backend, "close", None)
    if close is not None:
        close()


_KINDS: dict[str, Callable[[ModelSpec, Path | None], DifferentialBackend]] = {
    "hf": _hf,
    "dummy": _dummy,
    "mlx": _mlx,
    "api": _api,
    "custom": _custom,
}
