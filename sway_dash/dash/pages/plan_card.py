"""What the run of the draft will do before it does it: passes, hits, time, memory; or what has to be mended first."""

from __future__ import annotations

from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.backends.api import PROMPTS_PER_REQUEST
from sway_dash.dash.components import column, html, set_html
from sway_dash.dash.costs import Cost, Costs
from sway_dash.dash.draft import Draft
from sway_dash.dash.off_loop import off_loop
from sway_dash.figures.markup import heading, table, toned
from sway_dash.figures.theme import count, duration, esc, size
from sway_dash.suite.forecast import EntryForecast, Forecast

SHOWN = 12
"""Problems that are listed."""

NOT_MEASURED = "no estimate of the time yet: nothing of this model was measured on this machine"


class PlanCard(pn.viewable.Viewer):
    """Shows cost or problems. ``run`` is raised when its ``button`` is pressed, which says what it starts.

    The page has the button where it is always in sight, and with it ``failure``: why a run could not be started.
    """

    draft: Draft = param.ClassSelector(class_=Draft)  # type: ignore[assignment]
    costs: Costs = param.ClassSelector(class_=Costs)  # type: ignore[assignment]
    run = param.Event(doc="Start the run, or go to what is wrong.")

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.button = pmui.Button.from_param(
            self.param.run, description="", label="Run", variant="contained", margin=0, css_classes=["sway-hook-run"]
        )
        self._label = ""
        self.button.param.watch(self._insist, "label")
        self._say = html(css_classes=["sway-hook-plan"])
        self.failure = html(css_classes=["sway-hook-failure"], visible=False)
        self._root = column(html(heading("Plan")), self._say, gap=8)
        self.draft.param.watch(lambda *_: self.fill(), ["problems", "text"])
        self.costs.param.watch(lambda *_: self.fill(), ["cost", "failure"])
        self.fill()

    def __panel__(self) -> pn.viewable.Viewable:
        return self._root

    def fail(self, message: str) -> None:
        """Say why a run could not be started; nothing for one that was."""
        text = toned("bad", "sway-banner", f"<b>Not started.</b> {esc(message)}", role="alert") if message else ""
        set_html(self.failure, text)
        self.failure.visible = bool(text)

    def fill(self) -> None:
        """Show what the draft says."""
        lines = self.draft.lines()
        if lines:
            self._call("Run: show the first problem")
            items = "".join(f"<li>{esc(line)}</li>" for line in lines[:SHOWN])
            more = f"<li>and {len(lines) - SHOWN} more</li>" if len(lines) > SHOWN else ""
            title = f"<b>{count(len(lines), 'problem')}.</b>"
            set_html(self._say, toned("bad", "sway-banner", f"{title}<ul>{items}{more}</ul>", role="alert"))
            return
        cost = self.costs.cost
        if cost is None:
            self._call("Run")
            set_html(self._say, f'<p class="sway-caption">{esc(self.costs.failure) or "Counting …"}</p>')
            return
        self._call(run_label(cost))
        set_html(self._say, plan_html(cost, self.draft.planned))

    def _call(self, label: str) -> None:
        """Let the button say what it starts."""
        self._label = self.button.label = label

    def _insist(self, event: param.parameterized.Event) -> None:
        """A widget of Panel reports what it has painted; a slow browser does so after the next label has come, and puts
        the one before in its place.
        """
        if event.new != self._label:
            # Not at once: what is changed while a report is taken in does not reach the browser.
            off_loop(lambda: None, lambda _: self._call(self._label))


def run_label(cost: Cost) -> str:
    """What the button starts."""
    bound = cost.forecast.bound
    sign = {"at least": "≥", "at most": "≤"}.get(bound, "≈")
    about = f" ({sign} {duration(cost.seconds)})" if cost.seconds is not None else ""
    return f"Run{':' if cost.forecast.served else ''} {_bounded(bound)}{_asked(cost.forecast)}{about}"


def _asked(plan: Forecast) -> str:
    """What the models are asked for: passes through them here, answers where they are behind a server."""
    return count(plan.passes, *(("answer", "answers") if plan.served else ("pass", "passes")))


def _bounded(bound: str) -> str:
    """``at least``, ``at most`` or ``about``; nothing where the number is exact."""
    return "" if bound == "exact" else f"{bound} "


