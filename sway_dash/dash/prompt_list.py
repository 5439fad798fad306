"""Which prompts are shown and in which order: the one list that chart, table, filters and detail of a session read.

Param only; no widgets, no Panel. While a run goes on rows are filled in or added at the end and never move: rows that
jump while one reads are worse than an order that is not up to date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, itemgetter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import param

from sway_dash.core.events import Measurement
from sway_dash.dash.latest import Background, Latest, at_once
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.columns import top_change
from sway_dash.figures.derive import Metric, ProbeSeries, value_of
from sway_dash.figures.derive_null import NullRange, NullSet

FloatArray = npt.NDArray[np.float64]

Place = Literal["above", "inside", "no null", "failed", "pending"]


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt of a probe; without a measurement it failed or is still to come."""

    item: int
    prompt: str
    tags: tuple[str, ...] = ()
    m: Measurement | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """A prompt's divergence among what random adapters do to the same prompt, nats."""

    value: float
    place: Place
    null: NullRange | None = None
    below: int = 0
    """How many draws lie below the value."""


class PromptList(param.Parameterized):
    """The prompts of the chosen probe through the filter."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]
    version = param.Integer(default=0, doc="Raised whenever there is something new to show.")
    layout = param.Integer(default=0, doc="Raised when rows have other places, so that readers start again.")
    resting = param.Boolean(default=False, doc="Nobody looks: what is new is taken when somebody does.")
    stale = param.Boolean(default=False, doc="New rows were added at the end: another order is available.")

    def __init__(self, *, background: Background = at_once, **params: Any) -> None:
        super().__init__(**params)
        self._saying = Latest(background)
        self._said_of: tuple[Any, ...] = ()
        self.series = ProbeSeries("")
        self.metric: Metric = "js"
        self.order = "suite"
        self.rows: list[Row] = []
        """What is shown, in order."""
        self.candidates: list[Row] = []
        """What would be shown without the brushed set; the same list when nothing is brushed."""
        self.arrived: list[int] = []
        """Items of the candidates that are measured, in the order they came to their places."""
        self.content = 0
        """Raised when other prompts are shown, or other numbers of them; not when only their order is another."""
        self.repeats = False
        """Whether a text of the probe is listed more than once."""
        self.total = 0
        """Prompts of the probe, as far as they are known."""
        self._key: tuple[Any, ...] = ()
        self._held: tuple[Any, ...] = ()
        self._cursor = self._failed = 0
        self._known: dict[int, Row] = {}
        self._texts: set[str] = set()
        self._at: dict[int, int] = {}
        self._candidate_at: dict[int, int] = {}
        self._standings: dict[tuple[str, int], tuple[int, Standing]] = {}
        self._null: NullSet | None = None
        self._pools: dict[Metric, tuple[tuple[Any, ...], FloatArray, FloatArray]] = {}
        self._measured: tuple[int, list[Measurement], FloatArray] = (-1, [], np.empty(0))
        self._stands_of: Hashable = None
        self._stands: dict[int, Place] = {}
        self._of: tuple[int, str] | None = None
        self._late = False
        self.refresh()

    # -- reading --------------------------------------------------------------------------------

    def place(self, item: int | None) -> int | None:
        """Position of a prompt among the shown ones, counted from 0."""
        return None if item is None else self._at.get(item)

    def candidate_place(self, item: int) -> int | None:
        """Position of a prompt among the candidates."""
        return self._candidate_at.get(item)

    def row(self, item: int | None) -> Row | None:
        """A prompt of the probe, shown or not."""
        return None if item is None else self._known.get(item)

    def all_rows(self) -> Collection[Row]:
        """Every prompt of the probe that is known, whatever the filter."""
        return self._known.values()

    def next_item(self, step: int) -> int | None:
        """The item ``step`` rows after the open one (before it when negative), or the first when none is open."""
        if not self.rows:
            return None
        here = self.place(self.choice.item)
        if here is None:
            return self.rows[0 if step > 0 else -1].item
        return self.rows[min(max(here + step, 0), len(self.rows) - 1)].item

    def open(self, item: int | None) -> None:
        """Open a prompt, at the token that is shown first; ``None`` closes what is open."""
        self.choice.param.update(item=item, token=None)

    def measured(self) -> list[Measurement]:
        """Measurements of the shown prompts, in suite order."""
        if self._measured[0] != self.content:
            found = sorted((r.m for r in self.rows if r.m is not None), key=attrgetter("item"))
            values = np.fromiter(map(attrgetter(self.metric), found), dtype=np.float64, count=len(found))
            self._measured = (self.content, found, values)
        return self._measured[1]

    def values(self) -> FloatArray:
        """Their divergences, nats, in the same order."""
        self.measured()
        return self._measured[2]

    def places(self, rows: Collection[Row]) -> Counter[Place]:
        """How many of these prompts stand where."""
        if self._stands_of != (self._of, self.metric, self.draws):
            self._stands_of = (self._of, self.metric, self.draws)
            self._stands = {}
        known = self._stands
        for row in rows:
            if row.item not in known and row.m is not None:
                known[row.item] = self.standing(row).place
        # A list: counting what comes one by one takes three times as long.
        return Counter([known.get(row.item) or ("failed" if row.error else "pending") for row in rows])

    @property
    def draws(self) -> int:
        """How many draws there are, over all prompts of the probe."""
        return sum(map(len, self._null.by_item.values())) if self._null else 0

    @property
    def draws_each(self) -> int:
        """How many random adapters were drawn on a prompt."""
        return len(next(iter(self._null.by_item.values()), ())) if self._null else 0

    def largest_draw(self) -> float:
        """The largest draw on any prompt of the probe, nats; 0 without any."""
        return float(self._pooled()[1].max(initial=0.0))

    def null_values(self) -> FloatArray:
        """Every draw on a shown prompt, nats, in no order."""
        items, values = self._pooled()
        shown = np.fromiter((r.item for r in self.rows), dtype=np.float64, count=len(self.rows))
        return values[np.isin(items, shown)]

    def _pooled(self) -> tuple[FloatArray, FloatArray]:
        """Item and value of every draw."""
        if self._null is None:
            return np.empty(0), np.empty(0)
        key = (self._of, self.draws)
        pool = self._pools.get(self.metric)
        if pool is None or pool[0] != key:
            drawn = [(i, value_of(m, self.metric)) for i, by in self._null.by_item.items() for m in by.values()]
            table = np.asarray(drawn, dtype=np.float64).reshape(-1, 2)
            pool = self._pools[self.metric] = (key, table[:, 0], table[:, 1])
        return pool[1], pool[2]

    def standing(self, row: Row, metric: Metric | None = None) -> Standing:
        """Where a prompt stands among its own null draws; computed again only when there are more draws."""
        metric = metric or self.metric
        if row.m is None:
            return Standing(float("nan"), "failed" if row.error else "pending")
        draws = self._null.by_item.get(row.item, {}) if self._null else {}
        known = self._standings.get((metric, row.item))
        if known is None or known[0] != len(draws):
            value = value_of(row.m, metric)
            values = [value_of(m, metric) for m in draws.values()]
            null = NullRange(min(values), max(values), len(values)) if values else None
            below = sum(v < value for v in values)
            word: Place = "no null" if null is None else "above" if value > null.hi else "inside"
            known = self._standings[(metric, row.item)] = (len(draws), Standing(value, word, null, below))
        return known[1]

    def without(self, field: str) -> Sequence[Row]:
        """What would be shown if one field of the filter were not set; measured prompts only."""
        if not getattr(self.choice, field):
            return [r for r in self.rows if r.m is not None]
        admitted = self.choice.admit(self.series, self.series.rows, self.metric, without=(field,))
        return [self._known[m.item] for m in admitted]

    def held_without(self, field: str) -> Hashable:
        """Changes with what :meth:`without` gives, and not when only that field of the filter does."""
        return (*self._held[:-1], tuple(value for name, value in self._held[-1] if name != field))

    # -- following ------------------------------------------------------------------------------

    def resort(self) -> None:
        """Put all rows in order now."""
        self._key = ()
        self.refresh()

    @param.depends(
        "run.version",
        "choice.probe",
        "choice.metric",
        "choice.sort",
        *(f"choice.{name}" for name in Selection.FILTER),
        watch=True,
    )
    def refresh(self) -> None:
        """Take what is new; raise ``version`` when something is. Waits while nobody looks."""
        self._late = self.resting
        if self.resting:
            return
        series = self.choice.series(self.run.data) or ProbeSeries("")
        failed = self.run.data.fold.failed_items
        failures = [f for f in failed if f.probe == series.name and not f.view.startswith("null")]
        metric, order = self.choice.metric_of(self.run.data), self.choice.order(self.run)
        if self._of != (self.run.epoch, series.name):
            self._of = (self.run.epoch, series.name)
            self._standings.clear()
            self._texts.clear()
            self._known = _planned(self.run.data.entries().get(series.name, {}))
            self._cursor = self._failed = 0
        fresh = series.rows[self._cursor :]
        broken = failures[self._failed :]
        self._cursor, self._failed = len(series.rows), len(failures)
        self._texts.update(m.prompt for m in fresh)
        self.repeats = len(self._texts) < len(series.rows)
        self._known.update((m.item, Row(m.item, m.prompt, m.tags, m)) for m in fresh)
        for f in broken:
            tags = self._known[f.item].tags if f.item in self._known else ()
            self._known[f.item] = Row(f.item, f.prompt, tags, error=f.message or "could not be measured")
        self.series, self.metric, self.order = series, metric, order
        self._null = series.null
        self.total = max(len(self._known), series.planned)
        self._listen()
        filters = tuple((name, _frozen(getattr(self.choice, name))) for name in Selection.FILTER)
        held = (self.run.epoch, series.name, metric, self.run.live, len(series.rows), self.draws, filters)
        if held != self._held:
            self._held = held
            self.content += 1
        key = (self.run.epoch, series.name, metric, order, self.run.live, filters)
        if key != self._key:
            self._key = key
            self._rebuild()
        elif fresh or broken:
            self._extend(fresh, [f.item for f in broken])
        else:
            # Null draws change where a prompt stands, not where it is shown.
            self.version += 1
            return

    def _listen(self) -> None:
        """Read what the models said of the recorded prompts, once somebody searches; looked through when it is here."""
        folder, series = self.run.folder, self.series
        if not self.choice.query or folder is None:
            return
        details = folder.details()
        size = details.path.stat().st_size if details.path.exists() else 0
        of = (self.run.epoch, series.name, folder.path, size)
        if not size or of == self._said_of:
            return
        self._said_of = of

        def take(said: Mapping[str, str]) -> None:
            if self._said_of != of:
                return
            if series.said != said:
                series.said = said
                series.texts.clear()
            self._held = ()
            self.resort()

        self._saying.ask(details.said, take)

    @param.depends("resting", watch=True)
    def _looked_at(self) -> None:
        if self._late:
            self.refresh()

    def _rebuild(self) -> None:
        free = not self.choice.picked
        # In suite order every prompt has its place before it is measured; in any other only what is known has one.
        waiting = self.order == "suite" and self.run.live
        late = [r for r in self._known.values() if r.m is None and (r.error or waiting)]
        self.candidates = self._sorted(self._admitted(self.series.rows, late))
        picked = set(self.choice.picked)
        self.rows = self.candidates if free else [r for r in self.candidates if r.item in picked]
        self.arrived = [r.item for r in self.candidates if r.m is not None]
        self._index()
        with param.parameterized.batch_call_watchers(self):
            self.param.update(layout=self.layout + 1, version=self.version + 1, stale=False)

    def _extend(self, fresh: Sequence[Measurement], broken: Sequence[int]) -> None:
        """Fill slots, or add at the end."""
        admitted = self._admitted(fresh, [self._known[i] for i in broken])
        picked = set(self.choice.picked)
        added = False
        for row in admitted:
            added |= self._put(self.candidates, self._candidate_at, row.item)
            if self.rows is not self.candidates and row.item in picked:
                self._put(self.rows, self._at, row.item)
        # What was a place for a prompt to come, and now does not pass the filter, stays an empty place.
        self.arrived += [r.item for r in admitted if r.m is not None]
        self.param.update(version=self.version + 1, stale=self.stale or (added and self.order != "suite"))

    def _put(self, rows: list[Row], at: dict[int, int], item: int) -> bool:
        place = at.get(item)
        if place is None:
            at[item] = len(rows)
            rows.append(self._known[item])
            return True
        rows[place] = self._known[item]
        return False

    def _index(self) -> None:
        self._candidate_at = {r.item: i for i, r in enumerate(self.candidates)}
        own = self.rows is self.candidates
        self._at = self._candidate_at if own else {r.item: i for i, r in enumerate(self.rows)}

    def _admitted(self, measured: Sequence[Measurement], late: Sequence[Row]) -> list[Row]:
        """What the filter lets through, in one look; only what is known of a prompt without a value speaks for it."""
        blanks = [] if self.choice.status or self.choice.least else [_blank(row) for row in late]
        admitted = self.choice.admit(self.series, [*measured, *blanks], self.metric, without=("picked",))
        return [self._known[m.item] for m in admitted]

    def _sorted(self, rows: Iterable[Row]) -> list[Row]:
        found = sorted(rows, key=attrgetter("item"))
        if self.order == "suite":
            return found
        name, largest_first = self.order.lstrip("-"), self.order.startswith("-")
        if name == "value":
            name, largest_first = self.metric, True
        key = self._keys()[name]
        keyed = [(key(r), r) for r in found]
        have = sorted((pair for pair in keyed if pair[0] is not None), key=itemgetter(0), reverse=largest_first)
        return [r for _, r in have] + [r for of, r in keyed if of is None]

    def _keys(self) -> dict[str, Callable[[Row], Any]]:
        def null(row: Row) -> float | None:
            found = self.standing(row).null
            return found.hi if found else None

        def rank(row: Row) -> float | None:
            found = self.standing(row)
            return found.below / found.null.n if found.null else None

        return {
            "js": lambda r: r.m and r.m.js,
            "kl": lambda r: r.m and r.m.kl,
            "same": lambda r: r.m and r.m.same_top,
            "positions": lambda r: r.m and r.m.n_positions,
            "top": lambda r: r.m and top_change(r.m).casefold(),
            "prompt": lambda r: r.prompt.casefold(),
            "tags": lambda r: tuple(t.casefold() for t in r.tags) or None,
            "null": null,
            "rank": rank,
        }


def _planned(entry: Mapping[str, Any]) -> dict[int, Row]:
    """The prompts a suite entry names, by their index."""
    found = {}
    for item, prompt in enumerate(entry.get("prompts") or ()):
        row = Row(item, str(prompt))
        if isinstance(prompt, Mapping):
            row = replace(row, prompt=str(prompt.get("text", "")), tags=tuple(map(str, prompt.get("tags") or ())))
        found[item] = row
    return found


def _blank(row: Row) -> Measurement:
    """A prompt that is not measured, in the shape the filter looks at."""
    return Measurement(
        probe="", item=row.item, prompt=row.prompt, tags=row.tags, js=0.0, kl=0.0, kl_reverse=0.0, same_top=0.0
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
