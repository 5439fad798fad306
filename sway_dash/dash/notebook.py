"""Runs in notebooks: ``show`` looks at one, ``SwayDash`` makes one.

::

    from sway_dash import SwayDash, show

    show("~/sway-runs/r-20260101-120000-abc123")     # a run, finished or going on
    SwayDash("sway.yaml")                            # a form, Run, live plots
    SwayDash(model=peft_model, tokenizer=tokenizer, prompts=[...])   # the model in memory

**JupyterLab 4, Notebook 7**: ``pip install "sway-dash[notebook]"`` in the environment of the server and in that of the
kernel (often one and the same): the ``pyviz_comms`` extension of the front end carries live updates. **VS Code** and
**Colab**: the same extra; it brings ``jupyter_bokeh``, which Panel uses there. In Colab a first cell
``!pip install "sway-dash[notebook]"`` and a restart of the runtime. Front ends are told apart by themselves; do not
call ``pn.extension(comms=...)``. Everywhere else, and in saved notebooks, ``nbconvert`` and on GitHub, the same run is
shown as a picture and tables.

A cell that runs blocks the kernel: live views stand still until it ends, except while ``wait()`` waits.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sway_dash.backends.held_checks import adapter_to_measure, trained_in_place
from sway_dash.core.errors import SwayError
from sway_dash.core.result import SuiteResult
from sway_dash.dash.notebook_run import NotebookRun, ShownResult, folder_of, shown
from sway_dash.dash.notebook_suite import NotebookSuite, Prompt
from sway_dash.figures.opened import Run, open_run
from sway_dash.suite.store import RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from sway_dash.dash.notebook_display import Display, Pump
    from sway_dash.dash.notebook_form import NotebookForm
    from sway_dash.suite.spec import SwaySpec

VIEWS = ("overview", "prompts", "verdict")


class _Shown:
    """Something a cell can show."""

    def __init__(self, view: str) -> None:
        if view not in VIEWS:
            raise SwayError(f"there is no view {view!r}; known: {', '.join(VIEWS)}")
        self.view = view
        self._displays: list[Display] = []
        self._pump: Pump | None = None

    @property
    def run(self) -> RunFolder | None:
        """Folder of the run; ``None`` before there is one."""
        raise NotImplementedError

    def static_html(self) -> str:
        """The run as it is now as plain HTML: the answer, a picture, the prompts, the probes."""
        raise NotImplementedError

    def _live(self) -> bool:
        raise NotImplementedError

    def _interrupt(self) -> None:
        """What the front end's interrupt does while no cell is running."""

    def _form(self) -> NotebookForm | None:
        return None

    def to_frame(self) -> pd.DataFrame:
        """Every measurement: one row a prompt and probe, divergences in nats."""
        from sway_dash.report.frames import measurements

        return measurements(self._folder())

    def _folder(self) -> RunFolder:
        if self.run is None:
            raise SwayError("nothing has been measured yet: press Run, or call start() and wait()")
        return self.run

    # -- being shown ----------------------------------------------------------------------------

    def _repr_html_(self) -> str:
        return self.static_html()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.static_html(), "text/plain": repr(self)}

    def _ipython_display_(self) -> None:
        from sway_dash.dash.notebook_display import in_notebook

        if not in_notebook():
            print(repr(self))  # noqa: T201
            return
        import panel as pn

        from sway_dash.dash.notebook_display import Display

        display = Display(self._made(), self.static_html)
        # Inline: nothing is asked of the network. Never with comms=: Panel finds out by itself.
        display.publish(lambda: pn.extension(inline=True))
        self._displays.append(display)
        self._follow()

    def _display_(self) -> Any:
        """The live view for marimo, which shows Panel objects by itself."""
        from panel.config import config

        # Nothing is asked of the network; marimo looks here for where the scripts are to come from.
        config.inline = True
        view = self._made()
        self._follow()
        return view.root

    def _made(self) -> Any:
        from panel.config import config

        from sway_dash.dash.notebook_design import Plain
        from sway_dash.dash.notebook_view import NotebookView

        with config.set(design=Plain):
            view = NotebookView(self.view, form=self._form())
        if self.run is not None:
            view.open(self.run)
        return view

    def _follow(self) -> None:
        """Keep what is shown up to date as long as there is something to come."""
        from sway_dash.dash.notebook_display import Pump

        if self._pump is None:
            self._pump = Pump(self._tick, self._interrupt)
        self._pump.start()

    def _tick(self) -> bool:
        """Bring all displays up to date; whether there is more to come."""
        going_on = self._live()
        self._displays = [d for d in self._displays if not d.view.gone]
        for display in self._displays:
            display.tick(over=not going_on)
        return going_on