def plan_html(cost: Cost, planned: int) -> str:
    """The plan as a table, a sum, and what time and memory it will take."""
    plan = cost.forecast
    rows = [
        [esc(e.name), passes(e), f"{e.hits:,}", esc(what(e))]
        for e in plan.entries
        if e.passes or e.hits or e.on_disk or e.unknown
    ]
    if plan.preflight:
        name = "check of the servers" if plan.served else "check of the model"
        sample = count(plan.preflight // 2, "prompt")
        rows.insert(0, [name, f"{plan.preflight:,}", "0", f"{sample} × base + tuned"])
    head = ["Probe", "Answers" if plan.served else "Passes", "Cached", "What"]
    skipped = [e.name for e in plan.entries if not (e.passes or e.hits or e.on_disk or e.unknown)]
    open_ended = sum(e.unknown and not e.passes for e in plan.entries)
    parts = [f"{_bounded(plan.bound)}{_asked(plan)}, {plan.hits:,} more look-ups from the cache"]
    if plan.served:
        parts.append(requests_words(plan))
    if open_ended:
        parts.append(f"{count(open_ended, 'probe')} not counted: it is known only while they run what they ask")
    least = "at least " if any(e.bound == "at least" for e in plan.entries) else ""
    parts.append(f"its progress counts to {least}{planned:,}, measurements and answers of both models")
    if plan.on_disk:
        parts.append(f"{plan.on_disk:,} draws of random adapters are kept from an earlier run")
    if skipped:
        parts.append(f"nothing to do for {', '.join(skipped)}")
    sums = "; ".join(parts)
    text = f"{sums[:1].upper()}{sums[1:]}. {time_words(cost)} {memory_words(cost)}".strip()
    note = "The run goes on when this tab is closed."
    said = "".join(f" {warning}." for warning in cost.warnings)
    return f'{table(head, rows, right=(1, 2))}<p class="sway-caption" role="status">{esc(text + said)} {note}</p>'


def passes(e: EntryForecast) -> str:
    """``24``, ``at least 24``, or a question mark."""
    return f"{_bounded(e.bound)}{e.passes:,}" if e.passes or not e.unknown else "?"


def what(e: EntryForecast) -> str:
    """``24 prompts × base + tuned``; ``24 prompts × 20 random adapters``."""
    if e.kind == "null_adapter":
        rest = "what draws of other probes ask is a rough count" if e.unknown else ""
        draws = f"{count(e.prompts, 'prompt')} × base + {count(e.views, 'random adapter')}" if e.views else ""
        return "; ".join(filter(None, [draws, rest]))
    if e.unknown:
        return "both views; a rough count" if e.passes else "both views; not known beforehand"
    prompts = count(e.prompts, "prompt")
    if e.bound == "at least":
        return f"{prompts} × base + tuned, and more that is known only while it runs"
    if e.bound == "at most":
        return f"{prompts} × base + tuned, or fewer once it is decided"
    if e.views > 1:
        return f"{prompts} × {e.views} λ"
    return f"{prompts} × base + tuned"


def requests_words(plan: Forecast) -> str:
    """How many requests the servers get; nothing is measured on this machine."""
    return (
        f"{count(plan.requests, 'request')} where the server takes {PROMPTS_PER_REQUEST} prompts at once, one for each"
        " answer where it does not, and a few dozen before them to learn what it can do"
    )


def time_words(cost: Cost) -> str:
    """How long, and how one knows."""
    if cost.seconds is None or cost.pace is None:
        return f"{NOT_MEASURED[:1].upper()}{NOT_MEASURED[1:]}."
    loading = f", {duration(cost.pace.load_s)} of it loading" if cost.pace.load_s >= 0.5 else ""
    on = " ".join(p for p in (cost.pace.device, cost.pace.dtype) if p)
    bound = cost.forecast.bound
    about = f"{bound[:1].upper()}{bound[1:]}" if bound in ("at least", "at most") else "About"
    return f"{about} {duration(cost.seconds)}{loading}, at the pace of the last run of this base here ({on})."


def memory_words(cost: Cost) -> str:
    """How much memory, and of what."""
    need = cost.memory
    if need is None:
        return ""
    where = "of memory" if need.device == "cpu" else "on the GPU"
    return (
        f"About {size(need.total)} {where}: {size(need.weights)} of weights in {need.dtype} and up to"
        f" {size(need.working)} to work with."
    )
