"""One run's values of one probe as columns, and which of them belong together across runs.

Items are paired by content: the same prompt text under the same probe (name, kind, settings that change what is
measured), a repeated prompt by its occurrence. Their order and their indices may differ from run to run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from sway_dash.core.divergence import Divergence
from sway_dash.core.events import Measurement
from sway_dash.core.paired import null_spread
from sway_dash.core.result import ProbeResult
from sway_dash.core.scoring import style_of
from sway_dash.suite.draws import Draws
from sway_dash.suite.fold import Fold

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]
ItemKey = tuple[str, int]
"""Prompt text and which occurrence of it, counted from 0."""

METRICS: tuple[Divergence, ...] = ("js", "kl")

MEASURED_BY = ("positions", "continuation_tokens")
"""Settings of a probe that change what a value is; without the same ones two values are not of one quantity."""

_DEFAULTS: dict[str, Any] = {"positions": "next", "continuation_tokens": 32}


@dataclass(frozen=True)
class Series:
    """What a run measured for one probe, one row a prompt, in the order of its suite."""

    probe: str
    kind: str
    settings: tuple[tuple[str, Any], ...]
    keys: tuple[ItemKey, ...] = ()
    items: tuple[int, ...] = ()
    """Index of each prompt in the suite entry."""
    tags: tuple[tuple[str, ...], ...] = ()
    values: Mapping[Divergence, Array] = field(default_factory=dict)
    """Divergence → ``(n,)`` values, nats."""
    spread: Mapping[Divergence, Array] = field(default_factory=dict)
    """Divergence → ``(n,)`` how far two null draws of the prompt lie apart; 0 without draws."""
    bound: Array = field(default_factory=lambda: np.zeros(0))
    """How far off each value may be, when a backend sees only the top tokens; 0 when exact."""
    nulls: Mapping[Divergence, Array] = field(default_factory=dict)
    """Divergence → ``(n, m)`` draws of the prompts, NaN where a draw is missing."""
    planned: frozenset[str] = frozenset()
    """Prompts of the suite entry, measured or not."""
    failed: frozenset[str] = frozenset()
    """Prompts that could not be measured."""

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def texts(self) -> frozenset[str]:
        """Prompts with a value."""
        return frozenset(text for text, _ in self.keys)

    @property
    def same_quantity(self) -> tuple[Any, ...]:
        """Equal for series whose values may be compared."""
        return (self.probe, self.kind, self.settings)


class SeriesReader:
    """Builds the :class:`Series` of a probe from a fold that grows; looks at every measurement once.

    ``drawn`` are null draws that are not in the fold, by their view.
    """

    def __init__(self, fold: Fold, probe: str, drawn: Mapping[str, Draws] | None = None) -> None:
        self.fold, self.probe, self.drawn = fold, probe, drawn or {}
        self._source: list[Measurement] | None = None
        self._clear()

    def _clear(self) -> None:
        self._cursor = 0
        self._rows: dict[int, Measurement] = {}
        self._draws: dict[str, Draws | None] = {}
        self._series: Series | None = None

    def read(self) -> Series:
        """The series so far; the same object as long as there is nothing new."""
        source = self.fold.measurements.get(self.probe, [])
        if source is not self._source:
            self._source = source
            self._clear()
        if self._series is None or self._cursor != len(source):
            for m in source[self._cursor :]:
                if m.role == "probe":
                    self._rows[m.item] = m
                elif m.role == "null":
                    self._draw(m)
            self._cursor = len(source)
            self._series = self._build()
        return self._series

    def measurement(self, item: int) -> Measurement | None:
        """What was measured of a prompt, by its index in the suite entry."""
        self.read()
        return self._rows.get(item)

    def _draw(self, m: Measurement) -> None:
        if m.view not in self._draws:
            self._draws[m.view] = Draws() if self._counts(m.view) else None
        own = self._draws[m.view]
        if own is not None:
            own.items.append(m.item)
            own.js.append(m.js)
            own.kl.append(m.kl)

    def _counts(self, view: str) -> bool:
        # Draws at another rank answer another question.
        return (style_of(view), view.partition("_rank")[2]) == _first_null(self.fold)

    def _build(self) -> Series:
        rows = [self._rows[i] for i in sorted(self._rows)]
        items = [m.item for m in rows]
        draws = [own for own in self._draws.values() if own is not None]
        draws += [own for view, own in self.drawn.items() if self._counts(view)]
        nulls = {metric: _draw_table(draws, items, metric) for metric in METRICS}
        return series_of_columns(
            self.fold,
            self.probe,
            prompts=[m.prompt for m in rows],
            tags=[m.tags for m in rows],
            items=items,
            bound=np.array([0.0 if m.exact else m.error_bound for m in rows]),
            values={"js": np.array([m.js for m in rows]), "kl": np.array([m.kl for m in rows])},
            nulls=nulls,
            spread={metric: _spread(table) for metric, table in nulls.items()},
        )


def series_of_columns(
    fold: Fold,
    probe: str,
    *,
    prompts: Sequence[str],
    tags: Sequence[tuple[str, ...]],
    items: Sequence[int],
    bound: Array,
    values: Mapping[Divergence, Array],
    nulls: Mapping[Divergence, Array],
    spread: Mapping[Divergence, Array],
) -> Series:
    """What a run measured of a probe, with what its plan says of it."""
    planned = next((p for p in fold.planned if p.name == probe), None)
    entry: Mapping[str, Any] = planned.entry if planned else {}
    return Series(
        probe=probe,
        kind=planned.kind if planned else "delta_kl",
        settings=settings_of(entry),
        keys=_keys(prompts),
        items=tuple(items),
        tags=tuple(tags),
        values=values,
        spread=spread,
        bound=bound,
        nulls=nulls,
        planned=frozenset(map(prompt_text, entry.get("prompts") or ())),
        failed=frozenset(f.prompt for f in fold.failed_items if f.probe == probe and f.view == "ft"),
    )


def series_of_result(result: ProbeResult) -> Series | None:
    """What a result file kept of a probe's prompts: values without null draws; ``None`` when it kept none."""
    evidence = result.evidence
    prompts, values = evidence.get("prompts"), evidence.get("per_prompt")
    metric = evidence.get("divergence_kind")
    if metric not in METRICS or not isinstance(prompts, list) or not isinstance(values, list):
        return None
    if len(prompts) != len(values) or not all(isinstance(v, int | float) for v in values):
        return None
    tags = evidence.get("tags")
    n = len(values)
    known = tags if isinstance(tags, list) and len(tags) == n else [()] * n
    return Series(
        probe=result.name,
        kind=result.kind,
        settings=settings_of(evidence),
        keys=_keys([str(p) for p in prompts]),
        items=tuple(range(n)),
        tags=tuple(tuple(map(str, t)) for t in known),
        values={metric: np.array(values, dtype=np.float64)},
        spread={metric: np.zeros(n)},
        bound=np.full(n, float(evidence.get("max_error_bound") or 0.0)),
        nulls={metric: np.empty((n, 0))},
        planned=frozenset(map(str, prompts)),
    )