class ShownRun(_Shown):
    """A run that somebody else makes or made."""

    def __init__(self, run: Run, view: str) -> None:
        super().__init__(view)
        self._run = folder_of(run)

    @property
    def run(self) -> RunFolder:
        """Folder of the run."""
        return self._run

    @property
    def result(self) -> ShownResult:
        """The result so far."""
        return shown(open_run(self._run).result, self._run)

    def static_html(self) -> str:
        """The run as it is now as plain HTML."""
        from sway_dash.dash.notebook_static import static_html

        return static_html(self._run)

    def __repr__(self) -> str:
        return f"<run {self._run.id}>"

    def _live(self) -> bool:
        return any(d.view.run.live for d in self._displays)


def show(run: Run | _Shown, view: str = "overview") -> _Shown:
    """Show a run as the value of a cell; while it goes on, what is shown follows it.

    Parameters
    ----------
    run
        A run folder or a result file by its path, the name of a run in the folder of runs, a ``RunFolder``, a
        ``SuiteResult``, or a ``SwayDash``.
    view
        ``overview``, ``prompts`` (chart and single prompts), or ``verdict`` (the answer alone).

    Raises
    ------
    SwayError
        When it is no run.
    """
    if isinstance(run, _Shown):
        return ShownRun(run._folder(), view)
    return ShownRun(run, view)


