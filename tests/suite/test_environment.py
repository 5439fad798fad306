"""On what a run was made: machine and software always, the model as far as its backend can tell."""

import json
import sys
from pathlib import Path

from sway_dash.backends.dummy import DummyDifferentialBackend
from sway_dash.backends.loading import hub_id_of, snapshot_revision
from sway_dash.suite.environment import environment_of
from tests.fakes_cli import Exact


def test_software_and_machine_are_told_without_a_model():
    found = environment_of(None)
    assert found["python"].startswith(f"{sys.version_info[0]}.{sys.version_info[1]}")
    assert found["platform"]
    assert {"numpy", "torch", "transformers", "peft"} <= found["packages"].keys()
    assert "backend" not in found
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_backend_that_does_not_describe_itself_is_named():
    assert environment_of(DummyDifferentialBackend())["backend"] == "DummyDifferentialBackend"


def test_what_a_backend_says_of_itself_is_taken_over_json_ready():
    class Odd(Exact):
        def describe(self):
            return {"fingerprint": "f", "update_norm": float("nan"), "adapter_targets": {"b", "a"}}

    found = environment_of(Odd())
    assert found["fingerprint"] == "f"
    assert found["update_norm"] is None
    assert found["adapter_targets"] == ["a", "b"]


def test_threads_are_told_where_torch_computes(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert "threads" not in environment_of(None)
    monkeypatch.setitem(sys.modules, "torch", type("Torch", (), {"get_num_threads": staticmethod(lambda: 3)}))
    assert environment_of(None)["threads"] == 3


def test_a_folder_of_the_hub_s_cache_has_the_commit_as_its_revision():
    folder = Path("/cache/hub/models--org--tiny-model/snapshots/0a1b2c")
    assert (hub_id_of(folder), snapshot_revision(folder)) == ("org/tiny-model", "0a1b2c")
    for other in (Path("/models/tiny"), Path("/cache/snapshots/0a1b2c"), folder.parent):
        assert (hub_id_of(other), snapshot_revision(other)) == ("", "")
    assert snapshot_revision(None) == ""
