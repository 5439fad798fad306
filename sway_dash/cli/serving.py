"""What ``serve`` does: an address that is safe, a port that is free, a browser, and the dashboard behind it."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from urllib.parse import urlencode

import typer

from sway_dash.cli.boundary import OK, UsageError, note, os_sentence

PORT = 5006
"""Where the dashboard is looked for first."""

EVERYWHERE = ("", "*", "0.0.0.0", "::")


def serve(*, host: str, port: int | None, browser: bool, token: str | None, runs: Path | None) -> int:
    """Serve the dashboard until Ctrl-C."""
    from sway_dash.suite.store import runs_root

    addresses = _addresses(host)
    _check_token(host, addresses, token)
    if runs is not None:
        os.environ["SWAY_RUNS_DIR"] = str(runs.expanduser().absolute())
    root = runs_root()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file: give the folder of runs with --runs")
    chosen = _free_port(host, port)
    if port is None and chosen != PORT:
        note(f"port {PORT} is taken, {chosen} is used")

    def ready(at: int) -> None:
        here = f"http://{_shown(host)}:{at}/"
        typer.echo(here)
        if token is not None:
            note(f"open it once as {here}?token=… with your token for the dots; the browser remembers it")
        note(f"runs: {root}; Ctrl-C ends the server, runs go on")
        if browser:
            _open(f"http://{_local(host)}:{at}/", token)

    from sway_dash.dash.serving import serve as run_server

    try:
        run_server(None if host in EVERYWHERE[:2] else host, chosen, token=token, ready=ready)
    except OSError as error:
        raise UsageError(f"cannot listen on {host}:{chosen}: {os_sentence(error)}; give another --port") from None
    note("the server has ended")
    return OK


def _addresses(host: str) -> list[str]:
    """What a host means on this machine; ``UsageError`` if it is no address of anything."""
    if host in EVERYWHERE:
        return []
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        raise UsageError(f"--host {host}: no such address; 127.0.0.1 is this machine only, 0.0.0.0 is all") from None


def _check_token(host: str, addresses: list[str], token: str | None) -> None:
    from sway_dash.dash.access import is_loopback

    if token is not None and (not token.strip() or not token.isprintable()):
        raise UsageError("--token is empty or holds characters that cannot be typed: give a word that nobody guesses")
    if token is None and not (addresses and all(map(is_loopback, addresses))):
        raise UsageError(f"--host {host} lets other machines in: give --token SECRET, or leave --host out")


def _free_port(host: str, port: int | None) -> int:
    """The port that was asked for, else the usual one, else any; ``UsageError`` if the one asked for is taken."""
    for wanted in (PORT, 0) if port is None else (port,):
        try:
            return _bound(host, wanted)
        except OSError as error:
            if port is None and wanted and error.errno == errno.EADDRINUSE:
                continue
            if error.errno == errno.EADDRINUSE:
                raise UsageError(f"port {port} is taken: give another --port, or leave it out") from None
            raise UsageError(f"cannot listen on {host}:{wanted}: {os_sentence(error)}") from None
    raise AssertionError("a system without free ports")


def _bound(host: str, port: int) -> int:
    """The number of a port that can be listened on."""
    name = "0.0.0.0" if host in EVERYWHERE[:2] else host
    family = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            # As the server does: a port whose last connections are still closing is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((name, port))
        return int(probe.getsockname()[1])


def _shown(host: str) -> str:
    """How others write the host in an address."""
    return _bracketed(socket.gethostname() if host in EVERYWHERE else host)


def _local(host: str) -> str:
    return "127.0.0.1" if host in EVERYWHERE else _bracketed(host)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _open(address: str, token: str | None) -> None:
    """Open the browser, if there is one, without waiting for it."""
    import threading
    import webbrowser

    url = address if token is None else f"{address}?{urlencode({'token': token})}"
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