class SwayDash(_Shown):
    """A suite as a widget: a compact form, Run and Stop, live plots, the tokens of single prompts.

    Parameters
    ----------
    spec
        A suite: path of a ``sway.yaml``, its text, a mapping or a ``SwaySpec``. Without one the form starts empty.
    model, tokenizer
        A ``PeftModel`` that this process holds and its tokenizer. It is measured on a thread, without a second copy;
        weights, training mode, gradients asked for, active adapter and random generators are put back bit for bit.
        Until the run is over the model can be used by nobody else.
    prompts
        Texts, or mappings with ``text`` and ``tags``; take the place of those of the suite.
    preset
        ``Quick check``, ``Standard`` or ``Full``; without one the probes of the suite, else Quick check.
    name
        What the run is called.
    root
        Folder for run folders; by default ``$SWAY_RUNS_DIR``, else ``~/sway-runs``.

    Raises
    ------
    SpecValidationError
        When the suite cannot be read.
    ModelLoadError
        When the model cannot be measured as it is.
    """

    def __init__(
        self,
        spec: Path | str | Mapping[str, Any] | SwaySpec | None = None,
        *,
        model: Any = None,
        tokenizer: Any = None,
        prompts: Sequence[Prompt] | None = None,
        preset: str = "",
        name: str = "",
        view: str = "overview",
        root: Path | str | None = None,
    ) -> None:
        super().__init__(view)
        if (model is None) != (tokenizer is None):
            raise SwayError("model and tokenizer go together: give both, or neither")
        self.name, self._root = name, None if root is None else Path(root).expanduser()
        self._held: tuple[Any, Any] | None = None
        self._held_name, models = "", None
        if model is not None:
            from sway_dash.backends.held import spec_of

            adapter = adapter_to_measure(model)
            if found := trained_in_place(model):
                warnings.warn(
                    f"{len(found):,} {'weight' if len(found) == 1 else 'weights'} of the base itself"
                    f" {'asks' if len(found) == 1 else 'ask'} for gradients (first {found[0]}): what was trained there"
                    " is not measured, for the adapter alone is switched; use modules_to_save of the LoraConfig",
                    stacklevel=2,
                )
            self._held, side = (model, tokenizer), spec_of(model)
            models = side.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
            self._held_name = f"{side.base.rstrip('/').rsplit('/', 1)[-1]} with adapter {adapter!r}"
        self.suite = NotebookSuite(spec, prompts=prompts, preset=preset, models=models)
        self._run = NotebookRun(self._held)
        self._forms: list[NotebookForm] = []

    # -- measuring ------------------------------------------------------------------------------

    def start(self) -> SwayDash:
        """Begin to measure and return at once. ``SwayError`` while a run goes on, or when the suite cannot be run."""
        if self._run.live:
            raise SwayError("a run goes on: stop() it first, or wait()")
        text = self.suite.text()
        self._run = NotebookRun(self._held)
        name = self.name or (f"{self._held_name}, in memory" if self._held_name else "")
        self._run.start(text, base_dir=self.suite.base_dir, name=name, spec_path=self.suite.source, root=self._root)
        assert self._run.folder is not None
        for display in self._displays:
            display.view.open(self._run.folder)
        self._say_running(True)
        self._follow()
        return self

    def stop(self) -> None:
        """Ask the run to stop after its batch; what has been measured stays."""
        self._run.stop()

    def wait(self, timeout: float | None = None) -> ShownResult:
        """Wait for the end of the run and return its result; what is shown is kept up to date meanwhile.

        Interrupting the kernel stops the run, keeps what has been measured, and raises ``KeyboardInterrupt``.
        ``TimeoutError`` after ``timeout`` seconds; the run goes on.
        """
        self._folder()
        if not self._run.wait(self._tick_waiting, timeout):
            raise TimeoutError(f"the run has not ended within {timeout:g} s and goes on")
        if self._run.error is not None:
            raise self._run.error
        folder = self._folder()
        return shown(open_run(folder).result, folder)

    @property
    def run(self) -> RunFolder | None:
        """Folder of the run; ``None`` before the first."""
        return self._run.folder

    @property
    def result(self) -> ShownResult | None:
        """The result so far; ``None`` before the first run."""
        return None if self.run is None else shown(open_run(self.run).result, self.run)

    @property
    def running(self) -> bool:
        """Whether a run goes on."""
        return self._run.live

    # -- being shown ----------------------------------------------------------------------------

    def static_html(self) -> str:
        """The run as it is now as plain HTML; the suite before there is one."""
        from sway_dash.dash.notebook_static import static_html

        n = len(self.suite.prompts)
        what = self._held_name or " + ".join(p for p in (self.suite.base, self.suite.adapter) if p) or "no model named"
        note = f"{what}; {n:,} {'prompt' if n == 1 else 'prompts'}; probes: {self.suite.preset}. Not run yet."
        return static_html(self.run, title=self.name if self.run is None else "", note=note)

    def __repr__(self) -> str:
        if self.run is None:
            return "<SwayDash, not run yet>"
        result: SuiteResult | None = self.result
        return f"<SwayDash {self.run.id}: {result.status if result is not None else 'starting'}>"

    def _form(self) -> NotebookForm:
        from sway_dash.dash.notebook_form import NotebookForm

        form = NotebookForm(self.suite, lambda: self.start(), self.stop, held=self._held_name)
        form.running = self._run.live
        self._forms.append(form)
        return form

    def _live(self) -> bool:
        return self._run.live

    def _interrupt(self) -> None:
        self.stop()

    def _tick(self) -> bool:
        going_on = super()._tick()
        self._say_running(going_on)
        return going_on

    def _tick_waiting(self) -> None:
        self._tick()

    def _say_running(self, running: bool) -> None:
        for form in self._forms:
            form.running = running


__all__ = ["ShownResult", "ShownRun", "SwayDash", "show"]
