"""Take the picture of the README from the app itself: ``python -m sway_dash.dash.screenshot [--out FILE] [--dark]``.

Serves the app on a free port of this machine, opens the recorded example in Chromium and writes a PNG of what a reader
would see. Needs playwright and a Chromium (``SWAY_CHROMIUM`` or one on PATH).
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "assets" / "screenshots" / "dashboard.png"


@contextmanager
def serving(app: Path, runs: Path) -> Iterator[str]:
    """Address of the served app; the server ends with the context."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "SWAY_RUNS_DIR": str(runs), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "panel", "serve", str(app), "--port", str(port), "--address", "127.0.0.1"]
    command += ["--allow-websocket-origin", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    address = f"http://127.0.0.1:{port}/{app.stem}"
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(address, timeout=30).read()
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def take(out: Path, *, width: int = 1280, height: int = 1000, dark: bool = False, run: str = "demo") -> Path:
    """Write the picture of a run's overview."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("SWAY_CHROMIUM") or shutil.which("chromium")
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as runs,
        serving(ROOT / "apps" / "sway.py", Path(runs)) as address,
        sync_playwright() as play,
    ):
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(f"{address}?run={run}")
        page.locator(".sway-hook-verdict p").first.wait_for()
        page.locator("[role=img] canvas").first.wait_for()
        if dark:
            page.get_by_label("Toggle theme").click()
            page.mouse.move(0, height - 1)
        page.wait_for_timeout(3000)
        page.screenshot(path=out)
        browser.close()
    return out


def main() -> int:
    """Read the command line and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURE)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("--dark", action="store_true")
    args = parser.parse_args()
    out = take(args.out, width=args.width, height=args.height, dark=args.dark)
    print(f"{out} ({out.stat().st_size // 1024} KB)")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
