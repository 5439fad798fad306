"""What both models say next, side by side, with the first token in which they differ. Pure functions to HTML."""

from __future__ import annotations

import html as _html
import re
from collections.abc import Sequence
from itertools import pairwise

from sway_dash.core.detail import PromptDetail
from sway_dash.dash.expression import Expression
from sway_dash.figures.markup import heading
from sway_dash.figures.theme import visible
from sway_dash.figures.token_columns import sendable

_PLAIN = re.compile(r"[^\n\t\u200c\u200d]+|[\n\t\u200c\u200d]+")


def readable(text: str) -> str:
    """Untrusted text as HTML that keeps line breaks, tabs and joiners; what has no shape is shown by its code."""
    parts = (part if part[0] in "\n\t\u200c\u200d" else visible(part) for part in _PLAIN.findall(sendable(text)))
    return _html.escape("".join(parts), quote=True)


def generations(detail: PromptDetail, sought: Expression | None = None) -> str:
    """Greedy continuations of base and tuned, hits of ``sought`` marked; empty when none were recorded."""
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
        f'<div><h3 class="sway-kicker" style="color: var(--sway-{tone})">{name}</h3>{_said(said, at, sought)}</div>'
        for name, tone, said in sides
    )
    return heading("What they say next (greedy)", words) + f'<div class="sway-sides">{boxes}</div>'


def _said(tokens: Sequence[str], at: int | None, sought: Expression | None) -> str:
    text = "".join(tokens)
    ends = at is not None and at >= len(tokens)
    start = len("".join(tokens[:at]))
    differs = range(start, start if at is None or ends else start + len(tokens[at]))
    hits = [range(*hit.span()) for hit in sought.hits(text)] if sought is not None else []
    cuts = sorted({0, len(text), *(edge for part in (differs, *hits) for edge in (part.start, part.stop))})
    out = []
    for a, b in pairwise(cuts):
        piece = readable(text[a:b])
        if any(a in hit for hit in hits):
            piece = f'<mark class="sway-hit" title="found by the search">{piece}</mark>'
        out.append(f'<mark class="sway-differs">{piece}</mark>' if a in differs else piece)
    if ends:
        out.append('<mark class="sway-differs" title="ends here">▮</mark>')
    return f'<div class="sway-prompt" dir="auto">{"".join(out)}</div>'
