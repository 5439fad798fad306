"""Where the page's scripts show prompts: controls, plot, table, the open prompt. Empty until they run."""

from __future__ import annotations

from sway_dash.figures.derive import RunData
from sway_dash.figures.markup import legend
from sway_dash.figures.theme import visible
from sway_dash.report.html.drawn import NAMES, Drawn
from sway_dash.report.html.parts import choices, figure, heading, words

ORDERS = (
    ("-value", "largest first"),
    ("value", "smallest first"),
    ("suite", "suite order"),
    ("prompt", "by text"),
    ("tags", "by tag"),
)
BY = (("change", "largest change first"), ("probability", "likeliest first"), ("kl", "largest part of KL first"))
LAYERS = (("js", "JS"), ("kl", "KL"), ("delta", "Δ log-prob"))


def prompts(data: RunData, out: Drawn) -> str:
    """HTML of the section."""
    names = [(str(k), visible(name)) for k, name in enumerate(data.series)]
    known = {state.partition("/")[2] for state in out.words.get("strip", {})}
    metrics = [(metric, words_) for metric, words_ in NAMES.items() if metric in known]
    controls = choices("series", "Probe", names) + choices("metric", "Divergence", metrics)
    controls += choices("order", "Order", ORDERS)
    trend = legend(
        ("line", "tuned", "mean so far"),
        ("bar", "tuned", "95 % band"),
        ("bar", "null", "random adapters"),
        ("dash", "threshold", "gate"),
    )
    return f"""<div class="controls">{controls}
<label class="control">Search
<input type="search" data-field="query" placeholder="prompts, tags, tokens" size="22"></label>
<label class="control"><input type="checkbox" data-field="regex"> regex</label>
<label class="control">At least, nats
<input type="number" data-field="least" min="0" step="0.01" size="6"></label></div>
<div class="chips" data-chips="status" role="group" aria-label="Against random adapters"></div>
<div class="chips" data-chips="tags" role="group" aria-label="Tags"></div>
<p class="sway-caption sway-num count" role="status"></p><p class="sway-alert wrong" role="alert" hidden></p>
<div class="chips" data-chips="active" role="group" aria-label="Filters in force"></div>
<div class="split"><div class="stack list">
<div><div class="plot-dots">{figure("dots")}</div><div class="plot-ecdf" hidden>{figure("ecdf")}</div>
<div data-place="legend"></div><p class="sway-caption" data-place="caption"></p></div>
<div class="table-place"><p class="above"><button type="button" class="link" data-act="csv">Table as CSV</button></p>
<div class="grid" role="grid" tabindex="0"></div></div>
<div class="paper" data-place="paper"></div>
<div data-place="tagged"></div>
<div>{heading("Running mean")}{figure("mean")}{trend}{words("mean", out.first("mean"))}</div>
</div>
<aside class="pane stack" aria-label="Open prompt"><div class="pane-head"><div data-place="pane-head"></div>
<span class="steps"><button type="button" data-act="previous" aria-label="Previous prompt (K)">↑</button>
<button type="button" data-act="next" aria-label="Next prompt (J)">↓</button></span></div>
<div data-place="text"></div>
<div data-place="heat"><div class="controls">{choices("layer", "Colour", LAYERS)}</div>
<div class="token-place"></div><div data-place="heat-legend"></div></div>
<div data-place="position"></div>
<div class="plot-tokens"><div class="controls">{choices("by", "Order", BY)}</div>{figure("tokens")}
{legend(("●", "base", "base"), ("◆", "tuned", "tuned"))}</div>
<div class="plot-terms">{heading("Why the KL is this large")}{figure("terms")}
<p class="sway-caption">Each bar is p(tuned) · ln(p(tuned) / p(base)) of one token and begins where the sum so far ends.
The dashed line is the KL.</p></div>
<div data-place="twin"></div><div data-place="says"></div><div data-place="facts"></div></aside></div>"""
