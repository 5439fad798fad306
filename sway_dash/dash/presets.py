"""The presets of the form; what they hold is :mod:`sway_dash.suite.presets`, which ``sway-dash init`` reads, too."""

from sway_dash.suite.presets import PRESETS, Preset, apply, most_prompts, needs_nothing

__all__ = ["PRESETS", "Preset", "apply", "most_prompts", "needs_nothing"]
