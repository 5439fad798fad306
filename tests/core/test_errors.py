"""Errors say what, where and how."""

from pathlib import Path

import pytest

from sway_dash.core import errors


def test_a_spec_error_is_its_message_with_where_it_was_found():
    bare, placed = errors.SpecValidationError("wrong"), errors.SpecValidationError("wrong", source="sway.yaml")
    assert (str(bare), bare.source) == ("wrong", None)
    assert (str(placed), placed.source) == ("sway.yaml: wrong", "sway.yaml")
    assert str(errors.SpecValidationError("wrong", source="")) == "wrong"


def test_a_missing_backend_comes_with_its_install_line_and_hint():
    error = errors.BackendNotAvailableError("mlx", extra="mlx", hint="only on Apple silicon")
    assert (error.backend, error.extra) == ("mlx", "mlx")
    first, second = str(error).splitlines()
    assert "pip install 'sway-dash[mlx]'" in first
    assert second == "only on Apple silicon"
    assert len(str(errors.BackendNotAvailableError("api", extra="api")).splitlines()) == 1


def test_a_probe_error_names_its_probe():
    error = errors.ProbeError("delta_kl", "no prompts")
    assert error.probe == "delta_kl"
    assert str(error) == "delta_kl: no prompts"


def test_a_bridge_error_says_the_version_when_it_is_known():
    known = errors.DlmCompatError("no parser", installed_dlm_version="0.3")
    assert known.installed_dlm_version == "0.3"
    assert str(known).startswith("no parser (installed dlm: 0.3)")
    assert "sway-dash[dlm]" in str(known)
    assert "installed dlm" not in str(errors.DlmCompatError("no parser"))


def test_a_missing_training_state_names_file_and_folder():
    error = errors.MissingTrainingStateError(Path("/a/b"))
    assert error.adapter_path == Path("/a/b")
    assert "training_state.pt" in str(error)
    assert str(Path("/a/b")) in str(error)


@pytest.mark.parametrize(
    "error",
    [
        errors.SpecValidationError("x"),
        errors.BackendNotAvailableError("x", extra="y"),
        errors.ModelLoadError("x"),
        errors.ProbeError("x", "y"),
        errors.DlmCompatError("x"),
        errors.MissingTrainingStateError("x"),
    ],
)
def test_all_of_them_are_for_the_user_to_mend(error):
    assert isinstance(error, errors.SwayError)


def test_stopping_is_not_an_exception_that_a_probe_could_swallow():
    assert not issubclass(errors.RunCancelled, Exception)


def test_near_names_are_suggested_and_far_ones_are_not():
    assert errors.did_you_mean("delta_lk", ["delta_kl", "leakage"]) == " Did you mean 'delta_kl'?"
    assert errors.did_you_mean("zzz", ["delta_kl", "leakage"]) == ""
