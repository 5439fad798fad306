"""What one browser session looks at: a run and the session's choices in it. Param only; no widgets, no Panel.

``RunState.pull`` asks the feed, which all sessions share, and makes one ``param.update``. Views watch ``version`` and
``epoch`` and read the rest.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterator, Sequence
from typing import Any

import param
import scipy.special  # noqa: F401 - takes half a second, which the first interval would wait for

from sway_dash.core.events import Measurement
from sway_dash.dash import live
from sway_dash.dash.expression import Expression
from sway_dash.dash.live import Feed
from sway_dash.figures.derive import Metric, ProbeSeries, RunData, value_of
from sway_dash.figures.theme import interval, number
from sway_dash.suite.details import detail_key
from sway_dash.suite.headline import headline
from sway_dash.suite.status import LIVE
from sway_dash.suite.store import RunFolder


class RunState(param.Parameterized):
    """One run as this session sees it. Everything is derived; only :meth:`open` and :meth:`pull` write."""

    run_id = param.String(default="", doc="Name of the run folder; empty when no run is open.")
    title = param.String(default="", doc="What the run was called.")
    status: str = param.Selector(  # type: ignore[assignment]
        default="none",
        objects=["none", "queued", "starting", "running", "finished", "cancelled", "failed", "interrupted"],
        doc="State of the run.",
    )
    stopping = param.Boolean(default=False, doc="Somebody has asked the run to stop and it has not ended yet.")
    held = param.Boolean(default=False, doc="What is shown stays as it is until somebody follows or chooses otherwise.")
    behind = param.String(default="", doc="While held: what has happened since, in words.")
    done = param.Integer(default=0, doc="Measurements made.")
    total = param.Integer(default=0, doc="Measurements planned.")
    seconds = param.Number(default=0.0, doc="Seconds from start to end, or until now.")
    phase = param.String(default="", doc="What is being done: loading, preflight, or the name of a probe.")
    word = param.String(default="", doc="The answer in one word.")
    sentence = param.String(default="", doc="The answer in one sentence.")
    reasons = param.List(default=[], item_type=str, doc="The rule and the numbers behind the answer.")
    settle = param.String(default="", doc="What would settle an inconclusive answer.")
    probes = param.List(default=[], item_type=str, doc="Probes that measure prompts, in suite order.")
    tags = param.List(default=[], item_type=str, doc="Tags of the prompts, in suite order.")
    version = param.Integer(default=0, doc="Raised whenever there is something new to show.")
    epoch = param.Integer(default=0, doc="Raised when what was shown no longer holds and cursors start again.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.feed: Feed | None = None
        self._seen: tuple[Any, ...] = ()
        self._shown_data: tuple[int, int] | None = None
        self._judged: tuple[Any, ...] = ()
        self._verdict: dict[str, Any] = {}

    @property
    def data(self) -> RunData:
        """Derived data of the open run; empty data without one."""
        return self.feed.data if self.feed else _NOTHING

    @property
    def folder(self) -> RunFolder | None:
        """The open run's folder."""
        return self.feed.folder if self.feed else None

    @property
    def live(self) -> bool:
        """Whether more is to be expected."""
        return self.status in LIVE

    def open(self, folder: RunFolder) -> None:
        """Look at another run."""
        self.close()
        self.param.update(held=False, behind="")
        self.feed = live.acquire(folder)
        self._seen, self._shown_data, self._judged = (), None, ()
        self.pull()

    def close(self) -> None:
        """Look at no run."""
        if self.feed is not None:
            live.release(self.feed)
            self.feed = None

    def pull(self) -> bool:
        """Take what the feed has; False when nothing has changed, or while what is shown is held.

        ``data`` is the feed's and goes on meanwhile: to draw something else is to :meth:`follow` first.
        """
        feed = self.feed
        if feed is None:
            return False
        feed.poll()
        data, fold = feed.data, feed.data.fold
        running = not feed.over
        if self.held:
            # A resumed run begins with fewer than it had.
            more = f"{max(0, fold.done - self.done):,} measured since"
            self.behind = more if running else f"{more}; the run has ended: {feed.status}"
            return False
        stopping = running and feed.folder.stop_requested()
        started = data.started.ts if data.started else 0.0
        seconds = max(0.0, (time.time() if running else fold.last_ts) - started) if started else 0.0
        seen = (feed, data.version, feed.status, feed.beat, stopping, int(seconds) if running else seconds)
        if seen == self._seen:
            return False
        self._seen = seen
        fresh = (id(data), data.epoch) != self._shown_data
        self._shown_data = (id(data), data.epoch)
        self.param.update(
            run_id=feed.folder.id,
            title=feed.title,
            status=feed.status,
            stopping=stopping,
            done=fold.done,
            total=fold.total,
            seconds=seconds,
            phase=_phase(feed),
            probes=list(data.series),
            tags=_tags(data),
            version=self.version + 1,
            epoch=self.epoch + (1 if fresh else 0),
            **self._answer(feed),
        )
        return True

    def hold(self, held: bool) -> None:
        """Hold what is shown while a run goes on, or follow it again; what is over cannot be held."""
        self.param.update(held=held and self.live, behind="")
        self.pull()

    def follow(self) -> None:
        """Let go of what is held, if it is."""
        if self.held:
            self.hold(False)

    def _answer(self, feed: Feed) -> dict[str, Any]:
        """The headline; while the run goes on, what can be said so far."""
        data = feed.data
        if not feed.over:
            return _so_far(data)
        judged = (id(data), data.version, feed.status)
        if judged != self._judged:
            self._judged = judged
            h = headline(feed.result(), entries=data.entries())
            self._verdict = {"word": h.word, "sentence": h.sentence, "reasons": list(h.reasons), "settle": h.settle}
        return self._verdict


