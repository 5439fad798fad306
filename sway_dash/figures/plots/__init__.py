"""Figures: empty frames with named sources, made once; a run only streams into them or replaces their columns.

Pure functions of their arguments; no Panel, no state. One file a figure, with what fills it.
"""

from sway_dash.figures.plots.base import Plot, set_noise
from sway_dash.figures.plots.cache import hit_rate
from sway_dash.figures.plots.ecdf import prompt_ecdf
from sway_dash.figures.plots.mean import running_mean
from sway_dash.figures.plots.prompts import prompt_dots, set_mean, set_rows
from sway_dash.figures.plots.strength import ablation
from sway_dash.figures.plots.strip import null_strip
from sway_dash.figures.plots.terms import kl_bars, set_terms
from sway_dash.figures.plots.tokens import next_tokens, set_tokens

__all__ = [
    "Plot",
    "ablation",
    "hit_rate",
    "kl_bars",
    "next_tokens",
    "null_strip",
    "prompt_dots",
    "prompt_ecdf",
    "running_mean",
    "set_mean",
    "set_noise",
    "set_rows",
    "set_terms",
    "set_tokens",
]
