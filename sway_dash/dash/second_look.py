"""The probes of a run judged again under other settings. For threads: nothing of a session is touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sway_dash.core.errors import SpecValidationError, SwayError
from sway_dash.core.result import DEFAULT_COMPONENT_WEIGHTS, ProbeResult
from sway_dash.report.json_io import load_result
from sway_dash.suite.execute import folder_spec
from sway_dash.suite.fold import Fold
from sway_dash.suite.rejudge import cannot, rejudge, thresholds
from sway_dash.suite.store import EVENTS, RESULT, RunFolder

Key = tuple[str, str]
"""Probe and field."""

NO_EVENTS = "only the result of the run is here: its settings and measurements are not"


class SecondLook:
    """Answers one question at a time; the last answer about each probe is kept."""

    def __init__(self, fold: Fold, probes: tuple[ProbeResult, ...], folder: RunFolder | None) -> None:
        self._fold, self._probes = fold, probes
        self._alone = folder is not None and not (folder.path / EVENTS).exists()
        self._reasons: dict[str, str] = {}
        self._known: dict[str, tuple[dict[str, Any], ProbeResult]] = {}

    def why_not(self, result: ProbeResult) -> str:
        """Why a probe's verdict cannot be given anew; empty when it can. Judges it once to find out."""
        if result.name not in self._reasons:
            reason = cannot(self._fold, result)
            self._reasons[result.name] = NO_EVENTS if self._alone and thresholds(result.kind) else reason
        return self._reasons[result.name]

    def look(self) -> None:
        """Find that out for every probe."""
        for result in self._probes:
            self.why_not(result)

    def under(self, settings: Mapping[Key, Any]) -> tuple[tuple[ProbeResult, ...], dict[Key, str]]:
        """All results under these settings, and what is wrong with some of them; wrong ones do not count."""
        wanted: dict[str, dict[str, Any]] = {}
        for (name, field), value in settings.items():
            wanted.setdefault(name, {})[field] = value
        # An answer of a moment ago is given again; older ones are not kept.
        self._known = {name: known for name, known in self._known.items() if name in wanted}
        problems: dict[Key, str] = {}
        return tuple(self._rejudged(p, wanted.get(p.name, {}), problems) for p in self._probes), problems

    def _rejudged(self, result: ProbeResult, wanted: dict[str, Any], problems: dict[Key, str]) -> ProbeResult:
        if not wanted:
            return result
        known = self._known.get(result.name)
        if known is not None and known[0] == wanted:
            return known[1]
        try:
            found = rejudge(self._fold, result, wanted, reason=self.why_not(result))
        except SpecValidationError as error:
            wrong = {str(where[0]): text for where, text in reversed(error.problems) if where and where[0] in wanted}
            wrong = wrong or dict.fromkeys(wanted, str(error))
            problems |= {(result.name, field): text for field, text in wrong.items()}
            # What is right still counts.
            return self._rejudged(result, {f: v for f, v in wanted.items() if f not in wrong}, problems)
        self._known[result.name] = (wanted, found.result)
        return found.result


def weights_of(folder: RunFolder) -> dict[str, float]:
    """Category weights as the run was scored; the saved score names them, else the suite."""
    try:
        return _in_order(load_result(folder.path / RESULT)[1].weights)
    except SwayError:
        pass
    try:
        return _in_order(folder_spec(folder).defaults.score_weights or DEFAULT_COMPONENT_WEIGHTS)
    except SwayError:
        return dict(DEFAULT_COMPONENT_WEIGHTS)


def _in_order(weights: Mapping[str, float]) -> dict[str, float]:
    """The same weights, known categories first and in their order; a file sorts them by name."""
    names = [*(c for c in DEFAULT_COMPONENT_WEIGHTS if c in weights), *weights]
    return {c: weights[c] for c in names}
