"""The first lines of what would leave, to be read before it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sway_dash.core.events import Measurement, RunStarted
from sway_dash.figures.columns import top_change
from sway_dash.figures.theme import number, visible
from sway_dash.report.html.redact import Redaction, checked, redacted
from sway_dash.report.html.source import Source, source_of

if TYPE_CHECKING:
    from sway_dash.figures.opened import Run


def preview(run: Run, redact: Redaction = "full", lines: int = 20, *, paths: bool = False) -> str:
    """The first lines of what would leave: what the run is called, then its prompts with what is told of them."""
    return "\n".join(_head(redacted(source_of(run), checked(redact), paths=paths), lines))


def _head(source: Source, lines: int) -> list[str]:
    started = next((e for e in source.events if isinstance(e, RunStarted)), None)
    found = [f"run: {visible(source.name)} ({visible(source.id)})"]
    if started is not None:
        found += [f"base: {visible(started.base_model_id)}", f"adapter: {visible(started.adapter_id)}"]
    said = {d.prompt: "".join(d.tuned_says) for d in source.details if d.tuned_says}
    for m in source.events:
        if len(found) >= lines:
            break
        if isinstance(m, Measurement) and m.role == "probe":
            tags = f" [{', '.join(map(visible, m.tags))}]" if m.tags else ""
            after = said.get(m.prompt) or m.continuation
            more = f"; tuned says {visible(after)}" if after else ""
            found.append(f"{visible(m.prompt)}{tags}: JS {number(m.js, 'nats')}; {top_change(m)}{more}")
    return found[:lines]
