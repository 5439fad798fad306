"""Text without the folders it speaks of and without the name of who sits at this machine."""

from __future__ import annotations

import getpass
import re
from pathlib import Path

_PART = r"[^\s/\\'\"<>|:*?,;()\[\]{}]+"
_PATHS = re.compile(
    rf"file:/+(?:{_PART}/)*({_PART})?"
    rf"|(?<![\w:/.~])~?/(?:{_PART}/)+({_PART})?"
    rf"|(?<!\w)~{_PART}/?(?:{_PART}/)*({_PART})?"
    rf"|(?<!\w)[A-Za-z]:[\\/](?:{_PART}[\\/])*({_PART})?"
    rf"|\\\\(?:{_PART}\\)+({_PART})?"
)
_WHOLE = re.compile(r"(?:~|/|[A-Za-z]:[\\/]|\\\\)[^\n]*")
_COMMON = frozenset({"root", "user", "admin", "runner", "ubuntu", "app", "home"})
"""Users that nobody is."""


def without_paths(text: str) -> str:
    """Text in which a path is only its last part and the user of this machine has no name."""
    if _WHOLE.fullmatch(text) and not re.search(r"\s[/~]", text):
        return re.split(r"[/\\]", text.rstrip("/\\"))[-1] or "…"
    for form in _homes():
        text = text.replace(form, "~")
    text = _PATHS.sub(lambda m: "…/" + next((g for g in m.groups() if g), ""), text)
    for user in _users():
        text = re.sub(rf"\b{re.escape(user)}\b", "user", text)
    return text


def _homes() -> list[str]:
    try:
        home = str(Path.home())
    except RuntimeError:
        return []
    return [home] if len(home) > 1 else []


def _users() -> list[str]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        return []
    return [user] if len(user) >= 3 and user.lower() not in _COMMON else []
