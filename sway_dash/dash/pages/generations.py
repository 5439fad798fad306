"""What both models say next, side by side, with the first token in which they differ. Pure functions to HTML."""

from __future__ import annotations

import html as _html
import re
from collections.abc import Sequence

from sway_dash.core.detail import PromptDetail
from sway_dash.figures.markup import heading
from sway_dash.figures.theme import visible
from sway_dash.figures.token_columns import sendable

_PLAIN = re.compile(r"[^\n\t\u200c\u200d]+|[\n\t\u200c\u200d]+")


def readable(text: str) -> str:
    """Untrusted text as HTML that keeps line breaks, tabs and joiners; what has no shape is shown by its code."""
    parts = (part if part[0] in "\n\t\u200c\u200d" else visible(part) for part in _PLAIN.findall(sendable(text)))
    return _html.escape("".join(parts), quote=True)


def generations(detail: PromptDetail) -> str:
    """Greedy continuations of base and tuned; empty when none were recorded."""
    if not (detail.base_says or detail.tuned_says):
        return ""
    at = detail.first_difference
    if at is None:
        words = f"Both say the same {len(detail.base_says)} tokens."
    elif at == 0:
        words = "They differ from the first token on."
    else:
        words = f"The same until token {at}; they differ from token {at + 1} on."
    sides = (("Base", "base", detail.base_says), ("Tuned", "tuned", detail.tuned_says))
    boxes = "".join(
        f'<div><h3 class="sway-kicker" style="color: var(--sway-{tone})">{name}</h3>{_said(said, at)}</div>'
        for name, tone, said in sides
    )
    return heading("What they say next (greedy)", words) + f'<div class="sway-sides">{boxes}</div>'


def _said(tokens: Sequence[str], at: int | None) -> str:
    if at is None or at >= len(tokens):
        end = '<mark class="sway-differs" title="ends here">▮</mark>' if at is not None else ""
        return f'<div class="sway-prompt" dir="auto">{readable("".join(tokens))}{end}</div>'
    before, here, after = "".join(tokens[:at]), tokens[at], "".join(tokens[at + 1 :])
    mark = f'<mark class="sway-differs">{readable(here)}</mark>'
    return f'<div class="sway-prompt" dir="auto">{readable(before)}{mark}{readable(after)}</div>'
