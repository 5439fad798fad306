"""What can be taken along: the report, the numbers as tables, the trace, the figures of the page."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import panel as pn
import panel_material_ui as pmui
import param

from sway_dash.core.errors import SwayError
from sway_dash.dash.compare_state import CompareState
from sway_dash.dash.components import HIDDEN_LABEL, column, dialog, html, set_html
from sway_dash.dash.courier import Courier
from sway_dash.dash.off_loop import off_loop
from sway_dash.dash.pictures import Pictures
from sway_dash.dash.state import RunState, Selection
from sway_dash.figures.markup import heading
from sway_dash.figures.plots import Plot
from sway_dash.figures.theme import count, esc, size
from sway_dash.report import export
from sway_dash.report.frames import has_parquet
from sway_dash.report.html.compare_elsewhere import Asked
from sway_dash.report.html.first_lines import preview
from sway_dash.report.html.redact import Redaction, checked

LEVELS: dict[str, str] = {
    "Everything": "full",
    "No generations": "no-generations",
    "No prompts": "no-prompts",
    "Numbers only": "numbers",
}

MEANING: dict[str, str] = {
    "full": "Prompts, tokens and generated texts leave. Paths and user names do not.",
    "no-generations": "Prompts leave; what the models wrote does not. Paths and user names do not.",
    "no-prompts": "Prompts are called P001, P002 and so on, tokens have no text. Names of probes and tags leave.",
    "numbers": "Numbers alone leave: probes, tags and prompts are numbered, models have no name.",
}

PREVIEW_LINES = 20

Make = Callable[[Redaction], export.File]
"""Makes a file of what leaves at a level; runs in a thread and touches nothing of a session."""


@dataclass(frozen=True)
class Scene:
    """What is on the screen behind the dialog."""

    page: str
    plots: Sequence[Plot] = field(default=())
    dark: bool = False


class TakeAlong(pn.viewable.Viewer):
    """The dialog; its subclasses say what there is. ``scene`` is asked for what is on the screen when it opens."""

    open = param.Boolean(default=False)

    def __init__(self, scene: Callable[[], Scene], **params: Any) -> None:
        super().__init__(**params)
        self._scene = scene
        self._asked = 0
        self._courier = Courier()
        self._pictures = Pictures()
        self._level = pmui.RadioButtonGroup(
            options=LEVELS,
            value="full",
            label="What leaves",
            size="small",
            margin=0,
            sizing_mode="stretch_width",
            max_width=560,
            stylesheets=[HIDDEN_LABEL],
        )
        self._level.param.watch(lambda _: self._show(), "value")
        self._meaning = html()
        self._preview = html(css_classes=["sway-hook-preview"])
        self._said = html(css_classes=["sway-hook-export"])
        # Filled when it is first opened: most sessions never look.
        self._inner = column(gap=8)
        self._dialog = dialog(self._inner, "Export")
        self._dialog.param.watch(lambda e: setattr(self, "open", e.new), "open")

    def __panel__(self) -> pn.viewable.Viewable:
        return self._dialog

    # -- what a subclass says -----------------------------------------------------------------------

    def _files(self) -> list[Any]:
        """Headings and buttons of the files there are."""
        raise NotImplementedError

    def _first_lines(self) -> Callable[[Redaction], str] | None:
        """What shows the first lines that leave; ``None`` while there is nothing to show."""
        raise NotImplementedError

    def _origin(self, page: str) -> tuple[str, list[str]]:
        """How names of pictures of a page begin, and what stands below them."""
        raise NotImplementedError

    # -- the dialog ---------------------------------------------------------------------------------

    def _layout(self) -> list[Any]:
        return [
            html(heading("What leaves")),
            self._level,
            self._meaning,
            self._preview,
            self._said,
            *self._files(),
            html(heading("Figures of this page", "As they are on the screen, prompts included; on white.")),
            self._pictures,
            self._courier,
        ]

    def _button(self, label: str, pressed: Callable[[], None]) -> pmui.Button:
        button = pmui.Button(label=label, size="small", variant="outlined", margin=(0, 8, 0, 0), description="")
        button.on_click(lambda _: pressed())
        return button

    def _table(self, name: str, pressed: Callable[[str], None]) -> pn.Row:
        """Buttons for a table in every format there is."""
        forms = [("CSV", "csv"), ("JSONL", "jsonl"), *([("Parquet", "parquet")] if has_parquet() else [])]
        found = (self._button(label, lambda form=form: pressed(form)) for label, form in forms)  # type: ignore[misc]
        return pn.Row(*found, margin=0, css_classes=[f"sway-hook-{name}"])

    @param.depends("open", watch=True)
    def _opened(self) -> None:
        if self.open:
            if not self._inner.objects:
                self._inner.objects = self._layout()
            set_html(self._said, "")
            self._show()
            scene = self._scene()
            stem, footer = self._origin(scene.page)
            lines = [line for line in footer if line]
            self._pictures.offer(scene.plots, stem=f"{stem}-{scene.page}", footer=lines, dark=scene.dark)
        self._dialog.open = self.open

    def _show(self) -> None:
        """Say what leaves, and show its first lines."""
        level, lines = checked(str(self._level.value)), self._first_lines()
        set_html(self._meaning, f'<p class="sway-caption">{esc(MEANING[level])}</p>')
        self._asked += 1
        asked = self._asked

        def shown(text: str) -> None:
            if asked == self._asked:
                found = "\n".join(map(esc, text.split("\n")))
                label = "First lines of what leaves"
                style = "max-height: 190px; overflow-y: auto"
                set_html(self._preview, f'<pre style="{style}" tabindex="0" aria-label="{label}">{found}</pre>')

        def work() -> str:
            try:
                return lines(level) if lines is not None else ""
            except (SwayError, OSError) as error:
                return str(error)

        off_loop(work, shown)

    def _deliver(self, make: Make) -> None:
        """Make a file away from the loop, then hand it to the browser."""
        level = checked(str(self._level.value))
        self._say("Being made…")

        def work() -> export.File | str:
            try:
                return make(level)
            except (SwayError, OSError) as error:
                return str(error)

        def take(found: export.File | str) -> None:
            if isinstance(found, str):
                self._say(found, "sway-alert")
                return
            self._courier.deliver(found.name, found.kind, found.data)
            self._say(f"{found.name}, {size(len(found.data))}, is handed to the browser.")

        off_loop(work, take)

    def _say(self, text: str, css_class: str = "sway-caption") -> None:
        set_html(self._said, f'<p class="{css_class}" role="status">{esc(text)}</p>')


class ExportDialog(TakeAlong):
    """Of the open run."""

    run: RunState = param.ClassSelector(class_=RunState)  # type: ignore[assignment]
    choice: Selection = param.ClassSelector(class_=Selection)  # type: ignore[assignment]

    def _files(self) -> list[Any]:
        def buttons(table: str) -> pn.Row:
            return self._table(table, lambda form: self._make(f"{table}.{form}"))

        return [
            html(heading("Report", "One HTML file with plots, table and texts; opens anywhere and asks for nothing.")),
            self._button("HTML report", lambda: self._make("html")),
            html(heading("Prompts", "One row a prompt and probe, every number with all its digits.")),
            buttons("prompts"),
            html(heading("Random adapters", "One row a random adapter and prompt.")),
            buttons("draws"),
            html(heading("Trace", "Every scoring call, for ui.perfetto.dev or chrome://tracing.")),
            self._button("Trace for Perfetto", lambda: self._make("trace")),
        ]

    def _make(self, what: str) -> None:
        folder = self._path
        if folder is not None:
            self._deliver(lambda level: export.make(folder, what, level))

    def _first_lines(self) -> Callable[[Redaction], str] | None:
        folder = self._path
        return None if folder is None else lambda level: preview(folder, level, PREVIEW_LINES)

    def _origin(self, page: str) -> tuple[str, list[str]]:
        run, started = self.run, self.run.data.started
        series = self.choice.series(run.data)
        run_id = (started.run_id if started else "") or run.run_id
        moment = export.moment(started.ts) if started else ""
        probe = series.name if series and page not in ("ablation", "trace") else ""
        return export.stem(run_id), [run.title, f"run {run_id}", probe, self._n(page), moment]

    def _n(self, page: str) -> str:
        """What the figures of a page are made from, counted."""
        data, series = self.run.data, self.choice.series(self.run.data)
        if page == "trace":
            return f"n = {count(data.calls.n, 'scoring call')}"
        if page == "ablation":
            # One curve is shown at a time; all of them have their own prompts.
            return ", ".join(f"{name}: n = {count(len(a.prompts), 'prompt')}" for name, a in data.ablations.items())
        measured = len(series.rows) if series else 0
        n = f"n = {count(measured, 'prompt')}"
        if page == "null" and series:
            return f"{n}, {count(len(series.null_means(self.choice.metric_of(data))), 'random adapter')}"
        shown = len(self.choice.admit(series, series.rows, self.choice.metric_of(data))) if series else 0
        return n + (f", {shown:,} shown" if shown != measured else "")

    @property
    def _path(self) -> Path | None:
        return self.run.folder.path if self.run.folder is not None else None


class CompareExport(TakeAlong):
    """Of the runs being compared."""

    state: CompareState = param.ClassSelector(class_=CompareState)  # type: ignore[assignment]

    _waits = ""

    def _files(self) -> list[Any]:
        return [
            html(heading("Report", "One HTML file of the comparison over all prompts; asks for nothing.")),
            self._button("HTML report", self._report),
            html(heading("Prompts", "One row a prompt and run: its value, the baseline's, and their difference.")),
            self._table("differences", self._differences),
        ]

    def _differences(self, form: str) -> None:
        self._make(lambda asked, level: export.make_differences(asked, form, level))

    def _report(self) -> None:
        def make(asked: Asked, level: Redaction) -> export.File:
            with tempfile.TemporaryDirectory(prefix="sway-") as folder:
                out = asked.write(Path(folder) / "comparison.html", level)
                return export.File(out.name, export.MEDIA["html"], out.read_bytes())

        self._make(make)

    def _make(self, make: Callable[[Asked, Redaction], export.File]) -> None:
        asked = self._asked_for
        if self._reading:
            self._say(self._reading, "sway-alert")
        elif asked is not None:
            self._deliver(lambda level: make(asked, level))

    def _first_lines(self) -> Callable[[Redaction], str] | None:
        self._waits, asked = self._reading, self._asked_for
        if reading := self._waits:
            return lambda _: reading
        return None if asked is None else lambda level: asked.preview(level, PREVIEW_LINES)

    @param.depends("state.version", watch=True)
    def _came(self) -> None:
        """Show the first lines of the runs once all of them are there."""
        if self.open and self._reading != self._waits:
            set_html(self._said, "")
            self._show()

    def _origin(self, page: str) -> tuple[str, list[str]]:
        state, comparison = self.state, self.state.comparison
        if comparison is None:
            return "comparison", []
        sides = zip(state.labels, state.sides, strict=True)
        runs = [f"{label} {side.name} ({side.id})" for label, side in sides]
        n = f"n = {count(int(comparison.admitted.sum()), 'prompt')}"
        times = [side.fold.started.ts for side in state.sides if side.fold is not None and side.fold.started]
        moment = f"last run {export.moment(max(times))}" if times else ""
        return "comparison", [*runs, f"baseline {state.labels[state.base]}", comparison.probe, n, moment]

    @property
    def _reading(self) -> str:
        """Why there is nothing to hand over yet; empty once every run is read."""
        n = len(self.state.opening)
        return f"{count(n, 'run')} still being read: export again once all of them are shown." if n else ""

    @property
    def _asked_for(self) -> Asked | None:
        state, comparison = self.state, self.state.comparison
        if comparison is None:
            return None
        paths = [side.folder.path for side in state.sides if side.folder is not None]
        return Asked(paths, state.base, comparison.probe, comparison.metric)
