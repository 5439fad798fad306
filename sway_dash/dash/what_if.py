"""A run under other thresholds and weights: what this session has set, and what it makes of the stored numbers.

Param only; no widgets. Nothing is written to the run, and nothing is computed here that the engine does not compute.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import param
from pydantic import ValidationError

from sway_dash.core.result import DEFAULT_COMPONENT_WEIGHTS, ProbeResult, SuiteResult, SwayScore
from sway_dash.dash import yaml_render
from sway_dash.dash.fields import FormField, form_fields
from sway_dash.dash.latest import Background, Latest, Then, Work, at_once
from sway_dash.dash.second_look import Key, SecondLook, weights_of
from sway_dash.dash.state import RunState
from sway_dash.probes.base import registry
from sway_dash.suite.headline import Headline, headline
from sway_dash.suite.rejudge import thresholds
from sway_dash.suite.score import category_of, compute, counts, probe_weight
from sway_dash.suite.spec import SuiteDefaults

AT_ONCE = 1000
"""So few measurements are judged while one waits."""


class WhatIf(param.Parameterized):
    """Settings laid over those of a run that is over, and the result and score they give."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    settings = param.Dict(default={}, doc="(probe, field) → value, as far as it differs from the run's.")
    weights = param.Dict(default={}, doc="Category → weight, as far as it differs from the run's.")
    epoch = param.Integer(default=0, doc="Raised when it is another run, or another state of it.")
    version = param.Integer(default=0, doc="Raised when the run, or what is set, has changed.")

    busy = param.Boolean(default=False, doc="What is set is being judged; the numbers are still those before it.")
    looked = param.Boolean(default=False, doc="It is known which verdicts can be given anew.")

    def __init__(self, *, background: Background = at_once, **params: Any) -> None:
        super().__init__(**params)
        self.problems: dict[Key, str] = {}
        """What is wrong with a value; a weight of a category stands under the probe "". Wrong values do not count."""
        self._background = background
        self._opening, self._looking, self._judging = (Latest(self._where) for _ in range(3))
        self._of: tuple[Any, ...] = ()
        self._small = True
        self.result = self.recorded = _EMPTY
        self._again = SecondLook(self.run.data.fold, (), None)
        self.used: dict[str, float] = dict(DEFAULT_COMPONENT_WEIGHTS)
        """Category weights of the run."""
        self.score: SwayScore = compute(_EMPTY)
        self.recorded_score = self.score
        self._follow()

    def _where(self, work: Work, then: Then) -> None:
        (at_once if self._small else self._background)(work, then)

    # -- the run --------------------------------------------------------------------------------

    @property
    def there(self) -> bool:
        """Whether there is anything to explain: a run that is over and has results."""
        return not self.run.live and bool(self.recorded.probes)

    @property
    def changed(self) -> bool:
        """Whether anything is set that counts."""
        return bool(self._valid() or self._valid_weights())

    @property
    def answer(self) -> Headline:
        """What the run would say in one sentence."""
        planned = {p.name: p.entry for p in self.run.data.fold.planned}
        entries = {name: {**entry, **self._valid().get(name, {})} for name, entry in planned.items()}
        return headline(self.result, entries=entries)

    def fields(self, result: ProbeResult) -> list[FormField]:
        """What can be set of a probe: its thresholds if its verdict can be given anew, and its weight if it counts."""
        probe = registry().get(result.kind)
        if probe is None or not counts(result):
            return []
        wanted = (*(() if self.why_not(result) else thresholds(result.kind)), "weight")
        found = {f.name: f for f in form_fields(probe.spec_cls)}
        return [found[name] for name in wanted]

    def why_not(self, result: ProbeResult) -> str:
        """Why a probe's verdict cannot be given anew; empty when it can. Takes its time unless :attr:`looked`."""
        return self._again.why_not(result)

    def look(self) -> None:
        """Find out which verdicts can be given anew; ``looked`` says when that is known."""
        again = self._again

        def take(_: None) -> None:
            self.looked = again is self._again

        self._looking.ask(again.look, take)

    def said(self, name: str, field: FormField) -> tuple[Any, bool]:
        """Value of a field in the suite, and whether the suite names it; else it is the default."""
        entry = self.run.data.entries().get(name, {})
        if field.name in entry:
            return entry[field.name], True
        if field.name == "weight" and (own := next((p for p in self.recorded.probes if p.name == name), None)):
            weight = probe_weight(own)
            return weight, weight != field.default
        return field.default, False

    def categories(self) -> list[str]:
        """Categories with a probe that has a score, in the order of the weights."""
        own = {category_of(p.kind) for p in self.recorded.probes if counts(p)}
        return [c for c in DEFAULT_COMPONENT_WEIGHTS if c in own]

    # -- setting --------------------------------------------------------------------------------

    def set(self, probe: str, field: str, value: Any) -> None:
        """Set a threshold or the weight of a probe; ``None`` takes it back."""
        settings = {k: v for k, v in self.settings.items() if k != (probe, field)}
        value = _as_number(value)
        if value is not None and not self._as_in_run(probe, field, value):
            settings[probe, field] = value
        self.settings = settings

    def set_weight(self, category: str, value: Any) -> None:
        """Set the weight of a category; ``None`` takes it back."""
        weights = {k: v for k, v in self.weights.items() if k != category}
        value = _as_number(value)
        if value is not None and value != self.used.get(category):
            weights[category] = value
        self.weights = weights

    def reset(self) -> None:
        """Take everything back."""
        self.param.update(settings={}, weights={})

    def snippet(self) -> str:
        """What is set, as the lines of a suite file that differ; empty when nothing is set."""
        lines = []
        if self._valid_weights():
            merged = _known({**self.used, **self._valid_weights()})
            own = {c: w for c, w in merged.items() if w != DEFAULT_COMPONENT_WEIGHTS.get(c)}
            # The weights of the defaults need not be written, unless that is what has been set.
            lines.append(f"defaults: {yaml_render.inline({'score_weights': own or self._valid_weights()}).strip()}")
        if valid := self._valid():
            lines.append("suite:")
            lines += [f"  - {yaml_render.inline({'name': n, **own}).strip()}" for n, own in valid.items()]
        return "\n".join(lines)

    def _as_in_run(self, probe: str, name: str, value: Any) -> bool:
        own = next((p for p in self.recorded.probes if p.name == probe), None)
        field = next((f for f in self.fields(own) if f.name == name), None) if own is not None else None
        if field is None:
            return False
        said = self.said(probe, field)[0]
        return bool(value == (list(said) if isinstance(said, tuple) else said))

    # -- following ------------------------------------------------------------------------------

    @param.depends("run.version", watch=True)
    def _follow(self) -> None:
        """Take up the run when it is over, and again when it has changed."""
        over = self.run.feed is not None and not self.run.live
        of = (self.run.run_id, self.run.epoch, self.run.status, self.run.data.fold.last_ts) if over else ()
        if of == self._of:
            return
        self._of = of
        feed = self.run.feed if over else None
        recorded = feed.result() if feed is not None else _EMPTY
        self._small = self.run.data.fold.done <= AT_ONCE
        self._again = SecondLook(self.run.data.fold, recorded.probes, self.run.folder)
        self.problems, self.looked, self.busy = {}, False, False
        with param.parameterized.discard_events(self):
            self.reset()
        self._take_up(_EMPTY, dict(DEFAULT_COMPONENT_WEIGHTS))
        if feed is not None:
            # The weights stand in files that name every prompt.
            self._opening.ask(
                partial(weights_of, feed.folder), lambda used: self._take_up(recorded, used) if self._of == of else None
            )

    def _take_up(self, recorded: SuiteResult, used: dict[str, float]) -> None:
        self.result = self.recorded = recorded
        self.used = used
        self.score = self.recorded_score = compute(recorded, weights=used)
        self.epoch += 1
        self.version += 1

    @param.depends("settings", "weights", watch=True)
    def _compute(self) -> None:
        of = self._of

        def take(found: tuple[tuple[ProbeResult, ...], dict[Key, str]]) -> None:
            if of != self._of:
                return
            probes, self.problems = found
            self.result = replace(self.recorded, probes=probes)
            self._check_weights()
            self.score = compute(self.result, weights={**self.used, **self._valid_weights()})
            self.param.update(busy=False, version=self.version + 1)

        def failed(error: Exception) -> None:
            if of == self._of:
                self.problems = dict.fromkeys(self.settings, f"judging again failed: {type(error).__name__}: {error}")
                self.param.update(busy=False, version=self.version + 1)

        self.busy = True
        self._judging.ask(partial(self._again.under, dict(self.settings)), take, failed)

    def _check_weights(self) -> None:
        if not self.weights:
            return
        for category, value in self.weights.items():
            try:
                SuiteDefaults.model_validate({"score_weights": {**_known(self.used), category: value}})
            except ValidationError as error:
                self.problems["", category] = _plain(error)
        try:
            SuiteDefaults.model_validate({"score_weights": {**_known(self.used), **self._valid_weights()}})
        except ValidationError as error:
            self.problems |= {("", category): _plain(error) for category in self._valid_weights()}

    def _valid(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for (name, field), value in self.settings.items():
            if (name, field) not in self.problems:
                found.setdefault(name, {})[field] = value
        return found

    def _valid_weights(self) -> dict[str, float]:
        return {c: float(v) for c, v in self.weights.items() if ("", c) not in self.problems}


def _as_number(value: Any) -> Any:
    """What was typed as a number if it is one; YAML takes ``1e-3`` for a text and ``yes`` for a truth."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _known(weights: Mapping[str, float]) -> dict[str, float]:
    return {c: w for c, w in weights.items() if c in DEFAULT_COMPONENT_WEIGHTS}


def _plain(error: ValidationError) -> str:
    item = error.errors(include_url=False)[0]
    given = item.get("input")
    got = f" (got {given!r:.60})" if isinstance(given, str | int | float) else ""
    return str(item["msg"]).removeprefix("Value error, ") + got


def _nothing() -> SuiteResult:
    from sway_dash.suite.fold import Fold

    return Fold().result()


_EMPTY = _nothing()
