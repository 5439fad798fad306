"""What one session compares: the runs, their baseline, and the choices in the comparison. Param only, no Panel.

Everything derived is computed in :meth:`CompareState.pull` and one watcher; views read it when ``version`` is raised.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash import live, run_edits, runs
from sway_dash.dash.expression import Expression
from sway_dash.dash.latest import Background, at_once
from sway_dash.dash.live import Feed
from sway_dash.report.paired import letters
from sway_dash.suite.comparison import MAX_RUNS, Comparison, Contrast, Mask, Side, compare, metric_of, shared_probes
from sway_dash.suite.pairing import Alignment, ItemKey, Series, align
from sway_dash.suite.store import RunFolder

PULL_S = 0.1
"""Reading files takes at most about so long at a time: large runs are taken in over several ticks."""

LIVE_S = 1.0
"""While runs go on their comparison is computed again at most once in so many seconds."""


log = logging.getLogger(__name__)


def _read(folder: RunFolder) -> Feed | None:
    try:
        return live.read(folder)
    except Exception:  # nobody should look at "Reading" for ever
        log.exception("the run %s could not be read", folder.id)
        return None


class CompareState(param.Parameterized):
    """The runs being compared. The address and the widgets write the parameters; the rest is derived."""

    runs = param.List(default=[], item_type=str, doc="Addresses of the runs, in the order they are shown.")
    baseline = param.String(default="", doc="Address of the run the others are compared with; else the first is.")
    focus = param.String(default="", doc="Address of the run whose single prompts are shown; else the first other.")
    probe = param.String(default="", doc="Probe whose prompts are compared; else the first most runs share.")
    metric: str = param.Selector(  # type: ignore[assignment]
        default="", objects=["", "js", "kl"], doc="Divergence; empty: the one the baseline's suite judges."
    )
    tags = param.List(default=[], item_type=str, doc="Count only prompts with one of these tags; all when empty.")
    query = param.String(default="", doc="Count only prompts whose text or tags hold this.")
    regex = param.Boolean(default=False, doc="The query is a regular expression.")
    outside = param.Boolean(default=False, doc="List only prompts outside noise; the numbers still count all.")
    sort = param.String(default="", doc="Column the table is ordered by, minus in front when falling; empty: by |Δ|.")
    item = param.Integer(default=None, allow_None=True, doc="The open prompt, as its place in the alignment.")
    goto = param.Tuple(default=None, length=2, allow_None=True, doc="Run and prompt index somebody asked to open.")
    opened = param.String(default="", doc="Address of a run somebody asked to open.")
    stored = param.String(default="", doc="Address of the baseline that is kept for all sessions.")
    missing = param.List(default=[], item_type=str, doc="Addresses of which there is no run.")
    opening = param.List(default=[], item_type=str, doc="Addresses of runs that are still being read.")
    version = param.Integer(default=0, doc="Raised whenever there is something new to show.")
    epoch = param.Integer(default=0, doc="Raised when other runs, another probe or another baseline are compared.")

    NUMBERS = ("runs", "baseline", "probe", "metric", "tags", "query", "regex")
    """Parameters that the comparison depends on."""

    def __init__(self, *, background: Background = at_once, **params: Any) -> None:
        super().__init__(**params)
        self._background = background
        self.comparison: Comparison | None = None
        self.sides: list[Side] = []
        self.labels: list[str] = []
        """Letters of the runs, in order; those that are still being read have theirs already."""
        self.problem = ""
        """What is wrong with the search, in words; empty when nothing is."""
        self._expression = Expression()
        self._feeds: dict[str, Feed] = {}
        self._sides: dict[str, Side] = {}
        self._heard: dict[str, tuple[Any, ...]] = {}
        self._series: tuple[Series | None, ...] = ()
        self._alignment: Alignment | None = None
        self._computed = 0.0
        self._stale = False
        self._order: list[str] = []
        """Addresses of the runs that are there or are being read."""
        self._of: tuple[Any, ...] = ()
        self._open_key: ItemKey | None = None
        self._wanted = self.item
        """Place of a prompt that is to be opened in an alignment that is still to be made."""
        self.param.watch(self._chosen, [*self.NUMBERS, "item"])
        if self.runs:
            self._chosen()

    # -- what is compared -------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """Addresses of the runs that are there, in order; one for every side."""
        return [side.id for side in self.sides]

    @property
    def base(self) -> int:
        """Place of the baseline among the sides; -1 as long as it is being read."""
        addresses, order = self.addresses, self._order
        wanted = next((a for a in (self.baseline, self.stored) if a in order), next(iter(order), ""))
        return addresses.index(wanted) if wanted in addresses else -1

    @property
    def focused(self) -> int | None:
        """Place of the run whose single prompts are shown; ``None`` with fewer than two runs or without baseline."""
        others = [i for i in range(len(self.sides)) if i != self.base] if self.base >= 0 else []
        wanted = self.addresses.index(self.focus) if self.focus in self.addresses else -1
        return wanted if wanted in others else next(iter(others), None)

    @property
    def contrast(self) -> Contrast | None:
        """The focused run against the baseline."""
        focused = self.focused
        return None if self.comparison is None or focused is None else self.comparison.contrast(focused)

    @property
    def live(self) -> bool:
        """Whether some run has more to come."""
        return any(not feed.over for feed in self._feeds.values())

    @property
    def probes(self) -> list[str]:
        """Probes with a value of every prompt."""
        return shared_probes(self.sides)

    @property
    def tag_counts(self) -> dict[str, int]:
        """How many of the compared prompts have each tag, in suite order."""
        return self._alignment.tag_counts if self._alignment is not None else {}

    @property
    def filtered(self) -> bool:
        """Whether some prompts are left out of the numbers."""
        return bool(self.tags or self.query)

    # -- changing it ------------------------------------------------------------------------------

    def add(self, address: str) -> None:
        """Compare one more run, up to :data:`MAX_RUNS`."""
        if address and address not in self.runs and len(self.runs) < MAX_RUNS:
            self.runs = [*self.runs, address]

    def remove(self, address: str) -> None:
        """Compare one run less."""
        self.runs = [a for a in self.runs if a != address]

    def move(self, address: str, step: int) -> None:
        """Show a run one place further left (-1) or right (1)."""
        order = list(self.runs)
        if address in order:
            at = order.index(address)
            to = min(max(at + step, 0), len(order) - 1)
            order.insert(to, order.pop(at))
            self.runs = order

    def set_baseline(self, address: str = "") -> str:
        """Compare with a run, the focused one when none is named, and keep it for all sessions.

        Returns why it could not be kept; empty when it was.
        """
        focused = self.focused
        wanted = address or (self.addresses[focused] if focused is not None else "")
        if not wanted:
            return ""
        before = self.addresses[self.base] if self.base >= 0 else ""
        # Looking at the pair the other way round keeps the pair.
        focus = before if wanted == self.focus or self.focus in ("", wanted) else self.focus
        self.param.update(baseline=wanted, focus=focus)
        try:
            run_edits.set_baseline(wanted)
        except SwayError as error:
            return str(error)
        self.stored = wanted
        return ""

    def next_run(self) -> None:
        """Show the single prompts of the next run to the right."""
        self._step(1)

    def previous_run(self) -> None:
        """Show the single prompts of the next run to the left."""
        self._step(-1)

    def _step(self, step: int) -> None:
        others = [i for i in range(len(self.sides)) if i != self.base]
        focused = self.focused
        if focused is not None:
            self.focus = self.addresses[others[(others.index(focused) + step) % len(others)]]

    def open_prompt(self, run: int, place: int) -> None:
        """Ask for a prompt in its own run."""
        item = self.comparison.item_of(run, place) if self.comparison is not None else None
        if item is not None:
            self.goto = (self.addresses[run], item)
            self.goto = None

    def open_run(self, address: str) -> None:
        """Ask for a run's own pages."""
        self.opened = address
        self.opened = ""

    def clear(self) -> None:
        """Count and list all prompts."""
        self.param.update(tags=[], query="", regex=False, outside=False)

    # -- following it -----------------------------------------------------------------------------

    def pull(self) -> bool:
        """Take what the runs have written; False when there is nothing new to show."""
        end = time.monotonic() + PULL_S
        # The run that was read longest ago first, so that a large one does not keep the others waiting.
        for address in list(self._feeds):
            feed = self._feeds.pop(address)
            self._feeds[address] = feed
            feed.poll()
            if time.monotonic() > end:
                break
        self._stale = self._listen() or self._stale
        if not self._stale or (self.live and time.monotonic() - self._computed < LIVE_S):
            return False
        self._compute()
        return True

    def _listen(self) -> bool:
        """Whether some run has told something new."""
        heard = {a: (id(f.data), f.data.version, f.status, f.title) for a, f in self._feeds.items()}
        fresh, self._heard = heard != self._heard, heard
        return fresh

    def close(self) -> None:
        """Compare nothing; the readers go back."""
        for feed in self._feeds.values():
            live.release(feed)
        self._feeds, self._sides, self._heard = {}, {}, {}
        self.opening = []

    def _chosen(self, *events: param.parameterized.Event) -> None:
        names = {e.name for e in events}
        if names == {"item"}:
            self._wanted, self._open_key = None, self._key(self.item)
            return
        if "item" in names or "runs" in names:
            # An address names the place in the alignment of its own runs, not in the one that is left.
            self._wanted = self.item if "item" in names else None
        wanted = list(dict.fromkeys(self.runs))[:MAX_RUNS]
        for address in set(self._feeds) - set(wanted):
            live.release(self._feeds.pop(address))
            self._sides.pop(address, None)
        missing, large = [], {}
        for address in wanted:
            if address in self._feeds or address in self.opening:
                continue
            folder = runs.find(address)
            if folder is None:
                missing.append(address)
            elif live.takes_long(folder):
                large[address] = folder
            else:
                self._feeds[address] = live.acquire(folder)
        if missing != self.missing:
            self.missing = missing
        if large:
            self._read_away(large)
        self._compute()

    def _read_away(self, folders: Mapping[str, RunFolder]) -> None:
        """Read runs while everybody else goes on; what is no longer wanted by then is let go."""
        self.opening = [*self.opening, *folders]

        def take(found: Mapping[str, Feed | None]) -> None:
            wanted = self.runs[:MAX_RUNS]
            read = {a: feed for a, feed in found.items() if a in self.opening and a in wanted}
            self._feeds |= {a: live.adopt(feed) for a, feed in read.items() if feed is not None}
            self.param.update(
                opening=[a for a in self.opening if a not in found],
                missing=[*self.missing, *(a for a, feed in read.items() if feed is None)],
            )
            self._compute()

        self._background(lambda: {a: _read(folder) for a, folder in folders.items()}, take)

    def _compute(self) -> None:
        self._listen()
        self._stale = False
        order = [a for a in dict.fromkeys(self.runs) if a in self._feeds or a in self.opening][:MAX_RUNS]
        self.sides = [self._side(a) for a in order if a in self._feeds]
        self.labels = [x for x, a in zip(letters(len(order)), order, strict=True) if a in self._feeds]
        before, self._order = self._order, order
        if order != before:
            self.stored = runs.baseline()
        pending = len(self.sides) < len(order)
        # An address names the place of a prompt among all its runs.
        if len(self.sides) < 2 or self.base < 0 or (pending and self._wanted is not None):
            self.comparison, self._alignment, self._series = None, None, ()
        else:
            self._compare()
        keys = self._alignment.keys if self._alignment is not None else ()
        of = (*self.addresses, self.base, self.comparison.probe if self.comparison else "")
        fresh, self._of = of != self._of, of
        self._computed = time.monotonic()
        item, key = self._opened(keys) if keys or not pending else self.item, self._open_key
        self.param.update(version=self.version + 1, epoch=self.epoch + fresh, item=item)
        if pending:
            # In none of the runs so far: it may be in those that are still being read.
            self._open_key = key

    def _opened(self, keys: Sequence[ItemKey]) -> int | None:
        """Where the open prompt stands now."""
        if self._wanted is not None and self._wanted < len(keys):
            place, self._wanted = self._wanted, None
            self._open_key = keys[place]
        return keys.index(self._open_key) if self._open_key in keys else None

    def _key(self, place: int | None) -> ItemKey | None:
        keys = self._alignment.keys if self._alignment is not None else ()
        return keys[place] if place is not None and 0 <= place < len(keys) else None

    def _compare(self) -> None:
        probe = self.probe if self.probe in self.probes else next(iter(self.probes), "")
        series = tuple(side.series(probe) for side in self.sides)
        same = len(series) == len(self._series) and all(a is b for a, b in zip(series, self._series, strict=True))
        if self._alignment is None or not same:
            self._alignment = align(series)
        self._series = series
        self.comparison = compare(
            self.sides,
            baseline=self.base,
            probe=probe,
            metric="kl" if self.metric == "kl" else "js" if self.metric else metric_of(self.sides[self.base], probe),
            alignment=self._alignment,
            admitted=self._admitted(self._alignment),
        )

    def _side(self, address: str) -> Side:
        feed = self._feeds[address]
        side = self._sides.get(address)
        if side is None or side.fold is not feed.data.fold:
            side = self._sides[address] = Side(address, "", fold=feed.data.fold, folder=feed.folder)
        side.name = feed.title or feed.folder.id
        side.status = feed.status
        # Judging looks at everything: not while a run goes on.
        side.results = {p.name: p for p in feed.data.result().probes} if feed.over else dict(feed.data.finished)
        return side

    def _admitted(self, alignment: Alignment) -> Mask:
        self._expression = sought = self._expression.again(self.query, regex=self.regex)
        tags, searched = set(self.tags), bool(self.query)
        self.problem = ""
        if not tags and not searched:
            return np.ones(len(alignment.keys), dtype=np.bool_)

        def admit(text: str, own: Sequence[str]) -> bool:
            if tags and tags.isdisjoint(own):
                return False
            return not searched or bool(sought.search(text)) or any(sought.search(t) for t in own)

        found = [admit(key[0], own) for key, own in zip(alignment.keys, alignment.tags, strict=True)]
        self.problem = sought.problem
        return np.array(found, dtype=np.bool_) & (not self.problem)

    # -- the list of prompts ----------------------------------------------------------------------

    def places(self) -> list[int]:
        """Places of the listed prompts in their order: largest |Δ| first, in suite order while a run goes on.

        Unpaired prompts have no Δ and come last.
        """
        comparison, contrast = self.comparison, self.contrast
        if comparison is None or contrast is None:
            return []
        shown = comparison.admitted & ((contrast.direction != 0) | np.bool_(not self.outside))
        found = np.flatnonzero(shown)
        key = self.sort.lstrip("-")
        if not key and self.live:
            return [int(i) for i in found]
        if key in ("prompt", "tags"):
            texts = [k[0] for k in comparison.alignment.keys] if key == "prompt" else list(comparison.alignment.tags)
            order = sorted((int(i) for i in found), key=lambda i: texts[i], reverse=self.sort.startswith("-"))
            return order
        values = np.abs(contrast.deltas) if key in ("", "size") else self._column(key)
        ranked = np.where(np.isnan(values), np.inf, values if key and not self.sort.startswith("-") else -values)
        return [int(i) for i in found[np.argsort(ranked[found], kind="stable")]]

    def _column(self, key: str) -> Any:
        comparison, contrast = self.comparison, self.contrast
        if key == "delta" and contrast is not None:
            return contrast.deltas
        run = self.labels.index(key) if key in self.labels else self.base
        return comparison.values[:, run] if comparison is not None else np.zeros(0)
