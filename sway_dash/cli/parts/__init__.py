"""The commands by what they are about: names, options and help texts, nothing heavier than typer at import."""
