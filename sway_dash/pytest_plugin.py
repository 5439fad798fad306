"""Suites as tests: ``@pytest.mark.sway(spec="sway.yaml", threshold=0.6)`` on a function whose body never runs.

Every probe of the suite becomes a test of its own, ``file.py::function::probe``, and the gate one more, so that they
can be selected, deselected, skipped, expected to fail and run again with ``--lf`` like any other. The model is loaded
once for a suite, when the first of its tests runs; also with pytest-xdist, where the workers share what came out.

Nothing but pytest is imported here: this module is part of every start of pytest where the package is installed.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sway_dash.core.result import ProbeResult, SuiteResult, SwayScore

MARK = "sway"
GATE = "__gate__"
_LINE = (
    "sway(spec, threshold=0.0, weights=None): run a sway.yaml, one test a probe; with a threshold above 0 one more"
    " for its gate. The function's body never runs."
)


class SuiteFailure(Exception):
    """What a test of a suite says when it fails: shown as it is, without a traceback."""


class BadMark(Exception):
    """A mark, or the suite it names, that cannot be used."""


@dataclass(frozen=True)
class Wanted:
    """What a mark asks for."""

    spec: Path
    threshold: float = 0.0
    weights: Mapping[str, float] | None = None


# -- one run a suite ------------------------------------------------------------------------------


class _SuiteCache:
    """Runs of this session: one for a suite, its failure kept as well as its result."""

    def __init__(self, shared: Path | None = None) -> None:
        self.shared = shared
        """Where the workers of pytest-xdist tell each other what came out."""
        self._cache: dict[tuple[str, tuple[tuple[str, float], ...]], Any] = {}
        # Other weights are another score of the same run.
        self._runs: dict[Path, dict[str, str]] = {}

    def get_or_run(
        self, spec_path: Path | str, *, weights: Mapping[str, float] | None = None
    ) -> tuple[SuiteResult, SwayScore]:
        """Result and score of a suite; ``SuiteFailure`` every time if it cannot be run."""
        path = Path(spec_path).resolve()
        key = (str(path), tuple(sorted((weights or {}).items())))
        if key not in self._cache:
            from sway_dash.integrations.pytest_suite import outcome, run_once

            if path not in self._runs:
                self._runs[path] = run_once(path, weights=weights, shared=self.shared)
            self._cache[key] = outcome(self._runs[path], weights)
        found = self._cache[key]
        if isinstance(found, str):
            raise SuiteFailure(found)
        result, score = found
        return result, score


_CACHE = pytest.StashKey[_SuiteCache]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", _LINE)
    config.stash[_CACHE] = _SuiteCache()


def _cache_of(config: pytest.Config) -> _SuiteCache:
    cache = config.stash[_CACHE]
    if cache.shared is None and hasattr(config, "workerinput"):
        # Beside the worker's own temporary folder, as the manual of pytest-xdist has it.
        factory: pytest.TempPathFactory | None = getattr(config, "_tmp_path_factory", None)
        cache.shared = factory.getbasetemp().parent if factory is not None else None
    return cache


# -- collecting -----------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: object) -> pytest.Item | pytest.Collector | None:
    """A collector of its own for every function that carries the mark."""
    if not collector.istestfunction(obj, name):
        return None
    own = [mark for mark in getattr(obj, "pytestmark", ()) if mark.name == MARK]
    # The decorator nearest to the function comes first, marks of class and module last.
    mark = own[0] if own else collector.get_closest_marker(MARK)
    if mark is None:
        return None
    node: Problem | SuiteTests
    try:
        if len(own) > 1:
            raise BadMark("more than one sway mark on a function: give every suite a function of its own")
        wanted = read_mark(mark, collector.config.rootpath)
        names = probe_names(wanted)
        if any(other.name == "parametrize" for other in getattr(obj, "pytestmark", ())):
            raise BadMark("parametrize means nothing here, the body never runs: give every suite a function of its own")
    except BadMark as error:
        node = Problem.from_parent(collector, name=name, why=str(error))
    else:
        node = SuiteTests.from_parent(collector, name=name, wanted=wanted, names=names)
    node.function = obj
    for other in getattr(obj, "pytestmark", ()):
        if other.name != "parametrize":
            node.add_marker(getattr(pytest.mark, other.name).with_args(*other.args, **other.kwargs))
    return node


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A mark that came too late to be collected, on a parameter or in a TestCase, must not pass unseen."""
    for at, item in enumerate(items):
        if not isinstance(item, _Test) and item.get_closest_marker(MARK) is not None and item.parent is not None:
            why = "the sway mark belongs on a function, a class or a module, not on a parameter or a TestCase"
            items[at] = Problem.from_parent(item.parent, name=item.name, why=why)
            items[at].own_markers[:] = item.own_markers


