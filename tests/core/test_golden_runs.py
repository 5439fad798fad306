"""Same seed, same machine: two processes leave the same run but for its times; so does one that finds the draws."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sway_dash.core.golden import CACHE_FIELDS, RUN_FIELDS, TIME_FIELDS, mask_variable_fields
from sway_dash.suite.pack_golden import differences, golden_of
from sway_dash.suite.store import EVENTS, RESULT, TRACE, RunFolder, list_runs

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "assets" / "demo"

pytestmark = pytest.mark.slow

SUITE = f"""\
models:
  base: {{kind: hf, base: {DEMO}/model}}
  ft: {{kind: hf, base: {DEMO}/model, adapter: {DEMO}/adapter}}
defaults: {{seed: 3}}
dlm_source: {DEMO}/document.md
suite:
  - {{name: noise, kind: null_adapter, runs: 2, rank_multipliers: [0.5, 1], calibrate_kinds: [delta_kl]}}
  - name: moved
    kind: delta_kl
    prompts: ["A bee lives in a", "Two and three make", "Quillhaven Light flashes every", "Once upon a time"]
  # Some prompts are known already, and stand in other batches than before.
  - {{name: again, kind: delta_kl, prompts: ["Quillhaven Light flashes every", "On a rainy Friday,", "A young cat"]}}
  - {{name: along, kind: delta_kl, positions: continuation, continuation_tokens: 4, prompts: ["A bee lives in a"]}}
  - {{name: shape, kind: adapter_ablation, lambdas: [0, 0.5, 1], prompts: ["Once upon a time", "On a rainy Friday,"]}}
  - {{name: leaks, kind: leakage, prefix_chars: 32, continuation_chars: 32, max_new_tokens: 4, perturbations: [typo]}}
  - {{name: facts, kind: calibration_drift, items_limit: 6}}
  - {{name: sections, kind: section_internalization}}
"""


ALONE = """
import sys
from sway_dash.cli.app import app
app(["run", sys.argv[1], "--details", "0"], standalone_mode=False)
"""
THEN_ELSEWHERE = """
import os, sys
from pathlib import Path
from typer.testing import CliRunner
from sway_dash.cli.app import app
suite, home, base = sys.argv[1:]
def do(*args):
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == 0, result.output
do("run", suite, "--details", "0")
(first,) = Path(os.environ["SWAY_RUNS_DIR"]).glob("r-*")
do("pack", suite, "-o", f"{home}/p.tar.gz", "--golden", first)
do("unpack", f"{home}/p.tar.gz", "-o", f"{home}/there", "--base", base)
os.environ["SWAY_RUNS_DIR"] = f"{home}/elsewhere"
os.environ["SWAY_NULL_CACHE_DIR"] = f"{home}/there/swaypack/null-stats"
do("run", f"{home}/there/swaypack/sway.yaml", "--details", "0")
"""
"""The second process runs the suite, packs it, and runs what was unpacked: loading torch takes longest by far."""


def begin(code: str, *args: object, home: Path, hash_seed: int) -> subprocess.Popen[bytes]:
    own = {"SWAY_RUNS_DIR": f"{home}/runs", "SWAY_NULL_CACHE_DIR": f"{home}/draws", "PYTHONHASHSEED": str(hash_seed)}
    # One thread each, so that both have a processor to themselves.
    env = {**os.environ, **own, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.Popen(command, env=env, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def only(home: Path) -> RunFolder:
    (folder,) = list_runs(home)
    return folder


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same suite run in two processes that share nothing."""
    suite = tmp_path_factory.mktemp("suite") / "sway.yaml"
    suite.write_text(SUITE)
    first, second = (tmp_path_factory.mktemp("home") for _ in range(2))
    started = [
        begin(ALONE, suite, home=first, hash_seed=1),
        begin(THEN_ELSEWHERE, suite, second, DEMO / "model", home=second, hash_seed=2),
    ]
    assert [process.wait(timeout=500) for process in started] == [0, 0]
    return [first, second]


@pytest.fixture(scope="module")
def pair(homes: list[Path]) -> list[RunFolder]:
    return [only(home / "runs") for home in homes]


def masked(text: str, fields) -> str:
    return json.dumps(mask_variable_fields(json.loads(text), fields=fields), sort_keys=True)


def test_two_processes_leave_the_same_bytes_apart_from_times(pair):
    first, second = (run.path / RESULT for run in pair)
    times = {"duration_s", "finished_at", "scoring_wall_s", "started_at", "wall_seconds"}
    assert {*times, "run_id"} == RUN_FIELDS
    assert masked(first.read_text(), RUN_FIELDS) == masked(second.read_text(), RUN_FIELDS)
    assert first.read_text() != second.read_text()
    verdicts = {p["name"]: p["verdict"] for p in json.loads(first.read_text())["probes"]}
    assert len(verdicts) == 8
    assert "error" not in verdicts.values()


@pytest.mark.parametrize(("name", "times"), [(EVENTS, {"ts"}), (TRACE, {"ts", "wall_ms"})])
def test_so_are_their_events_and_traces(pair, name, times):
    first, second = (
        [masked(line, RUN_FIELDS | times) for line in (run.path / name).read_text().splitlines()] for run in pair
    )
    assert len(first) > 50
    assert first == second


def test_a_result_tells_on_what_it_was_made(pair):
    result = json.loads((pair[0].path / RESULT).read_text())
    known = result["environment"]
    assert {"numpy", "torch", "transformers", "peft"} <= known["packages"].keys()
    assert known["threads"] == 1
    assert len(known["base_identity"]) == len(known["adapter_sha256"]) == len(known["fingerprint"]) == 64
    for key in ("python", "platform", "device", "device_name", "dtype", "backend", "base"):
        assert known[key], key
    assert result["determinism"]["class"] in ("strict", "best_effort")
    assert set(result["null_stats_by_rank"]) == {"rank_0.50", "rank_1.00"}
    assert result["null_stats_by_rank"]["rank_1.00"] == result["null_stats"]


def test_a_packed_suite_runs_elsewhere_with_its_draws_and_gives_the_same(homes, pair):
    home, first = homes[1], (pair[1].path / RESULT).read_text()
    second = json.loads((only(home / "elsewhere").path / RESULT).read_text())
    assert json.loads(first)["probes"][0]["evidence"]["from_cache"] is False
    assert second["probes"][0]["evidence"]["from_cache"] is True
    # Not only within the tolerance: every number to its last bit.
    assert differences(golden_of(home / "p.tar.gz"), second, tolerance=0.0) == []
    elsewhere = TIME_FIELDS | CACHE_FIELDS | {"run_id", "spec_path", "adapter_id", "adapter", "base"}
    assert masked(first, elsewhere) == masked(json.dumps(second), elsewhere)
