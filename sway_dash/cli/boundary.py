"""What a command says and how it ends: one sentence for what the user can mend, a traceback for our own defects."""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import typer

from sway_dash.core.errors import SwayError

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])

OK, NOTHING, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: success; a gate that failed or nothing to show; what the user can mend; stopped by Ctrl-C."""

PIPED_WIDTH = 120
"""Columns of a report that is not written to a terminal."""


class UsageError(SwayError):
    """A command was asked for something it cannot do."""


def fenced(command: F) -> F:
    """Turn ``SwayError`` and ``OSError`` of a command into one ``error:`` line and exit code 2."""

    @functools.wraps(command)
    def inner(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except SwayError as error:
            fail(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone, typer knows what to do
                raise
            fail(os_sentence(error))

    return inner  # type: ignore[return-value]


def fail(message: str, code: int = USAGE) -> NoReturn:
    """Say what is wrong on standard error and leave."""
    complain(message)
    raise typer.Exit(code)


def complain(message: str) -> None:
    """Write ``error: …`` to standard error; the text is shown as it is, never read as markup."""
    typer.echo(f"{typer.style('error:', fg='red', bold=True)} {printable(message)}", err=True)


def note(message: str) -> None:
    """Write a remark to standard error, so that standard output holds results only."""
    typer.echo(printable(message), err=True)


def os_sentence(error: OSError) -> str:
    """What the system refused, in one line, with the file it is about."""
    reason = error.strerror or (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{error.filename}: {reason}" if error.filename else reason


def printable(text: object) -> str:
    """Text from outside without characters that steer a terminal."""
    from sway_dash.report.formats import printable as clean

    return clean(text)


def out_console(*, err: bool = False) -> Console:
    """Where a report goes, standard output unless ``err``: as wide as the terminal, else wide enough for a table."""
    import os

    from rich.console import Console

    console = Console(highlight=False, stderr=err)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(highlight=False, stderr=err, width=PIPED_WIDTH)
    return console
