"""Errors a user can mend: each is one sentence that says what, where and how.

::

    SwayError
    ├── SpecValidationError        the suite file or an entry in it is wrong
    ├── BackendNotAvailableError   a package or a device is missing
    ├── ModelLoadError             a model or an adapter cannot be used as it is
    ├── ProbeError                 one probe cannot measure what it was asked to
    ├── DlmCompatError             the optional ``dlm`` bridge met something unknown
    └── MissingTrainingStateError  an adapter folder has no training state

    RunCancelled (BaseException)   somebody pressed Stop; not an error

Anything else that escapes is a defect of this package and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

DISTRIBUTION = "sway-dash"

Problem = tuple[tuple[str | int, ...], str]
"""Where a wrong field stands, and what is wrong with it."""


class SwayError(Exception):
    """Base of everything a user can mend."""


class SpecValidationError(SwayError):
    """The suite file is wrong. ``source`` says where: a file or the name of an entry.

    ``problems`` holds every wrong field as (place, message), the place as keys and indices from the root of what was
    checked, so that an editor can mark them.
    """

    def __init__(self, message: str, *, source: str | None = None, problems: Sequence[Problem] = ()) -> None:
        self.source = source
        self.problems = list(problems)
        super().__init__(f"{source}: {message}" if source else message)


class BackendNotAvailableError(SwayError):
    """A backend cannot be used on this machine; the text says what to install."""

    def __init__(self, backend: str, *, extra: str, hint: str | None = None) -> None:
        self.backend = backend
        self.extra = extra
        text = f"backend {backend!r} is not available here: pip install '{DISTRIBUTION}[{extra}]'"
        super().__init__(f"{text}\n{hint}" if hint else text)


class ModelLoadError(SwayError):
    """A model or an adapter cannot be used as it is; the text says how to mend it."""


class ProbeError(SwayError):
    """A probe cannot measure what it was asked to."""

    def __init__(self, probe: str, message: str) -> None:
        self.probe = probe
        super().__init__(f"{probe}: {message}")


class DlmCompatError(SwayError):
    """The optional ``dlm`` package answered in a way this version does not know."""

    def __init__(self, message: str, *, installed_dlm_version: str | None = None) -> None:
        self.installed_dlm_version = installed_dlm_version
        version = f" (installed dlm: {installed_dlm_version})" if installed_dlm_version else ""
        super().__init__(f"{message}{version}; try: pip install -U '{DISTRIBUTION}[dlm]'")


class MissingTrainingStateError(SwayError):
    """A probe needs ``training_state.pt`` and the adapter folder has none."""

    def __init__(self, adapter_path: Path | str) -> None:
        self.adapter_path = adapter_path
        super().__init__(f"no training_state.pt in {adapter_path}: keep it when saving the adapter")


class RunCancelled(BaseException):
    """Somebody asked the run to stop.

    Not an ``Exception``: a probe that fences its items with ``except Exception`` must not swallow it.
    """


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string."""
    near = get_close_matches(got, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""