SORTABLE = ("js", "kl", "rank", "null", "prompt", "tags", "top", "same", "positions")
"""Columns prompts can be ordered by; with a minus in front, largest first."""


class Selection(param.Parameterized):
    """This session's choices in a run: the filter, the brushed set, the open prompt, the open token.

    Every view reads it; widgets, clicks, keys and the address write it.
    """

    entry = param.String(default="", doc="Suite entry whose evidence is shown; empty: the first that found something.")
    probe = param.String(default="", doc="Probe whose prompts are shown.")
    metric: str = param.Selector(  # type: ignore[assignment]
        default="js", objects=["js", "kl"], doc="Divergence that is drawn."
    )
    sort: str = param.Selector(  # type: ignore[assignment]
        default="auto",
        objects=["auto", "suite", "value", *SORTABLE, *(f"-{name}" for name in SORTABLE)],
        doc="Order of prompts; auto: by value once the run is over.",
    )
    tags = param.List(default=[], item_type=str, doc="Show only prompts with one of these tags; all when empty.")
    query = param.String(default="", doc="Show only prompts whose texts, tags, tokens or generations hold this.")
    regex = param.Boolean(default=False, doc="The query is a regular expression.")
    status: str = param.Selector(  # type: ignore[assignment]
        default="", objects=["", "above", "inside"], doc="Show only prompts above, or inside, their null range."
    )
    least = param.Number(default=0.0, bounds=(0, None), doc="Show only prompts of at least this divergence, nats.")
    picked = param.List(default=[], item_type=int, doc="Brushed prompts, as indices in the suite entry.")
    item = param.Integer(default=None, allow_None=True, doc="The open prompt, as its index in the suite entry.")
    token = param.Integer(default=None, allow_None=True, doc="The open token of the open prompt.")

    FILTER = ("tags", "query", "regex", "status", "least", "picked")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self._expression = Expression()

    def series(self, data: RunData) -> ProbeSeries | None:
        """The chosen probe's prompts, or the first probe's."""
        if self.probe in data.series:
            return data.series[self.probe]
        return next(iter(data.series.values()), None)

    def metric_of(self, data: RunData) -> Metric:
        """The chosen metric."""
        return "kl" if self.metric == "kl" else "js"

    def order(self, run: RunState) -> str:
        """``suite``, ``value`` or a column."""
        if self.sort != "auto":
            return str(self.sort)
        return "suite" if run.live else "value"

    @property
    def filtered(self) -> bool:
        """Whether some prompts may be hidden."""
        return bool(self.tags or self.query or self.status or self.least or self.picked)

    def expression(self) -> Expression:
        """What is searched for, with its whole budget; one that was found too slow stays so until it is another."""
        self._expression = self._expression.again(self.query, regex=self.regex)
        return self._expression

    def admit(
        self, series: ProbeSeries, rows: Sequence[Measurement], metric: Metric, *, without: Container[str] = ()
    ) -> list[Measurement]:
        """Those of ``rows`` that the filter lets through, in the same order; none through a broken or too slow pattern.

        ``without`` names fields of the filter that do not count: what a control offers ignores its own choice.
        """
        sought = self.expression()
        # Looked up once: reading a parameter takes longer than looking at a prompt.
        tags = set() if "tags" in without else set(self.tags)
        picked = set() if "picked" in without else set(self.picked)
        status = "" if "status" in without else self.status
        least, query = self.least, self.query
        plain = "" if self.regex else query.casefold()
        if status:
            stands = series.statuses(rows, metric)
            rows = [m for m, stand in zip(rows, stands, strict=True) if stand == status]
        found = [
            m
            for m in rows
            if (not tags or tags & set(m.tags))
            and (not picked or m.item in picked)
            and (not least or value_of(m, metric) >= least)
            # Plain text is looked for in all of a prompt's texts at once, which is many times faster.
            and (not query or (plain in _text(series, m) if plain else any(map(sought.search, _texts(series, m)))))
        ]
        return [] if sought.problem else found

    def clear(self) -> None:
        """Show all prompts."""
        self.param.update(**{name: self.param[name].default for name in self.FILTER})