def settings_of(entry: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The settings of a suite entry that change what a value is, with their defaults."""
    found = {name: entry.get(name, _DEFAULTS[name]) for name in MEASURED_BY}
    if found["positions"] != "continuation":
        found.pop("continuation_tokens")
    return tuple(found.items())


def prompt_text(prompt: Any) -> str:
    """Text of a prompt as a suite entry writes it: a string, or a mapping with ``text``."""
    return str(prompt.get("text", "")) if isinstance(prompt, Mapping) else str(prompt)


@dataclass(frozen=True)
class Alignment:
    """The items of several runs under each other."""

    keys: tuple[ItemKey, ...]
    tags: tuple[tuple[str, ...], ...]
    rows: Index
    """``(n, k)`` row of each item in each run's series, -1 where the run has no such item."""

    @cached_property
    def first(self) -> npt.NDArray[np.bool_]:
        """``(n,)`` items that are not a repetition of a prompt."""
        return np.fromiter((key[1] == 0 for key in self.keys), dtype=np.bool_, count=len(self.keys))

    @cached_property
    def tag_counts(self) -> dict[str, int]:
        """How many items have each tag, tags in suite order."""
        return dict(Counter(tag for own in self.tags for tag in dict.fromkeys(own)))

    def column(self, run: int, values: Array) -> Array:
        """``(n,)`` values of a run's series by item, NaN where it has none."""
        if not values.size:
            return np.full(len(self.keys), np.nan)
        rows = self.rows[:, run]
        return np.where(rows >= 0, values[rows], np.nan)


def align(series: Sequence[Series | None]) -> Alignment:
    """Pair the items of runs by content; items of the first run first, then those only later runs have.

    A prompt that two runs measured with other settings is two items: their values are not of one quantity.
    """
    places: dict[tuple[Any, ...], dict[ItemKey, int]] = {}
    keys: list[ItemKey] = []
    tags: list[tuple[str, ...]] = []
    columns: list[list[int]] = []
    for s in series:
        at: list[int] = []
        if s is not None:
            place = places.setdefault(s.same_quantity, {})
            for key, own in zip(s.keys, s.tags, strict=True):
                found = place.setdefault(key, len(keys))
                if found == len(keys):
                    keys.append(key)
                    tags.append(own)
                at.append(found)
        columns.append(at)
    rows = np.full((len(keys), len(series)), -1, dtype=np.intp)
    for run, at in enumerate(columns):
        rows[at, run] = np.arange(len(at))
    return Alignment(tuple(keys), tuple(tags), rows)


def _keys(prompts: Sequence[str]) -> tuple[ItemKey, ...]:
    seen: dict[str, int] = {}
    keys = []
    for text in prompts:
        keys.append((text, seen.get(text, 0)))
        seen[text] = seen.get(text, 0) + 1
    return tuple(keys)


def _draw_table(draws: Sequence[Draws], items: Sequence[int], metric: Divergence) -> Array:
    """``(n, m)`` draws of these items, a column a null view."""
    table = np.full((len(items), len(draws)), np.nan)
    known = np.array(items, dtype=np.int64)  # in rising order
    for column, own in enumerate(draws):
        drawn = np.array(own.items, dtype=np.int64)
        at = np.searchsorted(known, drawn)
        # A prompt that has draws and no value of its own yet has no row.
        found = at < known.size
        found[found] = known[at[found]] == drawn[found]
        table[at[found], column] = np.array(getattr(own, metric))[found]
    return table


def _spread(table: Array) -> Array:
    """Spread of the draws of each row; rows with missing draws one by one."""
    whole = ~np.isnan(table).any(axis=1)
    out = np.zeros(len(table))
    out[whole] = null_spread(table[whole])
    for i in np.flatnonzero(~whole):
        out[i] = null_spread(table[i : i + 1, ~np.isnan(table[i])])[0]
    return out


def _first_null(fold: Fold) -> tuple[str, str]:
    """Style of the nulls that count, and the end of their views' names: of the trained rank, else the first one."""
    entry = next((p.entry for p in fold.planned if p.kind == "null_adapter"), {})
    ranks = entry.get("rank_multipliers") or [1.0]
    return str(entry.get("distribution") or "gaussian"), "" if 1.0 in ranks else repr(float(ranks[0]))
