"""Suites as tests: pytest is run for real on files that a user would write."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

# Loaded before pytest is run inside pytest, which forgets what it has imported: not everything can be imported twice.
import scipy.special
import scipy.stats  # noqa: F401

import sway_dash.integrations.pytest_suite  # noqa: F401
from sway_dash import pytest_plugin
from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore, Verdict, utcnow
from sway_dash.suite.store import list_runs
from tests.fakes_cli import Exact

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
PLUGIN = "sway" if importlib.metadata.entry_points(group="pytest11", name="sway") else "sway_dash.pytest_plugin"

PATH = os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p)

SUITE = """\
models:
  base: {kind: custom, base: fake, entry_point: "tests.integrations.test_pytest_plugin:BACKEND"}
  ft: {kind: custom, base: fake, entry_point: "tests.integrations.test_pytest_plugin:BACKEND"}
suite:
  - {name: noise, kind: null_adapter, runs: 3}
  - {name: dk, kind: delta_kl, prompts: [one, two, three, four, five]}
  - {name: too much, kind: delta_kl, assert_mean_gte: 0.6, prompts: [one, two, three, four, five]}
  - {name: unused, kind: delta_kl, enabled: false, prompts: [one]}
"""

TESTS = """\
import pytest

@pytest.mark.sway(spec="sway.yaml", threshold=0.1)
def test_demo():
    raise AssertionError("the body never runs")

def test_plain():
    pass
"""


class Counted(Exact):
    """Writes a line to ``$SWAY_LOADS`` for every load."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        with Path(os.environ["SWAY_LOADS"]).open("a") as file:
            file.write("loaded\n")