def _texts(series: ProbeSeries, m: Measurement) -> Iterator[str]:
    """What a search looks through."""
    yield m.prompt
    yield from m.tags
    yield m.continuation
    for top in (m.base_top[:1], m.tuned_top[:1]):
        yield from (text for text, _, _ in top)
    if series.said:
        yield from series.said.get(detail_key(m.prompt), "").split("\0")


def _text(series: ProbeSeries, m: Measurement) -> str:
    """All of a prompt's texts for a search that does not mind capitals; joined when they are first asked for."""
    known = series.texts.get(m.item)
    if known is None or known[0] is not m:
        known = series.texts[m.item] = (m, "\0".join(_texts(series, m)).casefold())
    return known[1]


_NOTHING = RunData()


def _phase(feed: Feed) -> str:
    if feed.status in ("queued", "starting"):
        return "waiting for the device" if feed.status == "queued" else "starting the worker"
    phase = feed.data.fold.phase
    if phase is None or feed.over:
        return ""
    return {"loading": "loading the model", "preflight": "checking the model"}.get(phase.phase, phase.name)


def _tags(data: RunData) -> list[str]:
    found: dict[str, None] = {}
    for name in data.series:
        for prompt in data.entries().get(name, {}).get("prompts") or ():
            if isinstance(prompt, dict):
                found.update(dict.fromkeys(str(t) for t in prompt.get("tags") or ()))
    return list(found)


def _so_far(data: RunData) -> dict[str, Any]:
    """What a running run says: numbers without a judgement."""
    series = next((s for s in data.series.values() if s.rows), None)
    if series is None:
        nulls = max((len(s.nulls) for s in data.series.values()), default=0)
        noise = "Measuring random adapters first: they show what noise looks like."
        text = noise if nulls else "No prompt measured yet."
        return {"word": "measuring", "sentence": text, "reasons": [], "settle": ""}
    metric: Metric = "kl" if data.entries().get(series.name, {}).get("divergence") == "kl" else "js"
    last = series.running(metric)[-1]
    of = f" of {series.planned}" if series.planned else ""
    unsure = last.unsure(over=series.name in data.finished)
    ci = f"; {unsure}" if unsure else f", 95 % CI {interval(last.interval)}"
    text = f"{last.n}{of} prompts measured: mean {metric.upper()} {number(last.mean)} nats{ci}."
    return {"word": "measuring", "sentence": text, "reasons": [last.note] if last.note else [], "settle": ""}