def read_mark(mark: pytest.Mark, root: Path) -> Wanted:
    """What a mark asks for; ``BadMark`` says what is wrong with it."""
    given = dict(mark.kwargs)
    if len(mark.args) > 1 or (mark.args and "spec" in given):
        raise BadMark("sway: unexpected arguments: spec is the only one without a name")
    spec = mark.args[0] if mark.args else given.pop("spec", None)
    threshold, weights = given.pop("threshold", 0.0), given.pop("weights", None)
    if given:
        raise BadMark(f"sway: unexpected arguments {', '.join(sorted(given))}: there are spec, threshold and weights")
    if not isinstance(spec, str | Path) or not str(spec):
        raise BadMark('sway requires a `spec`: @pytest.mark.sway(spec="sway.yaml")')
    try:
        smallest = float(threshold)
    except (TypeError, ValueError):
        smallest = math.nan
    if not 0.0 <= smallest <= 1.0:
        raise BadMark(f"sway: threshold must be a number from 0 to 1, not {threshold!r}")
    if weights is not None and not (
        isinstance(weights, Mapping)
        and all(isinstance(k, str) for k in weights)
        and all(isinstance(v, int | float) and not isinstance(v, bool) for v in weights.values())
    ):
        raise BadMark(f"sway: weights must be a mapping of categories to numbers, not {weights!r}")
    return Wanted(root / Path(spec).expanduser(), smallest, weights)


def probe_names(wanted: Wanted) -> list[str]:
    """Names of the probes of a suite that can be loaded; ``BadMark`` for one that cannot."""
    from sway_dash.integrations.pytest_suite import names

    try:
        return names(wanted.spec, wanted.weights)
    except SuiteFailure as error:
        raise BadMark(str(error)) from None


class SuiteTests(pytest.Collector):
    """A function with the mark: holds one test for every probe of its suite, and one for the gate."""

    def __init__(self, *, wanted: Wanted, names: list[str], **parts: Any) -> None:
        super().__init__(**parts)
        self.wanted, self.names = wanted, names
        self.function: object = None
        if self.config.pluginmanager.hasplugin("xdist") and self.get_closest_marker("xdist_group") is None:
            # With --dist loadgroup one worker runs them all; the others need not wait for it.
            from sway_dash.integrations.pytest_suite import group

            self.add_marker(pytest.mark.xdist_group(group(wanted.spec)))

    def collect(self) -> Iterator[pytest.Item]:
        """The tests, in the order of the suite."""
        for name in self.names:
            # Two colons would end the name when a test is selected.
            yield ProbeTest.from_parent(self, name=name.replace("::", ":"), probe=name)
        if self.wanted.threshold > 0:
            yield GateTest.from_parent(self, name=GATE)


class _Test(pytest.Item):
    """What all have in common: where they are, and how a failure is shown."""

    function: object = None

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the function stands."""
        function = self.function or getattr(self.parent, "function", None)
        code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
        inside = [self.name] if not isinstance(self.parent, SuiteTests) else [self.parent.name, self.name]
        return self.path, None if code is None else code.co_firstlineno - 1, "::".join(inside)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """A verdict in words; a defect with its traceback."""
        if isinstance(excinfo.value, SuiteFailure | BadMark):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)


class Problem(_Test):
    """Stands for a function whose mark cannot be used, and fails."""

    def __init__(self, *, why: str, **parts: Any) -> None:
        super().__init__(**parts)
        self.why = why

    def runtest(self) -> None:
        """Say what is wrong."""
        raise BadMark(self.why)


class _OfSuite(_Test):
    """A test that needs the suite's result."""

    def outcome(self) -> tuple[SuiteResult, SwayScore]:
        """Result and score, after a run if this is the first to ask."""
        wanted: Wanted = self.parent.wanted  # type: ignore[union-attr]
        result, score = _cache_of(self.config).get_or_run(wanted.spec, weights=wanted.weights)
        if result.run_id:
            self.user_properties.append(("sway_run", result.run_id))
        preflight = next((p for p in result.probes if p.kind == "preflight"), None)
        if preflight is not None:
            raise SuiteFailure(f"preflight failed, nothing was measured: {preflight.message}{_where(result)}")
        return result, score


class ProbeTest(_OfSuite):
    """One probe of a suite."""

    def __init__(self, *, probe: str, **parts: Any) -> None:
        super().__init__(**parts)
        self.probe = probe

    def runtest(self) -> None:
        """Take the probe's verdict for the test's."""
        result, _ = self.outcome()
        found = next((p for p in result.probes if p.name == self.probe), None)
        if found is None:
            known = ", ".join(p.name for p in result.probes) or "no probe"
            raise SuiteFailure(
                f"there is no result of {self.probe}: the run ({result.status}) has {known}{_where(result)}"
            )
        if found.score is not None:
            self.user_properties.append(("sway_score", found.score))
        _apply(found, result)


class GateTest(_OfSuite):
    """Whether the suite as a whole may pass."""

    def runtest(self) -> None:
        """Judge by the rule of ``sway-dash gate``."""
        from sway_dash.suite.gate import judge

        result, score = self.outcome()
        threshold: float = self.parent.wanted.threshold  # type: ignore[union-attr]
        gate = judge(result, score, threshold=threshold)
        if not gate.passed:
            head = f"gate FAILED: overall {score.overall:.2f}, threshold {threshold:.2f}"
            raise SuiteFailure("\n  ".join([head, *gate.reasons]) + _where(result))


def _apply(found: ProbeResult, result: SuiteResult) -> None:
    """Pass, warn, skip or fail as a probe did."""
    verdict = found.verdict.value
    said = f"{found.name} ({found.kind}): {verdict}" + (f": {found.message}" if found.message else "")
    if verdict == "skip":
        pytest.skip(found.message or said)
    if verdict == "warn":
        warnings.warn(said, pytest.PytestWarning, stacklevel=2)
    elif verdict != "pass":
        raise SuiteFailure(f"{said}{_where(result)}")


def _where(result: SuiteResult) -> str:
    return f"\nthe whole report: sway-dash report {result.run_id}" if result.run_id else ""