class Unloadable(Counted):
    """Cannot be loaded."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        raise RuntimeError("kaboom")


class Unfit(Counted):
    """Its tuned view gives NaN."""

    def preflight_finite_check(self) -> tuple[bool, str]:
        return False, "ft view gives 3 non-finite log-probabilities of 8"


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a model was loaded."""
    path = tmp_path / "loads"
    monkeypatch.setenv("SWAY_LOADS", str(path))
    return lambda: len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def run(pytester: pytest.Pytester, loads: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``run("-k", "x", tests=…, backend=…)`` → what pytest said."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makefile(".ini", pytest="[pytest]\nmarkers = slow: takes long")

    def invoke(*args: str, tests: str = TESTS, suite: str = SUITE, backend: str = "Counted") -> pytest.RunResult:
        (pytester.path / "sway.yaml").write_text(suite.replace("BACKEND", backend))
        (pytester.path / "test_it.py").write_text(tests)
        known = ("-W", "ignore::pytest.PytestAssertRewriteWarning")
        return pytester.runpytest_inprocess("-p", PLUGIN, "-p", "no:timeout", *known, *args)

    return invoke


def marked(mark: str, before: str = "") -> str:
    return f"import pytest\n\n{before}\n@pytest.mark.sway({mark})\ndef test_demo():\n    raise AssertionError\n"


def test_every_probe_is_a_test_and_the_model_is_loaded_once(run, loads):
    result = run("-v", "-W", "ignore")
    result.assert_outcomes(passed=3, failed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_demo::noise PASSED*",
            "test_it.py::test_demo::dk PASSED*",
            "test_it.py::test_demo::too much FAILED*",
            "test_it.py::test_demo::unused SKIPPED*disabled*",
            "test_it.py::test_demo::__gate__ FAILED*",
            "test_it.py::test_plain PASSED*",
            "*too much (delta_kl): fail: *below the gate of 0.6*",
            "*the whole report: sway-dash report r-*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    assert loads() == 1
    (folder,) = list_runs()
    assert folder.meta()["name"] == "pytest sway"
    assert folder.result().status == "finished"


def test_a_single_probe_can_be_named(run, loads):
    result = run("test_it.py::test_demo::dk", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_demo::dk PASSED*"])
    run("test_it.py::test_demo::too much").assert_outcomes(failed=1)
    run("test_it.py::test_demo").assert_outcomes(passed=2, failed=2, skipped=1)
    assert loads() == 3


def test_nothing_is_loaded_when_nothing_is_asked(run, loads):
    run("--collect-only", "-q").stdout.fnmatch_lines(["test_it.py::test_demo::too much", "*6 tests collected*"])
    run("-k", "plain").assert_outcomes(passed=1, deselected=5)
    run("-k", "unused").assert_outcomes(skipped=1, deselected=5)
    assert loads() == 1, "only what was run needs the result"


def test_only_what_failed_is_run_again(run):
    run("--lf").assert_outcomes(passed=3, failed=2, skipped=1)
    run("--lf").assert_outcomes(failed=2)
    fixed = SUITE.replace("0.6", "0.01")
    result = run("--lf", "-v", suite=fixed)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*::too much PASSED*", "*::__gate__ PASSED*"])


@pytest.mark.parametrize(
    ("mark", "args", "outcomes"),
    [
        ("@pytest.mark.skip(reason='not now')", (), {"skipped": 5}),
        ("@pytest.mark.skipif('True', reason='not here')", (), {"skipped": 5}),
        ("@pytest.mark.slow", ("-m", "not slow"), {"deselected": 5}),
        ("@pytest.mark.xfail", (), {"xpassed": 2, "xfailed": 2, "skipped": 1}),
    ],
)
def test_other_marks_keep_their_meaning(run, loads, mark, args, outcomes):
    run(*args, tests=marked('"sway.yaml", threshold=0.1', mark)).assert_outcomes(**outcomes)
    assert loads() == ("xfailed" in outcomes)


@pytest.mark.parametrize("backend", ["Unloadable", "Unfit"])
def test_a_suite_that_cannot_be_run_is_tried_once_and_says_why(run, loads, backend):
    result = run(backend=backend)
    result.assert_outcomes(passed=1, failed=5)
    why = "*kaboom*" if backend == "Unloadable" else "*preflight failed*non-finite*"
    assert len([line for line in result.outlines if why.strip("*").split("*")[0] in line]) >= 5
    result.stdout.no_fnmatch_line("*there is no result*")
    assert loads() == 1


def test_what_cannot_be_measured_here_leaves_no_run(run, pytester):
    models = "models:\n  base: {base: ./nowhere}\n  ft: {base: ./nowhere, adapter: ./mine}\n"
    result = run(suite=models + SUITE[SUITE.index("suite:") :])
    assert result.parseoutcomes()["failed"] == 5
    result.stdout.fnmatch_lines(["*the suite could not be run: *mine does not exist*"])
    assert not list(list_runs())


def test_two_marks_on_one_suite_share_a_run_also_with_other_weights(run, loads):
    tests = TESTS + '\n@pytest.mark.sway("sway.yaml", weights={"adherence": 1})\ndef test_again():\n    pass\n'
    run(tests=tests).assert_outcomes(passed=5, failed=3, skipped=2)
    assert loads() == 1


def test_a_mark_on_a_class_or_module_counts(run):
    tests = (
        'import pytest\n\n@pytest.mark.sway("sway.yaml")\nclass TestIt:\n    def test_a(self):\n        assert False\n'
    )
    result = run("-v", tests=tests)
    result.assert_outcomes(passed=2, failed=1, skipped=1)
    result.stdout.fnmatch_lines(["test_it.py::TestIt::test_a::dk PASSED*"])


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        (marked(""), "*requires a `spec`*"),
        (marked("spec=3"), "*requires a `spec`*"),
        (marked('"a", "b"'), "*unexpected arguments*"),
        (marked('"sway.yaml", treshold=1'), "*unexpected arguments treshold*"),
        (marked('"sway.yaml", threshold="much"'), "*threshold must be a number*"),
        (marked('"sway.yaml", threshold=2'), "*threshold must be a number from 0 to 1*"),
        (marked('"sway.yaml", threshold=float("nan")'), "*threshold must be a number*"),
        (marked('"sway.yaml", weights=[1]'), "*weights must be a mapping*"),
        (marked('"sway.yaml", weights={"bogus": 1}'), "*unknown category keys*"),
        (marked('"nowhere.yaml"'), "*could not be loaded*nowhere.yaml*not found*"),
        (marked('"sway.yaml"', '@pytest.mark.sway("sway.yaml")'), "*more than one sway mark*"),
        (marked('"sway.yaml"', "@pytest.mark.parametrize('x', [1, 2])"), "*parametrize means nothing here*"),
        (
            "import pytest\n\n@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.sway('sway.yaml'))])\n"
            "def test_demo(x):\n    pass\n",
            "*belongs on a function*",
        ),
        (
            "import pytest, unittest\n\nclass TestIt(unittest.TestCase):\n    @pytest.mark.sway('sway.yaml')\n"
            "    def test_demo(self):\n        pass\n",
            "*belongs on a function*",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_failing_test(run, loads, tests, said):
    result = run("-v", tests=tests)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_it.py::*test_demo* FAILED*", said])
    assert loads() == 0


def test_a_suite_with_an_unknown_kind_fails_while_it_is_collected(run, loads):
    result = run(tests=marked('"sway.yaml"'), suite=SUITE.replace("kind: delta_kl", "kind: delta_kk"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*could not be loaded*", "*delta_kk*"])


# -- what a verdict becomes -----------------------------------------------------------------------


def told(verdict: Verdict, overall: float = 0.9) -> tuple[SuiteResult, SwayScore]:
    probe = ProbeResult(name="dk", kind="delta_kl", verdict=verdict, score=overall, message="what it said")
    now = utcnow()
    result = SuiteResult("x", now, now, "base", "", "0", probes=(probe,))
    return result, SwayScore(overall, {"adherence": overall})


ONE = """\
models: {base: {kind: dummy, base: x}, ft: {kind: dummy, base: x}}
suite: [{name: dk, kind: delta_kl, prompts: [a]}]
"""


@pytest.mark.parametrize(
    ("verdict", "outcomes"),
    [
        (Verdict.PASS, {"passed": 1}),
        (Verdict.WARN, {"passed": 1, "warnings": 1}),
        (Verdict.SKIP, {"skipped": 1}),
        (Verdict.FAIL, {"failed": 1}),
        (Verdict.ERROR, {"failed": 1}),
    ],
)
def test_a_verdict_becomes_an_outcome(run, monkeypatch, verdict, outcomes):
    monkeypatch.setattr(pytest_plugin._SuiteCache, "get_or_run", lambda self, spec_path, *, weights: told(verdict))
    result = run("-rs", tests=marked('"sway.yaml"'), suite=ONE)
    result.assert_outcomes(**outcomes)
    if verdict is not Verdict.PASS:
        result.stdout.fnmatch_lines(["*what it said*"])


def test_the_gate_says_both_numbers(run, monkeypatch):
    monkeypatch.setattr(
        pytest_plugin._SuiteCache, "get_or_run", lambda self, spec_path, *, weights: told(Verdict.PASS, 0.65)
    )
    result = run("-v", tests=marked('"sway.yaml", threshold=0.8'), suite=ONE)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*__gate__ FAILED*", "*0.65*0.80*"])


def test_a_probe_without_a_result_names_those_there_are(run, monkeypatch):
    result, score = told(Verdict.PASS)
    other = replace(result, probes=(replace(result.probes[0], name="another"),))
    monkeypatch.setattr(pytest_plugin._SuiteCache, "get_or_run", lambda self, spec_path, *, weights: (other, score))
    said = run(tests=marked('"sway.yaml"'), suite=ONE).stdout.str()
    assert re.search("no result of dk.*another", said)


def test_an_errored_probe_fails_the_gate_whatever_the_score(run, monkeypatch):
    monkeypatch.setattr(
        pytest_plugin._SuiteCache, "get_or_run", lambda self, spec_path, *, weights: told(Verdict.ERROR)
    )
    run(tests=marked('"sway.yaml", threshold=0.1'), suite=ONE).assert_outcomes(failed=2)


def test_the_generators_of_the_session_are_left_alone(run):
    tests = (
        "import pytest, random\n\nrandom.seed(5)\n\n"
        + marked('"sway.yaml"').split("\n", 2)[2]
        + "\ndef test_after():\n    assert random.random() == random.Random(5).random()\n"
    )
    run(tests=tests).assert_outcomes(passed=3, failed=1, skipped=1)


# -- pytest as a process --------------------------------------------------------------------------


def process(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", PLUGIN, *args]
    # Without the plugins of others, which take longer to start than the suite to run.
    env = {**os.environ, "PYTHONPATH": PATH, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    env.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)


def test_workers_share_one_run_however_tests_are_dealt_out(run, loads, pytester):
    run("--collect-only", "-q")
    done = process(pytester.path, "-n", "2", "--dist", "load", "-v")
    assert "2 failed, 3 passed, 1 skipped" in done.stdout, done.stdout
    assert {"gw0", "gw1"} <= set(re.findall(r"gw\d", done.stdout))
    assert loads() == 1


def test_with_loadgroup_all_tests_of_a_suite_go_to_one_worker(run, pytester):
    pytester.makeconftest("""
        def pytest_collection_modifyitems(items):
            groups = [[m.args[0] for m in item.iter_markers("xdist_group")] for item in items]
            print("groups", groups[:5], len({str(g) for g in groups[:5]}), groups[5])
    """)
    own = TESTS + '\n@pytest.mark.xdist_group("mine")\n@pytest.mark.sway("sway.yaml")\ndef test_own():\n    pass\n'
    result = run("--collect-only", "-q", "-s", tests=own)
    result.stdout.fnmatch_lines(["groups [[['sway-*']*] 1 []*"])
    assert "'mine'" not in result.stdout.str().split("] 1 []")[0]


def test_the_plugin_is_listed_and_starts_without_the_engine(tmp_path):
    code = (
        "import sys, pytest\n"
        f"code = pytest.main(['-p', {PLUGIN!r}, '-p', 'no:cacheprovider', '--markers'])\n"
        "heavy = {'numpy', 'torch', 'yaml', 'pydantic', 'scipy', 'panel'} & sys.modules.keys()\n"
        "import json; print(json.dumps(sorted(heavy)))\n"
    )
    env = {**os.environ, "PYTHONPATH": PATH, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert "@pytest.mark.sway(spec, threshold=0.0, weights=None)" in done.stdout, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
